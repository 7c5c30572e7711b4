"""The programs of the example, started and ended together: the server, the workers, the SMS gateway."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import tradewind

HERE = Path(__file__).resolve().parent


def tell(text: str = "") -> None:
    """Print at once, also into a pipe."""
    # with its end at once: what another thread tells comes before it or after it
    print(f"{text}\n", end="", flush=True)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class House:
    """The programs of the example: the server, three workers and the SMS gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"127.0.0.1:{free_port()}"
        self.sms_port = free_port()
        self.bonus_language = ""
        self.told = threading.Event()
        self.server: subprocess.Popen[str] | None = None
        self._processes: list[subprocess.Popen[str]] = []
        self._environment = {
            **os.environ,
            "TRADEWIND_ADDRESS": self.address,
            # The SMS gateway is on this machine; otherwise std.http would refuse to call it.
            "TRADEWIND_ALLOW_PRIVATE_ADDRESSES": "true",
            "TRADEWIND_CHANNELS_FILE": str(self._channels()),
            "TRADEWIND_CONTACTS_FILE": str(HERE / "contacts.yaml"),
            "PYTHONUNBUFFERED": "1",
        }

    def _channels(self) -> Path:
        """Write the file of channels with the port of this gateway."""
        text = (HERE / "channels.yaml").read_text()
        copy = self.folder / "channels.yaml"
        copy.write_text(text.replace("127.0.0.1:8099", f"127.0.0.1:{self.sms_port}"))
        return copy

    @property
    def sms_url(self) -> str:
        """Where the gateway takes messages."""
        return f"http://127.0.0.1:{self.sms_port}/messages"

    def open(self) -> None:
        """Start all programs."""
        bonus = self._bonus_command()
        self.start_server()
        # a worker whose first try is in vain waits before the next one
        with tradewind.connect(self.address) as client:
            client.server_info()
        self._start("accounting", sys.executable, str(HERE / "accounting.py"), self.address)
        self._start("directory", sys.executable, str(HERE / "directory.py"), self.address)
        self._start("bonus", *bonus, self.address)
        gateway = self._start("sms", sys.executable, str(HERE / "sms_gateway.py"), str(self.sms_port), piped=True)
        threading.Thread(target=self._show_messages, args=(gateway,), daemon=True).start()

    def _bonus_command(self) -> tuple[str, ...]:
        go = shutil.which("go")
        if go is None:
            self.bonus_language = "Python, as there is no Go on this machine"
            return sys.executable, str(HERE / "bonus.py")
        tell("building the Go worker (the first time takes a while)")
        program = str(self.folder / "bonus")
        try:
            subprocess.run([go, "build", "-o", program, "."], cwd=HERE / "bonus", check=True, timeout=40)
        except (subprocess.SubprocessError, OSError):
            self.bonus_language = "Python, as the Go worker could not be built in time"
            return sys.executable, str(HERE / "bonus.py")
        self.bonus_language = "Go"
        return (program,)

    def start_server(self) -> None:
        """Start the server on its SQLite file, which may be there already."""
        database = str(self.folder / "salary.db")
        command = (sys.executable, "-m", "tradewind_server.cli", "server", "--listen", self.address)
        self.server = self._start("server", *command, "--database", database)

    def kill_server(self) -> None:
        """Kill the server as a power cut would."""
        assert self.server is not None
        self.server.kill()
        self.server.wait()

    def tradewind(self, *arguments: str) -> None:
        """Run a command and show it."""
        tell(f"  $ tradewind {shlex.join(arguments)}")
        command = [sys.executable, "-m", "tradewind_server.cli", *arguments]
        done = subprocess.run(command, env=self._environment, cwd=HERE, stdout=subprocess.PIPE, text=True, check=True)
        for line in done.stdout.splitlines():
            tell(f"    {line}")

    def ask(self, *arguments: str, seconds: float) -> bool:
        """Show a command, and run it: it asks whoever sits here. Return whether he has answered in time."""
        tell(f"  $ tradewind {shlex.join(arguments)}")
        command = [sys.executable, "-m", "tradewind_server.cli", *arguments]
        try:
            return subprocess.run(command, env=self._environment, check=False, timeout=seconds).returncode == 0
        except subprocess.TimeoutExpired:
            tell()  # it was killed in the middle of a line
            return False

    def _start(self, name: str, *command: str, piped: bool = False) -> subprocess.Popen[str]:
        with (self.folder / f"{name}.log").open("a") as log:
            output = subprocess.PIPE if piped else log
            process = subprocess.Popen(command, env=self._environment, stdout=output, stderr=log, text=True)
        self._processes.append(process)
        return process

    def _show_messages(self, gateway: subprocess.Popen[str]) -> None:
        assert gateway.stdout is not None
        for line in gateway.stdout:
            tell(f"  >>> {line.rstrip()}")
            self.told.set()

    def close(self) -> None:
        """End all programs."""
        for process in reversed(self._processes):
            process.terminate()
        for process in reversed(self._processes):
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def show_logs(self) -> None:
        """Say what the programs said, after something went wrong."""
        for log in sorted(self.folder.glob("*.log")):
            tell(f"--- {log.name}")
            tell(log.read_text()[-4000:])


@contextlib.contextmanager
def open_house() -> Iterator[House]:
    """Start all programs in a folder of their own, and end them and remove it whatever happens."""
    with tempfile.TemporaryDirectory(prefix="tradewind-salary-") as folder:
        house = House(Path(folder))
        try:
            house.open()
            yield house
        except KeyboardInterrupt:
            raise
        except BaseException:
            house.show_logs()
            raise
        finally:
            house.close()
