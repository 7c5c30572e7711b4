"""SQLite's log is copied back into the file beside the committer."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tradewind_server.store import copying
from tradewind_server.store.database import Database
from tradewind_server.store.writer import Writer

_ROW = 1_000_000


def _commit(writer: Writer, text: str = "INSERT INTO t VALUES (NULL, x'00')") -> None:
    transaction = writer.begin("b", 0)
    transaction.connection.exec_driver_sql(text)
    transaction.has_written = True
    writer.commit(transaction)


def test_log_of_sqlite_does_not_grow_while_it_is_copied_back(tmp_path: Path) -> None:
    """What was written twenty times over stands in the file, and the log begins anew."""
    database = Database(str(tmp_path / "t.db"))
    writer = Writer(database, "s")
    writer.connection.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY, text BLOB)")
    for _ in range(20):
        _commit(writer, f"INSERT INTO t VALUES (NULL, zeroblob({_ROW}))")
        database.copy_back()

    log_bytes = os.path.getsize(tmp_path / "t.db-wal")
    file_bytes = os.path.getsize(tmp_path / "t.db")
    writer.close()
    database.close()

    assert log_bytes < 3 * _ROW
    assert file_bytes > 20 * _ROW


def test_copying_back_does_not_wait_for_an_open_transaction(tmp_path: Path) -> None:
    """The committer may be in the middle of a batch; what it writes then stays out of the file."""
    database = Database(str(tmp_path / "t.db"))
    with database.connect_writer() as connection:
        connection.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")

        database.copy_back()

        connection.exec_driver_sql("ROLLBACK")
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0
    database.close()


def test_log_of_a_database_that_is_never_idle_begins_anew(tmp_path: Path) -> None:
    """What was committed while the rest was copied back is copied by the committer: the log would grow for ever."""
    database = Database(str(tmp_path / "t.db"))
    writer = Writer(database, "s")
    writer.connection.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY, text BLOB)")
    sizes = []
    for n in range(8):
        _commit(writer, f"INSERT INTO t VALUES ({2 * n}, zeroblob({10 * _ROW}))")
        with database.reading() as (connection, _):
            connection.exec_driver_sql("SELECT count(*) FROM t").scalar()
            # what this one does not see is not copied back
            _commit(writer, f"INSERT INTO t VALUES ({2 * n + 1}, x'')")
            database.copy_back()
        writer.begin(f"b{n}", 0)
        writer.rollback()
        sizes.append(os.path.getsize(tmp_path / "t.db-wal"))
    writer.close()
    database.close()

    assert sizes[-1] == sizes[0] < 12 * _ROW


def test_no_copying_begins_while_all_of_the_log_is_in_the_file(tmp_path: Path) -> None:
    """A commit may begin the log anew then, and SQLite would take for copied what is not: the commit would be lost."""
    database = Database(str(tmp_path / "t.db"))
    writer = Writer(database, "s")
    writer.connection.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY, text BLOB)")
    begun: list[int] = []

    def copies() -> int:
        before = database.copying.ended
        database.copy_back()
        begun.append(database.copying.ended - before)
        return begun[-1]

    _commit(writer)
    assert (copies(), copies()) == (1, 0)
    _commit(writer)
    assert (copies(), copies()) == (1, 0)
    # one that ends beside a commit may have copied that, too
    ended = database.copying.ended
    _commit(writer)
    copies()
    database.copying.note_commit(ended)
    assert copies() == 0
    writer.close()
    database.close()


def test_log_that_is_always_read_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One reader begins before the other ends, all the time: the log would grow as long as the server lives."""
    monkeypatch.setattr(copying, "_TOO_LONG", 3_000)
    database = Database(str(tmp_path / "t.db"))
    writer = Writer(database, "s")
    writer.connection.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY, text BLOB)")
    ends: list[threading.Event] = []
    waits: list[str] = []

    def read(begun: threading.Event, ended: threading.Event) -> None:
        with database.reading() as (connection, _):
            connection.exec_driver_sql("SELECT count(*) FROM t").scalar()
            begun.set()
            assert ended.wait(30)

    def end_readers(_c: object, _cursor: object, statement: str, *_: Any) -> None:
        if "RESTART" in statement:
            waits.append(statement)
            for ended in ends:
                ended.set()

    sa.event.listen(writer.connection, "before_cursor_execute", end_readers)
    threads: list[threading.Thread] = []
    sizes = []
    for _ in range(20):
        begun, ended = threading.Event(), threading.Event()
        threads.append(threading.Thread(target=read, args=(begun, ended)))
        threads[-1].start()
        assert begun.wait(30)
        for before in ends:
            before.set()
        ends.append(ended)
        _commit(writer, f"INSERT INTO t VALUES (NULL, zeroblob({_ROW}))")
        database.copy_back()
        sizes.append(os.path.getsize(tmp_path / "t.db-wal"))
    for ended in ends:
        ended.set()
    for thread in threads:
        thread.join(30)
    writer.close()
    database.close()

    assert len(waits) >= 1
    assert max(sizes) < 3_000 * 4096 + 3 * _ROW


def test_reader_that_does_not_end_holds_the_committer_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a tenth of a second; when much has come since it began, that is left to who copies beside the committer."""
    for name, pages in {"_LONG": 1_000, "_TOO_LONG": 1_000, "_LITTLE": 900, "_SOME": 900}.items():
        monkeypatch.setattr(copying, name, pages)
    monkeypatch.setattr(copying, "_PATIENCE_MS", 1)
    database = Database(str(tmp_path / "t.db"))
    writer = Writer(database, "s")
    writer.connection.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY, text BLOB)")
    asked: list[str] = []
    sa.event.listen(writer.connection, "before_cursor_execute", lambda _c, _cursor, text, *_: asked.append(text))

    def commit(times: int, *, copy: bool) -> None:
        for _ in range(times):
            _commit(writer, f"INSERT INTO t VALUES (NULL, zeroblob({_ROW // 4}))")
            if copy:
                database.copy_back()

    with database.reading() as (connection, _):
        connection.exec_driver_sql("SELECT count(*) FROM t").scalar()
        commit(40, copy=True)
        # nothing is copied beyond what it sees
        assert "PRAGMA wal_checkpoint(RESTART)" not in asked
    database.copy_back()
    commit(10, copy=False)
    asked.clear()
    with database.reading() as (connection, _):
        connection.exec_driver_sql("SELECT count(*) FROM t").scalar()
        commit(40, copy=True)
        assert asked.count("PRAGMA wal_checkpoint(RESTART)") == 1
    assert writer.connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == copying.BUSY_MS
    writer.close()
    database.close()
