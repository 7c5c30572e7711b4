"""What has happened. Events are stored for ever: a new field has a default, a removed one stays readable.

Names are participles. Fields at their default are not written. `codec.py` turns events into bytes and back.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from tradewind_server.engine.attachment import Attachment


class Event(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One transition of one execution."""


class ExecutionStarted(Event, frozen=True, gc=False):
    """The execution exists and runs. Its body keeps input, env and vars."""

    execution_id: str
    namespace: str
    workflow: str
    workflow_namespace: str
    root_id: str
    semantics_version: int
    input: dict[str, Any]
    env: dict[str, Any] = {}
    params: dict[str, Any] = {}
    variables: dict[str, Any] = {}
    parent_id: str = ""
    parent_action: int = 0
    #: Who started the root execution, "" for nobody known.
    initiator: str = ""
    #: Of its tasks, unless they say another one.
    priority: int = 0
    #: Names whose values only those may see who have a right to.
    sensitive: list[str] = []
    #: How many executions are above it.
    depth: int = 0


class ExecutionPaused(Event, frozen=True, gc=False):
    """No new task starts until it is resumed."""

    message: str = ""
    #: Told to the parent: the pause came from inside.
    tell_parent: bool = False


class ExecutionResumed(Event, frozen=True, gc=False):
    """The execution goes on."""

    env: dict[str, Any] | None = None
    tell_parent: bool = False


class ExecutionCancelling(Event, frozen=True, gc=False):
    """Cancelled by an operator or the parent; running work is being told."""

    message: str = ""


class ExecutionSucceeded(Event, frozen=True, gc=False):
    """The execution ended well."""

    output: Any = None
    message: str | None = None


class ExecutionFailed(Event, frozen=True, gc=False):
    """The execution ended in error."""

    message: str | None = None
    output: Any = None
    #: Kind and code of what made it fail, and the task it came from.
    kind: str = ""
    code: str = ""
    task_name: str = ""
    attempt: int = 0


class ExecutionCancelled(Event, frozen=True, gc=False):
    """The execution ended by cancellation."""

    message: str | None = None
    output: Any = None


class ExecutionReopened(Event, frozen=True, gc=False):
    """An operator revived an ended execution (rerun, skip)."""

    env: dict[str, Any] | None = None
    tell_parent: bool = False


class TransitionsHeld(Event, frozen=True, gc=False):
    """A pause keeps these transitions of a task; (target, message)."""

    task: int
    targets: list[tuple[str, str]]


class TransitionsReleased(Event, frozen=True, gc=False):
    """The oldest held transitions are taken now."""


class TaskWaiting(Event, frozen=True, gc=False):
    """A join has been reached by its first branch, or starts a new generation."""

    task: int
    name: str
    generation: int = 1


class BranchArrived(Event, frozen=True, gc=False):
    """A branch reached a waiting join, or came too late for one that had fired."""

    task: int
    parent: int


class TaskCreated(Event, frozen=True, gc=False):
    """A task exists but does not run yet: DELAYED by wait-before, or PAUSED by pause-before."""

    task: int
    name: str
    state: str
    parents: list[int] = []
    message: str = ""


class TaskHeld(Event, frozen=True, gc=False):
    """An existing task (a fired join, a retry) is DELAYED or PAUSED before it runs."""

    task: int
    state: str
    message: str = ""
    #: Outcome that wait-after delays, or "".
    outcome: str = ""
    #: Failure message that goes with the outcome.
    reason: str = ""


class TaskContinued(Event, frozen=True, gc=False):
    """A task that its sub-workflow's pause had held runs on."""

    task: int


class JoinFired(Event, frozen=True, gc=False):
    """All branches that the join asks for have arrived."""

    task: int
    #: The tasks that arrived, in textual order.
    parents: list[int]
    #: Dictionaries merged from several branches, and their versions.
    merged: dict[str, Any] = {}
    versions: dict[str, int] = {}


class TaskStarted(Event, frozen=True, gc=False):
    """An attempt of the task begins."""

    task: int
    name: str
    attempt: int
    #: Set when the event also creates the task.
    parents: list[int] | None = None
    #: with-items: one list of values per item.
    items: list[list[Any]] | None = None
    concurrency: int = 0
    #: Rerun of failed items only: results that stay.
    keep_accepted: bool = False
    #: A rerun by an operator: retries are counted anew.
    rerun: bool = False


class ActionScheduled(Event, frozen=True, gc=False):
    """An action is to be handed out, or a sub-workflow to be started."""

    action: int
    task: int
    name: str
    input: Any
    index: int = 0
    #: "action", "workflow", "human", or "resolver": it says who is asked
    kind: str = "action"
    wrappers: list[str] = []
    asynchronous: bool = False
    #: False: a lost worker fails the action with LEASE_LOST.
    safe_rerun: bool = True
    target: str = ""
    #: Seconds the attempt may take, 0: no limit.
    timeout_seconds: int = 0
    #: Sub-workflow: id of its execution.
    child: str = ""
    #: Asynchronous, but a worker begins it.
    posted: bool = False
    priority: int = 0


class ActionSucceeded(Event, frozen=True, gc=False):
    """An action ended well; its body keeps the result."""

    action: int
    task: int
    result: Any = None


class ActionFailed(Event, frozen=True, gc=False):
    """An action ended in error; `details` is what task().result shows."""

    action: int
    task: int
    kind: str
    message: str
    code: str = ""
    details: Any = None
    retryable: bool = True


class ActionCancelled(Event, frozen=True, gc=False):
    """An action ended without a result."""

    action: int
    task: int
    message: str = ""


class ActionCancelRequested(Event, frozen=True, gc=False):
    """Whoever works on the action is told to stop."""

    action: int
    task: int


class ActionReopened(Event, frozen=True, gc=False):
    """A sub-workflow that had ended was revived, so its action is open again."""

    action: int
    task: int


class ChildOrdered(Event, frozen=True, gc=False):
    """A sub-workflow is told to pause, resume or cancel."""

    action: int
    child: str
    #: "pause", "resume", "cancel"
    order: str


class HumanTaskOffered(Event, frozen=True, gc=False):
    """People are asked to do an action, whose event before this one holds what they are shown."""

    action: int
    task: int
    users: list[str]
    groups: list[str]
    #: Names what is shown.
    etag: str
    #: User -> why he may never do it.
    excluded: dict[str, str] = {}
    priority: int = 0
    #: None of those who were meant may do it, so these are asked instead.
    is_fallback: bool = False
    #: When it is to be decided.
    due: datetime | None = None
    #: When people are reminded, and by which reminder of the definition, from 0.
    reminders: list[tuple[datetime, int]] = []
    #: When it ends by itself.
    expires: datetime | None = None
    #: So many votes for one outcome decide; 0: one person does.
    quorum: int = 0
    #: Who votes one after the other; nobody: all at once.
    order: list[str] = []
    #: Those of other human tasks, or of an earlier round.
    attachments: list[Attachment] = []


class HumanTaskResolved(Event, frozen=True, gc=False):
    """An action said who is asked."""

    action: int
    task: int
    #: Who was said by which action.
    text: str


class HumanTaskChanged(Event, frozen=True, gc=False):
    """What is shown has changed; who has seen it before must look again, and votes on that count no more."""

    action: int
    task: int
    show: dict[str, Any]
    etag: str


class HumanTaskClaimed(Event, frozen=True, gc=False):
    """A person took it."""

    action: int
    task: int
    by: str
    #: The absent user whom he stands for, or "".
    stands_for: str = ""


class HumanTaskReleased(Event, frozen=True, gc=False):
    """Whoever had it has it no more."""

    action: int
    task: int
    by: str
    note: str = ""
    #: Who is accountable has it again; "": all who may are asked again.
    back_to: str = ""
    #: Who had it; "": the one who did.
    of: str = ""


class HumanTaskAssigned(Event, frozen=True, gc=False):
    """It was given to a person."""

    action: int
    task: int
    by: str
    to: str
    note: str = ""


class HumanTaskDelegated(Event, frozen=True, gc=False):
    """Who had it, or could have it, let somebody else do it."""

    action: int
    task: int
    by: str
    to: str
    #: Who stays accountable.
    owner: str
    note: str = ""


class HumanTaskDraftSaved(Event, frozen=True, gc=False):
    """What has been filled in so far."""

    action: int
    task: int
    by: str
    data: Any = None


class HumanTaskSeen(Event, frozen=True, gc=False):
    """Somebody who may decide it has opened it: the first time, and again when something else was shown."""

    action: int
    task: int
    by: str
    #: Names what was shown.
    etag: str


class HumanTaskCommented(Event, frozen=True, gc=False):
    """Somebody said something about it."""

    action: int
    task: int
    by: str
    text: str


class HumanTaskAttachmentAdded(Event, frozen=True, gc=False):
    """A file belongs to it now; who has seen it before must look again, and votes on that count no more."""

    action: int
    task: int
    by: str
    attachment: Attachment
    #: Names what is shown now.
    etag: str


class HumanTaskAttachmentWithdrawn(Event, frozen=True, gc=False):
    """A file belongs to it no more; who has seen it before must look again, and votes on that count no more."""

    action: int
    task: int
    by: str
    #: As it was added.
    attachment: Attachment
    #: Names what is shown now.
    etag: str
    note: str = ""


class HumanTaskVoted(Event, frozen=True, gc=False):
    """One of several who decide together has said how; it ends with this only if another event says so."""

    action: int
    task: int
    by: str
    outcome: str
    #: Names what he saw.
    etag: str
    reason: str = ""
    data: Any = None
    #: For whom; "" for himself.
    owner: str = ""
    #: In a sequence: whose turn it was.
    turn: str = ""


class HumanTaskEscalated(Event, frozen=True, gc=False):
    """Nobody decided in time: more people are asked, and whoever had it has it no more."""

    action: int
    task: int
    #: Escalations so far, this one included.
    level: int
    #: Who is asked as well.
    users: list[str] = []
    groups: list[str] = []
    #: Why nobody more could be asked, or "".
    message: str = ""


class HumanTaskReminded(Event, frozen=True, gc=False):
    """Whoever has it, or is asked, is told once more."""

    action: int
    task: int
    #: How many of its reminders were due: what came while no server ran is one.
    passed: int = 1


class HumanTaskExpired(Event, frozen=True, gc=False):
    """Nobody decided in time: it ended by itself."""

    action: int
    task: int
    #: As if it had been decided so; "": its action fails.
    outcome: str = ""
    #: Names what was shown.
    etag: str = ""


class HumanTaskClosed(Event, frozen=True, gc=False):
    """Its action ended without a decision."""

    action: int
    task: int
    message: str = ""


class HumanTaskCompleted(Event, frozen=True, gc=False):
    """A person decided; the result of its action follows."""

    action: int
    task: int
    by: str
    outcome: str
    #: Names what he saw.
    etag: str
    reason: str = ""
    owner: str = ""


class NotificationRequested(Event, frozen=True, gc=False):
    """Somebody is to be told something: a row of the outbox for each recipient, in the same transaction."""

    #: "offered", "reminder", "escalated", "expired", "closed".
    kind: str
    users: list[str]
    groups: list[str]
    #: What may be said.
    subject: dict[str, Any]
    #: Over which channels, in this order; none named: those of each recipient.
    channels: list[str] = []
    #: What it is about; 0: the execution itself.
    action: int = 0
    task: int = 0


class TaskSucceeded(Event, frozen=True, gc=False):
    """The task ended well."""

    task: int
    published: dict[str, Any] = {}
    globals: dict[str, Any] = {}
    #: Names of the tasks that follow.
    next: list[str] = []
    drop_result: bool = False


class TaskFailed(Event, frozen=True, gc=False):
    """The task ended in error."""

    task: int
    message: str
    published: dict[str, Any] = {}
    globals: dict[str, Any] = {}
    next: list[str] = []
    #: on-error answered it.
    handled: bool = False
    drop_result: bool = False


class TaskCancelled(Event, frozen=True, gc=False):
    """The task ended by cancellation."""

    task: int
    message: str = ""


class TaskSkipped(Event, frozen=True, gc=False):
    """An operator skipped the failed task."""

    task: int
    published: dict[str, Any] = {}
    globals: dict[str, Any] = {}
    next: list[str] = []


class TimerSet(Event, frozen=True, gc=False):
    """The execution goes on by itself at `due`."""

    timer: int
    purpose: str
    due: datetime
    task: int = 0


class TimerEnded(Event, frozen=True, gc=False):
    """The timer fired or is not needed any more."""

    timer: int
