"""The worker keeps the rules of the Work stream against a scripted server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, cast

import pytest

from tests.client.fake_server import FakeServer, Stream
from tradewind import ActionContext, ActionFailed, Worker, errors
from tradewind.v1 import action_callback_pb2 as v1
from tradewind.v1.failure_pb2 import Refusal


@contextlib.asynccontextmanager
async def working(server: FakeServer, worker: Worker) -> AsyncIterator[None]:
    """Let the worker serve for the length of a block, then drain it."""
    serving = asyncio.ensure_future(worker.serve())
    try:
        yield
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


def make_worker(server: FakeServer, **options: int) -> Worker:
    worker = Worker(server, worker_id="w1", **options)  # type: ignore[arg-type]

    @worker.action("quick", inline=True)
    def quick(amount: Decimal) -> Decimal:
        return amount * 2

    @worker.action("threaded")
    def threaded(context: ActionContext, amount: Decimal) -> list[object]:
        return [context.execution_id, amount]

    @worker.action("coroutine")
    async def coroutine(amount: Decimal) -> Decimal:
        await asyncio.sleep(0)
        return amount

    @worker.action("closed", inline=True)
    def closed() -> None:
        raise ActionFailed("ACCOUNT_CLOSED", "It is closed.", retryable=False, details={"iban": "x"})

    @worker.action("broken", inline=True)
    def broken() -> None:
        raise KeyError("x")

    @worker.action("endless")
    async def endless() -> None:
        await asyncio.Event().wait()

    return worker


async def test_results_keep_their_digits() -> None:
    """Inline, threaded and coroutine functions take and give exact decimals."""
    data = b'{"amount":0.10}'
    found: dict[bytes, v1.ActionResult] = {}

    async def play(stream: Stream) -> None:
        await stream.welcome()
        await stream.offer((b"1", "quick", data), (b"2", "threaded", data), (b"3", "coroutine", data))
        found.update(await stream.results(3))

    async with FakeServer() as server:
        server.plays = [play]
        async with working(server, make_worker(server)):
            await server.until_played()

    assert {token: result.result.data for token, result in found.items()} == {
        b"1": b"0.20",
        b"2": b'["e1",0.10]',
        b"3": b"0.10",
    }


async def test_worker_tells_its_log_when_it_is_connected(caplog: pytest.LogCaptureFixture) -> None:
    """Who starts one sees nothing else until there is work; and who has read of a break reads of its end."""
    caplog.set_level(logging.INFO, "tradewind.worker")

    async def first(stream: Stream) -> None:
        await stream.welcome()
        await stream.next("credits")
        await stream.cut()

    async def second(stream: Stream) -> None:
        await stream.welcome()
        await stream.next("credits")
        await stream.go_away()

    async def third(stream: Stream) -> None:
        await stream.welcome()
        await stream.next("credits")

    async with FakeServer() as server:
        server.plays = [first, second, third]
        async with working(server, make_worker(server)):
            await server.until_played()

    connected = "connected, and ready to do quick, threaded, coroutine, closed, broken, endless"
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [each for each in told if each[1] == connected] == [
        ("INFO", connected),
        ("WARNING", connected),
        ("INFO", connected),
    ]
    assert told[1][1].startswith("the stream broke, next try in ")


async def test_a_failure_tells_its_code_and_details(caplog: pytest.LogCaptureFixture) -> None:
    """ActionFailed goes through as it is; any other exception by its name, and into the log."""
    found: dict[bytes, v1.ActionResult] = {}

    async def play(stream: Stream) -> None:
        await stream.welcome()
        await stream.offer((b"1", "closed", b"{}"), (b"2", "broken", b"{}"), (b"3", "quick", b'{"no":1}'))
        found.update(await stream.results(3))

    async with FakeServer() as server:
        server.plays = [play]
        async with working(server, make_worker(server)):
            await server.until_played()

    closed = found[b"1"].failure
    assert (closed.code, closed.message, closed.retryable) == ("ACCOUNT_CLOSED", "It is closed.", False)
    assert closed.details.data == b'{"iban":"x"}'
    assert (found[b"2"].failure.code, found[b"3"].failure.code) == ("KEY_ERROR", "TYPE_ERROR")
    assert len(caplog.records) == 2


async def test_credits_are_cumulative_and_bounded_by_the_capacity() -> None:
    """The worker grants its capacity at first, and one more for each result."""
    grants: list[int] = []

    async def play(stream: Stream) -> None:
        await stream.welcome()
        grants.append((await stream.next("credits")).granted)
        await stream.offer((b"1", "quick", b'{"amount":1}'), (b"2", "quick", b'{"amount":1}'))
        await stream.results(2)
        grants.append((await stream.next("credits")).granted)

    async with FakeServer() as server:
        server.plays = [play]
        async with working(server, make_worker(server, concurrency=4)):
            await server.until_played()

    assert grants == [4, 6]


async def test_what_lasts_is_accepted_and_beats() -> None:
    """An action that does not end within the delivery window is accepted once, then listed in each beat."""
    heard: list[object] = []

    async def play(stream: Stream) -> None:
        await stream.welcome()
        await stream.offer((b"1", "endless", b"{}"))
        heard.append(list((await stream.next("accept")).tokens))
        while not (beat := await stream.next("beat")).actions:
            pass
        heard.append([action.token for action in beat.actions])

    async with FakeServer() as server:
        server.plays = [play]
        async with working(server, make_worker(server)):
            await server.until_played()

    assert heard == [[b"1"], [b"1"]]


async def test_cancel_stops_the_function_and_lease_lost_silences_it() -> None:
    """A cancelled action answers CANCELLED; one whose lease is lost does not answer."""
    found: dict[bytes, v1.ActionResult] = {}

    async def play(stream: Stream) -> None:
        await stream.welcome()
        await stream.offer((b"1", "endless", b"{}"), (b"2", "endless", b"{}"), (b"3", "quick", b'{"amount":1}'))
        await stream.results(1)
        await stream.order(b"1", v1.ORDER_KIND_LEASE_LOST)
        await stream.order(b"2", v1.ORDER_KIND_CANCEL)
        found.update(await stream.results(1))

    async with FakeServer() as server:
        server.plays = [play]
        async with working(server, make_worker(server)):
            await server.until_played()

    assert {token: result.failure.code for token, result in found.items()} == {b"2": "CANCELLED"}


async def test_a_reconnect_lists_what_is_in_hand_and_sends_unconfirmed_results_again() -> None:
    """Nothing is redone after a cut, and no result is lost with it."""
    in_flight: list[bytes] = []
    again: dict[bytes, v1.ActionResult] = {}

    async def first(stream: Stream) -> None:
        await stream.welcome()
        await stream.offer((b"1", "endless", b"{}"), (b"2", "quick", b'{"amount":1}'))
        await stream.results(1, receipts=False)
        await stream.cut()

    async def second(stream: Stream) -> None:
        verdicts = [v1.InFlightVerdict(token=b"1"), v1.InFlightVerdict(token=b"2", keep=True)]
        hello = await stream.welcome(in_flight=verdicts)
        in_flight.extend(hello.in_flight)
        again.update(await stream.results(1))

    async with FakeServer() as server:
        server.plays = [first, second]
        async with working(server, make_worker(server)):
            await server.until_played()

    assert in_flight == [b"1", b"2"]
    assert {token: result.result.data for token, result in again.items()} == {b"2": b"2"}


async def test_go_away_opens_another_stream() -> None:
    """A draining server is left, and the work goes on with the next one."""
    second_played = asyncio.Event()

    async def first(stream: Stream) -> None:
        await stream.welcome()
        await stream.go_away()
        await stream.next("never")

    async def second(stream: Stream) -> None:
        await stream.welcome()
        second_played.set()

    async with FakeServer() as server:
        server.plays = [first, second]
        async with working(server, make_worker(server)):
            await asyncio.wait_for(second_played.wait(), 10)


async def test_stop_drains() -> None:
    """After stop nothing new is taken, what is at work ends, its receipt is awaited, and serve returns."""
    heard: list[str] = []

    async with FakeServer() as server:
        worker = Worker(server, worker_id="w1")
        started, go_on = asyncio.Event(), asyncio.Event()

        @worker.action("slow")
        async def slow() -> int:
            started.set()
            await go_on.wait()
            return 1

        async def play(stream: Stream) -> None:
            await stream.welcome()
            await stream.offer((b"1", "slow", b"{}"))
            await started.wait()
            worker.stop()
            await stream.next("drain")
            await stream.offer((b"2", "slow", b"{}"))
            refuse = await stream.next("refuse")
            heard.extend(release.token.decode() for release in refuse.releases)
            go_on.set()
            heard.extend(token.decode() for token in await stream.results(1))
            assert await stream.next("never") is None

        server.plays = [play]
        await asyncio.wait_for(worker.serve(), 10)
        await server.until_played()

    assert heard == ["2", "1"]


async def test_stop_while_no_server_is_there_ends_at_once() -> None:
    """A worker with nothing in hand waited half a minute for a server that had gone down with it."""
    async with FakeServer() as server:
        worker = make_worker(server)
        gone = asyncio.Event()

        async def play(stream: Stream) -> None:
            await stream.welcome()
            gone.set()
            await stream.cut()

        server.plays = [play]
        serving = asyncio.ensure_future(worker.serve())
        await asyncio.wait_for(gone.wait(), 10)
    # the server has ended
    worker.stop()
    await asyncio.wait_for(serving, 10)


def test_a_worker_that_is_given_an_address_says_what_it_wants() -> None:
    """It had been an AttributeError."""
    with pytest.raises(TypeError, match=r"connect\('localhost:7233'\)"):
        Worker(cast(Any, "localhost:7233"))


async def test_a_worker_that_is_refused_for_good_says_why() -> None:
    """A mistake of the worker is raised; it is not tried again for ever."""
    async with FakeServer() as server:

        async def play(stream: Stream) -> None:
            await stream.refuse_worker()

        # where it writes at the very moment at which the stream ends gRPC does not say why: it is refused again
        server.plays = [play] * 5
        with pytest.raises(errors.InvalidRequest):
            await asyncio.wait_for(make_worker(server).serve(), 10)


async def test_a_refused_result_becomes_a_failure() -> None:
    """A result that the server cannot record ends the action as failed, instead of leaving it to its timeout."""
    found: dict[bytes, v1.ActionResult] = {}

    async def play(stream: Stream) -> None:
        await stream.welcome()
        await stream.offer((b"1", "quick", b'{"amount":1}'))
        await stream.results(1, receipts=False)
        refusal = Refusal(reason="PAYLOAD_TOO_LARGE", message="too large")
        await stream.receipt(b"1", status=v1.RECEIPT_STATUS_REFUSED, refusal=refusal)
        found.update(await stream.results(1))

    async with FakeServer() as server:
        server.plays = [play]
        async with working(server, make_worker(server)):
            await server.until_played()

    assert found[b"1"].failure.code == "PAYLOAD_TOO_LARGE"


class _Wordless(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


#: What functions raise, and code and beginning of the message that the server gets.
UNSENDABLE: list[tuple[BaseException, str, str]] = [
    (ActionFailed("CLOSED", "It is closed.", details=object()), "CLOSED", "It is closed. (its details are left out: "),
    (ActionFailed("CLOSED", "It is closed.", details="x" * 4_000_000), "CLOSED", "It is closed. (its details are left"),
    (ActionFailed(cast(Any, 404), "No such account."), "404", "No such account."),
    (OSError("no file 'M\udcfcller'"), "OSERROR", "no file 'M?ller'"),
    (OSError("x" * 5_000_000), "OSERROR", "xxxx"),
    (_Wordless(), "_WORDLESS", "_Wordless"),
    (SystemExit("usage: pay"), "SYSTEM_EXIT", "usage: pay"),
    (asyncio.CancelledError(), "CANCELLED_ERROR", "CancelledError"),
]


@pytest.mark.parametrize("kind", ["inline", "threaded", "coroutine"])
@pytest.mark.parametrize(("raised", "code", "message"), UNSENDABLE, ids=lambda value: type(value).__name__)
async def test_whatever_a_function_raises_ends_its_action(
    raised: BaseException, code: str, message: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It stayed at work for ever, its lease renewed; or what was too large broke the stream, again and again."""
    caplog.set_level(logging.CRITICAL, "tradewind.worker")  # a runner of tests cannot pass all of these on
    found: dict[bytes, v1.ActionResult] = {}

    async def play(stream: Stream) -> None:
        await stream.welcome()
        await stream.offer((b"1", kind, b"{}"))
        found.update(await stream.results(1))

    async with FakeServer() as server:
        worker = Worker(server, worker_id="w1")

        @worker.action("inline", inline=True)
        @worker.action("threaded")
        def plain() -> None:
            raise raised

        @worker.action("coroutine")
        async def coroutine() -> None:
            raise raised

        server.plays = [play]
        async with working(server, worker):
            await server.until_played()

    failure = found[b"1"].failure
    assert (failure.code, failure.retryable) == (code, True)
    assert failure.message.startswith(message)
    assert found[b"1"].ByteSize() < 100_000


async def test_words_that_cannot_be_sent_stop_neither_the_action_nor_the_worker() -> None:
    """A progress with the name of a file that is no UTF-8 ended the worker; a line of a log failed the action."""
    heard: list[v1.ActionBeat] = []

    async def play(stream: Stream) -> None:
        await stream.welcome(max_log_lines=10)
        await stream.offer((b"1", "say", b"{}"))
        while not (heard and heard[-1].logs):
            heard.extend((await stream.next("beat")).actions)

    async with FakeServer() as server:
        worker = Worker(server, worker_id="w1")

        @worker.action("say")
        async def say(context: ActionContext) -> None:
            context.heartbeat("M\udcfcller " + "x" * 5_000_000)
            context.log("M\udcfcller")
            await asyncio.Event().wait()

        server.plays = [play]
        async with working(server, worker):
            await server.until_played()

    assert heard[-1].logs[0].message == "M?ller"
    said = next(beat.progress_message for beat in heard if beat.progress_message)
    assert said.startswith("M?ller xx")
    assert len(said) < 100_000
