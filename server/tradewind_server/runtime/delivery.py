"""Delivery: which worker holds which action, for how long. Rows of the queue within one batch.

The engine knows nothing of this. A lease is either for delivery (offered) or for work (accepted); what ends here
without an answer goes back into the queue, or becomes the action's failure.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tradewind_server.clock import to_microseconds
from tradewind_server.engine import commands as c
from tradewind_server.engine.codec import decode_event
from tradewind_server.errors import LeaseLost, StaleAttempt
from tradewind_server.lang.values import encode
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.action_limits import Ration
from tradewind_server.runtime.cache import Cache
from tradewind_server.runtime.desk import Desk, QueueName
from tradewind_server.settings import Settings
from tradewind_server.store.projection import Changes
from tradewind_server.store.records import ACCEPTED, OFFERED, QUEUED, Answered, Lease, Live, LogLine, QueueRow
from tradewind_server.store.statements import Row
from tradewind_server.store.unit_of_work import Transaction

#: Expired leases handled in one batch, and rows of each kind that are cleaned up.
_SWEEP_ROWS = 500
#: How long the id of a batch is kept: far longer than any doubt about its commit can last.
_BATCH_MEMORY_US = 3_600_000_000


_LEASE_LOST = "Its worker was lost and may have begun the action, and safe-rerun is false."


class Delivery:
    """The delivery state that one batch reads and changes."""

    def __init__(
        self,
        cache: Cache,
        desk: Desk,
        settings: Settings,
        transaction: Transaction,
        changes: Changes,
        outcome: r.Outcome,
        now: datetime,
        ration: Ration,
    ) -> None:
        self._cache = cache
        self._desk = desk
        self._settings = settings
        self._tx = transaction
        self._changes = changes
        self._outcome = outcome
        self._now = now
        self._now_us = to_microseconds(now)
        self._ration = ration
        #: What is remembered instead of read.
        self._leases: dict[tuple[str, int], Lease] = {}
        #: As they are in the database, locked.
        self.rows: dict[tuple[str, int], QueueRow] = {}
        #: To be written although no event touched their action.
        self._saved: dict[tuple[str, int], QueueRow] = {}
        #: What workers wrote, to be kept.
        self.logs: list[Row] = []
        #: (session, action name) reserved at the desk, to give back when the batch does not come to be.
        self.reserved: list[tuple[str, str]] = []

    def read(self, requests: Sequence[r.Request]) -> Callable[[], None]:
        """Have what *requests* are about read and locked, after their executions; what is returned learns it."""
        results: list[tuple[str, int]] = []
        begun: list[tuple[str, int]] = []
        others: list[tuple[str, int]] = []
        for request in requests:
            if isinstance(request, r.Result):
                results.append((request.target, request.action_id))
            elif isinstance(request, r.Posted):
                begun.append((request.target, request.action_id))
            elif isinstance(request, r.Renew):
                others.extend((h.execution_id, h.action_id) for h in request.held)
            elif isinstance(request, r.Release):
                others.extend((h.execution_id, h.action_id) for h, _ in request.released)
        if self._tx.is_alone:
            results = self._not_remembered(results, others)
        # what is to be stopped is only locked: a claim of this batch may still lease some of it
        wanted = {*results, *begun, *others}
        rows = self._tx.queue_rows([*results, *begun, *self._to_be_stopped(requests)], others)
        return lambda: self.rows.update((key, row) for key, row in rows().items() if key in wanted)

    def _not_remembered(
        self, results: Sequence[tuple[str, int]], others: Sequence[tuple[str, int]]
    ) -> list[tuple[str, int]]:
        """Return those of *results* whose lease is not remembered, or changed in this batch, as by *others*."""
        for key in {*results}.difference(others):
            lease = self._cache.lease(*key)
            if lease is not None:
                self._leases[key] = lease
        return [key for key in results if key not in self._leases]

    def _to_be_stopped(self, requests: Sequence[r.Request]) -> list[tuple[str, int]]:
        """Return what `undelivered` will lock: only what two batches lock at once they surely lock in one order."""
        stops = (q for q in requests if isinstance(q, r.Command) and isinstance(q.command, c.StopExecution))
        return self._tx.queue_keys({stop.target for stop in stops})

    def undelivered(self, id_: str) -> frozenset[int]:
        """Return the actions of an execution that nobody works on; the others are marked to be cancelled."""
        rows = self._tx.queue_of(id_)
        idle = [row.action_id for key, row in self._changes.queued.items() if key[0] == id_]
        for read in rows:
            key = (read.execution_id, read.action_id)
            # one record a key: a beat of this batch may have changed it, or will
            row = self.rows.setdefault(key, self._saved.get(key, read))
            if row.stage == QUEUED:
                idle.append(row.action_id)
            elif key not in self._changes.unqueued:
                row.cancelling = True
                self._saved[key] = row
        return frozenset(idle)

    def check_lease(self, request: r.Result) -> Answered:
        """Compare what a result says with the lease as it is; return who holds it, since when.

        Raises:
            StaleAttempt, LeaseLost: it is another one.
        """
        key = (request.target, request.action_id)
        lease = self._leases.get(key)
        if lease is None:
            row = self.rows.get(key)
            if row is None:
                raise LeaseLost(action=f"a{request.action_id}")
            lease = row.lease
        holder = lease.holder
        if request.attempt != holder.attempt:
            raise StaleAttempt(action=f"a{request.action_id}", attempt=request.attempt, current=holder.attempt)
        if request.epoch != lease.epoch:
            raise LeaseLost(action=f"a{request.action_id}")
        return holder

    def _lease(self, row: QueueRow, session: str, worker: str, build: str) -> None:
        row.stage, row.session, row.worker, row.worker_build = OFFERED, session, worker, build
        row.offered_at = self._now_us
        row.epoch += 1
        row.lease_until = self._now_us + self._settings.delivery_lease_seconds * 1_000_000
        self._outcome.offers.append((session, row))

    def dispatch(self) -> None:
        """Give new actions to workers of this server that have room; what is left waits in the queue."""
        for row in self._changes.queued.values():
            queue = (row.namespace, row.name, row.target)
            session = self._desk.take(queue)
            if session is None:
                self._outcome.queued.add(queue)
                continue
            self.reserved.append((session.id, row.name))
            self._lease(row, session.id, session.worker, session.build)

    def claim(self, request: r.Claim) -> object:
        """Lease queued actions to a session that has room, best first."""
        leased: list[QueueRow] = []
        emptied: list[QueueName] = []
        for name, target, wanted in request.wanted:
            queue = (request.namespace, name, target)
            allowed = self._ration.allowed((request.namespace, name), wanted)
            if not allowed:
                self._outcome.limited[queue] = self._ration.next_at((request.namespace, name))
                continue
            count = self._desk.reserve(request.session, name, allowed)
            if not count:
                continue
            rows = self._best(queue, count)
            self._ration.take((request.namespace, name), rows)
            for row in rows:
                self.reserved.append((request.session, name))
                self._lease(row, request.session, request.worker, request.build)
                self._saved[row.execution_id, row.action_id] = row
                leased.append(row)
            if len(rows) == allowed < wanted:
                self._outcome.limited[queue] = self._ration.next_at((request.namespace, name))
            if len(rows) < count:
                self._desk.give_back(request.session, name, count - len(rows))
                emptied.append(queue)
        self._outcome.emptied.update(emptied)
        self._fill_inputs(leased)
        return leased

    def note_freed(self, lives: Mapping[str, Live]) -> None:
        """Where actions with a limit have ended, others may go."""
        for key in self._changes.unqueued:
            row, live = self.rows.get(key), lives.get(key[0])
            if row is not None:
                name = (row.namespace, row.name)
            elif live is not None and key[1] in live.state.actions:
                name = (live.envelope.namespace, live.state.actions[key[1]].name)
            else:
                continue  # the regular look finds what waits
            if name in self._ration.limited:
                self._outcome.queued.add((*name, ""))

    def _best(self, queue: QueueName, count: int) -> list[QueueRow]:
        """Return the best queued actions that no other request of this batch has taken."""
        found = self._tx.best_ready(*queue, self._now_us, count + len(self._saved))
        free = (row for row in found if not self._is_touched(row))
        return list(itertools.islice(free, count))

    def _is_touched(self, row: QueueRow) -> bool:
        key = (row.execution_id, row.action_id)
        return key in self._saved or key in self._changes.unqueued

    def _fill_inputs(self, rows: Sequence[QueueRow]) -> None:
        bodies = self._tx.bodies([(row.execution_id, row.input_revision) for row in rows])
        for row in rows:
            event: Any = decode_event(*bodies[row.execution_id, row.input_revision])
            row.input = encode(event.input)

    def renew(self, request: r.Renew) -> object:
        """Turn delivery leases into work leases, or renew those; say which are lost or to be cancelled."""
        verdicts: list[str] = []
        until = self._now_us + self._settings.work_lease_seconds * 1_000_000
        for held in request.held:
            key = (held.execution_id, held.action_id)
            row = self.rows.get(key)
            if row is None or (held.attempt, held.epoch) != (row.attempt, row.epoch):
                verdicts.append(r.LOST)
                continue
            if row.stage == QUEUED and not (request.returning and self._may_return(row)):
                verdicts.append(r.LOST)
                continue
            held.name = row.name
            if row.stage == ACCEPTED:
                # it survived a whole beat: whatever kills workers right after Accept, it was not this action
                row.losses = 0
            row.stage, row.lease_until, row.session, row.worker = ACCEPTED, until, request.session, request.worker
            row.deliveries = 0
            row.progress = held.progress or row.progress
            row.checkpoint = row.checkpoint if held.checkpoint is None else held.checkpoint
            self._saved[key] = row
            self.note_logs(key, held.attempt, held.epoch, held.logs)
            verdicts.append(r.CANCEL if row.cancelling else r.KEEP)
        return verdicts

    def _may_return(self, row: QueueRow) -> bool:
        """Tell whether nobody else has got a queued action; where there is a limit, others may have its place."""
        key = (row.execution_id, row.action_id)
        # a claim of this batch has a record of its own; one that has just gone into the queue has this one
        is_taken = self._saved.get(key, row).epoch != row.epoch or key in self._changes.unqueued
        return not is_taken and (row.namespace, row.name) not in self._ration.limited

    def note_logs(self, key: tuple[str, int], attempt: int, epoch: int, lines: Sequence[LogLine]) -> None:
        """Keep what the worker that holds an action writes about it."""
        xid = self._tx.xid
        self.logs.extend((*key, epoch, line.number, attempt, line.at, line.level, line.message, xid) for line in lines)

    def release(self, request: r.Release) -> object:
        """Put actions back into the queue."""
        verdicts: list[str] = []
        for held, delay in request.released:
            row = self.rows.get((held.execution_id, held.action_id))
            if row is None or (held.attempt, held.epoch) != (row.attempt, row.epoch) or row.stage == QUEUED:
                verdicts.append(r.LOST)
                continue
            if request.lost and (row.stage == ACCEPTED or not row.safe_rerun):
                # its worker may come back with it: the lease decides. Workers accept only what takes them long: what is
                # to be done once may have been begun without (ADR 28).
                verdicts.append(r.KEEP)
                continue
            self._requeue(row, lost=request.lost, delay=delay)
            verdicts.append(r.KEEP)
        return verdicts

    def post(self, request: r.Posted) -> None:
        """Take an action that was begun out of the queue, unless its result was faster, or its lease is lost."""
        key = (request.target, request.action_id)
        row = self.rows.get(key)
        if row is not None and (row.attempt, row.epoch) == (request.attempt, request.epoch):
            self._changes.unqueued[key] = None
            self._saved.pop(key, None)

    def _requeue(self, row: QueueRow, *, lost: bool, delay: int = 0) -> None:
        key = (row.execution_id, row.action_id)
        settings = self._settings
        accepted = row.stage == ACCEPTED
        if lost and not row.safe_rerun and not row.cancelling:
            # The row stays as it is until the failure is recorded: were it queued meanwhile, another server, or the
            # next one after a crash, would offer the action again. The next sweep repeats a follow-up that was lost.
            failure = c.Failure("LEASE_LOST", _LEASE_LOST, "LEASE_LOST")
            self._follow_up(row, c.FailAction(self._now, row.action_id, failure))
            return
        row.deliveries += lost and not accepted
        row.losses += lost and accepted
        row.stage, row.session = QUEUED, ""
        row.attempt += lost and accepted
        row.ready_at = max(row.ready_at, self._now_us + delay * 1_000_000) if delay else row.ready_at
        self._saved[key] = row
        self._outcome.queued.add((row.namespace, row.name, row.target))
        if row.cancelling:
            self._follow_up(row, c.CancelAction(self._now, row.action_id, "Its worker was lost."))
        elif row.deliveries >= settings.max_deliveries or row.losses >= settings.max_losses:
            reason = f"Not deliverable: {row.deliveries} deliveries without Accept, {row.losses} workers lost."
            failure = c.Failure("NOT_DELIVERABLE", reason, "NOT_DELIVERABLE")
            self._follow_up(row, c.FailAction(self._now, row.action_id, failure))

    def _follow_up(self, row: QueueRow, command: c.FailAction | c.CancelAction) -> None:
        self._outcome.follow_ups.append(r.result_of(row, command, "system:leases"))

    def sweep(self, request: r.Sweep) -> object:
        """Put back what is leased to workers that are silent, and tidy up."""
        self._tx.clean_up(self._now_us - _BATCH_MEMORY_US, self._now_us, _SWEEP_ROWS)
        # what a worker said waited as long as the look itself
        waited = (self._now - request.at).total_seconds()
        if not request.were_heard or waited > self._settings.delivery_lease_seconds:
            return None
        for row in self._tx.expired_leases(self._now_us, _SWEEP_ROWS):
            if (row.execution_id, row.action_id) not in self._saved:
                self._requeue(row, lost=True)
        return None

    def ended(self, key: tuple[str, int]) -> None:
        """The action has its answer: nothing is to be written of its delivery, and nobody is to be told."""
        self._saved.pop(key, None)
        self._changes.orders = [order for order in self._changes.orders if order[:2] != key]

    def changed(self) -> list[QueueRow]:
        """Return what changed of actions that go on and have a row."""
        changes = self._changes
        gone = changes.unqueued.keys() | changes.queued.keys()
        return [row for key, row in self._saved.items() if key not in gone]

    def forget_leases(self) -> None:
        """Remember no lease that this batch touches, however its commit ends."""
        for key in (*self._saved, *self._changes.unqueued):
            self._cache.forget_lease(*key)

    def committed(self) -> None:
        """Remember who holds what has been leased, unless it has ended in the same batch."""
        if self._tx.is_alone:
            for _, row in self._outcome.offers:
                if (row.execution_id, row.action_id) not in self._changes.unqueued:
                    self._cache.note_lease(row)
