"""The threads that take turns at the interpreter, kept on one core. Linux only.

One thread of a process runs Python at a time. The event loop and the committer hand that right to each other thousands
of times a second, and the kernel gives each a core of its own, if it can: then each time a core has to be woken, and
has to fetch what the other one has just written. On one core they are faster (docs/adr/0027-one-core.md).

The kernel chooses the core, while the threads are busy. Where they wait for it too often, they leave it, and stay where
the kernel has put them by the next look.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, Protocol

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
#: What begins the names of threads that go wherever they like: they read the database or carry out a script, mostly
#: without the interpreter.
ROAMING = ("reader", "uvloop")
#: Of a core's time: how much the threads use at least, or they are not kept.
_BUSY = 0.05
#: How long others may have the core while the threads are ready, in parts of the time in which these have it. Of two
#: servers on one core both lose 1.0. On two cores that are full, but shared with workers and clients, which the kernel
#: moves to where there is room, a server loses up to 0.48, and it would be no better off elsewhere.
_LOST = 0.6
#: In how many looks, one after the other, others have more, before the threads leave the core, and up to twice as many
#: again, by chance: two servers that leave together arrive together. Where that does not help they wait twice as long.
_LOOKS, _MOST_LOOKS = 2, 16
#: Where the field stands that /proc/.../stat has behind the thread's name (proc(5)): processor.
_CORE = 36


class Use(NamedTuple):
    """What a thread has had of the cores."""

    #: Seconds.
    ran: float
    #: Seconds in which it was ready, and another thread had its core.
    waited: float
    #: On which it ran last.
    core: int


class Machine(Protocol):
    """The threads of this process, and who may run where."""

    def seconds(self) -> float:
        """Return the time since some moment."""

    def threads(self) -> Collection[int]:
        """Return the threads of this process."""

    def use(self, thread: int) -> Use:
        """Return what a thread has had.

        Raises:
            OSError, ValueError: the kernel does not say it.
        """

    def keep(self, thread: int, core: int) -> None:
        """Keep a thread on a core, if the kernel lets it."""

    def free(self, thread: int, but: int | None) -> None:
        """Let a thread run on each core that the process has, but for one, if the kernel lets it."""


class Linux:
    """The machine that this process runs on."""

    def __init__(self) -> None:
        self._cores = os.sched_getaffinity(0)

    def seconds(self) -> float:
        """Return the time since the machine's start."""
        return time.monotonic()

    def threads(self) -> Collection[int]:
        """Return all threads, also those that Python knows nothing of."""
        return [int(name) for name in os.listdir("/proc/self/task")]

    def use(self, thread: int) -> Use:
        """Return what the kernel notes of a thread."""
        ran, waited, _ = map(int, _read(thread, "schedstat").split())
        # the name may have brackets and spaces
        core = _read(thread, "stat").rpartition(")")[2].split()[_CORE]
        return Use(ran / 1e9, waited / 1e9, int(core))

    def keep(self, thread: int, core: int) -> None:
        """Tell the kernel; it refuses if the thread has ended, or the core has been taken from the process."""
        with contextlib.suppress(OSError):
            os.sched_setaffinity(thread, {core})

    def free(self, thread: int, but: int | None) -> None:
        """Tell the kernel; if none of the cores is there any more that the process began with, take what is there."""
        for cores in (self._cores, range(os.cpu_count() or 1)):
            with contextlib.suppress(OSError):
                return os.sched_setaffinity(thread, set(cores) - {but})
        return None


def _read(thread: int, name: str) -> str:
    with open(f"/proc/self/task/{thread}/{name}", encoding="utf-8", errors="replace") as file:
        return file.read()


class OneCore:
    """Keeps all threads but those that roam on one core.

    Args:
        machine: the machine.
        busiest: native ids of the threads that use it most. Where the busiest of them is, all are kept.
        draw: returns a number by chance, from 0 to below the one given.
    """

    def __init__(self, machine: Machine, busiest: Collection[int], draw: Callable[[int], int]) -> None:
        self._machine = machine
        self._busiest = busiest
        self._draw = draw
        #: The core; None while the kernel chooses one.
        self.core: int | None = None
        #: Which it is not to choose.
        self._left: int | None = None
        self._patience = _LOOKS
        self._looks_left = 0
        self._last: _Measured | None = None

    def look(self) -> None:
        """Choose a core, or see whether it still has room. To be called again and again, for new threads, too.

        Raises:
            OSError, ValueError: the kernel does not say how the threads fare.
        """
        before, self._last = self._last, self._measure()
        if before is not None:
            self._choose(_between(before, self._last))
            self._place()

    def let_go(self) -> None:
        """Let all threads go wherever they like."""
        self.core = self._left = None
        with contextlib.suppress(OSError):
            self._place()

    def _choose(self, found: _Found) -> None:
        if found.ran < _BUSY:
            self.core = self._left = None
        elif self.core is None:
            self._stay(found.core)
        elif self.core != found.core:
            self.core = None  # somebody else has moved the threads: see where they are at the next look
        elif found.lost <= _LOST * found.ran:
            self._patience = _LOOKS
            self._stay(self.core)
        elif self._looks_left:
            self._looks_left -= 1
        else:
            self.core, self._left = None, self.core
            self._patience = min(2 * self._patience, _MOST_LOOKS)

    def _stay(self, core: int) -> None:
        self.core, self._left = core, None
        self._looks_left = self._patience - 1 + self._draw(2 * self._patience)

    def _measure(self) -> _Measured:
        return self._machine.seconds(), {thread: self._machine.use(thread) for thread in self._busiest}

    def _place(self) -> None:
        roaming = {thread.native_id for thread in threading.enumerate() if thread.name.startswith(ROAMING)}
        for thread in self._machine.threads():
            if thread in roaming:
                self._machine.free(thread, None)
            elif self.core is None:
                self._machine.free(thread, self._left)
            else:
                self._machine.keep(thread, self.core)


#: The time, and what each thread has had by then.
_Measured = tuple[float, Mapping[int, Use]]


class _Found(NamedTuple):
    """How the busiest threads fared between two looks."""

    #: Part of the time in which they ran.
    ran: float
    #: Part of the time in which others had the core while they were ready.
    lost: float
    #: Where the busiest is.
    core: int


def _between(before: _Measured, now: _Measured) -> _Found:
    (began, then), (ended, uses) = before, now
    ran = {thread: use.ran - then[thread].ran for thread, use in uses.items()}
    all_ran = sum(ran.values())
    # a thread that is ready waits while one of these runs, or while somebody else does
    lost = max(use.waited - then[thread].waited - (all_ran - ran[thread]) for thread, use in uses.items())
    seconds = ended - began
    return _Found(all_ran / seconds, lost / seconds, uses[max(ran, key=ran.__getitem__)].core)


async def keep(busiest: Collection[int], draw: Callable[[int], int]) -> None:
    """Keep this process on one core until this is cancelled: see `OneCore`."""
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) == 1:
        return
    one_core = OneCore(Linux(), busiest, draw)
    try:
        while True:
            one_core.look()
            await asyncio.sleep(_LOOK_SECONDS)
    except (OSError, ValueError) as problem:
        log.warning("the server keeps to no core, since the kernel does not say what its threads use: %s", problem)
    finally:
        one_core.let_go()
