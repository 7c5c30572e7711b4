"""The threads that take turns at the interpreter, kept on one core. Linux only.

One thread of a process runs Python at a time. The event loop and the committer hand that right to each other thousands
of times a second, and the kernel gives each a core of its own, if it can: then each time a core has to be woken, and
has to fetch what the other one has just written. On one core they are faster (docs/adr/0027-one-core.md).

The kernel chooses the core. Where other programs want it while another core has more room, the threads leave it, and
stay where the kernel has put them by the next look. It knows which cores are fast, and which share their caches.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

_LOOK_SECONDS = 1.0
#: What begins the names of threads that go wherever they like: they read the database or carry out a script, mostly
#: without the interpreter.
_ROAMING = ("reader", "uvloop")
#: How much more of its time a core must be used by others than another core, before the threads leave it.
_MARGIN = 0.15
#: In how many looks, one after the other; a moment's load goes by.
_LOOKS = 2

#: Where the fields stand that /proc/.../stat has behind the thread's name (proc(5)): utime, stime, processor.
_USER_TICKS, _SYSTEM_TICKS, _CORE = 11, 12, 36


class Machine(Protocol):
    """The cores, the threads of this process, and who may run where."""

    #: Where threads may run that are kept nowhere.
    cores: Collection[int]

    def seconds(self) -> float:
        """Return the time since some moment."""

    def busy_seconds(self) -> Mapping[int, float]:
        """Return how long each core has been busy since some moment."""

    def threads(self) -> Collection[int]:
        """Return the threads of this process."""

    def used(self, thread: int) -> tuple[float, int]:
        """Return how many seconds of processor time a thread has used, and the core that it ran on last."""

    def allow(self, thread: int, cores: Collection[int]) -> None:
        """Let a thread run on *cores* only."""


class Linux:
    """The machine that this process runs on."""

    def __init__(self) -> None:
        self.cores: Collection[int] = os.sched_getaffinity(0)
        self._tick = os.sysconf("SC_CLK_TCK")

    def seconds(self) -> float:
        """Return the time since the machine's start."""
        return time.monotonic()

    def busy_seconds(self) -> Mapping[int, float]:
        """Return how long each core has been busy; what its host took away is not counted."""
        found: dict[int, float] = {}
        with open("/proc/stat", encoding="ascii") as file:
            for line in file:
                name, *fields = line.split()
                if name == "cpu":
                    continue  # all together
                if not name.startswith("cpu"):
                    break
                user, nice, system, _idle, _waiting, interrupts, soft_interrupts = map(int, fields[:7])
                found[int(name[3:])] = (user + nice + system + interrupts + soft_interrupts) / self._tick
        return found

    def threads(self) -> Collection[int]:
        """Return all threads, also those that Python knows nothing of."""
        return [int(name) for name in os.listdir("/proc/self/task")]

    def used(self, thread: int) -> tuple[float, int]:
        """Return what the kernel notes of a thread."""
        with open(f"/proc/self/task/{thread}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()  # its name may have brackets and spaces
        return (int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) / self._tick, int(fields[_CORE])

    def allow(self, thread: int, cores: Collection[int]) -> None:
        """Tell the kernel; a thread that has ended needs it no more."""
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(thread, cores)


class _Measured(NamedTuple):
    """What a look has found, in seconds."""

    at: float
    #: How long each core has been busy.
    busy: Mapping[int, float]
    #: How long the busiest threads have used a core.
    own: float


class OneCore:
    """Keeps all threads but those that roam on one core.

    Args:
        machine: the machine.
        busiest: native ids of the threads that use the core most. Where the kernel has put the last, all are kept.
    """

    def __init__(self, machine: Machine, busiest: Sequence[int]) -> None:
        self._machine = machine
        self._busiest = busiest
        #: The core; None while the kernel chooses one.
        self.core: int | None = None
        #: Which it is not to choose.
        self._crowded: int | None = None
        self._last = _Measured(0.0, {}, 0.0)
        self._crowded_looks = 0

    def look(self) -> None:
        """Choose a core, or see whether it still has room. To be called again and again, for new threads, too.

        Where the kernel does not say, or does not allow it, such as a core that has been taken from the process
        meanwhile, the threads go wherever they like until the next look.
        """
        try:
            self._choose()
            self._place()
        except OSError:
            self.let_go()

    def let_go(self) -> None:
        """Let all threads go wherever they like."""
        self.core = self._crowded = None
        with contextlib.suppress(OSError):
            self._place()

    def _choose(self) -> None:
        before, self._last = self._last, self._measure()
        if self.core is None:
            self.core, self._crowded_looks = self._machine.used(self._busiest[-1])[1], 0
            return
        self._crowded_looks = self._crowded_looks + 1 if self._is_crowded(self.core, before) else 0
        if self._crowded_looks == _LOOKS:
            self.core, self._crowded = None, self.core

    def _measure(self) -> _Measured:
        own = sum(self._machine.used(thread)[0] for thread in self._busiest)
        return _Measured(self._machine.seconds(), self._machine.busy_seconds(), own)

    def _is_crowded(self, core: int, before: _Measured) -> bool:
        """Tell whether others have used *core* more than another one since the last look."""
        now = self._last
        known = before.busy.keys() & now.busy.keys() & set(self._machine.cores)
        busy = {each: now.busy[each] - before.busy[each] for each in known}
        by_others = busy.pop(core, 0.0) - (now.own - before.own)
        return by_others - min(busy.values(), default=by_others) > _MARGIN * (now.at - before.at)

    def _place(self) -> None:
        anywhere = self._machine.cores
        here = set(anywhere) - {self._crowded} if self.core is None else {self.core}
        roaming = {thread.native_id for thread in threading.enumerate() if thread.name.startswith(_ROAMING)}
        for thread in self._machine.threads():
            self._machine.allow(thread, anywhere if thread in roaming else here)


async def keep(busiest: Sequence[int]) -> None:
    """Keep this process on one core until this is cancelled, but for threads that roam: see `OneCore`."""
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) == 1:
        return
    one_core = OneCore(Linux(), busiest)
    try:
        while True:
            one_core.look()
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        one_core.let_go()
