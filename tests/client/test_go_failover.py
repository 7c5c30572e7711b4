"""The Go client with two servers, of which one goes: nothing is lost, done twice or seen twice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

import tradewind
from tests.client.go_peer import PATIENCE, TWO_STEPS, KillableServer, Peer
from tests.crash.wire import Wires

pytestmark = pytest.mark.slow


class Pair:
    """Two servers on one database."""

    def __init__(self, url: str, end: contextlib.ExitStack) -> None:
        self._end = end
        self.one, self.two = KillableServer(url), KillableServer(url)
        self.addresses = f"{self.one.address},{self.two.address}"
        for server in (self.one, self.two):
            end.callback(server.kill)
        # one client for each: what the test asks must not wait for the server that is gone
        self.clients = [end.enter_context(tradewind.connect(server.address)) for server in (self.one, self.two)]
        self.clients[0].deploy(("two_steps.yaml", TWO_STEPS))

    def peer(self, program: str, what: str, *arguments: str) -> Peer:
        """Run the Go program with both servers."""
        found = Peer(program, what, self.addresses, *arguments)
        self._end.callback(found.close)
        return found


@pytest.fixture
def pair(postgres_url: Callable[[], str]) -> Iterator[Pair]:
    with contextlib.ExitStack() as end:
        yield Pair(postgres_url(), end)


def test_go_watchers_go_on_at_the_other_server_when_one_is_killed(pair: Pair, peer: str) -> None:
    """Of one execution, and of the log of all; each server is killed once, so that each stream breaks at least once."""
    worker = pair.peer(peer, "work")
    id_ = pair.clients[0].start("two_steps").id
    watchers = [pair.peer(peer, "watch", id_), pair.peer(peer, "watch-log", id_)]
    for watcher in watchers:
        watcher.says("TaskStarted")
    worker.says("began one 1")

    pair.one.kill()
    worker.hears("finish one")
    for watcher in watchers:
        watcher.says("TaskStarted")
    worker.says("began two 1")
    pair.one.start()
    pair.two.kill()
    worker.hears("finish two")

    assert [watcher.ends() for watcher in watchers] == [0, 0]
    history = [f"{event.revision} {event.type}" for event in pair.clients[0].history(id_)]
    for watcher in watchers:
        assert watcher.said == history
    assert worker.said == ["began one 1", "ended one", "began two 1"]
    worker.says("ended two")


def test_go_worker_takes_what_it_has_to_the_other_server_when_its_own_drains(pair: Pair, peer: str) -> None:
    """It begins nothing anew; each server drains once, with the action in hand."""
    worker = pair.peer(peer, "work")
    id_ = pair.clients[0].start("two_steps").id
    worker.says("began one 1")

    assert pair.one.drain() == 0
    worker.hears("finish one")
    worker.says("began two 1")
    pair.one.start()
    assert pair.two.drain() == 0
    worker.hears("finish two")

    ended = pair.clients[0].wait(id_, timeout=PATIENCE)
    assert (ended.state, str(ended.output["amount"])) == ("SUCCEEDED", "0.10")
    worker.terminate()
    assert worker.ends() == 0
    assert worker.said == ["began one 1", "ended one", "began two 1", "ended two"]
    assert {action.attempt for action in pair.clients[0].actions(id_)} == {1}


def test_go_start_whose_first_reply_was_lost_starts_once(pair: Pair, peer: str) -> None:
    """The repeat, with the same request id, gets the first answer; so does another program that asks with it."""
    with Wires() as wires, contextlib.ExitStack() as end:
        wire = wires.to(int(pair.one.address.rpartition(":")[2]))
        first = Peer(peer, "start", f"127.0.0.1:{wire.port}", "two_steps", "request-1")
        end.callback(first.close)
        first.says("connected")
        wire.hold_replies()
        first.hears("start")
        started = next(
            event.execution_id
            for update in pair.clients[1].watch_events(from_beginning=True)
            for event in update.events
        )
        wire.cut()
        first.says(f"started {started}")
        assert first.ends() == 0

    second = pair.peer(peer, "start", "two_steps", "request-1")
    second.hears("start")
    second.says(f"started {started}")
    assert second.ends() == 0
    assert [execution.id for execution in pair.clients[0].executions()] == [started]
