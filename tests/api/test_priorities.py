"""What is urgent goes first, by a minute for each point; nothing overtakes for ever."""

from __future__ import annotations

import contextlib
from typing import Any

import grpc
import pytest_asyncio

from tests.api.harness import Served
from tradewind import values
from tradewind.v1 import execution_service_pb2

TEXT = """
version: '2.0'
plain:
  input: [n]
  tasks:
    t: {action: shop.do, input: {n: <% $.n %>}}
urgent:
  input: [n, p]
  tasks:
    t: {action: shop.do, input: {n: <% $.n %>}, priority: <% $.p %>}
parent:
  input: [n]
  tasks:
    sub: {workflow: plain, input: {n: <% $.n %>}}
careful:
  input: [n]
  tasks:
    sub: {workflow: plain, input: {n: <% $.n %>}, priority: 3}
odd:
  input: [n]
  tasks:
    sub: {workflow: plain, input: {n: <% $.n %>, priority: high}}
"""


@pytest_asyncio.fixture
async def shop(served: Served) -> Served:
    """A server that knows the workflows."""
    await served.deploy(TEXT)
    return served


async def _start(shop: Served, workflow: str, number: int, params: dict[str, Any] | None = None, **more: Any) -> None:
    """Start, and wait until the action is queued."""
    id_ = await shop.start(workflow, {"n": number, **more}, params=values.to_payload(params or {}))
    request = execution_service_pb2.ListActionsRequest(execution_id=id_)
    [action] = (await shop.executions.ListActions(request)).actions
    while action.child_execution_id:
        # the child begins with the next batch
        with contextlib.suppress(grpc.aio.AioRpcError):
            await shop.until(action.child_execution_id, "ActionScheduled")
            break


async def _order(shop: Served, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        for offer in await shop.poll(most=1):
            given = values.from_payload(offer.input)
            assert isinstance(given, dict)
            found.append(int(str(given["n"])))
    return found


async def test_urgent_action_goes_first(shop: Served) -> None:
    """And one that can wait goes last; equal ones in the order in which they became ready."""
    workflow = "urgent"
    await _start(shop, workflow, 1, p=0)
    await _start(shop, workflow, 2, p=-1)
    await _start(shop, workflow, 3, p=5)
    await _start(shop, workflow, 4, p=100)
    await _start(shop, workflow, 5, p=0)
    assert await _order(shop, 5) == [4, 3, 1, 5, 2]


async def test_priority_of_an_execution_is_that_of_its_tasks(shop: Served) -> None:
    """Of those that say no other one, and of sub-workflows; a task's own priority is that of its sub-workflow."""
    await _start(shop, "plain", 1)
    await _start(shop, "plain", 2, {"priority": 2})
    await _start(shop, "urgent", 3, {"priority": 9}, p=1)
    await _start(shop, "parent", 4, {"priority": 4})
    await _start(shop, "careful", 5, {"priority": 9})
    await _start(shop, "odd", 6, {"priority": 7})
    assert await _order(shop, 6) == [6, 4, 5, 2, 3, 1]
