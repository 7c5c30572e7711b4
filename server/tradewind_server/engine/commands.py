"""What can be asked of an execution. Each carries the moment it was stamped with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from tradewind_server.engine.attachment import Attachment
from tradewind_server.engine.semantics import CURRENT
from tradewind_server.engine.state import ExecutionState


class Failure(msgspec.Struct, frozen=True, gc=False):
    """Why an action failed; data, not an error of ours."""

    #: ACTION, LEASE_LOST, NOT_DELIVERABLE, TIMEOUT, DEFINITION, CHILD ...
    kind: str
    message: str
    code: str = ""
    #: What `task().result` is after the failure: the worker's details, or None.
    details: object = None
    retryable: bool = True


class StartExecution(msgspec.Struct, frozen=True, gc=False):
    """Create the execution and start its first tasks."""

    at: datetime
    execution_id: str
    namespace: str
    workflow: str
    workflow_namespace: str
    input: Mapping[str, object]
    env: Mapping[str, object] = {}
    params: Mapping[str, object] = {}
    root_id: str = ""
    parent_id: str = ""
    parent_action: int = 0
    #: Sub-workflow: undeclared inputs become parameters instead of being refused.
    spill_input: bool = False
    #: Sub-workflow started while its parent is paused.
    paused: bool = False
    semantics_version: int = CURRENT
    #: Who started the root execution, "" for nobody known.
    initiator: str = ""
    #: Sub-workflow: that of the task which starts it.
    priority: int = 0
    #: Sub-workflow: the names that are sensitive in its parent.
    sensitive: Sequence[str] = ()
    #: How many executions are above it.
    depth: int = 0


class PauseExecution(msgspec.Struct, frozen=True, gc=False):
    """Stop starting tasks; running work goes on."""

    at: datetime
    message: str = ""
    #: Asked for by the parent: it is not told back.
    from_parent: bool = False


class ResumeExecution(msgspec.Struct, frozen=True, gc=False):
    """Go on after a pause."""

    at: datetime
    env: Mapping[str, object] | None = None
    from_parent: bool = False


class StopExecution(msgspec.Struct, frozen=True, gc=False):
    """End the execution as SUCCEEDED or FAILED, or cancel it."""

    at: datetime
    outcome: ExecutionState
    message: str = ""
    #: Actions that nobody works on; they end in this transaction.
    undelivered: frozenset[int] = frozenset()
    grace_seconds: int = 30


class RerunTask(msgspec.Struct, frozen=True, gc=False):
    """Run a failed task again."""

    at: datetime
    task: int
    #: with-items: repeat all items instead of only those that failed.
    reset: bool = True
    env: Mapping[str, object] | None = None


class SkipTask(msgspec.Struct, frozen=True, gc=False):
    """Go on as if the failed task had been skipped."""

    at: datetime
    task: int


class CompleteAction(msgspec.Struct, frozen=True, gc=False):
    """Record the result of an action."""

    at: datetime
    action: int
    result: object


class FailAction(msgspec.Struct, frozen=True, gc=False):
    """Record the failure of an action."""

    at: datetime
    action: int
    failure: Failure


class CancelAction(msgspec.Struct, frozen=True, gc=False):
    """Record that an action was cancelled by who worked on it, or given up."""

    at: datetime
    action: int
    message: str = ""


#: What ends an action by the word of who works on it, or for him.
Answer = CompleteAction | FailAction | CancelAction


class FireTimer(msgspec.Struct, frozen=True, gc=False):
    """A timer is due; one that is gone is a no-op."""

    at: datetime
    timer: int


class NoteChild(msgspec.Struct, frozen=True, gc=False):
    """A sub-workflow paused, resumed or was reopened; its end is an action's result."""

    at: datetime
    action: int
    #: "paused", "resumed", "reopened"
    change: str


class Person(msgspec.Struct, frozen=True, gc=False):
    """Who acts."""

    user: str
    groups: frozenset[str] = frozenset()
    #: May give human tasks to others and take them back.
    may_manage: bool = False
    #: Users that are absent now, and whose substitute he is.
    stands_for: frozenset[str] = frozenset()


class ClaimHumanTask(msgspec.Struct, frozen=True, gc=False):
    """Take a human task, so that nobody else works on it."""

    at: datetime
    action: int
    person: Person


class ReleaseHumanTask(msgspec.Struct, frozen=True, gc=False):
    """Give a human task back."""

    at: datetime
    action: int
    person: Person
    note: str = ""


class AssignHumanTask(msgspec.Struct, frozen=True, gc=False):
    """Give a human task to somebody, as one who may manage them."""

    at: datetime
    action: int
    person: Person
    to: str
    note: str = ""


class DelegateHumanTask(msgspec.Struct, frozen=True, gc=False):
    """Let somebody else do a human task; who delegates stays accountable."""

    at: datetime
    action: int
    person: Person
    to: str
    note: str = ""


class SaveHumanTaskDraft(msgspec.Struct, frozen=True, gc=False):
    """Keep what has been filled in so far."""

    at: datetime
    action: int
    person: Person
    data: object


class CommentHumanTask(msgspec.Struct, frozen=True, gc=False):
    """Say something about a human task."""

    at: datetime
    action: int
    person: Person
    text: str


class SeeHumanTask(msgspec.Struct, frozen=True, gc=False):
    """Note that somebody who may decide it has been shown what *etag* names."""

    at: datetime
    action: int
    person: Person
    etag: str


class AddAttachment(msgspec.Struct, frozen=True, gc=False):
    """Add a file to a human task."""

    at: datetime
    action: int
    person: Person
    #: As it is wanted; number, who and when are not asked.
    attachment: Attachment
    #: What is in it; None: it is kept elsewhere.
    content: bytes | None = None


class WithdrawAttachment(msgspec.Struct, frozen=True, gc=False):
    """Take a file back from a human task."""

    at: datetime
    action: int
    person: Person
    #: Its number.
    attachment: int
    note: str = ""


class SubmitHumanTask(msgspec.Struct, frozen=True, gc=False):
    """Decide a human task, on what *etag* names."""

    at: datetime
    action: int
    person: Person
    outcome: str
    etag: str
    reason: str = ""
    data: object = None


HumanTaskCommand = (
    ClaimHumanTask
    | ReleaseHumanTask
    | AssignHumanTask
    | DelegateHumanTask
    | SaveHumanTaskDraft
    | CommentHumanTask
    | SeeHumanTask
    | AddAttachment
    | WithdrawAttachment
    | SubmitHumanTask
)

Command = (
    StartExecution
    | PauseExecution
    | ResumeExecution
    | StopExecution
    | RerunTask
    | SkipTask
    | Answer
    | FireTimer
    | NoteChild
    | HumanTaskCommand
)
