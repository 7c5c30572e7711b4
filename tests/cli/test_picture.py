"""How an execution is drawn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console, RenderableType

from tradewind import values
from tradewind.models import Action, Execution, Progress, Task, Wait
from tradewind.v1 import action_pb2, execution_pb2, execution_service_pb2, failure_pb2, task_pb2
from tradewind_server.cli.picture import View, execution_picture, progress_picture

BEGAN = datetime(2026, 11, 2, 9, tzinfo=UTC)


def text_of(picture: RenderableType) -> str:
    """Return what a pipe gets."""
    out = StringIO()
    Console(file=out, width=200).print(picture)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def execution(state: str, **fields: Any) -> Execution:
    """Make an execution; the rest is at its defaults."""
    proto = execution_pb2.Execution(id="e1", workflow="salary", **fields)
    proto.state = execution_pb2.ExecutionState.Value(f"EXECUTION_STATE_{state}")
    proto.created_at.FromDatetime(BEGAN)
    return Execution.read(proto)


def task(number: int, name: str, state: str, seconds: float | None, **fields: Any) -> Task:
    """Make a task that started with its execution and, with *seconds*, has ended."""
    proto = task_pb2.Task(id=f"t{number}", name=name, callee="std.noop", **fields)
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


def test_failure_of_an_execution_is_told_once_beside_that_of_its_task() -> None:
    """It stood in the first line, below the tree and in the output, too."""
    message = "Failure caused by error in tasks: base\n  base: The ledger is locked."
    failure = failure_pb2.Failure(code="TASK_FAILED", message=message)
    failed = task(1, "base", "FAILED", 2.5, failure=failure_pb2.Failure(code="LOCKED", message="The ledger is locked."))

    def lines(**fields: Any) -> list[str]:
        shown = execution("FAILED", state_message=message, failure=failure, **fields)
        return text_of(execution_picture(View(shown, (failed,), ()), BEGAN)).splitlines()

    plain = [
        "salary  FAILED  0.00 s  e1",
        "└── ✗ base  FAILED  2.50 s  std.noop",
        "      LOCKED: The ledger is locked.",
        "failed: Failure caused by error in tasks: base",
        "  base: The ledger is locked.",
    ]
    assert lines(output=values.to_payload({"result": message})) == plain
    assert lines(output=values.to_payload({"sms": 7})) == [*plain, 'output: {"sms":7}']


def test_action_at_work_shows_its_checkpoint_and_last_line() -> None:
    """Below its task; items by their index, and a line of many lines in one."""

    def action(number: int, task_id: str, **fields: Any) -> Action:
        proto = action_pb2.Action(id=f"a{number}", task_id=task_id, **fields)
        if proto.HasField("last_log"):
            proto.last_log.at.FromDatetime(BEGAN)
        return Action.read(proto)

    wrote = action_pb2.LogLine(level=action_pb2.LOG_LEVEL_WARNING, message="one\n two")
    view = View(
        execution("RUNNING"),
        (task(1, "base", "RUNNING", None), task(2, "mail", "RUNNING", None)),
        (),
        actions=(
            action(1, "t1", checkpoint=values.to_payload({"at": 5}), last_log=wrote),
            action(2, "t2", item_index=0),
            action(3, "t2", item_index=1, last_log=wrote),
        ),
    )
    assert text_of(execution_picture(view, BEGAN)).splitlines()[1:] == [
        "├── ● base  RUNNING  0.00 s  std.noop",
        '│     a1 checkpoint: {"at":5}',
        "│     a1 log: 09:00:00 WARNING one two",
        "└── ● mail  RUNNING  0.00 s  std.noop",
        "      a3 (item 1) log: 09:00:00 WARNING one two",
    ]


def test_child_executions_hang_below_their_task() -> None:
    """The tree goes on."""
    child = View(execution("SUCCEEDED"), (task(1, "inner", "SUCCEEDED", 1),), ())
    view = View(
        execution("RUNNING"), (task(1, "outer", "RUNNING", None, child_execution_ids=["c1"]),), (), {"c1": child}
    )
    assert "    └── salary  SUCCEEDED" in text_of(execution_picture(view, BEGAN))
    assert "        └── ✓ inner" in text_of(execution_picture(view, BEGAN))


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"done": 1, "running": 1, "left": 2, "left_at_most": 2}, "25 % 1 done, 1 running, 0 waiting, 2 left"),
        (
            {"done": 1, "waiting": 1, "skipped": 1, "left": 1, "left_at_most": 3, "open_ended": True},
            "50 % 1 done, 0 running, 1 waiting, 1 skipped, 1 left (at most 3), in a loop",
        ),
        ({"done": 1, "running": 1}, "50 % 1 done, 1 running, 0 waiting"),
        (
            {"running": 1, "left": 0, "left_at_most": 0, "items_total": 9, "items_done": 4},
            "0 % 0 done, 1 running, 0 waiting, 0 left, 4/9 items",
        ),
    ],
)
def test_bar_counts_what_is_left(fields: dict[str, object], shown: str) -> None:
    """As the server estimates it; without the definition nobody knows."""
    progress = Progress.read(execution_pb2.Progress(**fields))  # type: ignore[arg-type]
    view = View(execution("RUNNING"), (), (), progress=progress)
    assert text_of(progress_picture(view)).endswith(shown)


def test_bar_tells_how_long_it_usually_takes() -> None:
    """And when it would end so."""
    proto = execution_pb2.Progress(done=1, left=0, left_at_most=0)
    proto.expected.p50.FromTimedelta(timedelta(seconds=90))
    proto.expected.p90.FromTimedelta(timedelta(minutes=7))
    proto.expected.finish_p50.FromDatetime(BEGAN)
    view = View(execution("RUNNING"), (), (), progress=Progress.read(proto))
    wanted = "0 left; usually 90 s in all, 9 in 10 within 7 min 00 s, until 09:00:00 UTC"
    assert text_of(progress_picture(view)).endswith(wanted)
