"""Make docs/state_machine.md from the tables of engine/transitions.py (`make pages`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from tradewind_server.engine import transitions
from tradewind_server.engine.words import ACTION_WORDS, EXECUTION_WORDS, TASK_WORDS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "state_machine.md"

State = TypeVar("State", bound=StrEnum)

_HEAD = """# States

What an execution, a task and an action can be, and which changes there are. This page is made from
`engine/transitions.py` by `make pages`; do not edit it. After every scenario of the tests each state change
in the log is looked up in these tables.

Expressions such as `<% task(x).state %>` show the words of the language, which are Mistral's; the API, the command line
and the log show the states.
"""


def page() -> str:
    """Return the page."""
    return "\n".join(
        [
            _HEAD,
            *_section("Execution", transitions.EXECUTION, EXECUTION_WORDS),
            *_section("Task", transitions.TASK, TASK_WORDS),
            *_section("Action", transitions.ACTION, ACTION_WORDS),
            *_section("Human task", transitions.HUMAN_TASK, None),
        ]
    )


def _section(title: str, table: Mapping[State, frozenset[State]], words: Mapping[State, str] | None) -> Iterable[str]:
    yield f"## {title}\n"
    yield "```mermaid\nstateDiagram-v2"
    for state, following in table.items():
        yield from (f"    {state} --> {other}" for other in table if other in following)
        if not following:
            yield f"    {state} --> [*]"
    yield "```\n"
    yield "| State | In expressions | Can become |" if words else "| State | Can become |"
    yield "| --- | --- | --- |" if words else "| --- | --- |"
    for state, following in table.items():
        after = ", ".join(str(other) for other in table if other in following)
        word = f" {words[state]} |" if words else ""
        yield f"| {state} |{word} {after or 'nothing else'} |"
    yield ""
