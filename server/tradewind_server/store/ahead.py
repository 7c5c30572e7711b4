"""Statements sent to PostgreSQL whose replies are read later, together: several in one round trip.

A round trip costs about 0.2 ms of waiting and computing, as long as deciding on an action. SQLite has no such thing: it
works in the server's own process.

The driver has a pipeline mode, too, and sends each statement by itself as soon as it is given. Here they leave
together (docs/adr/0024-fewer-round-trips.md).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, cast

import psycopg
import sqlalchemy as sa
from psycopg import generators
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from tradewind_server.store.statements import Row

#: Of what ends the connection, whatever else is wrong: an idle transaction, a shutdown, a disk that takes nothing.
_ENDS_CONNECTION = ("FATAL", "PANIC")
#: Statements that PostgreSQL keeps prepared, those used last; a plan takes some 100 kB there.
_MOST_PREPARED = 100
_TEXT, _BINARY = Format.TEXT, Format.BINARY
#: A connection may have had another Ahead before.
_numbers = itertools.count(1)


class _Reply:
    """What is to come of one message: of a statement, of its preparation, or of the end of all that was sent."""

    __slots__ = ("result",)

    result: PGresult | None

    def __init__(self) -> None:
        self.result = None


class Ahead:
    """What was sent on one connection of PostgreSQL and is not answered yet; used by one thread.

    Whatever else is executed on the connection waits for it first.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
        self._reader = Transformer(self._driver)
        #: Something was not carried out: what is taken for prepared here may never have been.
        self.has_failed = False
        self._awaited: list[_Reply] = []
        #: The last of what is awaited is the end of all that was sent.
        self._is_complete = False
        #: Name by text, those used last at the end.
        self._prepared: dict[str, bytes] = {}
        sa.event.listen(connection, "before_cursor_execute", lambda *_: self.settle())

    @property
    def _pgconn(self) -> PGconn:
        return self._driver.pgconn

    def send(self, text: str, parameters: Sequence[Any] = ()) -> Callable[[], list[Row]]:
        """Have a statement sent with the next that is waited for; what is returned settles, then gives its rows.

        Args:
            text: with %s for each parameter, of a type that it names.
            parameters: texts, bytes or None.

        Raises:
            sqlalchemy.exc.DBAPIError: the connection is lost, or something sent before was refused.
        """
        reply = self._put(text, parameters)

        def rows() -> list[Row]:
            self.settle()
            return self._rows(reply)

        return rows

    def _rows(self, reply: _Reply) -> list[Row]:
        result = reply.result
        assert result is not None, "what was not carried out has raised"
        assert result.status == ExecStatus.TUPLES_OK, "as above"
        self._reader.set_pgresult(result)
        return self._reader.load_rows(0, result.ntuples, tuple)

    def _put(self, text: str, parameters: Sequence[Any] = ()) -> _Reply:
        values = [value.encode() if isinstance(value, str) else value for value in parameters]
        formats = [_BINARY if isinstance(value, bytes) else _TEXT for value in parameters]
        try:
            _refuse_nul(parameters)
            if self._is_complete:
                self.settle()
            if not self._awaited:
                self._pgconn.enter_pipeline_mode()
            name = self._prepared.pop(text, b"") or self._prepare(text)
            self._prepared[text] = name
            self._pgconn.send_query_prepared(name, values, formats, _BINARY)
        except psycopg.Error as error:
            raise self._told(text, error) from error
        return self._await()

    def _await(self) -> _Reply:
        reply = _Reply()
        self._awaited.append(reply)
        return reply

    def _prepare(self, text: str) -> bytes:
        if len(self._prepared) >= _MOST_PREPARED:
            oldest = self._prepared.pop(next(iter(self._prepared)))
            self._pgconn.send_query_params(b'DEALLOCATE "%s"' % oldest, None)
            self._await()
        name = b"ahead_%d" % next(_numbers)
        self._pgconn.send_prepare(name, _numbered(text))
        self._await()
        return name

    def settle(self) -> None:
        """Wait until all that was sent is carried out.

        Raises:
            sqlalchemy.exc.DBAPIError: what the first that failed says; none after it was carried out.
        """
        if not self._awaited:
            return
        try:
            self._complete()
            awaited, self._awaited, self._is_complete = self._awaited, [], False
            try:
                self._driver.wait(_receive(self._pgconn, awaited))
            finally:
                if awaited[-1].result is not None:
                    self._pgconn.exit_pipeline_mode()
        except psycopg.Error as error:
            raise self._told("sent ahead", error) from error
        except BaseException:
            # of the replies some are not read
            self.has_failed = True
            raise

    def _complete(self) -> None:
        """Say that nothing more comes before the replies."""
        if not self._is_complete:
            self._pgconn.pipeline_sync()
            self._await()
            self._is_complete = True

    def commit(self) -> Callable[[], bool]:
        """Send the commit; what is returned waits for it, and returns whether it was done.

        Nothing that fails after it changes that.

        Raises:
            sqlalchemy.exc.DBAPIError: then, something sent before was refused, or the connection is lost.
        """
        try:
            reply = self._put("COMMIT")
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
                if not _says_commit(reply):
                    raise
            # of a transaction in which something has failed PostgreSQL says ROLLBACK, and calls that no error
            return _says_commit(reply)

        return is_done

    def _send_all(self) -> None:
        """Send all, also what the network does not take at once.

        Whoever needs what this transaction has locked waits until it ends, and may be who was to send the rest.
        """
        try:
            self._complete()
            self._driver.wait(generators.send(self._pgconn))
        except psycopg.Error as error:
            raise self._told("COMMIT", error) from error

    def roll_back(self) -> None:
        """End a transaction of which all is settled.

        Raises:
            sqlalchemy.exc.DBAPIError: the connection is lost.
        """
        self.send("ROLLBACK")
        self.settle()

    def _told(self, text: str, error: psycopg.Error) -> BaseException:
        self.has_failed = True
        is_lost = self._driver.closed or error.diag.severity_nonlocalized in _ENDS_CONNECTION
        dialect = self._connection.dialect
        return sa.exc.DBAPIError.instance(
            text, None, error, psycopg.Error, dialect=dialect, connection_invalidated=is_lost
        )


def _receive(pgconn: PGconn, awaited: Sequence[_Reply]) -> PQGen[None]:
    """Send what is left, and note all replies.

    Raises:
        psycopg.Error: what the first that failed says, or how the connection was lost.
    """
    yield from generators.send(pgconn)
    failed: PGresult | None = None
    for reply in awaited:
        results = yield from generators.fetch_many(pgconn)
        if not results:
            # after what ends a connection nothing comes
            break
        [reply.result] = results
        if failed is None and reply.result.status == ExecStatus.FATAL_ERROR:
            failed = reply.result
    if failed is not None:
        raise psycopg.errors.error_from_result(failed, encoding="utf-8")
    if awaited[-1].result is None:
        raise psycopg.OperationalError("the connection was lost")


def _says_commit(reply: _Reply) -> bool:
    return reply.result is not None and reply.result.command_status == b"COMMIT"


def _refuse_nul(parameters: Sequence[Any]) -> None:
    """See to it that no text has a character that PostgreSQL has no place for: libpq would cut it off there.

    Raises:
        psycopg.DataError: one has.
    """
    if "\0" in "".join([value for value in parameters if isinstance(value, str)]):
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")


@functools.lru_cache(1024)
def _numbered(text: str) -> bytes:
    """Return *text* with the parameters in PostgreSQL's own form; the driver would look for them each time."""
    first, *others = text.split("%s")
    return "".join([first, *(f"${n}{part}" for n, part in enumerate(others, 1))]).encode()
