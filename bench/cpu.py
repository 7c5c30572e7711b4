"""Processor time, read from /proc: of a process and of each of its threads. Linux only."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")

#: Beginning of a thread's name -> what it does. The first thread of a process is its event loop.
_DUTIES = {
    "committer": "committer",
    "reader": "readers",
    "bulletin": "bulletin",
    "uvloop": "readers",
}


def of_process(pid: int) -> float:
    """Return the seconds that a process has used."""
    return _seconds(Path(f"/proc/{pid}/stat"))


def of_processes(pids: Iterable[int]) -> float:
    """Return the seconds of several; one that has ended counts nothing."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += of_process(pid)
    return total


def of_machine() -> float:
    """Return the seconds that all processors have been busy, or taken away by the host."""
    user, nice, system, _idle, _waiting, *interrupts_and_stolen = (
        Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    )
    return sum(map(int, (user, nice, system, *interrupts_and_stolen))) / _TICK


def of_threads(pid: int) -> dict[str, float]:
    """Return the seconds that a server has used, by duty."""
    by_duty: dict[str, float] = defaultdict(float)
    for folder in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            name = (folder / "comm").read_text().strip()
            by_duty[_duty(name, folder.name == str(pid))] += _seconds(folder / "stat")
    return dict(by_duty)


def _duty(name: str, is_first: bool) -> str:
    if is_first:
        return "event loop"
    return next((duty for start, duty in _DUTIES.items() if name.startswith(start)), "gRPC")


def _seconds(path: Path) -> float:
    # The name in the second field may hold spaces; what is wanted comes after its closing bracket.
    fields = path.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def resident_bytes(pid: int) -> int:
    """Return how much memory a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(kilobytes) * 1024
