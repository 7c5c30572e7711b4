"""Messages between executions, as the commands they are to who receives them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from tradewind_server.engine import commands as c
from tradewind_server.engine.state import ExecutionState
from tradewind_server.lang.values import decode, encode
from tradewind_server.settings import Settings
from tradewind_server.store.records import Message


def command_of(message: Message, at: datetime, settings: Settings) -> c.Command:
    """Return what *message* asks of its target; a start is not among them."""
    return _MESSAGE_COMMANDS[message.kind](decode(message.body), at, settings)


def refused(start: Message, at_us: int, problem: str) -> Message:
    """Return what lets the action fail that was to start a sub-workflow."""
    return _answer(start, at_us, "failed", {"output": None, "message": problem})


def cancelled(start: Message, at_us: int) -> Message:
    """Return what ends the action that was to start a sub-workflow, since all are to end."""
    return _answer(start, at_us, "cancelled", {"message": "The execution at the root was cancelled."})


def _answer(start: Message, at_us: int, kind: str, told: dict[str, Any]) -> Message:
    body: Any = decode(start.body)
    told["action"] = body["action"]
    return Message(start.source, start.target, 0, kind, start.namespace, at_us, encode(told))


def _child_failed(body: Any, at: datetime, _: Settings) -> c.Command:
    message = body["message"] or "The sub-workflow failed."
    return c.FailAction(at, body["action"], c.Failure("CHILD", message, "CHILD_FAILED", body["output"]))


_MESSAGE_COMMANDS: dict[str, Callable[[Any, datetime, Settings], c.Command]] = {
    "pause": lambda _, at, s: c.PauseExecution(at, "Its parent was paused.", from_parent=True),
    "resume": lambda _, at, s: c.ResumeExecution(at, from_parent=True),
    "cancel": lambda _, at, s: c.StopExecution(
        at, ExecutionState.CANCELLED, "Its parent was cancelled.", grace_seconds=s.cancel_grace_seconds
    ),
    "succeeded": lambda body, at, s: c.CompleteAction(at, body["action"], body["output"]),
    "failed": _child_failed,
    "cancelled": lambda body, at, s: c.CancelAction(at, body["action"], body["message"] or ""),
    "paused": lambda body, at, s: c.NoteChild(at, body["action"], "paused"),
    "resumed": lambda body, at, s: c.NoteChild(at, body["action"], "resumed"),
    "reopened": lambda body, at, s: c.NoteChild(at, body["action"], "reopened"),
}
