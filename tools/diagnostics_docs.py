"""Fill docs/diagnostics.md in: what each code is, and what `tradewind check` says to its example.

The page is written by hand but for two things in each section: the line below the heading, from the table of codes,
and the `text` block, which is the output for the `yaml` block above it (`make pages`).
"""

from __future__ import annotations

import re
from pathlib import Path

from tradewind_server.cli.problems import picture
from tradewind_server.lang import Problem, Source, check
from tradewind_server.lang.lines import Lines
from tradewind_server.lang.problems import CODES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "diagnostics.md"
FILE = "example.yaml"

_SECTION = re.compile(r"^### (?P<code>[\w-]+)\n\n(?P<about>[^\n]*)\n(?P<body>.*?)(?=^##|\Z)", re.M | re.S)
_EXAMPLE = re.compile(r"```yaml\n(?P<example>.*?)```\n\n```text\n.*?```", re.S)


def page() -> str:
    """Return the page with everything filled in."""
    return filled(PAGE.read_text(encoding="utf-8"))


def filled(text: str) -> str:
    """Return *text* as a page with everything filled in."""
    return _SECTION.sub(lambda match: f"### {match['code']}\n\n{_about(match['code'])}\n{_filled(match['body'])}", text)


def examples(text: str) -> dict[str, str | None]:
    """Return the example of each code; None for a section without one."""
    found: dict[str, str | None] = {}
    for section in _SECTION.finditer(text):
        example = _EXAMPLE.search(section["body"])
        found[section["code"]] = example["example"] if example is not None else None
    return found


def problems(example: str) -> tuple[Problem, ...]:
    """Return what a check finds in an example."""
    return check([Source(FILE, example)]).problems


def _about(code: str) -> str:
    about = CODES[code]
    return f"*{about.severity.capitalize()}.* {about.sentence}"


def _filled(body: str) -> str:
    return _EXAMPLE.sub(lambda match: f"```yaml\n{match['example']}```\n\n```text\n{_said(match['example'])}```", body)


def _said(example: str) -> str:
    lines = Lines(example)
    return "".join(f"{picture(problem, lines).plain}\n" for problem in problems(example))
