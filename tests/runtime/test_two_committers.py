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
from tradewind_server.engine.state import ExecutionState
from tradewind_server.errors import BusinessKeyInUse
from tradewind_server.runtime import committer
from tradewind_server.runtime import requests as r
from tradewind_server.store.database import Database
from tradewind_server.store.records import Claim, Message, Provenance, QueueRow
from tradewind_server.store.unit_of_work import ClaimKey, Transaction
from tradewind_server.store.writer import Writer
from tradewind_server.testing.world import World

WAITING = """
version: '2.0'
wait:
  tasks:
    a: {action: std.async_noop}
work:
  tasks:
    a: {action: my.work}
parent:
  tasks:
    a: {workflow: wait}
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
    one = World(database, writer=Writer(database, "one"), open_world=True)
    two = World(database, writer=Writer(database, "two"), first_id=1_000_000, open_world=True)
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

    def _wait(self) -> Callable[[], bool]:
        self.is_decided.set()
        assert self.may.wait(20)
        return self._send()


def _until_waiting(foreign: psycopg.Connection, is_enough: Callable[[], bool] = lambda: False) -> None:
    """Wait until a connection to the database waits for a lock, or it *is_enough*."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    end = time.monotonic() + 10
    while foreign.execute(query).fetchone() != (1,) and not is_enough():
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


def _beat(row: QueueRow) -> r.Renew:
    held = r.Held(execution_id=row.execution_id, action_id=row.action_id, attempt=row.attempt, epoch=row.epoch)
    return r.Renew(provenance=Provenance("worker:w", "Renew"), session="s", worker="w", held=[held])


def _cancel(world: World, id_: str) -> r.Command:
    provenance = Provenance("anonymous:", "CancelExecution")
    command = c.StopExecution(world.clock.now(), ExecutionState.CANCELLED)
    return r.Command(provenance=provenance, target=id_, namespace="default", command=command)


def test_batches_that_wait_for_each_other_are_both_carried_out(pair: Pair) -> None:
    """PostgreSQL gives one of them up: all that was in it was refused, as if the database were away."""
    # given
    ids = [world.start("work") for world in pair]
    both = threading.Barrier(2)

    def lock(transaction: Transaction, first: str, second: str) -> None:
        transaction.queue_of(first)
        if not outcomes:
            both.wait(10)
        transaction.queue_of(second)

    def locking(first: str, second: str) -> r.Tidy:
        return r.Tidy(provenance=Provenance("system:", "Tidy"), work=lambda tx, _: lock(tx, first, second))

    for world in pair:
        world._writer.connection.exec_driver_sql("SET deadlock_timeout = 10")
    outcomes: list[r.Outcome] = []
    requests = [locking(*ids), locking(*reversed(ids))]

    # when
    with ThreadPoolExecutor() as threads:
        outcomes += threads.map(lambda world, request: world.committer.step([request]), pair, requests)

    # then
    ((world, outcome),) = [each for each in zip(pair, outcomes, strict=True) if each[1].deferred]
    assert [answer for outcome in outcomes for _, answer in outcome.answers] == [None]
    assert [answer for _, answer in world.committer.step(outcome.deferred).answers] == [None]


def test_cancels_beside_beats_for_what_the_other_server_cancels_wait_in_one_order(
    url: str, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They waited for each other, until PostgreSQL gave one of them up: a second each time, while workers beat."""
    # given
    left, right = [world.start("work") for world in pair]
    leases = {row.execution_id: row for row in pair[0].lease("my.work")}
    batches = [
        [_beat(leases[left]), _cancel(pair[0], right)],
        [_beat(leases[right]), _cancel(pair[1], left)],
    ]
    queue_of, are_there = Transaction.queue_of, set[str]()

    def together(self: Transaction, execution_id: str) -> list[QueueRow]:
        are_there.add(execution_id)
        with psycopg.connect(url, autocommit=True) as foreign:
            _until_waiting(foreign, lambda: len(are_there) == 2)
        return queue_of(self, execution_id)

    # when
    monkeypatch.setattr(Transaction, "queue_of", together)
    with ThreadPoolExecutor() as threads:
        outcomes = list(threads.map(lambda world, batch: world.committer.step(batch), pair, batches))

    # then
    assert [[type(answer) for _, answer in outcome.answers] for outcome in outcomes] == [[list, r.Snapshot]] * 2


def _result(world: World, row: QueueRow) -> r.Result:
    return r.result_of(row, c.CompleteAction(world.clock.now(), row.action_id, 1), "worker:w")


def test_result_of_an_execution_that_another_server_holds_is_put_off_at_once(url: str, pair: Pair) -> None:
    """With its lease, for which the batch would wait: the other one holds that as well, until it commits."""
    # given
    world = pair[0]
    id_, other = world.start("work"), world.start("work")
    leases = {row.execution_id: row for row in world.lease("my.work")}
    result, free = _result(world, leases[id_]), _result(world, leases[other])
    world._writer.connection.exec_driver_sql("SET lock_timeout = 2000")
    with psycopg.connect(url) as foreign:
        foreign.execute("SELECT FROM executions WHERE id = %s FOR UPDATE", (id_,))
        foreign.execute("SELECT FROM action_queue WHERE execution_id = %s FOR UPDATE", (id_,))

        # when
        outcome = world.committer.step([result, free])

    # then
    assert outcome.deferred == outcome.blocked == [result]
    assert [type(answer) for _, answer in outcome.answers] == [r.Recorded]

    # when
    outcome = world.committer.step(outcome.deferred)

    # then
    assert [type(answer) for _, answer in outcome.answers] == [r.Recorded]


_LOCK = "SELECT FROM executions WHERE id = %s FOR"
_CHANGE = "UPDATE executions SET description = 'x' WHERE id = %s"


@pytest.mark.parametrize(
    "statements",
    [
        (f"{_LOCK} UPDATE", "ROLLBACK"),
        (f"{_LOCK} UPDATE", "COMMIT"),
        (_CHANGE, "ROLLBACK"),
        (_CHANGE, "COMMIT"),
        (f"{_LOCK} KEY SHARE", _CHANGE, "COMMIT"),
        (f"{_LOCK} SHARE", "SAVEPOINT s", _CHANGE, "ROLLBACK TO s", "COMMIT"),
        ("SAVEPOINT s", _CHANGE, "RELEASE s", _CHANGE, "COMMIT"),
    ],
)
def test_lease_is_found_whoever_touched_its_execution_last(url: str, pair: Pair, statements: tuple[str, ...]) -> None:
    """PostgreSQL notes lockers and writers of a row in one place, by which the batch knows that it has the lock."""
    world = pair[0]
    id_ = world.start("work")
    (row,) = world.lease("my.work")
    with psycopg.connect(url) as foreign, psycopg.connect(url) as beside:
        # two that share a lock are noted as a group
        beside.execute(f"{_LOCK} KEY SHARE", (id_,))
        for statement in statements:
            # alone again before what shares nothing
            if statement.endswith("FOR UPDATE"):
                beside.rollback()
            foreign.execute(statement.encode(), (id_,) if "%s" in statement else ())

    outcome = world.committer.step([_result(world, row)])

    assert [type(answer) for _, answer in outcome.answers] == [r.Recorded]


def test_result_is_recorded_after_a_beat_that_another_server_was_writing(url: str, pair: Pair) -> None:
    """It waits for that one, and finds the lease as it is then."""
    world = pair[0]
    world.start("work")
    (row,) = world.lease("my.work")
    with psycopg.connect(url) as foreign, ThreadPoolExecutor() as threads:
        foreign.execute("UPDATE action_queue SET progress = 'half'")
        with psycopg.connect(url, autocommit=True) as looking:
            later = threads.submit(world.committer.step, [_result(world, row)])
            _until_waiting(looking)
        foreign.commit()

    assert [type(answer) for _, answer in later.result().answers] == [r.Recorded]


def test_child_that_another_server_has_just_started_hears_that_its_parent_was_paused(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was sought before it was there; what it was told then was thrown away, and resumed trees stood for ever."""
    # given
    one, two = pair
    start = _start(one, "")
    start.workflow = "parent"
    [child] = one.committer.step([start]).targets
    pause = r.Command(
        provenance=Provenance("anonymous:", "PauseExecution"), target=start.target, namespace="default",
        command=c.PauseExecution(one.clock.now()),
    )  # fmt: skip
    look = Transaction.messages_to

    def look_late(self: Transaction, target: str) -> list[Message] | None:
        monkeypatch.setattr(Transaction, "messages_to", look)
        one.committer.step(one._delivered(child))
        one.committer.step([pause])
        return look(self, target)

    monkeypatch.setattr(Transaction, "messages_to", look_late)

    # when
    outcome = two.committer.step(two._delivered(child))
    two.committer.step(outcome.deferred)

    # then
    assert one.live(child).state.state is ExecutionState.PAUSED
