"""The committer: takes what has queued up while the last commit was in flight, and commits it as one batch.

`step` does one batch and says what came of it; the thread only repeats it. No fixed wait: the commit itself forms the
next batch. Everything injected, so that a simulator can drive `step` with a clock and a store of its own.
"""

from __future__ import annotations

import collections
import logging
import threading
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from tradewind_server.clock import Clock, to_microseconds
from tradewind_server.errors import DatabaseUnavailable, QueueFull
from tradewind_server.ids import Ids
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.batch import Batch, Spoiled, Surroundings
from tradewind_server.settings import Settings
from tradewind_server.store.unit_of_work import Outcome, Transaction, Writer

log = logging.getLogger(__name__)

#: A command deferred for longer than this gets a transaction of its own, which waits for the lock.
_PATIENCE_SECONDS = 0.05
_LOCK_TIMEOUT_MS = 200
#: How PostgreSQL says that this has passed, and that two batches waited for each other; its sentences are in the
#: administrator's language.
_LOCK_NOT_AVAILABLE, _DEADLOCK = "55P03", "40P01"


class Broken(Exception):
    """The server is at fault; the caller is told no more than a number to look up."""


class Committer:
    """Runs batches. `step` belongs to one thread."""

    def __init__(self, writer: Writer, around: Surroundings, clock: Clock, ids: Ids) -> None:
        self._writer = writer
        self._around = around
        self._clock = clock
        self._ids = ids

    def step(self, queue: Sequence[r.Request]) -> r.Outcome:
        """Carry out *queue*, as far as one transaction goes. The outcome's `deferred` come first in the next."""
        patient = [q for q in queue if self._is_due_alone(q)]
        if patient:
            target = patient[0].target
            alone = [q for q in queue if q.target == target]
            outcome = self._try(alone, wait=True)
            outcome.deferred.extend(q for q in queue if q.target != target)
        else:
            outcome = self._try(queue, wait=False)
        self._note_deferred(outcome)
        return outcome

    def _is_due_alone(self, request: r.Request) -> bool:
        since = request.deferred_since
        return since is not None and self._clock.monotonic() - since > _PATIENCE_SECONDS

    def _note_deferred(self, outcome: r.Outcome) -> None:
        now = self._clock.monotonic()
        for request in outcome.blocked:
            if request.deferred_since is None:
                request.deferred_since = now

    def _try(self, queue: Sequence[r.Request], *, wait: bool) -> r.Outcome:
        rest = list(queue)
        spoiled: list[tuple[r.Request, object]] = []
        while True:
            try:
                outcome = self._run(rest, wait=wait)
            except Spoiled as spoil:
                spoiled.append((spoil.culprit, self._report(spoil)))
                rest = [q for q in rest if q is not spoil.culprit]
            else:
                outcome.answers.extend(spoiled)
                return outcome

    def _report(self, spoil: Spoiled) -> Broken:
        return self._broken(type(spoil.culprit).__name__, spoil.__cause__)

    def _broken(self, where: str, cause: BaseException | None) -> Broken:
        number = self._ids.opaque()[:12]
        log.error("error %s in %s", number, where, exc_info=cause)
        return Broken(number)

    def _run(self, queue: Sequence[r.Request], *, wait: bool) -> r.Outcome:
        now = self._clock.now()
        try:
            timeout = _LOCK_TIMEOUT_MS if wait else 0
            transaction = self._writer.begin(self._ids.opaque(), to_microseconds(now), lock_timeout_ms=timeout)
        except DatabaseUnavailable as refusal:
            return _refused(queue, refusal)
        batch = Batch(self._around, transaction, queue, now)
        try:
            batch.run(wait=wait)
            return self._commit(batch, transaction, queue)
        except Spoiled:
            self._undo(batch)
            raise
        except sa.exc.DBAPIError as error:
            self._undo(batch)
            return self._after_database_error(error, queue, wait=wait)
        except Exception as error:
            # a fault of ours outside of any one request: nothing was committed, and the committer goes on
            self._undo(batch)
            if len(queue) > 1:
                return self._each_alone(queue, wait=wait)
            broken = self._broken("the batch", error)
            return r.Outcome(answers=[(request, broken) for request in queue])

    def _commit(self, batch: Batch, transaction: Transaction, queue: Sequence[r.Request]) -> r.Outcome:
        if not transaction.has_written:
            # a look that found nothing costs no commit
            self._writer.rollback()
            batch.committed()
            return batch.outcome
        if self._writer.commit(transaction) is Outcome.COMMITTED:
            batch.committed()
            return batch.outcome
        batch.give_back()
        return _refused(queue, DatabaseUnavailable(problem="the commit was rolled back"))

    def _undo(self, batch: Batch) -> None:
        self._writer.rollback()
        batch.give_back()

    def _after_database_error(self, error: sa.exc.DBAPIError, queue: Sequence[r.Request], *, wait: bool) -> r.Outcome:
        if error.connection_invalidated or isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError):
            code = getattr(error.orig, "sqlstate", None)
            if code == _DEADLOCK:
                # the other one goes on, and then its locks are free
                return r.Outcome(deferred=list(queue))
            if wait and code == _LOCK_NOT_AVAILABLE:
                # let the others have their turn before the next wait
                for request in queue:
                    request.deferred_since = self._clock.monotonic()
                return r.Outcome(deferred=list(queue))
            self._writer.discard()
            problem = str(error.orig).split("\n", 1)[0]
            return _refused(queue, DatabaseUnavailable(problem=problem))
        if len(queue) == 1:
            raise Spoiled(queue[0], error) from error
        # a row that the database will not take
        return self._each_alone(queue, wait=wait)

    def _each_alone(self, queue: Sequence[r.Request], *, wait: bool) -> r.Outcome:
        """Find the culprit: the others are carried out."""
        merged = r.Outcome()
        for request in queue:
            _merge(merged, self._try([request], wait=wait))
        return merged


def _refused(queue: Sequence[r.Request], refusal: DatabaseUnavailable) -> r.Outcome:
    return r.Outcome(answers=[(request, refusal) for request in queue])


def _merge(into: r.Outcome, other: r.Outcome) -> None:
    for name in ("answers", "deferred", "announcements", "offers", "orders", "timers", "ended_timers", "targets",
                 "follow_ups", "blocked"):  # fmt: skip
        getattr(into, name).extend(getattr(other, name))
    into.queued |= other.queued
    into.emptied |= other.emptied
    into.limited |= other.limited
    into.commands += other.commands


class CommitterThread:
    """The queue before the committer, and the thread that repeats its step."""

    def __init__(self, committer: Committer, publish: Callable[[r.Outcome], None], settings: Settings) -> None:
        self._committer = committer
        self._publish = publish
        self._settings = settings
        self._bytes = 0
        self._queue: collections.deque[r.Request] = collections.deque()
        self._condition = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._repeat, name="committer", daemon=True)

    def start(self) -> None:
        """Begin to repeat."""
        self._thread.start()

    def submit(self, request: r.Request, *, reserved: bool = False) -> None:
        """Queue *request*. What has begun must be able to end: results, beats and messages have *reserved* room.

        Raises:
            QueueFull: too many are waiting.
        """
        with self._condition:
            if not reserved:
                self._check_room(request)
            self._bytes += request.size_bytes
            self._queue.append(request)
            if len(self._queue) == 1:
                self._condition.notify()

    def _check_room(self, request: r.Request) -> None:
        count, settings = len(self._queue), self._settings
        if count >= settings.queue_commands:
            raise QueueFull(count=count, setting="queue_commands")
        if count and self._bytes + request.size_bytes > settings.queue_bytes:
            raise QueueFull(count=count, setting="queue_bytes")

    def stop(self) -> None:
        """Finish what is queued, then end."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()

    @property
    def length(self) -> int:
        """Return how many requests wait."""
        return len(self._queue)

    def _take(self, most: int) -> list[r.Request]:
        taken = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
        self._bytes -= sum(request.size_bytes for request in taken)
        return taken

    def _repeat(self) -> None:
        deferred: list[r.Request] = []
        while True:
            with self._condition:
                if not self._queue and not self._stopping:
                    # nothing but deferred requests: wait for something new or a moment, never spin
                    self._condition.wait(0.003 if deferred else None)
                if self._stopping and not self._queue and not deferred:
                    return
                fresh = self._take(max(0, self._settings.batch_commands - len(deferred)))
            if not deferred and not fresh:
                continue
            outcome = self._committer.step(deferred + fresh)
            deferred = outcome.deferred
            self._publish(outcome)
