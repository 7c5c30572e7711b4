"""SQLite's log is copied back into the file beside the committer."""

from __future__ import annotations

import os
from pathlib import Path

from tradewind_server.store.database import Database
from tradewind_server.store.writer import Writer

_ROW = 1_000_000


def test_log_of_sqlite_does_not_grow_while_it_is_copied_back(tmp_path: Path) -> None:
    """What was written twenty times over stands in the file, and the log begins anew."""
    database = Database(str(tmp_path / "t.db"))
    with database.connect_writer() as connection:
        connection.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY, text BLOB)")
        for n in range(20):
            connection.exec_driver_sql("INSERT INTO t VALUES (?, ?)", (n, bytes(_ROW)))
            database.copy_back()

        log_bytes = os.path.getsize(tmp_path / "t.db-wal")
        file_bytes = os.path.getsize(tmp_path / "t.db")
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
        writer.connection.exec_driver_sql("INSERT INTO t VALUES (?, ?)", (2 * n, bytes(10 * _ROW)))
        with database.reading() as (connection, _):
            connection.exec_driver_sql("SELECT count(*) FROM t").scalar()
            # what this one does not see is not copied back
            writer.connection.exec_driver_sql("INSERT INTO t VALUES (?, ?)", (2 * n + 1, b""))
            database.copy_back()
        writer.begin(f"b{n}", 0)
        writer.rollback()
        sizes.append(os.path.getsize(tmp_path / "t.db-wal"))
    writer.close()
    database.close()

    assert sizes[-1] == sizes[0] < 12 * _ROW
