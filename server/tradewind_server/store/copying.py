"""SQLite's log, copied back into the file beside the committer, and begun anew by it.

Left to the committer alone, copying would hold up everybody for some 100 ms each time. What is committed while a
reader's connection copies is left, and as long as anything is, or somebody reads in the log, the log grows, which makes
a small commit take twice as long as one that overwrites what is there: the file system has more to note. So the
committer copies the rest where it is little, and where the log has become long it waits a moment for those who read in
it.

PostgreSQL has a process of its own for all this.
"""

from __future__ import annotations

import contextlib
import threading

import sqlalchemy as sa

#: In pages of 4 KiB: from which length on the log is to begin anew, and how little of it may be left for the committer.
_LONG, _LITTLE = 2_000, 1_000
#: From which length on, in pages, the committer waits for those who read in it, and how much of it may be left then. If
#: they go on, it waits again once the log has grown by as much.
_TOO_LONG, _SOME = 16_000, 4_000
#: How long it waits, and how long everybody waits for a lock otherwise (milliseconds).
_PATIENCE_MS, BUSY_MS = 100, 30_000


class Copying:
    """Who copies when.

    Two threads copy, one at a time, and **beside the committer no copying begins while all of the log is in the file
    already**: a commit may begin the log anew then, and SQLite before 3.51.3, when this comes between its reading of
    the log's length and its copying, notes pages as copied that are not, which loses commits; source:
    https://sqlite.org/wal.html#walresetbug.
    """

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._state = threading.Lock()
        self._ended = 0
        #: All is in the file, for all that is known: also where something was committed that has not been noted yet.
        self._is_whole = False
        self._is_almost_whole = False
        self._length = 0
        self._wait_from = _TOO_LONG

    @property
    def ended(self) -> int:
        """Return how often a copying has ended: to be asked before a commit, for `note_commit`."""
        return self._ended

    def note_commit(self, ended_before: int) -> None:
        """Note that a commit that has written is done. If a copying ended beside it, that may have copied it, too.

        Then what it wrote is copied after the next one.
        """
        with self._state:
            if self._ended == ended_before:
                self._is_whole = False

    def copy(self, connection: sa.Connection) -> None:
        """Copy what is committed, on the *connection* of a reader, while the committer goes on."""
        with self._one_at_a_time:
            if not self._is_whole:
                self._is_almost_whole = False
                self._copy(connection, "PASSIVE")

    def begin_anew(self, connection: sa.Connection) -> None:
        """Let the log begin anew with the next transaction on the committer's *connection*, if that takes no time.

        What goes wrong is no reason to refuse anybody anything: `copy` will tell.
        """
        if not self._is_almost_whole:
            return
        if not self._one_at_a_time.acquire(blocking=False):
            return
        try:
            with contextlib.suppress(sa.exc.DBAPIError):
                self._finish(connection)
        finally:
            self._is_almost_whole = False
            self._one_at_a_time.release()

    def _finish(self, connection: sa.Connection) -> None:
        if self._length <= self._wait_from:
            self._copy(connection, "PASSIVE")
            return
        self._wait_from = self._length + _SOME
        connection.exec_driver_sql(f"PRAGMA busy_timeout={_PATIENCE_MS}")
        try:
            self._copy(connection, "RESTART")
        finally:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={BUSY_MS}")

    def _copy(self, connection: sa.Connection, how: str) -> None:
        _, length, copied = connection.exec_driver_sql(f"PRAGMA wal_checkpoint({how})").one()
        if length < 0:
            return  # another program copies
        left = length - copied
        with self._state:
            self._ended += 1
            self._is_whole = left == 0
        self._length = length
        # also where nothing is left of what was there when it began: a commit beside it made the log longer
        self._is_almost_whole = length > _LONG and left < (_SOME if length > self._wait_from else _LITTLE)
        if length <= _TOO_LONG:
            self._wait_from = _TOO_LONG
