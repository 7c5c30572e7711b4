"""Peers that are slow, old, broken or hostile harm nobody but themselves.

Elsewhere: beats of a million entries, tokens of others and clients that vanish (test_bad_input.py), workers that die at
each offer (test_delivery.py), late readers of the log (test_log_watching.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc import StatusCode

from tests.api.harness import PATIENCE, Served, refused, serving, start
from tradewind.v1 import action_callback_pb2 as v1
from tradewind.v1 import execution_service_pb2
from tradewind_server import bootstrap
from tradewind_server.api import work
from tradewind_server.runtime.desk import QueueName, Session
from tradewind_server.runtime.hub import KEPT_BYTES

BIG = """
version: '2.0'
big:
  input: [n]
  tasks:
    t:
      with-items: i in <% range(0, $.n) %>
      concurrency: 1
      action: shop.do
"""
START = "/tradewind.v1.ExecutionService/StartExecution"


@pytest_asyncio.fixture
async def shop(served: Served) -> AsyncIterator[Served]:
    """A server with a process that has many large results."""
    await served.deploy(BIG)
    yield served


async def test_watcher_that_stops_reading_costs_little_and_hinders_nobody(shop: Served) -> None:
    """It read one message; others hear of everything, what is kept for it is bounded, and later it misses nothing."""
    id_ = await shop.start("big", {"n": 30})
    stalled = shop.watch(id_)
    seen = list((await stalled.read()).events)
    async with shop.worker() as hand:
        others = asyncio.create_task(shop.follow(id_))
        for _ in range(30):
            await hand.finish((await hand.offer()).token, "x" * 200_000)
            await hand.receipt()
            await hand.grant(1)
        async with asyncio.timeout(PATIENCE):
            events = await others
    subscriptions = [s for group in shop.server.runtime.hub._by_execution.values() for s in group]
    assert sum(subscription.pending_bytes for subscription in subscriptions) <= KEPT_BYTES
    while (message := await stalled.read()) is not grpc.aio.EOF:
        seen.extend(message.events)
    assert [event.revision for event in seen] == [event.revision for event in events]


async def test_worker_that_takes_credits_and_never_accepts_loses_its_offers(database_url: str) -> None:
    """Its stream stays open; each offer goes to others when its lease ends, and it gets no more than its credits."""
    async with (
        serving(database_url, delivery_lease_seconds=1, work_lease_seconds=1) as served,
        served.worker(credits_=2) as sleeper,
    ):
        ids = {await served.start() for _ in range(3)}
        taken = {(await sleeper.offer()).execution_id for _ in range(2)}
        async with served.worker() as hand:
            while ids:
                offer = await hand.offer()
                await hand.finish(offer.token, 1)
                assert await served.ended(offer.execution_id) == ("SUCCEEDED", {"r": 1})
                ids.remove(offer.execution_id)
        assert len(taken) == 2
        assert sleeper.is_quiet()


async def test_worker_that_never_reads_what_it_is_answered_is_not_read_either(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each of its messages would leave something in the server's memory."""
    monkeypatch.setattr(work, "_MOST_ANSWERS", 10, raising=False)
    stream = work.WorkStream(served.server.runtime)
    sent = 0

    async def endless() -> AsyncIterator[v1.WorkRequest]:
        nonlocal sent
        while sent < 1000:
            sent += 1
            yield v1.WorkRequest(results=v1.Results(results=[v1.ActionResult(token=b"none")]))

    listening = asyncio.create_task(stream._listen(endless()))
    for _ in range(2000):
        await asyncio.sleep(0)
    assert sent == 11
    stream._outgoing()
    listening.cancel()
    await listening


async def test_worker_that_answers_with_nothing_is_not_deliverable(database_url: str) -> None:
    """An action that nobody accepts ends, and takes the road of errors."""
    async with serving(database_url, delivery_lease_seconds=1, work_lease_seconds=1, max_deliveries=2) as served:
        id_ = await served.start()
        async with served.worker() as sleeper:
            assert [(await sleeper.offer()).deliveries for _ in range(2)] == [1, 2]
            assert (await served.ended(id_))[0] == "FAILED"


def _raw(served: Served, method: str) -> Any:
    """Return a call that sends and gets bytes as they are."""
    return served.channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)


#: Field 9999 as text, field 9998 as a number: what a newer or older version may send.
UNKNOWN = b"\xfa\xf0\x04\x03new" + b"\xf0\xf0\x04\x07"


async def test_client_of_another_minor_version_is_served(served: Served) -> None:
    """Fields that the server does not know change nothing; fields that the client does not know may be missing."""
    request = start("one", {"n": 1}).SerializeToString() + UNKNOWN
    answer = execution_service_pb2.StartExecutionResponse.FromString(await _raw(served, START)(request))
    id_ = answer.execution.id
    stream = served.channel.stream_stream(
        "/tradewind.v1.ActionCallback/Work", request_serializer=bytes, response_deserializer=bytes
    )()
    # as the first version said Hello: without instance, build, labels
    hello = v1.Hello(worker_id="old", actions=[v1.ActionCapability(name="shop.do")])
    await stream.write(v1.WorkRequest(hello=hello).SerializeToString())
    await stream.write(v1.WorkRequest(credits=v1.Credits(granted=1)).SerializeToString())
    offers: list[v1.Offer] = []
    while not offers:
        data = await stream.read()
        assert isinstance(data, bytes)
        offers = list(v1.WorkResponse.FromString(data).offers.offers)
    beat = v1.ActionBeat(token=offers[0].token).SerializeToString() + UNKNOWN
    # Beat of one action, in a WorkRequest
    framed = b"\x0a" + _varint(len(beat)) + beat
    await stream.write(b"\x2a" + _varint(len(framed)) + framed)
    result = v1.ActionResult(token=offers[0].token)
    result.failure.code = "OLD"
    # a kind of failure that this version does not have
    result.failure.kind = 77  # type: ignore[assignment]
    await stream.write(v1.WorkRequest(results=v1.Results(results=[result])).SerializeToString())
    assert (await served.ended(id_))[0] == "FAILED"
    stream.cancel()


async def test_unknown_enum_value_is_taken_for_the_default_or_refused(served: Served) -> None:
    """Never for something else, and never an error of the server."""
    id_ = await served.start()
    request = execution_service_pb2.ListTasksRequest(execution_id=id_).SerializeToString()
    listed = execution_service_pb2.ListTasksResponse.FromString(
        await _raw(served, "/tradewind.v1.ExecutionService/ListTasks")(request + UNKNOWN)
    )
    assert [task.name for task in listed.tasks] == ["t"]
    actions = execution_service_pb2.ListActionsRequest(execution_id=id_, view=99)  # type: ignore[arg-type]
    assert len((await served.executions.ListActions(actions)).actions) == 1


async def test_message_of_a_kind_that_is_not_known_ends_the_stream_with_a_reason(served: Served) -> None:
    """A worker of the future hears what is wrong; its offers go back."""
    id_ = await served.start()
    async with served.worker() as hand:
        await hand.offer()
        await hand._stream.write(v1.WorkRequest.FromString(UNKNOWN))
        error = await hand.ended()
        assert error is not None
        assert error.code() is StatusCode.INVALID_ARGUMENT
    async with served.worker() as other:
        assert (await other.offer()).execution_id == id_


@pytest.mark.parametrize("data", [b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x0f", b"\x12\x02\xc3\x28", b"\x0a"])
async def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    """The call fails; the next one, on the same connection, is served."""
    async with serving("") as served:
        with pytest.raises(grpc.aio.AioRpcError):
            await _raw(served, START)(data)
        with pytest.raises(grpc.aio.AioRpcError):
            await _raw(served, "/tradewind.v1.ExecutionService/Nothing")(data)
        assert await served.start()


GARBAGE = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x00" * 4096,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 4096,
    # a frame of 16 MiB that is never sent, and headers that no decoder takes
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    + b"\x00\x00\x08\x01\x05\x00\x00\x00\x01"
    + b"\xff" * 8,
)


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_on_the_wire_hinders_nobody(garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Connections that are no HTTP/2 end or idle; others are served meanwhile, and nothing is logged as our error."""
    async with serving("") as served:
        host, _, port = served.address.rpartition(":")
        connections = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
        for _, writer in connections:
            writer.write(garbage)
        id_ = await served.start()
        async with served.worker() as hand:
            await hand.finish((await hand.offer()).token, 1)
            assert await served.ended(id_) == ("SUCCEEDED", {"r": 1})
        for _, writer in connections:
            writer.close()
        with refused(StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"):
            await served.get("nobody")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_workers_that_connect_at_once_do_not_each_look_at_all_others(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2,000 polls of one caller, or as many workers after a restart, kept everybody else waiting for half a minute."""
    looked: list[str] = []
    queues = Session.queues

    def note(session: Session) -> Iterator[QueueName]:
        looked.append(session.id)
        return queues(session)

    runtime = served.server.runtime
    async with contextlib.AsyncExitStack() as workers:
        for n in range(20):
            await workers.enter_async_context(served.worker(f"shop.do{n}"))
        monkeypatch.setattr(Session, "queues", note)
        session_id = next(iter(runtime.desk._sessions))
        runtime.grant(session_id, 1)
        assert set(looked) == {session_id}


async def test_room_that_a_worker_grants_while_it_is_claimed_for_is_used(served: Served) -> None:
    """It waited for what happened to another."""
    for _ in range(3):
        await served.start()
    async with served.worker(credits_=0) as hand:
        for _ in range(3):
            await hand.grant(1)
        offers = [await hand.offer() for _ in range(3)]
        for offer in offers:
            await hand.finish(offer.token, 1)


FORK = """
version: '2.0'
fork:
  tasks:
    a: {workflow: fork}
    b: {workflow: fork}
"""


async def test_workflow_that_calls_itself_twice_hinders_nobody_and_can_be_cancelled(database_url: str) -> None:
    """It filled the queue for good, with QUEUE_FULL for whoever started or cancelled something, and then the disk."""
    async with serving(database_url, queue_commands=20, batch_commands=8) as served:
        await served.deploy(FORK)
        events = served.executions.WatchEvents(execution_service_pb2.WatchEventsRequest())
        assert isinstance(await events.read(), execution_service_pb2.WatchEventsResponse)
        root = await served.start("fork", {})
        begun = 0
        while begun < 300:
            begun += sum(event.type == "ExecutionStarted" for event in (await events.read()).events)
        events.cancel()
        assert await served.start() != ""
        await served.executions.CancelExecution(execution_service_pb2.CancelExecutionRequest(execution_id=root))
        async with asyncio.timeout(3 * PATIENCE):
            assert (await served.ended(root))[0] == "CANCELLED"


@pytest.mark.parametrize("begun", [b"", b"PRI * HTTP/2.0\r\n"])
async def test_connection_that_says_nothing_is_closed(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some thousand of them, from anybody and without a token, would keep everybody else out for two minutes."""
    monkeypatch.setattr(bootstrap, "_HANDSHAKE_SECONDS", 0.2)
    async with serving("") as served:
        host, _, port = served.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(begun)
        async with asyncio.timeout(PATIENCE):
            await reader.read()
        writer.close()
        assert await served.start() != ""


def _varint(number: int) -> bytes:
    """Write a length as protobuf does."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])
