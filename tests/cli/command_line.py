"""Runs the command line in a process of its own that is a fork of one with everything loaded.

Loading takes most of a command's time, and tests run hundreds of commands. The pages of the documentation run them as
people do.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

#: Longer than any command of a test takes.
SECONDS = 60.0
_MOST_BYTES = 1 << 20


def tradewind(*arguments: str, input_: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command and return how it ended.

    Raises:
        TimeoutError: it does not end.
    """
    asked, told = socket.socketpair()
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors, asked:
        given.write(input_)
        given.seek(0)
        with told:
            request = json.dumps({"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)})
            files = [file.fileno() for file in (given, out, errors, told)]
            socket.send_fds(_forks()[0], [request.encode()], files)
        asked.settimeout(SECONDS)
        code = asked.recv(1)
        assert code, f"killed: {arguments}"
        out.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, code[0], out.read(), errors.read())


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
