"""One batch in one transaction: claim, lock, read, write, commit.

The contract of locking: an execution may be decided on only when `lock` returned it as READY. Its row is then locked
until the commit, its revision is the one in the database, and its last transaction is older than this one, so that
readers which follow transaction order never miss an event (PostgreSQL gives transaction ids when a transaction first
writes, not when it commits). Lock order everywhere: claims sorted by key, limits by name, executions by id, then their
rows.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tradewind_server.store import human_task_rows, schema, substitutes, worker_schema
from tradewind_server.store.database import Database
from tradewind_server.store.projection import ACTION_CHANGES, PROGRESS, TASK_CHANGES, TURN, Changes
from tradewind_server.store.records import Claim, Message, QueueRow
from tradewind_server.store.statements import Dialect, Row, Select, Write, delete, insert, merged, update

if TYPE_CHECKING:
    from tradewind_server.store.ahead import Ahead


class Lock(enum.Enum):
    """What `lock` found."""

    READY = "ready"
    #: Another server holds it, or a newer transaction wrote it: next batch.
    BUSY = "busy"


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
        writer: str,
        number: Callable[[], int],
    ) -> None:
        self.database = database
        self.connection = connection
        self.dialect = dialect
        self.batch = batch
        self.at = at
        self._ahead = ahead
        self._writer = writer
        self._number = number
        #: There is something to commit.
        self.has_written = False
        #: An event of it that tells whether it is committed, by its key; None: the batch's row does.
        self.witness: tuple[str, int] | None = None

    @functools.cached_property
    def xid(self) -> int:
        """Return the transaction's number, by which its events are ordered among those of others."""
        return self._number()

    @property
    def is_alone(self) -> bool:
        """Tell whether nobody else writes to the database, so that what is remembered of it is true."""
        return not self.dialect.is_postgresql

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

    def lock(
        self, ids: Iterable[str], *, wait: bool = False, known: Mapping[str, int] | None = None
    ) -> Callable[[], dict[str, Locked]]:
        """Lock execution rows; what is returned tells what may be decided on.

        Args:
            ids: of executions.
            wait: for other servers.
            known: revisions that this server remembers; where it `is_alone` they are not read again.

        Raises:
            sqlalchemy.exc.DBAPIError: then, *wait* was asked for and the lock timeout passed.
        """
        if self.is_alone:
            revisions = dict(known or {})
            unknown = [(id_,) for id_ in set(ids) - revisions.keys()]
            rows = _select_executions.run(self.connection, self.dialect, unknown)
            revisions.update((row[0], row[1]) for row in rows)
            return lambda: {id_: Locked(Lock.READY, revision) for id_, revision in revisions.items()}
        keys = [(id_,) for id_ in sorted(set(ids))]
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
        own_row = [(self._writer, self.batch, self.at)]
        if self.is_alone and changes.events:
            # it tells as much as a row of the batch, and nobody else can have removed it when it is asked
            self.witness, own_row = changes.events[0][:2], []
        self._write_all(
            (
                (_set_last_batch, own_row),
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
