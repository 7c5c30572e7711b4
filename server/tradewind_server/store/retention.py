"""How long ended executions are kept, and their removal: whole trees, in bounded steps beside live traffic.

A tree goes in two steps. `take_out` removes the rows of its executions in one transaction, under their locks: from
then on nobody finds it and no command revives it. It notes their ids in `removals`, and in `log_floors` up to where the
log is no longer whole. `remove` then deletes what they left (events, tasks, actions …), some rows at a time, as long as
there are ids noted. Nothing of an open execution is ever touched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence, Set
from typing import Any

import sqlalchemy as sa

from tradewind_server.store import log, schema, worker_schema
from tradewind_server.store.filters import FINAL_STATES
from tradewind_server.store.statements import delete, insert
from tradewind_server.store.unit_of_work import Transaction

_r, _x, _e = schema.retention_rules, schema.executions, schema.events
_f, _removals = schema.log_floors, schema.removals
#: Ended executions looked at in one step, and trees taken out in one.
_LOOKED_AT, _TREES = 1_000, 20
#: What an execution leaves, and the columns that its rows are deleted by in stretches.
_LEFT = (
    (schema.actions, "action_id"),
    (schema.tasks, "task_id"),
    (schema.arrivals, "task_id"),
    (schema.queue, "action_id"),
    (worker_schema.action_slots, "action_id"),
    (worker_schema.action_logs, "action_id"),
    (schema.timers, "timer_id"),
    (schema.parked, "revision"),
    (schema.human_tasks, "action_id"),
    (schema.inbox, "action_id"),
    (schema.notifications, "revision"),
    (schema.attachments, "revision"),
    # the log last: as long as something is left, its first event tells what it was
    (schema.events, "revision"),
)
#: Of these there may be as many rows for each number.
_MANY = {worker_schema.action_logs: 1_000}
_note_removals = insert(_removals, conflict="ignore")
_delete_executions = delete(_x, ("id",))
_delete_tags = delete(schema.execution_tags, ("namespace", "tag", "execution_id"))


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One row."""

    namespace: str
    #: "": all workflows without a rule of their own.
    workflow: str
    #: None: for ever.
    keep_seconds: int | None
    updated_at: int
    actor: str


# --- rules ---------------------------------------------------------------------------------------


def put(transaction: Transaction, rule: Rule) -> Rule:
    """Make or replace a rule."""
    delete_rule(transaction, rule.namespace, rule.workflow)
    transaction.connection.execute(sa.insert(_r).values(**dataclasses.asdict(rule)))
    return rule


def delete_rule(transaction: Transaction, namespace: str, workflow: str) -> None:
    """Remove a rule, if there is one."""
    connection = transaction.connection
    transaction.has_written = True
    if connection.dialect.name == "postgresql":
        # of two that put the same one at once, the second waits here
        key = f"tradewind retention {namespace} {workflow}"
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (key,))
    connection.execute(sa.delete(_r).where(_r.c.namespace == namespace, _r.c.workflow == workflow))


def rules(connection: sa.Connection, namespace: str | None = None) -> list[Rule]:
    """Return the rules of a namespace, or all, in the order of namespaces and workflows."""
    query = sa.select(_r) if namespace is None else sa.select(_r).where(_r.c.namespace == namespace)
    return [Rule(*row) for row in connection.execute(query.order_by(_r.c.namespace, _r.c.workflow))]


# --- what is due ---------------------------------------------------------------------------------

#: How far the ended executions of a namespace have been looked at, by state: (finished_at, id) of the last.
Places = dict[tuple[str, str], tuple[int, str]]


@dataclasses.dataclass(frozen=True, slots=True)
class Due:
    """What one look found."""

    #: Ids of roots whose trees are no longer kept.
    roots: Sequence[str]
    #: How far it looked; everything before that is kept, or could not be taken out.
    places: Places
    #: It stopped before it had seen all.
    has_more: bool


def due(connection: sa.Connection, now: int, places: Places) -> Due:
    """Look for roots that have been kept long enough, those that ended first first, from *places* on."""
    by_namespace: dict[str, dict[str, int | None]] = {}
    for rule in rules(connection):
        keep = None if rule.keep_seconds is None else rule.keep_seconds * 1_000_000
        by_namespace.setdefault(rule.namespace, {})[rule.workflow] = keep
    found: list[str] = []
    places, has_more = dict(places), False
    for namespace, keeps in by_namespace.items():
        bounded = [keep for keep in keeps.values() if keep is not None]
        for state in FINAL_STATES if bounded else ():
            rows = _ended(connection, namespace, state, now - min(bounded), places.get((namespace, state)))
            for row in rows:
                keep = keeps.get(row.workflow, keeps.get("")) if row.root_id == row.id else None
                if keep is not None and row.finished_at > now - keep:
                    break  # it will be due, so the next look begins before it
                if keep is not None:
                    found.append(row.id)
                places[namespace, state] = (row.finished_at, row.id)
                if len(found) == _TREES:
                    return Due(found, places, has_more=True)
            else:
                has_more = has_more or len(rows) == _LOOKED_AT
    return Due(found, places, has_more)


def _ended(
    connection: sa.Connection, namespace: str, state: str, before: int, place: tuple[int, str] | None
) -> Sequence[Any]:
    """Return executions by their end, from the first after *place*."""
    query = sa.select(_x.c.id, _x.c.root_id, _x.c.workflow, _x.c.finished_at)
    query = query.where(_x.c.namespace == namespace, _x.c.state == state, _x.c.finished_at.is_not(None))
    query = query.where(_x.c.finished_at <= before)
    if place is not None:
        values = (sa.literal(place[0], sa.BigInteger), sa.literal(place[1]))
        query = query.where(sa.tuple_(_x.c.finished_at, _x.c.id) > sa.tuple_(*values))
    return connection.execute(query.order_by(_x.c.finished_at, _x.c.id).limit(_LOOKED_AT)).all()


# --- removal -------------------------------------------------------------------------------------


def take_out(transaction: Transaction, roots: Sequence[str], in_use: Set[str]) -> int:
    """Take whole trees out, unless something of them is open, locked, *in_use* or not yet told; return how many.

    On PostgreSQL one server at a time does this; another takes nothing out meanwhile.
    """
    connection = transaction.connection
    if connection.dialect.name == "postgresql":
        query = "SELECT pg_try_advisory_xact_lock(hashtextextended('tradewind removal', 0))"
        if not connection.exec_driver_sql(query).scalar_one():
            return 0
    limit = log.horizon_of(connection, transaction.xid)
    return sum(_take_out(transaction, root, in_use, limit) for root in roots)


def _take_out(transaction: Transaction, root: str, in_use: Set[str], limit: int) -> bool:
    connection = transaction.connection
    columns = (_x.c.id, _x.c.namespace, _x.c.state, _x.c.xid, _x.c.revision, _x.c.tags)
    query = sa.select(*columns).where(_x.c.root_id == root).order_by(_x.c.id)
    rows = connection.execute(query).all()
    if connection.dialect.name == "postgresql":
        locked = connection.execute(query.with_for_update(skip_locked=True)).all()
        if len(locked) < len(rows):
            return False
        rows = locked
    ids = [row.id for row in rows]
    is_over = bool(rows) and all(row.state in FINAL_STATES and row.xid < limit for row in rows)
    if not is_over or not in_use.isdisjoint(ids) or _has_messages(connection, ids):
        return False
    namespace = rows[0].namespace
    _raise_floor(connection, namespace, rows)
    _note_removals.run(connection, transaction.dialect, [(id_, namespace) for id_ in ids])
    tags = [(namespace, tag, row.id) for row in rows if row.tags for tag in row.tags.split("\n")]
    _delete_tags.run(connection, transaction.dialect, tags)
    _delete_executions.run(connection, transaction.dialect, [(id_,) for id_ in ids])
    transaction.has_written = True
    return True


def _has_messages(connection: sa.Connection, ids: Sequence[str]) -> bool:
    m = schema.messages.c
    return connection.execute(sa.select(m.target).where(m.target.in_(ids)).limit(1)).scalar() is not None


def _raise_floor(connection: sa.Connection, namespace: str, rows: Sequence[Any]) -> None:
    """Note that the log of *namespace* will not be whole up to the newest event of these executions."""
    newest = max(_last_places(connection, rows), default=(0, 0))
    known = log.floor(connection, namespace)
    if newest <= (known.xid, known.position):
        return
    connection.execute(sa.delete(_f).where(_f.c.namespace == namespace))
    connection.execute(sa.insert(_f).values(namespace=namespace, xid=newest[0], position=newest[1]))


def _last_places(connection: sa.Connection, rows: Sequence[Any]) -> Iterator[tuple[int, int]]:
    for row in rows:
        query = sa.select(_e.c.xid, _e.c.position).where(_e.c.execution_id == row.id, _e.c.revision == row.revision)
        found = connection.execute(query).one_or_none()
        if found is not None:
            yield found.xid, found.position


def remove(transaction: Transaction, limit: int) -> int:
    """Delete about *limit* rows of what was taken out, at most; return how many."""
    connection = transaction.connection
    query = sa.select(_removals.c.execution_id).order_by(_removals.c.execution_id).limit(limit)
    if connection.dialect.name == "postgresql":
        query = query.with_for_update(skip_locked=True)
    gone = 0
    for id_ in connection.execute(query).scalars().all():
        if gone >= limit:
            break
        gone += _empty(connection, id_, limit - gone)
        if gone < limit:  # nothing is left of it
            connection.execute(sa.delete(_removals).where(_removals.c.execution_id == id_))
            gone += 1
    transaction.has_written = transaction.has_written or bool(gone)
    return gone


def _empty(connection: sa.Connection, id_: str, limit: int) -> int:
    """Delete rows of an execution, *limit* numbers of each kind at most."""
    gone = 0
    for table, number in _LEFT:
        column = table.c[number]
        is_mine = table.c.execution_id == id_
        while gone < limit:
            first = connection.execute(sa.select(sa.func.min(column)).where(is_mine)).scalar()
            if first is None:
                break
            width = max(1, (limit - gone) // _MANY.get(table, 1))
            gone += connection.execute(sa.delete(table).where(is_mine, column < first + width)).rowcount
        if gone >= limit:
            break
    return gone
