"""The committer: takes what has queued up while the last commit was in flight, and commits it as one batch.

`send` does one batch up to its commit, and `UnderWay.end` says what came of it. No fixed wait: the commit itself forms
the next batch. Everything injected, so that a simulator can drive it with a clock and a store of its own.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from tradewind_server.clock import Clock, to_microseconds
from tradewind_server.errors import DatabaseUnavailable
from tradewind_server.ids import Ids
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.batch import Batch, Spoiled, Surroundings
from tradewind_server.store.database import brief, is_unavailable
from tradewind_server.store.unit_of_work import Transaction
from tradewind_server.store.writer import Outcome, Writer

log = logging.getLogger(__name__)

#: A command deferred for longer than this gets a transaction of its own, which waits for the lock.
_PATIENCE_SECONDS = 0.05
_LOCK_TIMEOUT_MS = 200
#: How PostgreSQL says that this has passed, and that two batches waited for each other; its sentences are in the
#: administrator's language.
_LOCK_NOT_AVAILABLE, _DEADLOCK = "55P03", "40P01"


class Broken(Exception):
    """The server is at fault; the caller is told no more than a number to look up."""


@dataclasses.dataclass(frozen=True, slots=True)
class UnderWay:
    """A batch that is decided, and whose commit is sent.

    Attributes:
        requests: all of it, also those that it defers.
        end: waits for the commit, and returns what came of the batch.
    """

    requests: Sequence[r.Request]
    end: Callable[[], r.Outcome]


class Committer:
    """Runs batches, on a connection of its own. Used by one thread."""

    def __init__(self, writer: Writer, around: Surroundings, clock: Clock, ids: Ids) -> None:
        self._writer = writer
        self._around = around
        self._clock = clock
        self._ids = ids
        #: The batch before was one that waited for a lock: now the others have their turn, however many wait for one.
        self._has_waited = False

    def step(self, queue: Sequence[r.Request]) -> r.Outcome:
        """Carry out *queue*, as far as one transaction goes. The outcome's `deferred` come first in the next."""
        return self.send(queue).end()

    def send(self, queue: Sequence[r.Request]) -> UnderWay:
        """Begin what `step` does: up to the commit, which is sent."""
        patient = [] if self._has_waited else [q for q in queue if self.is_due_alone(q)]
        self._has_waited = bool(patient)
        if patient:
            target = patient[0].target
            sent = self._try([q for q in queue if q.target == target], wait=True)
            others = [q for q in queue if q.target != target]
        else:
            sent, others = self._try(queue, wait=False), []

        def end() -> r.Outcome:
            outcome = sent.end()
            outcome.deferred.extend(others)
            self._note_deferred(outcome)
            return outcome

        return UnderWay(queue, end)

    def is_due_alone(self, request: r.Request) -> bool:
        """Tell whether *request* has been deferred for so long that it is to wait for the lock."""
        since = request.deferred_since
        return since is not None and self._clock.monotonic() - since > _PATIENCE_SECONDS

    def _note_deferred(self, outcome: r.Outcome) -> None:
        now = self._clock.monotonic()
        for request in outcome.blocked:
            if request.deferred_since is None:
                request.deferred_since = now

    def _try(self, queue: Sequence[r.Request], *, wait: bool) -> UnderWay:
        rest = list(queue)
        spoiled: list[tuple[r.Request, object]] = []
        while True:
            try:
                sent = self._run(rest, wait=wait)
            except Spoiled as spoil:
                rest = self._without(spoil, rest, spoiled)
            else:
                break

        def end() -> r.Outcome:
            try:
                outcome = sent.end()
            except Spoiled as spoil:
                outcome = self._try(self._without(spoil, rest, spoiled), wait=wait).end()
            outcome.answers.extend(spoiled)
            return outcome

        return UnderWay(queue, end)

    def _without(
        self, spoil: Spoiled, queue: Sequence[r.Request], spoiled: list[tuple[r.Request, object]]
    ) -> list[r.Request]:
        """Note what the culprit is answered, and return the others."""
        spoiled.append((spoil.culprit, self._broken(type(spoil.culprit).__name__, spoil.__cause__)))
        return [q for q in queue if q is not spoil.culprit]

    def _broken(self, where: str, cause: BaseException | None) -> Broken:
        number = self._ids.opaque()[:12]
        log.error("error %s in %s", number, where, exc_info=cause)
        return Broken(number)

    def _run(self, queue: Sequence[r.Request], *, wait: bool) -> UnderWay:
        now, began = self._clock.now(), self._clock.monotonic()
        try:
            timeout = _LOCK_TIMEOUT_MS if wait else 0
            transaction = self._writer.begin(self._ids.opaque(), to_microseconds(now), lock_timeout_ms=timeout)
        except DatabaseUnavailable as refusal:
            return _ended(queue, _refused(queue, refusal))
        batch = Batch(self._around, transaction, queue, now)
        try:
            batch.run(wait=wait)
            return self._send(batch, transaction, queue, began, wait=wait)
        except Spoiled:
            self._undo(batch)
            raise
        except sa.exc.DBAPIError as error:
            self._undo(batch)
            return _ended(queue, self._after_database_error(error, queue, wait=wait))
        except Exception as error:
            # a fault of ours outside of any one request: nothing was committed, and the committer goes on
            self._undo(batch)
            if len(queue) > 1:
                return _ended(queue, self._each_alone(queue, wait=wait))
            return _ended(queue, self._failed(queue, error))

    def _send(
        self, batch: Batch, transaction: Transaction, queue: Sequence[r.Request], began: float, *, wait: bool
    ) -> UnderWay:
        if not transaction.has_written:
            # a look that found nothing costs no commit
            self._writer.rollback()
            batch.committed()
            return _ended(queue, batch.outcome)
        learn = self._writer.begin_commit(transaction)
        # what is decided before this is committed must not overtake what it leaves in a queue
        self._around.desk.note_queued(batch.outcome.queued)
        return UnderWay(queue, lambda: self._end(batch, learn, queue, began, wait=wait))

    def _end(
        self, batch: Batch, learn: Callable[[], Outcome], queue: Sequence[r.Request], began: float, *, wait: bool
    ) -> r.Outcome:
        try:
            outcome = learn()
        except sa.exc.DBAPIError as error:
            self._undo(batch)
            return self._after_database_error(error, queue, wait=wait)
        except DatabaseUnavailable as refusal:
            # nobody knows what has happened, and the next server can tell
            batch.give_back()
            return _refused(queue, refusal)
        except Exception as error:
            # a fault of ours, and nobody knows what has happened
            self._undo(batch)
            return self._failed(queue, error)
        if outcome is Outcome.ROLLED_BACK:
            batch.give_back()
            problem = "the commit was rolled back"
            if self._writer.trouble:
                problem += f" ({self._writer.trouble})"
            return _refused(queue, DatabaseUnavailable(problem=problem))
        try:
            batch.committed()
        except Exception as error:
            # a fault of ours, too, but all of it has happened: what is remembered may not be true
            batch.give_back()
            return self._failed(queue, error)
        batch.outcome.commit_seconds.append(self._clock.monotonic() - began)
        return batch.outcome

    def _failed(self, queue: Sequence[r.Request], error: Exception) -> r.Outcome:
        broken = self._broken("the batch", error)
        return r.Outcome(answers=[(request, broken) for request in queue])

    def _undo(self, batch: Batch) -> None:
        self._writer.rollback()
        batch.give_back()

    def _after_database_error(self, error: sa.exc.DBAPIError, queue: Sequence[r.Request], *, wait: bool) -> r.Outcome:
        if is_unavailable(error):
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
            return _refused(queue, DatabaseUnavailable(problem=brief(error)))
        if len(queue) == 1:
            raise Spoiled(queue[0], error) from error
        # a row that the database will not take
        return self._each_alone(queue, wait=wait)

    def _each_alone(self, queue: Sequence[r.Request], *, wait: bool) -> r.Outcome:
        """Find the culprit: the others are carried out."""
        merged = r.Outcome()
        for request in queue:
            merged.add(self._try([request], wait=wait).end())
        return merged


def _ended(queue: Sequence[r.Request], outcome: r.Outcome) -> UnderWay:
    """Return what is over already."""
    return UnderWay(queue, lambda: outcome)


def _refused(queue: Sequence[r.Request], refusal: DatabaseUnavailable) -> r.Outcome:
    return r.Outcome(answers=[(request, refusal) for request in queue])
