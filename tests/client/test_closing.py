"""Whoever still calls a client that is closed, or waits for it, gets an error of the client's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import grpc
import pytest

import tradewind
from tests.client.fake_server import PATIENCE, FakeServer
from tradewind import Connection, aio, errors
from tradewind.v1 import action_pb2
from tradewind.v1 import execution_service_pb2 as v1

#: Nobody listens there.
NOBODY = Connection(("127.0.0.1:1",))


def silent() -> FakeServer:
    """A server that tells a line, and nothing more."""
    server = FakeServer()
    server.lines = [[v1.WatchActionLogsResponse(cursor="c1", lines=[action_pb2.LogLine(message="first")])]]
    server.stays = True
    return server


def noted(client: tradewind.Client, tell: Callable[[], object]) -> None:
    """Have *tell* called when *client* pauses."""
    sleep = client._sleep

    def pausing(seconds: float, broken: bool) -> None:
        tell()
        sleep(seconds, broken)

    client._sleep = pausing


async def test_call_of_a_closed_client_is_told_so() -> None:
    """It was a ValueError of gRPC's, or an exception of one of its inner modules."""
    client, other = aio.Client(NOBODY), tradewind.Client(NOBODY)
    await client.close()
    other.close()

    with pytest.raises(errors.Closed, match="Connect anew"):
        await client.get("e1")
    with pytest.raises(errors.Closed, match="Connect anew"):
        other.get("e1")
    with pytest.raises(errors.Closed):
        _ = [update async for update in client.consume("s1")]
    with pytest.raises(errors.Closed):
        list(other.consume("s1"))


async def test_watch_whose_client_is_closed_ends_with_an_error_of_the_clients() -> None:
    """It said "Stream removed", or cancelled a task that nobody had cancelled."""
    async with silent() as server:
        client = aio.Client(server.connection)
        updates = client.watch_action_logs("e1")
        assert (await anext(updates)).lines[0].message == "first"
        following = asyncio.ensure_future(anext(updates))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(errors.Closed):
            await asyncio.wait_for(following, PATIENCE)


async def test_sync_watch_whose_client_is_closed_ends_with_an_error_of_the_clients() -> None:
    """Of the other face."""
    async with silent() as server:
        client = tradewind.Client(server.connection)
        updates = client.watch_action_logs("e1")
        assert (await asyncio.to_thread(next, updates)).lines[0].message == "first"
        following = asyncio.ensure_future(asyncio.to_thread(next, updates))
        await asyncio.to_thread(client.close)
        with pytest.raises(errors.Closed):
            await asyncio.wait_for(following, PATIENCE)


async def test_watch_that_waits_for_its_server_ends_as_its_client_is_closed() -> None:
    """Of both faces, with the same error."""
    loop, waits = asyncio.get_running_loop(), asyncio.Event()
    client = tradewind.Client(NOBODY)
    noted(client, lambda: loop.call_soon_threadsafe(waits.set))
    watching = asyncio.ensure_future(asyncio.to_thread(list, client.watch_action_logs("e1")))
    await asyncio.wait_for(waits.wait(), PATIENCE)
    await asyncio.to_thread(client.close)
    with pytest.raises(errors.Closed):
        await asyncio.wait_for(watching, PATIENCE)

    other, paused = aio.Client(NOBODY), asyncio.Event()
    sleep = other._sleep

    async def pausing(seconds: float, broken: bool) -> None:
        paused.set()
        await sleep(seconds, broken)

    other._sleep = pausing
    following = asyncio.ensure_future(anext(other.watch_action_logs("e1")))
    await asyncio.wait_for(paused.wait(), PATIENCE)
    await other.close()
    with pytest.raises(errors.Closed):
        await asyncio.wait_for(following, PATIENCE)


async def test_task_that_somebody_cancels_is_cancelled_also_as_its_client_closes() -> None:
    """What cancels it is its own affair."""
    async with silent() as server:
        client = aio.Client(server.connection)
        updates = client.watch_action_logs("e1")
        await anext(updates)
        following = asyncio.ensure_future(anext(updates))
        await asyncio.sleep(0)
        following.cancel()
        await client.close()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(following, PATIENCE)


async def test_other_errors_stay_what_they_are_also_of_an_open_client() -> None:
    """A closed client is no excuse for what is wrong elsewhere."""
    with (
        contextlib.closing(tradewind.Client(NOBODY)) as client,
        pytest.raises(ValueError, match="mine"),
        client._told_if_closed(),
    ):
        raise ValueError("mine")
    async with aio.Client(NOBODY) as other:
        with pytest.raises(grpc.aio.UsageError), other._told_if_closed():
            raise grpc.aio.UsageError("mine")
