"""Absences: who stands in for whom, and when."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import sqlalchemy as sa

from tradewind_server.store import schema

_a = schema.absences
#: As the index has it: a parameter would not be known to be 0.
_TO_ANNOUNCE = _a.c.announced == sa.literal_column("0")


@dataclasses.dataclass(frozen=True, slots=True)
class Absence:
    """A time in which a user's human tasks are also for his substitute; moments in microseconds."""

    id: str
    namespace: str
    user: str
    substitute: str
    starts_at: int
    ends_at: int
    note: str
    created_by: str
    #: Whether the substitute has been told, 0 or 1.
    announced: int = 0


def add(connection: sa.Connection, absence: Absence) -> None:
    """Store one within the caller's transaction, unless that very one is there."""
    connection.execute(_a.delete().where(_a.c.id == absence.id))
    connection.execute(_a.insert().values(**dataclasses.asdict(absence)))


def has_begun(connection: sa.Connection, now: int) -> bool:
    """Tell whether an absence has begun of which the substitute has not been told."""
    query = sa.select(_a.c.id).where(_TO_ANNOUNCE, _a.c.starts_at <= now).limit(1)
    return connection.execute(query).scalar() is not None


def take_begun(connection: sa.Connection, now: int, limit: int) -> list[Absence]:
    """Return absences that have begun, the first first, each once: whoever takes them tells the substitutes."""
    query = sa.select(_a).where(_TO_ANNOUNCE, _a.c.starts_at <= now).order_by(_a.c.starts_at).limit(limit)
    if connection.dialect.name == "postgresql":
        query = query.with_for_update(skip_locked=True)
    found = [Absence(**row._mapping) for row in connection.execute(query)]
    connection.execute(_a.update().where(_a.c.id.in_([each.id for each in found])).values(announced=1))
    return found


def remove(connection: sa.Connection, namespace: str, id_: str) -> None:
    """Remove one within the caller's transaction."""
    connection.execute(_a.delete().where(_a.c.id == id_, _a.c.namespace == namespace))


def get(connection: sa.Connection, namespace: str, id_: str, now: int) -> Absence | None:
    """Return one that has not ended."""
    query = sa.select(_a).where(_a.c.id == id_, _a.c.namespace == namespace, _a.c.ends_at > now)
    row = connection.execute(query).one_or_none()
    return None if row is None else Absence(**row._mapping)


def page(
    connection: sa.Connection, namespace: str, user: str, now: int, limit: int, after: tuple[int, str] | None
) -> Sequence[Absence]:
    """Return absences that have not ended by their begin, of all users for ""."""
    query = sa.select(_a).where(_a.c.namespace == namespace, _a.c.ends_at > now)
    if user:
        query = query.where(_a.c.user == user)
    if after is not None:
        query = query.where(sa.tuple_(_a.c.starts_at, _a.c.id) > sa.tuple_(*map(sa.literal, after)))
    rows = connection.execute(query.order_by(_a.c.starts_at, _a.c.id).limit(limit))
    return [Absence(**row._mapping) for row in rows]


def absent_for(connection: sa.Connection, namespace: str, substitute: str, at: int) -> frozenset[str]:
    """Return the users for whom *substitute* stands in at a moment."""
    query = sa.select(_a.c.user).where(
        _a.c.namespace == namespace, _a.c.substitute == substitute, _a.c.starts_at <= at, _a.c.ends_at > at
    )
    return frozenset(connection.execute(query).scalars())
