"""One batch in one transaction: claim, lock, read, write, commit.

The contract of locking: an execution may be decided on only when `lock` returned it as READY. Its row is then locked
until the commit, its revision is the one in the database, and its last transaction is older than this one, so that
readers which follow transaction order never miss an event (PostgreSQL gives transaction ids when a transaction first
writes, not when it commits). Lock order everywhere: claims sorted by key, limits by name, executions by id, then their
rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set

import sqlalchemy as sa

from tradewind_server.errors import DatabaseUnavailable
from tradewind_server.store import human_task_rows, numbers, schema, substitutes, worker_schema
from tradewind_server.store.ahead import Ahead, is_doubtful
from tradewind_server.store.database import Database
from tradewind_server.store.projection import ACTION_CHANGES, PROGRESS, TASK_CHANGES, TURN, Changes
from tradewind_server.store.records import Claim, Message, QueueRow
from tradewind_server.store.statements import Dialect, Row, Select, SQLiteDriver, Write, delete, insert, merged, update

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


class Outcome(enum.Enum):
    """How a commit ended."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"


class Lock(enum.Enum):
    """What `lock` found."""

    READY = "ready"
    #: Another server holds it, or a newer transaction wrote it: next batch.
    BUSY = "busy"
    MISSING = "missing"


@dataclasses.dataclass(frozen=True, slots=True)
class Locked:
    """A locked execution row."""

    lock: Lock
    revision: int = 0


_insert_executions = insert(schema.executions)
_insert_tags = insert(schema.execution_tags)
_update_progress = update(schema.executions, PROGRESS)
_update_turns = update(schema.executions, TURN)
#: A step of a sequence has four events.
_insert_events = insert(schema.events, few=8)
_insert_tasks = insert(schema.tasks)
_update_tasks = update(schema.tasks, TASK_CHANGES)
_insert_actions = insert(schema.actions)
_update_actions = update(schema.actions, ACTION_CHANGES)
_insert_human_tasks = insert(schema.human_tasks)
_update_human_tasks = update(schema.human_tasks, human_task_rows.CHANGES)
_insert_entries = insert(schema.inbox)
_delete_entries = delete(schema.inbox, ("execution_id", "action_id"))
_insert_notifications = insert(schema.notifications)
_insert_attachments = insert(schema.attachments)
_delete_attachments = delete(schema.attachments, ("execution_id", "revision"))
_insert_arrivals = insert(schema.arrivals)
_insert_timers = insert(schema.timers)
_delete_timers = delete(schema.timers, ("execution_id", "timer_id"))
_insert_logs = insert(worker_schema.action_logs, conflict="ignore")
_insert_messages = insert(schema.messages, conflict="ignore")
_delete_messages = delete(schema.messages, ("target", "source", "source_revision", "kind"))
_set_last_batch = insert(schema.last_batches, conflict="update", changing=("batch", "at"))
_delete_last_batches = delete(schema.last_batches, ("server",))
_delete_batches = delete(schema.batches, ("id",))
CLAIM_KEY = ("namespace", "kind", "key")
_insert_claims = insert(schema.claims, conflict="ignore")
_delete_claims = delete(schema.claims, CLAIM_KEY)
_delete_held = delete(schema.claims, (*CLAIM_KEY, "execution_id"))
QUEUE_COLUMNS = tuple(column.name for column in schema.queue.columns)
_insert_queue = insert(schema.queue)
_delete_queue = delete(schema.queue, ("execution_id", "action_id"))
_update_queue = update(
    schema.queue,
    ("ready_at", "stage", "attempt", "epoch", "worker", "worker_build", "offered_at", "session", "lease_until",
     "deliveries", "losses", "cancelling", "progress", "checkpoint"),
)  # fmt: skip
_select_claims = Select(schema.claims, CLAIM_KEY, tuple(c.name for c in schema.claims.columns))
_select_executions = Select(schema.executions, ("id",), ("id", "revision", "xid"))
_lock_executions = Select(schema.executions, ("id",), ("id", "revision", "xid"), lock="FOR UPDATE OF t SKIP LOCKED")
_wait_executions = Select(schema.executions, ("id",), ("id", "revision", "xid"), lock="FOR UPDATE OF t")
#: With the locks in one round trip, before it is known which of those are held: the row's last locker tells.
_select_queue = Select(
    schema.queue,
    ("execution_id", "action_id"),
    QUEUE_COLUMNS,
    lock="FOR UPDATE OF t",
    beside=[sa.Column("by_execution", sa.BigInteger)],
    where="k.by_execution = 0 OR EXISTS (SELECT 1 FROM executions e "
    "WHERE e.id = k.execution_id AND e.xmax = pg_current_xact_id()::xid)",
)
_select_queued = Select(schema.queue, ("execution_id",), ("execution_id", "action_id"))
_select_bodies = Select(
    schema.events, ("execution_id", "revision"), ("execution_id", "revision", "type", "type_version", "body")
)


ClaimKey = tuple[str, str, str]


def claim_key(claim: Claim) -> ClaimKey:
    """Return the key of *claim*, in the order in which claims are locked."""
    return (claim.namespace, claim.kind, claim.key)


def business_claim(workflow: str, key: str) -> str:
    """Return the key under which a business key of *workflow* is claimed."""
    return f"{workflow}\x1f{key}"


def queue_row(row: Sequence[object]) -> QueueRow:
    """Return a row of the queue table as a record."""
    record = QueueRow(*row)  # type: ignore[arg-type]
    record.safe_rerun, record.cancelling = bool(record.safe_rerun), bool(record.cancelling)
    record.detail = bytes(record.detail)
    record.checkpoint = None if record.checkpoint is None else bytes(record.checkpoint)
    return record


def _queue_tuple(row: QueueRow) -> Row:
    return (
        row.execution_id, row.action_id, row.namespace, row.name, row.target, row.rank, row.ready_at, row.stage,
        row.attempt, row.epoch, row.worker, row.worker_build, row.offered_at, row.session, row.lease_until,
        row.deliveries, row.losses, int(row.safe_rerun), row.timeout_at, int(row.cancelling), row.input_revision,
        row.progress, row.checkpoint, row.detail,
    )  # fmt: skip


def _queue_changes(row: QueueRow) -> Row:
    return (
        row.ready_at, row.stage, row.attempt, row.epoch, row.worker, row.worker_build, row.offered_at, row.session,
        row.lease_until, row.deliveries, row.losses, int(row.cancelling), row.progress, row.checkpoint,
        row.execution_id, row.action_id,
    )  # fmt: skip


class Writer:
    """The committer's connection and its transactions. Used by one thread."""

    def __init__(self, database: Database, server_id: str) -> None:
        self._database = database
        self._server_id = server_id
        self._connection: sa.Connection | None = None
        self._ahead: Ahead | None = None
        self._backend: Row = ()
        self._planned_at = 0.0
        self._next_xid = 0

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
            self._ahead = Ahead(self._connection)
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
        try:
            connection = self.connection
            number = self._begin_ahead(self._ahead) if self._ahead is not None else self._begin_here(connection)
            if self._ahead is not None and lock_timeout_ms:
                self._ahead.send(f"SET LOCAL lock_timeout = {lock_timeout_ms}")
        except sa.exc.DBAPIError as error:
            self.discard()
            raise DatabaseUnavailable(problem=_brief(error)) from error
        return Transaction(self._database, connection, self.dialect, self._ahead, batch, at, self._server_id, number)

    def _begin_here(self, connection: sa.Connection) -> Callable[[], int]:
        with SQLiteDriver(connection, "BEGIN") as driver:
            driver.execute("BEGIN IMMEDIATE")
        self._next_xid += 1
        return functools.partial(int, self._next_xid)

    def _begin_ahead(self, ahead: Ahead) -> Callable[[], int]:
        """Begin, and have the transaction numbered.

        PostgreSQL numbers only those transactions that ask or write. This one asks before it locks anything: `lock`
        compares the number with that of each row's last writer.
        """
        if time.monotonic() - self._planned_at > _PLANS_SECONDS:
            ahead.send("DISCARD PLANS")
            self._planned_at = time.monotonic()
        ahead.send("BEGIN")
        numbered = ahead.send("SELECT pg_current_xact_id()::text::bigint")
        return lambda: int(numbered()[0][0]) + self._database.xid_offset

    def commit(self, transaction: Transaction) -> Outcome:
        """Commit; a lost reply is cleared up by the batch's row before this returns.

        Raises:
            sqlalchemy.exc.DBAPIError: the database refused a row, and nothing was committed.
        """
        try:
            is_done = self._send_commit()
        except sa.exc.DBAPIError as error:
            if self.dialect.is_postgresql and not is_doubtful(error):
                raise
            return self._resolve(transaction)
        if self._ahead is not None and self._ahead.has_failed:
            self.discard()
        return Outcome.COMMITTED if is_done else Outcome.ROLLED_BACK

    def _send_commit(self) -> bool:
        if self._ahead is not None:
            return self._ahead.commit()
        with SQLiteDriver(self.connection, "COMMIT") as driver:
            driver.execute("COMMIT")
        return True

    def rollback(self) -> None:
        """Give the transaction up."""
        self._forget_what_was_sent()
        try:
            self._send_rollback()
        except sa.exc.SQLAlchemyError:
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
        """Drop the connection; the next transaction makes a new one."""
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
        pause = 0.01
        while True:
            try:
                if not self.dialect.is_postgresql or not self._is_alive(backend):
                    break
            except sa.exc.DBAPIError:
                self.discard()
            time.sleep(pause)  # the database is away: nothing else can be done until it answers
            pause = min(pause * 2, 1.0)
        return Outcome.COMMITTED if self._is_written(transaction.batch) else Outcome.ROLLED_BACK

    def _is_alive(self, backend: Row) -> bool:
        query = f"SELECT count(*) FROM pg_stat_activity WHERE ({_BACKEND}) = (%s, %s)"
        return bool(self.connection.exec_driver_sql(query, backend).scalar())

    def _is_written(self, batch: str) -> bool:
        table = schema.last_batches
        query = sa.select(table.c.batch).where(table.c.server == self._server_id)
        while True:
            try:
                found = self.connection.execute(query).scalar()
            except sa.exc.DBAPIError:
                self.discard()
                time.sleep(0.1)
            else:
                return found == batch

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _brief(error: sa.exc.DBAPIError) -> str:
    return str(error.orig).split("\n", 1)[0]


class Transaction:
    """One open transaction of the committer."""

    def __init__(
        self,
        database: Database,
        connection: sa.Connection,
        dialect: Dialect,
        ahead: Ahead | None,
        batch: str,
        at: int,
        server_id: str,
        number: Callable[[], int],
    ) -> None:
        self.database = database
        self.connection = connection
        self.dialect = dialect
        self.batch = batch
        self.at = at
        self._ahead = ahead
        self._server_id = server_id
        self._number = number
        #: There is something to commit.
        self.has_written = False

    @functools.cached_property
    def xid(self) -> int:
        """Return the transaction's number, by which its events are ordered among those of others."""
        return self._number()

    def _ask(self, select: Select, keys: Sequence[Row]) -> Callable[[], list[Row]]:
        """Have rows read; what is returned gives them. PostgreSQL is asked several things in one round trip."""
        if self._ahead is not None and keys:
            return self._ahead.send(*select.asked(keys))
        rows = select.run(self.connection, self.dialect, keys)
        return lambda: rows

    def claim(self, wanted: Iterable[Claim]) -> Callable[[], dict[ClaimKey, Claim]]:
        """Put claims down, first come first served; what is returned tells who held which key before."""
        claims = {claim_key(c): c for c in sorted(wanted, key=claim_key)}
        if not claims:
            return dict
        rows = [(*key, c.execution_id, c.digest, c.revision, c.expires_at) for key, c in claims.items()]
        self.has_written = True
        if self._ahead is None:
            held = self.find_claims(list(claims))
            _insert_claims.run(self.connection, self.dialect, [row for row in rows if row[:3] not in held])
            return lambda: held
        made = self._ahead.send(_insert_claims.returning(CLAIM_KEY), _insert_claims.parameters(rows))
        return lambda: self._find_holders(claims, set(made()))

    def _find_holders(self, claims: Mapping[ClaimKey, Claim], made: Set[Row]) -> dict[ClaimKey, Claim]:
        # a claim in another open transaction was waited for: this statement sees it
        held = self.find_claims(list(claims.keys() - made))
        freed = claims.keys() - made - held.keys()
        # who held these has freed them since
        return held | self.claim(claims[key] for key in freed)()

    def find_claims(self, keys: Sequence[ClaimKey]) -> dict[ClaimKey, Claim]:
        """Return the claims of *keys* that exist."""
        return self.ask_claims(keys)()

    def ask_claims(self, keys: Sequence[ClaimKey]) -> Callable[[], dict[ClaimKey, Claim]]:
        """Look for the claims of *keys*; what is returned gives those that exist."""
        rows = self._ask(_select_claims, keys)
        return lambda: {(row[0], row[1], row[2]): Claim(*row) for row in rows()}

    def business_keys(self, executions: Iterable[str]) -> dict[str, Claim]:
        """Return for each of *executions* the claim that its root has, or once had, on a business key."""
        wanted = list(executions)
        if not wanted:
            return {}
        x, root = schema.executions, schema.executions.alias()
        query = sa.select(x.c.id, root.c.namespace, root.c.workflow, root.c.business_key, x.c.root_id)
        query = query.join(root, root.c.id == x.c.root_id).where(x.c.id.in_(wanted), root.c.business_key != "")
        rows = self.connection.execute(query)
        return {
            id_: Claim(namespace, "business", business_claim(name, key), root_id, "", 1, 0)
            for id_, namespace, name, key, root_id in rows
        }

    def release_claims(self, keys: Sequence[ClaimKey]) -> None:
        """Free *keys*: business keys of ended executions, claims of refused commands."""
        _delete_claims.run(self.connection, self.dialect, keys)
        self.has_written = self.has_written or bool(keys)

    def release_held(self, keys: Sequence[tuple[str, str, str, str]]) -> None:
        """Free (namespace, kind, key) where it is held by the execution that is the fourth part."""
        _delete_held.run(self.connection, self.dialect, keys)
        self.has_written = self.has_written or bool(keys)

    def lock(self, ids: Iterable[str], *, wait: bool = False) -> Callable[[], dict[str, Locked]]:
        """Lock execution rows; what is returned tells what may be decided on.

        Raises:
            sqlalchemy.exc.DBAPIError: then, *wait* was asked for and the lock timeout passed.
        """
        keys = [(id_,) for id_ in sorted(set(ids))]
        if not self.dialect.is_postgresql:
            rows = _select_executions.run(self.connection, self.dialect, keys)
            return lambda: {row[0]: Locked(Lock.READY, row[1]) for row in rows}
        locked = self._ask(_wait_executions if wait else _lock_executions, keys)
        return lambda: self._sort_out(keys, locked())

    def _sort_out(self, keys: Sequence[tuple[str]], rows: Sequence[Row]) -> dict[str, Locked]:
        found = {id_: Locked(Lock.READY if xid < self.xid else Lock.BUSY, revision) for id_, revision, xid in rows}
        unlocked = [key for key in keys if key[0] not in found]
        for id_, _, _ in _select_executions.run(self.connection, self.dialect, unlocked):
            found[id_] = Locked(Lock.BUSY)
        return found

    def queue_rows(
        self, locked: Iterable[tuple[str, int]], free: Iterable[tuple[str, int]] = ()
    ) -> Callable[[], dict[tuple[str, int], QueueRow]]:
        """Lock the delivery state of actions; what is returned gives it: those that have ended have none.

        Args:
            locked: actions of executions for which `lock` was asked; where it was not given, there is none either.
            free: others.
        """
        wanted = dict.fromkeys(locked, 1) | dict.fromkeys(free, 0)
        rows = self._ask(_select_queue, sorted((*key, by_execution) for key, by_execution in wanted.items()))
        return lambda: {(row[0], row[1]): queue_row(row) for row in rows()}

    def queue_keys(self, executions: Iterable[str]) -> list[tuple[str, int]]:
        """Return which actions of *executions* have a delivery state."""
        rows = _select_queued.run(self.connection, self.dialect, [(id_,) for id_ in executions])
        return [(execution_id, action_id) for execution_id, action_id in rows]

    def queue_of(self, execution_id: str) -> list[QueueRow]:
        """Return and lock the delivery state of all open actions of an execution."""
        table = schema.queue
        query = sa.select(table).where(table.c.execution_id == execution_id).order_by(table.c.action_id)
        if self.dialect.is_postgresql:
            query = query.with_for_update()
        return [queue_row(tuple(row)) for row in self.connection.execute(query)]

    def best_ready(self, namespace: str, name: str, target: str, now: int, limit: int) -> list[QueueRow]:
        """Return and lock the best queued actions of a queue, by rank and id; others' locks are skipped."""
        table = schema.queue
        query = (
            sa.select(table)
            .where(table.c.namespace == namespace, table.c.name == name, table.c.target == target)
            .where(schema.IS_QUEUED, table.c.cancelling == 0)
            .where(table.c.ready_at <= now)
            .order_by(table.c.rank, table.c.execution_id, table.c.action_id)
            .limit(limit)
        )
        if self.dialect.is_postgresql:
            query = query.with_for_update(skip_locked=True)
        return [queue_row(tuple(row)) for row in self.connection.execute(query)]

    def expired_leases(self, now: int, limit: int) -> list[QueueRow]:
        """Return and lock the actions whose lease has ended, those that ended first first."""
        table = schema.queue
        query = (
            sa.select(table)
            .where(schema.IS_LEASED, table.c.lease_until < now)
            .order_by(table.c.lease_until)
            .limit(limit)
        )
        if self.dialect.is_postgresql:
            query = query.with_for_update(skip_locked=True)
        return [queue_row(tuple(row)) for row in self.connection.execute(query)]

    def clean_up(self, batches_before: int, claims_before: int, limit: int) -> None:
        """Forget old batches and expired claims, *limit* of each; rows that another server holds are left to it."""
        batches, last, claims = schema.batches.c, schema.last_batches.c, schema.claims.c
        expired = sa.select(claims.namespace, claims.kind, claims.key)
        expired = expired.where(claims.expires_at > 0, claims.expires_at < claims_before)
        for query, forget in (
            (sa.select(batches.id).where(batches.at < batches_before), _delete_batches),
            (sa.select(last.server).where(last.at < batches_before), _delete_last_batches),
            (expired, _delete_claims),
        ):
            some = query.limit(limit)
            if self.dialect.is_postgresql:
                some = some.with_for_update(skip_locked=True)
            keys = [tuple(row) for row in self.connection.execute(some)]
            forget.run(self.connection, self.dialect, keys)
            self.has_written = self.has_written or bool(keys)

    def messages_to(self, target: str) -> list[Message] | None:
        """Return and lock what waits for *target*, in order per source; None when another server holds some of it."""
        table = schema.messages
        query = sa.select(table).where(table.c.target == target)
        query = query.order_by(table.c.source, table.c.source_revision, table.c.kind)
        rows = self.connection.execute(query).all()
        if self.dialect.is_postgresql and rows:
            locked = self.connection.execute(query.with_for_update(skip_locked=True)).all()
            if len(locked) < len(rows):
                return None
            rows = locked
        return [
            Message(r.target, r.source, r.source_revision, r.kind, r.namespace, r.created_at, bytes(r.body))
            for r in rows
        ]

    def bodies(self, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], tuple[str, int, bytes]]:
        """Return (type, version, body) of events."""
        rows = _select_bodies.run(self.connection, self.dialect, keys)
        return {(row[0], row[1]): (row[2], row[3], bytes(row[4])) for row in rows}

    def write(self, changes: Changes, leases: Sequence[QueueRow], logs: Sequence[Row]) -> None:
        """Write everything that the batch changed, *leases*: delivery state of actions that go on, and their *logs*.

        Nothing at all when there is nothing.
        """
        self.has_written = self.has_written or bool(
            changes.events or changes.consumed or changes.messages or changes.unqueued or leases
        )
        if not self.has_written:
            return
        rows = changes.rows()
        notifications = [*changes.notifications, *substitutes.rows(self.connection, changes.asked)]
        consumed = [(m.target, m.source, m.source_revision, m.kind) for m in changes.consumed]
        self._write_all(
            (
                (_set_last_batch, [(self._server_id, self.batch, self.at)]),
                (_insert_events, changes.events),
                (_insert_executions, rows.new_executions),
                (_insert_tags, rows.tags),
                (_update_progress, rows.progress),
                (_update_turns, rows.turns),
                (_insert_tasks, rows.new_tasks),
                (_update_tasks, rows.tasks),
                (_insert_actions, rows.new_actions),
                (_update_actions, rows.actions),
                (_insert_human_tasks, rows.new_human_tasks),
                (_update_human_tasks, rows.human_tasks),
                (_delete_entries, rows.old_entries),
                (_insert_entries, rows.entries),
                (_insert_attachments, [(*key, content) for key, content in changes.attachments.items()]),
                (_delete_attachments, changes.dropped_attachments),
                (_insert_notifications, notifications),
                (_insert_arrivals, changes.arrivals),
                (_delete_timers, changes.ended_timers),
                (_insert_timers, list(changes.timers.values())),
                (_update_queue, [_queue_changes(row) for row in leases]),
                (_delete_queue, list(changes.unqueued)),
                (_insert_queue, [_queue_tuple(row) for row in changes.queued.values()]),
                (_insert_logs, logs),
                (_insert_messages, [_message_row(m) for m in changes.messages]),
                (_delete_messages, consumed),
            )
        )

    def _write_all(self, parts: Sequence[tuple[Write, Sequence[Row]]]) -> None:
        """Carry out several statements, none of which touches a row of another; `commit` waits for PostgreSQL."""
        if self._ahead is not None:
            self._ahead.send(*merged(parts))
            return
        for write, rows in parts:
            write.run(self.connection, self.dialect, rows)


def _message_row(m: Message) -> Row:
    return (m.target, m.source, m.source_revision, m.kind, m.namespace, m.created_at, m.body)
