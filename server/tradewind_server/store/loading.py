"""Rows to state: what replaying the log would give, without reading the log.

Values are read from the events that rows point to. A test compares both ways after every scenario.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec
import sqlalchemy as sa

from tradewind_server.clock import from_microseconds
from tradewind_server.engine import events as e
from tradewind_server.engine.codec import decode_event
from tradewind_server.engine.contexts import EMPTY, Context
from tradewind_server.engine.evolve import create, is_kept
from tradewind_server.engine.state import (
    FINAL_TASK_STATES,
    Action,
    ActionState,
    Backlog,
    Cause,
    Execution,
    ExecutionState,
    HumanTask,
    Items,
    Task,
    TaskState,
    Timer,
    Vote,
)
from tradewind_server.store import human_task_rows, schema
from tradewind_server.store.human_task_rows import HumanTaskDetail
from tradewind_server.store.projection import ExecutionDetail, TaskDetail
from tradewind_server.store.records import Live, StoredEvent, envelope_of
from tradewind_server.store.statements import Dialect, Select

_execution_detail = msgspec.json.Decoder(ExecutionDetail)
_task_detail = msgspec.json.Decoder(TaskDetail)
_human_task_detail = msgspec.json.Decoder(HumanTaskDetail)
_cause = msgspec.json.Decoder(Cause)

EVENT_COLUMNS = tuple(column.name for column in schema.events.columns)

_bodies = Select(schema.events, ("execution_id", "revision"), ("revision", "type", "type_version", "body", "trace"))

Origins = Mapping[str, tuple[int, int]]


def load(connection: sa.Connection, dialect: Dialect, execution_id: str) -> Live | None:
    """Return the execution as its rows tell it, or None when there is none."""
    row = connection.execute(sa.select(schema.executions).where(schema.executions.c.id == execution_id)).one_or_none()
    return None if row is None else _Loader(connection, dialect, row).live()


class _Loader:
    """Loads one execution: rows first, then the bodies of the events they point to."""

    def __init__(self, connection: sa.Connection, dialect: Dialect, row: Any) -> None:
        self._connection = connection
        self._dialect = dialect
        self._row = row
        self._detail = _execution_detail.decode(row.detail)
        self._events: dict[int, e.Event] = {}
        self._bytes = 0
        self._trace = ""

    def live(self) -> Live:
        tasks = self._rows(schema.tasks, "task_id")
        actions = self._rows(schema.actions, "action_id")
        details = {row.task_id: _task_detail.decode(row.detail) for row in tasks}
        human = self._rows(schema.human_tasks, "action_id") if any(row.kind == "human" for row in actions) else ()
        people = [_human_task_detail.decode(row.detail) for row in human]
        votes = {vote.revision for detail in people for vote in detail.votes}
        self._read_bodies(self._revisions(tasks, actions, details) | votes)
        state = self._execution()
        for row in tasks:
            self._add_task(state, row, details[row.task_id])
        for row in self._rows(schema.arrivals, "revision"):
            parent = state.tasks[row.parent_id]
            state.tasks[row.task_id].arrived[parent.name] = parent.id
        for row in actions:
            self._add_action(state, row)
        for row, who in zip(human, people, strict=True):
            state.human_tasks[row.action_id] = _human_task(row, who, self._events)
        for row in self._rows(schema.timers, "timer_id"):
            due = from_microseconds(row.due_at)
            state.timers[row.timer_id] = Timer(row.timer_id, row.task_id, row.purpose, due)
            if row.task_id:
                state.tasks[row.task_id].timers[row.purpose] = row.timer_id
        return Live(envelope_of(self._row), state, self._row.xid, self._bytes, trace=self._trace)

    def _rows(self, table: sa.Table, order: str) -> Sequence[Any]:
        query = sa.select(table).where(table.c.execution_id == self._row.id).order_by(table.c[order])
        return self._connection.execute(query).all()

    def _revisions(self, tasks: Sequence[Any], actions: Sequence[Any], details: Mapping[int, TaskDetail]) -> set[int]:
        wanted = {1, self._row.env_revision, self._row.output_revision}
        wanted.update(revision for revision, _ in self._detail.variables.values())
        for row in tasks:
            detail = details[row.task_id]
            wanted.update(revision for revision, _ in detail.context.values())
            wanted.add(detail.items_revision)
            if detail.published:
                wanted.add(row.published_revision)
        wanted.update(row.result_revision for row in actions)
        wanted.discard(0)
        return wanted

    def _read_bodies(self, revisions: Iterable[int]) -> None:
        keys = [(self._row.id, revision) for revision in sorted(revisions)]
        for revision, type_, version, body, trace in _bodies.run(self._connection, self._dialect, keys):
            self._trace = trace if revision == 1 else self._trace
            self._events[revision] = decode_event(type_, version, bytes(body))
            self._bytes += len(body)

    def _execution(self) -> Execution:
        row, detail = self._row, self._detail
        started = cast("e.ExecutionStarted", self._events[1])
        state = create(started, from_microseconds(row.created_at))
        state.state, state.message = ExecutionState(row.state), row.message
        state.failure = cause_of(row)
        state.revision, state.updated_at = row.revision, from_microseconds(row.updated_at)
        state.finished_at = None if row.finished_at is None else from_microseconds(row.finished_at)
        state.output_revision, state.env_revision = row.output_revision, row.env_revision
        if row.output_revision:
            state.output = getattr(self._events[row.output_revision], "output", None)
        env = getattr(self._events[row.env_revision], "env", None)
        state.env = started.env if env is None else env
        state.variables = self._context(detail.variables, ("globals", "variables"))
        state.backlog = [Backlog(task, [(t, m) for t, m in targets]) for task, targets in detail.backlog]
        state.last_task, state.last_action, state.last_timer = detail.last_task, detail.last_action, detail.last_timer
        return state

    def _context(self, origins: Origins, fields: tuple[str, ...]) -> Context:
        if not origins:
            return EMPTY
        values = {name: self._value(name, revision, fields) for name, (revision, _) in origins.items()}
        return Context(values, {name: (revision, version) for name, (revision, version) in origins.items()})

    def _value(self, name: str, revision: int, fields: tuple[str, ...]) -> object:
        event = self._events[revision]
        for field in fields:
            values = getattr(event, field, None)
            if values is not None and name in values:
                return values[name]
        raise LookupError(f"event {revision} of execution {self._row.id} does not hold '{name}'")

    def _add_task(self, state: Execution, row: Any, detail: TaskDetail) -> None:
        task = Task(
            row.task_id,
            row.name,
            TaskState(row.state),
            from_microseconds(row.created_at),
            from_microseconds(row.updated_at),
            parents=tuple(detail.parents),
        )
        task.context = self._shared_context(state, task, detail)
        task.attempt, task.message = row.attempt, row.message
        for name in ("fired", "rounds", "first_attempt", "base_attempt", "pending_outcome", "pending_reason",
                     "waited_after", "handled", "has_next", "keep_result"):  # fmt: skip
            setattr(task, name, getattr(detail, name))
        if task.state in FINAL_TASK_STATES:
            task.published, task.published_revision = tuple(detail.published), row.published_revision
            values = {name: self._value(name, row.published_revision, ("published",)) for name in detail.published}
            task.outbound = task.context.published(values, row.published_revision)
        else:
            state.open_tasks[task.id] = None
        if detail.items_revision:
            started = cast("e.TaskStarted", self._events[detail.items_revision])
            task.items = Items(started.items or [], detail.items_revision, detail.concurrency)
        state.tasks[task.id] = task
        state.latest[task.name] = task.id

    def _shared_context(self, state: Execution, task: Task, detail: TaskDetail) -> Context:
        """Return the parent's very object where it is the same, as evolving would."""
        if len(task.parents) == 1 and task.parents[0] in state.tasks:
            inherited = state.tasks[task.parents[0]].outbound
            if inherited.origins == detail.context:
                return inherited
        return self._context(detail.context, ("published", "merged"))

    def _add_action(self, state: Execution, row: Any) -> None:
        action = Action(
            row.action_id,
            row.task_id,
            row.item_index,
            row.name,
            row.kind,
            tuple(row.wrappers.split("\n")) if row.wrappers else (),
            bool(row.asynchronous),
            row.child_id,
            ActionState(row.state),
            bool(row.cancelling),
            row.task_attempt,
            from_microseconds(row.created_at),
            from_microseconds(row.updated_at),
            row.scheduled_revision,
            row.result_revision,
        )
        if action.result_revision:
            event = self._events[action.result_revision]
            action.result = _result(event)
            action.failure = _failure(event)
        state.actions[action.id] = action
        if action.state is ActionState.OPEN:
            state.open_actions[action.id] = None
        _count(state.tasks[action.task], action)


def _human_task(row: Any, detail: HumanTaskDetail, events: Mapping[int, e.Event]) -> HumanTask:
    human_task = human_task_rows.state_of(row, detail)
    human_task.votes = tuple(_vote(vote, events[vote.revision]) for vote in human_task.votes)
    return human_task


def _vote(vote: Vote, event: e.Event) -> Vote:
    voted = cast("e.HumanTaskVoted", event)
    return msgspec.structs.replace(vote, reason=voted.reason, data=voted.data)


def _failure(event: e.Event) -> Cause | None:
    return Cause(event.kind, event.code, retryable=event.retryable) if isinstance(event, e.ActionFailed) else None


def cause_of(row: Any) -> Cause | None:
    """Return what made the execution of *row* fail."""
    return None if row.failure is None else _cause.decode(row.failure)


def _result(event: e.Event) -> object:
    if isinstance(event, e.ActionSucceeded):
        return event.result
    if isinstance(event, e.ActionFailed):
        return event.details if event.details is not None else event.message
    return None


def _count(task: Task, action: Action) -> None:
    """Derive what `evolve` counts from the actions of the task, oldest first."""
    task.action_count += 1
    is_current = action.task_attempt == task.attempt
    kept = action.task_attempt >= task.base_attempt and is_kept(action)
    if not (is_current or kept):
        return
    task.accepted[action.index] = action.id
    if is_current:
        task.open_actions += action.state is ActionState.OPEN
        task.failed_actions += action.state is ActionState.FAILED
        task.cancelled_actions += action.state is ActionState.CANCELLED
        if task.items is not None:
            task.items.next_index = max(task.items.next_index, action.index + 1)


def read_events(connection: sa.Connection, execution_id: str, after: int, limit: int) -> list[StoredEvent]:
    """Return events of one execution in order, those after revision *after*, *limit* at most."""
    table = schema.events
    query = sa.select(table).where(table.c.execution_id == execution_id, table.c.revision > after)
    rows = connection.execute(query.order_by(table.c.revision).limit(limit))
    return [stored_event(row) for row in rows]


def stored_event(row: Any) -> StoredEvent:
    """Return a row of the log as a record."""
    values = row._mapping
    return StoredEvent(**{name: values[name] for name in EVENT_COLUMNS[:-1]}, body=bytes(values["body"]))
