"""Leases in one batch: what a beat, a cancel and a delayed action do to each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tradewind_server.engine import commands as c
from tradewind_server.engine.state import ExecutionState
from tradewind_server.errors import LeaseLost, StaleAttempt
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.committer import Broken
from tradewind_server.runtime.desk import Session
from tradewind_server.store import reads
from tradewind_server.store.database import Database
from tradewind_server.store.records import Provenance, QueueRow
from tradewind_server.store.unit_of_work import Transaction
from tradewind_server.testing.world import World

WORK = """
version: '2.0'
work:
  tasks:
    a: {action: my.work}
"""
_BY = Provenance("worker:w", "test")


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """Give a world with one worker of `my.work`."""
    database = Database(database_url)
    made = World(database, open_world=True)
    made.deploy(WORK)
    made.desk.open(Session("s", "w", "default", {"my.work": 0}, room=100))
    yield made
    made.close()
    database.close()


def _claim(world: World, most: int) -> list[QueueRow]:
    request = r.Claim(provenance=_BY, session="s", worker="w", namespace="default", wanted=[("my.work", "", most)])
    outcome = world.committer.step([request])
    return [row for _, row in outcome.offers]


def _held(row: QueueRow) -> r.Held:
    return r.Held(execution_id=row.execution_id, action_id=row.action_id, attempt=row.attempt, epoch=row.epoch)


def _cancel(world: World, id_: str) -> r.Command:
    command = c.StopExecution(world.clock.now(), ExecutionState.CANCELLED)
    return r.Command(provenance=_BY, target=id_, namespace="default", command=command)


def _verdicts(world: World, *requests: r.Request) -> list[object]:
    outcome = world.committer.step(list(requests))
    return [answer for request, answer in outcome.answers if isinstance(request, r.Renew)]


@pytest.mark.parametrize("beat_first", [True, False])
def test_cancel_is_not_lost_to_a_beat_of_the_same_batch(world: World, beat_first: bool) -> None:
    """The next beat hears of it, whichever came first."""
    id_ = world.start("work")
    (row,) = _claim(world, 1)
    beat = r.Renew(provenance=_BY, session="s", worker="w", held=[_held(row)])
    pair = [beat, _cancel(world, id_)] if beat_first else [_cancel(world, id_), beat]

    world.committer.step(pair)

    assert _verdicts(world, r.Renew(provenance=_BY, session="s", worker="w", held=[_held(row)])) == [[r.CANCEL]]


def _result(world: World, row: QueueRow) -> r.Result:
    return r.result_of(row, c.CompleteAction(world.clock.now(), row.action_id, {"n": 1}), "worker:w")


def _answer(world: World, *requests: r.Request) -> object:
    """Return what the last of *requests* is answered."""
    outcome = world.committer.step(list(requests))
    return next(answer for request, answer in outcome.answers if request is requests[-1])


@pytest.mark.parametrize("is_one_batch", [True, False])
def test_result_of_an_action_given_back_is_taken_until_another_worker_has_it(world: World, is_one_batch: bool) -> None:
    """Nobody does it twice for nothing; then it is refused, and the other's is recorded."""
    world.start("work")
    (row,) = _claim(world, 1)
    late = _result(world, row)
    back = r.Release(provenance=_BY, released=[(_held(row), 0)], lost=False)
    if is_one_batch:
        assert isinstance(_answer(world, back, late), r.Recorded)
        return
    world.committer.step([back])
    (again,) = _claim(world, 1)

    assert isinstance(_answer(world, late), LeaseLost)
    assert isinstance(_answer(world, _result(world, again)), r.Recorded)


def test_result_of_a_worker_that_was_lost_is_of_an_earlier_attempt(world: World) -> None:
    """It had accepted the action: the next worker, once there is one, begins another attempt."""
    world.start("work")
    (row,) = _claim(world, 1)
    late = _result(world, row)
    world.committer.step([r.Renew(provenance=_BY, session="s", worker="w", held=[_held(row)])])
    world.clock.advance(timedelta(hours=1))
    world.committer.step([r.Sweep(provenance=_BY, at=world.clock.now())])

    assert isinstance(_answer(world, late), StaleAttempt)
    (again,) = _claim(world, 1)
    assert isinstance(_answer(world, late), StaleAttempt)
    assert isinstance(_answer(world, _result(world, again)), r.Recorded)


def test_look_for_lapsed_leases_that_waited_itself_takes_none(world: World) -> None:
    """As behind a commit whose outcome the database could not tell: what workers said meanwhile waited as long."""
    world.start("work")
    (row,) = _claim(world, 1)
    look = r.Sweep(provenance=_BY, at=world.clock.now())
    world.clock.advance(timedelta(seconds=12))
    world.committer.step([look])

    assert isinstance(_answer(world, _result(world, row)), r.Recorded)


def test_lease_of_another_worker_is_told_after_a_beat_of_its_own(world: World) -> None:
    """Who answers with the action's token is told by the lease, also where it has changed hands without a new offer."""
    id_ = world.start("work")
    (row,) = _claim(world, 1)
    world.committer.step([r.Renew(provenance=_BY, session="s", worker="came-back", held=[_held(row)])])
    bare = _result(world, row)
    bare.worker = ""

    assert isinstance(_answer(world, bare), r.Recorded)
    with world.database.reading() as (connection, _):
        (action,) = reads.actions(connection, "default", id_, [], 10, ("", 0))
    assert action.worker == "came-back"


def test_action_that_was_begun_while_it_was_leased_again_is_nobodys(database_url: str) -> None:
    """The worker before has begun it after all, in the same batch: the new one's result is refused."""
    database = Database(database_url)
    world = World(database, open_world=True)
    world.deploy("version: '2.0'\nwork:\n  tasks:\n    a: {action: std.mistral_http url='http://x'}\n")
    world.desk.open(Session("s", "w", "default", {"std.mistral_http": 0}, room=100))
    id_ = world.start("work")
    wanted = [("std.mistral_http", "", 1)]
    claim = r.Claim(provenance=_BY, session="s", worker="w", namespace="default", wanted=wanted)
    ((_, row),) = world.committer.step([claim]).offers
    begun = r.Posted(provenance=_BY, target=id_, action_id=row.action_id, attempt=row.attempt, epoch=row.epoch)
    world.committer.step([r.Release(provenance=_BY, released=[(_held(row), 0)], lost=True)])
    ((_, again),) = world.committer.step([claim, begun]).offers
    failed = c.FailAction(world.clock.now(), again.action_id, c.Failure("ACTION", "It broke.", "BROKE"))

    assert isinstance(_answer(world, r.result_of(again, failed, "worker:w")), LeaseLost)
    world.close()
    database.close()


def test_sqlite_is_not_asked_for_a_lease_that_the_server_has_given_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else writes there. After a beat, which may have changed it, it is read."""
    database = Database(str(tmp_path / "a.db"))
    world = World(database, open_world=True)
    world.deploy(WORK)
    world.desk.open(Session("s", "w", "default", {"my.work": 0}, room=100))
    world.start("work")
    world.start("work")
    first, second = _claim(world, 2)
    asked: list[object] = []
    read = Transaction.queue_rows

    def note(self: Transaction, locked: Iterable[Any], free: Iterable[Any] = ()) -> Any:
        locked, free = list(locked), list(free)
        asked.extend([*locked, *free])
        return read(self, locked, free)

    monkeypatch.setattr(Transaction, "queue_rows", note)
    assert isinstance(_answer(world, _result(world, first)), r.Recorded)
    assert asked == []

    world.committer.step([r.Renew(provenance=_BY, session="s", worker="w", held=[_held(second)])])
    asked.clear()
    assert isinstance(_answer(world, _result(world, second)), r.Recorded)
    assert asked == [(second.execution_id, second.action_id)]
    world.close()
    database.close()


def test_delayed_action_does_not_block_the_ones_behind_it(world: World) -> None:
    """A worker with room for one gets the action that may run now."""
    world.start("work")
    (first,) = _claim(world, 1)
    world.committer.step([r.Release(provenance=_BY, released=[(_held(first), 3600)], lost=False)])
    second = world.start("work")

    assert [row.execution_id for row in _claim(world, 1)] == [second]


def test_two_claims_of_one_batch_never_lease_the_same_action(world: World) -> None:
    """Each worker gets another one."""
    world.desk.open(Session("t", "v", "default", {"my.work": 0}, room=100))
    world.start("work")
    world.start("work")
    claims = [
        r.Claim(provenance=_BY, session=s, worker=s, namespace="default", wanted=[("my.work", "", 1)])
        for s in ("s", "t")
    ]

    outcome = world.committer.step(claims)

    assert len({(row.execution_id, row.action_id) for _, row in outcome.offers}) == 2


def test_request_that_the_database_cannot_take_fails_alone(world: World) -> None:
    """The others of its batch are carried out."""
    id_ = world.start("work")
    (row,) = _claim(world, 1)
    bad = r.Release(provenance=_BY, released=[(_held(row), 2**62)], lost=False)
    good = r.Command(provenance=_BY, target=id_, namespace="default", command=c.PauseExecution(world.clock.now()))

    outcome = world.committer.step([bad, good])

    answers = {id(request): answer for request, answer in outcome.answers}
    assert isinstance(answers[id(bad)], Broken)
    assert isinstance(answers[id(good)], r.Snapshot)


@pytest.mark.parametrize("claim_first", [True, False])
def test_worker_that_comes_back_and_a_claim_of_the_same_batch_do_not_get_one_action(
    world: World, claim_first: bool
) -> None:
    """Whichever comes first has it; both would do the work."""
    id_ = world.start("work")
    (row,) = _claim(world, 1)
    lost = r.Release(provenance=_BY, released=[(_held(row), 0)], lost=True)
    world.committer.step([lost])
    back = r.Renew(provenance=_BY, session="s", worker="w", held=[_held(row)], returning=True)
    claim = r.Claim(provenance=_BY, session="s", worker="w", namespace="default", wanted=[("my.work", "", 1)])

    outcome = world.committer.step([claim, back] if claim_first else [back, claim])

    [verdicts] = [answer for request, answer in outcome.answers if request is back]
    assert [kept.execution_id for _, kept in outcome.offers] == ([id_] if claim_first else [])
    assert verdicts == ([r.LOST] if claim_first else [r.KEEP])


def test_worker_that_comes_back_as_its_broken_stream_is_noticed_keeps_its_offer(world: World) -> None:
    """Both in one batch: it was told to stop, though the action had only just gone into the queue."""
    world.start("work")
    (row,) = _claim(world, 1)
    lost = r.Release(provenance=_BY, released=[(_held(row), 0)], lost=True)
    back = r.Renew(provenance=_BY, session="s", worker="w", held=[_held(row)], returning=True)

    assert _verdicts(world, lost, back) == [[r.KEEP]]
    assert _claim(world, 1) == []
