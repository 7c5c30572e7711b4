"""The Work stream: credits, orders, drain, and coming back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode

from tests.api.harness import PATIENCE, Served, read_refusal, refused, serving
from tradewind import values
from tradewind.v1 import action_callback_pb2 as v1
from tradewind.v1 import (
    action_limit_pb2,
    action_limit_service_pb2,
    execution_pb2,
    execution_service_pb2,
    payload_pb2,
    subscription_service_pb2_grpc,
)
from tradewind_server.api import caller, work
from tradewind_server.api.access import EVERY_NAMESPACE, Identity
from tradewind_server.errors import StreamViolation
from tradewind_server.runtime import requests as r
from tradewind_server.store import schema
from tradewind_server.store.records import ACCEPTED, OFFERED, QUEUED

TWO = """
version: '2.0'
two:
  input: [n]
  tasks:
    a: {action: shop.do, on-success: b}
    b: {action: shop.do}
"""


async def cancel(served: Served, id_: str) -> str:
    """Cancel an execution and return the state that the answer shows."""
    request = execution_service_pb2.CancelExecutionRequest(execution_id=id_)
    answer = await served.executions.CancelExecution(request)
    return execution_pb2.ExecutionState.Name(answer.execution.state).removeprefix("EXECUTION_STATE_")


async def test_stream_answers_before_anything_is_sent(served: Served) -> None:
    """A client in Rust waits for the headers before it sends its first message: its call never came back."""
    stubs: Any = subscription_service_pb2_grpc.SubscriptionServiceStub(served.channel)
    for stream in (served.callback.Work(), stubs.Consume()):
        async with asyncio.timeout(PATIENCE):
            assert await stream.initial_metadata() is not None
        stream.cancel()


async def test_no_more_offers_than_credits(served: Served) -> None:
    """And the rest comes with new ones."""
    ids = {await served.start() for _ in range(5)}
    async with served.worker(credits_=2) as hand:
        got = [await hand.offer(), await hand.offer()]
        await hand.finish(got[0].token)
        await hand.receipt()
        assert hand.is_quiet()
        await hand.grant(3)
        got += [await hand.offer() for _ in range(3)]
        assert {offer.execution_id for offer in got} == ids


async def test_oldest_action_is_offered_first(served: Served) -> None:
    """A new one does not overtake those that wait."""
    ids = [await served.start() for _ in range(3)]
    async with served.worker(credits_=1) as hand:
        for id_ in ids:
            offer = await hand.offer()
            assert offer.execution_id == id_
            await hand.finish(offer.token)
            await hand.grant(1)


async def test_next_action_does_not_wait_behind_the_receipt_of_the_last(served: Served) -> None:
    """Somebody waits for the next step, nobody for the receipt; both come of one commit."""
    await served.deploy(TWO)
    await served.start("two")
    async with served.worker() as hand:
        await hand.finish((await hand.offer()).token)
        await hand.offer()
        await hand.receipt()
        assert hand.came == ["welcome", "offers", "offers", "receipts"]


async def test_receipts_of_recorded_results_come_together(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for them; what is refused is told at once, with all that was recorded before."""
    monkeypatch.setattr(work, "_RECEIPTS_AFTER", 3600.0)
    await served.deploy(TWO)
    for _ in range(3):
        await served.start("two")
    async with served.worker(credits_=10) as hand:
        first = [await hand.offer() for _ in range(3)]
        for offer in first:
            await hand.finish(offer.token)
            await hand.offer()
        assert "receipts" not in hand.came

        await hand.finish(b"no token")
        receipts = [await hand.whole_receipt() for _ in range(4)]

        assert [receipt.token for receipt in receipts[:3]] == [offer.token for offer in first]
        recorded, refused_ = v1.RECEIPT_STATUS_RECORDED, v1.RECEIPT_STATUS_REFUSED
        assert [receipt.status for receipt in receipts] == [recorded, recorded, recorded, refused_]
        assert hand.came.count("receipts") == 1


@pytest.mark.parametrize("end", ["drain", "violation", "half-close"])
async def test_stream_that_ends_while_an_offer_is_sent_gives_all_receipts(served: Served, end: str) -> None:
    """The worker would keep its result, and come back with it for a receipt."""
    caller._identity.set(Identity("", frozenset({EVERY_NAMESPACE})))
    runtime, said = served.server.runtime, asyncio.Queue[v1.WorkRequest | None]()
    stream = work.WorkStream(runtime)

    async def incoming() -> AsyncIterator[v1.WorkRequest]:
        while (message := await said.get()) is not None:
            yield message

    capability = v1.ActionCapability(name="shop.do", concurrency=1)
    await said.put(v1.WorkRequest(hello=v1.Hello(worker_id="w", actions=[capability])))
    outgoing = stream.serve(incoming())
    assert (await anext(outgoing)).HasField("welcome")
    stream._acknowledge(b"token")(r.Recorded("x", 1, is_new=True))
    stream._offers.append(v1.WorkResponse(offers=v1.Offers(offers=[v1.Offer()])))
    stream._wake.set()
    assert (await anext(outgoing)).HasField("offers")

    if end == "drain":
        runtime._draining = True
        stream._wake.set()
    else:
        await said.put(v1.WorkRequest() if end == "violation" else None)
        async with asyncio.timeout(PATIENCE):
            await stream._wake.wait()
    last = []
    with contextlib.suppress(StreamViolation):
        async for message in outgoing:
            last.append(message.WhichOneof("message"))
    runtime._draining = False

    assert last == (["receipts", "go_away"] if end == "drain" else ["receipts"])


async def test_cancel_reaches_a_running_worker(served: Served) -> None:
    """As an order; the execution is CANCELLING until the worker has answered, and CANCELLED then."""
    id_ = await served.start()
    async with served.worker() as hand:
        offer = await hand.offer()
        await hand.beat(offer.token)
        assert await cancel(served, id_) == "CANCELLING"
        assert await hand.order() == (offer.token, "CANCEL")
        await hand.fail(offer.token, "CANCELLED", "as ordered")
        assert await hand.receipt() == ("RECORDED", "")
    assert (await served.ended(id_))[0] == "CANCELLED"


async def test_cancel_ends_by_itself_after_the_grace(database_url: str) -> None:
    """A worker that does not answer cannot hold an execution; its late result changes nothing."""
    async with serving(database_url, cancel_grace_seconds=1) as served:
        id_ = await served.start()
        async with served.worker() as hand:
            offer = await hand.offer()
            await cancel(served, id_)
            assert (await served.ended(id_))[0] == "CANCELLED"
            await hand.finish(offer.token, 1)
            assert (await hand.receipt())[0] == "STALE"
        assert [event.type for event in await served.follow(id_)].count("ActionSucceeded") == 0


async def test_drained_stream_gets_no_more_offers(served: Served) -> None:
    """What it holds it may finish; new actions go to others."""
    first = await served.start()
    async with served.worker() as hand, served.worker(credits_=0) as other:
        offer = await hand.offer()
        await hand.send(drain=v1.Drain())
        await hand.finish(offer.token, 1)
        assert await hand.receipt() == ("RECORDED", "")
        assert await served.ended(first) == ("SUCCEEDED", {"r": 1})
        second = await served.start()
        await other.grant(1)
        assert (await other.offer()).execution_id == second
        assert hand.is_quiet()
        await hand.done_writing()
        assert await hand.ended() is None


async def test_worker_that_comes_back_is_told_what_to_keep(database_url: str) -> None:
    """Its accepted action is still its own, one that ended is not, and rubbish is refused by itself."""
    async with serving(database_url) as served:
        id_, other_id = await served.start(), await served.start()
        async with served.worker() as hand:
            kept, gone = await hand.offer(), await hand.offer()
            await served.callback.AcceptActions(v1.AcceptActionsRequest(worker_id="w", tokens=[kept.token, gone.token]))
            await hand.finish(gone.token, 2)
            await hand.receipt()
        async with served.worker(in_flight=[kept.token, gone.token, b"rubbish"], credits_=0) as again:
            verdicts = {v.token: (v.keep, v.refusal.reason) for v in again.welcome.in_flight}
            assert verdicts == {
                kept.token: (True, ""),
                gone.token: (False, "LEASE_LOST"),
                b"rubbish": (False, "TOKEN_INVALID"),
            }
            await cancel(served, kept.execution_id)
            assert await again.order() == (kept.token, "CANCEL")
            await again.finish(kept.token, 1)
            assert await again.receipt() == ("RECORDED", "")
        assert {kept.execution_id, gone.execution_id} == {id_, other_id}
        assert (await served.ended(kept.execution_id))[0] == "CANCELLED"


async def test_action_survives_the_server(tmp_path: object) -> None:
    """A worker that was at work while the server was away brings its result to the next one."""
    path = f"{tmp_path}/tradewind.db"
    async with serving(path) as served:
        id_ = await served.start()
        async with served.worker() as hand:
            offer = await hand.offer()
            await served.callback.AcceptActions(v1.AcceptActionsRequest(worker_id="w", tokens=[offer.token]))
    async with serving(path) as served, served.worker(in_flight=[offer.token]) as hand:
        assert [verdict.keep for verdict in hand.welcome.in_flight] == [True]
        await hand.finish(offer.token, 9)
        assert await hand.receipt() == ("RECORDED", "")
        assert await served.ended(id_) == ("SUCCEEDED", {"r": 9})


async def test_refused_offer_goes_to_another(served: Served) -> None:
    """At once, and without costing an attempt."""
    await served.start()
    async with served.worker(credits_=1) as hand, served.worker(credits_=0) as other:
        offer = await hand.offer()
        await other.grant(1)
        await hand.send(refuse=v1.Refuse(releases=[v1.Release(token=offer.token)]))
        again = await other.offer()
        assert (again.execution_id, again.attempt) == (offer.execution_id, 1)


async def test_offer_in_hand_of_a_broken_stream_goes_back_at_once(served: Served) -> None:
    """The delivery lease need not end first."""
    await served.start()
    async with served.worker(credits_=1) as hand:
        first = await hand.offer()
    async with served.worker(credits_=1) as other, asyncio.timeout(3):
        assert (await other.offer()).idempotency_key == first.idempotency_key


async def test_checkpoint_is_in_the_next_offer(database_url: str) -> None:
    """What an attempt stored last, the next one begins with."""
    async with serving(database_url, delivery_lease_seconds=1, work_lease_seconds=1) as served:
        await served.start()
        async with served.worker(credits_=1) as hand:
            token = (await hand.offer()).token
            beat = v1.ActionBeat(token=token, progress_message="half", checkpoint=values.to_payload({"at": 5}))
            await hand.send(beat=v1.Beat(actions=[beat]))
            async with served.worker(credits_=1) as other:
                assert values.from_payload((await other.offer()).checkpoint) == {"at": 5}


async def test_first_message_must_be_hello(served: Served) -> None:
    """Anything else ends the stream with a reason."""
    stream = served.callback.Work()
    await stream.write(v1.WorkRequest(credits=v1.Credits(granted=1)))
    with refused(StatusCode.INVALID_ARGUMENT, "STREAM_VIOLATION"):
        await stream.read()


async def test_credits_that_fall_end_the_stream(served: Served) -> None:
    """They are cumulative."""
    async with served.worker(credits_=5) as hand:
        await hand.grant(-1)
        error = await hand.ended()
        assert error is not None
        assert read_refusal(error).reason == "STREAM_VIOLATION"


async def test_poll_accept_heartbeat_complete_and_release(served: Served) -> None:
    """The worker of thirty lines: nothing but unary calls."""
    ids = [await served.start(), await served.start()]
    [offer] = await served.poll()
    assert (offer.action, values.from_payload(offer.input), offer.attempt) == ("shop.do", {"n": 1}, 1)
    accepted = await served.callback.AcceptActions(v1.AcceptActionsRequest(worker_id="w", tokens=[offer.token, b"x"]))
    assert [r.status for r in accepted.receipts] == [v1.RECEIPT_STATUS_RECORDED, v1.RECEIPT_STATUS_REFUSED]
    assert accepted.receipts[1].refusal.reason == "TOKEN_INVALID"
    beat = v1.HeartbeatActionsRequest(worker_id="w", actions=[v1.ActionBeat(token=offer.token)])
    assert not (await served.callback.HeartbeatActions(beat)).orders
    assert await served.complete(offer.token, 4) == "RECORDED"
    assert await served.ended(ids[0]) == ("SUCCEEDED", {"r": 4})
    [second] = await served.poll()
    released = await served.callback.ReleaseActions(
        v1.ReleaseActionsRequest(worker_id="w", releases=[v1.Release(token=second.token)])
    )
    assert [receipt.status for receipt in released.receipts] == [v1.RECEIPT_STATUS_RECORDED]
    [third] = await served.poll()
    assert (third.execution_id, third.attempt) == (ids[1], 1)
    await cancel(served, ids[1])
    beat = v1.HeartbeatActionsRequest(worker_id="w", actions=[v1.ActionBeat(token=third.token)])
    orders = (await served.callback.HeartbeatActions(beat)).orders
    why = "Its task or its execution was cancelled."
    assert list(orders) == [v1.Order(token=third.token, kind=v1.ORDER_KIND_CANCEL, message=why)]
    request = v1.FailActionRequest(token=third.token)
    request.failure.code = "CANCELLED"
    await served.callback.FailAction(request)
    assert (await served.ended(ids[1]))[0] == "CANCELLED"


async def test_failure_of_a_worker_is_data(served: Served) -> None:
    """Its code, message and origin stand at the task."""
    id_ = await served.start()
    async with served.worker() as hand:
        await hand.fail((await hand.offer()).token, "NO_STOCK", "There is none left.")
        assert await hand.receipt() == ("RECORDED", "")
    assert (await served.ended(id_))[0] == "FAILED"
    tasks = await served.executions.ListTasks(execution_service_pb2.ListTasksRequest(execution_id=id_))
    [failure] = [task.failure for task in tasks.tasks]
    assert (failure.code, failure.origin.task, failure.origin.attempt) == ("NO_STOCK", "t", 1)
    assert "There is none left." in failure.message


@pytest.mark.parametrize(
    ("message", "most"),
    [
        (lambda n: {"accept": v1.Accept(tokens=[b"x"] * n)}, 1_000),
        (lambda n: {"refuse": v1.Refuse(releases=[v1.Release()] * n)}, 1_000),
        (lambda n: {"results": v1.Results(results=[v1.ActionResult()] * n)}, 1_000),
        (lambda n: {"beat": v1.Beat(actions=[v1.ActionBeat()] * n)}, 10_000),
    ],
)
async def test_message_with_too_many_items_ends_the_stream(message: Callable[[int], Any], most: int) -> None:
    """What the contract allows is taken, each item with its own answer; one more ends the stream, and others go on."""
    async with serving("") as served, served.worker() as hand, served.worker() as other:
        await hand.send(**message(most))
        await hand.send(**message(most + 1))
        error = await hand.ended()
        assert error is not None
        assert read_refusal(error).reason == "STREAM_VIOLATION"
        id_ = await served.start()
        await other.finish((await other.offer()).token, 1)
        assert await served.ended(id_) == ("SUCCEEDED", {"r": 1})


@pytest.mark.parametrize(
    ("data", "reason"), [(b"{", "PAYLOAD_INVALID"), (b'"' + b"x" * 2_000_000 + b'"', "PAYLOAD_TOO_LARGE")]
)
async def test_checkpoint_that_is_none_ends_the_stream(data: bytes, reason: str) -> None:
    """It was stored as it came, and broke whoever read it later; the action goes to another worker."""
    async with serving("") as served:
        id_ = await served.start()
        async with served.worker() as hand:
            offer = await hand.offer()
            beat = v1.ActionBeat(token=offer.token, checkpoint=payload_pb2.Payload(data=data))
            await hand.send(beat=v1.Beat(actions=[beat]))
            error = await hand.ended()
            assert error is not None
            assert read_refusal(error).reason == reason
        async with served.worker() as other:
            await other.finish((await other.offer()).token, 1)
            assert await served.ended(id_) == ("SUCCEEDED", {"r": 1})


async def stage_of(served: Served, id_: str) -> int:
    """Return the stage of the one action that an execution has in the queue."""
    query = sa.select(schema.queue.c.stage).where(schema.queue.c.execution_id == id_)
    stage: int = await served.server.runtime.read(lambda connection, _: connection.execute(query).scalar_one())
    return stage


async def until_stage(served: Served, id_: str, stage: int) -> None:
    """Wait until the action is queued, offered or accepted."""
    async with asyncio.timeout(PATIENCE):
        while await stage_of(served, id_) != stage:
            await asyncio.sleep(0)


async def test_accept_of_a_stream_that_breaks_is_kept(database_url: str) -> None:
    """It was forgotten, if it was younger than half the delivery lease: what may not be done twice failed."""
    async with serving(database_url, delivery_lease_seconds=3600) as served:
        id_ = await served.start()
        async with served.worker(credits_=1) as hand:
            offer = await hand.offer()
            await hand.accept(offer.token)
            await hand.finish(b"no token")
            await hand.receipt()  # so the accept has been read
            assert await stage_of(served, id_) == OFFERED
        await until_stage(served, id_, ACCEPTED)


async def test_worker_that_comes_back_keeps_an_offer_that_it_had_not_accepted(served: Served) -> None:
    """It was told to stop, though nobody else had got it, and threw away what it had done."""
    id_ = await served.start()
    async with served.worker(credits_=1) as hand:
        offer = await hand.offer()
    await until_stage(served, id_, QUEUED)
    async with served.worker(in_flight=[offer.token], credits_=10) as again:
        assert [verdict.keep for verdict in again.welcome.in_flight] == [True]
        await again.finish(offer.token, 5)
        assert await again.receipt() == ("RECORDED", "")
        assert again.is_quiet()
    assert await served.ended(id_) == ("SUCCEEDED", {"r": 5})


async def test_worker_that_comes_back_does_not_get_what_another_one_has_got_since(served: Served) -> None:
    """Its result would be refused."""
    await served.start()
    async with served.worker(credits_=1) as hand:
        offer = await hand.offer()
    async with served.worker(credits_=1) as other:
        await other.offer()
        async with served.worker(in_flight=[offer.token], credits_=0) as again:
            assert [verdict.keep for verdict in again.welcome.in_flight] == [False]


async def test_worker_that_comes_back_has_no_more_at_once_than_it_says(served: Served) -> None:
    """What it still had in hand was not counted: a printer got a second page."""
    for _ in range(2):
        await served.start()
    async with served.worker(credits_=5, concurrency=1) as first:
        offer = await first.offer()
        await first.accept(offer.token)
        await first.finish(b"no token")
        await first.receipt()
    async with served.worker(credits_=5, concurrency=1, in_flight=[offer.token]) as again:
        assert [verdict.keep for verdict in again.welcome.in_flight] == [True]
        await again.finish(b"no token")
        await again.receipt()
        assert again.is_quiet()
        await again.finish(offer.token)
        await again.receipt()
        await again.grant(1)
        assert (await again.offer()).execution_id != offer.execution_id


@pytest.mark.parametrize("wait", [Duration(), Duration(nanos=1_000_000)])
async def test_poll_that_waits_for_next_to_nothing_gets_what_is_there(served: Served, wait: Duration) -> None:
    """It never got anything: the answer came after the wait, and went back."""
    id_ = await served.start()
    actions = [v1.ActionCapability(name="shop.do")]
    request = v1.PollActionsRequest(worker_id="w", actions=actions, wait=wait)
    [offer] = (await served.callback.PollActions(request)).offers
    assert (offer.execution_id, offer.deliveries) == (id_, 1)
    assert not (await served.callback.PollActions(request)).offers


async def test_result_that_comes_while_the_server_goes_down_is_recorded_and_told(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream ended ten milliseconds after the word of it, and the work was done again."""
    monkeypatch.setattr(work, "_FAREWELL_SECONDS", 3600.0)
    await served.deploy(TWO)
    await served.start("two")
    async with served.worker(credits_=10) as hand:
        offer = await hand.offer()
        served.server.runtime.drain()
        assert (await hand._next("go_away")).grace.seconds == 3600
        await hand.finish(offer.token, 5)
        assert await hand.receipt() == ("RECORDED", "")
        # nothing more is expected of it, and it does not get what follows
        assert await hand.ended() is None
        assert hand.is_quiet()


async def test_result_before_the_end_of_the_workers_side_gets_its_receipt(served: Served) -> None:
    """The stream ended without, and the worker kept its result for the next one."""
    await served.start()
    async with served.worker(credits_=1) as hand:
        offer = await hand.offer()
        await hand.finish(offer.token, 5)
        await hand.done_writing()
        assert await hand.receipt() == ("RECORDED", "")
        assert await hand.ended() is None


async def test_token_that_a_worker_names_twice_is_one(served: Served) -> None:
    """It cost the worker a place for as long as its stream lasted."""
    for _ in range(2):
        await served.start()
    async with served.worker(credits_=1, concurrency=1) as first:
        token = (await first.offer()).token
    async with served.worker(credits_=5, concurrency=1, in_flight=[token, token]) as again:
        assert [verdict.keep for verdict in again.welcome.in_flight] == [True]
        await again.finish(token)
        await again.receipt()
        await again.grant(1)
        await again.offer()


async def test_worker_that_comes_back_does_not_go_past_a_limit(served: Served) -> None:
    """Its action had gone into the queue, and another one has its place by now."""
    limit = action_limit_pb2.ActionLimit(action="shop.do", concurrency=1)
    await served.limits.PutActionLimit(action_limit_service_pb2.PutActionLimitRequest(limit=limit))
    await served.start()
    async with served.worker(credits_=1) as first:
        offer = await first.offer()
        token = offer.token
        urgent = await served.start(params=values.to_payload({"priority": 9}))
    await until_stage(served, offer.execution_id, QUEUED)
    async with served.worker(credits_=1) as other:
        assert (await other.offer()).execution_id == urgent
        async with served.worker(credits_=0, in_flight=[token]) as again:
            assert [verdict.keep for verdict in again.welcome.in_flight] == [False]
