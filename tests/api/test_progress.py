"""GetExecution with progress: how far it is, and how long it may take."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from tests.api.harness import Served
from tradewind.v1 import action_callback_pb2, execution_pb2
from tradewind.v1 import execution_service_pb2 as pb
from tradewind_server.store import schema

TEXT = """
version: '2.0'
mixed:
  tasks:
    a: {action: std.noop, on-success: [b, c], on-error: apologise}
    b: {action: std.async_noop, on-success: join}
    c: {action: shop.do, on-success: join}
    join: {join: all, on-success: last}
    last: {action: std.noop, on-error: apologise}
    apologise: {action: std.noop}
items:
  tasks:
    t:
      with-items: i in <% range(5) %>
      concurrency: 2
      action: std.async_noop
"""


async def _progress(served: Served, id_: str) -> execution_pb2.Progress:
    answer = await served.executions.GetExecution(pb.GetExecutionRequest(execution_id=id_, with_progress=True))
    found: execution_pb2.Progress = answer.progress
    return found


async def test_progress_tells_done_running_waiting_and_left(served: Served) -> None:
    """What a worker has runs; what is queued, asked of a person or waits for branches does not."""
    await served.deploy(TEXT)
    id_ = await served.start("mixed", {})
    await served.until(id_, "TaskSucceeded")
    assert await _progress(served, id_) == execution_pb2.Progress(done=1, waiting=2, left=2, left_at_most=3)

    async with served.worker() as hand:
        offer = await hand.offer()
        await hand.accept(offer.token)
        await _beaten(served, hand, offer.token)
        wanted = execution_pb2.Progress(done=1, running=1, waiting=1, left=2, left_at_most=3)
        assert await _progress(served, id_) == wanted
        await hand.finish(offer.token)
        await hand.receipt()
    assert await _progress(served, id_) == execution_pb2.Progress(done=2, waiting=2, left=1, left_at_most=2)

    plain = await served.executions.GetExecution(pb.GetExecutionRequest(execution_id=id_))
    assert not plain.HasField("progress")


async def _beaten(served: Served, hand: Any, token: bytes) -> None:
    """Return when the server has seen that a worker is at work."""
    request = action_callback_pb2.HeartbeatActionsRequest(
        worker_id=hand.worker_id, actions=[action_callback_pb2.ActionBeat(token=token)]
    )
    await served.callback.HeartbeatActions(request)


async def test_progress_counts_items(served: Served) -> None:
    """Those that have ended, of all that there will be."""
    await served.deploy(TEXT)
    id_ = await served.start("items", {})
    reference = action_callback_pb2.ActionReference(execution_id=id_, action_id="a1")
    await served.callback.CompleteAction(action_callback_pb2.CompleteActionRequest(action=reference))

    found = await _progress(served, id_)
    assert (found.waiting, found.items_total, found.items_done) == (1, 5, 1)


async def test_duration_is_expected_from_five_successes_on(served: Served) -> None:
    """Of the same version only, whatever else has run; with the moment at which it would end so."""
    plain = "version: '2.0'\nplain: {tasks: {t: {action: std.async_noop}}}"
    await served.deploy(plain)
    ids = [await served.start("plain", {}) for _ in range(6)]
    database = served.server.runtime.database
    x = schema.executions.c
    for n, id_ in enumerate(ids[:4]):
        await _end(database, id_, n + 1)
    assert not (await _progress(served, ids[5])).HasField("expected")

    await _end(database, ids[4], 100)
    expected = (await _progress(served, ids[5])).expected
    assert expected.sample_count == 5
    assert (expected.p50.ToTimedelta(), expected.p90.ToTimedelta()) == (timedelta(seconds=3), timedelta(seconds=100))
    began = (await served.get(ids[5])).created_at.ToDatetime()
    assert expected.finish_p50.ToDatetime() == began + timedelta(seconds=3)

    await served.deploy(plain.replace("async_noop", "async_noop, wait-after: 1"))
    newer = await served.start("plain", {})
    assert not (await _progress(served, newer)).HasField("expected")
    with database.connect_reader() as connection:
        assert connection.execute(sa.select(x.definition_version).where(x.id == newer)).scalar_one() == 2


async def _end(database: Any, id_: str, seconds: int) -> None:
    """Write that an execution succeeded after so long."""
    x = schema.executions
    with database.connect_reader() as connection:
        connection.execute(
            sa.update(x)
            .where(x.c.id == id_)
            .values(state="SUCCEEDED", finished_at=x.c.created_at + seconds * 1_000_000)
        )
