"""Many people at their inboxes, on a running server: starts, streams, decisions, and all reminders at once.

Part of `python -m bench.inboxes`. Each of the users watches an inbox of his own over a stream; the client is one
process in Python on the same cores.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import grpc
import sqlalchemy as sa

from bench import cpu
from bench.measure import percentile
from bench.places import Place
from bench.processes import Broken, Server
from tradewind import aio
from tradewind.v1 import human_task_pb2, human_task_service_pb2_grpc
from tradewind.v1 import human_task_service_pb2 as pb
from tradewind_server.store import schema
from tradewind_server.store.database import Database

_DEFINITION = """
version: '2.0'
approval:
  input: [user]
  tasks:
    approve:
      human: {title: Approve it, users: '<% [$.user] %>', due: 30d, remind: {after: 240}}
"""
#: Executions of one call, and calls at the same time.
_BATCH, _CALLS = 250, 4
_CONNECTIONS = 20
_DECISIONS_PER_SECOND, _SECONDS = 50, 20
_PATIENCE_SECONDS = 900.0
#: From a start to its reminder, as the definition says: by then all before is over.
_REMINDER_SECONDS = 240.0


@dataclass
class _Inboxes:
    """What the streams brought."""

    #: Of each user whose inbox is complete, what was in it.
    first: dict[str, list[human_task_pb2.HumanTask]] = field(default_factory=dict)
    #: Decided and not yet gone from the inbox: when it was decided.
    decided: dict[str, float] = field(default_factory=dict)
    late_ms: list[float] = field(default_factory=list)

    async def watch(self, stub: human_task_service_pb2_grpc.HumanTaskServiceAsyncStub, user: str) -> None:
        """Follow the inbox of *user*."""
        found: list[human_task_pb2.HumanTask] = []
        async for message in stub.WatchHumanTasks(pb.WatchHumanTasksRequest(), metadata=_as(user)):
            now = time.perf_counter()
            self.late_ms += [1000 * (now - self.decided.pop(id_)) for id_ in message.removed_ids]
            if user not in self.first:
                found += message.human_tasks
                if message.is_complete:
                    self.first[user] = found


def measure(place: Place, count: int, inboxes: int) -> Iterator[str]:
    """Measure, and give the lines of the page."""
    url = place.fresh()
    with Server(url, place.folder) as server:
        begun = time.perf_counter()
        lines, started_at = asyncio.run(_people(server, count, inboxes))
        yield from lines
        cursor = asyncio.run(_end_of_log(server))
        server.kill()
        lasted = time.perf_counter() - begun
        if lasted > _REMINDER_SECONDS:
            raise Broken(f"Expected this to take less than {_REMINDER_SECONDS} s, but it took {lasted:.0f} s.")
        database = Database(url)
        with database.connect_reader() as connection:
            overdue = connection.execute(sa.select(sa.func.count()).select_from(schema.timers)).scalar_one()
        database.close()
        # until the last one is due
        time.sleep(max(0.0, started_at + _REMINDER_SECONDS + 1 - time.perf_counter()))
        server.start()
        yield asyncio.run(_reminders(server, overdue, cursor))


async def _people(server: Server, count: int, inboxes: int) -> tuple[list[str], float]:
    """Return lines of the page, and when all were started."""
    async with aio.connect(server.address, patience=60) as client:
        await client.deploy(("approval.yaml", _DEFINITION))
        starting = await _start(client, count, inboxes)
    started_at = time.perf_counter()
    channels = [grpc.aio.insecure_channel(server.address) for _ in range(_CONNECTIONS)]
    stubs = [human_task_service_pb2_grpc.HumanTaskServiceStub(channel) for channel in channels]
    before = cpu.resident_bytes(server.pid)
    seen = _Inboxes()
    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        streams = [group.create_task(seen.watch(stubs[n % _CONNECTIONS], f"u{n}")) for n in range(inboxes)]
        await _until(lambda: len(seen.first) == inboxes)
        opening = time.perf_counter() - begun
        memory = (cpu.resident_bytes(server.pid) - before) / inboxes / 1024
        used = cpu.of_process(server.pid)
        await _decide(stubs[0], seen)
        used = (cpu.of_process(server.pid) - used) / _SECONDS
        for stream in streams:
            stream.cancel()
    for channel in channels:
        await channel.close()
    late = sorted(seen.late_ms)
    return [
        f"- {count:,} executions started, each with a human task and a reminder: {starting:.1f} s, "
        f"{count / starting:,.0f} a second.",
        f"- {inboxes:,} inboxes of {count // inboxes:,} human tasks each opened as streams: {opening:.1f} s, "
        f"{memory:.0f} KiB of the server's memory each.",
        f"- While all of them watch, {len(late):,} decisions, {_DECISIONS_PER_SECOND} a second: gone from the inbox "
        f"{percentile(late, 0.5):.0f} ms after the call at p50, {percentile(late, 0.99):.0f} ms at p99; the server "
        f"uses {used:.2f} cores.",
    ], started_at


async def _start(client: aio.Client, count: int, inboxes: int) -> float:
    """Start them all, and return the seconds."""
    batches = iter(range(0, count, _BATCH))

    async def lane() -> None:
        for first in batches:
            numbers = range(first, min(first + _BATCH, count))
            answers = await client.start_many(("approval", {"user": f"u{n % inboxes}"}, {}) for n in numbers)
            for refused in (answer for answer in answers if isinstance(answer, Exception)):
                raise refused

    begun = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(_CALLS)))
    return time.perf_counter() - begun


async def _decide(stub: human_task_service_pb2_grpc.HumanTaskServiceAsyncStub, seen: _Inboxes) -> None:
    """Let people decide, evenly, and wait until each decision has reached its inbox."""
    chosen = random.Random(1)
    begun = time.perf_counter()

    async def one(user: str, human_task: human_task_pb2.HumanTask) -> None:
        seen.decided[human_task.id] = time.perf_counter()
        request = pb.SubmitHumanTaskRequest(human_task_id=human_task.id, outcome="done", etag=human_task.etag)
        await stub.SubmitHumanTask(request, metadata=_as(user))

    async with asyncio.TaskGroup() as group:
        for n in range(_DECISIONS_PER_SECOND * _SECONDS):
            await asyncio.sleep(begun + n / _DECISIONS_PER_SECOND - time.perf_counter())
            user = chosen.choice([*seen.first])
            if seen.first[user]:
                group.create_task(one(user, seen.first[user].pop()))
    await _until(lambda: not seen.decided)


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not is_so():
            await asyncio.sleep(0.01)


async def _end_of_log(server: Server) -> str:
    async with aio.connect(server.address, patience=60) as client:
        async for update in client.watch_events():
            return update.cursor
    raise Broken("Expected a watch to say where the log ends, but it ended itself.")


async def _reminders(server: Server, count: int, cursor: str) -> str:
    """Count the reminders of a server that finds all of them overdue; each may come once."""
    reminded: set[str] = set()
    begun = time.perf_counter()
    async with aio.connect(server.address, patience=60) as client, asyncio.timeout(_PATIENCE_SECONDS):
        async for update in client.watch_events('type = "HumanTaskReminded"', cursor=cursor):
            for event in update.events:
                if event.execution_id in reminded:
                    raise Broken(f"Expected one reminder of {event.execution_id}, but there are two.")
                reminded.add(event.execution_id)
            if len(reminded) == count:
                break
    taken = time.perf_counter() - begun
    return f"- A server that starts with {count:,} reminders overdue has sent all of them after {taken:.1f} s."


def _as(user: str) -> tuple[tuple[str, str], ...]:
    return (("x-tradewind-user", user),)
