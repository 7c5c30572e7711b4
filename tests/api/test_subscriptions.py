"""Subscriptions: their place in the log is kept by the server, whoever consumes, wherever."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

import tradewind
from tests.api.harness import PATIENCE, Served, refused
from tests.api.test_log_watching import check_complete, echoing, keys, reading, run
from tradewind import aio, errors
from tradewind.v1 import event_pb2, subscription_pb2, subscription_service_pb2_grpc
from tradewind.v1 import subscription_service_pb2 as pb
from tradewind_server import errors as server_errors
from tradewind_server.api import consuming
from tradewind_server.runtime.subscriptions import Advance
from tradewind_server.store.log import Place

ENDS = 'type = "ExecutionSucceeded"'


class Keeper:
    """The stub, with what the tests need of it."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.stub: Any = subscription_service_pb2_grpc.SubscriptionServiceStub(served.channel)

    async def create(self, name: str = "s", filter_: str = "", **fields: Any) -> subscription_pb2.Subscription:
        """Make one."""
        wanted = subscription_pb2.Subscription(name=name, filter=filter_)
        answer = await self.stub.CreateSubscription(pb.CreateSubscriptionRequest(subscription=wanted, **fields))
        found: subscription_pb2.Subscription = answer.subscription
        return found

    async def get(self, name: str = "s") -> subscription_pb2.Subscription:
        """Return one."""
        found: subscription_pb2.Subscription = (
            await self.stub.GetSubscription(pb.GetSubscriptionRequest(name=name))
        ).subscription
        return found

    async def rewind(self, name: str = "s", **to: Any) -> subscription_pb2.Subscription:
        """Move its place."""
        answer = await self.stub.RewindSubscription(pb.RewindSubscriptionRequest(name=name, **to))
        found: subscription_pb2.Subscription = answer.subscription
        return found

    @contextlib.asynccontextmanager
    async def consumer(self, name: str = "s", **fields: Any) -> AsyncIterator[Consumer]:
        """Consume one; the stream is cut at the end."""
        consumer = Consumer(self.stub.Consume(timeout=3 * PATIENCE))
        try:
            await consumer.open(name, **fields)
            yield consumer
        finally:
            consumer.cut()


class Consumer:
    """A consumer's end of the stream; it acknowledges when it is told to."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.events: list[event_pb2.Event] = []
        self.cursor = ""
        self.acknowledged = ""
        self.opened = subscription_pb2.Subscription()

    async def open(self, name: str, **fields: Any) -> None:
        """Say which subscription, and hear that it is there."""
        await self._stream.write(pb.ConsumeRequest(open=pb.ConsumeOpen(name=name, **fields)))
        self.opened = (await self.message()).opened.subscription

    async def message(self) -> pb.ConsumeResponse:
        """Return the next message, and keep what it says."""
        message: pb.ConsumeResponse = await self._stream.read()
        assert isinstance(message, pb.ConsumeResponse), "the stream has ended"
        which = message.WhichOneof("message")
        if which == "events":
            self.events.extend(message.events.events)
            self.cursor = message.events.cursor
        elif which == "checkpoint":
            self.cursor = message.checkpoint.cursor
        elif which == "acknowledged":
            self.acknowledged = message.acknowledged.cursor
        return message

    async def until(self, count: int) -> list[event_pb2.Event]:
        """Read until there are *count* events."""
        while len(self.events) < count:
            await self.message()
        return self.events

    async def say(self, cursor: str) -> None:
        """Acknowledge without waiting."""
        await self._stream.write(pb.ConsumeRequest(acknowledge=pb.Acknowledge(cursor=cursor)))

    async def acknowledge(self) -> None:
        """Acknowledge everything, and wait until that is written."""
        cursor = self.cursor
        await self.say(cursor)
        while self.acknowledged != cursor:
            await self.message()

    async def finish(self) -> None:
        """Close this side, and wait for the other one."""
        await self._stream.done_writing()
        while isinstance(message := await self._stream.read(), pb.ConsumeResponse):
            if message.WhichOneof("message") == "acknowledged":
                self.acknowledged = message.acknowledged.cursor

    def cut(self) -> None:
        """Vanish."""
        self._stream.cancel()


@pytest_asyncio.fixture
async def keeper(database_url: str) -> AsyncIterator[Keeper]:
    """Give the stub to a server with a workflow that ends by itself."""
    async with echoing(database_url) as served:
        yield Keeper(served)


async def test_consumer_gets_what_follows_the_creation(keeper: Keeper) -> None:
    """And nothing from before: that is the default."""
    await run(keeper.served)
    await keeper.create(filter_=ENDS)
    ids = await run(keeper.served, count=3)
    async with keeper.consumer() as consumer:
        assert [event.execution_id for event in await consumer.until(3)] == ids


async def test_next_consumer_goes_on_after_what_was_acknowledged(keeper: Keeper) -> None:
    """What was sent and not acknowledged comes again; nothing is left out."""
    await keeper.create(filter_=ENDS, from_beginning=True)
    ids = await run(keeper.served, count=4)
    async with keeper.consumer(max_unacknowledged=2) as consumer:
        await consumer.until(2)
        await consumer.acknowledge()
        await consumer.until(4)
    async with keeper.consumer() as consumer:
        assert [event.execution_id for event in await consumer.until(2)] == ids[2:]


async def test_consumers_that_are_cut_off_all_the_time_miss_nothing(keeper: Keeper) -> None:
    """Each event at least once and, by the cursor that the consumer keeps, exactly once."""
    await keeper.create(from_beginning=True)
    ids = await run(keeper.served, count=6)
    total = sum([len(await keeper.served.follow(id_)) for id_ in ids])
    kept: list[event_pb2.Event] = []
    cursor = ""
    for n in range(total):
        async with keeper.consumer(max_unacknowledged=3, cursor=cursor) as consumer:
            await consumer.message()
            # what one did and how far he is are kept together; every third is cut off before he says so
            kept, cursor = kept + consumer.events, consumer.cursor
            if n % 3:
                await consumer.say(cursor)
        if len(kept) >= total:
            break
    check_complete(kept, ids)


async def test_credit_bounds_what_is_not_acknowledged(keeper: Keeper) -> None:
    """Down to a single event; each acknowledgement makes room for one."""
    await keeper.create(from_beginning=True)
    [id_] = await run(keeper.served)
    expected = keys(await keeper.served.follow(id_))
    async with keeper.consumer(max_unacknowledged=1) as consumer:
        for count in range(1, len(expected) + 1):
            await consumer.until(count)
            assert len(consumer.events) == count
            await consumer.acknowledge()
    assert keys(consumer.events) == expected
    assert (await keeper.get()).pending_events == 0


async def test_acknowledgement_is_written_when_the_consumer_closes_its_side(keeper: Keeper) -> None:
    """It hears so, and the stream ends well."""
    await keeper.create(filter_=ENDS, from_beginning=True)
    await run(keeper.served, count=2)
    async with keeper.consumer() as consumer:
        await consumer.until(2)
        await consumer.say(consumer.cursor)
        await consumer.finish()
        assert consumer.acknowledged == consumer.cursor
    assert (await keeper.get()).cursor == consumer.cursor


async def test_acknowledgements_under_way_are_written_together(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not each by itself."""
    written: list[Place] = []
    whole = consuming.ConsumeStream._advance

    def advance(self: consuming.ConsumeStream, place: Place) -> Advance:
        written.append(place)
        return whole(self, place)

    monkeypatch.setattr(consuming.ConsumeStream, "_advance", advance)
    await keeper.create(from_beginning=True)
    await run(keeper.served, count=20)
    async with keeper.consumer(max_unacknowledged=1) as consumer:
        count = 0
        while count < 60:
            count += 1
            await consumer.until(count)
            await consumer.say(consumer.cursor)
        await consumer.acknowledge()
    assert len(written) < 50


async def test_newer_consumer_takes_over(keeper: Keeper) -> None:
    """The older one is told to stop, and what it acknowledges no more counts."""
    await keeper.create(filter_=ENDS, from_beginning=True)
    [id_] = await run(keeper.served)
    async with keeper.consumer(consumer="old") as old:
        await old.until(1)
        async with keeper.consumer(consumer="new") as new:
            with refused(StatusCode.ABORTED, "SUBSCRIPTION_TAKEN_OVER") as caught:
                await old.message()
            assert caught.metadata == {"name": "s", "consumer": "new"}
            assert [event.execution_id for event in await new.until(1)] == [id_]
            assert new.opened.epoch == old.opened.epoch + 1 == 2
            assert (await keeper.get()).consumer == "new"


async def test_consumer_on_another_server_takes_over(postgres_url: Callable[[], str]) -> None:
    """And goes on after what was acknowledged on the first."""
    url = postgres_url()
    async with echoing(url) as a, echoing(url) as b:
        first, second = Keeper(a), Keeper(b)
        await first.create(filter_=ENDS, from_beginning=True)
        ids = await run(a, count=2)
        async with first.consumer(max_unacknowledged=1) as old:
            await old.until(1)
            await old.acknowledge()
            async with second.consumer(consumer="b") as new:
                assert [event.execution_id for event in await new.until(1)] == ids[1:]
                with refused(StatusCode.ABORTED, "SUBSCRIPTION_TAKEN_OVER"):
                    while True:
                        await old.message()


async def test_rewound_subscription_is_told_to_its_consumer(keeper: Keeper) -> None:
    """It comes again, and gets everything once more."""
    await keeper.create(filter_=ENDS, from_beginning=True)
    ids = await run(keeper.served, count=2)
    async with keeper.consumer() as consumer:
        await consumer.until(2)
        await consumer.acknowledge()
        await keeper.rewind(beginning=True)
        with refused(StatusCode.UNAVAILABLE, "SUBSCRIPTION_CHANGED"):
            await consumer.message()
    async with keeper.consumer() as consumer:
        assert [event.execution_id for event in await consumer.until(2)] == ids


async def test_rewind_goes_to_any_place(keeper: Keeper) -> None:
    """A cursor, also one of a watch, a moment, the end."""
    await keeper.create(filter_=ENDS)
    ids = await run(keeper.served, count=2)
    with reading(keeper.served, from_beginning=True, filter=ENDS) as reader:
        await reader.until("ExecutionSucceeded", 1)
        cursor = reader.cursor
        await reader.until("ExecutionSucceeded", 2)
    if reader.events[0].execution_id == ids[0] and cursor != reader.cursor:
        await keeper.rewind(cursor=cursor)
        async with keeper.consumer() as consumer:
            assert [event.execution_id for event in await consumer.until(1)] == ids[1:]
    await keeper.rewind(time=Timestamp(seconds=reader.events[0].at.seconds - 3600))
    async with keeper.consumer() as consumer:
        assert [event.execution_id for event in await consumer.until(2)] == ids
    assert (await keeper.rewind(now=True)).cursor == reader.cursor
    assert (await keeper.get()).pending_events == 0
    with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        await keeper.rewind()
    with refused(StatusCode.INVALID_ARGUMENT, "CURSOR_INVALID"):
        await keeper.rewind(cursor="nonsense")


@pytest.mark.parametrize("seconds", [2**63 - 1, -(2**63), 253_402_300_800])
async def test_rewind_to_no_moment_is_refused(keeper: Keeper, seconds: int) -> None:
    """Each time was INTERNAL, with a traceback in the server's log."""
    await keeper.create()
    with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID") as caught:
        await keeper.rewind(time=Timestamp(seconds=seconds))
    assert caught.metadata["name"] == "time"


async def test_repeated_rewind_moves_once(keeper: Keeper) -> None:
    """With its request id; the id with other content is refused."""
    await keeper.create(filter_=ENDS, from_beginning=True)
    await run(keeper.served)
    moved = await keeper.rewind(now=True, request_id="r1")
    await run(keeper.served)
    assert (await keeper.rewind(now=True, request_id="r1")).cursor == moved.cursor
    with refused(StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"):
        await keeper.rewind(beginning=True, request_id="r1")


async def test_lag_says_how_far_behind_it_is(keeper: Keeper) -> None:
    """None after the last event; else the age of the next one, and how many there are."""
    fresh = await keeper.create()
    assert not (await keeper.get()).HasField("lag")
    [id_] = await run(keeper.served)
    found = await keeper.get()
    assert found.HasField("lag")
    assert found.pending_events == len(await keeper.served.follow(id_))
    [listed] = (await keeper.stub.ListSubscriptions(pb.ListSubscriptionsRequest())).subscriptions
    assert listed.HasField("lag")
    assert listed.etag == fresh.etag


async def test_same_content_again_is_the_same_subscription(keeper: Keeper) -> None:
    """So a creation can be repeated; other content is refused."""
    await keeper.create(filter_=ENDS)
    request = pb.CreateSubscriptionRequest(subscription=subscription_pb2.Subscription(name="s", filter=ENDS))
    assert not (await keeper.stub.CreateSubscription(request)).created
    with refused(StatusCode.ALREADY_EXISTS, "SUBSCRIPTION_EXISTS") as caught:
        await keeper.create()
    assert caught.metadata == {"name": "s"}


async def test_change_of_what_another_has_changed_is_refused(keeper: Keeper) -> None:
    """By its etag; the same change again is none."""
    first = await keeper.create()

    async def update(filter_: str, etag: str) -> str:
        wanted = subscription_pb2.Subscription(name="s", filter=filter_)
        answer = await keeper.stub.UpdateSubscription(pb.UpdateSubscriptionRequest(subscription=wanted, etag=etag))
        return str(answer.subscription.etag)

    second = await update(ENDS, first.etag)
    assert await update(ENDS, first.etag) == second != first.etag
    with refused(StatusCode.ABORTED, "ETAG_MISMATCH"):
        await update("", first.etag)
    with refused(StatusCode.ABORTED, "ETAG_MISMATCH"):
        await keeper.stub.DeleteSubscription(pb.DeleteSubscriptionRequest(name="s", etag=first.etag))


async def test_deleted_subscription_is_gone(keeper: Keeper) -> None:
    """Its consumer is told, and a repeat says so, or is no error if that is asked for."""
    await keeper.create()
    async with keeper.consumer() as consumer:
        await keeper.stub.DeleteSubscription(pb.DeleteSubscriptionRequest(name="s", request_id="d"))
        with refused(StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND"):
            await consumer.message()
    await keeper.stub.DeleteSubscription(pb.DeleteSubscriptionRequest(name="s", request_id="d"))
    await keeper.stub.DeleteSubscription(pb.DeleteSubscriptionRequest(name="s", allow_missing=True))
    for attempt in (keeper.get(), keeper.rewind(now=True)):
        with refused(StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND"):
            await attempt
    with refused(StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND"):
        async with keeper.consumer():
            pass


async def test_disabled_subscription_hands_nothing_out(keeper: Keeper) -> None:
    """It keeps its place meanwhile."""
    await keeper.create(filter_=ENDS, from_beginning=True)
    disable = pb.DisableSubscriptionRequest(name="s", message="on holiday")
    found = (await keeper.stub.DisableSubscription(disable)).subscription
    assert found.state == subscription_pb2.SUBSCRIPTION_STATE_DISABLED
    [id_] = await run(keeper.served)
    with refused(StatusCode.FAILED_PRECONDITION, "SUBSCRIPTION_WRONG_STATE") as caught:
        async with keeper.consumer():
            pass
    assert "on holiday" in caught.message
    await keeper.stub.EnableSubscription(pb.EnableSubscriptionRequest(name="s"))
    async with keeper.consumer() as consumer:
        assert [event.execution_id for event in await consumer.until(1)] == [id_]


async def test_subscriptions_are_listed_by_name_and_page(keeper: Keeper) -> None:
    """Of the namespace."""
    for name in ("c", "a", "b"):
        await keeper.create(name)
    await keeper.create("d", namespace="other")
    request = pb.ListSubscriptionsRequest(page_size=2)
    first = await keeper.stub.ListSubscriptions(request)
    request.page_token = first.next_page_token
    second = await keeper.stub.ListSubscriptions(request)
    assert [[s.name for s in page.subscriptions] for page in (first, second)] == [["a", "b"], ["c"]]
    assert not second.next_page_token


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": ""}, "FIELD_INVALID"),
        ({"name": "a\nb"}, "FIELD_INVALID"),
        ({"name": "a", "filter_": "colour = red"}, "FILTER_INVALID"),
        ({"name": "a", "cursor": "nonsense"}, "CURSOR_INVALID"),
    ],
)
async def test_wrong_subscription_is_refused(keeper: Keeper, fields: dict[str, Any], reason: str) -> None:
    """Nothing is made."""
    with refused(StatusCode.INVALID_ARGUMENT, reason):
        await keeper.create(**fields)
    assert not (await keeper.stub.ListSubscriptions(pb.ListSubscriptionsRequest())).subscriptions


async def test_consumer_that_breaks_the_rules_is_refused(keeper: Keeper) -> None:
    """A first message of another kind, a second opening, a cursor of something that was not sent, a wrong credit."""
    await keeper.create(from_beginning=True)
    [_] = await run(keeper.served)
    stream = keeper.stub.Consume()
    await stream.write(pb.ConsumeRequest(acknowledge=pb.Acknowledge(cursor="x")))
    with refused(StatusCode.INVALID_ARGUMENT, "STREAM_VIOLATION"):
        await stream.read()
    with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        async with keeper.consumer(max_unacknowledged=-1):
            pass
    with reading(keeper.served, from_beginning=True) as reader:
        await reader.until("ExecutionSucceeded")
    async with keeper.consumer(max_unacknowledged=1) as consumer:
        await consumer.until(1)
        await consumer.say(reader.cursor)
        with refused(StatusCode.INVALID_ARGUMENT, "STREAM_VIOLATION"):
            await consumer.message()


async def test_lost_cursor_is_refused_until_it_is_rewound(tmp_path: Any) -> None:
    """As in WatchEvents; the subscription stays."""
    path = str(tmp_path / "a.db")
    async with echoing(path) as served:
        keeper = Keeper(served)
        await keeper.create(filter_=ENDS, from_beginning=True)
        await run(served)
        async with keeper.consumer() as consumer:
            await consumer.until(1)
            await consumer.acknowledge()
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE events SET at = at + 1")
            connection.commit()
        with refused(StatusCode.OUT_OF_RANGE, "CURSOR_LOST"):
            async with keeper.consumer():
                pass
        await keeper.rewind(beginning=True)
        async with keeper.consumer() as consumer:
            await consumer.until(1)


async def test_a_consumer_that_cannot_begin_leaves_nothing_behind(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its namespace would be read on for nobody, for as long as the server runs."""
    await keeper.create()
    runtime = keeper.served.server.runtime

    async def fails(_: Any) -> None:
        raise server_errors.DatabaseUnavailable(problem="away")

    with monkeypatch.context() as patch:
        patch.setattr(runtime.consumers, "check", fails)
        with refused(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE"):
            async with keeper.consumer():
                pass
    assert runtime.tails.count == 0

    async with keeper.consumer():
        assert runtime.tails.count == 1


async def test_subscription_survives_a_restart(tmp_path: Any) -> None:
    """With its place."""
    path = str(tmp_path / "a.db")
    async with echoing(path) as served:
        keeper = Keeper(served)
        await keeper.create(filter_=ENDS, from_beginning=True)
        ids = await run(served, count=2)
        async with keeper.consumer(max_unacknowledged=1) as consumer:
            await consumer.until(1)
            await consumer.acknowledge()
    async with echoing(path) as served, Keeper(served).consumer() as consumer:
        async with asyncio.timeout(PATIENCE):
            assert [event.execution_id for event in await consumer.until(1)] == ids[1:]


async def test_client_consumes_and_acknowledges_by_going_on(keeper: Keeper) -> None:
    """The synchronous face like the asynchronous one; what a consumer left in the middle comes again."""
    ids = await run(keeper.served, count=3)

    async with aio.connect(keeper.served.address) as client:
        made = await client.create_subscription("s", ENDS, from_beginning=True, description="for tests")
        assert (made.name, made.filter, made.state, made.description) == ("s", ENDS, "ACTIVE", "for tests")
        seen: list[str] = []
        async for update in client.consume("s", credit=1):
            seen.extend(event.execution_id for event in update.events)
            if len(seen) == 2:
                break
        assert seen == ids[:2]
        assert [item.name async for item in client.subscriptions()] == ["s"]

    def work() -> list[str]:
        with tradewind.connect(keeper.served.address) as client:
            # of the two that came before, only the first was done with
            updates = client.consume("s", credit=1, consumer="sync")
            found = [event.execution_id for _ in range(2) for event in next(updates).events]
            seen = client.subscription("s")
            assert (seen.consumer, client.update_subscription(seen, description="new").description) == ("sync", "new")
            client.disable_subscription("s", "a break")
            assert client.enable_subscription("s").state == "ACTIVE"
            client.rewind_subscription("s", from_beginning=True)
            again = client.consume("s", cursor="")
            found.extend(event.execution_id for event in next(again).events)
            client.delete_subscription("s")
            assert list(client.subscriptions()) == []
            return found

    found = await asyncio.to_thread(work)
    assert found[:2] == ids[1:]
    assert found[2] == ids[0]


async def test_client_goes_on_after_a_rewind(keeper: Keeper) -> None:
    """It opens a new stream by itself, and gives up where another has taken over."""
    ids = await run(keeper.served, count=2)
    await keeper.create(filter_=ENDS, from_beginning=True)
    async with aio.connect(keeper.served.address) as client:
        updates = client.consume("s", credit=1)
        seen = [(await anext(updates)).events[0].execution_id for _ in range(2)]
        await keeper.rewind(beginning=True)
        seen += [(await anext(updates)).events[0].execution_id for _ in range(2)]
        assert seen == ids * 2
        async with keeper.consumer(consumer="newer"):
            with pytest.raises(errors.Conflict, match="newer"):
                await anext(updates)
