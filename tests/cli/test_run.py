"""`tradewind run`: one file, one JSON object, an exit code."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command_line import SECONDS, Started, tradewind

pytestmark = pytest.mark.slow


def run(tmp_path: Path, text: str, *options: str, input_: bytes = b"") -> tuple[int, dict[str, Any]]:
    """Run *text* and return the exit code and what was printed, which must be one JSON object."""
    path = tmp_path / "file.yaml"
    path.write_text(text)
    done = tradewind("run", str(path), "--json", *options, input_=input_)
    assert done.stdout.count(b"\n") == 1, done
    return done.returncode, json.loads(done.stdout, parse_float=Decimal)


ECHO = """
version: '2.0'
w:
  input: [a]
  output: {sum: <% $.sum %>}
  tasks:
    add: {action: std.echo output=<% $.a + 0.20 %>, publish: {sum: <% task().result %>}}
"""


def test_success_is_exit_0_with_exact_numbers(tmp_path: Path) -> None:
    """Digits stay, zeros at the end too."""
    code, found = run(tmp_path, ECHO, "--input", '{"a": 0.10}')
    assert code == 0
    assert len(found.pop("id")) == 36
    assert str(found["output"]["sum"]) == "0.30"
    assert found == {
        "workflow": "w",
        "state": "SUCCEEDED",
        "state_message": "",
        "output": {"sum": Decimal("0.30")},
        "error": None,
        "waiting_for": [],
        "tasks": [
            {
                "name": "add",
                "type": "ACTION",
                "state": "SUCCEEDED",
                "published": {"sum": Decimal("0.30")},
                "attempts": 1,
                "error": None,
            }
        ],
    }


@pytest.mark.parametrize("given", ["-", "@input.json"])
def test_input_comes_from_a_file_or_standard_input(tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Besides JSON itself."""
    (tmp_path / "input.json").write_text('{"a": 1}')
    monkeypatch.chdir(tmp_path)
    code, found = run(tmp_path, ECHO, "--input", given, input_=b'{"a": 1}')
    assert (code, str(found["output"]["sum"])) == (0, "1.20")


def test_failure_is_exit_1_with_the_task_that_failed(tmp_path: Path) -> None:
    """The reason stands at the execution and at the task."""
    text = "version: '2.0'\nw:\n  tasks:\n    t: {action: std.fail, retry: {count: 1, delay: 0}}\n"
    code, found = run(tmp_path, text)
    assert (code, found["state"]) == (1, "FAILED")
    [task] = found["tasks"]
    assert (task["state"], task["attempts"], task["error"]["kind"]) == ("FAILED", 2, "ACTION")


def test_timeout_is_told_to_people(tmp_path: Path) -> None:
    """Else it looks as if RUNNING were all there is to say."""
    path = tmp_path / "file.yaml"
    path.write_text("version: '2.0'\nw:\n  tasks:\n    t: {action: std.async_noop}\n")
    done = tradewind("run", str(path), "--timeout", "0.5")
    assert (done.returncode, done.stderr) == (1, b"Not finished within 0.5 s; --timeout gives it more.\n")


def test_timeout_leaves_it_running_and_says_what_it_waits_for(tmp_path: Path) -> None:
    """Exit 1, at the timeout."""
    text = "version: '2.0'\nw:\n  tasks:\n    t: {action: std.async_noop}\n"
    code, found = run(tmp_path, text, "--timeout", "0.5")
    assert (code, found["state"]) == (1, "RUNNING")
    assert [(wait["kind"], wait["task"]) for wait in found["waiting_for"]] == [("ACTION", "t")]


def test_pause_ends_the_run_at_once(tmp_path: Path) -> None:
    """Nobody could resume it."""
    text = (
        "version: '2.0'\nw:\n  tasks:\n    t: {action: std.noop, on-success: [pause, u]}\n    u: {action: std.noop}\n"
    )
    code, found = run(tmp_path, text, "--timeout", "50")
    assert (code, found["state"]) == (1, "PAUSED")


@pytest.mark.parametrize(
    "name",
    ["TRADEWIND_TLS_CLIENT_CA", "TRADEWIND_TOKENS_FILE", "TRADEWIND_PROXY_SECRET_FILE", "TRADEWIND_METRICS_LISTEN"],
)
def test_who_has_set_up_access_for_his_server_runs_files_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The private server was refused its start for a certificate that nobody would ask it for."""
    monkeypatch.setenv(name, str(tmp_path / "for the other server"))
    code, found = run(tmp_path, ECHO, "--input", '{"a": 1}')
    assert (code, found["state"]) == (0, "SUCCEEDED")


def test_unknown_action_fails_instead_of_waiting(tmp_path: Path) -> None:
    """There are no workers, and never will be."""
    code, found = run(tmp_path, "version: '2.0'\nw:\n  tasks:\n    t: {action: nobody.does}\n")
    assert (code, found["state"]) == (1, "FAILED")


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        ("version: '2.0'\nw:\n  tasks:\n    t: {acton: x}\n", (), "unknown-keyword"),
        (ECHO, (), "INPUT_MISSING"),
        (ECHO, ("--input", '{"a": 1, "b": 2}'), "INPUT_UNEXPECTED"),
        (ECHO, ("--input", "{"), "unusable-input"),
        (ECHO, ("--input", "[1]"), "unusable-input"),
        (ECHO, ("--workflow", "v"), "DEFINITION_NOT_FOUND"),
        (
            "version: '2.0'\nv: {tasks: {t: {action: std.noop}}}\nw: {tasks: {t: {action: std.noop}}}\n",
            (),
            "unusable-input",
        ),
    ],
)
def test_refused_file_or_input_is_exit_2(tmp_path: Path, text: str, options: tuple[str, ...], code: str) -> None:
    """The problems are on standard output."""
    exit_code, found = run(tmp_path, text, *options)
    assert (exit_code, [problem["code"] for problem in found["problems"]]) == (2, [code])


def test_workflow_that_no_other_calls_is_the_one(tmp_path: Path) -> None:
    """In a workbook too, where names are short."""
    text = """
version: '2.0'
name: book
workflows:
  child:
    tasks: {t: {action: std.noop}}
  main:
    tasks: {t: {workflow: child}}
"""
    code, found = run(tmp_path, text)
    assert (code, found["workflow"], found["state"]) == (0, "book.main", "SUCCEEDED")


def test_secret_is_shown_by_its_name_alone(tmp_path: Path) -> None:
    """Without the marks around a reference, in pictures, in JSON and in messages."""
    text = """
version: '2.0'
w:
  output: {token: <% secret('api.token') %>}
  output-on-error: {token: "Bearer <% secret('api.token') %>"}
  tasks:
    t: {action: std.noop, on-success: [fail(msg='no <% secret(other) %>')]}
"""
    path = tmp_path / "file.yaml"
    path.write_text(text)
    printed = tradewind("run", str(path)).stdout.decode()
    as_json = json.loads(tradewind("run", str(path), "--json").stdout)
    assert "no secret('other')" in printed
    assert (as_json["state_message"], as_json["output"]["token"]) == (
        "no secret('other')",
        "Bearer secret('api.token')",
    )
    assert not {"\ufdd0", "\ufdd1"} & set(printed + repr(as_json))


@contextlib.contextmanager
def under_way(tmp_path: Path) -> Iterator[Started]:
    """Give a run that waits for an answer; its temporary files are in the folder tmp of *tmp_path*."""
    (tmp_path / "tmp").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.TemporaryFile() as none:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        path = tmp_path / "file.yaml"
        path.write_text(f"version: '2.0'\nw:\n  tasks:\n    ask: {{action: std.http url={url}}}\n")
        environment = {"TMPDIR": str(tmp_path / "tmp"), "TRADEWIND_ALLOW_PRIVATE_ADDRESSES": "true"}
        listener.settimeout(SECONDS)
        with Started(["run", str(path), "--json"], none, none, none, environment) as running, listener.accept()[0]:
            yield running


def test_run_that_is_ended_leaves_nothing_behind(tmp_path: Path) -> None:
    """SIGTERM, as from `timeout` or a job's runner: its private database goes, too."""
    with under_way(tmp_path) as running:
        running.send_signal(signal.SIGTERM)
        code = running.wait(SECONDS)

    assert code == 128 + signal.SIGTERM
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
def test_run_listens_where_nobody_else_on_the_machine_reaches_it(tmp_path: Path) -> None:
    """At a port anybody on it could deploy a workflow that sends the user's secrets to him."""
    with under_way(tmp_path) as running:
        listening = _listening_ports(running.pid)
        running.send_signal(signal.SIGTERM)
        running.wait(SECONDS)

    assert listening == []


def _listening_ports(pid: int) -> list[str]:
    files = Path(f"/proc/{pid}/fd")
    sockets = {os.readlink(file) for file in files.iterdir()}
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()
    ]
    # columns: local address, state (0A is LISTEN), inode
    return [fields[1] for fields in lines if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets]
