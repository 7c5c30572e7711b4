"""The schema that the migrations make is the one that the code speaks of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from tradewind_server.store import action_logs, database, loading, schema
from tradewind_server.store.database import Database, DatabaseInUse


def test_migrations_make_the_schema(database_url: str) -> None:
    """Nothing is missing, nothing is left over."""
    database = Database(database_url)
    try:
        with database.connect_reader() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": False})
            differences = compare_metadata(context, schema.metadata)
    finally:
        database.close()
    assert differences == []


def _without_schema(url: str) -> sa.Engine:
    """Reach a database before any server has made its tables."""
    driver = url.replace("postgresql:", "postgresql+psycopg:") if "://" in url else f"sqlite:///{url}"
    return sa.create_engine(driver, isolation_level="AUTOCOMMIT")


@contextlib.contextmanager
def _before(url: str, revision: str) -> Iterator[sa.Connection]:
    """Give a database as the migration called *revision* left it."""
    engine = _without_schema(url)
    with engine.connect() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        yield connection
    engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_lines_from_before_they_had_an_order_come_first(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Those of a server of version 0.1.0 are kept, and followed from the beginning on by action and number."""
    url = f"{tmp_path}/a.db" if kind == "sqlite" else request.getfixturevalue("postgres").create("before_0002")
    with _before(url, "0001") as connection:
        for number in (2, 1):
            connection.exec_driver_sql(f"INSERT INTO action_logs VALUES ('e', 1, 1, {number}, 1, 7, 2, 'text')")

    opened = Database(url)
    try:
        with opened.reading() as (connection, _):
            found = action_logs.read(opened, connection, "e", 0, action_logs.Place(), 10)
    finally:
        opened.close()
    assert [(row.xid, row.number, row.message) for row in found.rows] == [(0, 1, "text"), (0, 2, "text")]


def test_events_from_before_they_stood_in_their_order_are_kept(tmp_path: Path) -> None:
    """All of them, with their values and their place in the log, and the index of the log."""
    url = f"{tmp_path}/a.db"
    given = [("b", 1, 8, 0, 2), ("b", 2, 8, 0, 0), ("a", 1, 7, 0, 1), ("a", 2, 9, 0, 1)]
    with _before(url, "0007") as connection:
        for id_, revision, xid, position, span in given:
            connection.exec_driver_sql(
                "INSERT INTO events VALUES (?, ?, 'default', '', 'w', 'key', 'TaskStarted', 1, 5, 'user:a', 'cause',"
                " 'r', 3, 'task', 4, ?, ?, ?, 'trace', 1, x'7b7d')",
                (id_, revision, xid, position, span),
            )

    opened = Database(url)
    try:
        with opened.reading() as (connection, _):
            found = [row for id_ in "ab" for row in loading.read_events(connection, id_, 0, 10)]
            e = schema.events.c
            in_order = connection.execute(sa.select(e.execution_id).where(e.span > 0).order_by(e.xid)).scalars().all()
            plan = connection.exec_driver_sql(
                "EXPLAIN QUERY PLAN SELECT * FROM events WHERE span > 0 AND namespace = 'default' AND xid > 7"
            ).all()
    finally:
        opened.close()
    assert [(row.execution_id, row.revision, row.xid, row.task, row.body) for row in found] == [
        ("a", 1, 7, "task", b"{}"), ("a", 2, 9, "task", b"{}"), ("b", 1, 8, "task", b"{}"), ("b", 2, 8, "task", b"{}")
    ]  # fmt: skip
    assert in_order == ["a", "b", "a"]
    assert "USING INDEX events_log (namespace=? AND xid>?)" in plan[0].detail


def test_second_server_on_a_file_is_refused(tmp_path: Path) -> None:
    """The refusal names the process that holds the file, and says what to do."""
    path = f"{tmp_path}/a.db"
    first = Database(path)
    try:
        with pytest.raises(DatabaseInUse, match=r"pid \d+.*use another file"):
            Database(path)
    finally:
        first.close()
    Database(path).close()


def test_durability_is_full(database_url: str) -> None:
    """What is acknowledged survives a power cut; read back from the database itself."""
    database = Database(database_url)
    try:
        with database.connect_writer() as connection:
            if database.is_postgresql:
                assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
            else:
                assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
                # FULL
                assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    finally:
        database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_server_that_ended_in_the_middle_of_a_migration_starts_the_next_time(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """It found the tables that the first one had made, and never started again."""
    url = f"{tmp_path}/a.db" if kind == "sqlite" else request.getfixturevalue("postgres").create("halfway")
    engine = _without_schema(url)
    with engine.connect() as connection:
        # the last one wants the name for its index
        connection.exec_driver_sql("CREATE TABLE absences_to_announce (x INTEGER)")
        with pytest.raises(sa.exc.DBAPIError, match="absences_to_announce"):
            Database(url)
        connection.exec_driver_sql("DROP TABLE absences_to_announce")
    engine.dispose()

    Database(url).close()


def test_newest_migration_is_the_one_that_alembic_goes_to() -> None:
    """Alembic is not asked for it at each start."""
    folder = Path(database.__file__).parent / "migrations"
    assert database.newest_revision() == ScriptDirectory(str(folder)).get_current_head()
