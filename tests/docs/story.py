"""Runs the commands of a page from top to bottom, as a reader would, in a folder and on a port of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.docs.blocks import Block, blocks, matches
from tradewind_server.testing.ports import free_port, wait_until_it_listens

DEFAULT_ADDRESS = "127.0.0.1:7233"
SECONDS = 30.0


@contextlib.contextmanager
def served(folder: Path, name: str, definition: str) -> Iterator[Story]:
    """Give a story in *folder* with a server, on which the file *name* is deployed."""
    (folder / name).write_text(definition)
    with Story(folder) as story:
        story.start("tradewind server")
        assert "(new)" in story.run(f"tradewind deploy {name}")
        yield story


class Story:
    """One reading of a page. Close it, or use it as a context manager: it ends what it left in the background."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"127.0.0.1:{free_port()}"
        self._background: list[subprocess.Popen[bytes]] = []
        programs = folder / ".bin"
        programs.mkdir()
        self._program(programs / "tradewind", f"{shlex.quote(sys.executable)} -m tradewind_server.cli")
        self._program(programs / "python", shlex.quote(sys.executable))
        self._environment = {
            **os.environ,
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TRADEWIND_LISTEN": self.address,
            "TRADEWIND_ADDRESS": self.address,
            "PYTHONUNBUFFERED": "1",
        }

    @staticmethod
    def _program(path: Path, command: str) -> None:
        path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        path.chmod(0o755)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._background:
            os.killpg(process.pid, signal.SIGTERM)
        for process in self._background:
            process.wait(SECONDS)

    def read(self, page: Path) -> int:
        """Run the page; return how many commands it had.

        Raises:
            AssertionError: an output is not what the page shows.
        """
        count = 0
        for block in blocks(page):
            if block.directive == "save":
                (self.folder / block.value).write_text(block.text.replace(DEFAULT_ADDRESS, self.address))
            elif block.language == "console":
                for command, expected in block.commands():
                    count += 1
                    self._follow(page, block, command, expected)
        return count

    def _follow(self, page: Path, block: Block, command: str, expected: str) -> None:
        if block.directive == "background":
            self.start(command)
            return
        end = time.monotonic() + SECONDS
        found = self.run(command)
        while block.directive == "until" and not matches(expected, found) and time.monotonic() < end:
            found = self.run(command)
        where = f"{page.name}:{block.line}: $ {command}"
        assert not expected.strip() or matches(expected, found), f"{where}\n--- the page\n{expected}--- found\n{found}"

    def run(self, command: str) -> str:
        """Run one command in a shell that remembers its variables, and return what it prints."""
        kept = ". ./.variables 2>/dev/null"
        keep = "declare -p ID >.variables 2>/dev/null"
        script = f"{kept}\n{{ {command.replace(DEFAULT_ADDRESS, self.address)}\n}} 2>&1\n{keep}"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self._environment, stdout=subprocess.PIPE, timeout=SECONDS
        )
        return done.stdout.decode()

    def start(self, command: str) -> None:
        """Start a command that goes on in the background; a server is waited for."""
        log = (self.folder / ".log").open("ab")
        with log:
            process = subprocess.Popen(
                ["bash", "-c", command.replace(DEFAULT_ADDRESS, self.address)],
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._background.append(process)
        if re.search(r"\btradewind (dev|server)\b", command):
            listens = wait_until_it_listens(self.address, process, SECONDS)
            assert listens, f"no server on {self.address}: {(self.folder / '.log').read_text()}"
