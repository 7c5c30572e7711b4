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

from tradewind_server.store.statements import Row

#: Classes of SQLSTATE after which nobody knows whether a commit came to be: of the connection, and of a shutdown.
_DOUBTFUL = ("08", "57P")


class Ahead:
    """What was sent on one connection of PostgreSQL and is not answered yet; used by one thread.

    Whatever else is executed on the connection waits for it first.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._sent: contextlib.ExitStack | None = None
        sa.event.listen(connection, "before_cursor_execute", lambda *_: self.settle())

    def send(self, text: str, parameters: Sequence[Any] = ()) -> Callable[[], list[Row]]:
        """Send a statement; what is returned settles, then gives its rows.

        Raises:
            sqlalchemy.exc.DBAPIError: the connection is lost, or something sent before was refused.
        """
        driver: Any = self._connection.connection.driver_connection
        with self._translating(text):
            if self._sent is None:
                sent = contextlib.ExitStack()
                sent.enter_context(driver.pipeline())
                self._sent = sent
            cursor: psycopg.RawCursor[Row] = psycopg.RawCursor(driver)
            cursor.execute(_numbered(text), parameters)

        def rows() -> list[Row]:
            self.settle()
            return cursor.fetchall()

        return rows

    def settle(self) -> None:
        """Wait until all that was sent is carried out.

        Raises:
            sqlalchemy.exc.DBAPIError: what the first that failed says; none after it was carried out.
        """
        sent, self._sent = self._sent, None
        if sent is not None:
            with self._translating("sent ahead"):
                sent.close()

    @contextlib.contextmanager
    def _translating(self, text: str) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            cause = _first(error)
            raise sa.exc.DBAPIError.instance(
                text, None, cause, psycopg.Error, dialect=self._connection.dialect
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
    state = getattr(error.orig, "sqlstate", None)
    return state is None or state.startswith(_DOUBTFUL)
