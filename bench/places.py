"""Where a measurement stores: SQLite files in a folder of their own, or a private PostgreSQL. Both fully durable."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench.processes import Broken
from tradewind_server.store.database import Database
from tradewind_server.testing.postgres import PrivatePostgres, find_binaries

DURABLE = {"sqlite": "journal_mode=wal synchronous=FULL", "postgresql": "synchronous_commit=on fsync=on"}


@dataclass(frozen=True)
class Place:
    """A kind of database, ready to use."""

    name: str
    #: For logs and SQLite's files.
    folder: Path
    #: Makes an empty database and returns its URL.
    fresh: Callable[[], str]
    #: Makes durable commits of one row for so many seconds, and returns how many a second.
    commits: Callable[[float], float]
    #: Processes of the database itself.
    pids: Callable[[], list[int]]
    #: Bytes of the database at a URL, its log included as far as it belongs to it alone.
    size: Callable[[str], int]
    version: str

    def durability(self, url: str) -> str:
        """Read back how the database promises durability.

        Raises:
            Broken: it promises less than it should.
        """
        database = Database(url)
        try:
            promised = database.durability()
        finally:
            database.close()
        if self.name == "postgresql":
            promised += f" fsync={_show(url, 'fsync')}"
        if promised != DURABLE[self.name]:
            raise Broken(f"Expected {DURABLE[self.name]}, but the database says {promised}.")
        return promised


@contextlib.contextmanager
def open_place(name: str) -> Iterator[Place]:
    """Give a place for databases called *name*."""
    with tempfile.TemporaryDirectory(prefix="tradewind-bench-") as folder:
        if name == "sqlite":
            yield _sqlite(Path(folder))
        else:
            binaries = find_binaries()
            if binaries is None:
                raise Broken("PostgreSQL is not installed; --database sqlite goes without.")
            with PrivatePostgres(binaries) as postgres:
                yield _postgresql(Path(folder), postgres)


def _sqlite(folder: Path) -> Place:
    numbers = itertools.count()
    return Place(
        name="sqlite",
        folder=folder,
        fresh=lambda: str(folder / f"{next(numbers)}.db"),
        commits=lambda seconds: _sqlite_commits(folder / "reference.db", seconds),
        pids=list,
        size=lambda url: sum(path.stat().st_size for path in folder.glob(f"{Path(url).name}*")),
        version=f"SQLite {sqlite3.sqlite_version}",
    )


def _sqlite_commits(path: Path, seconds: float) -> float:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS one_row (id INTEGER PRIMARY KEY, body BLOB)")
        return _rate(lambda: connection.execute("INSERT INTO one_row (body) VALUES (?)", (b"x" * 200,)), seconds)


def _postgresql(folder: Path, postgres: PrivatePostgres) -> Place:
    numbers = itertools.count()
    return Place(
        name="postgresql",
        folder=folder,
        fresh=lambda: postgres.create(f"bench{next(numbers)}"),
        commits=lambda seconds: _postgresql_commits(postgres.dsn, seconds),
        pids=lambda: _backends(postgres.dsn),
        size=_postgresql_size,
        version=f"PostgreSQL {_show(postgres.dsn, 'server_version')}",
    )


def _postgresql_commits(url: str, seconds: float) -> float:
    with psycopg.connect(url, autocommit=True, prepare_threshold=1) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS one_row (id BIGSERIAL PRIMARY KEY, body BYTEA)")
        return _rate(lambda: connection.execute("INSERT INTO one_row (body) VALUES (%s)", (b"x" * 200,)), seconds)


def _postgresql_size(url: str) -> int:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row is not None
    return int(row[0])


def _rate(commit: Callable[[], object], seconds: float) -> float:
    count, begun = 0, time.perf_counter()
    while time.perf_counter() < begun + seconds:
        commit()
        count += 1
    return count / (time.perf_counter() - begun)


def _backends(url: str) -> list[int]:
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()").fetchall()
    return [pid for (pid,) in rows]


def _show(url: str, setting: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(f"SHOW {setting}".encode()).fetchone()
    assert row is not None
    return str(row[0]).partition(" ")[0]
