"""Two servers that write to one PostgreSQL at the same moment, in whatever order their statements come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from tradewind_server.engine import commands as c
from tradewind_server.errors import BusinessKeyInUse
from tradewind_server.runtime import committer
from tradewind_server.runtime import requests as r
from tradewind_server.store.database import Database
from tradewind_server.store.records import Claim, Provenance
from tradewind_server.store.unit_of_work import ClaimKey, Transaction, Writer
from tradewind_server.testing.world import World

WAITING = """
version: '2.0'
wait:
  tasks:
    a: {action: std.async_noop}
"""

Pair = tuple[World, World]


@pytest.fixture
def url(postgres_url: Callable[[], str]) -> str:
    """Give the database of both."""
    return postgres_url()


@pytest.fixture
def pair(url: str) -> Iterator[Pair]:
    """Give two servers."""
    database = Database(url)
    one = World(database, writer=Writer(database, "one"))
    two = World(database, writer=Writer(database, "two"), first_id=1_000_000)
    one.deploy(WAITING)
    yield one, two
    one.close()
    two.close()
    database.close()


class _Late:
    """Lets a server commit only when it may."""

    def __init__(self, world: World, patch: pytest.MonkeyPatch) -> None:
        self.is_decided, self.may = threading.Event(), threading.Event()
        self._send = world._writer._send_commit
        patch.setattr(world._writer, "_send_commit", self._wait)

    def _wait(self) -> bool:
        self.is_decided.set()
        assert self.may.wait(20)
        return self._send()


def _until_waiting(foreign: psycopg.Connection, count: int = 1) -> None:
    """Wait until so many connections to the database wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    end = time.monotonic() + 10
    while foreign.execute(query).fetchone() != (count,):
        assert time.monotonic() < end


def _rerun(world: World, id_: str, request_id: str) -> r.Command:
    provenance = Provenance("anonymous:", "RerunTask", request_id)
    command = c.RerunTask(world.clock.now(), 1, True)
    return r.Command(provenance=provenance, target=id_, namespace="default", command=command, digest="d")


def _start(world: World, business_key: str) -> r.Start:
    at = world.clock.now()
    return r.Start(
        provenance=Provenance("anonymous:", "StartExecution"),
        target=world.ids.execution(at), at=at, namespace="default", workflow="wait", workflow_namespace="",
        definition_version=0, input={}, env={}, params={}, external_id="", business_key=business_key,
        use_existing=False, tags=(), description="", digest="d",
    )  # fmt: skip


def test_command_repeated_at_another_server_that_waits_for_the_first_one_is_carried_out_once(
    url: str, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one was refused, since what it asks for had been done, by itself."""
    # given
    one, two = pair
    id_ = one.start("wait")
    one.answer(id_, c.FailAction(one.clock.now(), 1, c.Failure("ACTION", "no")))
    first, second = _rerun(one, id_, "r1"), _rerun(two, id_, "r1")
    second.deferred_since = two.clock.monotonic()
    two.clock.advance(timedelta(seconds=1))
    monkeypatch.setattr(committer, "_LOCK_TIMEOUT_MS", 10_000)

    # when
    late = _Late(one, monkeypatch)
    with psycopg.connect(url, autocommit=True) as foreign, ThreadPoolExecutor() as threads:
        earlier = threads.submit(one.committer.step, [first])
        assert late.is_decided.wait(10)
        later = threads.submit(two.committer.step, [second])
        _until_waiting(foreign)
        late.may.set()

    # then
    answers = [answer for outcome in (earlier.result(), later.result()) for _, answer in outcome.answers]
    assert [type(answer) for answer in answers] == [r.Snapshot, r.Snapshot]


def test_business_key_that_is_freed_while_it_is_asked_for_is_held_by_who_asked(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody held it: two executions ran under one key, although that is refused."""
    # given
    one, two = pair
    before = one.ask(_start(one, "k"))
    assert isinstance(before, r.Started)
    find = Transaction.find_claims

    def find_late(self: Transaction, keys: list[ClaimKey]) -> dict[ClaimKey, Claim]:
        monkeypatch.setattr(Transaction, "find_claims", find)
        one.answer(before.execution_id, c.CompleteAction(one.clock.now(), 1, 7))
        return find(self, keys)

    monkeypatch.setattr(Transaction, "find_claims", find_late)

    # when
    assert isinstance(two.ask(_start(two, "k")), r.Started)

    # then
    with pytest.raises(BusinessKeyInUse):
        one.ask(_start(one, "k"))
