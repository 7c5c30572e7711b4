"""Threads that are kept on one core: which one, for how long, and which threads are not."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

from tests.api.harness import PATIENCE
from tests.cli.command_line import Started, tradewind
from tradewind_server.one_core import Linux, OneCore
from tradewind_server.testing.ports import free_port, wait_until_it_listens


class Machine:
    """A machine of three cores, on which a test says who works. Each look is a second after the last one."""

    def __init__(self) -> None:
        self.cores: Collection[int] = (0, 1, 2)
        self.allowed: dict[int, Collection[int]] = {}
        self.runs_on = 0
        self.forbidden: set[int] = set()
        self._seconds, self._busy, self._own = 0.0, {0: 5.0, 1: 9.0, 2: 0.0, 3: 0.0}, 0.0

    def pass_a_second(self, own: float = 0.0, others: Mapping[int, float] | None = None) -> None:
        """Let the threads work for *own* of a second where they are, and others on their cores."""
        self._seconds += 1.0
        self._own += own
        self._busy[self.runs_on] += own
        for core, seconds in (others or {}).items():
            self._busy[core] += seconds

    def seconds(self) -> float:
        """Return the time."""
        return self._seconds

    def busy_seconds(self) -> Mapping[int, float]:
        """Return what has been said."""
        return dict(self._busy)

    def threads(self) -> Collection[int]:
        """Return the threads that there are."""
        return [thread.native_id or 0 for thread in threading.enumerate()]

    def used(self, thread: int) -> tuple[float, int]:
        """Return what has been said; the kernel would say it of each thread."""
        return self._own, self.runs_on

    def allow(self, thread: int, cores: Collection[int]) -> None:
        """Note it, and run there."""
        if self.forbidden.issuperset(cores):
            raise OSError("Invalid argument")
        self.allowed[thread] = cores


@pytest.fixture
def machine() -> Machine:
    """Give a machine."""
    return Machine()


@pytest.fixture
def reader() -> Iterator[threading.Thread]:
    """Give a thread that reads the database."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait, args=(PATIENCE,), name="reader_0")
    thread.start()
    yield thread
    end.set()
    thread.join(PATIENCE)


def test_threads_stay_where_the_kernel_has_put_the_busiest_and_readers_go_anywhere(
    machine: Machine, reader: threading.Thread
) -> None:
    """What a reader does is mostly done without the interpreter."""
    machine.runs_on = 2
    kept = OneCore(machine, [threading.get_native_id()])

    kept.look()

    assert kept.core == 2
    assert machine.allowed[threading.get_native_id()] == {2}
    assert machine.allowed[reader.native_id or 0] == (0, 1, 2)


def test_own_work_and_a_moment_of_others_drive_nobody_away(machine: Machine) -> None:
    """Nor does a core that this process may not use have room."""
    kept = OneCore(machine, [threading.get_native_id()])
    kept.look()

    for others in ({0: 0.1}, {0: 0.9}, {0: 0.1}, {0: 0.8, 1: 0.7, 2: 0.9}, {0: 0.8, 1: 0.7, 2: 0.9}, {}, {0: 0.9}):
        machine.pass_a_second(own=1.0 - others.get(0, 0.0), others=others)
        kept.look()
        assert kept.core == 0


def test_threads_leave_a_core_that_others_want_again_and_again(machine: Machine) -> None:
    """Each time they stay where the kernel has put them by the next look."""
    kept = OneCore(machine, [threading.get_native_id()])
    kept.look()
    cores = []

    for others in [{0: 0.5, 1: 0.3, 2: 0.9}] * 3 + [{0: 0.1, 1: 0.5}] * 3:
        machine.pass_a_second(own=0.5, others=others)
        if kept.core is None:
            machine.runs_on = min(machine.allowed[threading.get_native_id()])
        kept.look()
        cores.append((kept.core, set(machine.allowed[threading.get_native_id()])))

    assert cores == [(0, {0}), (None, {1, 2}), (1, {1}), (1, {1}), (None, {0, 2}), (0, {0})]


def test_threads_that_are_let_go_may_go_back_to_the_core_that_they_left(machine: Machine) -> None:
    """A server that stops leaves nothing behind."""
    kept = OneCore(machine, [threading.get_native_id()])
    kept.look()
    for _ in range(2):
        machine.pass_a_second(own=0.1, others={0: 0.9})
        kept.look()

    kept.let_go()

    assert machine.allowed[threading.get_native_id()] == {0, 1, 2}


def test_what_happened_before_a_core_was_chosen_does_not_count(machine: Machine) -> None:
    """Else the first look after a choice would see the load that was there before."""
    kept = OneCore(machine, [threading.get_native_id()])
    machine.pass_a_second(others={0: 0.9})
    kept.look()

    for _ in range(2):
        machine.pass_a_second(own=0.9)
        kept.look()

    assert kept.core == 0


def test_a_core_that_is_taken_from_the_process_is_left(machine: Machine) -> None:
    """An administrator may take cores from what runs (cpusets)."""
    kept = OneCore(machine, [threading.get_native_id()])
    kept.look()

    machine.forbidden = {0}
    kept.look()
    left = kept.core, machine.allowed[threading.get_native_id()]
    machine.runs_on = 1
    kept.look()

    assert left == (None, {0, 1, 2})
    assert kept.core == 1


several_cores = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) == 1, reason="one core, or a system that keeps nobody"
)


@several_cores
def test_linux_keeps_threads_on_the_core_and_lets_them_go(reader: threading.Thread) -> None:
    """What the kernel says of cores and threads is read, and what it is told is so."""
    main, machine = threading.get_native_id(), Linux()
    anywhere = set(machine.cores)
    kept = OneCore(machine, [threading.get_native_id()])
    try:
        kept.look()
        kept.look()
        assert kept.core in anywhere
        assert os.sched_getaffinity(main) == {kept.core}
        assert os.sched_getaffinity(reader.native_id or 0) == anywhere
    finally:
        kept.let_go()

    assert os.sched_getaffinity(main) == anywhere
    assert anywhere <= machine.busy_seconds().keys()
    seconds, core = machine.used(main)
    assert core in anywhere
    assert 0 < seconds < machine.seconds()
    machine.allow(_ended(), anywhere)  # a thread that has ended needs no core


@several_cores
@pytest.mark.slow
@pytest.mark.parametrize("setting", ["true", "false"])
def test_server_keeps_to_one_core_unless_it_is_told_not_to(tmp_path: Path, setting: str) -> None:
    """Its first thread is the event loop."""
    address = f"127.0.0.1:{free_port()}"
    command = ("server", "--listen", address, "--database", str(tmp_path / "x.db"))
    environment = {"TRADEWIND_ONE_CORE": setting}
    with open(os.devnull, "r+b") as no, Started(command, no, no, no, environment) as server:
        assert wait_until_it_listens(address, server, PATIENCE)
        assert tradewind("health", "--address", address).returncode == 0
        cores = os.sched_getaffinity(server.pid)

    # a core that others want it leaves: then it may go to all but that
    anywhere = os.sched_getaffinity(0)
    assert cores < anywhere if setting == "true" else cores == anywhere


def _ended() -> int:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join(PATIENCE)
    return thread.native_id or 0
