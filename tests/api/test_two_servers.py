"""Two servers on one PostgreSQL: neither owns anything, and nobody notices which one is asked."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterator, Callable

import pytest_asyncio

from tests.api.harness import Hand, Served, serving
from tradewind import values
from tradewind.v1 import execution_service_pb2

WIDE = """
version: '2.0'
wide:
  input: [n]
  output: {all: <% $.all %>}
  tasks:
    t:
      with-items: i in <% range($.n) %>
      action: shop.do n=<% $.i %>
      publish: {all: <% task().result %>}

steps:
  output: {r: <% $.r %>}
  tasks:
    s1: {action: left.do, publish: {r: <% task().result %>}, on-success: s2}
    s2: {action: right.do n=<% $.r %>, publish: {r: <% task().result %>}, on-success: s3}
    s3: {action: left.do n=<% $.r %>, publish: {r: <% task().result %>}, on-success: s4}
    s4: {action: right.do n=<% $.r %>, publish: {r: <% task().result %>}, on-success: s5}
    s5: {action: left.do n=<% $.r %>, publish: {r: <% task().result %>}, on-success: s6}
    s6: {action: right.do n=<% $.r %>, publish: {r: <% task().result %>}}
"""

Pair = tuple[Served, Served]


@pytest_asyncio.fixture
async def pair(postgres_url: Callable[[], str]) -> AsyncIterator[Pair]:
    """Give two servers on one database."""
    url = postgres_url()
    async with serving(url) as a, serving(url) as b:
        await a.deploy(WIDE)
        yield a, b


async def serve(hand: Hand, count: collections.Counter[str], name: str) -> None:
    """Answer each offer with its n plus one, for ever."""
    while True:
        offer = await hand.offer()
        count[name] += 1
        await hand.finish(offer.token, (values.from_payload(offer.input).get("n") or 0) + 1)
        await hand.grant(1)


async def test_one_wide_execution_is_spread_over_both(pair: Pair) -> None:
    """A thousand items, all right and in order, and neither server's workers are left without."""
    a, b = pair
    count: collections.Counter[str] = collections.Counter()
    async with a.worker(credits_=10) as left, b.worker(credits_=10) as right:
        work = [asyncio.create_task(serve(left, count, "a")), asyncio.create_task(serve(right, count, "b"))]
        id_ = await a.start("wide", {"n": 1000})
        assert await b.ended(id_) == ("SUCCEEDED", {"all": list(range(1, 1001))})
        for task in work:
            task.cancel()
    assert count["a"] + count["b"] == 1000
    assert min(count.values()) > 100, count
    assert [event.revision for event in await a.follow(id_)] == list(range(1, (await a.get(id_)).revision + 1))


async def test_alternate_steps_are_served_from_alternate_servers(pair: Pair) -> None:
    """Each hop crosses over, and none waits for a slow poll."""
    a, b = pair
    count: collections.Counter[str] = collections.Counter()
    async with a.worker("left.do") as left, b.worker("right.do") as right:
        work = [asyncio.create_task(serve(left, count, "a")), asyncio.create_task(serve(right, count, "b"))]
        async with asyncio.timeout(10):
            ids = [await served.start("steps", {}) for served in (a, b) for _ in range(5)]
            for id_ in ids:
                assert await b.ended(id_) == ("SUCCEEDED", {"r": 6})
        for task in work:
            task.cancel()
    assert count == {"a": 30, "b": 30}


async def test_cancel_on_one_server_reaches_the_worker_on_the_other(pair: Pair) -> None:
    """As an order, long before its next beat."""
    a, b = pair
    id_ = await b.start()
    async with b.worker() as hand:
        offer = await hand.offer()
        await hand.beat(offer.token)
        await a.executions.CancelExecution(execution_service_pb2.CancelExecutionRequest(execution_id=id_))
        async with asyncio.timeout(2):
            assert await hand.order() == (offer.token, "CANCEL")
        await hand.fail(offer.token, "CANCELLED")
    assert (await a.ended(id_))[0] == "CANCELLED"


async def test_token_of_one_server_is_good_at_the_other(pair: Pair) -> None:
    """By unary call and after a reconnect; a read there sees what was written here."""
    a, b = pair
    id_ = await a.start()
    [offer] = await a.poll()
    async with b.worker(in_flight=[offer.token]) as hand:
        assert [verdict.keep for verdict in hand.welcome.in_flight] == [True]
    assert await b.complete(offer.token, 5) == "RECORDED"
    assert await a.complete(offer.token, 5) == "ALREADY_RECORDED"
    assert await a.ended(id_) == ("SUCCEEDED", {"r": 5})


async def test_definition_deployed_on_one_is_started_on_the_other(pair: Pair) -> None:
    """At once, and each start takes the newest."""
    a, b = pair
    for number in (1, 2):
        await a.deploy(f"version: '2.0'\nv:\n  output: {{n: {number}}}\n  tasks:\n    t: {{action: std.noop}}\n")
        assert await b.ended(await b.start("v", {})) == ("SUCCEEDED", {"n": number})
