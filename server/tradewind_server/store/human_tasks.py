"""Reading human tasks: one, a list of them, and inboxes."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa

from tradewind_server.store import schema
from tradewind_server.store.filters import Term
from tradewind_server.store.reads import filtered
from tradewind_server.store.statements import narrowed

#: Place in an inbox: rank, execution, action.
Place: TypeAlias = tuple[int, str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class For:
    """Whose inbox it is."""

    user: str
    #: See the table.
    principals: Sequence[str]


_h, _i = schema.human_tasks, schema.inbox
_PLACE = (_i.c.rank, _i.c.execution_id, _i.c.action_id)


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


def inbox(
    connection: sa.Connection,
    namespace: str,
    for_: For,
    terms: Sequence[Term],
    limit: int,
    after: Place | None,
) -> Sequence[Any]:
    """Return open human tasks in an inbox, by priority and age, those after the place *after*.

    Each row also has its `rank`. Each principal's entries are read in their own order, a few at a time: of somebody
    with many groups most are not needed.
    """
    few = min(limit, 4 + 2 * limit // max(1, len(for_.principals)))

    def entries(principal: str) -> Iterator[Any]:
        count, last = few, after
        while rows := _entries(connection, namespace, principal, for_, terms, count, last):
            yield from rows
            if len(rows) < count:
                return
            count, last = limit, place_of(rows[-1])

    lists = [entries(principal) for principal in for_.principals]
    found: dict[tuple[str, int], Any] = {}
    for row in heapq.merge(*lists, key=place_of):
        found.setdefault((row.execution_id, row.action_id), row)
        if len(found) == limit:
            break
    return list(found.values())


#: Entries of what somebody has in hand.
_HELD = ("assignee:", "owner:")


def _may(for_: For) -> sa.ColumnElement[bool]:
    """Leave out what the user may not do, although his group is asked; not what he has."""
    held = [principal for principal in for_.principals if principal.startswith(_HELD)]
    return sa.or_(_i.c.principal.in_(held), _is_free(for_)) if held else _is_free(for_)


def _is_free(for_: For) -> sa.ColumnElement[bool]:
    """Leave out what the user is excluded from, or has voted on."""
    x = schema.inbox.alias()
    same = (x.c.rank == _i.c.rank, x.c.execution_id == _i.c.execution_id, x.c.action_id == _i.c.action_id)
    excluded = sa.select(sa.literal(1)).where(
        x.c.namespace == _i.c.namespace, x.c.principal == f"excluded:{for_.user}", *same
    )
    return ~excluded.exists()


def place_of(row: Any) -> Place:
    """Return the place in an inbox of a row that `inbox` gave."""
    return (row.rank, row.execution_id, row.action_id)


def _entries(
    connection: sa.Connection,
    namespace: str,
    principal: str,
    for_: For,
    terms: Sequence[Term],
    limit: int,
    after: Place | None,
) -> Sequence[Any]:
    joined = sa.and_(_h.c.execution_id == _i.c.execution_id, _h.c.action_id == _i.c.action_id)
    query = sa.select(_h, _i.c.rank).join(_i, joined)
    query = query.where(_i.c.namespace == namespace, _i.c.principal == principal)
    if not principal.startswith(_HELD):
        query = query.where(_is_free(for_))
    if after is not None:
        query = query.where(sa.tuple_(*_PLACE) > sa.tuple_(*map(sa.literal, after)))
    return connection.execute(filtered(query, _h, terms).order_by(*_PLACE).limit(limit)).all()


def count(connection: sa.Connection, namespace: str, terms: Sequence[Term], most: int) -> int:
    """Return how many there are, *most* at most."""
    query = filtered(sa.select(sa.literal(1)).where(_h.c.namespace == namespace), _h, terms).limit(most)
    return int(connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one())


def count_inbox(connection: sa.Connection, namespace: str, for_: For, terms: Sequence[Term], most: int) -> int:
    """Return how many open human tasks there are in an inbox, *most* at most."""
    entries = sa.select(_i.c.execution_id, _i.c.action_id)
    entries = entries.where(_i.c.namespace == namespace, _i.c.principal.in_(for_.principals), _may(for_))
    # PostgreSQL would otherwise join first, and look for every human task of the namespace who is excluded from it
    own = entries.cte("own").prefix_with("MATERIALIZED", dialect="postgresql")
    keys = sa.select(own.c.execution_id, own.c.action_id).distinct()
    if terms:
        joined = sa.and_(_h.c.execution_id == own.c.execution_id, _h.c.action_id == own.c.action_id)
        keys = filtered(keys.join(_h, joined), _h, terms)
    return int(connection.execute(sa.select(sa.func.count()).select_from(keys.limit(most).subquery())).scalar_one())


def principals(connection: sa.Connection, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], frozenset[str]]:
    """Return for each of *keys* in whose inboxes it is, and who is excluded from it; nobody if it is over."""
    found: dict[tuple[str, int], set[str]] = {key: set() for key in keys}
    wanted = sa.select(_i.c.execution_id, _i.c.action_id, _i.c.principal)
    for query in narrowed(wanted, [_i.c.execution_id, _i.c.action_id], keys):
        for row in connection.execute(query):
            found[row.execution_id, row.action_id].add(row.principal)
    return {key: frozenset(principals) for key, principals in found.items()}


def listed(
    connection: sa.Connection,
    namespace: str,
    for_: For,
    terms: Sequence[Term],
    keys: Sequence[tuple[str, int]],
) -> Sequence[Any]:
    """Return those of *keys* that are in an inbox."""
    key = [_i.c.execution_id, _i.c.action_id]
    entries = sa.select(*key).where(_i.c.principal.in_(for_.principals), _may(for_))
    found: list[Any] = []
    for some in narrowed(entries, key, keys):
        query = sa.select(_h).where(sa.tuple_(_h.c.execution_id, _h.c.action_id).in_(some))
        found += connection.execute(filtered(query, _h, terms)).all()
    # no condition of the query: SQLite would go through the namespace instead of looking up the keys
    return [row for row in found if row.namespace == namespace]
