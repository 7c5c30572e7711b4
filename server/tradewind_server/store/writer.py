"""A committer's connection: transactions begin and end here.

The end of a commit may be unknown, when its reply is lost: then the batch's own row tells, or one of its events, once
nobody can be carrying the commit out any more.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tradewind_server.errors import DatabaseUnavailable
from tradewind_server.on_demand import OnDemand
from tradewind_server.store import numbers, schema
from tradewind_server.store.database import Database, brief
from tradewind_server.store.statements import Dialect, Row
from tradewind_server.store.unit_of_work import Transaction

if TYPE_CHECKING:
    from tradewind_server.store import ahead
else:
    ahead = OnDemand("tradewind_server.store.ahead")

#: The committer finds everything by keys. PostgreSQL would plan its long statements each time, which takes it longer
#: than to carry them out; and a plan that is kept must not be one for tables that were small when it was made.
_PLAN_ONCE = (
    "SET plan_cache_mode = force_generic_plan; SET jit = off; "
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; "
)
#: How long plans are kept. One that was made when a table had a row reads all of it, and PostgreSQL changes it only
#: when it has counted the rows again, a minute later.
_PLANS_SECONDS = 2.0
#: A server that vanished without a word is given up by PostgreSQL, too (seconds, milliseconds for the last): its locks
#: are in everybody's way meanwhile, and what others commit may not be read.
_PATIENCE = (
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 4; "
    "SET tcp_user_timeout = 30000"
)
#: Who carries out what is sent. A process of the same number may be another one, as after a restart of PostgreSQL.
_BACKEND = "pid, (extract(epoch FROM backend_start) * 1000000)::bigint"


def is_doubtful(error: sa.exc.DBAPIError) -> bool:
    """Return whether a commit that ended so may have come to be; else PostgreSQL itself said that it has not."""
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) is None


class Outcome(enum.Enum):
    """How a commit ended."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"


class Writer:
    """A committer's connection and its transactions. Used by one thread.

    Args:
        database: where.
        name: unique among all writers of all servers: under it stands the newest batch.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._connection: sa.Connection | None = None
        self._ahead: ahead.Ahead | None = None
        self._backend: Row = ()
        self._planned_at = 0.0
        self._next_xid = 0
        self._known_losses = database.losses
        #: What the database said if the outcome of the newest commit was unknown.
        self.trouble = ""
        #: The server goes down, and waits for no database that is away.
        self._gives_up = threading.Event()

    @property
    def connection(self) -> sa.Connection:
        """Return the connection of the current transaction."""
        if self._connection is None:
            self._connect()
        assert self._connection is not None
        return self._connection

    def _connect(self) -> None:
        self._connection = self._database.connect_writer()
        self.dialect = Dialect(self._connection)
        if self.dialect.is_postgresql:
            self._ahead = ahead.Ahead(self._connection)
            self._connection.exec_driver_sql(_PLAN_ONCE + _PATIENCE)
            query = f"SELECT {_BACKEND} FROM pg_stat_activity WHERE pid = pg_backend_pid()"
            self._backend = tuple(self._connection.exec_driver_sql(query).one())
            self._planned_at = time.monotonic()
        else:
            self._next_xid = numbers.newest(self._connection)

    def begin(self, batch: str, at: int, *, lock_timeout_ms: int = 0) -> Transaction:
        """Begin a transaction for *batch*.

        Raises:
            DatabaseUnavailable: it cannot be begun; nothing has happened.
        """
        if self._known_losses != self._database.losses:
            self._drop()
        try:
            connection = self.connection
            number = self._begin_ahead(self._ahead) if self._ahead is not None else self._begin_here(connection)
            if self._ahead is not None and lock_timeout_ms:
                self._ahead.send(f"SET LOCAL lock_timeout = {lock_timeout_ms}")
        except sa.exc.DBAPIError as error:
            self.discard()
            raise DatabaseUnavailable(problem=brief(error)) from error
        return Transaction(self._database, connection, self.dialect, self._ahead, batch, at, self._name, number)

    def _begin_here(self, connection: sa.Connection) -> Callable[[], int]:
        self._database.check_file()
        self._database.copying.begin_anew(connection)
        self.dialect.sqlite.execute("BEGIN IMMEDIATE")
        self._next_xid += 1
        return functools.partial(int, self._next_xid)

    def _begin_ahead(self, sender: ahead.Ahead) -> Callable[[], int]:
        """Begin, and have the transaction numbered.

        PostgreSQL numbers only those transactions that ask or write. This one asks before it locks anything: `lock`
        compares the number with that of each row's last writer.
        """
        if time.monotonic() - self._planned_at > _PLANS_SECONDS:
            sender.send("DISCARD PLANS")
            self._planned_at = time.monotonic()
        sender.send("BEGIN")
        numbered = sender.send("SELECT pg_current_xact_id()::text::bigint")
        return lambda: int(numbered()[0][0]) + self._database.xid_offset

    def commit(self, transaction: Transaction) -> Outcome:
        """Commit; a lost reply is cleared up by what the database has before this returns.

        Raises:
            sqlalchemy.exc.DBAPIError: the database refused a row, and nothing was committed.
            DatabaseUnavailable: nobody knows whether it was committed, and the server goes down.
        """
        return self.begin_commit(transaction)()

    def begin_commit(self, transaction: Transaction) -> Callable[[], Outcome]:
        """Let PostgreSQL commit by itself; what is returned waits for that, as `commit` does."""
        return functools.partial(self._end_commit, transaction, self._send_commit())

    def _end_commit(self, transaction: Transaction, learn: Callable[[], bool]) -> Outcome:
        copying = self._database.copying
        ended_before = copying.ended
        self.trouble = ""
        try:
            is_done = learn()
        except sa.exc.DBAPIError as error:
            if self.dialect.is_postgresql and not is_doubtful(error):
                raise
            self.trouble = brief(error)
            return self._resolve(transaction)
        if self._ahead is not None and self._ahead.has_failed:
            self.discard()
        if transaction.has_written:
            copying.note_commit(ended_before)
        return Outcome.COMMITTED if is_done else Outcome.ROLLED_BACK

    def _send_commit(self) -> Callable[[], bool]:
        return self._commit_here if self._ahead is None else self._ahead.commit()

    def _commit_here(self) -> bool:
        self.dialect.sqlite.execute("COMMIT")
        return True

    def rollback(self) -> None:
        """Give the transaction up."""
        self._forget_what_was_sent()
        try:
            self._send_rollback()
        except (sa.exc.SQLAlchemyError, DatabaseUnavailable):
            # also PendingRollbackError, which is no DBAPIError: the connection was lost in mid-transaction
            self.discard()

    def _send_rollback(self) -> None:
        if self._ahead is None:
            self.connection.exec_driver_sql("ROLLBACK")
        elif self._ahead.has_failed:
            self.discard()
        else:
            self._ahead.roll_back()

    def discard(self) -> None:
        """Drop the connection, which is lost or in disorder; the next transaction makes a new one.

        Other writers do so, too, before their next transaction: what ended one connection has mostly ended all.
        """
        self._database.losses += 1
        self._drop()

    def _drop(self) -> None:
        self._known_losses = self._database.losses
        self._forget_what_was_sent()
        if self._connection is not None:
            with contextlib.suppress(sa.exc.DBAPIError):
                self._connection.invalidate()
            with contextlib.suppress(sa.exc.DBAPIError):
                self._connection.close()
        self._connection = self._ahead = None

    def _forget_what_was_sent(self) -> None:
        if self._ahead is not None:
            with contextlib.suppress(sa.exc.DBAPIError):
                self._ahead.settle()

    def _resolve(self, transaction: Transaction) -> Outcome:
        """Learn how a commit of unknown outcome ended: wait until the old backend is gone, then look for the batch."""
        backend = self._backend
        self.discard()
        if self.dialect.is_postgresql:
            self._ask_until(lambda: self._is_gone(backend) or None)
        is_written = self._ask_until(lambda: self._is_written(transaction))
        return Outcome.COMMITTED if is_written else Outcome.ROLLED_BACK

    def give_up(self) -> None:
        """Wait no longer until a database that is away tells how a commit ended; called from another thread."""
        self._gives_up.set()

    def _ask_until(self, ask: Callable[[], bool | None]) -> bool:
        """Ask a database that may be away until it answers something: nothing can be decided before.

        Raises:
            DatabaseUnavailable: it was given up, or is not the one that it was.
        """
        pause = 0.01
        while True:
            try:
                answer = ask()
            except sa.exc.DBAPIError:
                self.discard()
            else:
                if answer is not None:
                    return answer
            # it has no word for when it is back, or a backend gone
            if self._gives_up.wait(pause):
                raise DatabaseUnavailable(problem=f"the server goes down before it is back ({self.trouble})")
            pause = min(pause * 2, 1.0)

    def _is_gone(self, backend: Row) -> bool:
        query = f"SELECT count(*) FROM pg_stat_activity WHERE ({_BACKEND}) = (%s, %s)"
        return not self.connection.exec_driver_sql(query, backend).scalar()

    def _is_written(self, transaction: Transaction) -> bool:
        if transaction.witness is None:
            last = schema.last_batches.c
            newest = sa.select(last.batch).where(last.server == self._name)
            return self.connection.execute(newest).scalar() == transaction.batch
        e, (execution_id, revision) = schema.events.c, transaction.witness
        number = sa.select(e.xid).where(e.execution_id == execution_id, e.revision == revision)
        return self.connection.execute(number).scalar() == transaction.xid

    def close(self) -> None:
        """Close the connection."""
        self._forget_what_was_sent()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
