"""Reading human tasks: one, and lists of them; inboxes are next door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from tradewind_server.store import schema
from tradewind_server.store.filters import Term, filtered
from tradewind_server.store.statements import narrowed

_h = schema.human_tasks


def get(connection: sa.Connection, namespace: str, execution_id: str, action_id: int) -> Any:
    """Return the row of one, or None."""
    query = sa.select(_h).where(
        _h.c.execution_id == execution_id, _h.c.action_id == action_id, _h.c.namespace == namespace
    )
    return connection.execute(query).one_or_none()


def get_many(connection: sa.Connection, namespace: str, keys: Sequence[tuple[str, int]]) -> Sequence[Any]:
    """Return the rows of *keys* that are there, (execution, action)."""
    queries = narrowed(sa.select(_h), [_h.c.execution_id, _h.c.action_id], keys)
    return [row for query in queries for row in connection.execute(query) if row.namespace == namespace]


def page(
    connection: sa.Connection, namespace: str, terms: Sequence[Term], limit: int, before: tuple[str, int] | None
) -> Sequence[Any]:
    """Return human tasks of a namespace, newest first, those before the key *before*."""
    key = (_h.c.execution_id, _h.c.action_id)
    query = filtered(sa.select(_h).where(_h.c.namespace == namespace), _h, terms)
    if before is not None:
        query = query.where(sa.tuple_(*key) < sa.tuple_(*map(sa.literal, before)))
    return connection.execute(query.order_by(*(column.desc() for column in key)).limit(limit)).all()


def count(connection: sa.Connection, namespace: str, terms: Sequence[Term], most: int) -> int:
    """Return how many there are, *most* at most."""
    query = filtered(sa.select(sa.literal(1)).where(_h.c.namespace == namespace), _h, terms).limit(most)
    return int(connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one())
