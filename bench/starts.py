"""How long a server takes to start, and what it has of memory then; and how long a command does."""

from __future__ import annotations

import statistics
import subprocess
import time
from dataclasses import dataclass

from bench.places import Place, open_place
from bench.processes import Broken, Server, ended, module, resident_bytes

_DEFINITION = "version: '2.0'\none:\n  tasks:\n    t: {action: std.noop}\n"
_RUN_SECONDS = 60.0


@dataclass(frozen=True)
class Starts:
    """Of one database. Seconds from the start of the process until a call is answered, medians."""

    place: str
    #: On an empty database: it makes the tables.
    first_seconds: float
    #: After a kill.
    again_seconds: float
    #: Of the server's process, when it has answered after a kill.
    memory_bytes: int


@dataclass(frozen=True)
class Starting:
    """Of servers, and of the command that brings one of its own."""

    servers: list[Starts]
    #: Of `tradewind run` for one task that does nothing, median.
    run_seconds: float


def measure(databases: list[str], rounds: int) -> Starting:
    """Start everything *rounds* times on each of *databases*."""
    servers = []
    for name in databases:
        with open_place(name) as place:
            servers.append(_server(place, rounds))
    with open_place("sqlite") as place:
        return Starting(servers, _run(place, rounds))


def _server(place: Place, rounds: int) -> Starts:
    """Start on an empty database, be killed, and start again."""
    first, again, memory = [], [], []
    for _ in range(rounds):
        server = Server(place.fresh(), place.folder)
        for seconds in (first, again):
            begin = time.monotonic()
            with server:
                seconds.append(time.monotonic() - begin)
                if seconds is again:
                    memory.append(resident_bytes(server.pid))
    return Starts(place.name, statistics.median(first), statistics.median(again), round(statistics.median(memory)))


def _run(place: Place, rounds: int) -> float:
    file = place.folder / "one.yaml"
    file.write_text(_DEFINITION)
    taken = []
    for _ in range(rounds):
        begin = time.monotonic()
        with ended(module("tradewind_server.cli", "run", str(file), "--json", stdout=subprocess.PIPE)) as process:
            output, _ = process.communicate(timeout=_RUN_SECONDS)
            if process.returncode:
                raise Broken(f"`tradewind run` ended with {process.returncode}: {output[-2000:]}")
        taken.append(time.monotonic() - begin)
    return statistics.median(taken)
