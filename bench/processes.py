"""The processes of a measurement: the server, a worker, a client. Each is started from here and ended from here."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tradewind_server.testing.ports import free_port, wait_until_it_listens

_ROOT = Path(__file__).parents[1]
_PATHS = [_ROOT, _ROOT / "server", _ROOT / "clients" / "python"]
_START_SECONDS = 30.0


class Broken(Exception):
    """A measurement went wrong, so there is no result; the text says how."""


def module(name: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start a module of this repository."""
    inherited = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join([*map(str, _PATHS), *([inherited] if inherited else [])])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-m", name, *arguments]
    return subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, **options)


def resident_bytes(pid: int) -> int:
    """Return the memory that a process has."""
    return _memory_bytes(pid, "VmRSS")


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process ever had."""
    return _memory_bytes(pid, "VmHWM")


def _memory_bytes(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(kilobytes) * 1024


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Kill *process* at the end, if it has not ended by itself."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class Server:
    """`tradewind server` on one database. Use as a context manager."""

    def __init__(self, database: str, folder: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._database = database
        self._log = folder / "server.log"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it listens."""
        arguments = ("server", "--listen", self.address, "--database", self._database)
        with self._log.open("a") as log:
            self._process = module("bench.named_server", *arguments, stdout=log, stderr=log)
        if wait_until_it_listens(self.address, self._process, _START_SECONDS):
            return
        raise Broken(f"The server did not start:\n{self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        """Kill it: SIGKILL, no time to tidy up."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


class Client:
    """The client's process. Use as a context manager."""

    def __init__(self, address: str) -> None:
        self._process = module("bench.client", address, stdout=subprocess.PIPE)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, **order: Any) -> dict[str, Any]:
        """Give it an order, and wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Broken("The client gave up; it says why above.")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Worker:
    """The worker's process. Use as a context manager."""

    def __init__(self, address: str, times_hops: bool) -> None:
        options = ("--time-hops",) if times_hops else ()
        self._process = module("bench.worker", address, *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def stop(self) -> list[float]:
        """Let it end, and return the hops that it has timed, in milliseconds."""
        self._process.send_signal(signal.SIGTERM)
        out, errors = self._process.communicate(timeout=_START_SECONDS)
        if self._process.returncode:
            raise Broken(f"The worker failed:\n{errors[-2000:]}")
        hops: list[float] = json.loads(out)["hops_ms"]
        return hops


def replay(address: str, ids: list[str]) -> None:
    """Run `tradewind replay` for each id.

    Raises:
        Broken: an execution differs from its history.
    """
    process = module("bench.replay", address, *ids, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with ended(process):
        out, _ = process.communicate()
        if process.returncode or out.count("OK: ") != len(ids):
            raise Broken(f"Expected {len(ids)} executions to be equal to their histories, but:\n{out[-2000:]}")
