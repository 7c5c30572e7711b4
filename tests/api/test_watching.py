"""Watching: every event once, in order, over cuts, and to the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import pytest
from grpc import StatusCode

from tests.api.harness import PATIENCE, Served, refused, serving
from tradewind.v1 import event_pb2, execution_service_pb2
from tradewind.v1 import execution_service_pb2 as pb
from tradewind_server.api import action_log_watching, log_watching, watching

MANY = """
version: '2.0'
many:
  input: [n]
  tasks:
    t:
      with-items: i in <% range($.n) %>
      action: std.echo output="<% $.i %>"
      on-success: wait
    wait: {action: shop.do n=1}
"""


def revisions(events: list[event_pb2.Event]) -> list[int]:
    """Return the revisions of events."""
    return [event.revision for event in events]


async def test_watch_resumes_after_a_cut_without_gap(served: Served) -> None:
    """By the revision of what was seen last, as often as one likes."""
    id_ = await served.start()
    seen: list[event_pb2.Event] = []
    stream = served.watch(id_)
    message = await stream.read()
    seen.extend(message.events)
    stream.cancel()
    async with served.worker() as hand:
        await hand.finish((await hand.offer()).token)
        seen.extend(await served.follow(id_, revisions(seen)[-1]))
    assert revisions(seen) == list(range(1, len(seen) + 1))
    assert seen[-1].type == "ExecutionSucceeded"
    assert await served.follow(id_) == seen


async def test_stream_with_nothing_to_show_says_at_once_that_somebody_is_there(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who lost a server learned of the next one with the first checkpoint, a quarter of a minute later."""
    # given
    for module in (watching, log_watching, action_log_watching):
        name = "_CHECKPOINT_SECONDS" if module is watching else "CHECKPOINT_SECONDS"
        monkeypatch.setattr(module, name, 3600.0)
    id_ = await served.start()
    revision = revisions((await served.watch(id_).read()).events)[-1]
    newest = await served.executions.WatchEvents(pb.WatchEventsRequest()).read()

    # when
    streams = (
        served.executions.WatchExecution(pb.WatchExecutionRequest(execution_id=id_, after_revision=revision)),
        served.executions.WatchEvents(pb.WatchEventsRequest(cursor=newest.cursor, filter="type = Nothing")),
        served.executions.WatchActionLogs(pb.WatchActionLogsRequest(execution_id=id_)),
    )
    first = [await asyncio.wait_for(stream.read(), PATIENCE) for stream in streams]

    # then
    assert [message.HasField("checkpoint") for message in first] == [True, True, True]
    for stream in streams:
        stream.cancel()


async def test_watch_ends_after_the_final_event(served: Served) -> None:
    """Also one that begins there, with nothing left to say."""
    id_ = await served.start()
    async with served.worker() as hand:
        await hand.finish((await hand.offer()).token)
        events = await served.follow(id_)
    assert await served.follow(id_, events[-1].revision) == []


async def test_snapshot_and_what_follows_leave_no_gap(served: Served) -> None:
    """While much happens: snapshot at n, then n + 1."""
    await served.deploy(MANY)
    id_ = await served.start("many", {"n": 200})
    request = execution_service_pb2.WatchExecutionRequest(execution_id=id_, with_snapshot=True)
    known, events = 0, []
    async with served.worker() as hand:

        async def finish() -> None:
            # not before the snapshot: of what has ended it would be all
            await begun.wait()
            await hand.finish((await hand.offer()).token)

        begun = asyncio.Event()
        finishing = asyncio.create_task(finish())
        async for message in served.executions.WatchExecution(request, timeout=20):
            begun.set()
            known = message.revision if message.HasField("snapshot") else known
            events.extend(message.events)
        await finishing
    assert revisions(events) == list(range(known + 1, known + 1 + len(events)))
    assert events[-1].type == "ExecutionSucceeded"


async def test_snapshot_of_what_has_ended_is_all(served: Served) -> None:
    """It holds the execution and its tasks."""
    id_ = await served.start()
    async with served.worker() as hand:
        await hand.finish((await hand.offer()).token)
        await served.follow(id_)
    request = execution_service_pb2.WatchExecutionRequest(execution_id=id_, with_snapshot=True)
    [message] = [message async for message in served.executions.WatchExecution(request, timeout=10)]
    assert message.snapshot.execution.id == id_
    assert [task.name for task in message.snapshot.tasks] == ["t"]
    assert not message.events


async def test_slow_watcher_gets_everything(served: Served) -> None:
    """It reads nothing while a thousand events happen, and loses none."""
    await served.deploy(MANY)
    id_ = await served.start("many", {"n": 300})
    stream = served.watch(id_)
    seen = list((await stream.read()).events)
    async with served.worker() as hand:
        await hand.finish((await hand.offer()).token)
        await served.follow(id_)
    while (message := await stream.read()) is not grpc.aio.EOF:
        seen.extend(message.events)
    assert revisions(seen) == list(range(1, len(seen) + 1))
    assert seen[-1].type == "ExecutionSucceeded"
    assert len(seen) > 600


async def test_events_of_one_command_come_in_one_message(served: Served) -> None:
    """And each says who caused it."""
    id_ = await served.start()
    stream = served.watch(id_)
    first = await stream.read()
    assert [event.type for event in first.events] == ["ExecutionStarted", "TaskStarted", "ActionScheduled"]
    assert {event.cause.command for event in first.events} == {"StartExecution"}
    stream.cancel()


async def test_watch_from_the_future_is_refused(served: Served) -> None:
    """It would wait for ever, or miss what a restored database tells anew."""
    id_ = await served.start()
    with refused(StatusCode.OUT_OF_RANGE, "REVISION_AHEAD") as caught:
        await served.follow(id_, 99)
    assert caught.metadata == {"execution": id_, "revision": "99", "newest": "3"}


async def test_watch_of_nothing_is_refused(served: Served) -> None:
    """With what was asked for."""
    with refused(StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND") as caught:
        await served.follow("nothing")
    assert caught.metadata == {"execution": "nothing"}


async def test_start_and_wait_returns_the_end(served: Served) -> None:
    """Or the execution as it is, when the time is over."""
    await served.deploy("version: '2.0'\necho:\n  tasks:\n    t: {action: std.noop}\n")
    started = execution_service_pb2.StartExecutionRequest(workflow="echo")
    request = execution_service_pb2.StartAndWaitRequest(start=started)
    assert (await served.executions.StartAndWait(request, timeout=10)).finished
    request.start.workflow = "one"
    request.start.input.data = b'{"n": 1}'
    request.timeout.nanos = 50_000_000
    assert not (await served.executions.StartAndWait(request, timeout=10)).finished


async def test_watch_goes_on_at_another_server(postgres_url: Callable[[], str]) -> None:
    """A revision belongs to no server; what one commits, the watchers of the other hear."""
    url = postgres_url()
    async with serving(url) as a, serving(url) as b:
        id_ = await a.start()
        stream = b.watch(id_)
        assert revisions((await stream.read()).events) == [1, 2, 3]
        follow = asyncio.create_task(b.follow(id_, 3))
        async with a.worker() as hand:
            await hand.finish((await hand.offer()).token)
            events = await follow
        assert revisions(events) == list(range(4, 4 + len(events)))
        stream.cancel()
