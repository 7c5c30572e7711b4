"""The worker's side of the Work stream, as a state without I/O: what is in hand, and what to send next.

Rules kept here, and nowhere else:

- Credits are cumulative on a stream: what was in hand when it opened counts against the capacity.
- An offer is accepted only if its result has not come within two fifths of the delivery lease.
- A result stays until its receipt has come, and is sent again on the next stream: the server knows it then.
- What an action says of its progress goes out with a beat, and again on the next stream: nothing confirms a beat.
- Lines of an action's log go out with its beats and its result, and again on the next stream, with the same numbers.
- Every accepted action at work is listed in each beat, and everything in hand in each Hello.

It belongs to one event loop; times are seconds of a monotonic clock that the caller passes in.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from tradewind.v1 import action_callback_pb2 as v1
from tradewind.v1 import action_pb2, failure_pb2, payload_pb2

#: Most items in one message, and most bytes: the server takes messages of 4 MiB.
MAX_ITEMS, MAX_BYTES = 1000, 3 * 1024 * 1024
#: Most lines of one log in one beat or result, and most bytes of them: a result or a checkpoint goes with them.
MAX_LINES, MAX_LINES_BYTES = 100, 400 * 1024
#: Lines wait this long at most for others to go with, seconds: somebody may follow them.
LINES_INTERVAL = 1.0

Item = TypeVar("Item", v1.ActionResult, v1.ActionBeat)

#: How often a result over which the server broke is sent again: after 2, 4, 8, 16 and 32 seconds.
MAX_FAULTS = 5


@dataclass(slots=True)
class Held:
    """An action in hand that did not end at once."""

    offer: v1.Offer
    #: When to accept it, unless it has ended by then.
    accept_at: float
    accepted: bool = False
    #: Said with the next beat.
    progress: str = ""
    checkpoint: payload_pb2.Payload | None = None
    #: Said on this stream already; nothing confirms a beat, so the next stream says it again.
    said_progress: str = ""
    said_checkpoint: payload_pb2.Payload | None = None
    #: Whether its result will not be recorded any more.
    lost: bool = False
    #: Most lines of its log that the server keeps, the lines, and how many have been said on this stream.
    max_log_lines: int = 0
    logs: list[action_pb2.LogLine] = field(default_factory=list)
    said_logs: int = 0

    @property
    def has_unsaid_logs(self) -> bool:
        """Whether there are lines of the log to send."""
        return self.said_logs < len(self.logs)

    def unsaid_logs(self) -> list[action_pb2.LogLine]:
        """Take out lines of the log to send."""
        lines = _as_many_as_fit(itertools.islice(self.logs, self.said_logs, None))
        self.said_logs += len(lines)
        return lines

    def last_logs(self) -> list[action_pb2.LogLine]:
        """Return the last lines that have not been sent, to go with the result."""
        unsaid = len(self.logs) - self.said_logs
        return _as_many_as_fit(itertools.islice(reversed(self.logs), unsaid))[::-1]


class WorkSession:
    """What a worker has in hand, over all its streams.

    Args:
        hello: who the worker is; in_flight is filled in here.
        capacity: how many actions it takes at the same time, at least 1.
    """

    def __init__(self, hello: v1.Hello, capacity: int) -> None:
        self._hello = hello
        self._capacity = capacity
        self._held: dict[bytes, Held] = {}
        self._results: dict[bytes, v1.ActionResult] = {}  # without receipt yet
        self._unsent: deque[v1.ActionResult] = deque()
        self._retries: list[tuple[float, bytes]] = []
        self._faults: dict[bytes, int] = {}  # how often the server broke over a result
        self._accepts: deque[bytes] = deque()
        self._to_accept: deque[bytes] = deque()
        self._releases: list[v1.Release] = []
        self._window = capacity
        self._done = self._granted = self._in_hand_at_start = 0
        self._beat_interval, self._delivery_lease = 10.0, 5.0
        self._next_beat = self._next_look = 0.0
        self._says_lines = False
        self._says_drain = False
        self.draining = False
        self.welcomed = False
        #: Most lines that the server keeps of the log of an action.
        self.max_log_lines = 0

    @property
    def tick_interval(self) -> float:
        """Seconds after which `tick` should be called again."""
        return min(1.0, self._delivery_lease / 10, self._beat_interval / 4)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in hand, and everything that came out has its receipt."""
        return not self._held and not self._results and not self._releases

    @property
    def held(self) -> Iterable[bytes]:
        """Tokens of the actions at work."""
        return self._held.keys()

    # --- what comes from the server

    def open(self) -> v1.WorkRequest:
        """Begin a stream: forget what the last one was told, and return the first message."""
        self._unsent = deque(self._results.values())
        self._accepts.clear()
        self.welcomed = False
        self._done = self._granted = 0
        self._retries.clear()
        self._in_hand_at_start = len(self._held)
        for held in self._held.values():
            held.said_logs = 0
            held.progress = held.progress or held.said_progress
            held.checkpoint = held.said_checkpoint if held.checkpoint is None else held.checkpoint
        hello = v1.Hello()
        hello.CopyFrom(self._hello)
        hello.in_flight.extend([*self._held, *self._results])
        return v1.WorkRequest(hello=hello)

    def lose(self) -> None:
        """The stream is over, and another one is not yet open."""
        self.welcomed = False

    def welcome(self, welcome: v1.Welcome, now: float) -> list[bytes]:
        """Take the answer to Hello; return the tokens of actions to stop."""
        self.welcomed = True
        self._says_drain = self.draining
        self.max_log_lines = welcome.max_log_lines
        self._beat_interval = welcome.beat_interval.ToTimedelta().total_seconds() or self._beat_interval
        self._delivery_lease = welcome.delivery_lease.ToTimedelta().total_seconds() or self._delivery_lease
        self._window = min(self._capacity, welcome.max_credits or self._capacity)
        self._next_beat = now + self._beat_interval
        stopped = [verdict.token for verdict in welcome.in_flight if not verdict.keep]
        for token in stopped:
            self._forget(token)
        for held in self._held.values():
            held.accepted = True  # a verdict to keep renews the lease, so the next beat must list it
        self._to_accept.clear()
        return stopped

    def hold(self, offer: v1.Offer, now: float) -> Held:
        """Take an offer that does not end at once."""
        held = self._held[offer.token] = Held(offer, now + self._delivery_lease * 0.4, max_log_lines=self.max_log_lines)
        self._to_accept.append(offer.token)
        return held

    def obey(self, order: v1.Order) -> None:
        """Take an order to stop: after a lost lease no result is sent any more."""
        held = self._held.get(order.token)
        if held and order.kind == v1.ORDER_KIND_LEASE_LOST:
            held.lost = True
        elif order.kind == v1.ORDER_KIND_LEASE_LOST:
            self._results.pop(order.token, None)

    def receive(self, receipt: v1.Receipt, now: float) -> None:
        """Take a receipt: what it names is settled, unless the server refused it.

        A refused result is sent again later if the server says so, or has failed itself; else a failure is sent in
        its place.
        """
        token = receipt.token
        result = self._results.pop(token, None)
        if receipt.status in (v1.RECEIPT_STATUS_RECORDED, v1.RECEIPT_STATUS_ALREADY_RECORDED):
            self._faults.pop(token, None)
            return
        if token in self._held:
            self._held[token].lost = True
        elif result is not None and (wait := self._retry_seconds(receipt)) is not None:
            self._results[token] = result
            self._retries.append((now + wait, token))
        elif result is not None and receipt.status == v1.RECEIPT_STATUS_REFUSED and result.HasField("result"):
            self._put(_refused(token, receipt.refusal))

    def _retry_seconds(self, receipt: v1.Receipt) -> float | None:
        """Return when to send a refused result again; None: never."""
        if receipt.refusal.HasField("retry_after"):
            return float(receipt.refusal.retry_after.ToTimedelta().total_seconds())
        if receipt.refusal.reason != "INTERNAL":
            return None
        # the server's own fault may pass, or be in how it takes this very result: then the action fails in the end
        tries = self._faults[receipt.token] = self._faults.get(receipt.token, 0) + 1
        if tries <= MAX_FAULTS:
            return float(2**tries)
        del self._faults[receipt.token]
        return None

    # --- what comes from the worker

    def finish(self, result: v1.ActionResult) -> None:
        """Take what came out of an action; it goes out with the next messages."""
        held = self._held.pop(result.token, None)
        self._done += 1
        if held is not None:
            result.logs.extend(held.last_logs())
        if held is None or not held.lost:
            self._put(result)

    def _put(self, result: v1.ActionResult) -> None:
        self._results[result.token] = result
        self._unsent.append(result)

    def release(self, token: bytes, message: str) -> None:
        """Give an action back unfinished."""
        if self._held.pop(token, None):
            self._done += 1
            self._releases.append(v1.Release(token=token, message=message))

    def drain(self) -> None:
        """Take no more offers."""
        self.draining = self._says_drain = True

    def tick(self, now: float) -> bool:
        """Note what is due by now; return whether there is something to send."""
        while self._to_accept:
            held = self._held.get(self._to_accept[0])
            if held and now < held.accept_at:
                break
            token = self._to_accept.popleft()
            if held and not held.accepted:
                held.accepted = True
                self._accepts.append(token)
        due = [token for moment, token in self._retries if moment <= now]
        if due:
            self._retries = [retry for retry in self._retries if retry[0] > now]
            self._unsent.extend(self._results[token] for token in due if token in self._results)
        if now >= self._next_look:
            # not at each message: there may be thousands in hand
            self._next_look = now + LINES_INTERVAL
            self._says_lines = any(held.accepted and held.has_unsaid_logs for held in self._held.values())
        return bool(self._accepts or due) or self._says_lines or now >= self._next_beat

    # --- what goes out

    def outgoing(self, now: float) -> Iterator[v1.WorkRequest]:
        """Take out everything that can be sent now, in as few messages as possible."""
        if not self.welcomed:
            return
        if self._says_drain:
            self._says_drain = False
            yield v1.WorkRequest(drain=v1.Drain())
        while self._unsent:
            yield v1.WorkRequest(results=v1.Results(results=_batch(self._unsent)))
        yield from self._credits()
        while self._accepts:
            tokens = [self._accepts.popleft() for _ in range(min(len(self._accepts), MAX_ITEMS))]
            yield v1.WorkRequest(accept=v1.Accept(tokens=tokens))
        while self._releases:
            releases, self._releases = self._releases[:MAX_ITEMS], self._releases[MAX_ITEMS:]
            yield v1.WorkRequest(refuse=v1.Refuse(releases=releases))
        if now >= self._next_beat:
            self._next_beat = now + self._beat_interval
            yield from self._beats(held for held in self._held.values() if held.accepted)
        elif self._says_lines:
            yield from self._beats(held for held in self._held.values() if held.accepted and held.has_unsaid_logs)
        self._says_lines = False

    def _credits(self) -> Iterator[v1.WorkRequest]:
        if self.draining:
            return
        granted = max(0, self._done + self._window - self._in_hand_at_start)
        # Not one message for each action: an eighth of the window at a time keeps the server busy all the same.
        if granted - self._granted >= max(1, self._window // 8):
            self._granted = granted
            yield v1.WorkRequest(credits=v1.Credits(granted=granted))

    def _beats(self, some: Iterable[Held]) -> Iterator[v1.WorkRequest]:
        beats = deque(map(_beat, some))
        while beats:
            yield v1.WorkRequest(beat=v1.Beat(actions=_batch(beats)))

    def _forget(self, token: bytes) -> None:
        if held := self._held.get(token):
            held.lost = True
        if self._results.pop(token, None):
            self._unsent = deque(self._results.values())


def _refused(token: bytes, refusal: failure_pb2.Refusal) -> v1.ActionResult:
    failure = failure_pb2.Failure(code=refusal.reason, message=refusal.message, retryable=False)
    return v1.ActionResult(token=token, failure=failure)


def _beat(held: Held) -> v1.ActionBeat:
    beat = v1.ActionBeat(token=held.offer.token, progress_message=held.progress, checkpoint=held.checkpoint)
    beat.logs.extend(held.unsaid_logs())
    held.said_progress = held.progress or held.said_progress
    held.said_checkpoint = held.said_checkpoint if held.checkpoint is None else held.checkpoint
    held.progress, held.checkpoint = "", None
    return beat


def _as_many_as_fit(lines: Iterable[action_pb2.LogLine]) -> list[action_pb2.LogLine]:
    """Return the first of *lines*, as many as one beat or result may hold."""
    fitting: list[action_pb2.LogLine] = []
    size = 0
    for line in lines:
        size += line.ByteSize() + 8
        if len(fitting) == MAX_LINES or size > MAX_LINES_BYTES:
            break
        fitting.append(line)
    return fitting


def _batch(items: deque[Item]) -> list[Item]:
    """Take out as many items as one message may hold."""
    batch: list[Item] = []
    size = 0
    while items and len(batch) < MAX_ITEMS:
        size += items[0].ByteSize() + 8
        if batch and size > MAX_BYTES:
            break
        batch.append(items.popleft())
    return batch
