"""What is told of a database that cannot be opened."""

from __future__ import annotations

import concurrent.futures
import contextlib
import re
import sqlite3
import zlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from tests.cli.command_line import tradewind
from tradewind_server.store import database, schema
from tradewind_server.store.database import Database, DatabaseInUse, UnusableDatabase, shown
from tradewind_server.testing.ports import free_port
from tradewind_server.testing.postgres import PrivatePostgres


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql://me:secret@127.0.0.1:{port}/x", r"postgresql\+psycopg://me:\*\*\*@127.*: .*refused"),
        ("mysql://me:secret@127.0.0.1/x", "a PostgreSQL or SQLite database, but 'mysql' is neither"),
        ("nosuch+driver://me:secret@127.0.0.1/x", "a PostgreSQL or SQLite database, but 'nosuch' is neither"),
        ("postgresql://me:secret@127.0.0.1:secret/x", "cannot be read.*as %2F"),
        ("://me:secret", "cannot be read.*as %2F"),
        ("sqlite+nosuch:///{folder}/x.db", "its driver 'sqlite.nosuch' is not installed"),
        ("{folder}/file/new.db", "file/new.db.*: .*File exists|file/new.db.*: .*Not a directory"),
        (
            "postgresql:///x?host=127.0.0.1:{port}&user=me&password=secret",
            r"psycopg:///x.host=127.*&user=me, but: .*refused",
        ),
        ("postgres://me:secret@127.0.0.1:{port}/x", r"postgresql\+psycopg://me:\*\*\*@127.*: .*refused"),
        ("postgresql:///x?host=127.0.0.1&host=127.0.0.1&port=1&port=2", "its URL cannot be used: Can't mix"),
        ("host=127.0.0.1 dbname=x password=secret", r"got neither\. Keywords of libpq.*postgresql:///name\?host="),
        ("password=secret host=127.0.0.1 dbname=x", "got neither"),
        ("SSLMODE=require password=secret", "got neither"),
        ("postgresql:/me:secret@127.0.0.1/x", "got neither"),
        (
            "postgresql://me@127.0.0.1:{port}/x?sslpassword=secret&PASSWORD=secret",
            r"me@127.*/x\?PASSWORD=\*\*\*&sslpassword=\*\*\*, but: ",
        ),
        ("{folder}", "unable to open database file"),
        ("{folder}/file", "file is not a database"),
    ],
)
def test_database_that_cannot_be_opened_is_told_in_one_sentence(tmp_path: Path, url: str, text: str) -> None:
    """With the reason, in one line, and never with a password."""
    (tmp_path / "file").write_text("This is no database, but a letter, and not a short one.\n" * 99)
    with pytest.raises(UnusableDatabase, match=text) as caught:
        Database(url.format(port=free_port(), folder=tmp_path))
    assert re.search(r"\n|secret", str(caught.value)) is None


def test_second_server_on_a_file_is_refused_by_whatever_name_it_comes(tmp_path: Path) -> None:
    """Each would trust that nobody else writes."""
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    opened = Database(str(tmp_path / "real.db"))
    with pytest.raises(DatabaseInUse, match="in use by the server with pid"):
        Database(str(tmp_path / "link.db"))
    opened.close()


def test_new_database_is_read_by_its_user_alone(tmp_path: Path) -> None:
    """It has all payloads, and the secret that signs tokens; who can read the lock's file could keep servers away."""
    (tmp_path / "old.db").touch(0o640)
    for name in ("new.db", "old.db"):
        with contextlib.closing(Database(str(tmp_path / name))) as opened, opened.connect_reader():
            found = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.glob("*.db*")}

    new = ("new.db", "new.db.lock", "old.db.lock")
    assert found.keys() > {*new, "old.db"}
    assert found.pop("old.db") == 0o640
    assert {mode for name, mode in found.items() if name in new or name.startswith("new.db")} == {0o600}


def test_database_of_a_newer_version_is_told_as_such(tmp_path: Path) -> None:
    """It has a migration that this version does not know."""
    # given
    path = tmp_path / "newer.db"
    Database(str(path)).close()
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()

    # then
    with pytest.raises(UnusableDatabase, match="was made by a newer version"):
        Database(str(path))


@pytest.mark.slow
def test_server_without_its_database_ends_with_the_reason() -> None:
    """Not with a traceback: whoever starts it reads that, and what starts it again looks at the exit code."""
    done = tradewind("server", "--database", f"postgresql://me@127.0.0.1:{free_port()}/x")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert done.stderr.startswith(b"error [UNUSABLE_INPUT] Expected to open")


def test_user_of_postgresql_who_may_not_make_tables_is_told_so(postgres: PrivatePostgres) -> None:
    """Since PostgreSQL 15 that is everybody but the owner of a database."""
    # given
    url = sa.make_url(postgres.create("poor"))
    engine = sa.create_engine(url.set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE ROLE poor LOGIN")
        connection.exec_driver_sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    engine.dispose()

    # then
    with pytest.raises(UnusableDatabase, match=r"poor@.*: permission denied for schema public\.$"):
        Database(url.set(username="poor").render_as_string())


def test_server_waits_for_a_migration_longer_than_its_role_may_wait_for_a_lock(postgres: PrivatePostgres) -> None:
    """It ended with a traceback; and a migration that took longer than a statement may was never done."""
    # given
    url = postgres.create("bounded")
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(b"ALTER DATABASE bounded SET lock_timeout = '1ms'")
        other.execute(f"SELECT pg_advisory_lock({database._MIGRATION_LOCK})".encode())

        # when
        with concurrent.futures.ThreadPoolExecutor() as threads:
            opening = threads.submit(Database, url)
            while not opening.done() and not _has_waited_for_a_lock(other):
                pass
            other.execute(f"SELECT pg_advisory_unlock({database._MIGRATION_LOCK})".encode())
            opened = opening.result()

    # then
    with opened.connect_writer() as connection:
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "1ms"
    opened.close()


def _has_waited_for_a_lock(connection: psycopg.Connection[tuple[int]]) -> bool:
    query = b"SELECT count(*) FROM pg_locks WHERE NOT granted AND waitstart < clock_timestamp() - interval '30 ms'"
    row = connection.execute(query).fetchone()
    return row is not None and row[0] > 0


@pytest.mark.parametrize("style", ["German", "SQL, DMY", "Postgres"])
def test_database_that_writes_moments_in_its_own_style_is_read(postgres: PrivatePostgres, style: str) -> None:
    """The server ended with a traceback: its driver reads those of ISO 8601 alone."""
    # given
    name = f"style_{zlib.crc32(style.encode())}"
    url = sa.make_url(postgres.create(name))
    engine = sa.create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET datestyle = '{style}'")
    engine.dispose()

    # when
    opened = Database(url.render_as_string())
    try:
        connections = [opened.connect_writer(), opened.connect_reader()]
        moments = [connection.exec_driver_sql("SELECT now()").scalar() for connection in connections]
        for connection in connections:
            connection.close()
    finally:
        opened.close()

    # then
    assert all(isinstance(moment, datetime) for moment in moments)


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("default_transaction_read_only = on", "cannot execute .* in a read-only transaction"),
        ("search_path = nowhere", "no schema has been selected to create in"),
    ],
)
@pytest.mark.parametrize("is_new", [True, False])
def test_database_that_takes_no_writes_is_told_in_one_sentence(
    postgres: PrivatePostgres, setting: str, text: str, is_new: bool
) -> None:
    """As a standby does, which is what a server finds after a switch-over; not with a traceback."""
    # given
    name = f"no_writes_{setting[:6]}_{is_new}".lower()
    url = postgres.create(name)
    if not is_new:
        Database(url).close()
    engine = sa.create_engine(sa.make_url(postgres.dsn).set(drivername="postgresql+psycopg"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET {setting}')
    engine.dispose()

    # then
    with pytest.raises(UnusableDatabase, match=text) as caught, contextlib.closing(Database(url)) as opened:
        opened.installation_value("secret", "made-up")
    assert re.search(r"\n|made-up", str(caught.value)) is None


def test_pooler_of_transactions_is_told_in_one_sentence(
    postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives each transaction another connection, where what somebody else has prepared is in the way."""
    problem = psycopg.errors.DuplicatePreparedStatement('prepared statement "_pg3_0" already exists')

    def migrate(_: sa.Engine) -> int:
        raise sa.exc.ProgrammingError("SELECT 1", None, problem)

    monkeypatch.setattr(database, "migrate", migrate)

    with pytest.raises(UnusableDatabase, match=r'but: prepared statement "_pg3_0" already exists\.$'):
        Database(postgres_url())


@pytest.mark.parametrize(
    ("database", "text"),
    [
        ("a@b.db", "a@b.db"),
        ("", ""),
        ("postgres://u:secret@h/db", "postgres://u:***@h/db"),
        ("postgresql://u:secret@secret@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:sec?ret@h/db", "postgresql://u:***@h/db"),
        ("postgresql:///db?host=/var/run/p&user=u", "postgresql:///db?host=/var/run/p&user=u"),
        (
            "postgresql://h/db?PASSWORD=secret&x=1&sslp%61ssword=secret",
            "postgresql://h/db?PASSWORD=***&x=1&sslp%61ssword=***",
        ),
    ],
)
def test_database_is_shown_as_it_was_written_without_its_password(database: str, text: str) -> None:
    assert shown(database) == text


def test_schema_with_two_newest_migrations_is_refused(tmp_path: Path) -> None:
    """Whichever of them comes first: one is of a version that this one does not know."""
    path = str(tmp_path / "a.db")
    opened = Database(path)
    with opened.connect_writer() as connection:
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('9999')")
    opened.close()
    with pytest.raises(UnusableDatabase, match="newer version"):
        Database(path)


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("DELETE FROM alembic_version", r"but: it has a table '\w+' already, and no word in alembic_version"),
        ("DROP TABLE alembic_version", r"but: it has a table '\w+' already, .*Restore all of a backup"),
        ("UPDATE alembic_version SET version_num = '3f2a9c'", "but: its table alembic_version is another program's"),
        ("INSERT INTO alembic_version VALUES ('3f2a9c')", "another program's.* a database or schema of its own"),
    ],
)
@pytest.mark.parametrize("database_name", ["sqlite", "postgresql"])
def test_database_in_which_nothing_says_whose_tables_it_has_is_told_in_one_sentence(
    postgres: PrivatePostgres, tmp_path: Path, database_name: str, statement: str, text: str
) -> None:
    """Another program's, or one that was not restored whole; it was a traceback, or a newer version of Tradewind."""
    # given
    number = zlib.crc32(statement.encode())
    url = f"sqlite:///{tmp_path}/a.db" if database_name == "sqlite" else postgres.create(f"whose_{number}")
    opened = Database(url)
    with opened.connect_writer() as connection:
        connection.exec_driver_sql(statement)
    opened.close()

    # then
    with pytest.raises(UnusableDatabase, match=text):
        Database(url)


@pytest.mark.parametrize("is_new", [True, False])
def test_file_that_takes_no_writes_is_told_in_one_sentence(tmp_path: Path, is_new: bool) -> None:
    """As one of another user, or on a disk that is mounted to be read; it was a traceback."""
    # given
    url = f"sqlite:///{tmp_path}/a.db"
    Database(url).close()
    if is_new:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            schema.metadata.drop_all(connection)
            connection.exec_driver_sql("DROP TABLE alembic_version")
        engine.dispose()

    def forbid(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA query_only = ON")

    # then
    sa.event.listen(sa.Engine, "connect", forbid)
    try:
        with (
            pytest.raises(UnusableDatabase, match=r"a\.db, but: attempt to write a readonly database\.$"),
            contextlib.closing(Database(url)) as opened,
        ):
            opened.installation_value("secret", "made-up")
    finally:
        sa.event.remove(sa.Engine, "connect", forbid)


def test_search_path_with_the_schema_of_another_program_is_told_in_one_sentence(postgres: PrivatePostgres) -> None:
    """What PostgreSQL finds there is not ours, though the own schema comes first; it was a traceback."""
    # given
    url = postgres.create("two_schemas")
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA own; CREATE TABLE alembic_version (version_num text)")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('3f2a9c')")
        connection.exec_driver_sql('ALTER DATABASE "two_schemas" SET search_path = own, public')
    engine.dispose()

    # then
    with pytest.raises(UnusableDatabase, match="its table alembic_version is another program's"):
        Database(url)
