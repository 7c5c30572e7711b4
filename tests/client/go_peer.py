"""The Go program of these tests, and servers for it that are killed."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from pathlib import Path

from tests.cli.command_line import Started
from tradewind_server.testing.ports import free_port, wait_until_it_listens

ROOT = Path(__file__).resolve().parents[2]
GO_CLIENT = ROOT / "clients" / "go"

#: Nothing here takes this long, unless it is broken; the first build on a machine is the slowest.
PATIENCE, BUILD_PATIENCE = 30.0, 300.0

TWO_STEPS = """
version: '2.0'
two_steps:
  output: {amount: <% $.amount %>}
  tasks:
    one:
      action: peer.step
      input: {amount: 0.10}
      publish: {amount: <% task().result.amount %>}
      on-success: two
    two:
      action: peer.step
      input: {amount: <% $.amount %>}
"""


class Peer:
    """A Go program of the tests: what it says, line by line."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.said: list[str] = []

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put("")

    def hears(self, order: str) -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()

    def says(self, wanted: str) -> None:
        """Wait until it says a line that ends like this."""
        while line := self._lines.get(timeout=PATIENCE):
            self.said.append(line)
            if line.endswith(wanted):
                return
        raise AssertionError(f"{wanted!r} did not come, but {self.said}")

    def ends(self) -> int:
        """Wait until it has ended, and return its exit status."""
        while line := self._lines.get(timeout=PATIENCE):
            self.said.append(line)
        return self._process.wait(PATIENCE)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def close(self) -> None:
        """End it, if it has not ended."""
        self._process.kill()
        self._process.wait()
        self._reader.join(PATIENCE)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class KillableServer:
    """A server in a process of its own, which is there again at the same address after a kill."""

    def __init__(self, database: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._command = ("server", "--listen", self.address, "--database", database)
        # An offer that is not accepted yet must not lapse while a slow machine starts the server again: to offer it
        # a second time would be right, but is not what these tests look at.
        self._environment = {"TRADEWIND_DELIVERY_LEASE_SECONDS": "60"}
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with open(os.devnull, "r+b") as nothing, os.fdopen(os.dup(2), "wb") as errors:
            self._process = Started(self._command, nothing, nothing, errors, self._environment)
        assert wait_until_it_listens(self.address, self._process, PATIENCE)

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self._process.kill()

    def drain(self) -> int:
        """Send SIGTERM, and return the exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(PATIENCE)
