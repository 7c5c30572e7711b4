"""Subscriptions: named readers of the log of a namespace, and how far each is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from tradewind_server.errors import CursorLost, EtagMismatch, SubscriptionExists, SubscriptionNotFound
from tradewind_server.store import log, parked, schema
from tradewind_server.store.database import Database
from tradewind_server.store.log import Place

_table = schema.subscriptions
_e = schema.events
ACTIVE, DISABLED = "ACTIVE", "DISABLED"


@dataclasses.dataclass(frozen=True, slots=True)
class Subscription:
    """One row."""

    namespace: str
    name: str
    description: str
    filter: str
    #: Where the events are sent, as JSON; empty if a consumer takes them.
    webhook: bytes
    state: str = ACTIVE
    #: Why it is DISABLED.
    message: str = ""
    #: Rises with each change; the etag.
    revision: int = 1
    xid: int = 0
    position: int = 0
    execution_id: str = ""
    execution_revision: int = 0
    event_at: int = 0
    #: Rises with each owner and each change: who has an older one may not move the place.
    epoch: int = 0
    #: Who hands the events out: id of a consumer's stream or of a server; "" for nobody.
    owner: str = ""
    #: What the owner calls itself.
    consumer: str = ""
    #: How many consumers there have been.
    consumers: int = 0
    #: Until when the owner may send to the webhook.
    lease_until: int = 0
    #: When the place moved last; 0: never.
    acknowledged_at: int = 0
    created_at: int = 0
    updated_at: int = 0
    actor: str = ""

    @property
    def place(self) -> Place:
        """Return how far it is."""
        return Place(self.xid, self.position, self.execution_id, self.execution_revision, self.event_at)

    def at(self, place: Place) -> Subscription:
        """Return it at another place."""
        return dataclasses.replace(
            self,
            xid=place.xid,
            position=place.position,
            execution_id=place.execution_id,
            execution_revision=place.revision,
            event_at=place.at,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """A place in the log, said in one of several ways: after an event, at a moment, or else at the end."""

    after: Place | None = None
    #: Microseconds.
    moment: int | None = None


def find(database: Database, connection: sa.Connection, namespace: str, start: Start) -> Place:
    """Return the place that is meant.

    Raises:
        CursorLost: the log does not have the event.
    """
    if start.after is not None:
        if not log.holds(connection, namespace, start.after):
            raise CursorLost(execution=start.after.execution_id, revision=start.after.revision, field="cursor")
        return start.after
    if start.moment is not None:
        return log.before(database, connection, namespace, start.moment)
    return log.newest(database, connection, namespace)


# --- changes -------------------------------------------------------------------------------------


def create(connection: sa.Connection, wanted: Subscription) -> tuple[Subscription, bool]:
    """Make a subscription within the caller's transaction; return it, and whether it is new.

    Raises:
        SubscriptionExists: there is one of that name with other content.
    """
    found = _locked(connection, wanted.namespace, wanted.name)
    if found is None:
        connection.execute(_table.insert().values(**dataclasses.asdict(wanted)))
        return wanted, True
    if _content(found) != _content(wanted):
        raise SubscriptionExists(name=wanted.name, field="subscription.name")
    return found, False


def change(connection: sa.Connection, namespace: str, name: str, etag: str, **changes: object) -> Subscription:
    """Change what is given within the caller's transaction, and let its owner, if there is one, begin anew.

    Raises:
        SubscriptionNotFound: there is none.
        EtagMismatch: *etag* is given, and it is not what is there.
    """
    found = _existing(connection, namespace, name)
    columns = dataclasses.asdict(found)
    if all(columns[column] == value for column, value in changes.items() if column not in ("updated_at", "actor")):
        return found
    _compare(found, etag)
    # replace() takes the fields by name, which changes are
    changed = dataclasses.replace(
        found,
        revision=found.revision + 1,
        epoch=found.epoch + 1,
        lease_until=0,
        **changes,  # type: ignore[arg-type]
    )
    _write(connection, changed)
    return changed


def move(connection: sa.Connection, namespace: str, name: str, place: Place) -> Subscription:
    """Move the place, and let the owner, if there is one, begin anew.

    Raises:
        SubscriptionNotFound: there is none.
    """
    found = _existing(connection, namespace, name)
    moved = dataclasses.replace(found.at(place), epoch=found.epoch + 1, lease_until=0)
    _write(connection, moved)
    return moved


def delete(connection: sa.Connection, namespace: str, name: str, etag: str) -> None:
    """Remove a subscription within the caller's transaction.

    Raises:
        SubscriptionNotFound: there is none.
        EtagMismatch: *etag* is given, and it is not what is there.
    """
    _compare(_existing(connection, namespace, name), etag)
    connection.execute(_table.delete().where(*_is(namespace, name)))
    parked.forget(connection, namespace, name)


def take(connection: sa.Connection, namespace: str, name: str, *, owner: str, consumer: str) -> Subscription:
    """Make *owner* the one who hands the events out, whoever did before.

    Raises:
        SubscriptionNotFound: there is none.
    """
    found = _existing(connection, namespace, name)
    taken = dataclasses.replace(
        found,
        owner=owner,
        consumer=consumer,
        consumers=found.consumers + 1,
        lease_until=0,
        epoch=found.epoch + 1,
    )
    _write(connection, taken)
    return taken


def advance(connection: sa.Connection, namespace: str, name: str, epoch: int, place: Place, at: int) -> bool:
    """Move the place forward, unless somebody else has the subscription by now; tell whether that was done.

    A place behind the one that is there changes nothing.
    """
    c = _table.c
    further = sa.tuple_(c.xid, c.position) < sa.tuple_(sa.literal(place.xid), sa.literal(place.position))
    changed = connection.execute(
        _table.update()
        .where(*_is(namespace, name), c.epoch == epoch, further)
        .values(
            xid=place.xid,
            position=place.position,
            execution_id=place.execution_id,
            execution_revision=place.revision,
            event_at=place.at,
            acknowledged_at=at,
        )
    ).rowcount
    return bool(changed) or epoch_of(connection, namespace, name) == epoch


def lease(
    connection: sa.Connection, namespace: str, name: str, *, owner: str, ended_by: int, until: int
) -> Subscription | None:
    """Make *owner*, a server, the one who sends to the webhook; None if another one is, or nobody should."""
    found = _locked(connection, namespace, name)
    if found is None or not found.webhook or found.state != ACTIVE or found.lease_until > ended_by:
        return None
    leased = dataclasses.replace(
        found,
        owner=owner,
        consumer=f"server {owner}",
        consumers=found.consumers + 1,
        lease_until=until,
        epoch=found.epoch + 1,
    )
    _write(connection, leased)
    return leased


def renew(connection: sa.Connection, namespace: str, name: str, epoch: int, until: int) -> bool:
    """Keep the lease of *epoch*, which also locks the row; tell whether it was still there."""
    query = _table.update().where(*_is(namespace, name), _table.c.epoch == epoch)
    return bool(connection.execute(query.values(lease_until=until)).rowcount)


def unsent(connection: sa.Connection, ended_by: int, limit: int) -> list[tuple[str, str]]:
    """Return (namespace, name) of webhooks whose lease has ended by then: no server sends to them."""
    c = _table.c
    query = sa.select(c.namespace, c.name).where(c.webhook != b"", c.state == ACTIVE, c.lease_until <= ended_by)
    return [(row.namespace, row.name) for row in connection.execute(query.order_by(c.lease_until).limit(limit))]


def _content(row: Subscription) -> tuple[object, ...]:
    return row.description, row.filter, row.webhook


def _compare(found: Subscription, etag: str) -> None:
    if etag and etag != str(found.revision):
        what = f"subscription '{found.name}'"
        raise EtagMismatch(what=what, etag=etag, current=str(found.revision), field="etag")


def _existing(connection: sa.Connection, namespace: str, name: str) -> Subscription:
    found = _locked(connection, namespace, name)
    if found is None:
        raise SubscriptionNotFound(name=name, field="name")
    return found


def _locked(connection: sa.Connection, namespace: str, name: str) -> Subscription | None:
    if connection.dialect.name == "postgresql":
        # of two that make the same one at once, the second waits here and then finds it
        key = f"tradewind subscription {namespace} {name}"
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (key,))
    row = connection.execute(sa.select(_table).where(*_is(namespace, name)).with_for_update()).one_or_none()
    return None if row is None else _subscription(row)


def _write(connection: sa.Connection, row: Subscription) -> None:
    connection.execute(_table.update().where(*_is(row.namespace, row.name)).values(**dataclasses.asdict(row)))


def _is(namespace: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return _table.c.namespace == namespace, _table.c.name == name


# --- reads ---------------------------------------------------------------------------------------


def get(connection: sa.Connection, namespace: str, name: str) -> Subscription:
    """Return a subscription.

    Raises:
        SubscriptionNotFound: there is none.
    """
    row = connection.execute(sa.select(_table).where(*_is(namespace, name))).one_or_none()
    if row is None:
        raise SubscriptionNotFound(name=name, field="name")
    return _subscription(row)


def exists(connection: sa.Connection, namespace: str, name: str) -> bool:
    """Tell whether there is one."""
    return epoch_of(connection, namespace, name) is not None


def page(connection: sa.Connection, namespace: str, after: str, limit: int) -> Sequence[Subscription]:
    """Return subscriptions by name, those after a name."""
    query = sa.select(_table).where(_table.c.namespace == namespace, _table.c.name > after)
    return [_subscription(row) for row in connection.execute(query.order_by(_table.c.name).limit(limit))]


def epoch_of(connection: sa.Connection, namespace: str, name: str) -> int | None:
    """Return who has the subscription; None if there is none."""
    found: int | None = connection.execute(sa.select(_table.c.epoch).where(*_is(namespace, name))).scalar()
    return found


def epochs(connection: sa.Connection, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Return who has the subscriptions of *keys*: (namespace, name); without those that are gone."""
    c = _table.c
    query = sa.select(c.namespace, c.name, c.epoch).where(sa.tuple_(c.namespace, c.name).in_(list(keys)))
    return {(row.namespace, row.name): row.epoch for row in connection.execute(query)}


def behind(connection: sa.Connection, row: Subscription, commands: int) -> tuple[int | None, int]:
    """Return the moment of the oldest event after the place of *row*, and how many the next *commands* made."""
    c, place = _e.c, row.place
    after = sa.tuple_(c.xid, c.position) > sa.tuple_(sa.literal(place.xid), sa.literal(place.position))
    query = sa.select(c.at, c.span).where(c.namespace == row.namespace, schema.IS_FIRST, after)
    following = query.order_by(c.xid, c.position).limit(commands).subquery()
    found = connection.execute(sa.select(sa.func.min(following.c.at), sa.func.sum(following.c.span))).one()
    return found[0], int(found[1] or 0)


def _subscription(row: Any) -> Subscription:
    values = dict(row._mapping)
    values["webhook"] = bytes(values["webhook"])
    return Subscription(**values)
