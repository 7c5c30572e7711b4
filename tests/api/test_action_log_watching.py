"""Following the logs of actions: each line once, as it comes, from any place on, to the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from tests.api.harness import PATIENCE, Hand, Served, refused, serving
from tests.api.test_action_logs import beat, line
from tradewind import values
from tradewind.v1 import action_callback_pb2 as v1
from tradewind.v1 import execution_service_pb2 as pb
from tradewind_server.api import action_log_watching, convert
from tradewind_server.runtime.bulletin import Bulletin

PAIR = """
version: '2.0'
pair:
  tasks:
    left: {action: shop.do}
    right: {action: shop.do}
"""


class Reader:
    """A stream of lines, read as far as a test wants."""

    def __init__(self, served: Served, id_: str, **fields: Any) -> None:
        request = pb.WatchActionLogsRequest(execution_id=id_, **fields)
        self._stream = served.executions.WatchActionLogs(request, timeout=3 * PATIENCE)
        self.texts: list[str] = []
        self.cursors: list[str] = []

    async def message(self) -> pb.WatchActionLogsResponse | None:
        """Return the next message, None at the end, and keep what it says."""
        message = await self._stream.read()
        if message is grpc.aio.EOF:
            return None
        assert isinstance(message, pb.WatchActionLogsResponse)
        self.texts.extend(found.message for found in message.lines)
        self.cursors.append(message.cursor)
        return message

    async def checkpoint(self) -> Timestamp:
        """Return the moment of the next message, which is a checkpoint."""
        message = await self.message()
        assert message is not None
        assert message.HasField("checkpoint")
        return message.checkpoint.at

    async def until(self, text: str) -> list[str]:
        """Read until a line has come."""
        while text not in self.texts:
            assert await self.message() is not None, f"the stream ended without '{text}'"
        return self.texts

    async def rest(self) -> list[str]:
        """Read to the end, which must be a fine one."""
        while await self.message() is not None:
            pass
        assert await self._stream.code() is StatusCode.OK
        return self.texts

    def close(self) -> None:
        """Read no more."""
        self._stream.cancel()


@contextlib.contextmanager
def reading(served: Served, id_: str, **fields: Any) -> Iterator[Reader]:
    """Open a stream."""
    reader = Reader(served, id_, **fields)
    try:
        yield reader
    finally:
        reader.close()


async def say(hand: Hand, token: bytes, number: int, text: str) -> None:
    """Have a worker write a line."""
    await hand.send(beat=v1.Beat(actions=[beat(token, line(number, text))]))


async def finish(hand: Hand, token: bytes, *lines: Any) -> None:
    """Have a worker answer, with its last lines."""
    outcome = v1.ActionResult(token=token, result=values.to_payload(1), logs=lines)
    await hand.send(results=v1.Results(results=[outcome]))
    assert await hand.receipt() == ("RECORDED", "")


async def test_lines_come_as_they_are_written_and_the_stream_ends_with_the_action(served: Served) -> None:
    """Those that are there first, then each new one; the last ones come with the result."""
    id_ = await served.start()
    async with served.worker() as hand:
        token = (await hand.offer()).token
        await say(hand, token, 1, "begun")
        with reading(served, id_) as all_, reading(served, id_, action_id="a1") as one:
            for n, text in enumerate(("half", "nearly"), 2):
                await all_.until("begun")
                await say(hand, token, n, text)
                assert (await all_.until(text))[-1] == text
                await one.until(text)
            await finish(hand, token, line(3, "nearly"), line(4, "done"))
            assert await one.rest() == ["begun", "half", "nearly", "done"]
            assert await all_.rest() == ["begun", "half", "nearly", "done"]
    # later it is the same, at once
    with reading(served, id_) as late:
        assert await late.rest() == ["begun", "half", "nearly", "done"]


async def test_one_action_is_followed_alone_and_ends_alone(served: Served) -> None:
    """What others write is not shown, and that others go on is no reason to stay."""
    await served.deploy(PAIR)
    id_ = await served.start("pair", {})
    async with served.worker() as hand:
        offers = {offer.action_id: offer.token for offer in (await hand.offer(), await hand.offer())}
        with reading(served, id_, action_id="a1") as one, reading(served, id_) as all_:
            await say(hand, offers["a2"], 1, "of the other")
            await all_.until("of the other")
            await finish(hand, offers["a1"], line(1, "mine"))
            assert await one.rest() == ["mine"]
            assert await all_.until("mine") == ["of the other", "mine"]
            await finish(hand, offers["a2"], line(2, "the last"))
            assert await all_.rest() == ["of the other", "mine", "the last"]


async def test_cursor_of_every_message_resumes_exactly_after_it(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the middle of what one command wrote, and in the middle of what is read at once."""
    monkeypatch.setattr(action_log_watching, "LINES", 4)
    monkeypatch.setattr(action_log_watching, "_MOST_BYTES", 100)
    id_ = await served.start()
    async with served.worker() as hand:
        token = (await hand.offer()).token
        await say(hand, token, 1, "begun")
        await finish(hand, token, *(line(n, f"line {n}") for n in range(2, 12)))
    expected = ["begun", *(f"line {n}" for n in range(2, 12))]
    with reading(served, id_) as reader:
        taken = []
        while await reader.message() is not None:
            taken.append((reader.cursors[-1], len(reader.texts)))
    assert reader.texts == expected
    assert len(taken) > 4
    for cursor, count in taken:
        with reading(served, id_, cursor=cursor) as resumed:
            assert await resumed.rest() == expected[count:]


async def test_log_is_followed_at_another_server(postgres_url: Callable[[], str]) -> None:
    """The worker is at one server, the reader at the other, and goes on at the first."""
    url = postgres_url()
    async with serving(url) as a, serving(url) as b:
        id_ = await a.start()
        async with a.worker() as hand:
            token = (await hand.offer()).token
            with reading(b, id_) as reader:
                for n in range(1, 6):
                    await say(hand, token, n, f"line {n}")
                    await reader.until(f"line {n}")
            with reading(a, id_, cursor=reader.cursors[-1]) as other, reading(b, id_) as whole:
                await say(hand, token, 6, "line 6")
                await whole.until("line 6")
                await finish(hand, token)
                assert await other.rest() == ["line 6"]
                assert await whole.rest() == [f"line {n}" for n in range(1, 7)]


async def test_lines_are_seen_although_the_news_between_servers_are_lost(
    postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the end of the action: each server looks by itself, now and then."""
    monkeypatch.setattr(Bulletin, "tell", lambda *_: None)
    url = postgres_url()
    async with serving(url) as a, serving(url) as b:
        id_ = await a.start()
        async with a.worker() as hand:
            token = (await hand.offer()).token
            with reading(b, id_) as reader:
                await say(hand, token, 1, "begun")
                await reader.until("begun")
                await finish(hand, token)
                assert await reader.rest() == ["begun"]


async def test_line_of_an_older_transaction_is_not_overtaken(
    postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as one that was begun before still runs, what is newer waits; then all comes."""
    monkeypatch.setattr(action_log_watching, "CHECKPOINT_SECONDS", 0.01)
    url = postgres_url()
    async with serving(url) as served:
        id_ = await served.start()
        async with served.worker() as hand:
            token = (await hand.offer()).token
            await say(hand, token, 1, "before")
            with reading(served, id_) as reader, psycopg.connect(url) as foreign:
                await reader.until("before")
                foreign.execute("SELECT pg_current_xact_id()")
                await finish(hand, token, line(2, "held"))
                # committed and listed, but not followed: something before it may still come
                listed = await served.executions.ListActionLogs(pb.ListActionLogsRequest(execution_id=id_))
                assert [found.message for found in listed.lines] == ["before", "held"]
                committed = convert.moment(served.server.runtime.clock.now())
                while (await reader.checkpoint()).ToDatetime() <= committed.ToDatetime():
                    assert reader.texts == ["before"]
                foreign.rollback()
                assert await reader.rest() == ["before", "held"]


async def test_quiet_stream_says_that_it_is_alive(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """And how far it is."""
    monkeypatch.setattr(action_log_watching, "CHECKPOINT_SECONDS", 0.01)
    id_ = await served.start()
    async with served.worker() as hand:
        token = (await hand.offer()).token
        await say(hand, token, 1, "begun")
        with reading(served, id_) as reader:
            await reader.until("begun")
            # of what brought the line: a busy machine may have been quiet before
            place = reader.cursors[-1]
            message = await reader.message()
            assert message is not None
            assert message.HasField("checkpoint")
            assert (list(message.lines), message.cursor) == ([], place)


async def test_second_attempt_is_followed_after_the_first(database_url: str) -> None:
    """The numbers of its lines begin again, and none is taken for one of the first."""
    async with serving(database_url, delivery_lease_seconds=1, work_lease_seconds=1) as served:
        id_ = await served.start()
        async with served.worker(credits_=1) as hand, served.worker(credits_=0) as other:
            token = (await hand.offer()).token
            await say(hand, token, 1, "first")
            with reading(served, id_) as reader:
                await reader.until("first")
                await other.grant(1)
                await finish(other, (await other.offer()).token, line(1, "second"))
                assert await reader.rest() == ["first", "second"]


async def test_reader_that_stops_reading_gets_everything_later(database_url: str) -> None:
    """It is served from the table at its own pace; nobody waits for it."""
    async with serving(database_url) as served:
        id_ = await served.start()
        async with served.worker() as hand:
            token = (await hand.offer()).token
            with reading(served, id_) as reader:
                lines = [line(n, f"{n} " + "x" * 4000) for n in range(1, 701)]
                await hand.send(beat=v1.Beat(actions=[beat(token, *lines[:350])]))
                await finish(hand, token, *lines[350:])
                assert await served.ended(id_) == ("SUCCEEDED", {"r": 1})
                assert await reader.rest() == [found.message for found in lines]


async def test_streams_of_logs_are_counted_and_drain() -> None:
    """As the others: one too many is refused, and a server that goes down sends its readers elsewhere."""
    async with serving("", max_client_streams=1) as served:
        id_ = await served.start()
        with reading(served, id_) as reader:
            async with served.worker() as hand:
                await say(hand, (await hand.offer()).token, 1, "begun")
                await reader.until("begun")
                with reading(served, id_) as another, refused(StatusCode.RESOURCE_EXHAUSTED, "STREAMS_EXHAUSTED"):
                    await another.message()
                served.server.runtime.drain()
                with refused(StatusCode.UNAVAILABLE, "SERVER_DRAINING"):
                    await reader.rest()


async def test_what_cannot_be_followed_is_refused(served: Served) -> None:
    """Executions and actions that are not there, and cursors of others."""
    id_, other = await served.start(), await served.start()
    for token in [offer.token for offer in await served.poll(most=2)]:
        await served.complete(token, 1, logs=[line(1, "done")])
    with reading(served, id_) as reader:
        await reader.rest()
    refusals: list[tuple[StatusCode, str, dict[str, str]]] = [
        (StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND", {"id_": "nobody"}),
        (StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND", {"id_": id_, "namespace": "another"}),
        (StatusCode.NOT_FOUND, "ACTION_NOT_FOUND", {"id_": id_, "action_id": "a2"}),
        (StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", {"id_": id_, "action_id": "seven"}),
        (StatusCode.INVALID_ARGUMENT, "CURSOR_INVALID", {"id_": id_, "cursor": "made up"}),
        (StatusCode.INVALID_ARGUMENT, "CURSOR_INVALID", {"id_": other, "cursor": reader.cursors[-1]}),
        (StatusCode.INVALID_ARGUMENT, "CURSOR_INVALID", {"id_": id_, "action_id": "a1", "cursor": reader.cursors[-1]}),
    ]
    for code, reason, fields in refusals:
        with reading(served, **fields) as wrong, refused(code, reason):
            await wrong.message()
