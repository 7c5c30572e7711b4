"""The Go client does what its README shows, and loses and repeats nothing when the server is killed."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import tradewind
from tests.docs.story import Story
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


@pytest.fixture(scope="module")
def go() -> str:
    """Give the Go compiler, or leave the test out."""
    found = shutil.which("go")
    if found is None:
        pytest.skip("Go is not installed, so the Go client is not tested")
    return found


@pytest.mark.slow
def test_go_code_is_clean_and_passes_its_own_tests(go: str) -> None:
    """Formatting, vet and unit tests: what `make go` runs."""
    done = subprocess.run(
        ["make", "-s", "go"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_PATIENCE,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_quickstart_does_what_it_shows(go: str, tmp_path: Path) -> None:
    """A reader who follows clients/go/README.md sees what it says."""
    module = f"github.com/tradewind/tradewind/clients/go => {GO_CLIENT}"
    own = (GO_CLIENT / "go.mod").read_text().replace("module github.com/tradewind/tradewind/clients/go", "module hello")
    (tmp_path / "go.mod").write_text(
        f"{own}\nrequire github.com/tradewind/tradewind/clients/go v0.0.0\nreplace {module}\n"
    )
    shutil.copy(GO_CLIENT / "go.sum", tmp_path)
    subprocess.run([go, "build", "./..."], cwd=GO_CLIENT, check=True, timeout=BUILD_PATIENCE)
    with Story(tmp_path) as story:
        assert story.read(GO_CLIENT / "README.md") == 2


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
    """A server on a file, which is there again after a kill."""

    def __init__(self, database: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        command = (sys.executable, "-m", "tradewind_server.cli", "server", "--listen", self.address)
        self._command = (*command, "--database", str(database))
        # An offer that is not accepted yet must not lapse while a slow machine starts the server again: to offer it
        # a second time would be right, but is not what these tests look at.
        self._environment = {**os.environ, "TRADEWIND_DELIVERY_LEASE_SECONDS": "60"}
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(self._command, env=self._environment, stdout=subprocess.DEVNULL)
        assert wait_until_it_listens(self.address, self._process, PATIENCE)

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self._process.kill()
        self._process.wait()


@pytest.mark.slow
def test_killed_server_costs_a_go_worker_and_watcher_nothing(go: str, tmp_path: Path) -> None:
    """Twice: the result comes while no server is there, and the action is still at work when one is there again."""
    program = str(tmp_path / "peer")
    subprocess.run([go, "build", "-o", program, "./internal/peer"], cwd=GO_CLIENT, check=True, timeout=BUILD_PATIENCE)
    with contextlib.ExitStack() as end:
        server = KillableServer(tmp_path / "tradewind.db")
        end.callback(server.kill)
        worker = Peer(program, "work", server.address)
        end.callback(worker.close)
        client = end.enter_context(tradewind.connect(server.address))
        client.deploy(("two_steps.yaml", TWO_STEPS))
        id_ = client.start("two_steps").id
        watcher = Peer(program, "watch", server.address, id_)
        end.callback(watcher.close)
        watcher.says("TaskStarted")
        worker.says("began one 1")

        server.kill()
        worker.hears("finish one without a server")
        worker.says("ended one")
        server.start()
        worker.says("began two 1")

        server.kill()
        server.start()
        worker.hears("finish two")
        assert watcher.ends() == 0

        history = [f"{event.revision} {event.type}" for event in client.history(id_)]
        ended = client.get(id_)
        worker.terminate()
        assert worker.ends() == 0

    assert watcher.said == history
    assert worker.said == ["began one 1", "ended one", "began two 1", "ended two"]
    assert (ended.state, str(ended.output["amount"])) == ("SUCCEEDED", "0.10")
