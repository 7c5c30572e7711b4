"""What the server answers with, as plain immutable values.

States are the names of the API without prefix, e.g. "RUNNING"; one that a newer server made up is its number as text.
Each value keeps the message it came from in `proto`, for what is not repeated here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tradewind import values
from tradewind.v1 import (
    action_pb2,
    actor_pb2,
    definition_pb2,
    environment_pb2,
    event_pb2,
    execution_pb2,
    execution_service_pb2,
    failure_pb2,
    payload_pb2,
    retention_pb2,
    subscription_pb2,
    task_pb2,
)

#: States that an execution does not leave by itself.
FINAL_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})

T = TypeVar("T")


class _Enum(Protocol):
    def Name(self, number: Any) -> str: ...


def _name(enum: _Enum, prefix: str, number: int) -> str:
    try:
        return enum.Name(number).removeprefix(prefix)
    except ValueError:
        return str(number)


def _changed(enum: _Enum, prefix: str, number: int) -> str:
    return _name(enum, prefix, number) if number else ""


def moment(message: Message, name: str) -> datetime | None:
    """Return the field *name*, a moment; None if it is not set."""
    return getattr(message, name).ToDatetime(tzinfo=UTC) if message.HasField(name) else None


def _at(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)


def _value(message: Message, name: str) -> values.Value:
    payload: payload_pb2.Payload = getattr(message, name)
    return values.from_payload(payload) if message.HasField(name) else None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an action, task or execution failed."""

    kind: str
    code: str
    message: str
    details: values.Value
    #: Whether trying again can help.
    retryable: bool
    #: Task, attempt, worker, file and line, as far as known.
    origin: str
    proto: failure_pb2.Failure = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: Message) -> Failure | None:
        """Read the field `failure` of *message*; None if it is absent."""
        if not message.HasField("failure"):
            return None
        proto: failure_pb2.Failure = message.failure  # type: ignore[attr-defined]
        return cls(
            _name(failure_pb2.FailureKind, "FAILURE_KIND_", proto.kind),
            proto.code,
            proto.message,
            _value(proto, "details"),
            proto.retryable if proto.HasField("retryable") else True,
            _origin(proto.origin),
            proto,
        )


def _origin(proto: failure_pb2.FailureOrigin) -> str:
    place = f"{proto.file}:{proto.line}" if proto.file else ""
    parts = (f"task {proto.task}" if proto.task else "", f"worker {proto.worker}" if proto.worker else "", place)
    return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of a workflow. Payloads are None in answers that leave them out."""

    id: str
    workflow: str
    state: str
    state_message: str
    #: Number of its last event.
    revision: int
    external_id: str
    business_key: str
    input: values.Value
    output: values.Value
    env: values.Value
    failure: Failure | None
    tags: tuple[str, ...]
    description: str
    root_id: str
    #: Id of the execution that started it; "" if it is the root.
    parent_id: str
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    #: How many of its tasks are in which state, by lower-case name.
    task_counts: dict[str, int]
    proto: execution_pb2.Execution = field(repr=False, compare=False)

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.state in FINAL_STATES

    @classmethod
    def read(cls, proto: execution_pb2.Execution) -> Execution:
        """Read the message."""
        counts = proto.task_counts
        return cls(
            proto.id,
            proto.workflow,
            _name(execution_pb2.ExecutionState, "EXECUTION_STATE_", proto.state),
            proto.state_message,
            proto.revision,
            proto.external_id,
            proto.business_key,
            _value(proto, "input"),
            _value(proto, "output"),
            _value(proto, "env"),
            Failure.read(proto),
            tuple(proto.tags),
            proto.description,
            proto.root_id,
            proto.parent.execution_id,
            _at(proto.created_at),
            _at(proto.updated_at),
            moment(proto, "finished_at"),
            {descriptor.name: number for descriptor, number in counts.ListFields()},
            proto,
        )


@dataclass(frozen=True, slots=True)
class Task:
    """One step of an execution."""

    id: str
    name: str
    #: "ACTION" or "WORKFLOW".
    kind: str
    callee: str
    state: str
    state_message: str
    attempt: int
    published: values.Value
    result: values.Value
    failure: Failure | None
    child_execution_ids: tuple[str, ...]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    proto: task_pb2.Task = field(repr=False, compare=False)

    @classmethod
    def read(cls, proto: task_pb2.Task) -> Task:
        """Read the message."""
        return cls(
            proto.id,
            proto.name,
            _name(task_pb2.TaskKind, "TASK_KIND_", proto.kind),
            proto.callee,
            _name(task_pb2.TaskState, "TASK_STATE_", proto.state),
            proto.state_message,
            proto.attempt,
            _value(proto, "published"),
            _value(proto, "result"),
            Failure.read(proto),
            tuple(proto.child_execution_ids),
            _at(proto.created_at),
            moment(proto, "started_at"),
            moment(proto, "finished_at"),
            proto,
        )


@dataclass(frozen=True, slots=True)
class LogLine:
    """What a worker wrote about its action."""

    action_id: str
    attempt: int
    at: datetime
    #: "DEBUG", "INFO", "WARNING" or "ERROR".
    level: str
    message: str

    @classmethod
    def read(cls, proto: action_pb2.LogLine) -> LogLine:
        """Read the message."""
        level = _name(action_pb2.LogLevel, "LOG_LEVEL_", proto.level)
        return cls(proto.action_id, proto.attempt, _at(proto.at), level, proto.message)


@dataclass(frozen=True, slots=True)
class Action:
    """One call that a task makes."""

    id: str
    execution_id: str
    task: str
    name: str
    #: Index of the item; None if the task has no items.
    item_index: int | None
    attempt: int
    state: str
    input: values.Value
    result: values.Value
    failure: Failure | None
    worker: str
    #: Whether it waits for `complete_action` or `fail_action`.
    asynchronous: bool
    created_at: datetime
    #: When its last attempt was handed to a worker.
    started_at: datetime | None
    finished_at: datetime | None
    #: What its worker last said of how far it is; "" if nothing.
    progress: str
    #: What its worker stored last for the next attempt; None if nothing, and once it has ended.
    checkpoint: values.Value
    #: The newest line of its log; None if there is none, and once it has ended.
    last_log: LogLine | None
    proto: action_pb2.Action = field(repr=False, compare=False)

    @classmethod
    def read(cls, proto: action_pb2.Action) -> Action:
        """Read the message."""
        return cls(
            proto.id,
            proto.execution_id,
            proto.task,
            proto.name,
            proto.item_index if proto.HasField("item_index") else None,
            proto.attempt,
            _name(action_pb2.ActionState, "ACTION_STATE_", proto.state),
            _value(proto, "input"),
            _value(proto, "result"),
            Failure.read(proto),
            proto.worker,
            proto.asynchronous,
            _at(proto.created_at),
            moment(proto, "started_at"),
            moment(proto, "finished_at"),
            proto.progress_message,
            _value(proto, "checkpoint"),
            LogLine.read(proto.last_log) if proto.HasField("last_log") else None,
            proto,
        )


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in an execution."""

    execution_id: str
    revision: int
    #: A participle, e.g. "TaskSucceeded".
    type: str
    at: datetime
    #: Kind and name of who caused it, e.g. "WORKER payroll-1".
    actor: str
    #: Name of the command that caused it.
    command: str
    task: str
    task_id: str
    action_id: str
    #: New states; "" where the event changes none.
    execution_state: str
    task_state: str
    action_state: str
    body: values.Value
    proto: event_pb2.Event = field(repr=False, compare=False)

    @classmethod
    def read(cls, proto: event_pb2.Event) -> Event:
        """Read the message."""
        kind = _name(actor_pb2.ActorKind, "ACTOR_KIND_", proto.actor.kind)
        return cls(
            proto.execution_id,
            proto.revision,
            proto.type,
            _at(proto.at),
            f"{kind} {proto.actor.name}".strip(),
            proto.cause.command,
            proto.task,
            proto.task_id,
            proto.action_id,
            _name(execution_pb2.ExecutionState, "EXECUTION_STATE_", proto.execution_state)
            if proto.execution_state
            else "",
            _changed(task_pb2.TaskState, "TASK_STATE_", proto.task_state),
            _changed(action_pb2.ActionState, "ACTION_STATE_", proto.action_state),
            _value(proto, "body"),
            proto,
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An execution and its tasks as of one revision."""

    execution: Execution
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Update:
    """What a watch tells: the events of one command, or a snapshot to begin with."""

    #: Revision up to which the watcher now knows everything.
    revision: int
    events: tuple[Event, ...] = ()
    snapshot: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class LogUpdate:
    """What a watch of a namespace tells: events, a snapshot to begin with, or only how far it is."""

    #: Where to resume after everything that this stands for.
    cursor: str
    events: tuple[Event, ...] = ()
    #: Open executions with their payloads: all of them in the first update, if a snapshot was asked for.
    executions: tuple[Execution, ...] = ()
    #: Events that were left out since later ones replace them.
    coalesced: int = 0
    #: How long ago something happened that the server may not send yet, seconds, and what holds it back.
    lag: float = 0.0
    held_by: str = ""


@dataclass(frozen=True, slots=True)
class ActionLogUpdate:
    """What workers wrote about actions."""

    #: Where to resume after these lines.
    cursor: str
    lines: tuple[LogLine, ...]


@dataclass(frozen=True, slots=True)
class Exported:
    """A whole execution."""

    execution: Execution
    tasks: tuple[Task, ...]
    actions: tuple[Action, ...]
    events: tuple[Event, ...]
    #: Where to resume after it.
    cursor: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a definition."""

    #: "ERROR" or "WARNING".
    severity: str
    code: str
    file: str
    line: int
    column: int
    path: str
    message: str
    fix: str

    @classmethod
    def read(cls, proto: definition_pb2.Problem) -> Problem:
        """Read the message."""
        severity = _name(definition_pb2.ProblemSeverity, "PROBLEM_SEVERITY_", proto.severity)
        place = (proto.file, proto.line, proto.column, proto.path)
        return cls(severity, proto.code, *place, proto.message, proto.fix)


@dataclass(frozen=True, slots=True)
class Environment:
    """A stored set of variables."""

    name: str
    description: str
    #: None in lists.
    variables: values.Value
    etag: str
    updated_at: datetime | None
    proto: environment_pb2.Environment = field(repr=False, compare=False)

    @classmethod
    def read(cls, proto: environment_pb2.Environment) -> Environment:
        """Read the message."""
        variables = _value(proto, "variables")
        return cls(proto.name, proto.description, variables, proto.etag, moment(proto, "updated_at"), proto)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where the server sends the events of a subscription. What is not given is the server's default."""

    url: str
    #: Sent along; values may hold secret('name').
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Name of the server's secret to sign with; "" not to sign.
    signing_secret: str = ""
    #: Seconds that the receiver may take; 0 for the default.
    timeout: float = 0.0
    #: After so many attempts, or so many seconds since the first, an event is a dead letter; 0 for the default.
    max_attempts: int = 0
    max_age: float = 0.0

    @classmethod
    def read(cls, proto: subscription_pb2.Webhook) -> Webhook:
        """Read the message."""
        return cls(
            proto.url,
            dict(proto.headers),
            proto.signing_secret,
            proto.timeout.ToTimedelta().total_seconds(),
            proto.max_attempts,
            proto.max_age.ToTimedelta().total_seconds(),
        )

    def write(self) -> subscription_pb2.Webhook:
        """Build the message."""
        proto = subscription_pb2.Webhook(
            url=self.url,
            headers=self.headers,
            signing_secret=self.signing_secret,
            max_attempts=self.max_attempts,
        )
        proto.timeout.FromTimedelta(timedelta(seconds=self.timeout))
        proto.max_age.FromTimedelta(timedelta(seconds=self.max_age))
        return proto


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a webhook refused too often, and with it all later ones of its execution."""

    execution_id: str
    #: Of the event that was refused, and of the last one that waits behind it.
    revision: int
    last_revision: int
    attempts: int
    given_up_at: datetime | None
    #: What went wrong the last time.
    message: str
    proto: subscription_pb2.DeadLetter = field(repr=False, compare=False)

    @classmethod
    def read(cls, proto: subscription_pb2.DeadLetter) -> DeadLetter:
        """Read the message."""
        return cls(
            proto.execution_id,
            proto.revision,
            proto.last_revision,
            proto.attempts,
            moment(proto, "given_up_at"),
            proto.message,
            proto,
        )


@dataclass(frozen=True, slots=True)
class Subscription:
    """A named reader of the log whose place the server keeps."""

    name: str
    description: str
    #: Which events, as for `watch_events`; "" for all.
    filter: str
    #: "ACTIVE" or "DISABLED".
    state: str
    #: Why it is DISABLED.
    state_message: str
    #: Place in the log up to which everything is acknowledged, or sent.
    cursor: str
    #: Age in seconds of the oldest event after it; None if there is none.
    lag: float | None
    #: Events after it, whatever the filter, in the next 1,000 commands; 0 in lists.
    pending_events: int
    #: Who consumes, or did last.
    consumer: str
    #: Where the server sends the events; None: `consume` takes them.
    webhook: Webhook | None
    #: Executions of which something is tried again, and of which it was given up; 0 in lists.
    waiting_executions: int
    dead_letters: int
    etag: str
    updated_at: datetime | None
    proto: subscription_pb2.Subscription = field(repr=False, compare=False)

    @classmethod
    def read(cls, proto: subscription_pb2.Subscription) -> Subscription:
        """Read the message."""
        return cls(
            proto.name,
            proto.description,
            proto.filter,
            _name(subscription_pb2.SubscriptionState, "SUBSCRIPTION_STATE_", proto.state),
            proto.state_message,
            proto.cursor,
            proto.lag.ToTimedelta().total_seconds() if proto.HasField("lag") else None,
            proto.pending_events,
            proto.consumer,
            Webhook.read(proto.webhook) if proto.HasField("webhook") else None,
            proto.waiting_executions,
            proto.dead_letters,
            proto.etag,
            moment(proto, "updated_at"),
            proto,
        )


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """How long executions are kept after their end."""

    #: Of their root; "" stands for all workflows without a rule of their own.
    workflow: str
    #: None: for ever.
    keep: timedelta | None
    updated_at: datetime | None
    proto: retention_pb2.RetentionRule = field(repr=False, compare=False)

    @classmethod
    def read(cls, proto: retention_pb2.RetentionRule) -> RetentionRule:
        """Read the message."""
        keep = proto.keep.ToTimedelta() if proto.HasField("keep") else None
        return cls(proto.workflow, keep, moment(proto, "updated_at"), proto)


@dataclass(frozen=True, slots=True)
class Definition:
    """One version of a workflow or action."""

    name: str
    #: "WORKFLOW" or "ACTION".
    kind: str
    version: int
    workflow_namespace: str
    description: str
    #: Names of the declared inputs in their order.
    inputs: tuple[str, ...]
    file: str
    deployed_at: datetime | None
    proto: definition_pb2.Definition = field(repr=False, compare=False)

    @classmethod
    def read(cls, proto: definition_pb2.Definition) -> Definition:
        """Read the message."""
        return cls(
            proto.name,
            _name(definition_pb2.DefinitionKind, "DEFINITION_KIND_", proto.kind),
            proto.version,
            proto.workflow_namespace,
            proto.description,
            tuple(item.name for item in proto.inputs),
            proto.file,
            moment(proto, "deployed_at"),
            proto,
        )


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is deployed now."""

    registry_revision: int
    definitions: tuple[Definition, ...]
    #: Names of the definitions of which this deployment made a new version.
    created: tuple[str, ...]
    #: Warnings.
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """One thing that an execution waits for."""

    #: "TASK", "TIMER", "ACTION", "CHILD", "PAUSE", "WORKER_ABSENT", "MESSAGE", "PERSON" or "LIMIT".
    kind: str
    task: str
    action: str
    action_id: str
    child_execution_id: str
    since: datetime | None
    until: datetime | None
    detail: str
    #: Of a join: the tasks from which a branch has not arrived.
    missing_tasks: tuple[str, ...] = ()

    @classmethod
    def read(cls, proto: execution_service_pb2.Wait) -> Wait:
        """Read the message."""
        return cls(
            _name(execution_service_pb2.WaitKind, "WAIT_KIND_", proto.kind),
            proto.task,
            proto.action,
            proto.action_id,
            proto.child_execution_id,
            moment(proto, "since"),
            moment(proto, "until"),
            proto.detail,
            tuple(proto.missing_tasks),
        )


@dataclass(frozen=True, slots=True)
class Groups:
    """How many executions there are, by what they have in common."""

    total: int
    #: What they have in common, in the order that was asked for, and how many; the largest groups first.
    groups: tuple[tuple[tuple[str, ...], int], ...]
    #: Whether there are more groups than these.
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Expected:
    """How long executions of the same version have taken."""

    #: How many it is taken from.
    sample_count: int
    #: Half of them, and nine in ten, took no longer.
    p50: timedelta
    p90: timedelta
    #: When the execution ends if it takes as long; None once it has ended.
    finish_p50: datetime | None
    finish_p90: datetime | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an execution is: an estimate."""

    #: Tasks that have ended, that somebody works on, that wait, and that were skipped.
    done: int
    running: int
    waiting: int
    skipped: int
    #: Tasks still to come if nothing goes wrong, and if errors are handled, too; None if the definition is gone.
    left: int | None
    left_at_most: int | None
    #: Whether a loop may run some of them again.
    open_ended: bool
    #: Of the open tasks that have items.
    items_total: int
    items_done: int
    #: None if less than five executions of the same version have succeeded.
    expected: Expected | None
    proto: execution_pb2.Progress = field(repr=False, compare=False)

    @classmethod
    def read(cls, proto: execution_pb2.Progress) -> Progress:
        """Read the message."""
        return cls(
            proto.done,
            proto.running,
            proto.waiting,
            proto.skipped,
            proto.left if proto.HasField("left") else None,
            proto.left_at_most if proto.HasField("left_at_most") else None,
            proto.open_ended,
            proto.items_total,
            proto.items_done,
            _expected(proto.expected) if proto.HasField("expected") else None,
            proto,
        )


def _expected(proto: execution_pb2.ExpectedDuration) -> Expected:
    return Expected(
        proto.sample_count,
        proto.p50.ToTimedelta(),
        proto.p90.ToTimedelta(),
        moment(proto, "finish_p50"),
        moment(proto, "finish_p90"),
    )


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of the items, and the token that gets the next ones; "" on the last page."""

    items: Sequence[T]
    next_token: str


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What the server is and can do."""

    version: str
    api_versions: tuple[str, ...]
    features: tuple[str, ...]
    #: Limits by name.
    limits: dict[str, int]
    database: str
    server_id: str
