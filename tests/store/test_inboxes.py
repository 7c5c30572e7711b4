"""Inboxes hold what they should, page by page, with any filter; the rows are written here as a server does."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from tradewind_server.store import inboxes, schema
from tradewind_server.store.database import Database
from tradewind_server.store.filters import HUMAN_TASK_FIELDS, parse_filter
from tradewind_server.store.human_task_rows import MAX_PRIORITY, NEVER

NAMES = [f"group:g{n}" for n in range(12)] + ["user:ann", "user:ben", "assignee:ann"]
#: Filter -> what it says of a row.
FILTERS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "": lambda row: True,
    "priority >= 90": lambda row: row["priority"] >= 90,
    "priority > 90": lambda row: row["priority"] > 90,
    "priority < 90": lambda row: row["priority"] < 90,
    "priority <= 90 AND priority >= 90": lambda row: row["priority"] == 90,
    "priority >= 101": lambda row: False,
    "priority > -1": lambda row: True,
    f"priority < {2**63 - 1}": lambda row: True,
    f"priority <= -{2**63}": lambda row: False,
    'due_at < "2026-01-01T00:00:02Z"': lambda row: row["due_at"] is not None and row["due_at"] < DUE + 2_000_000,
    'due_at <= "2026-01-01T00:00:02Z"': lambda row: row["due_at"] is not None and row["due_at"] <= DUE + 2_000_000,
    'due_at >= "2026-01-01T00:00:02Z"': lambda row: row["due_at"] is not None and row["due_at"] >= DUE + 2_000_000,
    'due_at < "2999-01-01T00:00:00Z"': lambda row: row["due_at"] is not None,
    'workflow = "w1"': lambda row: row["workflow"] == "w1",
    'workflow != "w1" AND priority >= 50': lambda row: row["workflow"] != "w1" and row["priority"] >= 50,
    'execution_id = "E-7"': lambda row: row["execution_id"] == "E-7",
    'execution_id != "E-7" AND task = "t1"': lambda row: row["execution_id"] != "E-7" and row["task"] == "t1",
    'task = "t1"': lambda row: row["task"] == "t1",
}
DUE = 1_767_225_600_000_000


@pytest.fixture(params=[pytest.param(False, id="all-new"), pytest.param(True, id="some-of-the-version-before")])
def filled(
    request: pytest.FixtureRequest, database_url: str
) -> Iterator[tuple[Database, list[tuple[dict[str, Any], list[str]]]]]:
    """A database, with rows of human tasks and the principals of each."""
    chance = random.Random(7)
    database = Database(database_url)
    asked = [(_row(n, chance), _principals(chance)) for n in range(120)]
    with database.connect_writer() as connection:
        connection.execute(schema.human_tasks.insert(), [row for row, _ in asked])
        entries = [_entry(row, name) for row, names in asked for name in names]
        if request.param:
            for entry in entries[::5]:
                entry["workflow"] = ""
        connection.execute(schema.inbox.insert(), entries)
        connection.commit()
    yield database, asked
    database.close()


def _row(n: int, chance: random.Random) -> dict[str, Any]:
    empty = {sa.LargeBinary: b"", sa.Text: "", sa.String: ""}
    filled = {column.name: empty.get(type(column.type), 0) for column in schema.human_tasks.c}
    return {
        **filled,
        "execution_id": f"{'Ee'[n % 2]}-{n // 3}",
        "action_id": n % 3 + 1,
        "namespace": "default" if n % 10 else "other",
        "workflow": f"w{n % 4}",
        "task": f"t{n % 3}",
        "state": "OFFERED",
        "priority": chance.choice([0, 50, 89, 90, 91, 100]),
        "due_at": chance.choice([None, None, DUE, DUE + 2_000_000, DUE + 3_000_000, NEVER + 5]),
    }


def _principals(chance: random.Random) -> list[str]:
    return [*chance.sample(NAMES, chance.randint(1, 4)), *(["excluded:ann"] if chance.random() < 0.2 else [])]


def _entry(row: dict[str, Any], principal: str) -> dict[str, Any]:
    due = NEVER - 1 if row["due_at"] is None else min(row["due_at"], NEVER - 1)
    rank = (MAX_PRIORITY - row["priority"]) * NEVER + due
    same = {name: row[name] for name in ("namespace", "execution_id", "action_id", "workflow")}
    return {**same, "principal": principal, "rank": rank, "revision": 4}


@pytest.mark.parametrize("groups", [3, 12, 900])
def test_an_inbox_is_complete_page_by_page_with_every_filter(
    filled: tuple[Database, list[tuple[dict[str, Any], list[str]]]], groups: int
) -> None:
    """By priority, then by when it is due; each once; without what ann may not do, but with what she has."""
    database, asked = filled
    whose = ("assignee:ann", "user:ann", "user:ben", *(f"group:g{n}" for n in range(groups)))
    person = inboxes.For("ann", whose)
    with database.reading() as (connection, _):
        for text, holds in FILTERS.items() if groups == 12 else [("", FILTERS[""])]:
            terms = parse_filter(text, HUMAN_TASK_FIELDS)
            expected = {
                (row["execution_id"], row["action_id"]): row
                for row, names in asked
                if row["namespace"] == "default" and holds(row) and _is_in(names, whose)
            }
            for size in (7, 50, 1000) if text == "" else (40,):
                pages = list(_pages(connection, person, terms, size))
                found = [row for page in pages for row in page]
                keys = [(row.execution_id, row.action_id) for row in found]
                assert len(keys) == len(set(keys)), (text, size)
                assert {key: _shown(row) for key, row in zip(keys, found, strict=True)} == {
                    key: (row["priority"], row["due_at"], row["workflow"], row["task"]) for key, row in expected.items()
                }, (text, size)
                order = [(-row.priority, min(row.due_at or NEVER, NEVER)) for row in found]
                assert order == sorted(order), (text, size)
                # ties have one order, whatever the size of pages
                assert keys == [
                    (row.execution_id, row.action_id) for row in next(_pages(connection, person, terms, 1000))
                ]
            for most in (5, len(expected) or 1, 1000):
                number = inboxes.count(connection, "default", person, terms, most)
                assert number == min(len(expected), most), (text, most)
            listed = inboxes.listed(connection, "default", person, terms, _keys(asked))
            assert sorted((row.execution_id, row.action_id) for row in listed) == sorted(expected), text


def _is_in(names: list[str], whose: tuple[str, ...]) -> bool:
    return "assignee:ann" in names or ("excluded:ann" not in names and not set(names).isdisjoint(whose))


def _shown(row: Any) -> tuple[Any, ...]:
    return (row.priority, row.due_at, row.workflow, row.task)


def _keys(asked: list[tuple[dict[str, Any], list[str]]]) -> list[tuple[str, int]]:
    return [(row["execution_id"], row["action_id"]) for row, _ in asked]


def _pages(connection: sa.Connection, person: inboxes.For, terms: Any, size: int) -> Iterator[Any]:
    after = None
    for _ in itertools.count():
        page = inboxes.page(connection, "default", person, terms, size, after)
        yield page
        if len(page) < size:
            return
        after = inboxes.place_of(page[-1])


def test_an_empty_inbox_is_one(database_url: str) -> None:
    database = Database(database_url)
    person = inboxes.For("ann", ("owner:ann",))
    with database.reading() as (connection, _):
        assert list(inboxes.page(connection, "default", person, (), 10, None)) == []
        assert inboxes.count(connection, "default", person, (), 10) == 0
    database.close()
