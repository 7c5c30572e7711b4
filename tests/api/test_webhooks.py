"""Webhooks: what a receiver gets, whatever it answers, and whoever of the servers sends."""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import hashlib
import hmac
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiohttp import web
from grpc import StatusCode

from tests.api.harness import PATIENCE, Served, refused, start
from tests.api.test_log_watching import echoing, run
from tests.api.test_subscriptions import ENDS, Keeper
from tests.api.test_traces import TRACE
from tradewind import Webhook, aio, values
from tradewind.v1 import execution_service_pb2, subscription_pb2
from tradewind.v1 import subscription_service_pb2 as pb
from tradewind_server.actions import webhooks
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.runtime.subscriptions import Deliver
from tradewind_server.store import parked
from tradewind_server.store.parked import Parked

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

WAITING = """
version: '2.0'
sums:
  input: [amount]
  tasks:
    t: {action: std.async_noop, on-success: u}
    u: {action: std.echo output=<% $.amount %>}
"""


class Receiver:
    """A web server that keeps what it gets, and answers what it is told to."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        #: When each of them came, on the clock of the event loop.
        self.moments: list[float] = []
        #: What to answer next to events of a workflow.
        self.answers: dict[str, list[Answer]] = collections.defaultdict(list)
        #: What to answer to everything else.
        self.default: Answer = status(204)
        self.url = ""
        self._news = asyncio.Condition()

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Keep one."""
        body = await request.read()
        async with self._news:
            self.requests.append((dict(request.headers), body))
            self.moments.append(asyncio.get_running_loop().time())
            self._news.notify_all()
        event: Any = values.decode(body)
        answers = self.answers[event["data"]["workflow"]]
        return await (answers.pop(0) if answers else self.default)(request)

    @property
    def events(self) -> list[Any]:
        """The bodies."""
        return [values.decode(body) for _, body in self.requests]

    def ids(self, execution: str = "") -> list[str]:
        """Return the ids of what came, of one execution or of all."""
        return [event["id"] for event in self.events if execution in ("", event["subject"])]

    async def until(self, is_done: Callable[[], bool]) -> None:
        """Wait for something that the requests tell."""
        async with asyncio.timeout(3 * PATIENCE), self._news:
            await self._news.wait_for(is_done)

    async def count(self, most: int) -> list[Any]:
        """Wait until so many requests have come."""
        await self.until(lambda: len(self.requests) >= most)
        return self.events


def status(code: int, **headers: str) -> Answer:
    """Answer with a status."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers={key.replace("_", "-"): value for key, value in headers.items()})

    return answer


async def says_ok_and_resets(request: web.Request) -> web.StreamResponse:
    """Lie: 200 with a long body, of which the connection breaks."""
    response = web.StreamResponse(headers={"Content-Length": "1000000"})
    await response.prepare(request)
    assert request.transport is not None
    request.transport.abort()
    return response


async def never_ends(request: web.Request) -> web.StreamResponse:
    """Answer with a body without end."""
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await response.write(b"x" * 65536)
    return response


async def stalls(request: web.Request) -> web.StreamResponse:
    """Answer nothing at all."""
    await asyncio.Event().wait()
    raise AssertionError


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


#: Set whenever something has been written down about what was sent.
_written = asyncio.Event()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon, and tell when something was written down."""
    global _written
    _written = written = asyncio.Event()
    monkeypatch.setattr(webhooks, "_FIRST_SECONDS", 0.02)
    monkeypatch.setattr(webhooks, "_PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(webhooks, "_LOOK_SECONDS", 0.1)
    write = webhooks.Pump._write

    async def tell(self: webhooks.Pump, *what: Any) -> None:
        await write(self, *what)
        written.set()

    monkeypatch.setattr(webhooks.Pump, "_write", tell)


@contextlib.asynccontextmanager
async def sending(url: str, filter_: str = "", **webhook: Any) -> AsyncIterator[tuple[Keeper, Receiver]]:
    """Run a server and a receiver, and a subscription from the beginning on."""
    async with receiving() as receiver, echoing(url, allow_private_addresses=True) as served:
        keeper = Keeper(served)
        await subscribe(served, receiver, filter_, **webhook)
        yield keeper, receiver


async def subscribe(served: Served, receiver: Receiver, filter_: str = "", **webhook: Any) -> None:
    """Have everything sent there."""
    async with aio.connect(served.address) as client:
        wanted = Webhook(**{"url": receiver.url, **webhook})
        await client.create_subscription("s", filter_, from_beginning=True, webhook=wanted)


async def settled(is_there: Callable[[], Awaitable[Any]]) -> Any:
    """Return what *is_there* returns once that is something; it is asked whenever something was written down."""
    async with asyncio.timeout(PATIENCE):
        while True:
            _written.clear()
            found = await is_there()
            if found:
                return found
            await _written.wait()


async def shown(keeper: Keeper, is_there: Callable[[subscription_pb2.Subscription], bool]) -> Any:
    """Return the subscription once it is as it should be."""

    async def look() -> Any:
        found = await keeper.get()
        return found if is_there(found) else None

    return await settled(look)


async def test_every_event_is_sent_in_the_order_of_its_execution(database_url: str) -> None:
    """As a CloudEvent in structured mode."""
    async with sending(database_url) as (keeper, receiver):
        ids = await run(keeper.served, count=5)
        expected = {id_: [f"{id_}:{event.revision}" for event in await keeper.served.follow(id_)] for id_ in ids}
        await receiver.count(sum(map(len, expected.values())))
        assert {id_: receiver.ids(id_) for id_ in ids} == expected
        headers, _ = receiver.requests[0]
        assert headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
        first = receiver.events[0]
        history = await keeper.served.follow(first["subject"])
        assert {key: first[key] for key in ("specversion", "source", "type", "datacontenttype")} == {
            "specversion": "1.0",
            "source": "/tradewind/namespaces/default",
            "type": "io.tradewind.ExecutionStarted",
            "datacontenttype": "application/json",
        }
        assert (first["data"]["revision"], first["data"]["workflow"]) == (1, "echo")
        assert first["time"] == first["data"]["at"] == history[0].at.ToDatetime().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        assert first["data"]["execution_state"] == "RUNNING"
        await shown(keeper, lambda found: found.pending_events == 0)


async def test_numbers_keep_their_digits(database_url: str) -> None:
    """In the data."""
    async with sending(database_url, 'type = "ExecutionStarted"') as (keeper, receiver):
        await keeper.served.deploy(WAITING)
        amount = "12345678901234567890.10"
        given = values.decode(f'{{"amount": {amount}}}'.encode())
        await keeper.served.start("sums", given)
        await receiver.count(1)
        assert f'"amount":{amount}'.encode() in receiver.requests[0][1].replace(b" ", b"")


async def test_request_is_signed_and_has_its_headers(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Standard Webhooks says; secrets are put in when it is sent, and shown to nobody."""
    key = b"a key of enough bytes"
    monkeypatch.setenv("TRADEWIND_SECRET_HOOK", f"whsec_{base64.b64encode(key).decode()}")
    monkeypatch.setenv("TRADEWIND_SECRET_TOKEN", "open-sesame")
    headers = {"Authorization": "Bearer secret('token')"}
    async with sending(database_url, ENDS, headers=headers, signing_secret="hook") as (keeper, receiver):
        await run(keeper.served)
        await receiver.count(1)
        sent, body = receiver.requests[0]
        assert sent["Authorization"] == "Bearer open-sesame"
        id_, timestamp = sent["webhook-id"], sent["webhook-timestamp"]
        assert id_ == receiver.events[0]["id"]
        made = hmac.digest(key, f"{id_}.{timestamp}.".encode() + body, hashlib.sha256)
        assert sent["webhook-signature"] == f"v1,{base64.b64encode(made).decode()}"
        assert "open-sesame" not in str(await keeper.get())


async def test_event_carries_the_trace_of_its_execution(database_url: str) -> None:
    """As header and as CloudEvents' attribute; where there is none, neither is there."""
    async with sending(database_url, ENDS) as (keeper, receiver):
        stub = keeper.served.executions
        await stub.StartExecution(start("echo", {}), metadata=(("traceparent", TRACE),))
        await receiver.count(1)
        await run(keeper.served)
        await receiver.count(2)
        assert [headers.get("traceparent") for headers, _ in receiver.requests] == [TRACE, None]
        assert [event.get("traceparent") for event in receiver.events] == [TRACE, None]


async def test_header_of_a_trace_that_the_webhook_names_itself_stays() -> None:
    """Whatever its case."""
    async with sending("", ENDS, headers={"Traceparent": "mine"}) as (keeper, receiver):
        await keeper.served.executions.StartExecution(start("echo", {}), metadata=(("traceparent", TRACE),))
        await receiver.count(1)
        assert {v for name, v in receiver.requests[0][0].items() if name.lower() == "traceparent"} == {"mine"}


async def test_failing_execution_waits_and_others_flow(database_url: str) -> None:
    """It is sent again with the same id, and what follows of it comes after it."""
    async with sending(database_url) as (keeper, receiver):
        await keeper.served.deploy(WAITING)
        receiver.answers["sums"] = [status(500)] * 4
        failing = await keeper.served.start("sums", {"amount": 1})
        others = await run(keeper.served, count=3)
        expected = [f"{failing}:{event.revision}" for event in await history(keeper.served, failing)]
        await receiver.until(lambda: receiver.ids(failing)[-1:] == expected[-1:])
        first = receiver.ids(failing)[0]
        assert receiver.ids(failing) == [first] * 4 + expected
        for id_ in others:
            ends = await keeper.served.follow(id_)
            assert receiver.ids(id_) == [f"{id_}:{event.revision}" for event in ends]
        await shown(keeper, lambda found: found.waiting_executions == 0 == found.dead_letters)


async def history(served: Served, id_: str) -> Sequence[Any]:
    """Return the events so far."""
    answer = await served.executions.ListEvents(execution_service_pb2.ListEventsRequest(execution_id=id_))
    return list(answer.events)


@pytest.mark.parametrize("answer", [says_ok_and_resets, never_ends])
async def test_receiver_that_says_yes_has_it(database_url: str, answer: Answer) -> None:
    """Whatever becomes of the rest of its answer, which nobody reads."""
    async with sending(database_url, ENDS) as (keeper, receiver):
        receiver.default = answer
        ids = await run(keeper.served, count=3)
        await receiver.count(3)
        found = await shown(keeper, lambda found: found.pending_events == 0)
        assert (found.waiting_executions, sorted(receiver.ids())) == (0, sorted(receiver.ids()))
        assert sorted(event["subject"] for event in receiver.events) == sorted(ids)


async def test_stalled_receiver_does_not_hold_others_up(database_url: str) -> None:
    """The time-out ends it, and it is sent again."""
    async with sending(database_url, ENDS, timeout=1.0) as (keeper, receiver):
        receiver.answers["echo"] = [stalls]
        slow = await keeper.served.start("echo", {})
        await receiver.until(lambda: bool(receiver.ids(slow)))
        others = await run(keeper.served, count=5)
        await receiver.until(lambda: all(receiver.ids(id_) for id_ in others))
        assert len(receiver.ids(slow)) == 1
        await receiver.until(lambda: len(receiver.ids(slow)) == 2)
        assert len(set(receiver.ids(slow))) == 1


async def test_redirect_is_not_followed(database_url: str) -> None:
    """Not even to an address that is fine; it is a failure like others."""
    async with sending(database_url, ENDS, max_attempts=1) as (keeper, receiver):
        receiver.default = status(307, Location=receiver.url)
        await run(keeper.served)
        await shown(keeper, lambda found: found.dead_letters == 1)
        [letter] = await dead_letters(keeper)
        assert letter.message == "Status 307: redirects are not followed."
        assert len(receiver.requests) == 1


async def test_private_address_is_refused(database_url: str) -> None:
    """As for std.http, unless the setting allows it."""
    async with receiving() as receiver, echoing(database_url) as served:
        await subscribe(served, receiver, ENDS, max_attempts=1)
        await run(served)
        keeper = Keeper(served)
        await shown(keeper, lambda found: found.dead_letters == 1)
        [letter] = await dead_letters(keeper)
        assert letter.message.startswith("Refused to connect: the address is not a public one")
        assert not receiver.requests


async def test_missing_secret_is_said(database_url: str) -> None:
    """Nothing is sent without it."""
    async with sending(database_url, ENDS, signing_secret="nowhere", max_attempts=1) as (keeper, receiver):
        await run(keeper.served)
        await shown(keeper, lambda found: found.dead_letters == 1)
        [letter] = await dead_letters(keeper)
        assert letter.message == "There is no secret 'nowhere' on this server."
        assert not receiver.requests


async def dead_letters(keeper: Keeper) -> list[Any]:
    """Return all."""
    async with aio.connect(keeper.served.address) as client:
        return [item async for item in client.dead_letters("s")]


async def test_gone_receiver_disables_the_subscription(database_url: str) -> None:
    """Until it is enabled; then nothing is missing."""
    async with sending(database_url, ENDS) as (keeper, receiver):
        receiver.default = status(410)
        [first] = await run(keeper.served)
        found = await shown(keeper, lambda found: found.state == subscription_pb2.SUBSCRIPTION_STATE_DISABLED)
        assert found.state_message == "The receiver answered that it is gone (410)."
        assert len(receiver.requests) == 1
        [second] = await run(keeper.served)
        receiver.default = status(204)
        async with aio.connect(keeper.served.address) as client:
            await client.enable_subscription("s")
        await receiver.until(lambda: {first, second} <= {event["subject"] for event in receiver.events[1:]})


@pytest.mark.parametrize("code", [429, 503])
async def test_receiver_that_asks_for_time_gets_it(database_url: str, code: int) -> None:
    """Nobody's event is sent before it is over."""
    async with sending(database_url, ENDS) as (keeper, receiver):
        receiver.default = status(code, Retry_After="1")
        await run(keeper.served)
        await receiver.count(1)
        receiver.default = status(200)
        await run(keeper.served, count=3)
        await receiver.count(5)
        first, *others = receiver.moments
        assert min(others) - first > 0.9


async def test_event_that_is_refused_too_often_is_a_dead_letter(database_url: str) -> None:
    """What follows of its execution waits behind it, until somebody has it sent again, or gives it up."""
    async with sending(database_url, max_attempts=2) as (keeper, receiver):
        receiver.default = status(400)
        ids = await run(keeper.served, count=3)
        lasts = {id_: (await history(keeper.served, id_))[-1].revision for id_ in ids}
        await shown(keeper, lambda found: found.dead_letters == 3)
        found = {item.execution_id: item for item in await dead_letters(keeper)}
        assert {id_: (item.revision, item.attempts, item.message) for id_, item in found.items()} == {
            id_: (1, 2, "Status 400.") for id_ in ids
        }

        async def all_wait() -> bool:
            return {item.execution_id: item.last_revision for item in await dead_letters(keeper)} == lasts

        await settled(all_wait)
        receiver.default = status(200)
        receiver.requests.clear()
        async with aio.connect(keeper.served.address) as client:
            assert await client.retry_dead_letters("s", ids[0]) == 1
            await receiver.until(lambda: len(receiver.ids(ids[0])) == lasts[ids[0]])
            assert receiver.ids(ids[0]) == [f"{ids[0]}:{n}" for n in range(1, lasts[ids[0]] + 1)]
            assert await client.discard_dead_letters("s", ids[1]) == 1
            await receiver.until(lambda: len(receiver.ids(ids[1])) == lasts[ids[1]] - 1)
            assert receiver.ids(ids[1]) == [f"{ids[1]}:{n}" for n in range(2, lasts[ids[1]] + 1)]
            assert not receiver.ids(ids[2])
            assert await client.retry_dead_letters("s") == 1
            await receiver.until(lambda: len(receiver.ids(ids[2])) == lasts[ids[2]])
        await shown(keeper, lambda found: found.dead_letters == 0 == found.waiting_executions)


async def test_event_that_is_taken_while_the_server_looks_what_is_due_is_not_sent_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked just before that was written down: what was a dead letter by then, or discarded, was undone."""
    held, go, ended, looked = asyncio.Event(), asyncio.Event(), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    due, resume, retry_due = parked.due, webhooks.Pump._resume, webhooks.Pump._retry_due

    async def holds(request: web.Request) -> web.StreamResponse:
        held.set()
        await go.wait()
        return web.Response(status=204)

    def slow_due(*what: Any) -> list[Parked]:
        rows = due(*what)
        if held.is_set() and not ended.is_set():
            loop.call_soon_threadsafe(go.set)
            assert ended.wait(PATIENCE)
            loop.call_soon_threadsafe(looked.set)
        return rows

    async def noted_resume(self: webhooks.Pump, item: Parked) -> None:
        await resume(self, item)
        ended.set()

    async def noted_retry_due(self: webhooks.Pump) -> tuple[float, int]:
        found = await retry_due(self)
        if looked.is_set():
            again.extend(self._busy)
            looked.clear()
        return found

    again: list[str] = []
    monkeypatch.setattr(parked, "due", slow_due)
    monkeypatch.setattr(webhooks.Pump, "_resume", noted_resume)
    monkeypatch.setattr(webhooks.Pump, "_retry_due", noted_retry_due)
    async with sending(database_url, ENDS) as (keeper, receiver):
        receiver.answers["echo"] = [status(400), holds]
        [first] = await run(keeper.served)
        await asyncio.wait_for(held.wait(), PATIENCE)
        [other] = await run(keeper.served)  # wakes it
        await receiver.until(lambda: bool(receiver.ids(other)))
        await shown(keeper, lambda found: found.pending_events == 0 == found.waiting_executions)
        assert (first in again, len(receiver.ids(first))) == (False, 2)


async def test_rewound_webhook_sends_everything_again(database_url: str) -> None:
    """With the same ids."""
    async with sending(database_url, ENDS) as (keeper, receiver):
        await run(keeper.served, count=3)
        before = list(map(lambda event: event["id"], await receiver.count(3)))
        await keeper.rewind(beginning=True)
        await receiver.count(6)
        assert sorted(receiver.ids()[3:]) == sorted(before)


async def test_server_that_dies_before_it_has_written_sends_the_same_id_again(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, and the receiver can tell."""
    path = str(tmp_path / "a.db")
    async with receiving() as receiver:
        written: list[object] = []
        ask = Runtime.ask

        async def never(self: Runtime, request: Any, *, reserved: bool = False) -> object:
            if isinstance(request, Deliver) and receiver.requests:
                written.append(request)
                await asyncio.Event().wait()
            return await ask(self, request, reserved=reserved)

        with monkeypatch.context() as patch:
            patch.setattr(Runtime, "ask", never)
            patch.setattr(webhooks.Pump, "_let_go", lambda self: None)
            async with echoing(path, allow_private_addresses=True) as served:
                await subscribe(served, receiver, ENDS)
                await run(served)
                await receiver.count(1)
        async with echoing(path, allow_private_addresses=True):
            await receiver.count(2)
        assert len(set(receiver.ids())) == 1


async def test_two_servers_share_webhooks_and_one_takes_over(postgres_url: Callable[[], str]) -> None:
    """Only one sends at a time; when it stops, the other goes on where it was."""
    url = postgres_url()
    async with receiving() as receiver:
        async with echoing(url, allow_private_addresses=True) as b:
            async with echoing(url, allow_private_addresses=True) as a:
                await subscribe(a, receiver, ENDS)
                first = await run(a, count=5) + await run(b, count=5)
                await receiver.count(10)
                await shown(Keeper(b), lambda found: found.pending_events == 0)
            second = await run(b, count=5)
            await receiver.count(15)
        assert sorted(event["subject"] for event in receiver.events) == sorted(first + second)


@pytest.mark.parametrize("is_postgresql", [False, True])
async def test_server_that_stops_while_a_receiver_is_slow_hands_over_at_once(
    tmp_path: Any, postgres_url: Callable[[], str], is_postgresql: bool
) -> None:
    """What was under way at the one that stops does not wait for that one's time to end."""
    url = postgres_url() if is_postgresql else str(tmp_path / "a.db")
    async with receiving() as receiver:
        receiver.answers["echo"] = [stalls]
        async with echoing(url, allow_private_addresses=True) as served:
            await subscribe(served, receiver, ENDS)
            await run(served)
            await shown(Keeper(served), lambda found: found.waiting_executions == 1)
        async with echoing(url, allow_private_addresses=True):
            await receiver.count(2)
        assert len(set(receiver.ids())) == 1


async def test_server_that_may_not_write_any_more_hands_over_at_once(
    postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is going down when a slow receiver has answered at last: the answer is lost, but the lease is given back."""
    url = postgres_url()
    answered, lost, lose = asyncio.Event(), asyncio.Event(), webhooks.Pump._lose

    async def late(request: web.Request) -> web.StreamResponse:
        await answered.wait()
        return web.Response(status=204)

    def told(self: webhooks.Pump) -> None:
        lose(self)
        lost.set()

    monkeypatch.setattr(webhooks.Pump, "_lose", told)
    async with receiving() as receiver:
        receiver.answers["echo"] = [late]
        async with echoing(url, allow_private_addresses=True) as served:
            await subscribe(served, receiver, ENDS)
            await run(served)
            await shown(Keeper(served), lambda found: found.waiting_executions == 1)
            served.server.runtime.drain()
            answered.set()
            async with asyncio.timeout(PATIENCE):
                await lost.wait()
        async with echoing(url, allow_private_addresses=True), asyncio.timeout(PATIENCE):
            await receiver.count(2)
        assert len(set(receiver.ids())) == 1


@pytest.mark.parametrize(
    ("webhook", "field"),
    [
        ({"url": "ftp://a.example"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http://a b"}, "url"),
        ({"headers": {"Host": "x"}}, "headers"),
        ({"headers": {"webhook-id": "x"}}, "headers"),
        ({"headers": {"X": "a\r\nY: b"}}, "headers"),
        ({"signing_secret": "../x"}, "signing_secret"),
        ({"timeout": 61.0}, "timeout"),
        ({"max_attempts": -1}, "max_attempts"),
        ({"max_age": 0.5}, "max_age"),
    ],
)
async def test_wrong_webhook_is_refused(webhook: dict[str, Any], field: str) -> None:
    """The violation names the field."""
    async with echoing("") as served:
        wanted = subscription_pb2.Subscription(name="s")
        wanted.webhook.CopyFrom(Webhook(**{"url": "https://a.example/", **webhook}).write())
        with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID") as caught:
            await Keeper(served).stub.CreateSubscription(pb.CreateSubscriptionRequest(subscription=wanted))
        assert [name for name, _ in caught.violations] == [f"subscription.webhook.{field}"]


async def test_webhook_is_not_consumed_and_stays_one(database_url: str) -> None:
    """A subscription keeps its kind."""
    async with sending(database_url, ENDS) as (keeper, _):
        with refused(StatusCode.FAILED_PRECONDITION, "SUBSCRIPTION_WRONG_STATE"):
            async with keeper.consumer():
                pass
        with refused(StatusCode.FAILED_PRECONDITION, "SUBSCRIPTION_WRONG_STATE"):
            plain = subscription_pb2.Subscription(name="s")
            await keeper.stub.UpdateSubscription(pb.UpdateSubscriptionRequest(subscription=plain))


def test_backoff_doubles_is_bounded_and_is_the_same_for_the_same_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """And spread between executions."""
    monkeypatch.setattr(webhooks, "_FIRST_SECONDS", 1.0)
    one, other = (Parked("n", "s", id_, 1, 1) for id_ in ("a", "b"))
    pauses = [webhooks.backoff_seconds(one, attempt) for attempt in range(1, 40)]
    assert pauses == [webhooks.backoff_seconds(one, attempt) for attempt in range(1, 40)]
    assert all(0.5 * 2**n <= pause < 2**n for n, pause in enumerate(pauses[:11]))
    assert max(pauses) < 3600
    assert webhooks.backoff_seconds(other, 1) != pauses[0]


async def test_moody_receiver_and_servers_that_come_and_go_lose_and_reorder_nothing(
    postgres_url: Callable[[], str],
) -> None:
    """Four of ten requests fail; of each execution every revision comes, none before an earlier one was taken."""
    url = postgres_url()
    taken: dict[str, list[int]] = collections.defaultdict(list)

    async def moody(request: web.Request) -> web.StreamResponse:
        event: Any = values.decode(await request.read())
        said = f"{event['id']} {len(receiver.requests)}".encode()
        if hashlib.blake2b(said, digest_size=1).digest()[0] < 100:
            return web.Response(status=500)
        taken[event["subject"]].append(event["data"]["revision"])
        return web.Response(status=204)

    async with receiving() as receiver, echoing(url, allow_private_addresses=True) as last:
        receiver.default = moody
        async with echoing(url, allow_private_addresses=True) as first:
            await subscribe(first, receiver, max_attempts=1000)
            ids = await run(first, count=15)
        ids += await run(last, count=15)
        expected = {id_: list(range(1, len(await last.follow(id_)) + 1)) for id_ in ids}
        await receiver.until(lambda: {id_: sorted(set(seen)) for id_, seen in taken.items()} == expected)
        for id_, seen in taken.items():
            once = list(dict.fromkeys(seen))
            assert once == expected[id_]
        found = await shown(Keeper(last), lambda found: found.pending_events == 0 == found.waiting_executions)
        assert found.dead_letters == 0
