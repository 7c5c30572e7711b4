"""A client is back as soon as its server is: no delay of its own outlasts the connection's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

import tradewind
from tests.client.fake_server import PATIENCE, FakeServer, Stream
from tradewind import Connection, aio, reconnecting, retry
from tradewind.v1 import action_pb2, execution_pb2
from tradewind.v1 import execution_service_pb2 as v1

#: Longer than any test waits: whoever waits for it is late. A call's patience is longer.
_LATE = 2 * PATIENCE


@pytest.fixture(autouse=True)
def _long_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clients wait for long, unless they see that the server is back."""
    monkeypatch.setattr(retry.Backoff, "delay", lambda self: _LATE)
    monkeypatch.setattr(reconnecting, "_LEAST_SECONDS", 0.0)


async def over_a_restart(
    use: Callable[[Connection, Callable[[], None]], Awaitable[Any]],
    before: FakeServer,
    after: Callable[[str], FakeServer],
) -> Any:
    """Begin to use a server, restart it, and return what came of that.

    The server is back only when *use* says, by its second argument, that it waits: one that is back before has a
    connection again that was never seen broken.
    """
    waits = asyncio.Event()
    async with before:
        connection = before.connection
        loop = asyncio.get_running_loop()

        def tell() -> None:
            loop.call_soon_threadsafe(waits.set)

        using = asyncio.ensure_future(use(connection, tell))
        await asyncio.wait_for(before.played.wait(), PATIENCE)
    await asyncio.wait_for(waits.wait(), PATIENCE)
    async with after(connection.addresses[0]):
        return await asyncio.wait_for(using, PATIENCE)


def first_lines() -> FakeServer:
    """A server that tells the first line, and stays silent."""
    server = FakeServer()
    server.lines = [[wrote("c1", "first")]]
    server.stays = True
    return server


def last_lines(address: str) -> FakeServer:
    """The same one after a restart."""
    server = FakeServer(address)
    server.lines = [[wrote("c2", "last")]]
    return server


def wrote(cursor: str, text: str) -> v1.WatchActionLogsResponse:
    return v1.WatchActionLogsResponse(cursor=cursor, lines=[action_pb2.LogLine(message=text)])


async def test_watch_goes_on_as_soon_as_the_server_is_back() -> None:
    """Of the asyncio client."""

    async def watch(connection: Connection, tell: Callable[[], None]) -> list[str]:
        async with aio.Client(connection) as client:
            sleep = client._sleep

            async def noted(seconds: float, broken: bool) -> None:
                tell()
                await sleep(seconds, broken)

            client._sleep = noted
            return [line.message async for update in client.watch_action_logs("e1") for line in update.lines]

    assert await over_a_restart(watch, first_lines(), last_lines) == ["first", "last"]


async def test_sync_watch_goes_on_as_soon_as_the_server_is_back() -> None:
    """Of the other face."""

    def read(client: tradewind.Client) -> list[str]:
        return [line.message for update in client.watch_action_logs("e1") for line in update.lines]

    async def watch(connection: Connection, tell: Callable[[], None]) -> list[str]:
        # closed also if it comes too late: its thread would go on for ever
        with tradewind.Client(connection) as client:
            sleep = client._sleep

            def noted(seconds: float, broken: bool) -> None:
                tell()
                sleep(seconds, broken)

            client._sleep = noted
            return await asyncio.to_thread(read, client)

    assert await over_a_restart(watch, first_lines(), last_lines) == ["first", "last"]


async def test_call_is_made_again_as_soon_as_the_server_is_back() -> None:
    """One that was made while it was away."""
    server = FakeServer()
    async with server:
        connection = server.connection
        client = aio.Client(Connection(connection.addresses, patience=10 * _LATE))
    async with client:
        asked = asyncio.ensure_future(client.get("e1"))
        paused = asyncio.Event()
        sleep = client._sleep

        async def noted(seconds: float, broken: bool) -> None:
            paused.set()
            await sleep(seconds, broken)

        client._sleep = noted
        await asyncio.wait_for(paused.wait(), PATIENCE)
        back = FakeServer(connection.addresses[0])
        back.execution = v1.GetExecutionResponse(execution=execution_pb2.Execution(id="e1"))
        async with back:
            assert (await asyncio.wait_for(asked, PATIENCE)).id == "e1"


async def test_worker_is_connected_as_soon_as_the_server_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it has in hand. The server is back only when the worker waits: see `over_a_restart`."""
    begun, go_on, paused = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def noted(channel: grpc.aio.Channel, seconds: float, broken: bool) -> None:
        paused.set()
        await reconnecting.pause(channel, seconds, broken)

    monkeypatch.setattr("tradewind.worker.pause", noted)

    async def slow() -> int:
        begun.set()
        await go_on.wait()
        return 7

    async def first(stream: Stream) -> None:
        await stream.welcome(max_credits=10)
        await stream.offer((b"t1", "x.slow", b"{}"))
        await asyncio.wait_for(begun.wait(), PATIENCE)

    async def second(stream: Stream) -> None:
        hello = await stream.welcome(max_credits=10)
        assert list(hello.in_flight) == [b"t1"]
        go_on.set()
        await stream.results(1)

    server = FakeServer()
    server.plays = [first]
    async with server:
        connection = server.connection
        worker = tradewind.Worker(aio.Client(connection), worker_id="w1")
        worker.action("x.slow")(slow)
        serving = asyncio.ensure_future(worker.serve())
        await server.until_played()
    await asyncio.wait_for(paused.wait(), PATIENCE)
    back = FakeServer(connection.addresses[0])
    back.plays = [second]
    async with back:
        await back.until_played()
        worker.stop()
        await asyncio.wait_for(serving, PATIENCE)


async def test_call_that_finds_its_server_back_before_it_waits_is_made_again_at_once() -> None:
    """Its connection broke and was made again before anybody looked: it took the whole delay."""
    async with FakeServer() as server, aio.Client(_patient(server)) as client:
        server.breaks = 1
        server.execution = v1.GetExecutionResponse(execution=execution_pb2.Execution(id="e1"))
        assert (await asyncio.wait_for(client.get("e1"), PATIENCE)).id == "e1"


async def test_sync_call_that_finds_its_server_back_before_it_waits_is_made_again_at_once() -> None:
    """Of the other face."""
    async with FakeServer() as server:
        server.breaks = 1
        server.execution = v1.GetExecutionResponse(execution=execution_pb2.Execution(id="e1"))
        with tradewind.Client(_patient(server)) as client:
            assert (await asyncio.wait_for(asyncio.to_thread(client.get, "e1"), PATIENCE)).id == "e1"


def _patient(server: FakeServer) -> Connection:
    return Connection(server.connection.addresses, patience=10 * _LATE)


async def test_server_that_is_there_and_refuses_gets_the_whole_delay() -> None:
    """Its connection is not broken, so there is no reason to be early."""
    async with FakeServer() as server, aio.Client(server.connection) as client:
        server.execution = v1.GetExecutionResponse(execution=execution_pb2.Execution(id="e1"))
        await client.get("e1")
        paused = asyncio.ensure_future(client._sleep(_LATE, False))
        for _ in range(20):
            await client.get("e1")
        assert not paused.done()
        paused.cancel()


class _Flickering:
    """A connection that breaks once, and is there again before anybody looks."""

    def __init__(self) -> None:
        self._breaks = iter([True])

    def get_state(self, try_to_connect: bool) -> grpc.ChannelConnectivity:
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last: grpc.ChannelConnectivity) -> None:
        if not next(self._breaks, False):
            await asyncio.Event().wait()


async def test_worker_whose_connection_was_back_before_it_looked_goes_on_at_once() -> None:
    """It took the whole delay."""
    await asyncio.wait_for(reconnecting.pause(cast(grpc.aio.Channel, _Flickering()), _LATE, False), PATIENCE)


class _Channel:
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_looked_at = threading.Event()

    def subscribe(self, callback: object, try_to_connect: bool | None = None) -> None:
        self.asked.append("subscribe")
        self.is_looked_at.set()

    def unsubscribe(self, callback: object) -> None:
        self.asked.append("unsubscribe")

    def close(self) -> None:
        self.asked.append("close")


def test_client_that_closes_right_after_a_pause_lets_grpc_have_its_last_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel that is closed before that leaves the traceback of a thread of gRPC; one that never paused is quick."""
    slept: list[float] = []
    monkeypatch.setattr(reconnecting, "time", SimpleNamespace(monotonic=lambda: 100.0, sleep=slept.append))
    idle, paused = _Channel(), _Channel()

    reconnecting.SyncPause(cast(grpc.Channel, idle)).close()
    assert (idle.asked, slept) == (["close"], [])

    pause = reconnecting.SyncPause(cast(grpc.Channel, paused))
    pause(0.0, False)
    pause.close()
    assert paused.asked == ["subscribe", "unsubscribe", "close"]
    assert [left > 0.2 for left in slept] == [True]


def test_client_that_closes_during_a_pause_of_another_thread_ends_it() -> None:
    """It took all of its seconds, and the thread of gRPC ended with a traceback, since it looked at what was closed."""
    channel = _Channel()
    pause = reconnecting.SyncPause(cast(grpc.Channel, channel))
    pausing = threading.Thread(target=pause, args=(10 * _LATE, False), daemon=True)
    pausing.start()
    assert channel.is_looked_at.wait(PATIENCE)

    pause.close()
    pausing.join(PATIENCE)
    pause(10 * _LATE, False)

    assert not pausing.is_alive()
    assert channel.asked == ["subscribe", "unsubscribe", "close"]


def test_connection_is_tried_again_within_about_a_second() -> None:
    """However long the server was away."""
    options = dict(Connection().options)
    assert options["grpc.max_reconnect_backoff_ms"] == 1_000
    assert options["grpc.min_reconnect_backoff_ms"] == 5_000
