"""Which events a filter lets through: the terms of EVENT_FIELDS, and what an event says of states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tradewind_server.engine.state import TaskState
from tradewind_server.lang.values import decode
from tradewind_server.store.filters import Term
from tradewind_server.store.records import StoredEvent

#: What a type of event does to the state of its execution or task.
_EXECUTION_CHANGES = {
    "ExecutionStarted": "RUNNING", "ExecutionPaused": "PAUSED", "ExecutionResumed": "RUNNING",
    "ExecutionCancelling": "CANCELLING", "ExecutionSucceeded": "SUCCEEDED", "ExecutionFailed": "FAILED",
    "ExecutionCancelled": "CANCELLED", "ExecutionReopened": "RUNNING",
}  # fmt: skip
_TASK_CHANGES = {
    "TaskWaiting": "WAITING", "TaskStarted": "RUNNING", "TaskContinued": "RUNNING", "TaskSucceeded": "SUCCEEDED",
    "TaskFailed": "FAILED", "TaskCancelled": "CANCELLED", "TaskSkipped": "SKIPPED", "ActionReopened": "RUNNING",
}  # fmt: skip
#: Events whose body says which state the task enters.
_SAYS_STATE = frozenset({"TaskCreated", "TaskHeld"})


def states(stored: StoredEvent) -> tuple[str, str]:
    """Return the states that the execution and the task enter with an event; "" where it changes none."""
    type_ = stored.type
    if type_ in _SAYS_STATE:
        body = decode(stored.body)
        assert isinstance(body, dict)
        return "", TaskState(str(body["state"])).value
    return _EXECUTION_CHANGES.get(type_, ""), _TASK_CHANGES.get(type_, "")


def passes(event: StoredEvent, terms: list[Term], tags: str) -> bool:
    """Tell whether all *terms* hold; *tags* are those of the execution, one a line."""
    return all(_holds(event, term, tags) for term in terms)


def _holds(event: StoredEvent, term: Term, tags: str) -> bool:
    if term.column == "tags":
        return str(term.value) in tags.split("\n")
    return (_COLUMNS[term.column](event) == term.value) is (term.operator == "=")


_COLUMNS: Mapping[str, Callable[[StoredEvent], Any]] = {
    "execution_id": lambda event: event.execution_id,
    "root_id": lambda event: event.root_id or event.execution_id,
    "workflow": lambda event: event.workflow,
    "business_key": lambda event: event.business_key,
    "task": lambda event: event.task,
    "type": lambda event: event.type,
    "execution_state": lambda event: states(event)[0],
    "task_state": lambda event: states(event)[1],
}
