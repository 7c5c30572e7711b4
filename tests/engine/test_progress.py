"""What is still to come of a workflow, as far as can be said before guards are decided."""

from __future__ import annotations

import pytest

from tradewind_server.engine.progress import Left, left
from tradewind_server.lang import Source, read

TEXT = """
version: '2.0'
line:
  tasks:
    a: {action: std.noop, on-success: b, on-error: apologise}
    b: {action: std.noop, on-success: c}
    c: {action: std.noop}
    apologise: {action: std.noop}
loop:
  tasks:
    first: {action: std.noop, on-success: a}
    a: {action: std.noop, on-success: [again: <% $.x %>, out: <% not $.x %>]}
    again: {action: std.noop, on-success: a}
    out: {action: std.noop}
backwards:
  type: reverse
  tasks:
    a: {action: std.noop}
    b: {action: std.noop, requires: a}
    other: {action: std.noop}
"""
SPECS = {spec.name: spec for spec in read([Source("f.yaml", TEXT)]).workflows}


@pytest.mark.parametrize(
    ("workflow", "open_", "held", "created", "expected"),
    [
        ("line", ["a"], [], ["a"], Left(2, 3, False)),
        ("line", ["b"], [], ["a", "b"], Left(1, 1, False)),
        ("line", ["c"], [], ["a", "b", "c"], Left(0, 0, False)),
        ("line", [], ["b"], ["a"], Left(2, 2, False)),
        ("line", ["gone"], [], ["gone"], Left(0, 0, False)),
        ("loop", ["a"], [], ["a"], Left(2, 2, True)),
        ("loop", ["a"], [], ["a", "again"], Left(1, 1, True)),
        ("loop", ["out"], [], ["a", "out"], Left(0, 0, False)),
    ],
)
def test_left_are_the_tasks_that_can_follow_and_have_not_come(
    workflow: str, open_: list[str], held: list[str], created: list[str], expected: Left
) -> None:
    """Those on the ways of errors are told apart; a loop is said to be one as long as it can be entered again."""
    assert left(SPECS[workflow], "", open_, held, created) == expected


def test_left_of_a_reverse_workflow_is_what_its_goal_needs() -> None:
    """And no more than that."""
    assert left(SPECS["backwards"], "b", ["a"], [], ["a"]) == Left(1, 1, False)
