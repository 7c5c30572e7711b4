"""Watching a namespace: every event of every execution once, in one order, from any place on, through a filter."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from grpc import StatusCode

from tests.api.harness import PATIENCE, Served, refused, serving
from tests.api.test_watching import MANY
from tradewind import aio
from tradewind.v1 import event_pb2
from tradewind.v1 import execution_service_pb2 as pb
from tradewind_server.api import convert, log_watching
from tradewind_server.errors import StreamsExhausted
from tradewind_server.runtime.streams import Streams
from tradewind_server.settings import Settings
from tradewind_server.store import loading, log, numbers

TREE = """
version: '2.0'
top:
  tasks:
    below: {workflow: leaf}
leaf:
  tasks:
    t: {action: std.noop}
"""


class Reader:
    """A stream of events, read as far as a test wants."""

    def __init__(self, served: Served, **fields: Any) -> None:
        self._stream = served.executions.WatchEvents(pb.WatchEventsRequest(**fields), timeout=3 * PATIENCE)
        self.events: list[event_pb2.Event] = []
        self.cursor = ""
        self.coalesced = 0

    async def message(self) -> pb.WatchEventsResponse:
        """Return the next message, and keep what it says."""
        message: pb.WatchEventsResponse = await self._stream.read()
        assert isinstance(message, pb.WatchEventsResponse), "the stream has ended"
        self.events.extend(message.events)
        self.cursor = message.cursor or self.cursor
        self.coalesced += message.coalesced
        return message

    async def until(self, type_: str, count: int = 1) -> list[event_pb2.Event]:
        """Read until *count* events of a type have come."""
        while sum(event.type == type_ for event in self.events) < count:
            await self.message()
        return self.events

    def close(self) -> None:
        """Read no more."""
        self._stream.cancel()


@contextlib.contextmanager
def reading(served: Served, **fields: Any) -> Iterator[Reader]:
    """Open a stream."""
    reader = Reader(served, **fields)
    try:
        yield reader
    finally:
        reader.close()


async def run(served: Served, workflow: str = "echo", count: int = 1, **fields: Any) -> list[str]:
    """Start executions that end by themselves, and wait for their ends."""
    ids = [await served.start(workflow, {}, **fields) for _ in range(count)]
    for id_ in ids:
        await served.follow(id_)
    return ids


@contextlib.asynccontextmanager
async def echoing(url: str, **settings: Any) -> AsyncIterator[Served]:
    """Run a server with a workflow that ends by itself."""
    async with serving(url, **settings) as served:
        await served.deploy("version: '2.0'\necho:\n  tasks:\n    t: {action: std.noop}\n")
        yield served


def keys(events: list[event_pb2.Event]) -> list[tuple[str, int]]:
    """Return what names each event."""
    return [(event.execution_id, event.revision) for event in events]


def check_complete(events: list[event_pb2.Event], ids: list[str]) -> None:
    """Of each execution every revision from 1 on has come once, in order."""
    seen: dict[str, list[int]] = collections.defaultdict(list)
    for id_, revision in keys(events):
        seen[id_].append(revision)
    assert set(seen) == set(ids)
    assert all(revisions == list(range(1, len(revisions) + 1)) for revisions in seen.values())


async def test_whole_log_from_the_beginning(database_url: str) -> None:
    """Old executions and new ones, each event once."""
    async with echoing(database_url) as served:
        ids = await run(served, count=5)
        with reading(served, from_beginning=True) as reader:
            await reader.until("ExecutionSucceeded", 5)
            ids += await run(served, count=5)
            check_complete(await reader.until("ExecutionSucceeded", 10), ids)


async def test_from_now_shows_only_what_comes(database_url: str) -> None:
    """The default; a checkpoint says at once where that is."""
    async with echoing(database_url) as served:
        await run(served)
        with reading(served) as reader:
            assert (await reader.message()).HasField("checkpoint")
            [first] = await run(served)
            await reader.until("ExecutionSucceeded")
            check_complete(reader.events, [first])


async def test_cursor_of_every_message_resumes_exactly_after_it(database_url: str) -> None:
    """On a new stream, with any filter."""
    async with echoing(database_url) as served:
        await run(served, count=4)
        with reading(served, from_beginning=True) as reader:
            whole = keys(await reader.until("ExecutionSucceeded", 4))
        seen: list[tuple[str, int]] = []
        cursor: dict[str, Any] = {"from_beginning": True}
        while len(seen) < len(whole):
            with reading(served, **cursor) as reader:
                await reader.message()
                seen += keys(reader.events)
                cursor = {"cursor": reader.cursor}
        assert seen == whole


async def test_command_too_large_for_a_message_resumes_in_its_middle(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each message has a cursor that goes on right after it."""
    monkeypatch.setattr(log_watching, "_MOST_BYTES", 1)
    async with echoing(database_url) as served:
        [id_] = await run(served)
        seen: list[tuple[str, int]] = []
        cursor: dict[str, Any] = {"from_beginning": True}
        last = ""
        while last != "ExecutionSucceeded":
            with reading(served, **cursor) as reader:
                [event] = (await reader.message()).events
                seen.append((event.execution_id, event.revision))
                cursor, last = {"cursor": reader.cursor}, event.type
        assert seen == [(id_, revision) for revision in range(1, len(seen) + 1)]


async def test_snapshot_and_what_follows_leave_no_gap(database_url: str) -> None:
    """While much happens: an execution shown at revision n goes on with n + 1."""
    async with serving(database_url) as served:
        await served.deploy(MANY)
        waiting = [await served.start() for _ in range(3)]
        busy = await served.start("many", {"n": 100})
        with reading(served, with_snapshot=True) as reader:
            shown: dict[str, int] = {}
            while not reader.cursor:
                message = await reader.message()
                shown.update({execution.id: execution.revision for execution in message.snapshot})
            assert shown.keys() == {*waiting, busy}
            async with served.worker() as hand:
                for _ in range(4):
                    await hand.finish((await hand.offer()).token)
                await reader.until("ExecutionSucceeded", 4)
        for id_, revision in keys(reader.events):
            assert revision == shown[id_] + 1
            shown[id_] = revision


async def test_snapshot_is_filtered_by_what_an_execution_has(database_url: str) -> None:
    """The rest of the filter is for events."""
    async with serving(database_url) as served:
        wanted = await served.start(tags=["red", "large"])
        await served.start(tags=["blue"])
        with reading(served, with_snapshot=True, filter="tags:red AND type = ExecutionSucceeded") as reader:
            message = await reader.message()
            assert [execution.id for execution in message.snapshot] == [wanted]
            async with served.worker() as hand:
                for _ in range(2):
                    await hand.finish((await hand.offer()).token)
                assert [event.execution_id for event in await reader.until("ExecutionSucceeded")] == [wanted]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("workflow = leaf AND type = ExecutionStarted", [("leaf", "ExecutionStarted")]),
        ("task = below AND task_state = SUCCEEDED", [("top", "TaskSucceeded")]),
        ("execution_state = SUCCEEDED", [("leaf", "ExecutionSucceeded"), ("top", "ExecutionSucceeded")]),
        ("business_key = k7 AND type = ExecutionSucceeded", [("top", "ExecutionSucceeded")]),
        ("root_id = {top} AND type = ExecutionStarted", [("top", "ExecutionStarted"), ("leaf", "ExecutionStarted")]),
        ("execution_id = {top} AND type = ExecutionStarted", [("top", "ExecutionStarted")]),
        ("type = ExecutionStarted AND workflow != leaf", [("top", "ExecutionStarted")]),
        ("tags:red AND type = ExecutionSucceeded", [("top", "ExecutionSucceeded")]),
    ],
)
async def test_filter_lets_through_what_it_says(text: str, expected: list[tuple[str, str]]) -> None:
    """By workflow, task, states, keys, tags, type and tree."""
    async with echoing("") as served:
        await served.deploy(TREE)
        [top] = await run(served, "top", business_key="k7", tags=["red"])
        with reading(served, from_beginning=True, filter=text.format(top=top)) as reader:
            await reader.until(expected[-1][1], sum(type_ == expected[-1][1] for _, type_ in expected))
        assert [(event.workflow, event.type) for event in reader.events] == expected


async def test_tenants_see_only_their_own(database_url: str) -> None:
    """And a cursor of one is no cursor of the other."""
    async with echoing(database_url) as served:
        await served.deploy("version: '2.0'\necho:\n  tasks:\n    t: {action: std.noop}\n", namespace="other")
        await run(served)
        await served.start("echo", {}, namespace="other")
        with reading(served, from_beginning=True, namespace="other") as reader:
            await reader.until("ExecutionSucceeded")
        assert {event.namespace for event in reader.events} == {"other"}
        with refused(StatusCode.INVALID_ARGUMENT, "CURSOR_INVALID"), reading(served, cursor=reader.cursor) as wrong:
            await wrong.message()


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "a" * 3000, "é"])
async def test_made_up_cursor_is_refused(cursor: str) -> None:
    """Cursors are signed."""
    async with echoing("") as served:
        with refused(StatusCode.INVALID_ARGUMENT, "CURSOR_INVALID"), reading(served, cursor=cursor) as reader:
            await reader.message()


async def test_unknown_field_of_the_filter_is_refused() -> None:
    """With those that there are."""
    async with echoing("") as served:
        with refused(StatusCode.INVALID_ARGUMENT, "FILTER_INVALID"), reading(served, filter="colour = red") as reader:
            await reader.message()


async def test_cursor_from_before_a_restore_is_refused_if_it_was_lost(tmp_path: Path) -> None:
    """What its owner saw last has never happened; a cursor from before the backup goes on."""
    original, backup = tmp_path / "original.db", tmp_path / "backup.db"
    async with echoing(str(original)) as served:
        ids = await run(served)
        with reading(served, from_beginning=True) as reader:
            await reader.until("ExecutionSucceeded")
            early = reader.cursor
            with (
                contextlib.closing(sqlite3.connect(original)) as source,
                contextlib.closing(sqlite3.connect(backup)) as copy,
            ):
                source.backup(copy)
            await run(served)
            await reader.until("ExecutionSucceeded", 2)
    async with echoing(str(backup)) as restored:
        ids = await run(restored, count=2)
        with refused(StatusCode.OUT_OF_RANGE, "CURSOR_LOST"), reading(restored, cursor=reader.cursor) as lost:
            await lost.message()
        with reading(restored, cursor=early) as resumed:
            check_complete(await resumed.until("ExecutionSucceeded", 2), ids)


async def test_cursor_is_refused_if_another_event_took_its_place_after_a_restore(tmp_path: Path) -> None:
    """The next number and revision are given again: that event is not what the cursor's owner saw."""
    path = tmp_path / "tradewind.db"
    async with echoing(str(path)) as served:
        await run(served)
        with reading(served, from_beginning=True) as reader:
            await reader.until("ExecutionSucceeded")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        # as when the same step was taken again, later
        connection.execute("UPDATE events SET at = at + 1000000 WHERE xid = (SELECT max(xid) FROM events)")
    async with echoing(str(path)) as restored:
        with refused(StatusCode.OUT_OF_RANGE, "CURSOR_LOST"), reading(restored, cursor=reader.cursor) as lost:
            await lost.message()


async def test_quiet_stream_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint, whose cursor resumes after what the filter left out."""
    monkeypatch.setattr(log_watching, "CHECKPOINT_SECONDS", 0.002)
    async with echoing("") as served:
        with reading(served, filter="type = Nothing") as reader:
            await reader.message()
            await run(served)
            with reading(served, filter="type = Nothing") as other:
                await other.message()
            # a checkpoint may also come in the middle of the execution, and then only a part of it is left out
            while reader.cursor != other.cursor:
                assert (await reader.message()).HasField("checkpoint")
        with reading(served, cursor=reader.cursor) as resumed:
            [later] = await run(served)
            check_complete(await resumed.until("ExecutionSucceeded"), [later])


async def test_filtered_stream_says_how_far_it_is_also_while_others_are_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is as quiet for its reader as one in which nothing happens."""
    monkeypatch.setattr(log_watching, "CHECKPOINT_SECONDS", 0.2)
    async with echoing("") as served:
        with reading(served, filter="type = Nothing") as reader:
            await reader.message()

            async def busy() -> None:
                while True:
                    await run(served)

            others = asyncio.create_task(busy())
            # long before the place is told for the sake of those who resume
            message = await reader.message()
            others.cancel()
            assert message.HasField("checkpoint")
            assert served.server.runtime.commands < 100


async def test_slow_reader_gets_everything(database_url: str) -> None:
    """It reads nothing while thousands of events happen, and loses none."""
    async with serving(database_url) as served:
        await served.deploy(MANY)
        with reading(served, from_beginning=True) as reader:
            ids = [await served.start("many", {"n": 200}) for _ in range(5)]
            async with served.worker() as hand:
                for _ in ids:
                    await hand.finish((await hand.offer()).token)
                for id_ in ids:
                    await served.follow(id_)
            check_complete(await reader.until("ExecutionSucceeded", 5), ids)


async def test_late_reader_of_large_values_keeps_few_of_them_in_memory(database_url: str) -> None:
    """However many commands it is behind: what is read at once is bounded in bytes, also within a command."""
    large = "version: '2.0'\nlarge:\n  input: [x]\n  tasks:\n    t: {action: std.echo output=<% $.x %>}\n"
    async with serving(database_url) as served:
        await served.deploy(large)
        ids = [await served.start("large", {"x": "x" * 1_000_000}) for _ in range(6)]
        for id_ in ids:
            await served.follow(id_)
        database, place, events = served.server.runtime.database, log.BEGINNING, []
        while True:
            with database.reading() as (connection, _):
                stretch = log.read(database, connection, "default", place, 200)
            *before, _ = [0, *(len(event.body) for event in stretch.events)]
            assert sum(before) < log.BYTES
            events += [convert.event(event) for event in stretch.events]
            if not stretch.is_cut:
                break
            place = stretch.end
        check_complete(events, ids)
        with reading(served, from_beginning=True) as reader:
            check_complete(await reader.until("ExecutionSucceeded", 6), ids)


async def test_large_events_are_not_kept_for_the_next_watcher() -> None:
    """Small ones are; thousands of the others would fill the memory long after their streams are closed."""
    async with serving("") as served:
        id_ = await served.start()
        stored = await served.server.runtime.read(lambda c, _: loading.read_events(c, id_, 0, 1)[0])
    large = stored._replace(body=stored.body + b" " * 100_000)
    assert convert.shared_event(stored) is convert.shared_event(stored)
    assert convert.shared_event(large) is not convert.shared_event(large)


async def test_coalesced_stream_shows_the_newest_state_of_each_task(database_url: str) -> None:
    """To one who comes late, and says how much it left out."""
    async with echoing(database_url) as served:
        await run(served, count=2)
        with reading(served, from_beginning=True) as reader:
            whole = await reader.until("ExecutionSucceeded", 2)
        with reading(served, from_beginning=True, coalesce=True) as reader:
            events = await reader.until("ExecutionSucceeded", 2)
        assert [event.type for event in events] == 2 * ["TaskSucceeded", "ExecutionSucceeded"]
        assert reader.coalesced == len(whole) - len(events)


async def test_too_many_streams_are_refused() -> None:
    """Watches of executions and of the log count together."""
    async with echoing("", max_streams=2) as served:
        id_ = await served.start()
        stream = served.watch(id_)
        await stream.read()
        with reading(served, from_beginning=True) as reader:
            await reader.message()
            with refused(StatusCode.RESOURCE_EXHAUSTED, "STREAMS_EXHAUSTED"), reading(served) as third:
                await third.message()
            with refused(StatusCode.RESOURCE_EXHAUSTED, "STREAMS_EXHAUSTED"):
                await served.watch(id_).read()
        stream.cancel()


async def test_one_client_leaves_streams_to_the_others() -> None:
    """A client is a name, or else a machine."""
    async with echoing("", max_client_streams=1) as served:
        await run(served)
        with reading(served, from_beginning=True) as reader:
            await reader.until("ExecutionSucceeded")
            with refused(StatusCode.RESOURCE_EXHAUSTED, "STREAMS_EXHAUSTED"), reading(served) as second:
                await second.message()
            async with aio.connect(served.address, user="mira") as other:
                async for update in other.watch_events(from_beginning=True):
                    assert update.events
                    break


def test_client_that_closes_a_stream_may_open_another() -> None:
    """Also when there was no room for one of them."""
    streams = Streams(Settings(max_client_streams=1))
    for _ in range(2):
        refusal = pytest.raises(StreamsExhausted, match="max_client_streams")
        with streams.one_of("a"), streams.one_of("b"), refusal, streams.one_of("a"):
            pass


async def test_draining_server_sends_its_watchers_elsewhere() -> None:
    """At once, not at the next event."""
    async with echoing("") as served:
        with reading(served, from_beginning=True) as reader:
            await run(served)
            await reader.until("ExecutionSucceeded")
            served.server.runtime.drain()
            with refused(StatusCode.UNAVAILABLE, "SERVER_DRAINING"):
                await reader.message()


async def test_watch_goes_on_at_another_server(postgres_url: Callable[[], str]) -> None:
    """A cursor belongs to no server; what one commits, the other tells."""
    url = postgres_url()
    async with echoing(url) as a, echoing(url) as b:
        ids = await run(a)
        with reading(a, from_beginning=True) as reader:
            events = list(await reader.until("ExecutionSucceeded"))
        with reading(b, cursor=reader.cursor) as reader:
            ids += await run(a)
            events += await reader.until("ExecutionSucceeded")
        check_complete(events, ids)


# --- PostgreSQL's numbers --------------------------------------------------------------------------


async def test_foreign_transaction_delays_the_log_and_says_so(
    postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long write of somebody else holds back what is newer; nothing is lost, and a checkpoint names it."""
    monkeypatch.setattr(log_watching, "CHECKPOINT_SECONDS", 0.05)
    url = postgres_url()
    async with echoing(url) as served:
        with psycopg.connect(url) as foreign, reading(served, from_beginning=True) as reader:
            foreign.execute("CREATE TEMPORARY TABLE foreign_work (n int)")
            ids = await run(served, count=3)
            while not (message := await reader.message()).checkpoint.HasField("lag"):
                pass
            assert not reader.events
            assert f"pid {foreign.info.backend_pid}" in message.checkpoint.held_by
            foreign.commit()
            check_complete(await reader.until("ExecutionSucceeded", 3), ids)


async def test_server_that_starts_while_another_commits_counts_like_it(postgres_url: Callable[[], str]) -> None:
    """With numbers ahead of the others' its watchers would pass events over that are still to be committed."""
    url = postgres_url()
    async with echoing(url) as served:
        await run(served)
    another = (
        "INSERT INTO events SELECT (jsonb_populate_record(e, jsonb_build_object("
        "'execution_id', gen_random_uuid()::text, 'xid', pg_current_xact_id()::text::bigint))).* "
        "FROM events e WHERE revision = 1 LIMIT 1"
    )
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with psycopg.connect(url, autocommit=True) as other, engine.connect() as connection:
        # the other one commits after each statement of the one that starts
        sa.event.listen(engine, "after_cursor_execute", lambda *_: other.execute(another))
        assert numbers.offset(connection) == 0
    engine.dispose()


async def test_restored_dump_goes_on_with_larger_numbers(postgres_url: Callable[[], str]) -> None:
    """In a PostgreSQL that counts from the start again, old events still come before new ones, and executions go on."""
    url = postgres_url()
    async with echoing(url) as served:
        waiting = await served.start()
    with psycopg.connect(url) as connection:
        # as after a restore from a cluster that had counted much further
        connection.execute("UPDATE events SET xid = xid + 1000000")
        connection.execute("UPDATE executions SET xid = xid + 1000000")
    async with echoing(url) as served:
        with reading(served, from_beginning=True) as reader:
            async with served.worker() as hand:
                await hand.finish((await hand.offer()).token)
                check_complete(await reader.until("ExecutionSucceeded"), [waiting])


async def test_many_idle_streams_see_the_same(served: Served) -> None:
    """A hundred at once."""
    readers = [Reader(served, from_beginning=True) for _ in range(100)]
    try:
        id_ = await served.start()
        async with served.worker() as hand:
            await hand.finish((await hand.offer()).token)
            seen = await asyncio.gather(*(reader.until("ExecutionSucceeded") for reader in readers))
        for events in seen:
            check_complete(events, [id_])
    finally:
        for reader in readers:
            reader.close()
