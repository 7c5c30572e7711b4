"""The hot queries find their rows through the indexes that are made for them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tradewind_server.runtime import requests as r
from tradewind_server.store import (
    absences,
    action_logs,
    human_tasks,
    inboxes,
    log,
    parked,
    reads,
    schema,
    subscriptions,
    substitutes,
    unit_of_work,
)
from tradewind_server.store.ahead import _numbered
from tradewind_server.store.database import Database
from tradewind_server.store.filters import HUMAN_TASK_FIELDS, Term, parse_filter
from tradewind_server.store.records import Provenance
from tradewind_server.store.statements import Dialect, Select, Write
from tradewind_server.store.writer import Writer
from tradewind_server.testing.postgres import PrivatePostgres
from tradewind_server.testing.world import World


@pytest.fixture
def database() -> Iterator[Database]:
    opened = Database("")
    yield opened
    opened.close()


def _plan(connection: sa.Connection, run: Any) -> str:
    """Return what SQLite says of the last statement of *run*."""
    seen: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, _context: object, _many: bool) -> None:
        seen.append((statement, parameters))

    sa.event.listen(connection, "before_cursor_execute", note)
    run()
    sa.event.remove(connection, "before_cursor_execute", note)
    statement, parameters = seen[-1]
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    return "\n".join(str(row[3]) for row in rows)


def test_worker_finds_its_next_action_by_index(database: Database) -> None:
    """Neither the number of leased actions nor that of other queues matters, and nothing is sorted."""
    writer = Writer(database, "s")
    transaction = writer.begin("b", 1)
    plan = _plan(transaction.connection, lambda: transaction.best_ready("default", "a", "", 1, 10))
    leases = _plan(transaction.connection, lambda: transaction.expired_leases(1, 10))
    writer.rollback()
    writer.close()

    assert "USING INDEX queue_ready (namespace=? AND name=? AND target=?)" in plan
    assert "TEMP B-TREE" not in plan
    assert "USING INDEX queue_leases (lease_until<?)" in leases


_KEYED = {
    f"{name}, {'one row' if few else 'many rows'}": each.postgresql(few)
    for few in (0, 1)
    for name, each in vars(unit_of_work).items()
    if isinstance(each, Select | Write) and not name.startswith("_insert")
}


@pytest.fixture(scope="module")
def committing(postgres: PrivatePostgres) -> Iterator[sa.Connection]:
    """Give the committer's connection to an empty database of PostgreSQL."""
    opened = Database(postgres.create("plans_of_the_committer"))
    writer = Writer(opened, "s")
    yield writer.connection
    writer.close()
    opened.close()


@pytest.mark.parametrize("name", _KEYED)
def test_committer_finds_rows_of_postgresql_by_index(committing: sa.Connection, name: str) -> None:
    """Its plans are made once, maybe while the tables are empty: none of them reads or hashes a whole table."""
    text = _KEYED[name]
    value = "{" + ",".join(["1"] * 5_000) + "}" if "[]" in text else "1"
    rows = committing.exec_driver_sql(f"EXPLAIN {text}", (value,) * text.count("%s"))
    plan = "\n".join(row[0] for row in rows)
    assert "Index" in plan
    assert not any(word in plan for word in ("Seq Scan", "Hash", "Merge", "JIT")), plan


def test_plans_follow_tables_that_grow(postgres: PrivatePostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a plan of when there was one action to do, each batch read all of them, until somebody counted the rows."""
    monkeypatch.setattr("tradewind_server.store.writer._PLANS_SECONDS", 0.0)
    database = Database(postgres.create("growing"))
    writer = Writer(database, "s")
    with database.connect_reader() as connection:

        def add(first: int, last: int) -> None:
            values = _filled(schema.queue, execution_id="e")
            rows = [tuple({**values, "action_id": n}.values()) for n in range(first, last)]
            unit_of_work._insert_queue.run(connection, Dialect(connection), rows)

        def is_read_by_key() -> bool:
            for _ in range(3):
                writer.begin("b", 1).queue_rows([("e", 1), ("e", 2)])()
                writer.rollback()
            query = "SELECT name FROM pg_prepared_statements WHERE starts_with(statement, %s)"
            text = _numbered(unit_of_work._select_queue.postgresql()).decode()
            name = writer.connection.exec_driver_sql(query, (text,)).scalar_one()
            rows = writer.connection.exec_driver_sql(f"EXPLAIN EXECUTE {name}(NULL, NULL, NULL)").all()
            return any("Index Cond: (((execution_id)" in row[0] for row in rows)

        add(1, 2)
        connection.exec_driver_sql("ANALYZE action_queue")
        assert not is_read_by_key()
        add(2, 2_000)
        assert is_read_by_key()
    writer.close()
    database.close()


_STEPS = "\n".join(f"    t{n}: {{action: std.noop, on-success: t{n + 1}}}" for n in range(10))


def test_step_of_an_execution_changes_its_rows_where_they_stand(postgres: PrivatePostgres) -> None:
    """Each wrote five indexes for the execution's row and one for the task's, as pages had no room left."""
    # given
    url = postgres.create("steps")
    database = Database(url)
    world = World(database)
    world.deploy(f"version: '2.0'\nsteps:\n  tasks:\n{_STEPS}\n    t10: {{action: std.noop}}\n")
    at = world.clock.now()
    starts = [
        r.Start(
            provenance=Provenance("anonymous:", "StartExecution"), target=world.ids.execution(at), at=at,
            namespace="default", workflow="steps", workflow_namespace="", definition_version=0, input={}, env={},
            params={}, external_id="", business_key="", use_existing=False, tags=(), description="", digest="d",
        )
        for _ in range(200)
    ]  # fmt: skip
    batches = iter([starts])

    # when: all at once, step by step
    world.between = lambda: next(batches, ())
    world.settle()
    world.close()
    database.close()

    # then
    query = "SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname IN ('executions', 'tasks')"
    with psycopg.connect(url) as connection:
        found = {name: (updates, in_place) for name, updates, in_place in connection.execute(query)}
    assert found["executions"][0] >= 200 * 10
    assert found["tasks"][0] >= 200 * 10
    for updates, in_place in found.values():
        assert in_place > 0.75 * updates, found


def test_an_absence_that_begins_is_compared_with_what_its_substitute_may_not_do_one_by_one(
    committing: sa.Connection,
) -> None:
    """Each with each took the committer a minute for some ten thousand, and all else waited."""
    seen: list[str] = []
    sa.event.listen(committing, "before_cursor_execute", lambda _c, _k, statement, *_: seen.append(statement))
    absence = absences.Absence("i", "default", "ann", "gil", 1, 9, "", "ann")
    list(substitutes.of_absence(committing, absence, 5))
    number = itertools.count(1)
    text = re.sub(r"%\(\w+\)s", lambda _: f"${next(number)}", seen[0])
    committing.exec_driver_sql(f"PREPARE begun AS {text}")
    nulls = ", ".join(["NULL"] * text.count("$"))
    plan = "\n".join(row[0] for row in committing.exec_driver_sql(f"EXPLAIN EXECUTE begun({nulls})"))

    assert "SubPlan" in plan
    assert re.search(r"Index Cond: .*execution_id.* = .*inbox\.execution_id", plan), plan


@pytest.mark.parametrize("state", ["OPEN", "QUEUED", "RUNNING"])
def test_open_actions_are_listed_by_index(database: Database, state: str) -> None:
    """A million ended actions do not slow down the list of those that are open."""
    with database.connect_reader() as connection:
        terms = [Term("state", "=", state)]
        plan = _plan(connection, lambda: reads.actions(connection, "default", "", terms, 10, ("", 0)))

    assert "actions USING INDEX actions_open (namespace=?)" in plan
    assert "TEMP B-TREE" not in plan


def test_log_is_read_by_index_from_any_place(database: Database) -> None:
    """Neither its length nor that of a single execution matters."""
    with database.reading() as (connection, _):
        place = log.Place(7, 3, "e", 9)
        plan = _plan(connection, lambda: log.read(database, connection, "default", place, 10))
        assert "USING INDEX events_log (namespace=? AND (xid,position)>(?,?) AND xid<?)" in plan
        assert "USING INDEX sqlite_autoindex_events_1 (execution_id=? AND revision>? AND revision<?)" in plan
        newest = _plan(connection, lambda: log.newest(database, connection, "default"))
        assert "USING INDEX events_log (namespace=? AND xid<?)" in newest
        assert "TEMP B-TREE" not in newest


def test_logs_of_actions_are_followed_by_index(database: Database) -> None:
    """However many lines an execution has, only those after the place are read."""
    with database.reading() as (connection, _):
        place = action_logs.Place(7, 1, 1, 9)
        plan = _plan(connection, lambda: action_logs.lines(connection, "e", 0, place, 9, 10))

    assert "USING INDEX action_logs_in_order (execution_id=? AND (xid,action_id,epoch,number)>(?,?,?,?)" in plan
    assert "TEMP B-TREE" not in plan


def test_webhooks_find_what_is_due_and_how_far_they_are_by_index(database: Database) -> None:
    """Dead letters do not slow down what is sent again, nor does the length of the log."""
    row = subscriptions.Subscription("default", "s", "", "", b"")
    with database.connect_reader() as connection:
        due = _plan(connection, lambda: parked.due(connection, "default", "s", 10))
        dead = _plan(connection, lambda: parked.dead(connection, "default", "s", "", 10))
        behind = _plan(connection, lambda: subscriptions.behind(connection, row, 10))
        moment = _plan(connection, lambda: log.before(database, connection, "default", 1))

    assert "USING INDEX parked_due (namespace=? AND subscription=?)" in due
    assert "USING PRIMARY KEY (namespace=? AND subscription=? AND execution_id>?)" in dead
    for plan in (due, dead, behind, moment):
        assert "TEMP B-TREE" not in plan
    assert "USING INDEX events_log (namespace=?" in behind
    assert "USING INDEX events_log (namespace=?" in moment


def test_some_human_tasks_and_actions_are_looked_up_one_by_one(database: Database) -> None:
    """A change costs who watches an inbox the same with a hundred thousand open human tasks as with one."""
    keys = [("e", 1), ("e", 2), ("f", 1)]
    person = inboxes.For("u", ("user:u", "group:g", "assignee:u"))
    with database.connect_reader() as connection:
        asked = _plan(connection, lambda: inboxes.principals(connection, keys))
        rows = _plan(connection, lambda: human_tasks.get_many(connection, "default", keys))
        listed = _plan(connection, lambda: inboxes.listed(connection, "default", person, (), keys))
        lines = _plan(connection, lambda: action_logs.newest(connection, keys))

    assert "INDEX inbox_by_human_task (execution_id=? AND action_id=?)" in asked
    assert "human_tasks USING PRIMARY KEY (execution_id=? AND action_id=?)" in rows
    assert "human_tasks USING PRIMARY KEY (execution_id=? AND action_id=?)" in listed
    assert "INDEX inbox_by_human_task (execution_id=? AND action_id=?)" in listed
    assert "action_queue USING PRIMARY KEY (execution_id=? AND action_id=?)" in lines
    for plan in (asked, rows, listed, lines):
        assert "SCAN" not in plan
        assert "(namespace=?" not in plan


def test_inboxes_are_read_in_their_order_and_only_what_is_shown_is_looked_up(database: Database) -> None:
    """However many groups somebody is in; what most filter by is a matter of the entries alone."""
    person = inboxes.For("u", ("assignee:u", "user:u", *(f"group:{n}" for n in range(20))))
    text = 'priority >= 90 AND due_at < "2026-01-01T00:00:00Z" AND workflow = w AND execution_id != e'
    terms = parse_filter(text, HUMAN_TASK_FIELDS)
    with database.connect_reader() as connection:
        page = _plan(connection, lambda: inboxes.page(connection, "default", person, terms, 10, (1, "e", 1)))
        number = _plan(connection, lambda: inboxes.count(connection, "default", person, terms, 10))
        unsaid = _plan(connection, lambda: inboxes.is_unsaid(connection, "default"))

    place = "(rank,execution_id,action_id)>(?,?,?)"
    assert page.count(f"inbox USING PRIMARY KEY (namespace=? AND principal=? AND {place} AND rank<?)") == 22
    assert page.count("MERGE (UNION)") == 21
    assert number.count("inbox USING PRIMARY KEY (namespace=? AND principal=? AND rank<?)") == 2
    assert "INDEX inbox_of_before (namespace=?)" in unsaid
    for plan in (page, number, unsaid):
        assert "human_tasks" not in plan
        assert "SCAN inbox" not in plan
    assert "TEMP B-TREE" not in page


def test_an_absence_that_begins_asks_the_outbox_once_however_much_is_open(database: Database) -> None:
    """Its committer waits meanwhile."""
    absence = absences.Absence("i", "default", "ann", "gil", 1, 9, "", "ann")
    writer = Writer(database, "s")
    connection = writer.begin("b", 1).connection
    seen: list[str] = []
    for n in range(1, 81):
        key = {"execution_id": f"e{n % 2}", "namespace": "default"}
        asked = {**key, "revision": n, "action_id": n}
        connection.execute(schema.events.insert().values(_filled(schema.events, **asked)))
        told = {**key, "revision": n, "kind": "offered", "recipient": "user:gil" if n > 60 else "user:ann"}
        connection.execute(schema.notifications.insert().values(_filled(schema.notifications, **told)))
        entry = {**asked, "principal": "user:ann", "rank": n}
        connection.execute(schema.inbox.insert().values(_filled(schema.inbox, **entry)))
    sa.event.listen(connection, "before_cursor_execute", lambda _c, _k, statement, *_: seen.append(statement))

    rows = list(substitutes.of_absence(connection, absence, 5))

    writer.rollback()
    writer.close()
    assert [(action, row[0], row[1], row[5]) for action, row in rows] == [
        (n, f"e{n % 2}", n, "user:gil") for n in range(1, 61)
    ]
    assert sum("notifications" in statement for statement in seen) == 1


def _filled(table: sa.Table, **values: Any) -> dict[str, Any]:
    empty = {sa.LargeBinary: b"", sa.Text: "", sa.String: ""}
    return {column.name: values.get(column.name, empty.get(type(column.type), 0)) for column in table.c}


def test_what_a_substitute_is_told_is_looked_up_by_index(database: Database) -> None:
    """Neither absences of long ago, nor inboxes of others, nor the length of the outbox matter."""
    absence = absences.Absence("i", "default", "ann", "gil", 1, 9, "", "ann")
    with database.connect_reader() as connection:
        begun = _plan(connection, lambda: absences.has_begun(connection, 5))
        open_ = _plan(connection, lambda: list(substitutes.of_absence(connection, absence, 5)))
        told = _plan(
            connection, lambda: substitutes.told_of(connection, [("e", 1), ("e", 2)], ("user:ann", "user:gil"))
        )

    assert "USING INDEX absences_to_announce (starts_at<?)" in begun
    assert "inbox USING PRIMARY KEY (namespace=? AND principal=?)" in open_
    assert "INDEX inbox_by_human_task (execution_id=? AND action_id=?" in open_
    assert "notifications USING PRIMARY KEY (execution_id=?)" in told
    for plan in (begun, open_, told):
        assert "SCAN" not in plan
        assert "TEMP B-TREE" not in plan
