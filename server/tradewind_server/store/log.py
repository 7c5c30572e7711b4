"""The log of a namespace: the events of all its executions in one order, that of their transactions.

What is read here is never joined later by something before it. On SQLite transactions follow each other. On PostgreSQL
one with a smaller number may commit after one with a larger; so readers stay below the number of the oldest transaction
that still runs (the horizon), and `Transaction.lock` sees to it that an execution is written by ever larger numbers.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from tradewind_server.store import schema
from tradewind_server.store.database import Database
from tradewind_server.store.loading import stored_event
from tradewind_server.store.records import StoredEvent

_e = schema.events
#: Bodies read at once: the event that exceeds this is the last.
BYTES = 4 * 1024 * 1024
#: Commands of different executions stand in the order of their commits; their moments are at most this far from it.
_DISORDER_US = 60_000_000


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in the log: right after an event, or at the beginning."""

    xid: int = 0
    #: Position within the transaction.
    position: int = 0
    #: The event, which proves that this log is the one that the place is of; "" at the beginning.
    execution_id: str = dataclasses.field(default="", compare=False)
    revision: int = dataclasses.field(default=0, compare=False)
    #: Its moment, microseconds: after a restore the numbers are given again, to other events.
    at: int = dataclasses.field(default=0, compare=False)

    @classmethod
    def after(cls, event: StoredEvent) -> Place:
        """Return the place right after *event*."""
        return cls(event.xid, event.position, event.execution_id, event.revision, event.at)


BEGINNING = Place()


@dataclasses.dataclass(frozen=True, slots=True)
class Stretch:
    """What follows a place."""

    start: Place
    end: Place
    events: Sequence[StoredEvent]
    #: There was more than was asked for.
    is_cut: bool
    #: Something is committed that may not be read yet, since an older transaction still runs.
    is_held: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Blocker:
    """Why the newest events may not be read yet. PostgreSQL only."""

    #: Moment of the oldest event that is held back, microseconds.
    since: int
    #: Who runs the oldest transaction, for people.
    who: str


def newest(database: Database, connection: sa.Connection, namespace: str) -> Place:
    """Return the end of what may be read."""
    return _last(connection, namespace, _e.c.xid < horizon(database, connection))


def within(database: Database, connection: sa.Connection, xid: int) -> Place:
    """Return a place that everything follows which transaction *xid*, the caller's own, and later ones write.

    Some of what is there already may follow, too.
    """
    return Place(min(horizon(database, connection), xid) - 1, sys.maxsize)


def before(database: Database, connection: sa.Connection, namespace: str, moment: int) -> Place:
    """Return a place that everything which happened at *moment* or later follows; some of what was before, too.

    Costs as much as what follows: it is looked for from the end.
    """
    older = _e.c.at < moment - _DISORDER_US
    return _last(connection, namespace, sa.and_(_e.c.xid < horizon(database, connection), older))


def _last(connection: sa.Connection, namespace: str, condition: sa.ColumnElement[bool]) -> Place:
    """Return the place after the last command of which *condition* holds, or where the log begins."""
    lowest = floor(connection, namespace)
    query = sa.select(_e.c.xid, _e.c.position, _e.c.execution_id, _e.c.revision, _e.c.at, _e.c.span)
    query = query.where(_e.c.namespace == namespace, schema.IS_FIRST, condition)
    row = connection.execute(query.order_by(_e.c.xid.desc(), _e.c.position.desc()).limit(1)).one_or_none()
    if row is None:
        return lowest
    more = row.span - 1
    # the events of a command have its moment
    return max(lowest, Place(row.xid, row.position + more, row.execution_id, row.revision + more, row.at))


def floor(connection: sa.Connection, namespace: str) -> Place:
    """Return the place up to which events may have been removed."""
    f = schema.log_floors.c
    found = connection.execute(sa.select(f.xid, f.position).where(f.namespace == namespace)).one_or_none()
    return BEGINNING if found is None else Place(found.xid, found.position)


def holds(connection: sa.Connection, namespace: str, place: Place) -> bool:
    """Tell whether the log has the event that *place* is after, and all that follows it."""
    lowest = floor(connection, namespace)
    if place <= lowest:
        # nothing was missed by who had seen the very last of what is gone, not even if that was all
        return place == lowest
    if not place.execution_id:
        # one that a server took where no event was: nobody else makes such a place
        return True
    query = sa.select(_e.c.namespace).where(_e.c.execution_id == place.execution_id, _e.c.revision == place.revision)
    query = query.where(_e.c.xid == place.xid, _e.c.position == place.position, _e.c.at == place.at)
    return connection.execute(query).scalar() == namespace


def read(database: Database, connection: sa.Connection, namespace: str, start: Place, commands: int) -> Stretch:
    """Return the events of the next *commands* after *start*, or the rest of a half-read command.

    Large ones are cut by bytes, if need be within a command.
    """
    rest = _rest(connection, start)
    if rest:
        return Stretch(start, Place.after(rest[-1]), rest, is_cut=True, is_held=False)
    end = horizon(database, connection)
    at = {"namespace": namespace, "xid": start.xid, "position": start.position, "end": end, "commands": commands}
    events = [stored_event(row) for row in connection.execute(_FOLLOWING, at)]
    is_full = sum(len(event.body) for event in events) >= BYTES
    is_cut = is_full or sum(event.span > 0 for event in events) >= commands
    is_held = not is_cut and database.is_postgresql and _held(connection, namespace, end) is not None
    return Stretch(start, Place.after(events[-1]) if events else start, events, is_cut, is_held)


def _rest(connection: sa.Connection, start: Place) -> list[StoredEvent]:
    """Return what follows *start* in the same command."""
    following = sa.select(_e.c.revision).where(
        _e.c.execution_id == start.execution_id, _e.c.revision == start.revision + 1, _e.c.xid == start.xid
    )
    if connection.execute(following.where(_e.c.span == 0)).scalar() is None:
        return []  # as almost always: the place is after a whole command
    at = {"execution_id": start.execution_id, "revision": start.revision, "xid": start.xid}
    events = map(stored_event, connection.execute(_REST, at))
    return list(itertools.takewhile(lambda event: event.span == 0, events))


def _firsts() -> Any:
    place = sa.tuple_(sa.bindparam("xid", type_=sa.BigInteger), sa.bindparam("position", type_=sa.BigInteger))
    query = sa.select(_e.c.execution_id, _e.c.revision, _e.c.span)
    query = query.where(_e.c.namespace == sa.bindparam("namespace"), schema.IS_FIRST)
    query = query.where(_e.c.xid < sa.bindparam("end"), sa.tuple_(_e.c.xid, _e.c.position) > place)
    return query.order_by(_e.c.xid, _e.c.position).limit(sa.bindparam("commands", type_=sa.BigInteger))


def _weighed() -> Any:
    """Select events, each with the bytes of those before it."""
    earlier = sa.func.sum(sa.func.length(_e.c.body)).over(order_by=(_e.c.xid, _e.c.position), rows=(None, -1))
    return sa.select(_e, earlier.label("earlier"))


def _cut(weighed: Any) -> Any:
    """Select the events of a query, in order, up to the one that exceeds the bytes."""
    w = weighed.subquery().c
    query = sa.select(*(w[column.name] for column in _e.columns)).where(sa.func.coalesce(w.earlier, 0) < BYTES)
    return query.order_by(w.xid, w.position)


def _following() -> Any:
    first = _firsts().subquery()
    query = _weighed().join(first, first.c.execution_id == _e.c.execution_id)
    return _cut(query.where(_e.c.revision >= first.c.revision, _e.c.revision < first.c.revision + first.c.span))


#: Made once: each commit has the log read.
_FOLLOWING = _following()
_REST = _cut(
    _weighed().where(
        _e.c.execution_id == sa.bindparam("execution_id"),
        _e.c.revision > sa.bindparam("revision"),
        _e.c.xid == sa.bindparam("xid"),
    )
)


# --- numbers -------------------------------------------------------------------------------------


def horizon(database: Database, connection: sa.Connection) -> int:
    """Return the number below which all transactions have ended, in the snapshot of *connection*."""
    if not database.is_postgresql:
        return sys.maxsize
    oldest = connection.exec_driver_sql("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint").scalar_one()
    return int(oldest) + database.xid_offset


def horizon_of(connection: sa.Connection, xid: int) -> int:
    """Return the same for the transaction that the log knows by the number *xid*."""
    if connection.dialect.name != "postgresql":
        return sys.maxsize
    query = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_current_xact_id()::text::bigint"
    oldest, own = connection.exec_driver_sql(query).one()
    return int(oldest) + xid - int(own)


def _held(connection: sa.Connection, namespace: str, end: int) -> int | None:
    """Return the moment of the oldest event that is committed and beyond the horizon."""
    query = sa.select(_e.c.at).where(_e.c.namespace == namespace, schema.IS_FIRST, _e.c.xid >= end)
    moment: int | None = connection.execute(query.order_by(_e.c.xid, _e.c.position).limit(1)).scalar()
    return moment


def blocker(database: Database, connection: sa.Connection, namespace: str) -> Blocker | None:
    """Return what holds the newest events back, if anything does."""
    if not database.is_postgresql:
        return None
    since = _held(connection, namespace, horizon(database, connection))
    if since is None:
        return None
    oldest = connection.exec_driver_sql(
        "SELECT pid, application_name, state, datname FROM pg_stat_activity WHERE backend_xid IS NOT NULL "
        "ORDER BY age(backend_xid) DESC LIMIT 1"
    ).one_or_none()
    who = "" if oldest is None else f"pid {oldest[0]} ({oldest[1] or 'unnamed'}), {oldest[2]}, database {oldest[3]}"
    return Blocker(since, who)
