"""The thread that decides and commits, and the queue before it.

On PostgreSQL it has two committers and lets them take turns: while PostgreSQL carries out what one has sent, the other
decides. What the second decides never rests on what the first has not committed yet: what concerns its executions
waits for its end (docs/adr/0025-two-batches-under-way.md).
"""

from __future__ import annotations

import collections
import itertools
import threading
from collections.abc import Callable, Sequence

from tradewind_server.errors import QueueFull
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.committer import Committer, UnderWay
from tradewind_server.settings import Settings

#: What concerns executions and nothing else that the server remembers, such as which queues are empty.
_OF_EXECUTIONS = (r.Start, r.Command, r.Result, r.Posted, r.Timer, r.Deliver, r.Renew)
#: Most of a batch where there are turns. While one part of the work is decided and another one committed, a third is on
#: its way to workers and back: with 256 executions in flight none of the three waits for long (ADR 25).
_SHARE = 96


class Turns:
    """Committers that take turns. Used by one thread."""

    def __init__(self, committers: Sequence[Committer]) -> None:
        self._committers = collections.deque(committers)
        self._under_way: UnderWay | None = None

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing waits to be ended."""
        return self._under_way is None

    def step(self, queue: Sequence[r.Request]) -> tuple[r.Outcome | None, list[r.Request]]:
        """Begin what of *queue* may be begun, and end what the step before has begun.

        Returns:
            What came of that, and what comes first in the next step.
        """
        before, self._under_way = self._under_way, None
        now, later = self._split(queue, before)
        sent = self._next().send(now) if now else None
        if before is None and sent is not None and not self._overlaps(now):
            before, sent = sent, None
        self._under_way = sent
        if before is None:
            return None, later
        outcome = before.end()
        return outcome, [*outcome.deferred, *later]

    def _next(self) -> Committer:
        self._committers.rotate(1)
        return self._committers[0]

    def _split(
        self, queue: Sequence[r.Request], before: UnderWay | None
    ) -> tuple[Sequence[r.Request], list[r.Request]]:
        """Return what is to be decided now, and what has to wait for the next step."""
        if len(self._committers) == 1:
            return queue, []
        if not self._overlaps(queue):
            # Nothing that has begun may be under way. All go together: what is carried out alone overtakes nothing,
            # or a claim would lease an action whose failure is on its way; and nothing waits for its turn.
            return ([], list(queue)) if before is not None else (queue, [])
        busy = _executions(before.requests) if before is not None else set()
        now: list[r.Request] = []
        later: list[r.Request] = []
        for request in queue:
            about = _executions([request])
            if len(now) < _SHARE and busy.isdisjoint(about):
                now.append(request)
            else:
                busy |= about  # what comes after it stays after it
                later.append(request)
        return now, later

    def _overlaps(self, requests: Sequence[r.Request]) -> bool:
        return len(self._committers) > 1 and all(map(self._may_overlap, requests))

    def _may_overlap(self, request: r.Request) -> bool:
        return isinstance(request, _OF_EXECUTIONS) and not self._committers[0].is_due_alone(request)


def _executions(requests: Sequence[r.Request]) -> set[str]:
    """Return the executions that *requests* are about, or about whose actions they say something."""
    found = {request.target for request in requests if request.target}
    for request in requests:
        if isinstance(request, r.Renew):
            found.update(held.execution_id for held in request.held)
    return found


class CommitterThread:
    """The queue before the committers, and the thread that repeats their steps."""

    def __init__(
        self, committers: Sequence[Committer], publish: Callable[[r.Outcome], None], settings: Settings
    ) -> None:
        self._turns = Turns(committers)
        self._publish = publish
        self._settings = settings
        self._bytes = 0
        #: What comes from outside, and what executions have to tell each other; each with its number, counted together.
        self._asked: collections.deque[tuple[int, r.Request]] = collections.deque()
        self._own: collections.deque[tuple[int, r.Request]] = collections.deque()
        self._numbers = itertools.count()
        self._is_own_turn = False
        self._condition = threading.Condition()
        #: Whether it is to end.
        self.is_stopping = False
        #: A flood of messages is left to the next start: each is a row, too.
        self._leaves_messages = False
        self._thread = threading.Thread(target=self._repeat, name="committer", daemon=True)

    def start(self) -> None:
        """Begin to repeat."""
        self._thread.start()

    def submit(self, request: r.Request, *, reserved: bool = False) -> None:
        """Queue *request*. What has begun must be able to end: results, beats and messages have *reserved* room.

        Messages between executions take none of it: workflows that call themselves make more than can be carried out.

        Raises:
            QueueFull: too many are waiting.
        """
        with self._condition:
            if not reserved:
                self._check_room(request)
            numbered = (next(self._numbers), request)
            if isinstance(request, r.Deliver):
                if self._leaves_messages:
                    return
                self._own.append(numbered)
            else:
                self._asked.append(numbered)
                self._bytes += request.size_bytes
            if self.length == 1:
                self._condition.notify()

    def _check_room(self, request: r.Request) -> None:
        count, settings = len(self._asked), self._settings
        if count >= settings.queue_commands:
            raise QueueFull(count=count, setting="queue_commands")
        if count and self._bytes + request.size_bytes > settings.queue_bytes:
            raise QueueFull(count=count, setting="queue_bytes")

    def stop(self) -> None:
        """Finish what is queued, but for a flood of messages between executions, then end."""
        with self._condition:
            self.is_stopping = True
            if len(self._own) > self._settings.batch_commands:
                self._leaves_messages = True
                self._own.clear()
            self._condition.notify()
        self._thread.join()

    @property
    def native_id(self) -> int:
        """Return the operating system's id of the thread, which has been started."""
        assert self._thread.native_id is not None
        return self._thread.native_id

    @property
    def length(self) -> int:
        """Return how many requests wait."""
        return len(self._asked) + len(self._own)

    def _take(self, most: int) -> list[r.Request]:
        taken = [self._next() for _ in range(min(most, self.length))]
        self._bytes -= sum(request.size_bytes for request in taken if not isinstance(request, r.Deliver))
        return taken

    def _next(self) -> r.Request:
        """Take the oldest; of a flood of messages only every second one, so that whoever asks is heard."""
        if not self._own or not self._asked:
            return (self._own or self._asked).popleft()[1]
        if len(self._own) > self._settings.batch_commands:
            self._is_own_turn = not self._is_own_turn
            return (self._own if self._is_own_turn else self._asked).popleft()[1]
        return min(self._own, self._asked, key=_number).popleft()[1]

    def _repeat(self) -> None:
        deferred: list[r.Request] = []
        while True:
            with self._condition:
                if self._turns.is_idle:
                    if not self.length and not self.is_stopping and all(map(_has_waited, deferred)):
                        # nothing but what others' locks keep waiting: wait for something new or a moment, never spin
                        self._condition.wait(0.003 if deferred else None)
                    if self.is_stopping and not self.length and not deferred:
                        return
                fresh = self._take(max(0, self._settings.batch_commands - len(deferred)))
            if not deferred and not fresh and self._turns.is_idle:
                continue
            outcome, deferred = self._turns.step(deferred + fresh)
            if outcome is not None:
                self._publish(outcome)


def _number(queue: collections.deque[tuple[int, r.Request]]) -> int:
    return queue[0][0]


def _has_waited(request: r.Request) -> bool:
    return request.deferred_since is not None
