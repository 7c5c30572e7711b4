"""What can be asked of an execution. Each carries the moment it was stamped with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime

from tradewind_server.engine.state import ExecutionState


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why an action failed; data, not an error of ours."""

    #: ACTION, LEASE_LOST, NOT_DELIVERABLE, TIMEOUT, DEFINITION, CHILD ...
    kind: str
    message: str
    code: str = ""
    #: What `task().result` is after the failure: the worker's details, or None.
    details: object = None
    retryable: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class StartExecution:
    """Create the execution and start its first tasks."""

    at: datetime
    execution_id: str
    namespace: str
    workflow: str
    workflow_namespace: str
    input: Mapping[str, object]
    env: Mapping[str, object] = dataclasses.field(default_factory=dict)
    params: Mapping[str, object] = dataclasses.field(default_factory=dict)
    root_id: str = ""
    parent_id: str = ""
    parent_action: int = 0
    #: Sub-workflow: undeclared inputs become parameters instead of being refused.
    spill_input: bool = False
    #: Sub-workflow started while its parent is paused.
    paused: bool = False
    semantics_version: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class PauseExecution:
    """Stop starting tasks; running work goes on."""

    at: datetime
    message: str = ""
    #: Asked for by the parent: it is not told back.
    from_parent: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class ResumeExecution:
    """Go on after a pause."""

    at: datetime
    env: Mapping[str, object] | None = None
    from_parent: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class StopExecution:
    """End the execution as SUCCEEDED or FAILED, or cancel it."""

    at: datetime
    outcome: ExecutionState
    message: str = ""
    #: Actions that nobody works on; they end in this transaction.
    undelivered: frozenset[int] = frozenset()
    grace_seconds: int = 30


@dataclasses.dataclass(frozen=True, slots=True)
class RerunTask:
    """Run a failed task again."""

    at: datetime
    task: int
    #: with-items: repeat all items instead of only those that failed.
    reset: bool = True
    env: Mapping[str, object] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SkipTask:
    """Go on as if the failed task had been skipped."""

    at: datetime
    task: int


@dataclasses.dataclass(frozen=True, slots=True)
class CompleteAction:
    """Record the result of an action."""

    at: datetime
    action: int
    result: object


@dataclasses.dataclass(frozen=True, slots=True)
class FailAction:
    """Record the failure of an action."""

    at: datetime
    action: int
    failure: Failure


@dataclasses.dataclass(frozen=True, slots=True)
class CancelAction:
    """Record that an action was cancelled by who worked on it, or given up."""

    at: datetime
    action: int
    message: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class FireTimer:
    """A timer is due; one that is gone is a no-op."""

    at: datetime
    timer: int


@dataclasses.dataclass(frozen=True, slots=True)
class NoteChild:
    """A sub-workflow paused, resumed or was reopened; its end is an action's result."""

    at: datetime
    action: int
    #: "paused", "resumed", "reopened"
    change: str


Command = (
    StartExecution
    | PauseExecution
    | ResumeExecution
    | StopExecution
    | RerunTask
    | SkipTask
    | CompleteAction
    | FailAction
    | CancelAction
    | FireTimer
    | NoteChild
)
