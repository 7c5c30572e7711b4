"""What keeps the log in order on PostgreSQL is needed: taken away one by one, the checker of the crash test sees it."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Iterable
from typing import Any

import psycopg
import pytest

from tests.api.harness import PATIENCE, Served
from tests.api.test_log_watching import Reader, echoing, keys, reading, run
from tests.crash.check import watches
from tests.crash.facts import Execution, Facts
from tradewind.v1 import event_pb2
from tradewind.v1 import execution_service_pb2 as pb
from tradewind_server.api import log_watching
from tradewind_server.store import log, numbers
from tradewind_server.store.unit_of_work import Lock, Locked, Transaction
from tradewind_server.store.writer import Writer

pytestmark = pytest.mark.parametrize("is_planted", [False, True], ids=["as it is", "fault planted"])


class Gate:
    """Holds up a thread of a server once, at a place that the test knows to be reached."""

    def __init__(self) -> None:
        self._reached, self._open = asyncio.Event(), threading.Event()
        self._loop = asyncio.get_running_loop()
        self._is_used = False

    def pass_through(self) -> None:
        """Wait for the test, the first time."""
        if self._is_used:
            return
        self._is_used = True
        self._loop.call_soon_threadsafe(self._reached.set)
        assert self._open.wait(PATIENCE)

    async def reached(self) -> None:
        """Return when the thread is there."""
        async with asyncio.timeout(PATIENCE):
            await self._reached.wait()

    def open(self) -> None:
        """Let it go on."""
        self._open.set()


async def faults(served: Served, ids: Iterable[str], events: list[event_pb2.Event]) -> list[str]:
    """Return what the checker says of a watcher that saw *events*, of executions that have come to rest."""
    facts = Facts(seen={"watcher": keys(events)})
    for id_ in ids:
        facts.executions[id_] = Execution(id_, (await served.get(id_)).revision, "", "")
    return list(watches(facts))


async def until_end_of(reader: Reader, id_: str) -> list[event_pb2.Event]:
    """Read until an execution has ended."""
    while not any(event.execution_id == id_ and event.type == "ExecutionSucceeded" for event in reader.events):
        await reader.message()
    return reader.events


async def test_cursor_stays_below_what_is_not_committed(
    postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch, is_planted: bool
) -> None:
    """One server has written and not committed; what another commits meanwhile must not carry cursors past it."""
    url = postgres_url()
    async with echoing(url) as slow, echoing(url) as quick:
        gate, send_commit = Gate(), Writer._send_commit

        def commit(self: Writer) -> Callable[[], bool]:
            if self._name.startswith(slow.server.runtime.server_id):
                gate.pass_through()
            return send_commit(self)

        if is_planted:
            monkeypatch.setattr(log, "horizon", lambda *_: 2**62)
        with reading(quick, from_beginning=True) as reader:
            monkeypatch.setattr(Writer, "_send_commit", commit)
            starting = asyncio.create_task(slow.start("echo", {}))
            await gate.reached()
            ids = await run(quick)
            if is_planted:
                await until_end_of(reader, ids[0])
            gate.open()
            ids.append(await starting)
            await slow.follow(ids[-1])
            ids += await run(quick)
            events = await until_end_of(reader, ids[-1])
            assert bool(await faults(quick, ids, events)) is is_planted


def _ready(found: dict[str, Locked]) -> dict[str, Locked]:
    # a row that it got has a revision; one that another server holds has none
    return {key: dataclasses.replace(each, lock=Lock.READY) if each.revision else each for key, each in found.items()}


async def test_execution_is_written_by_ever_larger_numbers(
    postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch, is_planted: bool
) -> None:
    """A transaction gets its number, waits, and finds what a later one has written: it must leave that alone."""
    url = postgres_url()
    async with echoing(url) as early, echoing(url) as late:
        id_ = await early.start()
        gate, lock = Gate(), Transaction.lock

        def locked(self: Transaction, ids: Iterable[str], **options: Any) -> Callable[[], dict[str, Locked]]:
            wanted = list(ids)
            if id_ in wanted and self._writer.startswith(early.server.runtime.server_id):
                assert self.xid
                gate.pass_through()
            found = lock(self, wanted, **options)
            return (lambda: _ready(found())) if is_planted else found

        monkeypatch.setattr(Transaction, "lock", locked)
        pausing = early.executions.PauseExecution(pb.PauseExecutionRequest(execution_id=id_))
        await gate.reached()
        await late.executions.PauseExecution(pb.PauseExecutionRequest(execution_id=id_))
        await late.executions.ResumeExecution(pb.ResumeExecutionRequest(execution_id=id_))
        gate.open()
        await pausing
        ids = [id_, *await run(late)]
        with reading(late, from_beginning=True) as reader:
            events = await until_end_of(reader, ids[-1])
            assert bool(await faults(late, ids, events)) is is_planted


async def test_log_of_a_restored_dump_goes_on_behind_itself(
    postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch, is_planted: bool
) -> None:
    """A cluster that counts from the start again would put new events before every cursor."""
    monkeypatch.setattr(log_watching, "CHECKPOINT_SECONDS", 0.05)
    url = postgres_url()
    async with echoing(url) as served:
        ids = await run(served)
        with reading(served, from_beginning=True) as reader:
            events = list(await until_end_of(reader, ids[0]))
    with psycopg.connect(url) as connection:
        # as after a restore from a cluster that had counted much further
        connection.execute("UPDATE events SET xid = xid + 1000000")
    async with echoing(url) as served:
        with reading(served, from_beginning=True) as reader:
            await reader.until("ExecutionSucceeded")
    if is_planted:
        monkeypatch.setattr(numbers, "offset", lambda _: 0)
    async with echoing(url) as served:
        with reading(served, cursor=reader.cursor) as reader:
            ids += await run(served)
            if is_planted:
                while not (await reader.message()).HasField("checkpoint"):
                    pass
            else:
                await until_end_of(reader, ids[-1])
            assert bool(await faults(served, ids, events + reader.events)) is is_planted
