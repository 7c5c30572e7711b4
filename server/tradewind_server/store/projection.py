"""Events to rows. A side effect is a row that an event projects, in the same transaction.

Rows of executions, tasks and actions are written from the state in memory, once per batch, whatever the number of
events that touched them; the log gets every event.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from tradewind_server.clock import to_microseconds
from tradewind_server.engine import Decision
from tradewind_server.engine import events as e
from tradewind_server.engine.codec import VERSIONS
from tradewind_server.engine.four_eyes import who_did_others
from tradewind_server.engine.state import Action, Execution, HumanTaskState, Task
from tradewind_server.lang.values import encode
from tradewind_server.store import human_task_rows
from tradewind_server.store.records import (
    MARKED,
    PLAIN,
    QUEUED,
    Answered,
    Live,
    Message,
    Provenance,
    QueueRow,
    StoredEvent,
)
from tradewind_server.store.statements import Row
from tradewind_server.store.substitutes import Asked

#: A new action ranks by when it became ready; a unit of priority is worth this much, microseconds.
PRIORITY_STEP_US = 60_000_000


class TaskDetail(msgspec.Struct, omit_defaults=True, gc=False):
    """The part of a task's row that only the engine reads."""

    parents: Sequence[int]
    #: variable -> (revision, version)
    context: Mapping[str, tuple[int, int]]
    published: Sequence[str]
    fired: bool = False
    rounds: Mapping[str, int] = {}
    first_attempt: int = 1
    #: Attempt of the last start that dropped all earlier results.
    base_attempt: int = 1
    pending_outcome: str = ""
    pending_reason: str = ""
    waited_after: bool = False
    handled: bool = False
    has_next: bool = False
    items_revision: int = 0
    concurrency: int = 0
    keep_result: bool = True


class ExecutionDetail(msgspec.Struct, omit_defaults=True, gc=False):
    """The part of an execution's row that only the engine reads."""

    variables: Mapping[str, tuple[int, int]]
    backlog: list[tuple[int, list[tuple[str, str]]]] = []
    last_task: int = 0
    last_action: int = 0
    last_timer: int = 0


class OfferDetail(msgspec.Struct, omit_defaults=True, gc=False):
    """What an offer shows beside the action itself."""

    task: str
    workflow: str
    item_index: int = -1
    business_key: str = ""
    trace: str = ""
    #: Of actions that a worker only begins: who calls back is told of it.
    task_id: int = 0


#: An action that is open, or that ended without an answer.
_NOBODY = Answered("", "", 1, None)
_encode_detail = msgspec.json.Encoder().encode


class Touched(msgspec.Struct, gc=False):
    """What a batch changes of one execution."""

    live: Live
    is_new: bool
    #: The execution's own state has changed.
    turned: bool
    #: The counters before the batch: tasks and actions above them have no row yet.
    known_tasks: int
    known_actions: int
    tasks: dict[int, None]
    actions: dict[int, None]
    human_tasks: dict[int, None]
    #: Its events, and bytes of their bodies.
    events: list[StoredEvent] = []
    size_bytes: int = 0


class Rows(msgspec.Struct, gc=False):
    """The rows of state that a batch writes: whole ones of what is new, else the columns that change and the key."""

    new_executions: list[Row]
    tags: list[Row]
    #: Of executions that go on, `PROGRESS`; of those whose state changes, `TURN`.
    progress: list[Row]
    turns: list[Row]
    new_tasks: list[Row]
    tasks: list[Row]
    new_actions: list[Row]
    actions: list[Row]
    new_human_tasks: list[Row] = []
    human_tasks: list[Row] = []
    #: Human tasks whose entries are written anew: keys of the old ones, and the new ones.
    old_entries: list[Row] = []
    entries: list[Row] = []


#: Columns that change with every step of an execution, and those that change with its state.
PROGRESS = ("revision", "xid", "updated_at", "detail")
TURN = (
    *PROGRESS, "state", "message", "failure", "error_kind", "error_code", "finished_at", "output_revision",
    "env_revision",
)  # fmt: skip
TASK_CHANGES = ("state", "attempt", "message", "updated_at", "published_revision", "detail")
ACTION_CHANGES = (
    "cancelling", "state", "result_revision", "updated_at", "worker", "worker_build", "attempt", "started_at",
)  # fmt: skip


class Changes:
    """Everything that one batch writes."""

    def __init__(self, number: Callable[[], int]) -> None:
        self._number = number
        #: Rows of the log, as plain tuples.
        self.events: list[Row] = []
        self.queued: dict[tuple[str, int], QueueRow] = {}
        self.unqueued: dict[tuple[str, int], None] = {}
        #: Actions that somebody may be working on and that have ended or are to end: (execution, action, is_cancel).
        self.orders: list[tuple[str, int, bool]] = []
        self.messages: list[Message] = []
        self.consumed: list[Message] = []
        self.timers: dict[tuple[str, int], Row] = {}
        self.ended_timers: list[tuple[str, int]] = []
        self.arrivals: list[Row] = []
        #: Who ended an action.
        self.answered: dict[tuple[str, int], Answered] = {}
        #: Business keys of executions that ended: (namespace, workflow, key, execution).
        self.freed_keys: list[tuple[str, str, str, str]] = []
        #: Of human tasks that are new.
        self.titles: dict[tuple[str, int], str] = {}
        self.notifications: list[Row] = []
        #: Files that came with events: (execution, revision) -> content; and keys of older ones that are kept no more.
        self.attachments: dict[tuple[str, int], bytes] = {}
        self.dropped_attachments: list[tuple[str, int]] = []
        #: Whose substitutes are told as well.
        self.asked: list[Asked] = []
        #: By execution.
        self.touched: dict[str, Touched] = {}

    @functools.cached_property
    def xid(self) -> int:
        """Return the number of the transaction; PostgreSQL may not have told it before."""
        return self._number()

    @property
    def row_count(self) -> int:
        """Return roughly how many rows will be written."""
        return len(self.events) * 2

    def add(self, live: Live, decision: Decision, provenance: Provenance) -> None:
        """Project the events of one decision; the last of them is the state's current revision."""
        events = decision.events
        if not events:
            return
        envelope = live.envelope
        id_, tasks = envelope.id, live.state.tasks
        revision = live.state.revision - len(events)
        touched = self.touched.get(id_)
        if touched is None:
            touched = Touched(live, not revision, False, decision.known_tasks, decision.known_actions, {}, {}, {})
            self.touched[id_] = touched
        at_us = to_microseconds(decision.at)
        root_id = "" if envelope.root_id == id_ else envelope.root_id
        # what all events of a decision have in common
        namespace, workflow, business_key = envelope.namespace, envelope.workflow, envelope.business_key
        actor, cause, request_id = provenance.actor, provenance.cause, provenance.request_id
        log, xid, trace, span = self.events, self.xid, provenance.trace or live.trace, len(events)
        codec = MARKED if live.state.sensitive else PLAIN
        touched.size_bytes += sum(map(len, decision.bodies))
        for event, body in zip(events, decision.bodies, strict=True):
            revision += 1
            kind = _KINDS[type(event)]
            task_id: int = event.task if kind.has_task else 0  # type: ignore[attr-defined]
            action_id: int = event.action if kind.has_action else 0  # type: ignore[attr-defined]
            name = tasks[task_id].name if task_id else ""
            row = (id_, revision, namespace, root_id, workflow, business_key, kind.name, kind.version, at_us, actor,
                   cause, request_id, task_id, name, action_id, xid, len(log), span, trace, codec, body)  # fmt: skip
            log.append(row)
            touched.events.append(_stored(row))
            span = 0
            if task_id and kind.changes_task:
                touched.tasks[task_id] = None
            if action_id:
                touched.actions[action_id] = None
            if kind.is_turn:
                touched.turned = True
            if kind.effect is not None:
                kind.effect(self, live, event, revision, at_us, provenance)
        if decision.contents or decision.dropped:
            self._add_files(id_, decision)

    def _add_files(self, id_: str, decision: Decision) -> None:
        for revision, content in decision.contents.items():
            self.attachments[id_, revision] = content
        for revision in decision.dropped:
            # one that came in this batch is never written: no statement of it may touch a row of another
            if self.attachments.pop((id_, revision), None) is None:
                self.dropped_attachments.append((id_, revision))

    def rows(self) -> Rows:
        """Return the rows of state to write."""
        rows = Rows([], [], [], [], [], [], [], [])
        for id_, touched in self.touched.items():
            live, state = touched.live, touched.live.state
            if touched.is_new:
                rows.new_executions.append(_new_execution(live, self.xid))
                # a tag given twice is one
                rows.tags.extend((live.envelope.namespace, tag, id_) for tag in dict.fromkeys(live.envelope.tags))
            elif touched.turned:
                rows.turns.append((*_turn(state, self.xid), id_))
            else:
                rows.progress.append((*_progress(state, self.xid), id_))
            for task_id in touched.tasks:
                task = state.tasks[task_id]
                if task_id > touched.known_tasks:
                    rows.new_tasks.append(_new_task(live, task))
                else:
                    rows.tasks.append((*_task_changes(task), id_, task_id))
            for action_id in touched.actions:
                action, by = state.actions[action_id], self.answered.get((id_, action_id), _NOBODY)
                if action_id > touched.known_actions:
                    rows.new_actions.append(_new_action(live, action, by))
                else:
                    rows.actions.append((*_action_changes(action, by), id_, action_id))
            if touched.human_tasks:
                self._add_human_tasks(rows, touched)
        return rows

    def _add_human_tasks(self, rows: Rows, touched: Touched) -> None:
        live, entries = touched.live, human_task_rows.Entries(touched.live)
        for action_id in touched.human_tasks:
            key, human_task = (live.envelope.id, action_id), live.state.human_tasks[action_id]
            if action_id > touched.known_actions:
                rows.new_human_tasks.append(human_task_rows.new(live, human_task, self.titles[key]))
            else:
                rows.human_tasks.append((*human_task_rows.changes(human_task), *key))
                rows.old_entries.append(key)
            rows.entries.extend(entries.of(human_task))
        for human_task in entries.concerned(touched.human_tasks):
            rows.old_entries.append((live.envelope.id, human_task.id))
            rows.entries.extend(entries.of(human_task))
        entries.keep()

    def touch_human_task(self, execution_id: str, action_id: int) -> None:
        """Write the row of a human task, and its entries in inboxes."""
        self.touched[execution_id].human_tasks[action_id] = None


#: Events that name a task but leave its row as it is.
_LEAVES_TASK = frozenset(
    {"ActionScheduled", "ActionSucceeded", "ActionFailed", "ActionCancelled", "ActionCancelRequested", "BranchArrived",
     "TimerSet", "TransitionsHeld", "HumanTaskOffered", "HumanTaskChanged", "HumanTaskClaimed", "HumanTaskReleased",
     "HumanTaskAssigned", "HumanTaskDelegated", "HumanTaskDraftSaved", "HumanTaskCommented", "HumanTaskCompleted",
     "HumanTaskClosed", "HumanTaskEscalated", "HumanTaskReminded", "HumanTaskExpired", "NotificationRequested",
     "HumanTaskSeen", "HumanTaskResolved", "HumanTaskVoted", "HumanTaskAttachmentAdded", "HumanTaskAttachmentWithdrawn"}
)  # fmt: skip


# --- side effects --------------------------------------------------------------------------------


def _schedule(
    changes: Changes, live: Live, event: e.ActionScheduled, revision: int, at: int, provenance: Provenance
) -> None:
    envelope = live.envelope
    if event.kind == "human":
        changes.titles[envelope.id, event.action] = str(event.input["title"])
        return
    if event.kind == "workflow":
        body = encode(
            {
                "workflow": event.name,
                "input": event.input,
                "task": event.task,
                "action": event.action,
                "root_id": envelope.root_id,
                "registry_revision": envelope.registry_revision,
                "workflow_namespace": envelope.workflow_namespace,
                "env": live.state.env,
                "semantics_version": envelope.semantics_version,
                "initiator": live.state.initiator,
                "depth": live.state.depth + 1,
                "priority": event.priority,
                "trace": provenance.trace or live.trace,
                **({"sensitive": list(live.state.sensitive)} if live.state.sensitive else {}),
            }
        )
        changes.messages.append(Message(event.child, envelope.id, revision, "start", envelope.namespace, at, body))
        return
    if event.asynchronous and not event.posted:
        return
    task = live.state.tasks[event.task]
    detail = OfferDetail(
        task.name, envelope.workflow, event.index if task.items else -1, envelope.business_key,
        provenance.trace or live.trace, task.id if event.posted else 0,
    )  # fmt: skip
    rank = at - event.priority * PRIORITY_STEP_US
    changes.queued[envelope.id, event.action] = QueueRow(
        envelope.id, event.action, envelope.namespace, event.name, event.target, rank, at, QUEUED, 1, 0, "", "", 0, "",
        0, 0, 0, event.safe_rerun, at + event.timeout_seconds * 1_000_000 if event.timeout_seconds else 0, False,
        revision, "", None, _encode_detail(detail), encode(event.input),
    )  # fmt: skip


def _unqueue(
    changes: Changes, live: Live, event: e.ActionCancelled, revision: int, at: int, provenance: Provenance
) -> None:
    key = (live.envelope.id, event.action)
    if event.action in live.state.human_tasks:
        return
    changes.queued.pop(key, None)
    changes.unqueued[key] = None
    if isinstance(event, e.ActionCancelled):
        changes.orders.append((*key, False))


def _request_cancel(
    changes: Changes, live: Live, event: e.ActionCancelRequested, revision: int, at: int, provenance: Provenance
) -> None:
    changes.orders.append((live.envelope.id, event.action, True))


def _order_child(
    changes: Changes, live: Live, event: e.ChildOrdered, revision: int, at: int, provenance: Provenance
) -> None:
    envelope = live.envelope
    changes.messages.append(Message(event.child, envelope.id, revision, event.order, envelope.namespace, at, b"null"))


_ENDS = frozenset({"succeeded", "failed", "cancelled"})


def _tell_parent(kind: str) -> Callable[[Changes, Live, Any, int, int, Provenance], None]:
    def effect(changes: Changes, live: Live, event: Any, revision: int, at: int, provenance: Provenance) -> None:
        envelope = live.envelope
        if envelope.business_key and kind in _ENDS:
            changes.freed_keys.append((envelope.namespace, envelope.workflow, envelope.business_key, envelope.id))
        if not envelope.parent_id or not getattr(event, "tell_parent", True):
            return
        body = encode(
            {
                "action": envelope.parent_action,
                "output": getattr(event, "output", None),
                "message": getattr(event, "message", None),
            }
        )
        changes.messages.append(Message(envelope.parent_id, envelope.id, revision, kind, envelope.namespace, at, body))

    return effect


def _set_timer(changes: Changes, live: Live, event: e.TimerSet, revision: int, at: int, provenance: Provenance) -> None:
    envelope = live.envelope
    due = to_microseconds(event.due)
    row = (envelope.id, event.timer, envelope.namespace, event.task, event.purpose, due)
    changes.timers[envelope.id, event.timer] = row


def _end_timer(
    changes: Changes, live: Live, event: e.TimerEnded, revision: int, at: int, provenance: Provenance
) -> None:
    key = (live.envelope.id, event.timer)
    if changes.timers.pop(key, None) is None:
        changes.ended_timers.append(key)


def _arrive(
    changes: Changes, live: Live, event: e.BranchArrived, revision: int, at: int, provenance: Provenance
) -> None:
    changes.arrivals.append((live.envelope.id, event.task, event.parent, live.envelope.namespace, revision))


def _change_human_task(
    changes: Changes, live: Live, event: Any, revision: int, at: int, provenance: Provenance
) -> None:
    changes.touch_human_task(live.envelope.id, event.action)


def _notify(
    changes: Changes, live: Live, event: e.NotificationRequested, revision: int, at: int, provenance: Provenance
) -> None:
    recipients = [*(f"user:{name}" for name in event.users), *(f"group:{name}" for name in event.groups)]
    rows: list[Row] = [
        (live.envelope.id, revision, number, live.envelope.namespace, event.kind, recipient, "PENDING", at, at, "",
         0, 0, 0, 0, "", "", "", 0)
        for number, recipient in enumerate(recipients)
    ]  # fmt: skip
    changes.notifications += rows
    human_task = live.state.human_tasks.get(event.action)
    if human_task is None or human_task.state is not HumanTaskState.OFFERED:
        return
    # who stands in for one of those who are asked can do it instead
    assert live.program is not None, "an event of it has just been decided"
    others = who_did_others(live.program.spec, live.state, human_task.task)
    kept_out = others.union(human_task.excluded, human_task.spoken_for, human_task.waiting, event.users)
    for name, row in zip(event.users, rows, strict=False):
        if name in human_task.asked:
            changes.asked.append(Asked(live.envelope.namespace, name, at, row, len(recipients), kept_out))


_EFFECTS: dict[type[e.Event], Callable[[Changes, Live, Any, int, int, Provenance], None]] = {
    e.ActionScheduled: _schedule,
    e.ActionSucceeded: _unqueue,
    e.ActionFailed: _unqueue,
    e.ActionCancelled: _unqueue,
    e.ActionCancelRequested: _request_cancel,
    e.ChildOrdered: _order_child,
    e.ExecutionSucceeded: _tell_parent("succeeded"),
    e.ExecutionFailed: _tell_parent("failed"),
    e.ExecutionCancelled: _tell_parent("cancelled"),
    e.ExecutionPaused: _tell_parent("paused"),
    e.ExecutionResumed: _tell_parent("resumed"),
    e.ExecutionReopened: _tell_parent("reopened"),
    e.TimerSet: _set_timer,
    e.TimerEnded: _end_timer,
    e.BranchArrived: _arrive,
    e.HumanTaskOffered: _change_human_task,
    e.HumanTaskChanged: _change_human_task,
    e.HumanTaskClaimed: _change_human_task,
    e.HumanTaskReleased: _change_human_task,
    e.HumanTaskAssigned: _change_human_task,
    e.HumanTaskDelegated: _change_human_task,
    e.HumanTaskDraftSaved: _change_human_task,
    e.HumanTaskSeen: _change_human_task,
    e.HumanTaskCommented: _change_human_task,
    e.HumanTaskCompleted: _change_human_task,
    e.HumanTaskClosed: _change_human_task,
    e.HumanTaskVoted: _change_human_task,
    e.HumanTaskAttachmentAdded: _change_human_task,
    e.HumanTaskAttachmentWithdrawn: _change_human_task,
    e.HumanTaskEscalated: _change_human_task,
    e.HumanTaskReminded: _change_human_task,
    e.HumanTaskExpired: _change_human_task,
    e.NotificationRequested: _notify,
}


class _Kind(msgspec.Struct, frozen=True, gc=False):
    """What a type of event means for the rows."""

    name: str
    version: int
    has_task: bool
    has_action: bool
    changes_task: bool
    #: Changes the state of the execution itself.
    is_turn: bool
    effect: Callable[[Changes, Live, Any, int, int, Provenance], None] | None


def _kind(cls: type[e.Event]) -> _Kind:
    name, fields = cls.__name__, cls.__struct_fields__
    has_task, is_turn = "task" in fields, name.startswith("Execution")
    return _Kind(
        name, VERSIONS[name], has_task, "action" in fields, name not in _LEAVES_TASK, is_turn, _EFFECTS.get(cls)
    )


_KINDS = {cls: _kind(cls) for cls in e.Event.__subclasses__()}
#: As `_make`, without looking whether there are as many values as columns.
_stored = functools.partial(tuple.__new__, StoredEvent)


# --- rows of state -------------------------------------------------------------------------------


def _new_execution(live: Live, xid: int) -> Row:
    """Return the row of an execution, in the order of the table's columns."""
    envelope, state = live.envelope, live.state
    revision, xid, updated, detail, word, message, failure, kind, code, *rest = _turn(state, xid)
    return (
        envelope.id, envelope.namespace, envelope.workflow, envelope.workflow_namespace, envelope.definition_version,
        envelope.registry_revision, envelope.semantics_version, envelope.root_id, envelope.parent_id,
        envelope.parent_task, envelope.parent_action, envelope.external_id, envelope.business_key,
        "\n".join(envelope.tags), envelope.description, envelope.created_by, to_microseconds(envelope.created_at),
        word, message, failure, kind, code, revision, xid, updated, *rest, detail, "\n".join(state.sensitive),
    )  # fmt: skip


def _progress(state: Execution, xid: int) -> Row:
    """Return the columns `PROGRESS`."""
    detail = ExecutionDetail(
        state.variables.origins,
        [(entry.task, entry.targets) for entry in state.backlog],
        state.last_task,
        state.last_action,
        state.last_timer,
    )
    return (state.revision, xid, to_microseconds(state.updated_at), _encode_detail(detail))


def _turn(state: Execution, xid: int) -> Row:
    """Return the columns `TURN`."""
    progress = _progress(state, xid)
    finished_at = _finished_at(state, progress[2])
    cause = state.failure
    failure = (_encode_detail(cause), cause.kind, cause.code) if cause is not None else (None, "", "")
    revisions = (state.output_revision, state.env_revision)
    return (*progress, state.state.value, state.message, *failure, finished_at, *revisions)


def _finished_at(state: Execution, updated: int) -> int | None:
    if not state.is_final:
        return None
    # late results move updated_at, not the end
    return to_microseconds(state.finished_at) if state.finished_at else updated


def _new_task(live: Live, task: Task) -> Row:
    """Return the row of a task, in the order of the table's columns."""
    word, attempt, message, updated, published_revision, detail = _task_changes(task)
    return (
        live.envelope.id, task.id, live.envelope.namespace, task.name, word, attempt, message,
        to_microseconds(task.created_at), updated, published_revision, detail,
    )  # fmt: skip


def _task_changes(task: Task) -> Row:
    """Return the columns `TASK_CHANGES`."""
    items = task.items
    detail = TaskDetail(
        task.parents,
        task.context.origins,
        task.published,
        task.fired,
        task.rounds,
        task.first_attempt,
        task.base_attempt,
        task.pending_outcome,
        task.pending_reason,
        task.waited_after,
        task.handled,
        task.has_next,
        items.revision if items else 0,
        items.concurrency if items else 0,
        task.keep_result,
    )
    updated = to_microseconds(task.updated_at)
    return (task.state.value, task.attempt, task.message, updated, task.published_revision, _encode_detail(detail))


def _new_action(live: Live, action: Action, by: Answered) -> Row:
    """Return the row of an action, in the order of the table's columns."""
    envelope, task = live.envelope, live.state.tasks[action.task]
    cancelling, word, result_revision, updated, *answered = _action_changes(action, by)
    return (
        envelope.id, action.id, envelope.namespace, action.task, task.name, action.task_attempt, action.index,
        action.name, action.kind, "\n".join(action.wrappers), int(action.asynchronous), action.child,
        cancelling, word, action.scheduled_revision, result_revision, to_microseconds(action.created_at), updated,
        *answered,
    )  # fmt: skip


def _action_changes(action: Action, by: Answered) -> Row:
    """Return the columns `ACTION_CHANGES`."""
    updated = to_microseconds(action.updated_at)
    return (int(action.cancelling), action.state.value, action.result_revision, updated, *by)
