"""How an execution is drawn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from tradewind import values
from tradewind.models import Execution, Task, Wait
from tradewind.v1 import execution_pb2, execution_service_pb2, failure_pb2, task_pb2
from tradewind_server.cli.picture import View, execution_picture, progress_picture

BEGAN = datetime(2026, 11, 2, 9, tzinfo=UTC)


def text_of(picture: RenderableType) -> str:
    """Return what a pipe gets."""
    out = StringIO()
    Console(file=out, width=200).print(picture)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def execution(state: str, **fields: object) -> Execution:
    """Make an execution; the rest is at its defaults."""
    proto = execution_pb2.Execution(id="e1", workflow="salary", **fields)  # type: ignore[arg-type]
    proto.state = execution_pb2.ExecutionState.Value(f"EXECUTION_STATE_{state}")
    proto.created_at.FromDatetime(BEGAN)
    return Execution.read(proto)


def task(number: int, name: str, state: str, seconds: float | None, **fields: object) -> Task:
    """Make a task that started with its execution and, with *seconds*, has ended."""
    proto = task_pb2.Task(id=f"t{number}", name=name, callee="std.noop", **fields)  # type: ignore[arg-type]
    proto.state = task_pb2.TaskState.Value(f"TASK_STATE_{state}")
    proto.started_at.FromDatetime(BEGAN)
    if seconds is not None:
        proto.finished_at.FromDatetime(BEGAN + timedelta(seconds=seconds))
    return Task.read(proto)


def test_tree_shows_state_duration_attempt_and_wait() -> None:
    """One line for a task, and below it what it waits for, or why it failed."""
    failure = failure_pb2.Failure(code="LOCKED", message="The ledger is locked.")
    waiting = execution_service_pb2.Wait(task="approve", detail="an answer to std.async_noop")
    view = View(
        execution("RUNNING", business_key="e-17"),
        (
            task(1, "base", "FAILED", 2.5, attempt=3, failure=failure),
            task(2, "pay", "SUCCEEDED", 0.125, published=values.to_payload({"paid": True})),
            task(3, "approve", "RUNNING", None),
            task(4, "mail", "RUNNING", None, items_total=9, items_done=4),
        ),
        (Wait.read(waiting),),
    )
    assert text_of(execution_picture(view, BEGAN + timedelta(seconds=75))) == "\n".join(
        [
            "salary e-17  RUNNING  75 s  e1",
            "├── ✗ base  FAILED  2.50 s  attempt 3  std.noop",
            "│     LOCKED: The ledger is locked.",
            "├── ✓ pay  SUCCEEDED  0.12 s  std.noop",
            '│     {"paid":true}',
            "├── ● approve  RUNNING  75 s  std.noop",
            "│     waits: an answer to std.async_noop",
            "└── ● mail  RUNNING  75 s  4/9 items  std.noop",
        ]
    )


def test_child_executions_hang_below_their_task() -> None:
    """The tree goes on."""
    child = View(execution("SUCCEEDED"), (task(1, "inner", "SUCCEEDED", 1),), ())
    view = View(
        execution("RUNNING"), (task(1, "outer", "RUNNING", None, child_execution_ids=["c1"]),), (), {"c1": child}
    )
    assert "    └── salary  SUCCEEDED" in text_of(execution_picture(view, BEGAN))
    assert "        └── ✓ inner" in text_of(execution_picture(view, BEGAN))


@pytest.mark.parametrize(
    ("state", "expected", "shown"),
    [
        ("RUNNING", {"a", "b", "c", "d"}, "25 % 1 done, 1 open, 2 left"),
        ("FAILED", {"a", "b", "c", "d"}, "50 % 1 done, 1 open, 0 left"),
        ("RUNNING", set(), "50 % 1 done, 1 open, 0 left"),
    ],
)
def test_bar_counts_what_is_left(state: str, expected: set[str], shown: str) -> None:
    """Nothing is left of an execution that has ended."""
    view = View(execution(state), (task(1, "a", "SUCCEEDED", 1), task(2, "b", "RUNNING", None)), ())
    assert text_of(progress_picture(view, frozenset(expected))).endswith(shown)
