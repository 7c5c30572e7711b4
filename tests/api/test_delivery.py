"""Leases: what becomes of an action whose worker is slow, silent, or gone."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest
from grpc import StatusCode

from tests.api.harness import PATIENCE, Served, refused, serving, start
from tradewind import values
from tradewind.v1 import action_callback_pb2 as v1
from tradewind.v1 import execution_pb2, execution_service_pb2
from tradewind_server.clock import SystemClock
from tradewind_server.errors import DatabaseUnavailable
from tradewind_server.runtime.requests import Request, Result, Sweep
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.store.unit_of_work import Transaction
from tradewind_server.store.writer import Writer

SHORT = {"delivery_lease_seconds": 1, "work_lease_seconds": 1}


@pytest.fixture(autouse=True)
def quick_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for lapsed leases ten times a second."""
    monkeypatch.setattr("tradewind_server.runtime.runtime._SWEEP_SECONDS", 0.1)


SAFE = """
version: '2.0'
pay:
  output: {error: <% $.get(error) %>}
  tasks:
    t:
      action: shop.do n=1
      safe-rerun: false
      on-error: sorry
    sorry:
      action: std.echo output="sorry"
      publish: {error: <% task().result %>}
"""


async def test_lapsed_work_lease_offers_again_at_a_higher_attempt(database_url: str) -> None:
    """With the same idempotency key; the late worker's result is stale."""
    async with serving(database_url, **SHORT) as served:
        id_ = await served.start()
        async with served.worker(credits_=1) as late, served.worker(credits_=0) as other:
            first = await late.offer()
            await late.beat(first.token)
            await other.grant(1)
            second = await other.offer()
            assert (first.attempt, second.attempt) == (1, 2)
            assert first.idempotency_key == second.idempotency_key == f"{id_}/a1"
            await late.finish(first.token, "late")
            assert await late.receipt() == ("STALE", "STALE_ATTEMPT")
            with refused(StatusCode.ABORTED, "STALE_ATTEMPT") as caught:
                await served.complete(first.token, "late")
            assert caught.metadata == {"action": "a1", "attempt": "1", "current": "2"}
            await other.finish(second.token, "in time")
            assert await other.receipt() == ("RECORDED", "")
        assert await served.ended(id_) == ("SUCCEEDED", {"r": "in time"})


async def test_lapsed_delivery_lease_costs_no_attempt(database_url: str) -> None:
    """Nobody has begun the work; but the first offer's token is not good any more."""
    async with serving(database_url, **SHORT) as served:
        id_ = await served.start()
        [first] = await served.poll()
        [second] = await served.poll()
        assert (second.attempt, first.deliveries, second.deliveries) == (1, 1, 2)
        with refused(StatusCode.ABORTED, "LEASE_LOST") as caught:
            await served.complete(first.token)
        assert caught.metadata == {"action": "a1"}
        assert await served.complete(second.token, 1) == "RECORDED"
        assert await served.ended(id_) == ("SUCCEEDED", {"r": 1})


async def test_worker_that_dies_on_reading_each_offer_makes_it_not_deliverable(database_url: str) -> None:
    """A poisonous action ends, and takes the road of errors."""
    async with serving(database_url, max_deliveries=3) as served:
        id_ = await served.start()
        for delivery in (1, 2, 3):
            async with served.worker(credits_=1) as hand:
                assert (await hand.offer()).deliveries == delivery
        state, _ = await served.ended(id_)
        failed = await served.until(id_, "ActionFailed")
        body = values.from_payload(failed.body)
        assert (state, body["kind"], body["code"]) == ("FAILED", "NOT_DELIVERABLE", "NOT_DELIVERABLE")


async def test_worker_lost_after_accept_makes_it_not_deliverable(database_url: str) -> None:
    """The second road to the same end, each loss with an attempt of its own."""
    async with serving(database_url, max_losses=2, **SHORT) as served:
        id_ = await served.start()
        for attempt in (1, 2):
            async with served.worker(credits_=1) as hand:
                offer = await hand.offer()
                assert offer.attempt == attempt
                request = v1.AcceptActionsRequest(worker_id="w", tokens=[offer.token])
                await served.callback.AcceptActions(request)
        assert (await served.ended(id_))[0] == "FAILED"


async def test_executions_that_failed_by_their_delivery_are_found_by_the_kind_that_they_show(database_url: str) -> None:
    """`error_kind = DELIVERY` found none, and they were counted under a word that no FailureKind has."""
    async with serving(database_url, max_losses=1, **SHORT) as served:
        # given
        id_ = await served.start()
        async with served.worker(credits_=1) as hand:
            await hand.beat((await hand.offer()).token)
        assert (await served.ended(id_))[0] == "FAILED"
        await served.start()

        # when
        found = {
            filter_: await served.executions.ListExecutions(
                execution_service_pb2.ListExecutionsRequest(filter=f"{filter_} AND state = FAILED")
            )
            for filter_ in ("error_kind = DELIVERY", "error_kind != DELIVERY")
        }
        counted = await served.executions.CountExecutions(
            execution_service_pb2.CountExecutionsRequest(group_by=["error_kind"])
        )

    # then
    assert {filter_: [each.id for each in page.executions] for filter_, page in found.items()} == {
        "error_kind = DELIVERY": [id_],
        "error_kind != DELIVERY": [],
    }
    assert [(list(group.values), group.count) for group in counted.groups] == [(["DELIVERY"], 1)]


async def test_lapsed_lease_without_safe_rerun_takes_on_error(database_url: str) -> None:
    """It is not offered again: what it did so far cannot be told."""
    async with serving(database_url, **SHORT) as served:
        await served.deploy(SAFE)
        id_ = await served.start("pay", {})
        async with served.worker() as hand:
            offer = await hand.offer()
            await hand.beat(offer.token)
            failed = await served.until(id_, "ActionFailed")
            assert values.from_payload(failed.body)["code"] == "LEASE_LOST"
            assert await served.ended(id_) == ("SUCCEEDED", {"error": "sorry"})
            assert hand.is_quiet()


async def test_worker_killed_right_after_it_began_what_may_not_be_done_twice_fails_it(database_url: str) -> None:
    """Workers accept only what takes them long: that it has not accepted does not say that it has not begun."""
    async with serving(database_url, **SHORT) as served:
        await served.deploy(SAFE)
        id_ = await served.start("pay", {})
        async with served.worker(credits_=1) as killed:
            await killed.offer()
        async with served.worker() as other:
            failed = await served.until(id_, "ActionFailed")
            assert values.from_payload(failed.body)["code"] == "LEASE_LOST"
            assert await served.ended(id_) == ("SUCCEEDED", {"error": "sorry"})
            assert other.is_quiet()


async def test_offer_of_what_may_not_be_done_twice_that_is_refused_goes_to_another(database_url: str) -> None:
    """The worker says itself that it has not begun."""
    async with serving(database_url) as served:
        await served.deploy(SAFE)
        id_ = await served.start("pay", {})
        async with served.worker(credits_=1) as full:
            await full.send(refuse=v1.Refuse(releases=[v1.Release(token=(await full.offer()).token)]))
            assert await full.receipt() == ("RECORDED", "")
            async with served.worker() as other:
                await other.finish((await other.offer()).token, 1)
                assert await served.ended(id_) == ("SUCCEEDED", {"error": None})


async def test_worker_that_reconnects_keeps_what_may_not_be_done_twice(database_url: str) -> None:
    """A connection that breaks for a moment fails nothing."""
    async with serving(database_url) as served:
        await served.deploy(SAFE)
        id_ = await served.start("pay", {})
        async with served.worker(credits_=1) as hand:
            token = (await hand.offer()).token
        async with served.worker(credits_=1, in_flight=[token]) as again:
            assert [verdict.keep for verdict in again.welcome.in_flight] == [True]
            await again.finish(token, 1)
            assert await served.ended(id_) == ("SUCCEEDED", {"error": None})


class Sweeps:
    """What came of the looks for lapsed leases: whether workers had been heard for long enough, or None without answer.

    Args:
        runtime: whose.
        monkeypatch: until when.
    """

    def __init__(self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ends: asyncio.Queue[bool | None] = asyncio.Queue()
        self._ask = runtime.ask
        monkeypatch.setattr(runtime, "ask", self._spy)

    async def _spy(self, request: Request, **more: Any) -> object:
        if not isinstance(request, Sweep):
            return await self._ask(request, **more)
        try:
            answer = await self._ask(request, **more)
        except DatabaseUnavailable:
            self._ends.put_nowait(None)
            raise
        self._ends.put_nowait(request.were_heard)
        return answer

    async def wait_for(self, wanted: bool | None, count: int = 1) -> None:
        """Wait until *count* of a kind have ended."""
        async with asyncio.timeout(PATIENCE):
            while count:
                count -= (await self._ends.get()) is wanted


def _wait(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let so much time pass for what a server only waits for."""
    monkeypatch.setattr(SystemClock, "monotonic", lambda _: time.monotonic() + seconds)


async def test_outage_of_the_database_takes_no_lease(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker had done meanwhile had failed, as lost, when the database was back: nobody could renew a lease."""
    async with serving(database_url, delivery_lease_seconds=1) as served, served.worker(credits_=2) as hand:
        # given
        await served.deploy(SAFE)
        id_, silent = await served.start("pay", {}), await served.start("pay", {})
        tokens = {offer.execution_id: offer.token for offer in (await hand.offer(), await hand.offer())}
        sweeps = Sweeps(served.server.runtime, monkeypatch)

        # when
        with monkeypatch.context() as away:
            away.setattr(Writer, "begin", _refuse)
            await hand.finish(tokens[id_], 1)
            assert await hand.receipt() == ("REFUSED", "DATABASE_UNAVAILABLE")
            await sweeps.wait_for(None, 15)  # more than a second
        await sweeps.wait_for(False, 2)

        # then
        await hand.finish(tokens[id_], 1)
        assert await hand.receipt() == ("RECORDED", "")
        assert await served.ended(id_) == ("SUCCEEDED", {"error": None})

        # when
        _wait(monkeypatch, 12.0)

        # then
        assert await served.ended(silent) == ("SUCCEEDED", {"error": "sorry"})


async def test_time_in_which_nobody_could_say_anything_takes_no_lease(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was at work when a laptop slept, a server was stopped, or the database's clock was set, had been lost."""
    async with serving(database_url) as served, served.worker() as hand:
        # given
        await served.deploy(SAFE)
        id_ = await served.start("pay", {})
        token = (await hand.offer()).token
        sweeps = Sweeps(served.server.runtime, monkeypatch)
        _wait(monkeypatch, 16.0)
        await sweeps.wait_for(True)

        # when
        clock = served.server.runtime.clock
        clock.correct(clock.now() + timedelta(hours=1))
        await sweeps.wait_for(False, 2)

        # then
        await hand.finish(token, 1)
        assert await hand.receipt() == ("RECORDED", "")
        assert await served.ended(id_) == ("SUCCEEDED", {"error": None})


def _refuse(*_: Any, **__: Any) -> Transaction:
    raise DatabaseUnavailable(problem="connection refused")


async def test_accept_that_the_database_did_not_take_is_repeated(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was forgotten until the worker's next beat, ten seconds later; many leases had ended by then."""
    async with serving(database_url, delivery_lease_seconds=1) as served, served.worker() as hand:
        # given
        await served.deploy(SAFE)
        id_ = await served.start("pay", {})
        token = (await hand.offer()).token
        sweeps = Sweeps(served.server.runtime, monkeypatch)

        # when
        with monkeypatch.context() as away:
            away.setattr(Writer, "begin", _refuse)
            await hand.send(accept=v1.Accept(tokens=[token]))
            await sweeps.wait_for(None, 15)
        await sweeps.wait_for(False, 5)  # half a second
        _wait(monkeypatch, 12.0)
        await sweeps.wait_for(True, 2)

        # then
        await hand.finish(token, 1)
        assert await hand.receipt() == ("RECORDED", "")
        assert await served.ended(id_) == ("SUCCEEDED", {"error": None})


async def test_server_that_begins_takes_no_lease_before_workers_could_come_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had been away for longer than the lease, and took the action from the worker that came a bit later."""
    async with serving(database_url, delivery_lease_seconds=1) as served:
        sweeps = Sweeps(served.server.runtime, monkeypatch)
        await sweeps.wait_for(False)
        _wait(monkeypatch, 12.0)
        await sweeps.wait_for(True)


async def test_beats_keep_a_lease(database_url: str) -> None:
    """Longer than it lasts without them; then the result is taken."""
    async with serving(database_url, delivery_lease_seconds=1, work_lease_seconds=1) as served:
        id_ = await served.start()
        other_id = await served.start()
        async with served.worker(credits_=2) as hand, served.worker(credits_=0) as other:
            kept, dropped = await hand.offer(), await hand.offer()
            await other.grant(1)
            await hand.beat(kept.token, dropped.token)
            # only the one that is missing from the beats lapses: its second offer is the clock of this test
            while other.is_quiet():
                await hand.beat(kept.token)
                request = v1.HeartbeatActionsRequest(worker_id="x", actions=[v1.ActionBeat(token=kept.token)])
                await served.callback.HeartbeatActions(request)
            again = await other.offer()
            assert (again.execution_id, again.attempt) == (dropped.execution_id, 2)
            await hand.finish(kept.token, 1)
            assert await hand.receipt() == ("RECORDED", "")
            await other.finish(again.token, 2)
            assert {dropped.execution_id, kept.execution_id} == {id_, other_id}
            assert await served.ended(kept.execution_id) == ("SUCCEEDED", {"r": 1})


async def test_unsafe_action_is_not_offered_again_while_its_failure_is_on_the_way(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the server dies between the sweep and the failure: the next sweep finds the lease where it was."""
    dropped: list[Request] = []
    tell = Runtime.tell

    def lose_the_first(self: Runtime, request: Request) -> None:
        if isinstance(request, Result) and request.provenance.actor == "system:leases" and not dropped:
            dropped.append(request)
        else:
            tell(self, request)

    async with serving(database_url, **SHORT) as served:
        await served.deploy(SAFE)
        id_ = await served.start("pay", {})
        monkeypatch.setattr(Runtime, "tell", lose_the_first)
        async with served.worker() as hand:
            await hand.beat((await hand.offer()).token)
            assert await served.ended(id_) == ("SUCCEEDED", {"error": "sorry"})
            assert hand.is_quiet()
    assert len(dropped) == 1


async def test_built_in_actions_are_done_in_every_namespace(served: Served) -> None:
    """Also for what has waited since before a restart, and for those that take a while."""
    text = "version: '2.0'\nw: {tasks: {a: {action: std.sleep seconds=0, on-success: b}, b: {action: std.noop}}}\n"
    for namespace in ("tenant-1", "tenant-2", "tenant-1"):
        await served.deploy(text, namespace)
        request = start("w", {}, namespace=namespace)
        answer = await served.executions.StartAndWait(
            execution_service_pb2.StartAndWaitRequest(start=request), timeout=PATIENCE
        )
        assert answer.execution.state == execution_pb2.EXECUTION_STATE_SUCCEEDED
