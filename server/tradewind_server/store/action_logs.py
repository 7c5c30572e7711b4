"""Logs of actions: what workers write, listed by action, and followed in the order in which it was committed.

Who follows misses nothing, by the rule of the log of a namespace (`log.py`): it stays below the oldest transaction that
still runs. A line is written by who locks its action's row in the queue, which the action's end removes: once that is
seen to be gone, no line comes any more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from tradewind_server.store import schema, worker_schema
from tradewind_server.store.database import Database
from tradewind_server.store.filters import FINAL_STATES
from tradewind_server.store.log import horizon
from tradewind_server.store.statements import narrowed

_t = worker_schema.action_logs


class Place(NamedTuple):
    """A place in the logs of an execution: right after a line, or at the beginning."""

    xid: int = 0
    action_id: int = 0
    epoch: int = 0
    number: int = 0


def place_after(row: Any) -> Place:
    """Return the place right after a line."""
    return Place(row.xid, row.action_id, row.epoch, row.number)


@dataclasses.dataclass(frozen=True, slots=True)
class Stretch:
    """The lines that follow a place."""

    rows: Sequence[Any]
    end: Place
    #: There was more than was asked for.
    is_cut: bool
    #: Something is committed that may not be read yet, since an older transaction still runs.
    is_held: bool
    #: Nothing follows any more.
    is_over: bool


def page(
    connection: sa.Connection, execution_id: str, action_id: int, limit: int, after: Sequence[Any]
) -> Sequence[Any]:
    """Return what workers wrote about an action, or about all of an execution for 0, action by action."""
    key = (_t.c.action_id, _t.c.epoch, _t.c.number)
    query = sa.select(_t).where(*_of(execution_id, action_id))
    if after:
        query = query.where(sa.tuple_(*key) > sa.tuple_(*map(sa.literal, after)))
    return connection.execute(query.order_by(*key).limit(limit)).all()


def read(
    database: Database, connection: sa.Connection, execution_id: str, action_id: int, start: Place, limit: int
) -> Stretch:
    """Return the next lines after *start* about an action, or about all of an execution for 0."""
    end = horizon(database, connection)
    rows = lines(connection, execution_id, action_id, start, end, limit)
    is_cut = len(rows) == limit
    is_held = not is_cut and _is_held(connection, execution_id, action_id, end)
    is_over = not is_cut and not is_held and _is_over(connection, execution_id, action_id)
    return Stretch(rows, place_after(rows[-1]) if rows else start, is_cut, is_held, is_over)


def newest(connection: sa.Connection, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Any]:
    """Return the newest line about each of some open actions (execution, action), of those that have one."""
    q, older = schema.queue.c, _t.alias()
    of = (older.c.execution_id == q.execution_id, older.c.action_id == q.action_id)
    last = sa.select(q.execution_id, q.action_id, sa.select(sa.func.max(older.c.epoch)).where(*of).label("epoch"))
    found: dict[tuple[str, int], Any] = {}
    for some in narrowed(last, [q.execution_id, q.action_id], keys):
        for row in connection.execute(_last_lines(some.subquery().c)):
            found[row.execution_id, row.action_id] = row
    return found


def _last_lines(of: Any) -> sa.Select[Any]:
    older = _t.alias()
    same = (older.c.execution_id == of.execution_id, older.c.action_id == of.action_id, older.c.epoch == of.epoch)
    number = sa.select(sa.func.max(older.c.number)).where(*same).scalar_subquery()
    here = (_t.c.execution_id == of.execution_id, _t.c.action_id == of.action_id, _t.c.epoch == of.epoch)
    return sa.select(_t).where(*here, _t.c.number == number)


def lines(
    connection: sa.Connection, execution_id: str, action_id: int, start: Place, end: int, limit: int
) -> Sequence[Any]:
    """Return the next lines after *start* of transactions below *end*."""
    key = (_t.c.xid, _t.c.action_id, _t.c.epoch, _t.c.number)
    query = sa.select(_t).where(*_of(execution_id, action_id), sa.tuple_(*key) > sa.tuple_(*map(sa.literal, start)))
    return connection.execute(query.where(_t.c.xid < end).order_by(*key).limit(limit)).all()


def _is_held(connection: sa.Connection, execution_id: str, action_id: int, end: int) -> bool:
    query = sa.select(_t.c.xid).where(*_of(execution_id, action_id), _t.c.xid >= end)
    return connection.execute(query.limit(1)).first() is not None


def has_action(connection: sa.Connection, execution_id: str, action_id: int) -> bool:
    """Tell whether an execution has an action."""
    a = schema.actions.c
    query = sa.select(a.action_id).where(a.execution_id == execution_id, a.action_id == action_id)
    return connection.execute(query).first() is not None


def _of(execution_id: str, action_id: int) -> Sequence[sa.ColumnElement[bool]]:
    of = [_t.c.execution_id == execution_id]
    return [*of, _t.c.action_id == action_id] if action_id else of


def _is_over(connection: sa.Connection, execution_id: str, action_id: int) -> bool:
    x, a, q = schema.executions.c, schema.actions.c, schema.queue.c
    if action_id:
        is_open = sa.select(a.state).where(a.execution_id == execution_id, a.action_id == action_id, a.state == "OPEN")
        return connection.execute(is_open).first() is None
    is_final = sa.select(x.id).where(x.id == execution_id, x.state.in_(FINAL_STATES))
    in_hand = sa.select(q.action_id).where(q.execution_id == execution_id).limit(1)
    return connection.execute(is_final).first() is not None and connection.execute(in_hand).first() is None
