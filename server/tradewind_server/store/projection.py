"""Events to rows. A side effect is a row that an event projects, in the same transaction.

Rows of executions, tasks and actions are written from the state in memory, once per batch, whatever the number of
events that touched them; the log gets every event.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec

from tradewind_server.clock import to_microseconds
from tradewind_server.engine import Decision
from tradewind_server.engine import events as e
from tradewind_server.engine.codec import VERSIONS
from tradewind_server.engine.state import Action, Execution, Task
from tradewind_server.lang.values import encode
from tradewind_server.store.records import QUEUED, Live, Message, Provenance, QueueRow, StoredEvent
from tradewind_server.store.statements import Row

#: A new action ranks by when it became ready; a unit of priority is worth this much, microseconds.
PRIORITY_STEP_US = 60_000_000


class TaskDetail(msgspec.Struct, omit_defaults=True):
    """The part of a task's row that only the engine reads."""

    parents: list[int]
    #: variable -> (revision, version)
    context: dict[str, tuple[int, int]]
    published: list[str]
    fired: bool = False
    rounds: dict[str, int] = {}
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


class ExecutionDetail(msgspec.Struct, omit_defaults=True):
    """The part of an execution's row that only the engine reads."""

    variables: dict[str, tuple[int, int]]
    backlog: list[tuple[int, list[tuple[str, str]]]] = []
    last_task: int = 0
    last_action: int = 0
    last_timer: int = 0


class OfferDetail(msgspec.Struct, omit_defaults=True):
    """What an offer shows beside the action itself."""

    task: str
    workflow: str
    item_index: int = -1
    business_key: str = ""
    trace: str = ""


_detail_encoder = msgspec.json.Encoder()


@dataclasses.dataclass(slots=True)
class _Touched:
    live: Live
    tasks: dict[int, None]
    actions: dict[int, None]


class Changes:
    """Everything that one batch writes."""

    def __init__(self, batch: str, xid: int) -> None:
        self.batch = batch
        self.xid = xid
        self.events: list[StoredEvent] = []
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
        self.workers: dict[tuple[str, int], str] = {}
        #: Business keys of executions that ended: (namespace, workflow, key, execution).
        self.freed_keys: list[tuple[str, str, str, str]] = []
        self._touched: dict[str, _Touched] = {}

    @property
    def row_count(self) -> int:
        """Return roughly how many rows will be written."""
        return len(self.events) * 2

    def touched(self) -> list[Live]:
        """Return the executions with new events."""
        return [touched.live for touched in self._touched.values()]

    def drop(self, execution_id: str) -> None:
        """Forget all changes of one execution."""
        self._touched.pop(execution_id, None)
        self.events = [event for event in self.events if event.execution_id != execution_id]
        self.queued = {key: row for key, row in self.queued.items() if key[0] != execution_id}
        self.unqueued = {key: None for key in self.unqueued if key[0] != execution_id}
        self.orders = [order for order in self.orders if order[0] != execution_id]
        self.messages = [message for message in self.messages if message.source != execution_id]
        self.consumed = [message for message in self.consumed if message.target != execution_id]
        self.timers = {key: row for key, row in self.timers.items() if key[0] != execution_id}
        self.ended_timers = [key for key in self.ended_timers if key[0] != execution_id]
        self.arrivals = [row for row in self.arrivals if row[0] != execution_id]

    def add(self, live: Live, decision: Decision, provenance: Provenance) -> None:
        """Project the events of one decision; the last of them is the state's current revision."""
        events = decision.events
        if not events:
            return
        envelope = live.envelope
        touched = self._touched.get(envelope.id)
        if touched is None:
            touched = self._touched[envelope.id] = _Touched(live, {}, {})
        revision = live.state.revision - len(events)
        at_us = to_microseconds(decision.at)
        for event, body in zip(events, decision.bodies, strict=True):
            revision += 1
            name, version, changes_task, effect = _KINDS[type(event)]
            task_id = getattr(event, "task", 0)
            action_id = getattr(event, "action", 0)
            task = live.state.tasks[task_id].name if task_id else ""
            self.events.append(
                StoredEvent(
                    envelope.id, revision, envelope.namespace, envelope.root_id, envelope.workflow,
                    envelope.business_key, name, version, at_us, provenance.actor, provenance.cause,
                    provenance.request_id, task_id, task, action_id, self.batch, self.xid, len(self.events),
                    provenance.trace, 1, body,
                )
            )  # fmt: skip
            if task_id and changes_task:
                touched.tasks[task_id] = None
            if action_id:
                touched.actions[action_id] = None
            if effect is not None:
                effect(self, live, event, revision, at_us, provenance)

    def rows(self) -> dict[str, list[Row]]:
        """Return the rows to write, by table."""
        executions, tasks, actions = [], [], []
        for touched in self._touched.values():
            live = touched.live
            executions.append(execution_row(live, self.xid))
            state = live.state
            for id_ in touched.tasks:
                tasks.append(task_row(live, state.tasks[id_]))
            for id_ in touched.actions:
                worker = self.workers.get((state.id, id_), "")
                actions.append(_action_row(live, state.actions[id_], worker))
        return {"executions": executions, "tasks": tasks, "actions": actions}


#: Events that name a task but leave its row as it is.
_LEAVES_TASK = frozenset(
    {"ActionScheduled", "ActionSucceeded", "ActionFailed", "ActionCancelled", "ActionCancelRequested", "BranchArrived",
     "TimerSet", "TransitionsHeld"}
)  # fmt: skip


# --- side effects --------------------------------------------------------------------------------


def _schedule(
    changes: Changes, live: Live, event: e.ActionScheduled, revision: int, at: int, provenance: Provenance
) -> None:
    envelope = live.envelope
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
            }
        )
        changes.messages.append(Message(event.child, envelope.id, revision, "start", envelope.namespace, at, body))
        return
    if event.asynchronous:
        return
    task = live.state.tasks[event.task]
    detail = OfferDetail(
        task.name, envelope.workflow, event.index if task.items else -1, envelope.business_key, provenance.trace
    )
    changes.queued[envelope.id, event.action] = QueueRow(
        envelope.id, event.action, envelope.namespace, event.name, at, at, QUEUED, 1, 0, "", "", 0, 0, 0,
        event.safe_rerun, at + event.timeout_seconds * 1_000_000 if event.timeout_seconds else 0, False, revision, "",
        None, _detail_encoder.encode(detail), encode(event.input),
    )  # fmt: skip


def _unqueue(
    changes: Changes, live: Live, event: e.ActionCancelled, revision: int, at: int, provenance: Provenance
) -> None:
    key = (live.envelope.id, event.action)
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
}

#: What a type of event is called, its version, whether it changes its task's row, and its side effect.
_KINDS = {
    cls: (cls.__name__, VERSIONS[cls.__name__], cls.__name__ not in _LEAVES_TASK, _EFFECTS.get(cls))
    for cls in e.Event.__subclasses__()
}


# --- rows of state -------------------------------------------------------------------------------


def execution_row(live: Live, xid: int) -> Row:
    """Return the row of an execution, in the order of the table's columns."""
    envelope, state = live.envelope, live.state
    detail = ExecutionDetail(
        dict(state.variables.origins),
        [(entry.task, entry.targets) for entry in state.backlog],
        state.last_task,
        state.last_action,
        state.last_timer,
    )
    updated = to_microseconds(state.updated_at)
    return (
        envelope.id, envelope.namespace, envelope.workflow, envelope.workflow_namespace, envelope.definition_version,
        envelope.registry_revision, envelope.semantics_version, envelope.root_id, envelope.parent_id,
        envelope.parent_task, envelope.parent_action, envelope.external_id, envelope.business_key,
        "\n".join(envelope.tags), envelope.description, envelope.created_by, to_microseconds(envelope.created_at),
        state.state.value, state.message, state.revision, xid, updated, _finished_at(state, updated),
        state.output_revision, state.env_revision, _detail_encoder.encode(detail),
    )  # fmt: skip


def _finished_at(state: Execution, updated: int) -> int | None:
    if not state.is_final:
        return None
    # late results move updated_at, not the end
    return to_microseconds(state.finished_at) if state.finished_at else updated


def task_row(live: Live, task: Task) -> Row:
    """Return the row of a task."""
    detail = TaskDetail(
        list(task.parents),
        dict(task.context.origins),
        list(task.published),
        task.fired,
        dict(task.rounds),
        task.first_attempt,
        task.base_attempt,
        task.pending_outcome,
        task.pending_reason,
        task.waited_after,
        task.handled,
        task.has_next,
        task.items.revision if task.items else 0,
        task.items.concurrency if task.items else 0,
        task.keep_result,
    )
    return (
        live.envelope.id, task.id, live.envelope.namespace, task.name, task.state.value, task.attempt, task.message,
        to_microseconds(task.created_at), to_microseconds(task.updated_at), task.published_revision,
        _detail_encoder.encode(detail),
    )  # fmt: skip


def _action_row(live: Live, action: Action, worker: str) -> Row:
    envelope = live.envelope
    task = live.state.tasks[action.task]
    return (
        envelope.id, action.id, envelope.namespace, action.task, task.name, action.task_attempt, action.index,
        action.name, action.kind, "\n".join(action.wrappers), int(action.asynchronous), action.child,
        int(action.cancelling), action.state.value, action.scheduled_revision, action.result_revision,
        to_microseconds(action.created_at), to_microseconds(action.updated_at), worker,
    )  # fmt: skip
