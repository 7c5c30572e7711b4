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
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from tests.docs.blocks import Block, blocks, matches
from tradewind_server.testing.ports import free_port, wait_until_it_listens

DEFAULT_ADDRESS = "127.0.0.1:7233"
#: Of the second server of a page that has two.
SECOND_ADDRESS = "127.0.0.1:7234"
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
    """One reading of a page. Close it, or use it as a context manager: it ends what it left in the background.

    Args:
        folder: where it is read, and where its files are.
        environment: variables beside those of this process.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self.folder = folder
        self.address, self._second = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self._background: list[subprocess.Popen[bytes]] = []
        #: Those of them that no `kill` has ended, with the numbers that a shell gives them.
        self._jobs: dict[int, subprocess.Popen[bytes]] = {}
        programs = folder / ".bin"
        programs.mkdir()
        self._program(programs / "tradewind", f"{shlex.quote(sys.executable)} -m tradewind_server.cli")
        self._program(programs / "python", shlex.quote(sys.executable))
        self._environment = {
            **os.environ,
            **environment,
            "PATH": f"{programs}:{Path(sys.executable).parent}:{environment.get('PATH', os.environ['PATH'])}",
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
        running = [process for process in self._background if process.poll() is None]
        for process in running:
            os.killpg(process.pid, signal.SIGTERM)
        for process in running:
            process.wait(SECONDS)

    def read(self, page: Path, chapter: str = "") -> int:
        """Run the page, or a *chapter* of it with the files of all; return how many commands it had.

        Raises:
            AssertionError: an output is not what the page shows.
        """
        count = 0
        for block in blocks(page):
            if block.directive == "save":
                (self.folder / block.value).write_text(self._here(block.text))
            elif block.language == "console" and chapter in ("", block.chapter):
                for command, expected in block.commands():
                    count += 1
                    self._follow(page, block, command, expected)
        return count

    def _follow(self, page: Path, block: Block, command: str, expected: str) -> None:
        if block.directive == "background" or command.endswith(" &"):
            self.start(command.removesuffix(" &"))
            return
        if job := re.fullmatch(r"kill %(\d+)", command):
            self._stop(self._jobs.pop(int(job[1])))
            return
        end = time.monotonic() + SECONDS
        found = self.run(command)
        while block.directive == "until" and not matches(expected, found) and time.monotonic() < end:
            found = self.run(command)
        where = f"{page.name}:{block.line}: $ {command}"
        assert not expected.strip() or matches(expected, found), f"{where}\n--- the page\n{expected}--- found\n{found}"

    def _here(self, text: str) -> str:
        return text.replace(DEFAULT_ADDRESS, self.address).replace(SECOND_ADDRESS, self._second)

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        """End what runs in the background in order, as a shell's kill does."""
        os.killpg(process.pid, signal.SIGTERM)
        code = process.wait(SECONDS)
        assert code == 0, f"ended with {code}: {(self.folder / '.log').read_text()}"

    def run(self, command: str) -> str:
        """Run one command in a shell that remembers its variables, and return what it prints."""
        kept = ". ./.variables 2>/dev/null"
        keep = "declare -p ID >.variables 2>/dev/null"
        script = f"{kept}\n{{ {self._here(command)}\n}} 2>&1\n{keep}"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self._environment, stdout=subprocess.PIPE, timeout=SECONDS
        )
        return done.stdout.decode()

    def start(self, command: str) -> None:
        """Start a command that goes on in the background; a server is waited for."""
        log = (self.folder / ".log").open("ab")
        with log:
            process = subprocess.Popen(
                ["bash", "-c", self._here(command)],
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._background.append(process)
        self._jobs[max(self._jobs, default=0) + 1] = process
        if re.search(r"\btradewind (dev|server)\b", command):
            address = self._second if SECOND_ADDRESS in command else self.address
            listens = wait_until_it_listens(address, process, SECONDS)
            assert listens, f"no server on {address}: {(self.folder / '.log').read_text()}"
