"""One run: servers, load, kills at random moments, then the facts."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import psycopg

from tests.cli.command_line import Started
from tests.crash.facts import Facts, collect
from tests.crash.load import LAST
from tests.crash.wire import Wire, Wires
from tradewind import connect
from tradewind_server.testing.ports import free_port, wait_until_it_listens
from tradewind_server.testing.postgres import PrivatePostgres, find_binaries

ROOT = Path(__file__).resolve().parents[2]

#: Orders wait for different times: else a kill would set them marching in step, and most kills would meet none.
WORKFLOWS = """
version: '2.0'
crash.order:
  input: [n]
  output: {total: <% $.total %>}
  tasks:
    first:
      action: crash.add a=<% $.n %> b=1
      publish: {one: <% task().result.sum %>}
      on-success: [left, many]
    left:
      wait-before: <% $.n mod 3 %>
      action: crash.add a=<% $.one %> b=10
      publish: {left: <% task().result.sum %>}
      on-success: both
    many:
      with-items: i in <% [1, 2, 3] %>
      action: crash.add a=<% $.one %> b=<% $.i %>
      publish: {many: <% task().result.select($.sum).sum() %>}
      on-success: both
    both:
      join: all
      action: crash.add a=<% $.left %> b=<% $.many %>
      publish: {total: <% task().result.sum %>}
      on-success: child
    child:
      workflow: crash.child n=<% $.total %>
      publish: {total: <% task().result.total %>}

crash.last:
  tasks:
    t: {action: std.noop}

crash.child:
  input: [n]
  output: {total: <% $.total %>}
  tasks:
    only:
      action: crash.add a=<% $.n %> b=100
      publish: {total: <% task().result.sum %>}
"""

#: Leases short enough that what a dead server had handed out comes back soon; losses are the server's, never the
#: action's, so they must not end one.
ENVIRONMENT = {
    "TRADEWIND_DELIVERY_LEASE_SECONDS": "2",
    "TRADEWIND_WORK_LEASE_SECONDS": "5",
    "TRADEWIND_MAX_DELIVERIES": "10000",
    "TRADEWIND_MAX_LOSSES": "10000",
}
_READY_SECONDS = 30.0
#: What is open when the killing ends must end by itself in this time.
_SETTLE_SECONDS = 60.0
#: With each kill, how likely a connection fails as well: cut at once, or after it has swallowed everything for a while.
_CUT_CHANCE = 0.3
_HOLE_CHANCE = 0.3
#: How long a watcher's connection is left alone, at most, where watchers are to reconnect.
_LONGEST_PEACE_SECONDS = 0.5
#: Reconnects beyond the last kill come by then, or they are fewer.
_RECONNECT_SECONDS = 600.0
#: With each kill, how likely PostgreSQL loses its power and comes back, where that is asked for.
_OUTAGE_CHANCE = 0.2
#: With each kill, how likely somebody else's transaction runs until the server is there again, where outages are.
_FOREIGN_CHANCE = 0.3


@dataclasses.dataclass(slots=True)
class Report:
    """What came of a run."""

    facts: Facts
    #: Moments of the kills, monotonic seconds.
    kills: list[float]
    #: How often connections were cut, and how often they swallowed everything before.
    cuts: int
    black_holes: int
    #: How often PostgreSQL was stopped at once, and started again.
    outages: int
    #: Connections of watchers that were reset, so that they had to go on elsewhere or anew.
    reconnects: int
    #: How often a transaction of somebody else was open over a kill.
    foreign_writes: int
    #: Processes of the load that did not come to their end.
    stuck: list[str]

    @property
    def kills_in_flight(self) -> int:
        """Return how many kills met commands that were sent and not answered."""
        return sum(self.facts.in_flight(at) > 0 for at in self.kills)


class ServerProcess:
    """A server in a process of its own, on a port that it keeps."""

    def __init__(self, database: str, log: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._database = database
        self._log = log
        self._process: Started | None = None

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        command = ["server", "--listen", self.address, "--database", self._database]
        with self._log.open("ab") as log, open(os.devnull, "rb") as nothing:
            self._process = Started(command, nothing, log, log, ENVIRONMENT)
        if not wait_until_it_listens(self.address, self._process, _READY_SECONDS):
            raise RuntimeError(f"the server did not start; its log is {self._log}")

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()


def run(
    kills: int,
    seed: int,
    database: str,
    say: Callable[[str], None] = lambda _: None,
    replays: int = 150,
    servers: int = 2,
    outages: bool = False,
    reconnects: int = 0,
    longest_hole: float = 6.0,
) -> Report:
    """Load one server on SQLite, or several on PostgreSQL, and kill *kills* times.

    With *outages* PostgreSQL itself is stopped at once now and then, and started again. Meanwhile, and after that,
    connections of watchers are reset until there have been *reconnects* of them.
    *longest_hole* is for how many seconds a connection swallows everything at most.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tradewind-crash-")))
        postgres = stack.enter_context(_postgres()) if database == "postgresql" else None
        peer = _go_peer(folder)
        url = postgres.create("crash") if postgres else str(folder / "crash.db")
        wires = stack.enter_context(Wires())
        # each server has wires of its own: one to its database, one to whoever calls it
        inner = [wires.to(postgres.port) for _ in range(servers)] if postgres else []
        urls = [url.replace(f":{postgres.port}/", f":{wire.port}/") for wire in inner if postgres] or [url]
        processes = [ServerProcess(url_, folder / f"server{n}.log") for n, url_ in enumerate(urls)]
        for server in processes:
            stack.callback(server.kill)
            server.start()
        with connect(processes[0].address) as client:
            client.deploy(("crash.yaml", WORKFLOWS))
        outer = [wires.to(int(server.address.partition(":")[2])) for server in processes]
        addresses = [f"127.0.0.1:{wire.port}" for wire in outer]
        load = [stack.enter_context(_process(folder, *role)) for role in _roles(addresses, seed)]
        # wires of their own: what happens to watchers alone shows only in what they see
        watched = [wires.to(int(server.address.partition(":")[2])) for server in processes]
        watching = list(_watchers([f"127.0.0.1:{wire.port}" for wire in watched], seed, peer))
        watchers = [stack.enter_context(_process(folder, *role)) for role in watching]
        trouble = _Trouble(
            random.Random(seed), processes, inner + outer, postgres if outages else None, longest_hole, say
        )
        unrest = stack.enter_context(_Unrest(random.Random(seed + 1), watched, reconnects))
        killed = trouble.make(kills)
        unrest.finish()
        stuck = _settle(load)
        with connect(processes[0].address) as client:
            client.start_and_wait(LAST)
        stuck += _ended(watchers)
        if stuck:
            for path in folder.glob("*.log"):
                say(f"--- {path.name}\n{path.read_text()[-2000:]}")
        facts = collect(sorted(folder.glob("*.jsonl")), url, processes[0].address, seed, replays)
        for *_, name in watching:
            facts.seen.setdefault(name, [])  # one that saw nothing is a fault, too
        return Report(
            facts, killed, trouble.cuts, trouble.black_holes, trouble.outages, unrest.reconnects,
            trouble.foreign_writes, stuck,
        )  # fmt: skip


def _postgres() -> PrivatePostgres:
    binaries = find_binaries()
    if binaries is None:
        raise RuntimeError("PostgreSQL is not installed")
    return PrivatePostgres(binaries)


#: A program of the load, the role that it plays, where, and its name.
Role = tuple[list[str], str, str, str]

_PYTHON = [sys.executable, "-m", "tests.crash.load"]


def _go_peer(folder: Path) -> list[str]:
    """Build the Go program of the tests; return its command, which is empty if Go is not installed."""
    go = shutil.which("go")
    if go is None:
        return []
    program = str(folder / "peer")
    subprocess.run([go, "build", "-o", program, "./internal/peer"], cwd=ROOT / "clients" / "go", check=True)
    return [program]


def _roles(addresses: list[str], seed: int) -> Iterator[Role]:
    everywhere = ",".join(addresses)
    yield _PYTHON, "client", everywhere, f"client-{seed}"
    for n in range(2):
        # each server has a worker of its own
        yield _PYTHON, "worker", addresses[n % len(addresses)], f"worker{n}-{seed}"
    yield _PYTHON, "poller", everywhere, f"poller-{seed}"


def _watchers(addresses: list[str], seed: int, go_peer: list[str]) -> Iterator[Role]:
    programs = [_PYTHON, _PYTHON, go_peer]
    for n, program in enumerate(filter(None, programs)):
        first = n % len(addresses)  # each begins at another server
        yield program, "watcher", ",".join(addresses[first:] + addresses[:first]), f"watcher{n}-{seed}"


@contextlib.contextmanager
def _process(
    folder: Path, program: list[str], role: str, addresses: str, name: str
) -> Iterator[subprocess.Popen[bytes]]:
    command = [*program, role, addresses, str(folder / f"{name}.jsonl"), name]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class _Trouble:
    """Kills servers, and lets their connections fail."""

    def __init__(
        self,
        rng: random.Random,
        servers: list[ServerProcess],
        wires: list[Wire],
        postgres: PrivatePostgres | None,
        longest_hole: float,
        say: Callable[[str], None],
    ) -> None:
        self._rng = rng
        self._servers = servers
        self._wires = wires
        self._say = say
        self._postgres = postgres
        self._longest_hole = longest_hole
        self.cuts = self.black_holes = self.outages = self.foreign_writes = 0

    def make(self, kills: int) -> list[float]:
        """Kill *kills* times; return the moments."""
        rng = self._rng
        time.sleep(1.0)  # the load begins
        killed: list[float] = []
        for n in range(kills):
            time.sleep(rng.uniform(0.1, 2.0))
            server = rng.choice(self._servers)
            killed.append(time.monotonic())
            with self._foreign_write():
                server.kill()
                self._break_connections()
                self._stop_database()
                time.sleep(rng.uniform(0.0, 0.3))
                server.start()
            if (n + 1) % 10 == 0:
                self._say(f"{n + 1} kills")
        return killed

    def _break_connections(self) -> None:
        chance, wire = self._rng.random(), self._rng.choice(self._wires)
        if chance < _HOLE_CHANCE:
            wire.hold()
            self.black_holes += 1
            time.sleep(self._rng.uniform(0.1, self._longest_hole))
        if chance < _HOLE_CHANCE + _CUT_CHANCE:
            wire.cut()
            self.cuts += 1

    @contextlib.contextmanager
    def _foreign_write(self) -> Iterator[None]:
        """Hold the log back with a transaction that has nothing to do with it, in another database."""
        if self._postgres is None or self._rng.random() >= _FOREIGN_CHANCE:
            yield
            return
        self.foreign_writes += 1
        foreign = psycopg.connect(self._postgres.dsn_of("postgres"))
        foreign.execute("SELECT pg_current_xact_id()")
        yield
        foreign.close()  # an outage may have ended it before

    def _stop_database(self) -> None:
        if self._postgres is not None and self._rng.random() < _OUTAGE_CHANCE:
            self._postgres.stop("immediate")
            time.sleep(self._rng.uniform(0.0, 1.0))
            self._postgres.start()
            self.outages += 1


class _Unrest:
    """Resets connections of watchers, in a thread of its own, until there were enough. Use as a context manager."""

    def __init__(self, rng: random.Random, wires: list[Wire], wanted: int) -> None:
        self._rng = rng
        self._wires = wires
        self._wanted = wanted
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="unrest", daemon=True)
        self.reconnects = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def finish(self) -> None:
        """Return when there were enough, or the time for them is over."""
        self._thread.join(_RECONNECT_SECONDS)

    def _run(self) -> None:
        while self.reconnects < self._wanted:
            if self._is_over.wait(self._rng.uniform(0.0, _LONGEST_PEACE_SECONDS)):
                return
            self.reconnects += self._rng.choice(self._wires).cut()


def _settle(load: list[subprocess.Popen[bytes]]) -> list[str]:
    """Let the client finish what it has begun, then the workers; return who did not."""
    end = time.monotonic() + _SETTLE_SECONDS
    stuck: list[str] = []
    for process in load:
        process.terminate()
        stuck += _wait(process, end)
    return stuck


def _ended(watchers: list[subprocess.Popen[bytes]]) -> list[str]:
    """Wait until the watchers have seen the last execution end; return who did not."""
    end = time.monotonic() + _SETTLE_SECONDS
    return [found for process in watchers for found in _wait(process, end)]


def _wait(process: subprocess.Popen[bytes], end: float) -> list[str]:
    try:
        code = process.wait(max(1.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        code = -1
    return [f"{process.args!r} ended with {code}"] if code else []
