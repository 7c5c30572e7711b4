"""Mistral's start parameter `notify`: webhooks of one execution and what is below it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from grpc import StatusCode

from tests.api.harness import Served, refused
from tests.api.test_log_watching import TREE, echoing, run
from tests.api.test_subscriptions import Keeper
from tests.api.test_webhooks import receiving, sending, status
from tradewind import values
from tradewind.v1 import subscription_service_pb2 as pb
from tradewind_server.actions import webhooks


@pytest_asyncio.fixture
async def served(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """Give a server that may send to this machine, with a workflow that has a sub-workflow."""
    monkeypatch.setattr(webhooks, "_FIRST_SECONDS", 0.02)
    async with echoing(database_url, allow_private_addresses=True) as served:
        await served.deploy(TREE)
        yield served


async def start(served: Served, workflow: str, *targets: Any) -> str:
    """Start a workflow with webhooks, and wait for its end."""
    params = values.to_payload({"notify": list(targets)})
    id_ = await served.start(workflow, {}, params=params)
    await served.follow(id_)
    return id_


async def test_events_of_an_execution_and_its_children_are_sent(served: Served) -> None:
    """And those of no other; from the first one on."""
    async with receiving() as receiver:
        await run(served)
        id_ = await start(served, "top", {"type": "webhook", "url": receiver.url, "headers": {"X-Team": "a"}})
        await run(served)
        own = [f"{id_}:{event.revision}" for event in await served.follow(id_)]
        await receiver.until(lambda: receiver.ids(id_) == own)
        assert {event["data"]["root_id"] for event in receiver.events} == {id_}
        assert {event["data"]["workflow"] for event in receiver.events} == {"top", "leaf"}
        assert receiver.requests[0][0]["X-Team"] == "a"


async def test_only_the_types_that_are_named_are_sent(served: Served) -> None:
    """By Mistral's names or by ours, to each target its own."""
    async with receiving() as one, receiving() as other:
        first = {"type": "webhook", "url": one.url, "event_types": ["WORKFLOW_LAUNCHED", "WORKFLOW_SUCCEEDED"]}
        await start(served, "echo", first, {"type": "webhook", "url": other.url, "event_types": ["TaskSucceeded"]})
        await one.count(2)
        await other.count(1)
        assert [event["data"]["type"] for event in one.events] == ["ExecutionStarted", "ExecutionSucceeded"]
        assert [event["data"]["type"] for event in other.events] == ["TaskSucceeded"]


async def test_receiver_that_is_gone_harms_no_other(served: Served) -> None:
    """What was for it is a dead letter of the subscription `notify/0`, which everybody can see."""
    ends = {"type": "webhook", "event_types": ["WORKFLOW_SUCCEEDED"]}
    async with receiving() as gone, receiving() as there:
        gone.default = status(410)
        id_ = await start(served, "echo", {**ends, "url": gone.url})
        await gone.count(1)
        other = await start(served, "echo", {**ends, "url": there.url})
        await there.count(1)
        assert there.events[0]["subject"] == other
        keeper = Keeper(served)
        request = pb.ListDeadLettersRequest(name="notify/0")
        [letter] = (await keeper.stub.ListDeadLetters(request)).dead_letters
        assert (letter.execution_id, letter.message) == (id_, "Status 410.")
        with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
            await keeper.create("notify/7")


@pytest.mark.parametrize(
    ("notify", "problem"),
    [
        ({"type": "webhook"}, "it is no list"),
        (["x"], "an entry is no dictionary"),
        ([{"type": "noop"}], "type 'noop' is not served: use type webhook"),
        ([{"type": "webhook"}], "an entry needs url"),
        ([{"type": "webhook", "url": "ftp://x"}], "webhook.url"),
        ([{"type": "webhook", "url": "http://x", "color": 1}], "the unknown key 'color'"),
        ([{"type": "webhook", "url": "http://x", "event_types": ["TASK_RERUN"]}], "a rerun begins with TASK_LAUNCHED"),
        ([{"type": "webhook", "url": "http://x", "headers": {"Host": "y"}}], "webhook.headers"),
        ([{"type": "webhook", "url": "http://x", "headers": {"X": "secret('a')"}}], "a subscription may have that"),
        ([{"type": "webhook", "url": "http://x"}] * 6, "at most 5"),
    ],
)
async def test_target_that_cannot_be_served_is_refused(notify: Any, problem: str) -> None:
    """At the start, and nothing is started; the refusal says what to do."""
    async with echoing("") as served:
        with refused(StatusCode.INVALID_ARGUMENT, "PARAMETER_INVALID") as caught:
            await served.start("echo", {}, params=values.to_payload({"notify": notify}))
        assert problem in caught.message


async def test_one_fault_in_looking_for_webhooks_does_not_end_them(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the next one: they are looked for as long as the server runs."""
    take, faults = webhooks.Webhooks._take_free, [ValueError("a fault"), ValueError("another")]

    async def faulty(self: webhooks.Webhooks) -> None:
        if faults:
            raise faults.pop()
        await take(self)

    monkeypatch.setattr(webhooks, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(webhooks.Webhooks, "_take_free", faulty)
    async with sending(database_url) as (keeper, receiver):
        await run(keeper.served, count=1)
        await receiver.count(1)
    assert faults == []
