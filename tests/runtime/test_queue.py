"""The queue before the committer is bounded, in number and in bytes; what has begun may always end."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import cast

import pytest

from tradewind_server.errors import QueueFull
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.committer import Committer, UnderWay
from tradewind_server.runtime.turns import CommitterThread
from tradewind_server.settings import Settings
from tradewind_server.store.records import Provenance


class Stalled:
    """A committer whose first batch lasts until it is let go."""

    def __init__(self) -> None:
        #: Released once by each batch that begins.
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        self.done: list[r.Request] = []
        self._more = threading.Condition()

    def send(self, queue: Sequence[r.Request]) -> UnderWay:
        self.begun.release()
        assert self.go.wait(10)
        with self._more:
            self.done.extend(queue)
            self._more.notify_all()
        return UnderWay(queue, r.Outcome)

    def has_done(self, request: r.Request) -> bool:
        """Wait for the end of a request; return whether it came."""
        with self._more:
            return self._more.wait_for(lambda: request in self.done, 10)


def _request(size: int) -> r.Request:
    return r.Request(provenance=Provenance("anonymous:", "Test"), size_bytes=size)


@pytest.fixture
def stalled() -> Iterator[tuple[Stalled, CommitterThread]]:
    committer = Stalled()
    settings = Settings(queue_commands=3, queue_bytes=1000)
    thread = CommitterThread([cast("Committer", committer)], lambda outcome: None, settings)
    thread.start()
    thread.submit(_request(10))
    assert committer.begun.acquire(timeout=10)
    yield committer, thread
    committer.go.set()
    thread.stop()


def test_queue_is_bounded_in_number(stalled: tuple[Stalled, CommitterThread]) -> None:
    """A result of a worker is taken all the same."""
    committer, thread = stalled
    for _ in range(3):
        thread.submit(_request(10))
    with pytest.raises(QueueFull) as refusal:
        thread.submit(_request(10))
    assert refusal.value.facts["setting"] == "queue_commands"
    thread.submit(_request(10), reserved=True)
    committer.go.set()
    thread.stop()
    assert len(committer.done) == 5


def test_queue_is_bounded_in_bytes(stalled: tuple[Stalled, CommitterThread]) -> None:
    """One that is too large for it altogether is taken when nothing else waits."""
    _, thread = stalled
    thread.submit(_request(5000))
    with pytest.raises(QueueFull) as refusal:
        thread.submit(_request(10))
    assert refusal.value.facts["setting"] == "queue_bytes"


def test_room_comes_back_when_commands_are_taken(stalled: tuple[Stalled, CommitterThread]) -> None:
    """As soon as the committer has them."""
    committer, thread = stalled
    thread.submit(_request(900))
    committer.go.set()
    assert committer.begun.acquire(timeout=10)
    thread.submit(_request(900))


def test_messages_between_executions_take_no_room_from_who_asks(stalled: tuple[Stalled, CommitterThread]) -> None:
    """A workflow that calls itself twice filled the queue for good: nobody could start, or cancel, anything."""
    committer, thread = stalled
    messages = [_message() for _ in range(1000)]
    for message in messages:
        thread.submit(message, reserved=True)
    asked = [_request(10) for _ in range(3)]
    for request in asked:
        thread.submit(request)
    with pytest.raises(QueueFull):
        thread.submit(_request(10))
    last = _request(10)
    thread.submit(last, reserved=True)
    committer.go.set()
    assert committer.has_done(messages[-1])
    thread.stop()
    assert [request for request in committer.done if isinstance(request, r.Deliver)] == messages
    assert [committer.done.index(request) < 10 for request in (*asked, last)] == [True, True, True, True]


def test_few_messages_keep_their_place(stalled: tuple[Stalled, CommitterThread]) -> None:
    """Whoever asks overtakes a flood alone."""
    committer, thread = stalled
    waiting = [_message(), _request(10), _message(), _request(10)]
    for request in waiting:
        thread.submit(request)
    committer.go.set()
    thread.stop()
    assert committer.done[1:] == waiting


def test_server_that_stops_leaves_a_flood_of_messages_to_the_next(stalled: tuple[Stalled, CommitterThread]) -> None:
    """It carried out what only grew, until it was ended by force; each message is a row, and found at the start."""
    committer, thread = stalled
    asked = _request(10)
    thread.submit(asked)
    for _ in range(1000):
        thread.submit(_message(), reserved=True)
    stopping = threading.Thread(target=thread.stop)
    stopping.start()
    while not thread.is_stopping:
        stopping.join(0.001)
    thread.submit(_message(), reserved=True)
    committer.go.set()
    stopping.join(10)
    assert not stopping.is_alive()
    assert committer.done[1:] == [asked]


def _message() -> r.Request:
    return r.Deliver(provenance=Provenance("system:", "Test"), target="x", at=datetime.now(UTC))


class Brief:
    """A committer whose batches end after one request."""

    def __init__(self) -> None:
        self.done = threading.Semaphore(0)

    def send(self, queue: Sequence[r.Request]) -> UnderWay:
        self.done.release()
        return UnderWay(queue, lambda: r.Outcome(deferred=list(queue[1:])))


def test_what_came_too_late_for_a_batch_is_in_the_next_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what others' locks keep waiting is tried again after a moment."""
    committer = Brief()
    thread = CommitterThread([cast("Committer", committer)], lambda outcome: None, Settings())
    waits: list[float | None] = []
    wait = thread._condition.wait

    def note(timeout: float | None = None) -> bool:
        waits.append(timeout)
        return wait(timeout)

    monkeypatch.setattr(thread._condition, "wait", note)
    for _ in range(3):
        thread.submit(_request(10))
    thread.start()
    for _ in range(3):
        assert committer.done.acquire(timeout=10)
    thread.stop()
    assert set(waits) <= {None}
