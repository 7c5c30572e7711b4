"""Watchers by the thousand: what idle ones cost, and how late events come to many.

`python -m bench.watchers [--database sqlite|postgresql]`. The streams are opened by a program in Go
(clients/go/internal/load), which costs little beside the one server process; both are on the same cores. How late an
event comes is counted from the moment that it bears, which is before its commit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import cpu, parts
from bench.places import Place, open_place
from bench.processes import Server, ended
from tradewind import aio

_GO = Path(__file__).parents[1] / "clients" / "go"
#: An execution waits until somebody answers, again and again: each answer makes `_TRANSITIONS` events.
_DEFINITION = """
version: '2.0'
busy:
  tasks:
    s: {action: std.noop, on-success: t}
    t: {action: std.async_noop, on-success: t}
"""
_TRANSITIONS = 4
_CONNECTIONS = 20
_SECONDS = 20.0


@dataclass(frozen=True)
class Seen:
    """What the watchers say at the end."""

    streams: int
    events: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Watchers:
    """The program that watches. Use `open_watchers`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ready(self) -> None:
        """Wait until all streams are there."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", "it says on its standard error what is wrong"

    def report(self) -> Seen:
        """End it, and return what it saw."""
        out, _ = self._process.communicate()
        return Seen(**json.loads(out))


@contextlib.contextmanager
def open_watchers(program: Path, address: str, streams: int, ids: Sequence[str] = ()) -> Iterator[Watchers]:
    """Open so many streams: of the executions *ids* in turn, or of the namespace."""
    command = [str(program), address, str(_CONNECTIONS), str(streams), *ids]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with ended(process):
        yield Watchers(process)


async def answer(address: str, ids: Sequence[str], per_second: float, seconds: float) -> None:
    """Answer the open actions of the executions in turn, so many a second, evenly."""
    async with aio.connect(address) as client, asyncio.TaskGroup() as group:
        # the first action is that of the task before the one that waits
        actions = {id_: itertools.count(2) for id_ in ids}
        turns = {id_: asyncio.Lock() for id_ in ids}

        async def one(id_: str) -> None:
            # the next action is there when the one before is answered
            async with turns[id_]:
                await client.complete_action(id_, f"a{next(actions[id_])}")

        begun = time.monotonic()
        for n in range(int(per_second * seconds)):
            await asyncio.sleep(begun + n / per_second - time.monotonic())
            group.create_task(one(ids[n % len(ids)]))


async def _begin(address: str, count: int) -> list[str]:
    async with aio.connect(address) as client:
        await client.deploy(("busy.yaml", _DEFINITION))
        ids = [(await client.start("busy")).id for _ in range(count)]
        for id_ in ids:
            async for event in client.watch(id_):
                if event.type == "ActionScheduled" and event.proto.action_id == "a2":
                    break
        return ids


def main() -> None:
    """Measure, print, and write the part of the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--quick", action="store_true", help="few streams for a short time: does it still work?")
    asked = parser.parse_args()
    share, seconds = (0.01, 1.0) if asked.quick else (1.0, _SECONDS)
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "load"
        subprocess.run(["go", "build", "-o", str(program), "./internal/load"], cwd=_GO, check=True)
        for name in asked.database or ["sqlite", "postgresql"]:
            with open_place(name) as place:
                lines += [f"### {name}\n", *_measure(place, program, share, seconds), ""]
    text = "\n".join(lines)
    print(text)
    if not asked.quick and not asked.database:
        parts.put("watchers", "Watchers", text)


def _measure(place: Place, program: Path, share: float, seconds: float) -> Iterator[str]:
    yield from _idle(place, program, int(10_000 * share), seconds)
    yield ""
    yield "| Load | streams | events received | p50, ms | p99, ms | longest, ms | server, cores |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    many = int(1_000 * share)
    yield _busy(place, program, f"{many} executions, each with a watcher: 500 transitions/s", many, many, 500, seconds)
    crowd = int(500 * share)
    yield _busy(place, program, f"one execution with {crowd} watchers: 100 transitions/s", 1, crowd, 100, seconds)


def _idle(place: Place, program: Path, streams: int, seconds: float) -> Iterator[str]:
    with Server(place.fresh(), place.folder) as server:
        [id_] = asyncio.run(_begin(server.address, 1))
        before = cpu.resident_bytes(server.pid)
        with open_watchers(program, server.address, streams) as watchers:
            watchers.ready()
            memory = cpu.resident_bytes(server.pid) - before
            used = cpu.of_process(server.pid)
            time.sleep(seconds)
            used = (cpu.of_process(server.pid) - used) / seconds
            # one answer, which all of them are told of
            asyncio.run(answer(server.address, [id_], 1.0, 1.0))
            time.sleep(seconds / 2)
            seen = watchers.report()
        yield (
            f"{streams:,} idle streams of the namespace: {memory / streams / 1024:.1f} KiB of the server's memory "
            f"each, {100 * used:.1f} % of a core in all. The {_TRANSITIONS} events of one command reach all of them: "
            f"{seen.events:,} received, p50 {seen.p50_ms:,.0f} ms, the last after {seen.max_ms:,.0f} ms."
        )


def _busy(
    place: Place, program: Path, title: str, executions: int, streams: int, transitions: float, seconds: float
) -> str:
    with Server(place.fresh(), place.folder) as server:
        ids = asyncio.run(_begin(server.address, executions))
        with open_watchers(program, server.address, streams, ids) as watchers:
            watchers.ready()
            used = cpu.of_process(server.pid)
            asyncio.run(answer(server.address, ids, transitions / _TRANSITIONS, seconds))
            used = (cpu.of_process(server.pid) - used) / seconds
            time.sleep(1.0)
            seen = watchers.report()
    expected = int(transitions / _TRANSITIONS * seconds) * _TRANSITIONS * (streams // executions)
    assert seen.events == expected, f"{seen.events} events came instead of {expected}"
    return (
        f"| {title} | {streams} | {seen.events:,} of {expected:,} | {seen.p50_ms:.1f} | {seen.p99_ms:.1f} | "
        f"{seen.max_ms:.1f} | {used:.2f} |"
    )


if __name__ == "__main__":
    main()
