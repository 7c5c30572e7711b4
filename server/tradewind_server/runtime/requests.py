"""What the committer is asked to do, and what it answers.

Once a request is submitted only the committer changes it: how long it has waited, and what a lease tells of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from datetime import datetime

import msgspec

from tradewind_server.engine import commands as c
from tradewind_server.engine.state import Cause, ExecutionState
from tradewind_server.lang import Source
from tradewind_server.lang.specs import Spec
from tradewind_server.store.absences import Absence
from tradewind_server.store.environments import Environment
from tradewind_server.store.records import Envelope, LogLine, Provenance, QueueRow, StoredEvent
from tradewind_server.store.unit_of_work import Transaction

#: Called on the event loop with the answer: a value of the request's kind, or an exception.
Reply = Callable[[object], None]


class Request(msgspec.Struct, kw_only=True):
    """Something for the committer."""

    provenance: Provenance
    #: The execution it is about; "" for none. Requests of one execution are kept in order.
    target: str = ""
    reply: Reply | None = None
    #: Monotonic seconds at which another server's lock first made it wait; None: it has not waited.
    deferred_since: float | None = None
    #: Bytes that it keeps in memory while it waits.
    size_bytes: int = 200


class Start(Request, kw_only=True):
    """Start an execution; its id is stamped once and kept over retries. Answer: Started."""

    at: datetime
    namespace: str
    workflow: str
    workflow_namespace: str
    #: 0: the current one.
    definition_version: int
    input: Mapping[str, object]
    env: Mapping[str, object]
    #: Name of the stored environment to take instead, or "".
    env_name: str = ""
    params: Mapping[str, object]
    #: How many targets the parameter `notify` names.
    notified: int = 0
    external_id: str
    business_key: str
    use_existing: bool
    tags: tuple[str, ...]
    description: str
    #: Digest of all that makes the request what it is; the same request id with another digest is refused.
    digest: str


class Command(Request, kw_only=True):
    """Carry out a command on an execution. Answer: Snapshot."""

    namespace: str
    command: c.Command
    digest: str = ""
    #: Task name instead of its number, for rerun and skip.
    task_name: str = ""


class Result(Request, kw_only=True):
    """Record what a worker answered. Answer: Recorded, or a refusal."""

    namespace: str
    action_id: int
    #: 0 and 0: by reference, for asynchronous actions.
    attempt: int
    epoch: int
    worker: str
    command: c.Answer
    session: str = ""
    logs: Sequence[LogLine] = ()


def result_of(row: QueueRow, command: c.Answer, actor: str, session: str = "") -> Result:
    """Return the request that ends the action of *row*, as *actor*, and for its worker."""
    return Result(
        provenance=Provenance(actor, type(command).__name__),
        target=row.execution_id,
        namespace=row.namespace,
        action_id=row.action_id,
        attempt=row.attempt,
        epoch=row.epoch,
        worker=row.worker,
        command=command,
        session=session,
    )


class Posted(Request, kw_only=True):
    """A worker has begun an asynchronous action: it is handed to nobody any more, and waits for its result."""

    action_id: int
    attempt: int
    epoch: int


class Timer(Request, kw_only=True):
    """A timer of the target is due."""

    timer_id: int
    at: datetime


class Deliver(Request, kw_only=True):
    """Messages wait for the target."""

    at: datetime


class Claim(Request, kw_only=True):
    """A worker session has room. Answer: list of QueueRow, leased."""

    session: str
    worker: str
    build: str = ""
    namespace: str
    #: (action name, target or "", how many)
    wanted: Sequence[tuple[str, str, int]]


class Held(msgspec.Struct, kw_only=True):
    """One action that a worker says it holds."""

    execution_id: str
    action_id: int
    attempt: int
    epoch: int
    progress: str = ""
    checkpoint: bytes | None = None
    logs: Sequence[LogLine] = ()
    #: Of the action; noted when the lease is found.
    name: str = ""


class Renew(Request, kw_only=True):
    """A worker accepts, or beats for, actions. Answer: for each of `held` KEEP, CANCEL or LOST."""

    session: str
    worker: str
    held: Sequence[Held]
    #: It comes back, and may have again what went into the queue as its connection broke, if nobody has got it since.
    returning: bool = False


class Release(Request, kw_only=True):
    """Actions go back to the queue: refused by their worker, or its connection broke before it accepted them."""

    #: (held, seconds until it is offered again)
    released: Sequence[tuple[Held, int]]
    #: The worker is gone: counts as a delivery without Accept.
    lost: bool


class Sweep(Request, kw_only=True):
    """Tidy up, and look for leases that have ended."""

    at: datetime
    #: Workers could say for long enough that they are there: whoever's lease has ended is silent.
    were_heard: bool = True


class RegistryChange(Request, kw_only=True):
    """Changes what names mean in a namespace."""

    namespace: str
    workflow_namespace: str
    #: Tells a repeat of the request from another one with its id.
    digest: str = ""
    #: Unique to this very call: its mark on the request id until it is answered.
    ticket: str = ""


class Deploy(RegistryChange, kw_only=True):
    """Store definitions. Answer: Deployed."""

    sources: Sequence[tuple[Source, Sequence[Spec]]]
    at: datetime


class DeleteDefinition(RegistryChange, kw_only=True):
    """Retire a definition. Answer: the registry revision."""

    kind: str
    name: str


class PutEnvironment(Request, kw_only=True):
    """Make or replace an environment. Answer: (Environment, whether it is new)."""

    wanted: Environment
    etag: str


class DeleteEnvironment(Request, kw_only=True):
    """Remove an environment. Answer: None."""

    namespace: str
    name: str
    etag: str


class AddAbsence(Request, kw_only=True):
    """Let somebody stand in for a user. Answer: None."""

    absence: Absence


class AnnounceAbsences(Request, kw_only=True):
    """Tell the substitutes of absences that have begun what is open. Answer: an `Announced`."""

    at: datetime


class RemoveAbsence(Request, kw_only=True):
    """End an absence, as a person who may. Answer: None."""

    namespace: str
    id: str
    person: c.Person
    at: datetime


class Tidy(Request, kw_only=True):
    """Have something done in the batch's transaction that decides nothing. Answer: what it returns.

    *work* gets the transaction and the ids of the executions that the batch is about, which it leaves alone.
    """

    work: Callable[[Transaction, Set[str]], object]
    #: (namespace, action) of limits that it changes, which are locked in the order of locks.
    limits: Sequence[tuple[str, str]] = ()


KEEP, CANCEL, LOST = "keep", "cancel", "lost"


class Snapshot(msgspec.Struct, frozen=True):
    """An execution as of one revision. Its values are shared with the cache; nobody changes them."""

    envelope: Envelope
    state: ExecutionState
    message: str | None
    revision: int
    updated_at: datetime
    finished_at: datetime | None
    failure: Cause | None = None
    output: object = None
    input: Mapping[str, object] = {}
    env: Mapping[str, object] = {}
    #: Tasks by state.
    task_counts: Mapping[str, int] = {}
    #: Id of the task a rerun or skip was about.
    task_id: int = 0
    #: Some of its values are not for everybody.
    is_sensitive: bool = False


class Started(msgspec.Struct, frozen=True):
    """Answer to Start."""

    #: None: this request did not make it; read it by its id.
    snapshot: Snapshot | None
    execution_id: str
    #: It was there before the request, or before the one that it repeats.
    existing: bool


class Recorded(msgspec.Struct, frozen=True):
    """Answer to Result."""

    execution_id: str
    revision: int
    #: False: it had been recorded before.
    is_new: bool


class Announcement(msgspec.Struct, frozen=True):
    """The new events of one execution in one batch."""

    execution_id: str
    namespace: str
    revision: int
    state: ExecutionState
    events: Sequence[StoredEvent]
    #: Set when the execution has ended.
    ended: Snapshot | None = None
    #: Of the events' bodies.
    size_bytes: int = 0


class Outcome(msgspec.Struct):
    """All that the event loop must know of one batch."""

    answers: list[tuple[Request, object]] = []
    #: To be asked again, before anything newer.
    deferred: list[Request] = []
    #: Those of them that another server's lock keeps waiting; the others only came too late for this batch.
    blocked: list[Request] = []
    announcements: list[Announcement] = []
    #: (session, leased action)
    offers: list[tuple[str, QueueRow]] = []
    #: (execution, action, is_cancel): whoever works on it must hear.
    orders: list[tuple[str, int, bool]] = []
    #: (due in microseconds, execution, timer)
    timers: list[tuple[int, str, int]] = []
    ended_timers: list[tuple[str, int]] = []
    #: Executions about whose actions workers wrote something.
    logged: list[str] = []
    #: Executions that messages wait for.
    targets: list[str] = []
    #: Notifications wait to be sent that did not before.
    notified: bool = False
    #: (namespace, action name, target) of actions that were left in the queue.
    queued: set[tuple[str, str, str]] = set()
    #: (namespace, action name, target) whose queue was found empty.
    emptied: set[tuple[str, str, str]] = set()
    #: Queues from which a limit let nothing more go, each with when its rate does again, microseconds; None: when one
    #: of those in hand has ended.
    limited: dict[tuple[str, str, str], int | None] = {}
    #: Number of commands decided, for figures.
    commands: int = 0
    #: How long it took from its first decision until it was committed, for figures; of several batches each.
    commit_seconds: list[float] = []
    #: Internal follow-ups of this batch, to be queued at once.
    follow_ups: list[Request] = []

    def add(self, other: Outcome) -> None:
        """Take in all that another batch has to tell."""
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, mine | theirs if isinstance(mine, set | dict | bool) else mine + theirs)
