"""What is remembered of leases is what the queue says, whatever happens to them in whatever order."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from tradewind_server.engine import commands as c
from tradewind_server.engine.state import ActionState, ExecutionState
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.desk import Session
from tradewind_server.store import schema
from tradewind_server.store.database import Database
from tradewind_server.store.records import Lease, Provenance, QueueRow
from tradewind_server.store.unit_of_work import queue_row
from tradewind_server.testing.lossy import LossyWriter
from tradewind_server.testing.world import World

WORK = """
version: '2.0'
work:
  tasks:
    a: {action: my.work, on-complete: [b, c]}
    b: {action: my.work, retry: {count: 2, delay: 1}}
    c: {action: std.mistral_http url='http://x'}
"""
_BY = Provenance("worker:w", "test")
_NAMES = ("my.work", "std.mistral_http")


class _Chance:
    """Makes requests about what has been leased, now or before."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world, self._chance = world, chance
        self.leased: list[QueueRow] = []

    def batch(self) -> list[r.Request]:
        """Return what comes at once."""
        makers: list[Callable[[], r.Request]] = [self._claim, self._claim]
        if self.leased:
            makers += [self._result, self._result, self._renew, self._release, self._begun, self._stop]
        if self._chance.random() < 0.2:
            self._world.clock.advance(timedelta(seconds=self._chance.choice((1, 30, 3600))))
            makers += [self._sweep] * 4
        return [self._chance.choice(makers)() for _ in range(self._chance.randint(1, 5))]

    def _claim(self) -> r.Request:
        wanted = [(name, "", self._chance.randint(1, 3)) for name in _NAMES]
        return r.Claim(provenance=_BY, session="s", worker="w", namespace="default", wanted=wanted)

    def _held(self) -> r.Held:
        row = self._chance.choice(self.leased[-12:])
        return r.Held(execution_id=row.execution_id, action_id=row.action_id, attempt=row.attempt, epoch=row.epoch)

    def _result(self) -> r.Request:
        row, at = self._chance.choice(self.leased[-12:]), self._world.clock.now()
        failed = c.FailAction(at, row.action_id, c.Failure("ACTION", "It broke.", "BROKE"))
        done = c.CompleteAction(at, row.action_id, 1)
        return r.result_of(row, self._chance.choice((done, failed)), "worker:w", "s")

    def _renew(self) -> r.Request:
        return r.Renew(provenance=_BY, session="s", worker=self._chance.choice("wv"), held=[self._held()])

    def _release(self) -> r.Request:
        return r.Release(provenance=_BY, released=[(self._held(), 0)], lost=self._chance.random() < 0.5)

    def _begun(self) -> r.Request:
        held = self._held()
        return r.Posted(
            provenance=_BY, target=held.execution_id, action_id=held.action_id, attempt=held.attempt, epoch=held.epoch
        )

    def _stop(self) -> r.Request:
        stop = c.StopExecution(self._world.clock.now(), ExecutionState.CANCELLED)
        return r.Command(provenance=_BY, target=self._held().execution_id, namespace="default", command=stop)

    def _sweep(self) -> r.Request:
        return r.Sweep(provenance=_BY, at=self._world.clock.now())


def _remembered(world: World, ids: list[str]) -> dict[tuple[str, int], Lease]:
    """Return the remembered leases of open actions: of others no result is asked for."""
    lives = [live for id_ in ids if (live := world.cache.get(id_)) is not None]
    return {
        (live.envelope.id, action_id): lease
        for live in lives
        for action_id, lease in live.leases.items()
        if live.state.actions[action_id].state is ActionState.OPEN
    }


@pytest.mark.parametrize("seed", range(12))
def test_remembered_leases_are_those_of_the_queue(seed: int, tmp_path: Path) -> None:
    """Also after commits that were lost, or of which nobody heard."""
    chance = random.Random(seed)
    database = Database(str(tmp_path / "a.db"))
    writer = LossyWriter(database, "lossy")
    world = World(database, writer=writer, open_world=True)
    world.deploy(WORK)
    world.desk.open(Session("s", "w", "default", dict.fromkeys(_NAMES, 0), room=10_000))
    ids = [world.start("work") for _ in range(8)]
    makes, count = _Chance(world, chance), 0

    for _ in range(40):
        writer.faults = [chance.choice(("reply lost", "never arrived"))] if chance.random() < 0.15 else []
        outcome = world.committer.step(makes.batch())
        while outcome.deferred or outcome.follow_ups:
            makes.leased += [row for _, row in outcome.offers]
            outcome = world.committer.step([*outcome.deferred, *outcome.follow_ups])
        makes.leased += [row for _, row in outcome.offers]
        remembered = _remembered(world, ids)
        with database.reading() as (connection, _):
            rows = [queue_row(tuple(row)) for row in connection.execute(sa.select(schema.queue))]
        written = {(row.execution_id, row.action_id): row.lease for row in rows}
        assert remembered == {key: written.get(key) for key in remembered}
        count += len(remembered)

    assert count > 20
    world.close()
    database.close()
