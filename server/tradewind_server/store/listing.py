"""Lists and counts of executions: each filter by an index that ends in the order of the list, at any depth.

The order is that of ids, which is that of starts; with a bound on finished_at it is that of ends. Newest first. Most
indexes hold the state before the order, so that one list is a merge of up to six of their stretches, none of which is
sorted, and of whose rows no more are read than the page has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from tradewind_server.clock import from_microseconds
from tradewind_server.errors import FilterInvalid, SearchUnbounded
from tradewind_server.lang.sensitive import MASK
from tradewind_server.store import schema
from tradewind_server.store.filters import DELIVERY_KINDS, EXECUTION_STATES, FINAL_STATES, Term, holds

_x = schema.executions
_t = schema.execution_tags
#: Columns of which each value is of few executions, with an index of its own; best first.
_KEYS = ("external_id", "parent_id", "root_id", "business_key", "error_code", "error_kind")
#: Of these the index leaves out the empty value; said with the text that the database knows the index by.
_PARTIAL = frozenset(_KEYS) - {"root_id"}
_EMPTY: sa.ColumnElement[str] = sa.literal_column("''")
#: What is searched for a text.
_SEARCHED_NAMES, _SEARCHED_TEXTS = ("business_key", "external_id", "tags"), ("description", "message")
#: Longest time that a text is searched in.
SEARCH_WINDOW = timedelta(days=31)
#: Among the terms of callers who do not see sensitive values: no term may tell them what is masked.
MASKED = Term("masked", "=", True)
#: Most groups of a count.
MOST_GROUPS = 100


def _shown_kind() -> sa.ColumnElement[str]:
    # words in the text: parameters that are grouped by are others to PostgreSQL than those selected
    stored: list[sa.ColumnElement[str]] = [sa.literal_column(f"'{kind}'") for kind in DELIVERY_KINDS]
    return sa.case((_x.c.error_kind.in_(stored), sa.literal_column("'DELIVERY'")), else_=_x.c.error_kind)


#: What executions can be grouped by.
GROUPS: dict[str, sa.ColumnElement[Any]] = {
    "state": _x.c.state,
    "workflow": _x.c.workflow,
    "definition_version": _x.c.definition_version,
    "error_kind": _shown_kind(),
    "error_code": _x.c.error_code,
    "tags": _t.c.tag,
}
#: Those that every execution is in one group of.
_GROUPS_OF_ALL = frozenset({"state", "workflow", "definition_version"})


@dataclasses.dataclass(frozen=True, slots=True)
class Counted:
    """How many executions there are, by group."""

    total: int
    #: Values in the order of what was grouped by, and how many; the largest groups first.
    groups: Sequence[tuple[tuple[str, ...], int]]
    #: There are more groups than these.
    is_cut: bool


def order_of(terms: Sequence[Term]) -> tuple[str, ...]:
    """Return the columns that a list is ordered by, all of them descending."""
    return ("finished_at", "id") if _bounds(terms, "finished_at") else ("id",)


def executions(
    connection: sa.Connection, namespace: str, terms: Sequence[Term], limit: int, after: Sequence[object]
) -> Sequence[Any]:
    """Return executions in the list's order, those after the place *after*: the values of the last one's `order_of`.

    Raises:
        FilterInvalid: a version is asked for without its workflow.
        SearchUnbounded: a text is searched without bounds on created_at.
    """
    check(terms)
    ids = _ids(connection, namespace, terms, limit, after)
    rows = {row.id: row for row in connection.execute(sa.select(_x).where(_x.c.id.in_(ids)))}
    return [rows[id_] for id_ in ids]


def count(connection: sa.Connection, namespace: str, terms: Sequence[Term], group_by: Sequence[str]) -> Counted:
    """Count executions by all of *group_by*, names of `GROUPS`.

    One with several tags is in the group of each; one without a tag or an error is in no group of these.

    Raises:
        FilterInvalid, SearchUnbounded: as in `executions`.
    """
    check(terms)
    by = [_shown_code() if name == "error_code" and MASKED in terms else GROUPS[name] for name in group_by]
    source = _source(terms)
    where = _where(namespace, terms, source)
    if "tags" in group_by:  # all tags of what passes, not only the one that is asked for
        source = _t.join(_x, _x.c.id == _t.c.execution_id)
        where = [_t.c.namespace == namespace, *_where(namespace, terms, _x)]
    if "error_kind" in group_by or "error_code" in group_by:
        where.append(_x.c.error_kind != _EMPTY)
    number = sa.func.count()
    query = sa.select(*by, number).select_from(source).where(*where).group_by(*by)
    rows = connection.execute(query.order_by(number.desc(), *by).limit(MOST_GROUPS + 1)).all()
    groups = [(tuple(str(value) for value in row[:-1]), int(row[-1])) for row in rows[:MOST_GROUPS]]
    is_cut = len(rows) > MOST_GROUPS
    total = sum(n for _, n in groups)
    if is_cut or any(name not in _GROUPS_OF_ALL for name in group_by):
        source = _source(terms)
        everything = sa.select(sa.func.count()).select_from(source).where(*_where(namespace, terms, source))
        total = int(connection.execute(everything).scalar_one())
    return Counted(total, groups, is_cut)


def _shown_code() -> sa.ColumnElement[str]:
    return sa.case((_x.c.sensitive == _EMPTY, _x.c.error_code), else_=sa.literal_column(f"'{MASK}'"))


def durations(connection: sa.Connection, execution: Any, limit: int) -> list[int]:
    """Return how long the newest executions took that ran the same version and succeeded, microseconds."""
    same = ("namespace", "workflow", "workflow_namespace", "definition_version")
    query = sa.select(_x.c.finished_at - _x.c.created_at).where(_x.c.state == "SUCCEEDED")
    query = query.where(*(_x.c[name] == getattr(execution, name) for name in same))
    return list(connection.execute(query.order_by(_x.c.id.desc()).limit(limit)).scalars())


def check(terms: Sequence[Term]) -> None:
    """Refuse what no index could answer.

    Raises:
        FilterInvalid, SearchUnbounded.
    """
    columns = {term.column for term in terms}
    if "definition_version" in columns and not any(t.column == "workflow" and t.operator == "=" for t in terms):
        problem = "definition_version is asked for without a workflow that it is a version of"
        raise FilterInvalid(problem=problem, fields="workflow, definition_version", field="filter")
    if "text" in columns:
        first, last = (_bounds(terms, "created_at", way) for way in (">", "<"))
        days = SEARCH_WINDOW.days
        if not first or not last:
            raise SearchUnbounded(days=days, problem="there is no bound on both sides", field="filter")
        found = from_microseconds(min(last)) - from_microseconds(max(first))
        if found > SEARCH_WINDOW:
            raise SearchUnbounded(days=days, problem=f"they are {found} apart", field="filter")


def matching(terms: Sequence[Term]) -> list[sa.ColumnElement[bool]]:
    """Return what holds for the executions that *terms* mean."""
    return _conditions(terms, _x.c.id)


# --- ways ----------------------------------------------------------------------------------------


def _ids(
    connection: sa.Connection, namespace: str, terms: Sequence[Term], limit: int, after: Sequence[object]
) -> list[str]:
    """Return the ids of one page."""
    order = order_of(terms)
    ways = _ways(namespace, terms, after)
    if not ways:
        return []
    if connection.dialect.name == "postgresql":
        # else it sorts all of them instead of merging what a page needs
        tops = [way.order_by(*(sa.desc(name) for name in order)).limit(limit).subquery() for way in ways]
        ways = [sa.select(top) for top in tops]
    merged = sa.union_all(*ways).subquery() if len(ways) > 1 else ways[0].subquery()
    rows = connection.execute(sa.select(merged).order_by(*(merged.c[name].desc() for name in order)).limit(limit))
    return [row[-1] for row in rows]


def _ways(namespace: str, terms: Sequence[Term], after: Sequence[object]) -> list[Any]:
    """Return the stretches that a list is merged from, as queries for the columns of its order."""
    order, source = order_of(terms), _source(terms)
    columns = [_id_of(source) if name == "id" else _x.c[name] for name in order]
    if after:
        # whatever follows is below the bounds already, and SQLite seeks only the first of two
        first = {"finished_at": "finished_at", "id": "created_at"}[order[0]]
        terms = [term for term in terms if term.column != first or not term.operator.startswith("<")]
    where = _where(namespace, terms, source)
    if after:
        place = [sa.literal(value, column.type) for value, column in zip(after, columns, strict=True)]
        where.append(sa.tuple_(*columns) < sa.tuple_(*place) if len(order) > 1 else columns[0] < place[0])
    by_end = "finished_at" in order
    if by_end:
        where.append(_x.c.finished_at.is_not(None))
    labelled = [column.label(name) for column, name in zip(columns, order, strict=True)]
    all_ = sa.select(*labelled).select_from(source).where(*where)
    if source is not _x or (_key(terms) and not by_end):
        return [all_]
    return [all_.where(_x.c.state == state) for state in _states(terms, FINAL_STATES if by_end else EXECUTION_STATES)]


def _source(terms: Sequence[Term]) -> Any:
    """Return what is read: the tags, if there is one and nothing that is of fewer executions."""
    if _key(terms) or _bounds(terms, "finished_at") or not any(term.column == "tags" for term in terms):
        return _x
    return _t.join(_x, _x.c.id == _t.c.execution_id)


def _id_of(source: Any) -> sa.Column[str]:
    return _x.c.id if source is _x else _t.c.execution_id


def _key(terms: Sequence[Term]) -> Term | None:
    for column in _KEYS:
        for term in terms:
            if term.column == column and term.operator == "=" and term.value:
                return term
    return None


def _states(terms: Sequence[Term], states: Sequence[str]) -> list[str]:
    """Return those of *states* that pass."""
    of_state = [term for term in terms if term.column == "state"]
    return [state for state in states if all((state == t.value) is (t.operator == "=") for t in of_state)]


def _bounds(terms: Sequence[Term], column: str, way: str = "") -> list[int]:
    return [int(str(t.value)) for t in terms if t.column == column and t.operator.startswith(way)]


# --- conditions ----------------------------------------------------------------------------------


def _where(namespace: str, terms: Sequence[Term], source: Any) -> list[sa.ColumnElement[bool]]:
    rest = list(terms)
    where: list[sa.ColumnElement[bool]] = [_x.c.namespace == namespace]
    if source is not _x:
        first = next(term for term in rest if term.column == "tags")
        rest.remove(first)
        where = [_t.c.namespace == namespace, _t.c.tag == first.value]
    key = _key(rest)
    if key is not None and key.column in _PARTIAL:
        where.append(_x.c[key.column] != _EMPTY)
    return where + _conditions(rest, _id_of(source))


def _conditions(terms: Sequence[Term], id_: sa.Column[str]) -> list[sa.ColumnElement[bool]]:
    is_masked = MASKED in terms
    conditions = [_condition(term, id_, is_masked=is_masked) for term in terms if term != MASKED]
    if is_masked and any(term.column == "error_code" and term.value for term in terms):
        # a code that may be sensitive is none that anybody could ask for; that there is none is no secret
        conditions.append((_x.c.sensitive == _EMPTY) | (_x.c.error_code == _EMPTY))
    return conditions


def _condition(term: Term, id_: sa.Column[str], *, is_masked: bool) -> sa.ColumnElement[bool]:
    if term.column == "tags":
        tagged = sa.exists().where(
            _t.c.namespace == _x.c.namespace, _t.c.tag == term.value, _t.c.execution_id == _x.c.id
        )
        return tagged.correlate(_x)
    if term.column == "text":
        wanted = str(term.value).lower()
        names, texts = (
            sa.or_(*(sa.func.lower(_x.c[name]).contains(wanted, autoescape=True) for name in searched))
            for searched in (_SEARCHED_NAMES, _SEARCHED_TEXTS)
        )
        # or a sensitive value could be guessed letter by letter
        return names | (texts & (_x.c.sensitive == _EMPTY) if is_masked else texts)
    if term.column == "created_at":
        return _is_created(id_, term.operator, int(str(term.value)) // 1_000)
    return holds(_x, term)


def _is_created(id_: sa.Column[str], operator: str, millisecond: int) -> sa.ColumnElement[bool]:
    """Compare by the milliseconds that ids begin with: so the index of any other column serves the time, too."""
    first = f"{max(0, millisecond + (operator in ('>', '<='))):012x}"
    bound = f"{first[:8]}-{first[8:]}-"
    return id_ >= bound if operator.startswith(">") else id_ < bound
