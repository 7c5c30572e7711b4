"""Leases in one batch: what a beat, a cancel and a delayed action do to each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tradewind_server.engine import commands as c
from tradewind_server.engine.state import ExecutionState
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.committer import Broken
from tradewind_server.runtime.desk import Session
from tradewind_server.store.database import Database
from tradewind_server.store.records import Provenance, QueueRow
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
