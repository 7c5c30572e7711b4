"""Reading for callers: executions, tasks, actions, history. Keyset paging everywhere; filters are pushed down."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from tradewind_server.engine import events as e
from tradewind_server.engine.codec import decode_event
from tradewind_server.engine.state import FINAL_TASK_STATES
from tradewind_server.errors import ExecutionNotFound
from tradewind_server.store import listing, schema
from tradewind_server.store.filters import OPEN_STATES, Term, compared, filtered
from tradewind_server.store.loading import stored_event
from tradewind_server.store.records import StoredEvent
from tradewind_server.store.statements import Dialect, Select

_bodies = Select(
    schema.events, ("execution_id", "revision"), ("execution_id", "revision", "type", "type_version", "body")
)

_checkpoints = Select(schema.queue, ("execution_id", "action_id"), ("execution_id", "action_id", "checkpoint"))

#: What the detail of a task with items has in it, and of no other.
_ITEMS = b'"items_revision":'

_FINAL_TASKS = sorted(map(str, FINAL_TASK_STATES))

Condition = Callable[[Term], sa.ColumnElement[bool]]


def resolve_id(connection: sa.Connection, namespace: str, given: str) -> str:
    """Return the execution id that *given* stands for: itself, or the execution with that external id."""
    x = schema.executions.c
    found = connection.execute(sa.select(x.id).where(x.id == given, x.namespace == namespace)).scalar()
    if found is None:
        k = schema.claims.c
        claimed = sa.select(k.execution_id).where(k.namespace == namespace, k.kind == "external", k.key == given)
        found = connection.execute(claimed).scalar()
    return str(found or "")


def execution(connection: sa.Connection, namespace: str, id_: str) -> Any:
    """Return the row of one execution, or None."""
    table = schema.executions
    query = sa.select(table).where(table.c.id == id_, table.c.namespace == namespace)
    return connection.execute(query).one_or_none()


def execution_by_id(connection: sa.Connection, id_: str) -> Any:
    """Return the row of an execution that exists, or did until now.

    Raises:
        ExecutionNotFound: it is no longer kept.
    """
    table = schema.executions
    row = connection.execute(sa.select(table).where(table.c.id == id_)).one_or_none()
    if row is None:
        raise ExecutionNotFound(execution=id_, field="execution_id")
    return row


def executions_by_ids(connection: sa.Connection, ids: Sequence[str]) -> Sequence[Any]:
    """Return the rows of executions, newest first; those that are not there are left out."""
    table = schema.executions
    return connection.execute(sa.select(table).where(table.c.id.in_(ids)).order_by(table.c.id.desc())).all()


def open_ids(connection: sa.Connection, namespace: str, terms: Sequence[Term]) -> list[str]:
    """Return the ids of all executions that have not ended, newest first. *terms* may name an execution by its id."""
    x = schema.executions.c
    terms = [dataclasses.replace(t, column="id") if t.column == "execution_id" else t for t in terms]
    query = sa.select(x.id).where(x.namespace == namespace, x.state.in_(OPEN_STATES), *listing.matching(terms))
    return list(connection.execute(query.order_by(x.id.desc())).scalars())


def tasks(connection: sa.Connection, execution_id: str, terms: Sequence[Term], limit: int, after: int) -> Sequence[Any]:
    """Return tasks of an execution in the order of their creation."""
    table = schema.tasks
    query = filtered(
        sa.select(table).where(table.c.execution_id == execution_id, table.c.task_id > after), table, terms
    )
    return connection.execute(query.order_by(table.c.task_id).limit(limit)).all()


def open_tasks(connection: sa.Connection, execution_id: str) -> Sequence[Any]:
    """Return the tasks that have not ended."""
    t = schema.tasks
    query = sa.select(t).where(t.c.execution_id == execution_id, t.c.state.not_in(_FINAL_TASKS))
    return connection.execute(query.order_by(t.c.task_id)).all()


def actions_of(connection: sa.Connection, execution_id: str, task_ids: Sequence[int]) -> Sequence[Any]:
    """Return all actions of the given tasks, oldest first."""
    a = schema.actions
    query = sa.select(a).where(a.c.execution_id == execution_id, a.c.task_id.in_(task_ids))
    return connection.execute(query.order_by(a.c.action_id)).all()


def timers_of(connection: sa.Connection, execution_id: str) -> Sequence[Any]:
    """Return the timers of an execution."""
    t = schema.timers
    return connection.execute(sa.select(t).where(t.c.execution_id == execution_id)).all()


def task_counts(connection: sa.Connection, execution_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return how many tasks of each state the executions have."""
    t = schema.tasks.c
    query = sa.select(t.execution_id, t.state, sa.func.count()).where(t.execution_id.in_(execution_ids))
    counts: dict[str, dict[str, int]] = {}
    for id_, state, number in connection.execute(query.group_by(t.execution_id, t.state)):
        counts.setdefault(id_, {})[state] = number
    return counts


def task_names(connection: sa.Connection, execution_id: str) -> set[str]:
    """Return the names of the tasks that an execution has."""
    t = schema.tasks.c
    return set(connection.execute(sa.select(t.name).distinct().where(t.execution_id == execution_id)).scalars())


def tasks_at_work(connection: sa.Connection, execution_id: str) -> set[int]:
    """Return the tasks of which a worker has an action, or that a child execution runs for."""
    a, q = schema.actions, schema.queue
    joined = a.outerjoin(q, sa.and_(a.c.execution_id == q.c.execution_id, a.c.action_id == q.c.action_id))
    query = sa.select(a.c.task_id).distinct().select_from(joined)
    query = query.where(a.c.execution_id == execution_id, schema.IS_OPEN)
    return set(connection.execute(query.where((a.c.child_id != "") | (q.c.stage > 0))).scalars())


def _has_items(connection: sa.Connection, detail: sa.Column[bytes]) -> sa.ColumnElement[bool]:
    """Tell whether the task with this *detail* has items."""
    if connection.dialect.name == "sqlite":  # whose LIKE finds nothing in a blob
        return sa.func.instr(detail, _ITEMS) > 0
    return detail.op("LIKE")(b"%" + _ITEMS + b"%")


def actions(
    connection: sa.Connection,
    namespace: str,
    execution_id: str,
    terms: Sequence[Term],
    limit: int,
    after: tuple[str, int],
) -> Sequence[Any]:
    """Return actions with their delivery state, of one execution or of the namespace."""
    a, q = schema.actions, schema.queue
    delivery = [q.c[n].label(f"queue_{n}") for n in _DELIVERY]
    joined = a.outerjoin(q, sa.and_(a.c.execution_id == q.c.execution_id, a.c.action_id == q.c.action_id))
    x, t = schema.executions, schema.tasks
    joined = joined.join(x, x.c.id == a.c.execution_id)
    joined = joined.join(t, sa.and_(t.c.execution_id == a.c.execution_id, t.c.task_id == a.c.task_id))
    is_item = _has_items(connection, t.c.detail).label("is_item")
    query = sa.select(a, x.c.workflow, x.c.business_key, is_item, *delivery).select_from(joined)
    query = query.where(a.c.namespace == namespace)
    if execution_id:
        query = query.where(a.c.execution_id == execution_id)
    query = query.where(*map(_holds_of_action, terms))
    if after[0]:
        query = query.where(sa.tuple_(a.c.execution_id, a.c.action_id) > sa.tuple_(*map(sa.literal, after)))
    return connection.execute(query.order_by(a.c.execution_id, a.c.action_id).limit(limit)).all()


#: An open action is queued or runs, depending on its delivery.
_OPEN_STATES: dict[Any, sa.ColumnElement[bool]] = {
    "OPEN": schema.IS_OPEN,
    "QUEUED": sa.and_(schema.IS_OPEN, schema.IS_QUEUED),
    "RUNNING": sa.and_(schema.IS_OPEN, schema.queue.c.stage.is_distinct_from(0)),
}
#: What of an action stands in another table, too. Who has it is in the queue, who had it in its own row.
_ACTION_COLUMNS: dict[str, sa.ColumnElement[Any]] = {
    "workflow": schema.executions.c.workflow,
    "worker": sa.func.coalesce(sa.func.nullif(schema.queue.c.worker, ""), schema.actions.c.worker),
}


def _holds_of_action(term: Term) -> sa.ColumnElement[bool]:
    if term.column == "state" and term.value in _OPEN_STATES:
        wanted = _OPEN_STATES[term.value]
        return wanted if term.operator == "=" else sa.not_(wanted)
    elsewhere = _ACTION_COLUMNS.get(term.column)
    return compared(schema.actions.c[term.column] if elsewhere is None else elsewhere, term)


_DELIVERY = (
    "stage", "target", "attempt", "worker", "worker_build", "offered_at", "lease_until", "deliveries", "ready_at",
    "progress",
)  # fmt: skip


def events_at(
    connection: sa.Connection, dialect: Dialect, keys: Sequence[tuple[str, int]]
) -> Mapping[tuple[str, int], e.Event]:
    """Return the events at (execution, revision)."""
    rows = _bodies.run(connection, dialect, sorted(set(keys)))
    return {(row[0], row[1]): decode_event(row[2], row[3], bytes(row[4])) for row in rows}


def checkpoints(
    connection: sa.Connection, dialect: Dialect, keys: Sequence[tuple[str, int]]
) -> Mapping[tuple[str, int], bytes]:
    """Return the checkpoints of open actions, of those that have one."""
    rows = _checkpoints.run(connection, dialect, keys)
    return {(row[0], row[1]): bytes(row[2]) for row in rows if row[2] is not None}


def actions_after(connection: sa.Connection, execution_id: str, after: int, limit: int) -> Sequence[Any]:
    """Return actions of an execution after an id, in order."""
    namespace = execution_by_id(connection, execution_id).namespace
    return actions(connection, namespace, execution_id, [], limit, (execution_id, after))


def revisions(connection: sa.Connection, execution_id: str, after: int, limit: int) -> Sequence[Any]:
    """Return the keys of events of an execution after a revision, in order."""
    e_ = schema.events.c
    query = sa.select(e_.execution_id, e_.revision).where(e_.execution_id == execution_id, e_.revision > after)
    return connection.execute(query.order_by(e_.revision).limit(limit)).all()


def state(connection: sa.Connection, execution_id: str) -> str:
    """Return the state of an execution; "" if there is none."""
    x = schema.executions.c
    return connection.execute(sa.select(x.state).where(x.id == execution_id)).scalar() or ""


def sensitive(connection: sa.Connection, execution_ids: Sequence[str]) -> Sequence[Any]:
    """Return of executions their id, the root's, and their sensitive names, one a line."""
    x = schema.executions.c
    return connection.execute(sa.select(x.id, x.root_id, x.sensitive).where(x.id.in_(execution_ids))).all()


def sensitive_tree(connection: sa.Connection, root_id: str, limit: int) -> Sequence[Any]:
    """Return of an execution and all below it id, revision and sensitive names, *limit* at most."""
    x = schema.executions.c
    query = sa.select(x.id, x.revision, x.sensitive).where(x.root_id == root_id)
    return connection.execute(query.order_by(x.id).limit(limit)).all()


def events_of_human_task(
    connection: sa.Connection, execution_id: str, action_id: int, after: int, limit: int
) -> list[StoredEvent]:
    """Return what happened to a human task after a revision, in order."""
    t = schema.events
    query = sa.select(t).where(t.c.execution_id == execution_id, t.c.revision > after, t.c.action_id == action_id)
    query = query.where(t.c.type.startswith("HumanTask", autoescape=True))
    return [stored_event(row) for row in connection.execute(query.order_by(t.c.revision).limit(limit))]


def newest_event(connection: sa.Connection, execution_id: str, type_: str) -> Any:
    """Return the newest event of a type, or None."""
    e_ = schema.events
    query = sa.select(e_).where(e_.c.execution_id == execution_id, e_.c.type == type_)
    return connection.execute(query.order_by(e_.c.revision.desc()).limit(1)).one_or_none()


def arrived(connection: sa.Connection, execution_id: str) -> dict[int, set[str]]:
    """Return for each join the names of the tasks from which a branch has arrived."""
    a, t = schema.arrivals.c, schema.tasks.c
    query = sa.select(a.task_id, t.name).where(a.execution_id == execution_id, t.execution_id == execution_id)
    found: dict[int, set[str]] = {}
    for task_id, name in connection.execute(query.where(t.task_id == a.parent_id)):
        found.setdefault(task_id, set()).add(name)
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class ItemCounts:
    """How far a task with items is."""

    total: int
    begun: int
    done: int


def item_counts(
    connection: sa.Connection, dialect: Dialect, execution_id: str, tasks: Mapping[int, tuple[int, int, int]]
) -> dict[int, ItemCounts]:
    """Count the items of tasks, given as (attempt, attempt since which results are kept, revision of the items)."""
    bodies = events_at(connection, dialect, [(execution_id, revision) for _, _, revision in tasks.values()])
    found = {}
    for task_id, (attempt, base, revision) in tasks.items():
        a = schema.actions.c
        counts = (a.task_attempt == attempt) | ((a.state == "SUCCEEDED") & (a.task_attempt >= base))
        is_open = sa.case((schema.IS_OPEN, 1), else_=0)
        query = sa.select(sa.func.count(sa.distinct(a.item_index)), sa.func.coalesce(sa.func.sum(is_open), 0))
        begun, open_ = connection.execute(
            query.where(a.execution_id == execution_id, a.task_id == task_id, counts)
        ).one()
        started = bodies[execution_id, revision]
        assert isinstance(started, e.TaskStarted)
        found[task_id] = ItemCounts(len(started.items or []), begun, begun - int(open_))
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Waits:
    """What an open execution waits for, as rows."""

    timers: Sequence[Any]
    actions: Sequence[Any]
    #: To the execution.
    messages: Sequence[Any]
    #: State of child executions that are there, by id.
    children: Mapping[str, str]


def waits(connection: sa.Connection, namespace: str, execution_id: str, limit: int) -> Waits:
    """Return the timers, open actions and messages of an execution."""
    t, m, x = schema.timers, schema.messages, schema.executions.c
    timers = connection.execute(sa.select(t).where(t.c.execution_id == execution_id).limit(limit)).all()
    messages = connection.execute(sa.select(m).where(m.c.target == execution_id).limit(limit)).all()
    open_ = actions(connection, namespace, execution_id, [Term("state", "=", "OPEN")], limit, ("", 0))
    ids = [row.child_id for row in open_ if row.child_id]
    children = {id_: state for id_, state in connection.execute(sa.select(x.id, x.state).where(x.id.in_(ids)))}
    return Waits(timers, open_, messages, children)


def definitions(
    connection: sa.Connection,
    namespace: str,
    terms: Sequence[Term],
    all_versions: bool,
    limit: int,
    after: Sequence[Any],
) -> Sequence[Any]:
    """Return deployed definitions in the order of their names."""
    d = schema.definitions
    key = (d.c.workflow_namespace, d.c.kind, d.c.name, d.c.version)
    query = filtered(sa.select(d).where(d.c.namespace == namespace), d, [t for t in terms if t.column != "current"])
    for term in terms:
        if term.column == "current":
            query = query.where(d.c.retired_revision.is_(None) == bool(term.value))
    if not all_versions:
        query = query.where(d.c.retired_revision.is_(None))
    if after:
        query = query.where(sa.tuple_(*key) > sa.tuple_(*map(sa.literal, after)))
    return connection.execute(query.order_by(*key).limit(limit)).all()
