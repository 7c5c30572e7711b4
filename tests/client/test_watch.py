"""A watch has no gaps and no repetitions, whatever happens to its streams."""

from __future__ import annotations

import asyncio

import grpc
import pytest

import tradewind
from tests.client.fake_server import FakeServer
from tradewind import aio, errors
from tradewind.v1 import event_pb2, execution_pb2, task_pb2
from tradewind.v1 import execution_service_pb2 as v1

RUNNING = execution_pb2.Execution(id="e1", state=execution_pb2.EXECUTION_STATE_RUNNING, revision=1)
DONE = execution_pb2.Execution(id="e1", state=execution_pb2.EXECUTION_STATE_SUCCEEDED, revision=4)


def message(*revisions: int) -> v1.WatchExecutionResponse:
    events = [event_pb2.Event(execution_id="e1", revision=revision, type="TaskStarted") for revision in revisions]
    return v1.WatchExecutionResponse(events=events, revision=revisions[-1])


async def revisions(server: FakeServer, **start: int) -> list[int]:
    async with aio.Client(server.connection) as client:
        return [event.revision async for event in client.watch("e1", **start)]


async def test_watch_goes_on_after_the_last_revision() -> None:
    """A stream that breaks is opened again exactly where it was."""
    async with FakeServer() as server:
        server.watches = [[message(1, 2), grpc.StatusCode.UNAVAILABLE], [message(3), message(4)]]

        assert await revisions(server) == [1, 2, 3, 4]
        assert [request.after_revision for request in server.watch_requests] == [0, 2]


async def test_watch_drops_what_it_has_seen_and_asks_again_for_what_is_missing() -> None:
    """A repeated event is not shown twice, and a gap is never passed on."""
    async with FakeServer() as server:
        server.watches = [[message(1), message(1, 2), message(4)], [message(3), message(4)]]

        assert await revisions(server) == [1, 2, 3, 4]
        assert [request.after_revision for request in server.watch_requests] == [0, 2]


async def test_watch_ends_with_the_refusal() -> None:
    """What cannot be repeated is raised."""
    async with FakeServer() as server:
        server.watches = [[grpc.StatusCode.NOT_FOUND]]

        with pytest.raises(errors.NotFound):
            await revisions(server)


async def test_updates_begin_with_a_whole_snapshot() -> None:
    """A snapshot in parts is put together, and asked for again if it breaks in the middle."""
    begin = v1.Snapshot(execution=RUNNING, tasks=[task_pb2.Task(name="a")])
    end = v1.Snapshot(tasks=[task_pb2.Task(name="b")])
    part = v1.WatchExecutionResponse(snapshot=begin, revision=3, continued=True)
    rest = v1.WatchExecutionResponse(snapshot=end, revision=3)
    checkpoint = v1.WatchExecutionResponse(revision=3, checkpoint=v1.Checkpoint())
    async with FakeServer() as server:
        server.watches = [[part, grpc.StatusCode.UNAVAILABLE], [part, rest, checkpoint, message(4)]]
        async with aio.Client(server.connection) as client:
            first, second = [update async for update in client.updates("e1")]

    assert first.snapshot is not None
    assert [task.name for task in first.snapshot.tasks] == ["a", "b"]
    assert (first.revision, second.revision) == (3, 4)
    assert [request.with_snapshot for request in server.watch_requests] == [True, True]


async def test_wait_returns_the_ended_execution() -> None:
    """Wait follows the events to the end and then reads the output."""
    async with FakeServer() as server:
        server.execution.execution.CopyFrom(RUNNING)
        server.watches = [[message(2), message(3)]]
        async with aio.Client(server.connection) as client:
            waiting = asyncio.ensure_future(client.wait("e1"))
            while not server.watch_requests:
                await asyncio.sleep(0)
            server.execution.execution.CopyFrom(DONE)

            assert (await waiting).state == "SUCCEEDED"
    assert server.watch_requests[0].after_revision == 1


async def test_the_sync_client_watches_the_same_way() -> None:
    """Both faces share the position that they resume from."""
    async with FakeServer() as server:
        server.watches = [[message(1), grpc.StatusCode.UNAVAILABLE], [message(2)]]

        def watch() -> list[int]:
            with tradewind.Client(server.connection) as client:
                return [event.revision for event in client.watch("e1")]

        assert await asyncio.to_thread(watch) == [1, 2]
