"""Runs the command line in a process of its own that is a fork of one with everything loaded.

Loading takes most of a command's time, and tests run hundreds of commands and start dozens of servers. The pages of the
documentation run them as people do.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Self

#: Longer than any command of a test takes.
SECONDS = 60.0
_MOST_BYTES = 1 << 20
_PID_BYTES = 4


def tradewind(*arguments: str, input_: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command and return how it ended.

    Raises:
        TimeoutError: it does not end.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        given.write(input_)
        given.seek(0)
        with Started(arguments, given, out, errors) as command:
            code = command.wait(SECONDS)
        assert code >= 0, f"killed: {arguments}"
        out.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, code, out.read(), errors.read())


class Started:
    """A command that runs, with what a `subprocess.Popen` has. Use as a context manager, or wait for its end.

    Args:
        arguments: those of the command.
        given: its standard input.
        out: its standard output.
        errors: its standard error.
        environment: in addition to that of this process.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        given: IO[bytes],
        out: IO[bytes],
        errors: IO[bytes],
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._asked, told = socket.socketpair()
        self._asked.settimeout(SECONDS)
        self._code: int | None = None
        with told:
            variables = {**os.environ, **environment}
            request = json.dumps({"arguments": arguments, "folder": os.getcwd(), "environment": variables})
            files = [given.fileno(), out.fileno(), errors.fileno(), told.fileno()]
            socket.send_fds(_forks()[0], [request.encode()], files)
        pid = self._asked.recv(_PID_BYTES)
        assert len(pid) == _PID_BYTES, f"did not begin: {arguments}"
        self.pid = int.from_bytes(pid)

    def poll(self) -> int | None:
        """Return how it ended, or None if it runs."""
        with contextlib.suppress(TimeoutError):
            self.wait(0.0)
        return self._code

    def wait(self, seconds: float) -> int:
        """Wait for its end, and return its exit code; -9 if it was killed.

        Raises:
            TimeoutError: it has not ended.
        """
        if self._code is None:
            ready, _, _ = select.select([self._asked], [], [], seconds)
            if not ready:
                raise TimeoutError
            code = self._asked.recv(1)
            self._asked.close()
            self._code = code[0] if code else -signal.SIGKILL
        return self._code

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.send_signal(signal.SIGKILL)
        self.wait(SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


@functools.cache
def _forks() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start the process that is forked; it ends when the other end of its socket is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", "tests.cli.command_line", str(theirs.fileno())]
        folder = Path(__file__).parents[2]
        process = subprocess.Popen(command, cwd=folder, pass_fds=[theirs.fileno()], stdout=subprocess.DEVNULL)
    atexit.register(_end, ours, process)
    return ours, process


def _end(requests: socket.socket, process: subprocess.Popen[bytes]) -> None:
    requests.close()
    process.wait(SECONDS)


def _serve(requests: socket.socket) -> None:
    _load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    while True:
        request, files, _, _ = socket.recv_fds(requests, _MOST_BYTES, 4)
        if not request:
            return
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            _run(json.loads(request), files)
        for file in files:
            os.close(file)


def _load() -> None:
    """Load every command, the server that some of them start, and what is loaded only when a command runs."""
    for module in ("tradewind_server.bootstrap", "tradewind_server.cli.app"):
        importlib.import_module(module)
    from tradewind_server.cli import main

    sys.argv = ["tradewind", "schema", "--json"]
    with contextlib.suppress(SystemExit):
        main()


def _run(request: dict[str, object], files: Sequence[int]) -> None:
    """Run one command as `main` does, and tell its exit code."""
    from tradewind_server.cli import main

    *streams, told = files
    os.set_inheritable(told, False)  # that it is closed says that the command has ended, whatever it has started
    os.write(told, os.getpid().to_bytes(_PID_BYTES))
    for number, file in enumerate(streams):
        os.dup2(file, number)
    os.chdir(str(request["folder"]))
    assert isinstance(request["environment"], dict)
    os.environ.clear()
    os.environ.update(request["environment"])
    assert isinstance(request["arguments"], list)
    sys.argv = ["tradewind", *request["arguments"]]
    code = 1
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(told, bytes([code]))
        os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
