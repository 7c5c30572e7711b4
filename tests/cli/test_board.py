"""`tradewind watch --group`: a board of many executions."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.cli import command_line
from tests.docs.story import Story
from tradewind.models import Event, Execution, LogUpdate
from tradewind.v1 import event_pb2, execution_pb2, task_pb2
from tradewind_server.cli.board import Board, summary

AT = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
TEXT = """
version: '2.0'
good: {tasks: {t: {action: std.async_noop}}}
bad: {tasks: {t: {action: std.async_noop, on-success: fail}}}
"""


def execution(id_: str, key: str = "", state: str = "RUNNING") -> Execution:
    """Return an execution as a snapshot has it."""
    proto = execution_pb2.Execution(id=id_, workflow="w", business_key=key)
    proto.state = execution_pb2.ExecutionState.Value(f"EXECUTION_STATE_{state}")
    proto.updated_at.FromDatetime(AT)
    return Execution.read(proto)


def event(id_: str, key: str = "", state: str = "", task: str = "", task_state: str = "") -> Event:
    """Return an event of an execution or of its task t1."""
    proto = event_pb2.Event(execution_id=id_, workflow="w", business_key=key, task=task, task_id="t1" if task else "")
    proto.at.FromDatetime(AT)
    if state:
        proto.execution_state = execution_pb2.ExecutionState.Value(f"EXECUTION_STATE_{state}")
    if task_state:
        proto.task_state = task_pb2.TaskState.Value(f"TASK_STATE_{task_state}")
    return Event.read(proto)


def picture(board: Board) -> str:
    """Return the board as text."""
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(board.picture())
    return console.export_text()


def test_a_board_follows_what_is_open_and_what_starts() -> None:
    """It is over when all have ended, and says if one of them has failed."""
    board = Board()
    assert (board.is_over, summary(board)) == (False, "no executions yet")
    board.apply(LogUpdate("c", executions=(execution("a"),)))
    changed = board.apply(LogUpdate("c", (event("b", state="RUNNING"), event("b", task="pay", task_state="RUNNING"))))
    assert [row.id for row in changed] == ["b"]
    assert (board.is_over, summary(board)) == (False, "2 executions: 2 RUNNING")
    board.apply(LogUpdate("c", (event("b", task="pay", task_state="SUCCEEDED"), event("b", state="SUCCEEDED"))))
    assert (board.rows["b"].done, board.rows["b"].last_task, board.is_over) == (1, "pay", False)
    board.apply(LogUpdate("c", (event("a", state="FAILED"),)))
    assert (board.is_over, board.has_failed) == (True, True)
    shown = picture(board)
    assert "pay" in shown
    assert "2 executions: 1 FAILED, 1 SUCCEEDED" in shown


def test_a_board_of_a_prefix_leaves_the_others_out() -> None:
    """Also those of its snapshot."""
    board = Board("2026-11")
    board.apply(LogUpdate("c", (event("c", "2026-12-1", "RUNNING"),), executions=(execution("a", "2026-11-1"),)))
    board.apply(LogUpdate("c", (event("b", "2026-11-2", "RUNNING"),), executions=(execution("d", "2025"),)))
    assert sorted(board.rows) == ["a", "b"]


def test_a_board_has_thirty_rows_and_counts_the_rest() -> None:
    """Thousands would not fit on the screen."""
    board = Board()
    board.apply(LogUpdate("c", executions=tuple(execution(f"x{n}") for n in range(35))))
    assert "and 5 more; 35 executions: 35 RUNNING" in picture(board)


@pytest.mark.slow
def test_a_group_is_watched_to_the_end_of_all(tmp_path: Path) -> None:
    """A line for each change of a state, and exit 1 if one of them fails."""
    (tmp_path / "both.yaml").write_text(TEXT)
    with Story(tmp_path) as story:
        story.start("tradewind server")
        story.run("tradewind deploy both.yaml")

        def answer(*arguments: str) -> Any:
            done = command_line.tradewind(*arguments, "--address", story.address, "--json")
            assert done.returncode == 0, done.stderr.decode()
            return json.loads(done.stdout)

        ids = [answer("start", name, "--tag", "november")["id"] for name in ("good", "bad")]
        answer("start", "good")
        group = ("watch", "--group", "tags : november", "--address", story.address, "--json")
        command = [sys.executable, "-m", "tradewind_server.cli", *group]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as watching:
            assert watching.stdout is not None
            first = [json.loads(watching.stdout.readline()) for _ in ids]
            for id_ in ids:
                answer("actions", "complete", id_, "a1")
            rest = [json.loads(line) for line in watching.stdout.read().splitlines()]
        assert watching.returncode == 1
        assert {row["id"]: row["state"] for row in first} == dict.fromkeys(ids, "RUNNING")
        assert {row["id"]: row["state"] for row in rest} == dict(zip(ids, ("SUCCEEDED", "FAILED"), strict=True))
        wrong = command_line.tradewind("watch", "--address", story.address)
        assert (wrong.returncode, b"--group" in wrong.stderr) == (2, True)
