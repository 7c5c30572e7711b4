"""std.mistral_http: the server sends the request, its receiver calls back, nobody waits in between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from grpc import StatusCode

from tests.api.harness import PATIENCE, Served, refused, serving
from tradewind import values
from tradewind.v1 import action_callback_pb2 as v1
from tradewind.v1 import execution_service_pb2 as pb
from tradewind_server.store import schema

TEXT = """
version: '2.0'
ask:
  input: [url]
  output: {said: <% $.get(said) %>, error: <% $.get(error) %>}
  tasks:
    ask:
      action: std.mistral_http
      input: {url: <% $.url %>, method: POST, json: {question: 42}}
      publish: {said: <% task().result %>}
      on-error: sorry
      publish-on-error: {error: <% task().result %>}
    sorry: {action: std.noop}
"""
SETTINGS: dict[str, Any] = {"allow_private_addresses": True, "callback_url": "https://front.example"}


class Receiver:
    """Takes requests, and answers each when the test lets it."""

    def __init__(self) -> None:
        self.url = ""
        self.got: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.may_answer = asyncio.Event()
        self.status = 202

    async def handle(self, request: web.Request) -> web.Response:
        self.got.put_nowait(dict(request.headers))
        await self.may_answer.wait()
        return web.Response(text="not the result", status=self.status)

    async def request(self) -> tuple[str, str]:
        """Wait for a request; return the ids of the execution and the action that it names."""
        async with asyncio.timeout(PATIENCE):
            headers = await self.got.get()
        assert headers["Mistral-Task-Id"] == "t1"
        url = headers["Mistral-Callback-URL"]
        execution, action = headers["Mistral-Action-Execution-Id"].split("/")
        assert url == f"https://front.example/v2/action_executions/{execution}/{action}"
        return execution, action


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run a receiver on loopback."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        yield receiver
    finally:
        receiver.may_answer.set()
        await runner.cleanup()


async def call_back(served: Served, execution: str, action: str, result: object) -> str:
    """Complete an action by its ids, as a front door does for who calls back."""
    request = v1.CompleteActionRequest(result=values.to_payload(result))
    request.action.execution_id, request.action.action_id = execution, action
    answer = await served.callback.CompleteAction(request, timeout=PATIENCE)
    return v1.ReceiptStatus.Name(answer.status).removeprefix("RECEIPT_STATUS_")


async def out_of_queue(served: Served, id_: str) -> None:
    """Wait until nothing of an execution is queued or leased."""
    async with asyncio.timeout(PATIENCE):
        while await served.server.runtime.read(
            lambda connection, _: connection.execute(
                schema.queue.select().where(schema.queue.c.execution_id == id_)
            ).first()
        ):
            await asyncio.sleep(0)


async def test_result_is_what_is_called_back(database_url: str) -> None:
    """The answer to the request is not; once it is there, nobody holds the action, and it waits."""
    async with serving(database_url, **SETTINGS) as served, receiving() as receiver:
        await served.deploy(TEXT)
        receiver.may_answer.set()
        id_ = await served.start("ask", {"url": receiver.url})
        execution, action = await receiver.request()
        await out_of_queue(served, id_)
        explained = await served.executions.ExplainExecution(pb.ExplainExecutionRequest(execution_id=id_))
        assert [wait.detail for wait in explained.waits] == [
            "Its result comes from outside: complete or fail the action."
        ]

        assert (execution, await call_back(served, execution, action, {"answer": 7})) == (id_, "RECORDED")

        assert await served.ended(id_) == ("SUCCEEDED", {"said": {"answer": 7}, "error": None})


async def test_call_back_may_be_faster_than_the_answer(database_url: str) -> None:
    """The receiver calls back while it is still being asked; its late answer, even a bad one, changes nothing."""
    async with serving(database_url, **SETTINGS) as served, receiving() as receiver:
        await served.deploy(TEXT)
        receiver.status = 500
        id_ = await served.start("ask", {"url": receiver.url})
        execution, action = await receiver.request()

        assert await call_back(served, execution, action, "early") == "RECORDED"
        assert await served.ended(id_) == ("SUCCEEDED", {"said": "early", "error": None})
        receiver.may_answer.set()
        assert await call_back(served, execution, action, "early") == "ALREADY_RECORDED"
        with refused(StatusCode.FAILED_PRECONDITION, "ACTION_FINAL"):
            await call_back(served, execution, action, "other")


async def test_receiver_that_refuses_fails_the_action(database_url: str) -> None:
    """It will not call back."""
    async with serving(database_url, **SETTINGS) as served, receiving() as receiver:
        await served.deploy(TEXT)
        receiver.status = 503
        receiver.may_answer.set()
        id_ = await served.start("ask", {"url": receiver.url})

        state, output = await served.ended(id_)

    assert (state, output["error"]["status"], output["error"]["content"]) == ("SUCCEEDED", 503, "not the result")


async def test_without_a_url_to_call_back_to_it_fails() -> None:
    """It says which setting is missing."""
    async with serving("", allow_private_addresses=True) as served, receiving() as receiver:
        await served.deploy(TEXT)
        id_ = await served.start("ask", {"url": receiver.url})

        state, output = await served.ended(id_)

    assert state == "SUCCEEDED"
    assert output["error"] == "Nobody could call back: the server has no URL for that (setting callback_url)."


async def test_cancelled_while_it_is_sent(database_url: str) -> None:
    """It ends at once, as other asynchronous actions do; a call-back is too late."""
    async with serving(database_url, **SETTINGS) as served, receiving() as receiver:
        await served.deploy(TEXT)
        id_ = await served.start("ask", {"url": receiver.url})
        execution, action = await receiver.request()

        await served.executions.CancelExecution(pb.CancelExecutionRequest(execution_id=id_))

        assert (await served.ended(id_))[0] == "CANCELLED"
        with refused(StatusCode.FAILED_PRECONDITION, "ACTION_FINAL"):
            await call_back(served, execution, action, "late")


@pytest.mark.slow
async def test_it_is_sent_once_however_long_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No lease runs out, since nobody holds it."""
    monkeypatch.setattr("tradewind_server.runtime.runtime._SWEEP_SECONDS", 0.1)
    async with (
        serving("", delivery_lease_seconds=1, work_lease_seconds=1, **SETTINGS) as served,
        receiving() as receiver,
    ):
        await served.deploy(TEXT)
        receiver.may_answer.set()
        id_ = await served.start("ask", {"url": receiver.url})
        execution, action = await receiver.request()
        await out_of_queue(served, id_)
        lapsed = await served.start("one")
        async with served.worker(credits_=1) as late, served.worker(credits_=0) as other:
            await late.offer()
            await other.grant(1)
            await other.finish((await other.offer()).token)  # so a whole lease has run out meanwhile
        await served.ended(lapsed)

        assert receiver.got.empty()
        assert await call_back(served, execution, action, 1) == "RECORDED"
