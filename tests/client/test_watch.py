"""A watch has no gaps and no repetitions, whatever happens to its streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

import tradewind
from tests.client.fake_server import FakeServer
from tradewind import aio, errors
from tradewind.v1 import action_pb2, event_pb2, execution_pb2, task_pb2
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


#: Breaks and goes on at once, leaves something out, and then has no server for three tries.
_UNREST: list[list[v1.WatchExecutionResponse | grpc.StatusCode]] = [
    [message(1), grpc.StatusCode.UNAVAILABLE],
    [message(2), grpc.StatusCode.UNAVAILABLE],
    [message(4)],
    [grpc.StatusCode.UNAVAILABLE],
    [grpc.StatusCode.UNAVAILABLE],
    [grpc.StatusCode.UNAVAILABLE],
    [message(3), message(4)],
]
_SAID = ["nothing is heard from a server, and tried again until it is", "the server is heard from again"]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of streams, without the reasons."""
    return [each.getMessage().partition(":")[0] for each in caplog.records if each.name == "tradewind.streams"]


async def test_who_watches_reads_that_nothing_comes_and_that_it_does_again(caplog: pytest.LogCaptureFixture) -> None:
    """Once each, however often it is tried: without a word nobody knows whether something is still to come."""
    async with FakeServer() as server:
        server.watches = [*_UNREST]
        assert await revisions(server) == [1, 2, 3, 4]
    assert said(caplog) == _SAID


async def test_who_watches_with_the_sync_client_reads_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """It has the same words at the same moments."""

    def watch(connection: tradewind.Connection) -> list[int]:
        with tradewind.Client(connection) as client:
            return [event.revision for event in client.watch("e1")]

    async with FakeServer() as server:
        server.watches = [*_UNREST]
        assert await asyncio.to_thread(watch, server.connection) == [1, 2, 3, 4]
    assert said(caplog) == _SAID


async def test_call_that_is_made_again_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It has an end, and then raises what is wrong."""
    nobody = tradewind.Connection(addresses=("127.0.0.1:9",), patience=1.0)
    async with aio.Client(nobody) as client:
        with pytest.raises(errors.Unavailable):
            await client.server_info()
    with tradewind.Client(nobody) as sync_client, pytest.raises(errors.Unavailable):
        await asyncio.to_thread(sync_client.server_info)
    assert said(caplog) == []


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


# --- the log of a namespace ----------------------------------------------------------------------


def told(cursor: str, *events: tuple[str, int], shown: tuple[str, ...] = ()) -> v1.WatchEventsResponse:
    return v1.WatchEventsResponse(
        cursor=cursor,
        events=[event_pb2.Event(execution_id=id_, revision=revision) for id_, revision in events],
        snapshot=[execution_pb2.Execution(id=id_, revision=5) for id_ in shown],
        continued=not cursor,
    )


async def follow(updates: AsyncIterator[tradewind.LogUpdate], seen: list[tuple[str, int]]) -> None:
    async for update in updates:
        seen += [(event.execution_id, event.revision) for event in update.events]


async def test_log_goes_on_after_the_last_cursor_however_the_stream_ends() -> None:
    """Broken, or ended well: a log has no end."""
    async with FakeServer() as server, aio.Client(server.connection) as client:
        server.logs = [
            [told("c1", ("a", 1)), told("c2", ("b", 1)), grpc.StatusCode.UNAVAILABLE],
            [told("c3", ("a", 2))],
            [told("c4", ("a", 3)), grpc.StatusCode.OUT_OF_RANGE],
        ]
        seen: list[tuple[str, int]] = []
        with pytest.raises(errors.OutOfRange):
            await follow(client.watch_events("workflow = x", from_beginning=True), seen)

        assert seen == [("a", 1), ("b", 1), ("a", 2), ("a", 3)]
        assert [request.cursor for request in server.log_requests] == ["", "c2", "c3"]
        assert server.log_requests[0].from_beginning
        assert {request.filter for request in server.log_requests} == {"workflow = x"}


async def test_events_that_the_snapshot_showed_do_not_come_again() -> None:
    """Also when the stream broke right after it."""
    async with FakeServer() as server, aio.Client(server.connection) as client:
        server.logs = [
            [told("", shown=("half",)), grpc.StatusCode.UNAVAILABLE],
            [told("", shown=("a",)), told("c1", shown=("b",)), grpc.StatusCode.UNAVAILABLE],
            [told("c2", ("a", 5), ("b", 4), ("c", 1), ("a", 6)), grpc.StatusCode.NOT_FOUND],
        ]
        seen: list[tuple[str, int]] = []
        with pytest.raises(errors.NotFound):
            await follow(client.watch_events(with_snapshot=True), seen)

        assert seen == [("c", 1), ("a", 6)]
        assert [(request.with_snapshot, request.cursor) for request in server.log_requests] == [
            (True, ""),
            (True, ""),
            (False, "c1"),
        ]


async def test_execution_that_ended_between_two_tries_of_a_snapshot_is_not_shown() -> None:
    """The second snapshot does not have it, and its end lies before the cursor: it would stay open for ever."""
    async with FakeServer() as server, aio.Client(server.connection) as client:
        server.logs = [
            [told("", shown=("ended", "a")), grpc.StatusCode.UNAVAILABLE],
            [told("", shown=("a",)), told("c1", shown=("b",))],
        ]
        update = await anext(client.watch_events(with_snapshot=True))

        assert [execution.id for execution in update.executions] == ["a", "b"]
        assert update.cursor == "c1"


async def test_stream_of_the_log_that_ends_at_once_is_not_opened_again_at_once() -> None:
    """A server without a word for us must not get all our calls."""
    async with FakeServer() as server, aio.Client(server.connection) as client:
        waited: list[float] = []

        async def sleep(seconds: float, broken: bool) -> None:
            waited.append(seconds)

        client._sleep = sleep
        server.logs = [[], [], [told("c1", ("a", 1))]]
        await anext(client.watch_events())

        assert len(waited) == 2
        assert 0 < waited[0] <= 0.1 <= waited[1] <= 0.2


async def test_checkpoint_says_what_holds_the_log_back() -> None:
    """And where to resume."""
    async with FakeServer() as server, aio.Client(server.connection) as client:
        quiet = v1.WatchEventsResponse(cursor="c1")
        quiet.checkpoint.lag.FromMilliseconds(1500)
        quiet.checkpoint.held_by = "pid 7"
        server.logs = [[quiet]]
        update = await anext(client.watch_events())

        assert (update.cursor, update.events, update.lag, update.held_by) == ("c1", (), 1.5, "pid 7")


async def test_the_sync_client_follows_the_log_the_same_way() -> None:
    """Over a broken stream, by the cursor."""
    async with FakeServer() as server:
        server.logs = [[told("c1", ("a", 1)), grpc.StatusCode.UNAVAILABLE], [told("c2", ("a", 2))]]

        def take_two() -> list[int]:
            with tradewind.Client(server.connection) as client:
                updates = client.watch_events()
                return [next(updates).events[0].revision, next(updates).events[0].revision]

        assert await asyncio.to_thread(take_two) == [1, 2]
        assert [request.cursor for request in server.log_requests] == ["", "c1"]


# --- the logs of actions -------------------------------------------------------------------------


def wrote(cursor: str, *texts: str) -> v1.WatchActionLogsResponse:
    return v1.WatchActionLogsResponse(cursor=cursor, lines=[action_pb2.LogLine(message=text) for text in texts])


async def test_lines_go_on_after_the_last_cursor_to_the_end() -> None:
    """Over broken streams; a checkpoint is no line, and a stream that ends well is the end."""
    async with FakeServer() as server, aio.Client(server.connection) as client:
        server.lines = [
            [wrote("c1", "a", "b"), wrote("c2"), grpc.StatusCode.UNAVAILABLE],
            [grpc.StatusCode.UNAVAILABLE],
            [wrote("c3", "c")],
        ]
        updates = [update async for update in client.watch_action_logs("e1", "a1", cursor="c0")]

        assert [(update.cursor, [line.message for line in update.lines]) for update in updates] == [
            ("c1", ["a", "b"]),
            ("c3", ["c"]),
        ]
        assert [request.cursor for request in server.line_requests] == ["c0", "c2", "c2"]
        assert {(request.execution_id, request.action_id) for request in server.line_requests} == {("e1", "a1")}


async def test_the_sync_client_follows_lines_the_same_way() -> None:
    """Over a broken stream, by the cursor, from the first line on."""
    async with FakeServer() as server:
        server.lines = [[wrote("c1", "a"), grpc.StatusCode.UNAVAILABLE], [wrote("c2", "b")]]

        def take() -> list[str]:
            with tradewind.Client(server.connection) as client:
                return [line.message for update in client.watch_action_logs("e1") for line in update.lines]

        assert await asyncio.to_thread(take) == ["a", "b"]
        assert [request.cursor for request in server.line_requests] == ["", "c1"]
