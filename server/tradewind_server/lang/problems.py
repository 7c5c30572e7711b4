"""What can be wrong with a definition: a problem with its place and what to do."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Literal, TypeAlias

from tradewind_server.lang.documents import Path

Severity: TypeAlias = Literal["error", "warning", "hint"]


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One finding of a check."""

    #: Lower case with hyphens, stable: `unknown-keyword`.
    code: str
    #: An error refuses the definition; a warning tells of a trap, a hint of something odd.
    severity: Severity
    file: str
    #: Line and column, both from 1.
    line: int
    column: int
    #: `w.tasks.t1.on-success[0]`; "" for the whole document.
    path: str
    #: A sentence.
    message: str
    #: What to do, a sentence; "" if there is nothing to say.
    fix: str = ""


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Sort by place and drop repetitions."""
    unique = dict.fromkeys(problems)
    return tuple(sorted(unique, key=lambda problem: (problem.file, problem.line, problem.column, problem.code)))


def path_text(path: Path) -> str:
    """Write a path as people read it."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the known word that is nearest to *name*, or list them if none is near and they are few."""
    words = list(known)
    near = difflib.get_close_matches(name, words, n=1, cutoff=0.6)
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"Known are: {', '.join(sorted(words))}." if 0 < len(words) <= 40 else ""
