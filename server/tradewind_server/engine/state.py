"""The state of one execution, as `evolve` builds it.

Objects here are plain records. Only `evolve` writes them; everybody else reads.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from tradewind_server.engine.attachment import Attachment
from tradewind_server.engine.contexts import EMPTY, Context

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ExecutionState(enum.StrEnum):
    """Where an execution stands."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class TaskState(enum.StrEnum):
    """Where a task stands."""

    #: A join that waits for its branches.
    WAITING = "WAITING"
    #: A timer runs: wait-before, wait-after or the delay of a retry.
    DELAYED = "DELAYED"
    #: Held by pause-before until the execution is resumed.
    PAUSED = "PAUSED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"


class ActionState(enum.StrEnum):
    """Where an action stands for the engine; its delivery to workers is none of the engine's business."""

    OPEN = "OPEN"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class HumanTaskState(enum.StrEnum):
    """Where a human task stands."""

    #: All who may do it are asked.
    OFFERED = "OFFERED"
    #: One person has taken it, or it was given to him.
    CLAIMED = "CLAIMED"
    #: Decided.
    COMPLETED = "COMPLETED"
    #: Its task went on, or ended, without a decision.
    CLOSED = "CLOSED"


FINAL_EXECUTION_STATES = frozenset({ExecutionState.SUCCEEDED, ExecutionState.FAILED, ExecutionState.CANCELLED})
FINAL_TASK_STATES = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED})


class Cause(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What made an action, and with it a task and an execution, fail."""

    #: ACTION, TIMEOUT, DEFINITION, COMMAND …
    kind: str
    #: Chosen by who reported it, e.g. ACCOUNT_CLOSED.
    code: str = ""
    #: Name and attempt of the task, where it is told of an execution.
    task: str = ""
    attempt: int = 0
    #: Whether another attempt could end otherwise; of an action.
    retryable: bool = True


class Action(msgspec.Struct, gc=False):
    """One run of an action or of a sub-workflow."""

    id: int
    task: int
    #: 0-based item of with-items; 0 for a plain task.
    index: int
    #: Name of the action after ad-hoc actions have been resolved, or of the sub-workflow.
    name: str
    kind: str
    #: Ad-hoc actions it was called through, outermost first; their `output` applies to the result in reverse order.
    wrappers: tuple[str, ...] = ()
    asynchronous: bool = False
    #: Id of the execution of a sub-workflow, else "".
    child: str = ""
    state: ActionState = ActionState.OPEN
    #: An end was asked for (cancel, timeout); an answer is awaited.
    cancelling: bool = False
    #: Attempt of the task it belongs to.
    task_attempt: int = 1
    created_at: datetime = EPOCH
    updated_at: datetime = EPOCH
    #: Revision of the event whose body holds the input.
    scheduled_revision: int = 0
    #: Revision of the event whose body holds the result; 0 while open.
    result_revision: int = 0
    result: object = None
    #: Set while it is FAILED.
    failure: Cause | None = None


class Claim(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A person has a human task, so that nobody else does what he does."""

    by: str
    #: Who gave it to him, or for whom he stands in, and stays accountable; "" for himself.
    owner: str = ""
    #: With a quorum: revision of the event with what he has filled in, 0 for nothing.
    draft_revision: int = 0


class Vote(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What one of several people said who decide a human task together."""

    by: str
    outcome: str
    #: For whom he voted; "" for himself.
    owner: str = ""
    #: In a sequence: whose turn it was.
    turn: str = ""
    #: Of its event.
    revision: int = 0
    reason: str = ""
    data: Any = None
    #: He had it in hand, perhaps since somebody gave it to him.
    was_claimed: bool = False


#: So many who have been shown a human task are known by its row; who is not is noted once more.
MOST_SEEN = 200


class HumanTask(msgspec.Struct, gc=False):
    """What a person is asked to do: an action that no worker serves."""

    #: Of its action.
    id: int
    task: int
    state: HumanTaskState
    #: Who is asked, by name and by group.
    users: tuple[str, ...]
    groups: tuple[str, ...]
    #: Who may never do it, whoever offers it to them: user -> why.
    excluded: Mapping[str, str]
    #: Names what is shown: who decides says it, so that nobody decides on what he has not seen.
    etag: str
    priority: int = 0
    #: Who has it: one at most where one decides, nobody while it is OFFERED. With a quorum each has it for his own
    #: vote, and it stays OFFERED.
    claims: tuple[Claim, ...] = ()
    #: Revision of the event that holds what is shown; of the saved draft, 0 without one.
    shown_revision: int = 0
    draft_revision: int = 0
    comment_count: int = 0
    #: When it is to be decided; None: whenever.
    due: datetime | None = None
    #: Reminders to come: (moment, which one of the definition, from 0).
    reminders: tuple[tuple[datetime, int], ...] = ()
    #: When it ends by itself; None: never.
    expires: datetime | None = None
    #: Escalations so far.
    level: int = 0
    #: So many votes for one outcome decide; 0: one person does.
    quorum: int = 0
    #: In a sequence: who votes one after the other.
    order: tuple[str, ...] = ()
    #: Those that count, on what is shown now.
    votes: tuple[Vote, ...] = ()
    #: Those that it has now, and how many it has had.
    attachments: tuple[Attachment, ...] = ()
    last_attachment: int = 0
    #: Who has been shown it last, and which etag, the latest last: so that this is noted once.
    seen: dict[str, str] = {}
    #: Who decided, and how.
    done_by: str = ""
    outcome: str = ""
    updated_at: datetime = EPOCH
    #: Revision of the last event that changed it.
    revision: int = 0

    @property
    def is_open(self) -> bool:
        """Tell whether somebody may still do it."""
        return self.state in (HumanTaskState.OFFERED, HumanTaskState.CLAIMED)

    @property
    def assignee(self) -> str:
        """Return who has it; "" for nobody, and for several."""
        return self.claims[0].by if self.claims and not self.quorum else ""

    @property
    def owner(self) -> str:
        """Return who is accountable for what the assignee does; "" for himself."""
        return self.claims[0].owner if self.claims and not self.quorum else ""

    def claim_of(self, user: str) -> Claim | None:
        """Return what *user* has of it."""
        return next((claim for claim in self.claims if claim.by == user), None)

    @property
    def voters(self) -> frozenset[str]:
        """Return who has voted, and for whom."""
        return frozenset(name for vote in self.votes for name in (vote.by, vote.owner) if name)

    @property
    def spoken_for(self) -> frozenset[str]:
        """Return whose vote is given, or in somebody's hands."""
        return self.voters.union(self.holders)

    @property
    def holders(self) -> tuple[str, ...]:
        """Return who has it, and who is accountable for that, each once."""
        return tuple(dict.fromkeys(name for claim in self.claims for name in (claim.by, claim.owner) if name))

    @property
    def to_come(self) -> tuple[str, ...]:
        """Return who in a sequence has not had his turn, the next one first."""
        gone = {vote.turn for vote in self.votes} | self.voters
        return tuple(name for name in self.order if name not in gone)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Return who in a sequence waits for his turn: he would give it away if he took another one."""
        return self.to_come[1:]

    @property
    def asked(self) -> tuple[str, ...]:
        """Return which users it is for now: in a sequence whose turn it is, and who has joined by an escalation."""
        if not self.quorum:
            return self.users
        joined = (name for name in self.users if name not in self.order)
        named = (*self.to_come[:1], *joined) if self.order else self.users
        return tuple(name for name in named if name not in self.spoken_for)


class Items(msgspec.Struct, gc=False):
    """The collections of a with-items task."""

    #: One list of values per item, in the order of the loop variables.
    values: list[list[object]]
    #: Revision of the event that holds them.
    revision: int
    #: Most items open at once; 0: no limit.
    concurrency: int
    #: Index of the first item not yet scheduled in this attempt.
    next_index: int = 0


class Task(msgspec.Struct, gc=False):
    """One task of the execution. A loop makes a new one each time; a retry or rerun does not."""

    id: int
    name: str
    state: TaskState
    created_at: datetime
    updated_at: datetime
    #: What the task sees of its branch.
    context: Context = EMPTY
    #: What its successors see: `context` plus what it published. Set when it ends.
    outbound: Context = EMPTY
    #: Ids of the tasks that chose it.
    parents: tuple[int, ...] = ()
    #: Join only: inbound task name -> id of the task that arrived in this generation.
    arrived: dict[str, int] = {}
    #: Join only: it has started in this generation.
    fired: bool = False
    #: Joins that fired before it on its way, with their generation: tells a loop from a late branch.
    rounds: Mapping[str, int] = {}
    #: 1-based; a retry and a rerun raise it.
    attempt: int = 0
    #: Attempt at which the current series of retries began; a rerun starts a new series.
    first_attempt: int = 1
    #: Attempt at which all earlier results were dropped last; a rerun of failed items keeps the others'.
    base_attempt: int = 1
    #: Why it stands where it stands, for people.
    message: str = ""
    #: State to enter when the wait-after timer fires, or "".
    pending_outcome: str = ""
    #: Failure message that goes with it.
    pending_reason: str = ""
    waited_after: bool = False
    #: The action's failure was answered by a transition of on-error.
    handled: bool = False
    #: It started at least one task when it ended.
    has_next: bool = False
    #: Names published to the branch, and the revision of the event that holds them.
    published: tuple[str, ...] = ()
    published_revision: int = 0
    items: Items | None = None
    #: Item index -> id of the action whose result counts.
    accepted: dict[int, int] = {}
    #: Actions of the current attempt that have not ended.
    open_actions: int = 0
    failed_actions: int = 0
    cancelled_actions: int = 0
    #: All actions over all attempts.
    action_count: int = 0
    #: Timer id by purpose.
    timers: dict[str, int] = {}
    keep_result: bool = True

    @property
    def is_final(self) -> bool:
        """Tell whether the task has ended."""
        return self.state in FINAL_TASK_STATES


class Backlog(msgspec.Struct, gc=False):
    """Transitions that a pause holds back."""

    task: int
    #: (target, message) in textual order; their guards were true.
    targets: list[tuple[str, str]]


class Timer(msgspec.Struct, gc=False):
    """A moment at which the execution goes on by itself."""

    id: int
    #: 0: the timer belongs to the execution.
    task: int
    purpose: str
    due: datetime


class Execution(msgspec.Struct, gc=False):
    """One execution: what `decide` looks at."""

    id: str
    namespace: str
    workflow: str
    workflow_namespace: str
    root_id: str
    #: ("", 0) for a root execution.
    parent_id: str
    parent_action: int
    semantics_version: int
    state: ExecutionState
    #: Events so far; the last one has this revision.
    revision: int
    input: Mapping[str, object]
    env: Mapping[str, object]
    params: Mapping[str, object]
    #: vars and global publishing.
    variables: Context
    created_at: datetime
    updated_at: datetime
    #: Who started the root execution: a user, or "" for nobody known.
    initiator: str = ""
    #: Of its tasks, unless they say another one.
    priority: int = 0
    #: Names whose values only those may see who have a right to.
    sensitive: Sequence[str] = ()
    #: How many executions are above it.
    depth: int = 0
    message: str | None = None
    #: Set while it is FAILED.
    failure: Cause | None = None
    output: object = None
    output_revision: int = 0
    #: When it ended; None while it has not.
    finished_at: datetime | None = None
    #: Revision of the newest event that holds `env`.
    env_revision: int = 1
    tasks: dict[int, Task] = {}
    #: Ids of open tasks, in the order of their creation.
    open_tasks: dict[int, None] = {}
    #: Latest task of each name.
    latest: dict[str, int] = {}
    actions: dict[int, Action] = {}
    open_actions: dict[int, None] = {}
    #: Those actions that people do.
    human_tasks: dict[int, HumanTask] = {}
    timers: dict[int, Timer] = {}
    backlog: list[Backlog] = []
    last_task: int = 0
    last_action: int = 0
    last_timer: int = 0

    @property
    def is_final(self) -> bool:
        """Tell whether the execution has ended; late results may still be recorded."""
        return self.state in FINAL_EXECUTION_STATES
