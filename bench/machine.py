"""What was measured on: enough to judge the numbers, nothing that names the machine or its owner."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from tradewind_server import __version__

_PACKAGES = ("grpcio", "protobuf", "SQLAlchemy", "psycopg", "yaql")


def describe() -> list[tuple[str, str]]:
    """Return names and values, in order."""
    return [
        ("Cores", f"{len(os.sched_getaffinity(0))} × {_cpu_model()}"),
        ("Memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"),
        ("Kernel", f"{platform.system()} {platform.release()}"),
        ("File system of the databases", _file_system(tempfile.gettempdir())),
        ("Load average at the start", f"{os.getloadavg()[0]:.1f}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}, {_loop_ms():.0f} ms for its loop"),
        ("Tradewind", __version__),
        ("Libraries", ", ".join(f"{name} {version(name)}" for name in _PACKAGES)),
    ]


class _Item:
    __slots__ = ("number", "text")

    def __init__(self, number: int, text: str) -> None:
        self.number, self.text = number, text

    def next(self) -> int:
        return self.number + 1


def _loop_ms() -> float:
    """Return what 300,000 objects, calls, texts and dictionary entries take, milliseconds; the best of five.

    Processors differ in this more than in echo calls, and so do builds of one version of Python.
    """
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        known: dict[int, _Item] = {}
        for number in range(300_000):
            known[number % 1024] = _Item(number, str(number))
            known[number % 1024].number = known[number % 1024].next()
        taken.append(time.perf_counter() - began)
    return min(taken) * 1000


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _file_system(path: str) -> str:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(len(mount[1]), mount[2]) for mount in mounts if Path(path).is_relative_to(mount[1])]
    kind = max(above)[1]
    return f"{kind} (in memory: commits cost next to nothing)" if kind == "tmpfs" else kind
