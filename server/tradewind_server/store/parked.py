"""Executions of which a webhook could not take an event: their events wait from that one on, so that order is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from tradewind_server.store import schema
from tradewind_server.store.loading import stored_event
from tradewind_server.store.records import StoredEvent
from tradewind_server.store.statements import Dialect, delete, insert

_table = schema.parked
_COLUMNS = tuple(column.name for column in _table.columns)
_KEY = tuple(column.name for column in _table.primary_key.columns)
_upsert = insert(_table, conflict="update", changing=_COLUMNS[len(_KEY) :])
_delete = delete(_table, _KEY)


@dataclasses.dataclass(frozen=True, slots=True)
class Parked:
    """One row."""

    namespace: str
    subscription: str
    execution_id: str
    #: The event to be sent next, and the last one that is known to follow.
    revision: int
    through: int
    #: How often that event was sent.
    attempts: int = 0
    #: When it is sent again, microseconds.
    next_at: int = 0
    #: When it was sent first; 0: not yet.
    first_at: int = 0
    #: When it became a dead letter; 0: it is tried again.
    given_up_at: int = 0
    #: What went wrong the last time.
    message: str = ""


def note(connection: sa.Connection, dialect: Dialect, progress: Sequence[Parked], following: Sequence[Parked]) -> None:
    """Write how far executions have come, and which events of parked ones follow.

    Args:
        connection: in the caller's transaction, which has locked the subscription.
        dialect: its dialect.
        progress: what was sent of each; one that has nothing left is parked no more.
        following: events that were passed over since their execution was parked: first and last revision.
    """
    changed = [*progress, *following]
    if not changed:
        return
    first = changed[0]
    found = of(connection, first.namespace, first.subscription, [row.execution_id for row in changed])
    for row in progress:
        known = found.get(row.execution_id)
        through = max(row.through, known.through if known else 0)
        found[row.execution_id] = dataclasses.replace(row, through=through)
    for row in following:
        found[row.execution_id] = _followed(found.get(row.execution_id), row)
    kept = [row for row in found.values() if row.revision <= row.through]
    gone = [row for row in found.values() if row.revision > row.through]
    _upsert.run(connection, dialect, [dataclasses.astuple(row) for row in kept])
    _delete.run(connection, dialect, [dataclasses.astuple(row)[: len(_KEY)] for row in gone])


def _followed(known: Parked | None, row: Parked) -> Parked:
    if known is None or known.revision > known.through:
        return row
    if row.revision < known.revision:
        # the subscription was rewound: what was sent already is sent again
        return dataclasses.replace(row, through=max(row.through, known.through))
    return dataclasses.replace(known, through=max(row.through, known.through))


def retry(connection: sa.Connection, namespace: str, name: str, executions: Sequence[str], at: int) -> int:
    """Have dead letters sent again; all of them if none is named. Return how many."""
    query = _table.update().where(*_dead(namespace, name, executions))
    return connection.execute(query.values(given_up_at=0, attempts=0, first_at=0, next_at=at)).rowcount


def take_over(connection: sa.Connection, namespace: str, name: str, at: int) -> None:
    """Have what was under way at the server before sent now: whatever did not fail has nothing to wait for."""
    query = _table.update().where(*_is(namespace, name), schema.IS_WAITING)
    connection.execute(query.where(_table.c.attempts == 0, _table.c.next_at > at).values(next_at=at))


def discard(
    connection: sa.Connection, dialect: Dialect, namespace: str, name: str, executions: Sequence[str], at: int
) -> int:
    """Give dead letters up, and go on with what waits behind each. Return how many."""
    rows = connection.execute(sa.select(_table).where(*_dead(namespace, name, executions)).with_for_update())
    found = [Parked(*row) for row in rows]
    note(
        connection,
        dialect,
        [Parked(namespace, name, row.execution_id, row.revision + 1, row.through, next_at=at) for row in found],
        (),
    )
    return len(found)


def forget(connection: sa.Connection, namespace: str, name: str) -> None:
    """Remove all of a subscription."""
    connection.execute(_table.delete().where(*_is(namespace, name)))


# --- reads ---------------------------------------------------------------------------------------


def of(connection: sa.Connection, namespace: str, name: str, executions: Iterable[str]) -> dict[str, Parked]:
    """Return those of *executions* that are parked."""
    query = sa.select(_table).where(*_is(namespace, name), _table.c.execution_id.in_(sorted(set(executions))))
    return {row.execution_id: Parked(*row) for row in connection.execute(query)}


def due(connection: sa.Connection, namespace: str, name: str, limit: int) -> list[Parked]:
    """Return what is sent again next, also what is not due yet, the earliest first."""
    query = sa.select(_table).where(*_is(namespace, name), schema.IS_WAITING)
    return [Parked(*row) for row in connection.execute(query.order_by(_table.c.next_at).limit(limit))]


def waiting(connection: sa.Connection, namespace: str, name: str, most: int) -> int:
    """Return how many executions wait for another attempt, counted up to *most*."""
    some = sa.select(_table.c.execution_id).where(*_is(namespace, name), schema.IS_WAITING).limit(most).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one())


def dead(connection: sa.Connection, namespace: str, name: str, after: str, limit: int) -> list[Parked]:
    """Return dead letters by execution, those after one."""
    query = sa.select(_table).where(*_dead(namespace, name, ()), _table.c.execution_id > after)
    return [Parked(*row) for row in connection.execute(query.order_by(_table.c.execution_id).limit(limit))]


def counts(connection: sa.Connection, namespace: str, name: str) -> Mapping[bool, int]:
    """Return how many executions are parked: those that are tried again (False), and dead letters (True)."""
    is_dead = _table.c.given_up_at > 0
    query = sa.select(is_dead, sa.func.count()).where(*_is(namespace, name)).group_by(is_dead)
    return {bool(row[0]): int(row[1]) for row in connection.execute(query)}


def events(connection: sa.Connection, row: Parked, limit: int) -> list[StoredEvent]:
    """Return the events that wait, in order."""
    e = schema.events
    query = sa.select(e).where(e.c.execution_id == row.execution_id, e.c.revision.between(row.revision, row.through))
    return [stored_event(found) for found in connection.execute(query.order_by(e.c.revision).limit(limit))]


def _is(namespace: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return _table.c.namespace == namespace, _table.c.subscription == name


def _dead(namespace: str, name: str, executions: Sequence[str]) -> tuple[sa.ColumnElement[bool], ...]:
    named = (_table.c.execution_id.in_(list(executions)),) if executions else ()
    return (*_is(namespace, name), _table.c.given_up_at > 0, *named)
