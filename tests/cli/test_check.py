"""`tradewind check`: problems with their places, and exit codes for scripts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

GOOD = "version: '2.0'\nw:\n  tasks:\n    t: {action: std.noop}\n"
BAD = "version: '2.0'\nw:\n  tasks:\n    t:\n      acton: std.noop\n      on-success: nowhere\n"


def tradewind(*arguments: str, input_: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the command line."""
    command = [sys.executable, "-m", "tradewind_server.cli", *arguments]
    return subprocess.run(command, input=input_, capture_output=True, timeout=60)


def test_clean_file_is_exit_0(tmp_path: Path) -> None:
    """Nothing is wrong, and it says so."""
    (tmp_path / "good.yaml").write_text(GOOD)
    done = tradewind("check", str(tmp_path / "good.yaml"))
    assert (done.returncode, done.stdout) == (0, b"1 file: no problems\n")


def test_problems_come_with_line_caret_and_fix(tmp_path: Path) -> None:
    """All at once, each as file:line:column with the source line, a caret and what to do."""
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    done = tradewind("check", str(path))
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 1
    assert lines[:4] == [
        f"{path}:5:7: error: Expected a keyword of a task, but 'acton' is none. [unknown-keyword]",
        "  5 |       acton: std.noop",
        "    |       ^",
        "  fix: Did you mean 'action'?",
    ]
    assert lines[-1] == "1 file: 2 errors, 0 warnings"


def test_json_lists_every_problem(tmp_path: Path) -> None:
    """The same for scripts."""
    (tmp_path / "bad.yaml").write_text(BAD)
    done = tradewind("check", str(tmp_path / "bad.yaml"), "--json")
    problems = json.loads(done.stdout)["problems"]
    assert [(problem["code"], problem["line"], problem["column"]) for problem in problems] == [
        ("unknown-keyword", 5, 7),
        ("unknown-task", 6, 19),
    ]


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_unusable_file_is_exit_2(tmp_path: Path, content: bytes | None) -> None:
    """A file that is not there or not UTF-8 is no definition with errors."""
    path = tmp_path / "file.yaml"
    if content is not None:
        path.write_bytes(content)
    done = tradewind("check", str(path))
    assert done.returncode == 2
    assert b"[UNUSABLE_INPUT]" in done.stderr
    assert b"Traceback" not in done.stderr


def test_absent_server_is_exit_3_with_a_hint() -> None:
    """No traceback, but a reason and what to do."""
    done = tradewind("ps", "--address", "127.0.0.1:1", "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["reason"], error["hint"]) == (
        3,
        "UNAVAILABLE",
        "Check the address, and that the server runs.",
    )
