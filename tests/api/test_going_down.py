"""A server that goes down tells everybody at once, and does not wait for who would have waited."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from tests.api.harness import ONE, PATIENCE, Hand, Served, refused, start
from tradewind.v1 import execution_service_pb2 as pb
from tradewind.v1 import human_task_service_pb2, subscription_pb2, subscription_service_pb2_grpc
from tradewind.v1 import subscription_service_pb2 as sub
from tradewind_server.bootstrap import Server
from tradewind_server.runtime.hub import Hub
from tradewind_server.settings import Settings

#: Begins what waits, and returns what waits for the end of that.
Begin = Callable[[Served, str], Awaitable[Awaitable[Any]]]


@asynccontextmanager
async def served_for_long() -> AsyncIterator[Served]:
    """Give a server that would let everybody finish, for as long as it takes."""
    settings = Settings(listen="127.0.0.1:0", database="", shutdown_grace_seconds=10 * int(PATIENCE))
    server = await Server.start(settings)
    async with grpc.aio.insecure_channel(server.address) as channel:
        served = Served(server, channel)
        await served.deploy(ONE)
        yield served


async def _watch(stream: Any) -> Awaitable[Any]:
    await stream.read()

    async def sent_elsewhere() -> None:
        with refused(StatusCode.UNAVAILABLE, "SERVER_DRAINING"):
            while await stream.read() is not grpc.aio.EOF:
                pass

    return sent_elsewhere()


async def watch_execution(served: Served, id_: str) -> Awaitable[Any]:
    return await _watch(served.executions.WatchExecution(pb.WatchExecutionRequest(execution_id=id_)))


async def watch_events(served: Served, _: str) -> Awaitable[Any]:
    return await _watch(served.executions.WatchEvents(pb.WatchEventsRequest(from_beginning=True)))


async def watch_people(served: Served, _: str) -> Awaitable[Any]:
    request = human_task_service_pb2.WatchHumanTasksRequest(scope=human_task_service_pb2.HUMAN_TASK_SCOPE_INBOX)
    return await _watch(served.people.WatchHumanTasks(request, metadata=[("x-tradewind-user", "ann")]))


async def consume(served: Served, _: str) -> Awaitable[Any]:
    stub: Any = subscription_service_pb2_grpc.SubscriptionServiceStub(served.channel)
    wanted = subscription_pb2.Subscription(name="s")
    await stub.CreateSubscription(sub.CreateSubscriptionRequest(subscription=wanted, from_beginning=True))
    stream = stub.Consume()
    await stream.write(sub.ConsumeRequest(open=sub.ConsumeOpen(name="s")))
    return await _watch(stream)


async def work(served: Served, _: str) -> Awaitable[Any]:
    hand = Hand(served.callback.Work())
    await hand.open(["shop.do"], [])
    await hand.grant(1)
    await hand.accept((await hand.offer()).token)

    async def told() -> None:
        assert await hand.ended() is None
        await hand.close()

    return told()


async def poll(served: Served, _: str) -> Awaitable[Any]:
    desk = served.server.runtime.desk
    before = desk.count
    asked = asyncio.ensure_future(served.poll("shop.other"))
    async with asyncio.timeout(PATIENCE):
        while desk.count == before:
            await asyncio.sleep(0)

    async def answered() -> None:
        assert await asked == []

    return answered()


async def start_and_wait(served: Served, _: str) -> Awaitable[Any]:
    asked = asyncio.ensure_future(served.executions.StartAndWait(pb.StartAndWaitRequest(start=start())))
    async with served.worker() as hand:
        for _number in range(2):  # the other one has been started before
            await hand.offer()

    async def sent_elsewhere() -> None:
        with refused(StatusCode.UNAVAILABLE, "SERVER_DRAINING"):
            await asked

    return sent_elsewhere()


@pytest.mark.parametrize("begin", [start_and_wait, watch_execution, watch_events, watch_people, consume, work, poll])
async def test_server_goes_down_without_waiting_for_who_waits(begin: Begin, caplog: pytest.LogCaptureFixture) -> None:
    """With a worker it took all of its grace, five seconds at each restart, and said meanwhile that it failed."""
    async with served_for_long() as served:
        waiting = await begin(served, await served.start())
        stopping = asyncio.ensure_future(served.server.stop())
        await asyncio.wait_for(waiting, PATIENCE)
        await asyncio.wait_for(stopping, PATIENCE)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_worker_that_says_hello_to_a_server_that_goes_down_is_sent_elsewhere() -> None:
    """Its stream was on its way in when the others were told: it stayed until all of the grace was over."""
    async with served_for_long() as served:
        stream = served.callback.Work()
        await stream.wait_for_connection()
        await served.start()  # by now the server waits for Hello
        stopping = asyncio.ensure_future(served.server.stop())
        async with asyncio.timeout(PATIENCE):
            while not served.server.runtime.is_draining:
                await asyncio.sleep(0)
        hand = Hand(stream)
        await hand.open(["shop.do"], [])

        assert await hand.ended() is None
        await hand.close()
        await asyncio.wait_for(stopping, PATIENCE)


async def test_who_begins_to_wait_while_the_server_goes_down_is_woken() -> None:
    """He has been let in, and looks for himself."""
    hub = Hub()
    hub.go_away()
    follower = hub.follow("e1", end_only=True)
    assert await follower.wait(PATIENCE)
    follower.close()


CALLS = """
version: '2.0'
calls:
  input: [url]
  tasks:
    again: {action: std.http url=<% $.url %>, safe-rerun: true}
    once: {action: std.http url=<% $.url %>, safe-rerun: false}
"""


async def test_built_in_actions_that_run_are_given_back_for_the_next_start(tmp_path: Path) -> None:
    """They would wait for the end of their lease; but what may not be done twice does, and fails then."""
    # given
    calls: asyncio.Queue[None] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.put_nowait(None)  # and never answer
        await reader.read(-1)
        writer.close()

    web = await asyncio.start_server(take, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{web.sockets[0].getsockname()[1]}/"
    settings = Settings(
        listen="127.0.0.1:0", database=str(tmp_path / "x.db"), allow_private_addresses=True, shutdown_grace_seconds=0
    )
    server = await Server.start(settings)
    async with grpc.aio.insecure_channel(server.address) as channel:
        served = Served(server, channel)
        await served.deploy(CALLS)
        await served.executions.StartExecution(start("calls", {"url": url}))
        for _ in range(2):
            await asyncio.wait_for(calls.get(), PATIENCE)

    # when
    await server.stop()
    next_server = await Server.start(settings)

    # then
    try:
        await asyncio.wait_for(calls.get(), PATIENCE)
    finally:
        await next_server.stop()
        web.close()
    assert calls.empty()
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as database:
        rows = database.execute("SELECT safe_rerun, attempt, losses, stage FROM action_queue ORDER BY safe_rerun")
        assert rows.fetchall() == [(0, 1, 0, 1), (1, 1, 0, 0)]
