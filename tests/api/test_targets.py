"""A task with a target waits for the worker it names, and goes to no other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from tests.api.harness import Served, serving
from tradewind import values
from tradewind.v1 import action_callback_pb2, execution_service_pb2

TARGETED = """
version: '2.0'
targeted:
  input: [where]
  output: {r: <% $.r %>}
  tasks:
    t:
      action: print.label
      target: <% $.where %>
      publish: {r: <% task().result %>}
builtin:
  tasks:
    t: {action: std.noop, target: nobody}
"""


@pytest_asyncio.fixture
async def shop(served: Served) -> AsyncIterator[Served]:
    """A server that knows the workflows."""
    await served.deploy(TARGETED)
    yield served


async def _poll(served: Served, worker: str, milliseconds: int, **labels: str) -> list[action_callback_pb2.Offer]:
    """Ask once, and wait as long as that."""
    capability = action_callback_pb2.ActionCapability(name="print.label", labels=labels)
    request = action_callback_pb2.PollActionsRequest(worker_id=worker, actions=[capability], max_actions=10)
    request.wait.FromMilliseconds(milliseconds)
    return list((await served.callback.PollActions(request)).offers)


@pytest.mark.parametrize(
    ("target", "worker", "labels"), [("printer-7", "printer-7", {}), ("site=oslo", "printer-8", {"site": "oslo"})]
)
async def test_task_goes_to_the_worker_that_it_names(
    shop: Served, target: str, worker: str, labels: dict[str, str]
) -> None:
    """By the worker's id, or by one of its labels."""
    id_ = await shop.start("targeted", {"where": target})
    assert await _poll(shop, "other", 200) == []
    assert await _poll(shop, "other", 200, site="bergen") == []
    [offer] = await _poll(shop, worker, 10_000, **labels)
    assert await shop.complete(offer.token, 5) == "RECORDED"
    assert await shop.ended(id_) == ("SUCCEEDED", {"r": 5})


async def test_worker_that_is_named_also_takes_what_names_nobody(shop: Served) -> None:
    """Its labels are no fence."""
    await shop.start("targeted", {"where": ""})
    assert len(await _poll(shop, "printer-7", 10_000, site="oslo")) == 1


async def test_explanation_names_the_missing_target(shop: Served) -> None:
    """Or an operator would look for a worker that is there."""
    id_ = await shop.start("targeted", {"where": "printer-9"})
    async with shop.worker("print.label"):
        answer = await shop.executions.ExplainExecution(execution_service_pb2.ExplainExecutionRequest(execution_id=id_))
    [wait] = answer.waits
    assert wait.kind == execution_service_pb2.WAIT_KIND_WORKER_ABSENT
    assert "for the target 'printer-9'" in wait.detail


async def test_built_in_action_runs_in_the_server_whoever_is_meant(shop: Served) -> None:
    """As in Mistral, where the target has no effect on it."""
    assert (await shop.ended(await shop.start("builtin", {})))[0] == "SUCCEEDED"


async def test_target_is_found_on_another_server(postgres_url: Callable[[], str]) -> None:
    """A worker that waits there hears of it at once."""
    url = postgres_url()
    async with serving(url) as a, serving(url) as b:
        await a.deploy(TARGETED)
        async with b.worker("print.label") as hand:
            id_ = await a.start("targeted", {"where": hand.worker_id})
            offer = await hand.offer()
            assert values.from_payload(offer.input) == {}
            await hand.finish(offer.token, 1)
            assert await a.ended(id_) == ("SUCCEEDED", {"r": 1})
