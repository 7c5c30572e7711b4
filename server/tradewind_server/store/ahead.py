"""Statements sent to PostgreSQL whose replies are read later, together: several in one round trip.

A round trip costs about 0.2 ms of waiting and computing, as long as deciding on an action. SQLite has no such thing: it
works in the server's own process.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import generators

from tradewind_server.store.statements import Row

#: Of what ends the connection, whatever else is wrong: an idle transaction, a shutdown, a disk that takes nothing.
_ENDS_CONNECTION = ("FATAL", "PANIC")


class Ahead:
    """What was sent on one connection of PostgreSQL and is not answered yet; used by one thread.

    Whatever else is executed on the connection waits for it first.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._driver: Any = connection.connection.driver_connection
        #: Something was not carried out: psycopg may take for prepared what PostgreSQL has never prepared.
        self.has_failed = False
        self._sent: contextlib.ExitStack | None = None
        sa.event.listen(connection, "before_cursor_execute", lambda *_: self.settle())

    def send(self, text: str, parameters: Sequence[Any] = ()) -> Callable[[], list[Row]]:
        """Send a statement; what is returned settles, then gives its rows.

        Raises:
            sqlalchemy.exc.DBAPIError: the connection is lost, or something sent before was refused.
        """
        cursor = self._execute(text, parameters)

        def rows() -> list[Row]:
            self.settle()
            return cursor.fetchall()

        return rows

    def _execute(self, text: str, parameters: Sequence[Any] = ()) -> psycopg.RawCursor[Row]:
        with self._translating(text):
            if self._sent is None:
                sent = contextlib.ExitStack()
                sent.enter_context(self._driver.pipeline())
                self._sent = sent
            cursor: psycopg.RawCursor[Row] = psycopg.RawCursor(self._driver)
            cursor.execute(_numbered(text), parameters)
        return cursor

    def settle(self) -> None:
        """Wait until all that was sent is carried out.

        Raises:
            sqlalchemy.exc.DBAPIError: what the first that failed says; none after it was carried out.
        """
        sent, self._sent = self._sent, None
        if sent is not None:
            with self._translating("sent ahead"):
                sent.close()

    def commit(self) -> Callable[[], bool]:
        """Send the commit; what is returned waits for it, and returns whether it was done.

        Nothing that fails after it changes that.

        Raises:
            sqlalchemy.exc.DBAPIError: then, something sent before was refused, or the connection is lost.
        """
        try:
            cursor = self._execute("COMMIT")
            self._send_all()
        except sa.exc.DBAPIError as error:
            failure = error

            def fail() -> bool:
                raise failure

            return fail

        def is_done() -> bool:
            try:
                self.settle()
            except sa.exc.DBAPIError:
                if cursor.statusmessage != "COMMIT":
                    raise
            # of a transaction in which something has failed PostgreSQL says ROLLBACK, and calls that no error
            return cursor.statusmessage == "COMMIT"

        return is_done

    def _send_all(self) -> None:
        """Send what the driver keeps back while the network takes nothing more.

        Whoever needs what this transaction has locked waits until it ends, and may be who was to send the rest.
        """
        with self._translating("COMMIT"):
            self._driver.wait(generators.send(self._driver.pgconn))

    def roll_back(self) -> None:
        """End a transaction of which all is settled, but keep what is prepared: psycopg forgets it with a ROLLBACK.

        Raises:
            sqlalchemy.exc.DBAPIError: the connection is lost.
        """
        threshold, self._driver.prepare_threshold = self._driver.prepare_threshold, None
        try:
            with self._translating("ROLLBACK"):
                self._driver.execute("ROLLBACK")
        finally:
            self._driver.prepare_threshold = threshold

    @contextlib.contextmanager
    def _translating(self, text: str) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            self.has_failed = True
            cause = _first(error)
            is_lost = self._driver.closed or cause.diag.severity_nonlocalized in _ENDS_CONNECTION
            raise sa.exc.DBAPIError.instance(
                text, None, cause, psycopg.Error, dialect=self._connection.dialect, connection_invalidated=is_lost
            ) from cause


@functools.lru_cache(1024)
def _numbered(text: str) -> bytes:
    """Return *text* with the parameters in PostgreSQL's own form; the driver would look for them each time."""
    first, *others = text.split("%s")
    return "".join([first, *(f"${n}{part}" for n, part in enumerate(others, 1))]).encode()


def _first(error: psycopg.Error) -> psycopg.Error:
    """Return what went wrong first: what came after it only says that it was not carried out."""
    while isinstance(error, psycopg.errors.PipelineAborted) and isinstance(error.__context__, psycopg.Error):
        error = error.__context__
    return error


def is_doubtful(error: sa.exc.DBAPIError) -> bool:
    """Return whether a commit that ended so may have come to be; else PostgreSQL itself said that it has not."""
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) is None
