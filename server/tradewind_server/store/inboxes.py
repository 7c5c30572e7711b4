"""Inboxes: who finds which open human task, in which order.

An entry says by itself where it stands, how urgent it is and of which workflow. So what people mostly filter by is
found without the human tasks that are left out, and only those that are shown are looked up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa

from tradewind_server.store import schema
from tradewind_server.store.filters import Term, filtered, holds
from tradewind_server.store.human_task_rows import MAX_PRIORITY, NEVER
from tradewind_server.store.statements import Dialect, Select, narrowed

#: Place in an inbox: rank, execution, action.
Place: TypeAlias = tuple[int, str, int]
#: A human task: execution and action.
Key: TypeAlias = tuple[str, int]
#: What narrows a list of entries down.
Narrow: TypeAlias = Callable[[sa.Select[Any]], sa.Select[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class For:
    """Whose inbox it is."""

    user: str
    #: See the table.
    principals: Sequence[str]


_h, _i = schema.human_tasks, schema.inbox
_KEY = (_i.c.execution_id, _i.c.action_id)
_PLACE = (_i.c.rank, *_KEY)
_COLUMNS = [column.name for column in _h.c]
_HumanTaskRow = dataclasses.make_dataclass("_HumanTaskRow", [*_COLUMNS, "rank"], frozen=True, slots=True)
_rows = Select(_h, ("execution_id", "action_id"), _COLUMNS)
#: SQLite joins no more than 500.
_MOST_QUERIES = 400
#: Each is a condition of its own.
_MOST_EXECUTIONS = 100
#: All entries of so many principals that a page could need are read at once.
_FEW_PRINCIPALS = 8


# --- whose entries -------------------------------------------------------------------------------


def _kinds(for_: For) -> Iterator[tuple[list[str], Narrow]]:
    """Give principals, and what narrows their entries to those that are in the inbox.

    What somebody has in hand is in it. What he is only asked to do is not if he may not do it.
    """
    held = [principal for principal in for_.principals if principal.startswith(("assignee:", "owner:"))]
    asked = [principal for principal in for_.principals if principal not in held]
    if held:
        yield held, lambda query: query
    if asked:
        yield asked, lambda query: query.where(_is_free(for_))


def _is_free(for_: For) -> sa.ColumnElement[bool]:
    """Leave out what the user is excluded from, or has voted on."""
    x = schema.inbox.alias()
    same = (x.c.rank == _i.c.rank, x.c.execution_id == _i.c.execution_id, x.c.action_id == _i.c.action_id)
    excluded = sa.select(sa.literal(1)).where(
        x.c.namespace == _i.c.namespace, x.c.principal == f"excluded:{for_.user}", *same
    )
    return ~excluded.exists()


# --- filters -------------------------------------------------------------------------------------


def _entries(
    connection: sa.Connection, columns: Sequence[sa.Column[Any]], namespace: str, terms: Sequence[Term]
) -> sa.Select[Any]:
    """Return the entries of which *terms* hold, whosesoever they are."""
    query = sa.select(*columns).where(_i.c.namespace == namespace)
    others = []
    for term in terms:
        said = _SAID[term.column](connection, namespace, term) if term.column in _SAID else None
        if said is None:
            others.append(term)
        else:
            query = query.where(said)
    if not others:
        return query
    joined = sa.and_(_h.c.execution_id == _i.c.execution_id, _h.c.action_id == _i.c.action_id)
    narrowed_down: sa.Select[Any] = filtered(query.join(_h, joined), _h, others)
    return narrowed_down


def _priority(connection: sa.Connection, namespace: str, term: Term) -> sa.ColumnElement[bool]:
    """Say it as a part of the order, which an index finds."""
    priority = int(str(term.value)) + (1 if term.operator == ">" else -1 if term.operator == "<" else 0)
    # no priority is beyond these, and a column would not take any number
    first = (MAX_PRIORITY - min(max(priority, -1), MAX_PRIORITY + 1)) * NEVER
    return _i.c.rank < first + NEVER if ">" in term.operator else _i.c.rank >= first


def _due_at(connection: sa.Connection, namespace: str, term: Term) -> sa.ColumnElement[bool] | None:
    """What is due early: what is not due at any time has the last place among its likes."""
    if ">" in term.operator or int(str(term.value)) >= NEVER - 1:
        return None
    due: sa.ColumnElement[bool] = (_i.c.rank % NEVER).op(term.operator, is_comparison=True)(term.value)
    return due


def _execution(connection: sa.Connection, namespace: str, term: Term) -> sa.ColumnElement[bool]:
    return holds(_i, term)


def _workflow(connection: sa.Connection, namespace: str, term: Term) -> sa.ColumnElement[bool] | None:
    return None if is_unsaid(connection, namespace) else holds(_i, term)


def is_unsaid(connection: sa.Connection, namespace: str) -> bool:
    """Tell whether a server of the version before wrote entries that do not say their workflow."""
    unsaid = sa.select(sa.literal(1)).where(_i.c.namespace == namespace, _i.c.workflow == sa.literal_column("''"))
    return connection.execute(unsaid.limit(1)).first() is not None


#: What an entry says of a term; None for nothing.
_SAID: Mapping[str, Callable[[sa.Connection, str, Term], sa.ColumnElement[bool] | None]] = {
    "priority": _priority,
    "due_at": _due_at,
    "execution_id": _execution,
    "workflow": _workflow,
}


# --- one page ------------------------------------------------------------------------------------


def page(
    connection: sa.Connection, namespace: str, for_: For, terms: Sequence[Term], limit: int, after: Place | None
) -> Sequence[Any]:
    """Return open human tasks in an inbox, by priority and age, those after the place *after*.

    Each row also has its `rank`.
    """
    dialect = Dialect(connection)
    entries = _entries(connection, _PLACE, namespace, terms)
    if after is not None:
        entries = entries.where(sa.tuple_(*_PLACE) > sa.tuple_(*map(sa.literal, after)))
    read = _places_of_all if dialect.is_postgresql else _places_of_each
    places = read(connection, for_, entries, limit)
    rows = {row[:2]: row for row in _rows.run(connection, dialect, [place[1:] for place in places])}
    return [_HumanTaskRow(*rows[place[1:]], place[0]) for place in places if place[1:] in rows]


def place_of(row: Any) -> Place:
    """Return the place in an inbox of a row of its page."""
    return (row.rank, row.execution_id, row.action_id)


def _places_of_all(connection: sa.Connection, for_: For, entries: sa.Select[Any], limit: int) -> list[Place]:
    """PostgreSQL: the first entries of each principal, merged by the database, whose order of texts is its own.

    A few of each tell how far the page can reach, so that of many groups most are hardly read.
    """
    if len(for_.principals) > _FEW_PRINCIPALS:
        few = _first_of_each(for_, entries, 4 + 2 * limit // len(for_.principals))
        # not as a part of the other query, which would take the bound for unknown and plan for the worst
        bound = connection.execute(sa.select(few.c.rank).order_by(few.c.rank).offset(limit - 1).limit(1)).scalar()
        entries = entries if bound is None else entries.where(_i.c.rank <= bound)
    first = _first_of_each(for_, entries, limit)
    found = connection.execute(sa.select(first).order_by(*first.c).limit(limit))
    return [(row.rank, row.execution_id, row.action_id) for row in found]


def _first_of_each(for_: For, entries: sa.Select[Any], limit: int) -> sa.Subquery:
    """Return so many of *entries* of each principal, each human task once although several of his groups are asked."""
    parts = []
    for principals, narrow in _kinds(for_):
        names = sa.func.unnest(sa.cast(principals, sa.ARRAY(sa.Text))).table_valued("name").render_derived()
        own = narrow(entries).where(_i.c.principal == names.c.name)
        first = own.order_by(*_PLACE).limit(limit).lateral()
        parts.append(sa.select(*(first.c[column.name] for column in _PLACE)).join_from(names, first, sa.true()))
    return sa.union(*parts).subquery()


def _places_of_each(connection: sa.Connection, for_: For, entries: sa.Select[Any], limit: int) -> list[Place]:
    """SQLite: a query for each principal, which all are merged as they go: of many groups most are hardly read.

    In our own text: a hundred queries are one parse for the database, and a millisecond each for SQLAlchemy.
    """
    queries: list[tuple[str, tuple[object, ...]]] = []
    for principals, narrow in _kinds(for_):
        own = narrow(entries).where(_i.c.principal == sa.bindparam("name"))
        compiled = own.compile(connection, compile_kwargs={"render_postcompile": True})
        for name in principals:
            values = compiled.construct_params({"name": name})
            queries.append((str(compiled), tuple(values[key] for key in compiled.positiontup or ())))
    found: list[Place] = []
    for start in range(0, len(queries), _MOST_QUERIES):
        some = queries[start : start + _MOST_QUERIES]
        text = f"{' UNION '.join(text for text, _ in some)} ORDER BY 1, 2, 3 LIMIT ?"
        parameters = (*(value for _, values in some for value in values), limit)
        found += [(row[0], row[1], row[2]) for row in connection.exec_driver_sql(text, parameters)]
    return sorted(set(found))[:limit]


# --- how many ------------------------------------------------------------------------------------


def count(connection: sa.Connection, namespace: str, for_: For, terms: Sequence[Term], most: int) -> int:
    """Return how many open human tasks there are in an inbox, *most* at most."""
    # nearly all are asked of one of his groups alone: so many entries are mostly enough to know
    found, read = _count(connection, namespace, for_, terms, 2 * most)
    if found < most and read == 2 * most:
        found, _ = _count(connection, namespace, for_, terms, None)
    return min(found, most)


def _count(
    connection: sa.Connection, namespace: str, for_: For, terms: Sequence[Term], limit: int | None
) -> tuple[int, int]:
    """Return how many human tasks the first *limit* entries are of, and how many these are."""
    entries = _entries(connection, _KEY, namespace, terms)
    parts = [narrow(entries.where(_i.c.principal.in_(principals))) for principals, narrow in _kinds(for_)]
    own = sa.union_all(*parts).limit(limit).subquery()
    number = sa.select(sa.func.count().label("number")).select_from(own).group_by(*own.c).subquery()
    row = connection.execute(sa.select(sa.func.count(), sa.func.sum(number.c.number)).select_from(number)).one()
    return int(row[0]), int(row[1] or 0)


# --- one by one ----------------------------------------------------------------------------------


def principals(connection: sa.Connection, keys: Sequence[Key]) -> dict[Key, frozenset[str]]:
    """Return for each of *keys* in whose inboxes it is, and who is excluded from it; nobody if it is over."""
    found: dict[Key, set[str]] = {key: set() for key in keys}
    for query in narrowed(sa.select(*_KEY, _i.c.principal), _KEY, keys):
        for row in connection.execute(query):
            found[row.execution_id, row.action_id].add(row.principal)
    return {key: frozenset(principals) for key, principals in found.items()}


def written_since(connection: sa.Connection, revisions: Sequence[tuple[str, int]]) -> list[Key]:
    """Return the human tasks with entries written since a revision of their execution: (execution, revision)."""
    found: dict[Key, None] = {}
    for start in range(0, len(revisions), _MOST_EXECUTIONS):
        some = revisions[start : start + _MOST_EXECUTIONS]
        query = sa.select(*_KEY).where(sa.or_(*(sa.and_(_KEY[0] == id_, _i.c.revision >= n) for id_, n in some)))
        found |= dict.fromkeys((row.execution_id, row.action_id) for row in connection.execute(query))
    return list(found)


def listed(
    connection: sa.Connection, namespace: str, for_: For, terms: Sequence[Term], keys: Sequence[Key]
) -> Sequence[Any]:
    """Return the rows of those of *keys* that are in an inbox."""
    found: list[Any] = []
    for principals, narrow in _kinds(for_):
        for some in narrowed(narrow(sa.select(*_KEY).where(_i.c.principal.in_(principals))), _KEY, keys):
            query = sa.select(_h).where(sa.tuple_(_h.c.execution_id, _h.c.action_id).in_(some))
            found += connection.execute(filtered(query, _h, terms)).all()
    rows = {(row.execution_id, row.action_id): row for row in found}
    # no condition of the query: SQLite would go through the namespace instead of looking up the keys
    return [row for row in rows.values() if row.namespace == namespace]
