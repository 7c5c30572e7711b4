"""Lists and counts of executions: what they find, in which order, and by which index."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from tradewind_server.clock import from_microseconds
from tradewind_server.errors import FilterInvalid, SearchUnbounded
from tradewind_server.store import listing
from tradewind_server.store.database import Database
from tradewind_server.store.filters import EXECUTION_FIELDS, parse_filter
from tradewind_server.testing import finished

COUNT = 20_000


@pytest.fixture(scope="module")
def filled() -> Iterator[dict[str, Database]]:
    """Give databases, filled once each."""
    opened: dict[str, Database] = {}
    yield opened
    for database in opened.values():
        database.close()


@pytest.fixture
def database(request: pytest.FixtureRequest, filled: dict[str, Database], kind: str) -> Database:
    """Give a database with many finished executions."""
    if kind not in filled:
        # a new one: what was in a database before it was emptied still weighs in what its planner reckons
        url = "" if kind == "sqlite" else request.getfixturevalue("postgres").create("listing")
        filled[kind] = Database(url)
        with filled[kind].connect_reader() as connection:
            finished.fill(connection, COUNT)
    return filled[kind]


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Name a kind of database."""
    return str(request.param)


def _list(database: Database, text: str, limit: int = 5, after: Any = ()) -> list[Any]:
    with database.connect_reader() as connection:
        terms = parse_filter(text, EXECUTION_FIELDS)
        return list(listing.executions(connection, "default", terms, limit, after))


def _moment(second: int) -> str:
    return from_microseconds(finished.FIRST + second * finished.SECOND).isoformat()


#: Filter, the numbers that it means.
FILTERS: dict[str, Callable[[int], object]] = {
    "": lambda n: True,
    "state = FAILED": lambda n: n % 50 == 0 and n < COUNT - 100,
    "state != SUCCEEDED": lambda n: n >= COUNT - 100 or n % 50 == 0 or n % 97 == 0,
    "workflow = old": lambda n: n < 100,
    "workflow = w3 AND state = FAILED": lambda n: False,
    "workflow = w10 AND state = FAILED": lambda n: n >= 100 and n % 100 == 50 and n % 20 == 10 and n < COUNT - 100,
    "workflow = w3 AND definition_version = 1": lambda n: 100 <= n < COUNT // 4 and n % 20 == 3,
    "tags:old": lambda n: n < 100,
    "tags:RED": lambda n: False,
    "tags:red AND tags:old": lambda n: n < 100 and n % 10 == 0,
    "business_key = order-77": lambda n: n == 77,
    "error_code = ACCOUNT_CLOSED": lambda n: n % 100 == 0 and n < COUNT - 100,
    "error_kind = TIMEOUT": lambda n: n % 100 == 50 and n < COUNT - 100,
    f"created_at < {_moment(50)}": lambda n: n < 50,
    f"state = FAILED AND created_at >= {_moment(100)} AND created_at <= {_moment(300)}": lambda n: (
        n % 50 == 0 and 100 <= n <= 300
    ),
    f"finished_at < {_moment(90)}": lambda n: n < 30,
    f"state = CANCELLED AND finished_at < {_moment(360)}": lambda n: n < 300 and n % 97 == 0 and n % 50,
    f"finished_at > {_moment(COUNT - 100)} AND workflow = w7": lambda n: COUNT - 160 < n < COUNT - 100 and n % 20 == 7,
}


@pytest.mark.slow
@pytest.mark.parametrize("text", FILTERS)
def test_filter_lists_what_it_means_newest_first_page_by_page(database: Database, text: str) -> None:
    """All of them, in order, none twice, however they are cut into pages."""
    wanted = [finished.id_of(n) for n in reversed(range(COUNT)) if FILTERS[text](n)]
    order = listing.order_of(parse_filter(text, EXECUTION_FIELDS))
    found: list[Any] = []
    while len(found) < len(wanted) + 1:
        after = [getattr(found[-1], name) for name in order] if found else ()
        page = _list(database, text, 1 + len(wanted) // 3, after)
        found += page
        if not page:
            break

    assert [row.id for row in found] == wanted


#: What is to be read for one page, by the name of the index.
INDEXES = {
    "": "executions_by_state",
    "state = SUCCEEDED": "executions_by_state",
    "state != SUCCEEDED": "executions_by_state",
    "workflow = w3": "executions_by_workflow",
    "workflow = w3 AND state = SUCCEEDED": "executions_by_workflow",
    "workflow = w3 AND definition_version = 1": "executions_by_version",
    "tags:red": "execution_tags",
    "business_key = order-77": "executions_by_business_key",
    "external_id = mine": "executions_by_external_id",
    "parent_id = p": "executions_by_parent",
    "error_kind = TIMEOUT": "executions_by_error_kind",
    "error_code = ACCOUNT_CLOSED": "executions_by_error_code",
    f"created_at < {_moment(5000)}": "executions_by_state",
    f"state = SUCCEEDED AND created_at < {_moment(5000)}": "executions_by_state",
    f"finished_at < {_moment(5000)}": "executions_by_end",
    f"state = SUCCEEDED AND finished_at < {_moment(5000)}": "executions_by_end",
}


@pytest.mark.parametrize("text", INDEXES)
@pytest.mark.parametrize("is_deep", [False, True], ids=["first page", "deep page"])
def test_page_of_a_list_is_read_by_index_without_sorting(database: Database, text: str, is_deep: bool) -> None:
    """Whatever the filter and the depth: no table is read through, nothing is sorted, and all stretches are bounded."""
    terms = parse_filter(text, EXECUTION_FIELDS)
    place = {"id": finished.id_of(3000), "finished_at": finished.FIRST + 3000 * finished.SECOND}
    after = [place[name] for name in listing.order_of(terms)] if is_deep else ()
    with database.connect_reader() as connection:
        statement = _first_statement(connection, lambda: listing.executions(connection, "default", terms, 50, after))
        nodes = _plan(connection, *statement)

    assert not [node for node in nodes if "sort" in node.lower() or "temp b-tree" in node.lower()], nodes
    assert not [node for node in nodes if node.startswith(("SCAN", "Seq Scan"))], nodes
    wanted = INDEXES[text]
    assert [
        node for node in nodes if wanted in node or "execution_tags" in node and wanted.startswith("execution_tags")
    ]


def test_page_of_a_list_gets_its_rows_by_id(database: Database) -> None:
    """And only those of the page."""
    with database.connect_reader() as connection:
        statements = _statements(connection, lambda: listing.executions(connection, "default", [], 50, ()))

    assert len(statements) == 2


def test_counts_are_by_group_the_largest_first(database: Database) -> None:
    """Each combination that there is; the total also counts what is in no group."""
    with database.connect_reader() as connection:
        states = listing.count(connection, "default", [], ["state"])
        terms = parse_filter("state = FAILED", EXECUTION_FIELDS)
        errors = listing.count(connection, "default", terms, ["error_kind", "error_code"])
        tags = listing.count(connection, "default", [], ["tags", "state"])

    assert dict(states.groups) == {
        ("SUCCEEDED",): 19_301, ("FAILED",): 398, ("CANCELLED",): 201, ("RUNNING",): 100,
    }  # fmt: skip
    assert [n for _, n in states.groups] == sorted([n for _, n in states.groups], reverse=True)
    assert (errors.total, dict(errors.groups)) == (398, {("ACTION", "ACCOUNT_CLOSED"): 199, ("TIMEOUT", ""): 199})
    assert tags.total == COUNT
    assert sum(n for (tag, _), n in tags.groups if tag == "red") == COUNT // 10


def test_groups_of_a_count_are_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer says that there are more, and the total is of all."""
    monkeypatch.setattr(listing, "MOST_GROUPS", 3)
    with database.connect_reader() as connection:
        found = listing.count(connection, "default", [], ["workflow"])

    assert (len(found.groups), found.is_cut, found.total) == (3, True, COUNT)


def test_text_is_searched_for_within_bounds_only(database: Database) -> None:
    """In any case of its letters, in what people wrote; without bounds a list could be read to its end for nothing."""
    text = f'text:"ORDER 42" AND created_at >= {_moment(0)} AND created_at < {_moment(1000)}'
    assert [row.description for row in _list(database, text, 20)] == [
        "The order 429", "The order 428", "The order 427", "The order 426", "The order 425", "The order 424",
        "The order 423", "The order 422", "The order 421", "The order 420", "The order 42",
    ]  # fmt: skip
    for bounds in (
        "",
        f" AND created_at >= {_moment(0)}",
        f" AND created_at < {_moment(0)}",
        f" AND created_at >= {_moment(0)} AND created_at < {_moment(32 * 86_400)}",
    ):
        with pytest.raises(SearchUnbounded, match="31 days"):
            _list(database, f"text:order{bounds}")


def test_version_needs_the_workflow_that_it_is_of() -> None:
    """Version 1 of anything is no question that somebody has."""
    with pytest.raises(FilterInvalid, match="without a workflow"):
        listing.check(parse_filter("definition_version = 1", EXECUTION_FIELDS))
    with pytest.raises(FilterInvalid, match="a number from 1"):
        parse_filter("definition_version = one", EXECUTION_FIELDS)


# --- plans ---------------------------------------------------------------------------------------


def _statements(connection: sa.Connection, run: Any) -> list[tuple[str, Any]]:
    seen: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, _context: object, _many: bool) -> None:
        seen.append((statement, parameters))

    sa.event.listen(connection, "before_cursor_execute", note)
    run()
    sa.event.remove(connection, "before_cursor_execute", note)
    return seen


def _first_statement(connection: sa.Connection, run: Any) -> tuple[str, Any]:
    return _statements(connection, run)[0]


def _plan(connection: sa.Connection, statement: str, parameters: Any) -> list[str]:
    """Return the steps of a statement, each with its index if it has one."""
    if connection.dialect.name == "sqlite":
        return [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    found = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    plan = json.loads(found) if isinstance(found, str) else found
    return list(_nodes(plan[0]["Plan"]))


def _nodes(plan: Any) -> Iterator[str]:
    yield f"{plan['Node Type']} {plan.get('Index Name', '')} {plan.get('Index Cond', '')}".strip()
    for below in plan.get("Plans", ()):
        yield from _nodes(below)
