"""The outbox: notifications that are to be sent, were sent, or were given up.

A row is written in the transaction of the event that asks for it. A server takes rows that are due, which gives each a
later moment at which another server may have it, and a new epoch; whoever writes down how it went must name that epoch.
So each is sent at least once, and never written down by one who has lost it. What it says stands in the event.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from tradewind_server.engine import events as e
from tradewind_server.engine.codec import decode_event
from tradewind_server.store import schema
from tradewind_server.store.loading import read_events
from tradewind_server.store.records import StoredEvent

PENDING, SENT, DEAD = "PENDING", "SENT", "DEAD"
STATES = (PENDING, SENT, DEAD)
_n = schema.notifications
_KEY = (_n.c.execution_id, _n.c.revision, _n.c.number)

#: What changes by an attempt.
_PROGRESS = (
    "state", "next_at", "step", "attempts", "first_at", "channel", "provider_id", "message", "ended_at",
)  # fmt: skip

#: Execution, revision, number.
Key = tuple[str, int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Notification:
    """One row; moments are microseconds."""

    execution_id: str
    revision: int
    number: int
    namespace: str
    kind: str
    #: "user:NAME" or "group:NAME".
    recipient: str
    state: str
    created_at: int
    #: When it is tried next, or another server may.
    next_at: int
    #: Who sends it now, "" for nobody.
    owner: str = ""
    epoch: int = 0
    #: Which of the recipient's channels is tried, from 0; how often so far, and since when.
    step: int = 0
    attempts: int = 0
    first_at: int = 0
    channel: str = ""
    provider_id: str = ""
    message: str = ""
    #: When it was sent or given up; 0 while it is pending.
    ended_at: int = 0

    @property
    def id(self) -> str:
        """Return what stays the same however often it is sent."""
        return f"{self.execution_id}:{self.revision}:{self.number}"

    @property
    def key(self) -> Key:
        """Return the row's key."""
        return self.execution_id, self.revision, self.number


def key_of(id_: str) -> Key | None:
    """Return the key of the notification called *id_*; None if none can be called so."""
    execution_id, _, rest = id_.partition(":")
    revision, _, number = rest.partition(":")
    if not (revision.isdecimal() and number.isdecimal() and len(rest) < 30):
        return None
    return execution_id, int(revision), int(number)


# --- writes, each within the caller's transaction ------------------------------------------------


def take(connection: sa.Connection, owner: str, now: int, until: int, limit: int) -> list[Notification]:
    """Take what is due, the longest due first; nobody else has it before *until*."""
    query = sa.select(_n).where(schema.IS_PENDING, _n.c.next_at <= now).order_by(_n.c.next_at).limit(limit)
    if connection.dialect.name == "postgresql":
        query = query.with_for_update(skip_locked=True)
    found = [Notification(*row) for row in connection.execute(query)]
    taken = [dataclasses.replace(row, owner=owner, epoch=row.epoch + 1, next_at=until) for row in found]
    for row in taken:
        connection.execute(_update(row.key).values(owner=owner, epoch=row.epoch, next_at=until))
    return taken


def note(connection: sa.Connection, row: Notification) -> bool:
    """Write down how it went, and let it go; False if somebody else has taken it meanwhile."""
    changes = {name: getattr(row, name) for name in _PROGRESS}
    query = _update(row.key).where(_n.c.epoch == row.epoch, _n.c.owner == row.owner)
    return connection.execute(query.values(owner="", **changes)).rowcount > 0


def let_go(connection: sa.Connection, owner: str | None, now: int) -> int:
    """Free what *owner* sends, or with None whatever anybody does; it is due at once. Return how many there were."""
    whose = _n.c.owner == owner if owner is not None else _n.c.owner != ""
    return connection.execute(
        _n.update().where(schema.IS_PENDING, whose).values(owner="", next_at=now, epoch=_n.c.epoch + 1)
    ).rowcount


def retry(connection: sa.Connection, namespace: str, keys: Sequence[Key], now: int) -> int:
    """Have what was given up sent again, from the first channel on; all of it if none is named. Return how many."""
    query = _n.update().where(_n.c.namespace == namespace, _n.c.state == DEAD)
    if keys:
        query = query.where(sa.or_(*(sa.and_(*_is(key)) for key in keys)))
    changes = {"state": PENDING, "next_at": now, "step": 0, "attempts": 0, "first_at": 0, "ended_at": 0}
    return connection.execute(query.values(**changes)).rowcount


def _update(key: Key) -> sa.Update:
    return _n.update().where(*_is(key))


def _is(key: Key) -> Iterator[sa.ColumnElement[bool]]:
    return (column == part for column, part in zip(_KEY, key, strict=True))


# --- reads ---------------------------------------------------------------------------------------


def next_due(connection: sa.Connection) -> int | None:
    """Return when the first of those that wait is due; None if none waits."""
    found = connection.execute(
        sa.select(_n.c.next_at).where(schema.IS_PENDING).order_by(_n.c.next_at).limit(1)
    ).scalar()
    return None if found is None else int(found)


def of(connection: sa.Connection, execution_id: str) -> list[Notification]:
    """Return all of an execution, in the order in which they were asked for."""
    query = sa.select(_n).where(_n.c.execution_id == execution_id).order_by(*_KEY)
    return [Notification(*row) for row in connection.execute(query)]


def page(
    connection: sa.Connection, namespace: str, states: Sequence[str], after: Key, limit: int
) -> list[Notification]:
    """Return those of some states by key, from the one after *after* on."""
    query = sa.select(_n).where(_n.c.namespace == namespace, _n.c.state.in_(list(states)))
    query = query.where(sa.tuple_(*_KEY) > sa.tuple_(*map(sa.literal, after))).order_by(*_KEY).limit(limit)
    return [Notification(*row) for row in connection.execute(query)]


def counts(connection: sa.Connection, namespace: str) -> Mapping[str, int]:
    """Return how many there are of each state."""
    query = sa.select(_n.c.state, sa.func.count()).where(_n.c.namespace == namespace).group_by(_n.c.state)
    return {state: int(count) for state, count in connection.execute(query)}


def request_of(connection: sa.Connection, row: Notification) -> tuple[e.NotificationRequested, StoredEvent] | None:
    """Return the event that asked for a notification, and how it is stored; None if its execution is gone."""
    for stored in read_events(connection, row.execution_id, row.revision - 1, 1):
        event = decode_event(stored.type, stored.type_version, stored.body)
        assert isinstance(event, e.NotificationRequested)
        return event, stored
    return None
