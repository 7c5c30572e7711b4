"""A caller's trace goes with all that its execution does, to the workers and to what they call."""

from __future__ import annotations

import asyncio

import pytest

import tradewind
from tests.api.harness import PATIENCE, Served, serving, start
from tradewind.v1 import execution_service_pb2

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
TEXT = """
version: '2.0'
long:
  tasks:
    first: {action: shop.do, on-success: second}
    second: {action: shop.do, on-success: third}
    third: {workflow: below}
below:
  tasks:
    last: {action: shop.do}
"""


async def _start(served: Served, trace: str, workflow: str = "long") -> str:
    answer = await served.executions.StartExecution(
        start(workflow, {}), timeout=PATIENCE, metadata=(("traceparent", trace),)
    )
    return str(answer.execution.id)


async def test_trace_of_a_start_is_in_every_offer_and_event(served: Served) -> None:
    """Also of later tasks, of sub-workflows, and of what results and timers cause."""
    await served.deploy(TEXT)
    id_ = await _start(served, TRACE)
    async with served.worker() as hand:
        found = []
        for _ in range(3):
            offer = await hand.offer()
            found.append((offer.task, offer.traceparent))
            await hand.finish(offer.token)
    assert found == [("first", TRACE), ("second", TRACE), ("last", TRACE)]
    assert {event.traceparent for event in await served.follow(id_)} == {TRACE}


async def test_trace_is_kept_over_a_restart(tmp_path: object) -> None:
    """It is of the execution, not of the memory of a server."""
    path = f"{tmp_path}/tradewind.db"
    async with serving(path) as served:
        await served.deploy(TEXT)
        await _start(served, TRACE)
    async with serving(path) as served, served.worker() as hand:
        await hand.finish((await hand.offer()).token)
        offer = await hand.offer()
        assert (offer.task, offer.traceparent) == ("second", TRACE)


async def test_command_with_a_trace_of_its_own_shows_that(served: Served) -> None:
    """Who cancels is another caller than who started."""
    await served.deploy(TEXT)
    id_ = await _start(served, TRACE)
    request = execution_service_pb2.CancelExecutionRequest(execution_id=id_)
    await served.executions.CancelExecution(request, metadata=(("traceparent", OTHER),))
    events = await served.follow(id_)
    assert {e.traceparent for e in events if e.cause.command == "StartExecution"} == {TRACE}
    assert {e.traceparent for e in events if e.cause.command != "StartExecution"} == {OTHER}


@pytest.mark.parametrize("trace", ["", "00-1-2-01", "garbage", TRACE.upper(), TRACE + "-" + "x" * 200])
async def test_what_is_no_trace_context_is_left_out(trace: str) -> None:
    """The call is carried out all the same."""
    async with serving("") as served:
        await served.deploy(TEXT)
        await _start(served, trace)
        async with served.worker() as hand:
            assert (await hand.offer()).traceparent == ""


async def test_python_client_and_worker_carry_a_trace(served: Served) -> None:
    """From the caller over two workers' functions, plain and coroutine, into what they start themselves."""
    await served.deploy("""
version: '2.0'
outer:
  tasks:
    plain: {action: trace.plain, on-success: later}
    later: {action: trace.later}
inner:
  tasks:
    t: {action: std.noop}
""")
    seen: list[str] = []
    async with tradewind.aio.connect(served.address) as client:
        worker = tradewind.Worker(client)

        @worker.action("trace.plain")
        def plain() -> None:
            seen.append(tradewind.traceparent())

        @worker.action("trace.later")
        async def later(context: tradewind.ActionContext) -> str:
            seen.append(context.traceparent)
            return (await client.start("inner")).id

        with tradewind.traced(TRACE):
            execution = await client.start("outer")
        assert tradewind.traceparent() == ""
        serving_ = asyncio.create_task(worker.serve())
        try:
            ended = await client.wait(execution.id, timeout=PATIENCE)
            assert ended.state == "SUCCEEDED"
        finally:
            worker.stop()
            await serving_
        [second] = [a async for a in client.actions(execution.id, "name = trace.later")]
        inner = await client.get(str(second.result))
        events = [event async for event in client.history(inner.id)]
    assert seen == [TRACE, TRACE]
    assert {event.proto.traceparent for event in events} == {TRACE}
