"""Who works here is seen on every server, and an operator takes workers out of service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from grpc import StatusCode

from tests.api.harness import PATIENCE, Hand, Served, refused, serving
from tradewind.v1 import action_callback_pb2, execution_service_pb2, worker_pb2
from tradewind.v1 import worker_service_pb2 as v1


async def listed(served: Served, filter_: str = "") -> list[worker_pb2.Worker]:
    """Return the workers that a server knows of."""
    answer = await served.workers.ListWorkers(v1.ListWorkersRequest(filter=filter_))
    return list(answer.workers)


async def drain(served: Served, hand: Hand, message: str = "") -> None:
    """Take a worker out of service."""
    request = v1.DrainWorkerRequest(worker_id=hand.worker_id, message=message)
    [worker] = (await served.workers.DrainWorker(request)).workers
    assert worker.state == worker_pb2.WORKER_STATE_DRAINING


async def resume(served: Served, hand: Hand) -> None:
    """Take it into service again."""
    [worker] = (await served.workers.ResumeWorker(v1.ResumeWorkerRequest(worker_id=hand.worker_id))).workers
    assert worker.state == worker_pb2.WORKER_STATE_ACTIVE


def _poll(worker: str, milliseconds: int, **fields: Any) -> action_callback_pb2.PollActionsRequest:
    capability = action_callback_pb2.ActionCapability(name="shop.do", concurrency=3, labels={"site": "oslo"})
    request = action_callback_pb2.PollActionsRequest(worker_id=worker, actions=[capability], max_actions=5, **fields)
    request.wait.FromMilliseconds(milliseconds)
    return request


async def test_connected_worker_is_listed_with_what_it_says(served: Served) -> None:
    """And with what it has in hand; once its stream is over it is gone."""
    await served.start()
    async with served.worker("shop.do", "shop.other") as hand:
        await hand.offer()
        [worker] = await listed(served)
        assert (worker.worker_id, worker.build, worker.in_hand) == (hand.worker_id, "b7", 1)
        assert worker.server_id == served.server.runtime.server_id
        assert worker.connection == worker_pb2.WORKER_CONNECTION_STREAM
        assert worker.state == worker_pb2.WORKER_STATE_ACTIVE
        assert [action.name for action in worker.actions] == ["shop.do", "shop.other"]
        assert worker.last_seen_at.ToMicroseconds() >= worker.first_seen_at.ToMicroseconds() > 0
        await hand.done_writing()
        assert await hand.ended() is None
    assert await listed(served) == []


async def test_polling_worker_is_listed_between_its_polls(served: Served) -> None:
    """With one entry, however often it polls, and as it described itself last."""
    await served.callback.PollActions(_poll("poller", 0, instance="i1", build="1"))
    await served.callback.PollActions(_poll("poller", 0, instance="i1", build="2"))
    [worker] = await listed(served)
    assert (worker.worker_id, worker.instance, worker.build) == ("poller", "i1", "2")
    assert worker.connection == worker_pb2.WORKER_CONNECTION_POLL
    assert [(a.name, a.concurrency, dict(a.labels)) for a in worker.actions] == [("shop.do", 3, {"site": "oslo"})]


async def test_list_is_filtered_and_paged(served: Served) -> None:
    """By name, action, state and the rest, and no worker comes twice."""
    async with served.worker("shop.do") as one, served.worker("SHOP.DO") as two, served.worker("mail.send") as three:
        hands = sorted(hand.worker_id for hand in (one, two, three))
        assert [w.worker_id for w in await listed(served, 'action = "shop.do"')] == [one.worker_id]
        await drain(served, three)
        assert [w.worker_id for w in await listed(served, "state = DRAINING")] == [three.worker_id]
        assert len(await listed(served, "state = ACTIVE AND connection = STREAM AND build = b7")) == 2
        assert await listed(served, f"worker_id != {one.worker_id} AND action = shop.do") == []
        found, token = [], ""
        for _ in hands:
            page = await served.workers.ListWorkers(v1.ListWorkersRequest(page_size=1, page_token=token))
            found += [worker.worker_id for worker in page.workers]
            token = page.next_page_token
        assert (sorted(found), token) == (hands, "")
    with refused(StatusCode.INVALID_ARGUMENT, "FILTER_INVALID"):
        await listed(served, "state = GONE")


async def test_unknown_worker_is_refused(served: Served) -> None:
    """Whatever is to be done with it; so is no name at all, and the tenant of another has none of these."""
    for call, request in (
        (served.workers.GetWorker, v1.GetWorkerRequest(worker_id="nobody")),
        (served.workers.DrainWorker, v1.DrainWorkerRequest(worker_id="nobody")),
        (served.workers.ResumeWorker, v1.ResumeWorkerRequest(worker_id="nobody")),
    ):
        with refused(StatusCode.NOT_FOUND, "WORKER_NOT_FOUND"):
            await call(request)
    with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        await served.workers.DrainWorker(v1.DrainWorkerRequest())
    async with served.worker() as hand:
        with refused(StatusCode.NOT_FOUND, "WORKER_NOT_FOUND"):
            await served.workers.GetWorker(v1.GetWorkerRequest(namespace="other", worker_id=hand.worker_id))


async def test_drained_worker_finishes_and_gets_no_more_until_resumed(served: Served) -> None:
    """It is told over its stream, keeps its credits, and its orders still reach it."""
    first = await served.start()
    async with served.worker() as hand:
        offer = await hand.offer()
        await drain(served, hand, "new disks")
        assert await hand.standby() == (True, "new disks")
        await drain(served, hand)
        second = await served.start()
        await hand.finish(offer.token, 1)
        assert await served.ended(first) == ("SUCCEEDED", {"r": 1})
        await hand.grant(1)
        answer = await served.executions.ExplainExecution(
            execution_service_pb2.ExplainExecutionRequest(execution_id=second)
        )
        detail = "The only workers that serve 'shop.do' are draining (1). Start or resume one."
        assert [wait.detail for wait in answer.waits] == [detail]
        assert hand.is_quiet()
        await resume(served, hand)
        assert await hand.standby() == (False, "")
        assert (await hand.offer()).execution_id == second


async def test_cancellation_reaches_a_drained_worker(served: Served) -> None:
    """At once, although it takes nothing new."""
    id_ = await served.start()
    async with served.worker() as hand:
        offer = await hand.offer()
        await hand.beat(offer.token)
        await drain(served, hand)
        await served.executions.CancelExecution(execution_service_pb2.CancelExecutionRequest(execution_id=id_))
        assert await hand.order() == (offer.token, "CANCEL")


async def test_resuming_does_not_call_back_a_worker_that_drains_itself(served: Served) -> None:
    """It has said that it goes."""
    first = await served.start()
    async with served.worker() as hand:
        offer = await hand.offer()
        await drain(served, hand)
        await hand.send(drain=action_callback_pb2.Drain())
        await hand.finish(offer.token, 1)
        await served.ended(first)  # so that the server has read what was sent before
        request = v1.ResumeWorkerRequest(worker_id=hand.worker_id)
        [worker] = (await served.workers.ResumeWorker(request)).workers
        assert (worker.state, worker.drained_at.seconds) == (worker_pb2.WORKER_STATE_DRAINING, 0)
        await served.start()
        assert hand.is_quiet()


async def test_waiting_poll_of_a_drained_worker_ends_at_once(served: Served) -> None:
    """And the next ones get nothing, until it is resumed."""
    await served.callback.PollActions(_poll("poller", 0))
    poll = asyncio.ensure_future(served.callback.PollActions(_poll("poller", 30_000)))
    async with asyncio.timeout(PATIENCE):
        await served.workers.DrainWorker(v1.DrainWorkerRequest(worker_id="poller"))
        answer = await poll
    assert (list(answer.offers), answer.is_draining) == ([], True)
    await served.start()
    answer = await served.callback.PollActions(_poll("poller", 200))
    assert (list(answer.offers), answer.is_draining) == ([], True)
    await served.workers.ResumeWorker(v1.ResumeWorkerRequest(worker_id="poller"))
    answer = await served.callback.PollActions(_poll("poller", 10_000))
    assert (len(answer.offers), answer.is_draining) == (1, False)


async def test_new_instance_of_a_drained_worker_works(served: Served) -> None:
    """A drain is of the process that was there: a deployment drains, stops, and starts the next version."""
    await served.callback.PollActions(_poll("poller", 0, instance="old"))
    await served.workers.DrainWorker(v1.DrainWorkerRequest(worker_id="poller"))
    await served.start()
    answer = await served.callback.PollActions(_poll("poller", 10_000, instance="new"))
    assert (len(answer.offers), answer.is_draining) == (1, False)
    answer = await served.workers.GetWorker(v1.GetWorkerRequest(worker_id="poller"))
    states = {worker.instance: worker_pb2.WorkerState.Name(worker.state) for worker in answer.workers}
    assert states == {"old": "WORKER_STATE_DRAINING", "new": "WORKER_STATE_ACTIVE"}


async def test_worker_is_seen_and_drained_from_another_server(postgres_url: Callable[[], str]) -> None:
    """Wherever it is connected; and when its server is gone, so is it."""
    url = postgres_url()
    async with serving(url) as a:
        async with serving(url) as b, b.worker() as hand:
            await b.server.runtime.workers.flush()
            [worker] = await listed(a)
            assert (worker.worker_id, worker.server_id) == (hand.worker_id, b.server.runtime.server_id)
            id_ = await a.start()
            offer = await hand.offer()
            await drain(a, hand, "from afar")
            # as the next beat does if the news are lost
            await b.server.runtime.workers.beat()
            assert await hand.standby() == (True, "from afar")
            await hand.finish(offer.token, 1)
            assert await a.ended(id_) == ("SUCCEEDED", {"r": 1})
            await a.start()
            await resume(a, hand)
            await hand.grant(1)
            await b.server.runtime.workers.beat()
            await hand.offer()
        assert await listed(a) == []


async def test_rows_of_a_vanished_server_expire(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are listed no more once nobody says that they are there, and deleted by whoever comes next."""
    async with serving(database_url) as served, served.worker():
        runtime = served.server.runtime
        assert len(await listed(served)) == 1
        monkeypatch.setattr(runtime.clock, "_base", runtime.clock._base + timedelta(seconds=31))
        assert await listed(served) == []
        await runtime.workers.beat()
        assert len(await listed(served)) == 1
