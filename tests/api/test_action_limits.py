"""Limits of actions: exact over servers and workers, live, and nothing is lost or starved by them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode

from tests.api.harness import PATIENCE, Hand, Served, refused, serving
from tradewind.v1 import action_callback_pb2, action_limit_pb2, execution_service_pb2
from tradewind.v1 import action_limit_service_pb2 as v1


async def put(served: Served, concurrency: int | None = None, rate: int = 0, period: float = 1.0) -> None:
    """Bound shop.do."""
    limit = action_limit_pb2.ActionLimit(action="shop.do", concurrency=concurrency)
    if rate:
        limit.rate.count = rate
        limit.rate.period.FromMicroseconds(int(period * 1_000_000))
    await served.limits.PutActionLimit(v1.PutActionLimitRequest(limit=limit))


async def lift(served: Served) -> None:
    """Remove the bound."""
    await served.limits.DeleteActionLimit(v1.DeleteActionLimitRequest(action="shop.do"))


async def in_hand(served: Served) -> int:
    """Return how many are in hand under the bound."""
    [limit] = (await served.limits.ListActionLimits(v1.ListActionLimitsRequest())).limits
    found: int = limit.in_hand
    return found


async def explained(served: Served, id_: str) -> list[tuple[int, str]]:
    """Return what an execution waits for."""
    request = execution_service_pb2.ExplainExecutionRequest(execution_id=id_)
    return [(wait.kind, wait.detail) for wait in (await served.executions.ExplainExecution(request)).waits]


async def test_no_more_are_in_hand_than_the_limit(served: Served) -> None:
    """Neither of those that waited nor of new ones, whichever worker has room; each end lets one more go."""
    await put(served, concurrency=2)
    ids = [await served.start() for _ in range(3)]
    async with served.worker() as one, served.worker() as two:
        ids += [await served.start() for _ in range(3)]
        hands: list[tuple[Hand, action_callback_pb2.Offer]] = []
        done = 0
        while done < len(ids):
            for hand in (one, two):
                while not hand.is_quiet():
                    hands.append((hand, await hand.offer()))
            assert len(hands) <= 2
            assert await in_hand(served) <= 2
            if hands:
                hand, offer = hands.pop(0)
                await hand.finish(offer.token, done)
                assert await hand.receipt() == ("RECORDED", "")
                done += 1
            await asyncio.sleep(0)
    for id_ in ids:
        assert (await served.ended(id_))[0] == "SUCCEEDED"


async def test_limit_holds_at_once_and_counts_what_is_in_hand(served: Served) -> None:
    """What is there stays there; nothing new goes until there is room, and Explain says so."""
    async with served.worker() as hand:
        ids = [await served.start() for _ in range(3)]
        offers = [await hand.offer() for _ in ids]
        await put(served, concurrency=2)
        assert await in_hand(served) == 3
        late = await served.start()
        await hand.finish(offers[0].token)
        await hand.receipt()
        assert hand.is_quiet()
        detail = "It waits for the limit of 'shop.do': at most 2 at the same time."
        assert await explained(served, late) == [(execution_service_pb2.WAIT_KIND_LIMIT, detail)]
        await hand.finish(offers[1].token)
        assert (await hand.offer()).execution_id == late


async def test_lifted_limit_lets_all_go(served: Served) -> None:
    """At once; and a raised one as many as it says."""
    async with served.worker() as hand:
        await put(served, concurrency=0)
        ids = {await served.start() for _ in range(4)}
        assert hand.is_quiet()
        await put(served, concurrency=1)
        got = {(await hand.offer()).execution_id}
        await lift(served)
        got |= {(await hand.offer()).execution_id for _ in range(3)}
        assert got == ids
        fresh = await served.start()
        assert (await hand.offer()).execution_id == fresh


async def test_lost_worker_gives_its_place_free(database_url: str) -> None:
    """Whether it had accepted or not."""
    async with serving(database_url, delivery_lease_seconds=1, work_lease_seconds=1) as served:
        await put(served, concurrency=1)
        first, second = await served.start(), await served.start()
        async with served.worker() as hand:
            offer = await hand.offer()
            await hand.beat(offer.token)
        async with served.worker() as other:
            again = await other.offer()
            assert (again.execution_id, again.attempt) == (first, 2)
            await other.finish(again.token, 1)
            assert (await other.offer()).execution_id == second


async def test_timed_out_and_cancelled_actions_give_their_place_free(served: Served) -> None:
    """However an action ends, the next one goes."""
    await served.deploy("""
version: '2.0'
brief:
  tasks:
    t: {action: shop.do, timeout: 1}
""")
    await put(served, concurrency=1)
    async with served.worker() as hand:
        brief = await served.start("brief", {})
        await hand.offer()
        second, third = await served.start(), await served.start()
        assert (await served.ended(brief))[0] == "FAILED"
        offer = await hand.offer()
        assert offer.execution_id == second
        await served.executions.CancelExecution(execution_service_pb2.CancelExecutionRequest(execution_id=second))
        await hand.fail(offer.token, "CANCELLED")
        assert (await hand.offer()).execution_id == third


async def test_rate_lets_so_many_go_and_then_one_at_a_time(served: Served) -> None:
    """A full bucket first, then what flows in; the rest waits, and goes by itself."""
    await put(served, rate=2, period=2.0)
    async with served.worker() as hand:
        clock = asyncio.get_running_loop().time
        # before any of them is handed out: on a busy machine that takes its time
        began = clock()
        ids = [await served.start() for _ in range(4)]
        offers = [await hand.offer(), await hand.offer()]
        ((kind, detail),) = await explained(served, ids[3])
        assert kind == execution_service_pb2.WAIT_KIND_LIMIT
        assert detail == "It waits for the limit of 'shop.do': at most 2 in 2 s."
        offers.append(await hand.offer())
        offers.append(await hand.offer())
        assert clock() - began > 1.9
        assert [offer.execution_id for offer in offers] == ids


async def test_built_in_action_has_its_limit(served: Served) -> None:
    """It is one like any other, and another namespace's is another one."""
    await served.deploy("version: '2.0'\nb:\n  tasks:\n    t: {action: std.echo output=1}\n")
    limit = action_limit_pb2.ActionLimit(action="std.echo", concurrency=0)
    await served.limits.PutActionLimit(v1.PutActionLimitRequest(limit=limit))
    id_ = await served.start("b", {})
    [(kind, _)] = await explained(served, id_)
    assert kind == execution_service_pb2.WAIT_KIND_LIMIT
    assert list((await served.limits.ListActionLimits(v1.ListActionLimitsRequest(namespace="other"))).limits) == []
    await served.limits.DeleteActionLimit(v1.DeleteActionLimitRequest(action="std.echo"))
    assert (await served.ended(id_))[0] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "limit"),
        ({"action": "", "concurrency": 1}, "limit.action"),
        ({"concurrency": 1_000_001}, "limit.concurrency"),
        ({"rate": action_limit_pb2.Rate(count=0, period=Duration(seconds=1))}, "limit.rate.count"),
        ({"rate": action_limit_pb2.Rate(count=1)}, "limit.rate.period"),
        ({"rate": action_limit_pb2.Rate(count=1, period=Duration(seconds=-5))}, "limit.rate.period"),
        ({"rate": action_limit_pb2.Rate(count=1, period=Duration(seconds=10**11))}, "limit.rate.period"),
    ],
)
async def test_limit_that_is_none_is_refused(fields: dict[str, Any], field: str) -> None:
    """With the field that is wrong."""
    async with serving("") as served:
        with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID") as caught:
            limit = action_limit_pb2.ActionLimit(**{"action": "shop.do", **fields})
            await served.limits.PutActionLimit(v1.PutActionLimitRequest(limit=limit))
        assert [violation[0] for violation in caught.violations] == [field]


async def test_limit_is_exact_over_two_servers(postgres_url: Callable[[], str]) -> None:
    """Workers of both take from one bound, at every moment, and all is done in the end."""
    url = postgres_url()
    async with serving(url) as a, serving(url) as b:
        await put(a, concurrency=3)
        await b.server.runtime.limits.refresh()
        ids = [await (a, b)[n % 2].start() for n in range(24)]
        now = most = 0

        async def work(hand: Hand) -> None:
            nonlocal now, most
            while True:
                offer = await hand.offer()
                now += 1
                most = max(most, now)
                await asyncio.sleep(0.002)
                now -= 1
                await hand.finish(offer.token, 1)
                assert await hand.receipt() == ("RECORDED", "")

        async with a.worker() as one, b.worker() as two, asyncio.timeout(3 * PATIENCE):
            tasks = [asyncio.create_task(work(hand)) for hand in (one, two)]
            for id_ in ids:
                assert (await a.ended(id_))[0] == "SUCCEEDED"
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        assert 1 <= most <= 3
        assert await in_hand(a) == 0
