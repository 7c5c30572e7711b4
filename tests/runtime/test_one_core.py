"""Threads that are kept on one core: which one, for how long, and which threads are not."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import grpc
import pytest

from tests.api.harness import PATIENCE, serving
from tests.cli.command_line import Started
from tradewind.v1 import server_service_pb2, server_service_pb2_grpc
from tradewind_server import ids, one_core
from tradewind_server.one_core import ROAMING, Linux, OneCore, Use
from tradewind_server.testing.ports import free_port, wait_until_it_listens

LOOP, COMMITTER, GRPC = 1, 2, 3


@dataclasses.dataclass
class Machine:
    """A machine of three cores, on which a test says how the threads fare, a look each second."""

    reader: int = 0
    at: float = 50.0
    cores: Collection[int] = (0, 1, 2)
    uses: dict[int, Use] = dataclasses.field(default_factory=lambda: {LOOP: Use(3, 7, 0), COMMITTER: Use(9, 1, 0)})
    #: Thread -> where it may run.
    allowed: dict[int, set[int]] = dataclasses.field(default_factory=dict)

    def pass_seconds(self, loop: float, committer: float, lost: float, core: int | None, seconds: int) -> None:
        """Let the threads run for these parts of the time, and the committer lose a part of it to others."""
        self.at += seconds
        where = {thread: self.uses[thread].core if core is None else core for thread in self.uses}
        for thread, ran, waits in ((LOOP, loop, committer), (COMMITTER, committer, loop + lost)):
            use = self.uses[thread]
            waited = use.waited + seconds * waits
            self.uses[thread] = Use(use.ran + seconds * ran, waited, where[thread])

    def seconds(self) -> float:
        """Return the time."""
        return self.at

    def threads(self) -> Collection[int]:
        """Return what is there."""
        return [LOOP, COMMITTER, GRPC, *([self.reader] if self.reader else [])]

    def use(self, thread: int) -> Use:
        """Return what has been said."""
        return self.uses[thread]

    def keep(self, thread: int, core: int) -> None:
        """Note it."""
        self.allowed[thread] = {core}

    def free(self, thread: int, but: int | None) -> None:
        """Note it."""
        self.allowed[thread] = set(self.cores) - {but}


class Kept:
    """Threads that are kept, and their machine; a test says what chance draws."""

    def __init__(self, draw: Callable[[int], int] = lambda _: 0, reader: int = 0) -> None:
        self.machine = Machine(reader)
        self.one_core = OneCore(self.machine, (LOOP, COMMITTER), draw)
        self.one_core.look()

    def look(
        self,
        times: int = 1,
        *,
        loop: float = 0.3,
        committer: float = 0.6,
        lost: float = 0.0,
        core: int | None = None,
        seconds: int = 1,
    ) -> set[int]:
        """Let seconds pass and look, so many times; return where the committer may run then."""
        for _ in range(times):
            self.machine.pass_seconds(loop, committer, lost, core, seconds)
            self.one_core.look()
        return self.machine.allowed[COMMITTER]


@pytest.fixture
def reader() -> Iterator[threading.Thread]:
    """Give a thread that reads the database."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait, args=(PATIENCE,), name="reader_0")
    thread.start()
    yield thread
    end.set()
    thread.join(PATIENCE)


def test_threads_stay_where_the_kernel_has_put_the_busiest_and_readers_go_anywhere(reader: threading.Thread) -> None:
    """What a reader does is mostly done without the interpreter."""
    kept = Kept(reader=reader.native_id or 0)
    kept.machine.uses[LOOP] = Use(3, 7, 1)

    kept.look(loop=0.2, committer=0.3)
    with_busy_committer = dict(kept.machine.allowed)
    kept.look(loop=0.0, committer=0.0)
    kept.look(loop=0.3, committer=0.2)

    anywhere = {0, 1, 2}
    assert with_busy_committer == {LOOP: {0}, COMMITTER: {0}, GRPC: {0}, reader.native_id: anywhere}
    assert kept.machine.allowed == {LOOP: {1}, COMMITTER: {1}, GRPC: {1}, reader.native_id: anywhere}


def test_threads_that_have_little_to_do_go_anywhere() -> None:
    """When they have something to do again, the kernel may have a better core for them."""
    kept = Kept()
    assert kept.look(loop=0.02, committer=0.02) == {0, 1, 2}
    assert kept.look(loop=0.03, committer=0.03) == {0}
    assert kept.look(loop=0.02, committer=0.02, seconds=4) == {0, 1, 2}


@pytest.mark.parametrize(("seconds", "lost"), [(1, 0.5), (4, 0.5), (1, 0.6)])
def test_threads_that_wait_for_each_other_or_for_a_moment_stay(seconds: int, lost: float) -> None:
    """Each of them waits while the other one runs; and a look of others' work goes by."""
    kept = Kept()
    kept.look()
    for each in (lost, lost, 0.1) if lost < 0.54 else (lost, 0.1, lost, 0.1):
        assert kept.look(lost=each, seconds=seconds) == {0}


def test_threads_leave_a_core_on_which_others_are_again_and_again_but_ever_less_often() -> None:
    """Each time they stay where the kernel has put them by the next look, until they are alone for a look."""
    kept = Kept()
    kept.look()
    assert kept.look(lost=0.58) == {0}
    assert kept.look(lost=0.58) == {1, 2}
    assert kept.look(core=1) == {1}
    assert kept.look(3, lost=0.6) == {1}
    assert kept.look(lost=0.6) == {0, 2}
    assert kept.look(core=0) == {0}
    assert kept.look(7, lost=0.6) == {0}
    assert kept.look(lost=0.6) == {1, 2}
    assert kept.look(core=2) == {2}
    assert kept.look() == {2}
    assert kept.look(lost=0.6) == {2}
    assert kept.look(lost=0.6) == {0, 1}


def test_threads_wait_for_less_than_a_minute() -> None:
    """On a machine that is busy everywhere it does not matter; but it may not stay so."""
    kept = Kept(draw=lambda below: below - 1)
    kept.look()
    for _ in range(10):
        looks = 1
        while kept.look(lost=0.6) == {0}:
            looks += 1
        kept.look(core=0)
    assert looks == 16 + 31


def test_two_servers_that_begin_on_one_core_part() -> None:
    """They look at the same moment, and the kernel would always put them on the same core."""
    where = [0, 0]
    servers = [Kept(draw=ids.draw), Kept(draw=ids.draw)]
    for server in servers:
        server.look()
    looks = 0
    while where[0] == where[1]:
        looks += 1
        assert looks < 1000
        # all see the same moment, before any of them moves
        places = [min(server.machine.allowed[COMMITTER]) for server in servers]
        share = 0.5 if places[0] == places[1] else 0.0
        for number, server in enumerate(servers):
            server.look(loop=0.2, committer=0.3, lost=share, core=places[number])
            where[number] = min(server.machine.allowed[COMMITTER])


def test_threads_that_somebody_else_has_moved_are_kept_where_they_are_then() -> None:
    """An administrator may take cores from what runs (cpusets), or pin it himself."""
    kept = Kept()
    kept.look()
    assert kept.look(core=2) == {0, 1, 2}
    assert kept.look(core=2) == {2}

    # nor is the core forbidden that they have left before
    assert kept.look(2, lost=0.6) == {0, 1}
    assert kept.look(core=1) == {1}
    assert kept.look(core=0) == {0, 1, 2}


def test_threads_that_are_let_go_may_go_back_to_the_core_that_they_left() -> None:
    """A server that stops leaves nothing behind."""
    kept = Kept()
    kept.look()
    assert kept.look(2, lost=0.6) == {1, 2}
    kept.one_core.let_go()
    assert kept.machine.allowed[COMMITTER] == {0, 1, 2}


# --- on this machine -----------------------------------------------------------------------------

several_cores = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) == 1, reason="one core, or a system that keeps nobody"
)


@several_cores
def test_linux_keeps_threads_on_a_core_and_lets_them_go(reader: threading.Thread) -> None:
    """What the kernel says of threads is read, and what it is told is so."""
    thread, machine = reader.native_id or 0, Linux()
    anywhere = os.sched_getaffinity(0)
    core = min(anywhere)
    assert thread in machine.threads()
    machine.keep(thread, core)
    assert os.sched_getaffinity(thread) == {core}
    machine.free(thread, core)
    assert os.sched_getaffinity(thread) == anywhere - {core}
    machine.free(thread, None)
    assert os.sched_getaffinity(thread) == anywhere


@several_cores
def test_linux_tells_what_a_thread_has_had() -> None:
    """This one has run, and waits for nobody while it runs."""
    machine, thread = Linux(), threading.get_native_id()
    began, before = machine.seconds(), machine.use(thread)
    while (after := machine.use(thread)).ran - before.ran < 0.05:
        pass
    took = machine.seconds() - began
    assert 0.05 <= (after.ran - before.ran) + (after.waited - before.waited) <= took * 1.1
    assert after.core in os.sched_getaffinity(0)


@several_cores
def test_what_the_kernel_refuses_is_no_error_and_the_other_threads_are_told() -> None:
    """A thread that has ended, and cores that have been taken from the process."""
    machine = Linux()
    gone = threading.Thread(target=lambda: None)
    gone.start()
    gone.join(PATIENCE)
    machine.keep(gone.native_id or 0, 0)
    machine.free(gone.native_id or 0, None)
    machine._cores = {os.cpu_count() or 1}  # none that there is
    before, thread = os.sched_getaffinity(0), threading.get_native_id()
    machine.keep(thread, os.cpu_count() or 1)
    assert os.sched_getaffinity(0) == before
    machine.keep(thread, min(before))
    machine.free(thread, None)
    after = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before)
    assert after >= before


@several_cores
async def test_server_whose_threads_end_is_let_go_with_a_word(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing but a slower server comes of what the kernel does not say."""
    with caplog.at_level(logging.WARNING):
        await one_core.keep([-1], ids.draw)
    assert "keeps to no core" in caplog.text
    assert not one_core_affinities() - {frozenset(os.sched_getaffinity(0))}


def one_core_affinities() -> set[frozenset[int]]:
    """Return where the threads of this process may run."""
    return {frozenset(os.sched_getaffinity(thread.native_id or 0)) for thread in threading.enumerate()}


async def test_threads_that_roam_have_the_names_that_they_are_known_by() -> None:
    """Under other names they would be kept."""
    async with serving("") as served:
        await served.start()
        names = {thread.name for thread in threading.enumerate()}
        await asyncio.to_thread(lambda: names.add(threading.current_thread().name))
    assert [prefix for prefix in ROAMING if not any(name.startswith(prefix) for name in names)] == []


@several_cores
@pytest.mark.slow
@pytest.mark.parametrize("setting", ["true", "false"])
def test_busy_server_keeps_to_one_core_unless_it_is_told_not_to(tmp_path: Path, setting: str) -> None:
    """Its first thread is the event loop."""
    address, anywhere = f"127.0.0.1:{free_port()}", os.sched_getaffinity(0)
    command = ("server", "--listen", address, "--database", str(tmp_path / "x.db"))
    environment = {"TRADEWIND_ONE_CORE": setting}
    with open(os.devnull, "r+b") as no, Started(command, no, no, no, environment) as server:
        assert wait_until_it_listens(address, server, PATIENCE)
        with grpc.insecure_channel(address) as channel:
            ask = server_service_pb2_grpc.ServerServiceStub(channel).GetServerInfo
            # where it keeps to one, until it does; else for some seconds
            for _ in range(100_000 if setting == "true" else 5_000):
                ask(server_service_pb2.GetServerInfoRequest(), timeout=PATIENCE)
                if os.sched_getaffinity(server.pid) != anywhere:
                    break
        # a core that others want it leaves: then it may go to all but that
        cores = os.sched_getaffinity(server.pid)

    assert cores < anywhere if setting == "true" else cores == anywhere
