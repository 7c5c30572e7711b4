"""`tradewind check`: problems with their places, and exit codes for scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command_line import tradewind
from tradewind_server import lang
from tradewind_server.lang.problems import CODES

pytestmark = pytest.mark.slow

GOOD = "version: '2.0'\nw:\n  tasks:\n    t: {action: std.noop}\n"
BAD = "version: '2.0'\nw:\n  tasks:\n    t:\n      acton: std.noop\n      on-success: nowhere\n"


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


def test_of_a_long_line_only_what_is_around_the_column_is_shown(tmp_path: Path) -> None:
    """A file of one line, with a problem at every other word, is not written a thousand times."""
    tasks = ", ".join(f"t{number}: {{acton: b}}" for number in range(1500))
    path = tmp_path / "bad.yaml"
    path.write_text(f"version: '2.0'\nw: {{tasks: {{{tasks}}}}}\n")
    lines = tradewind("check", str(path)).stdout.decode().splitlines()
    shown = [(lines[number - 1], line.index("^")) for number, line in enumerate(lines) if line.strip(" |") == "^"]
    assert len(shown) == 1500
    assert all(source.startswith("acton", column) for source, column in shown)
    assert max(map(len, lines)) < 500


def test_the_caret_meets_its_column_behind_wide_signs(tmp_path: Path) -> None:
    """Each of the two signs of the task's name takes two columns of a terminal."""
    path = tmp_path / "bad.yaml"
    path.write_text("version: '2.0'\nw:\n  tasks:\n    注文: {acton: b}\n")
    done = tradewind("check", str(path))
    assert "\n  4 |     注文: {acton: b}\n    |            ^\n" in done.stdout.decode()


def test_json_lists_every_problem(tmp_path: Path) -> None:
    """The same for scripts."""
    (tmp_path / "bad.yaml").write_text(BAD)
    done = tradewind("check", str(tmp_path / "bad.yaml"), "--json")
    problems = json.loads(done.stdout)["problems"]
    assert [(problem["code"], problem["line"], problem["column"]) for problem in problems] == [
        ("unknown-keyword", 5, 7),
        ("unknown-task", 6, 19),
    ]


def test_tests_among_the_files_are_left_out(tmp_path: Path) -> None:
    """`tradewind check *.yaml` means the definitions; a file of tests alone is not one, by whatever name."""
    good, tests, other = tmp_path / "good.yaml", tmp_path / "good.test.yaml", tmp_path / "other.yaml"
    good.write_text(GOOD)
    for path in (tests, other):
        path.write_text("cases:\n  a: {then: {state: SUCCEEDED}}\n")

    both, alone, misnamed = (tradewind("check", *map(str, paths)) for paths in ([good, tests], [tests], [other]))

    assert (both.returncode, both.stdout) == (0, b"1 file: no problems\n")
    assert both.stderr.decode() == f"{tests} is a file of tests and left out: run it with 'tradewind test'.\n"
    assert alone.returncode == 2
    assert "is a file of tests: run it with 'tradewind test'." in alone.stderr.decode()
    assert misnamed.stdout.decode().splitlines() == [
        f"{other}:1:1: error: Expected a definition, but this is a file of tests. [document-type]",
        "  1 | cases:",
        "    | ^",
        "  fix: Call it '*.test.yaml' and run it with 'tradewind test'.",
        "1 file: 1 errors, 0 warnings",
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


@pytest.mark.parametrize("port", ["99999", "0"])
def test_port_that_no_server_can_have_is_refused(port: str) -> None:
    """gRPC took the lower 16 bits, and waited for a server at another port."""
    done = tradewind("ps", "--address", f"127.0.0.1:7233,localhost:{port}")
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"Expected a port from 1 to 65535, but got {port} in localhost:{port}.".encode() in done.stderr


def test_absent_server_is_exit_3_with_a_hint() -> None:
    """No traceback, but a reason and what to do."""
    done = tradewind("ps", "--address", "127.0.0.1:1", "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["reason"], error["hint"]) == (
        3,
        "UNAVAILABLE",
        "Nobody listens at 127.0.0.1:1: check the address, and that the server runs.",
    )


ODD = """\
version: '2.0'
odd:
  tasks:
    t:
      action: std.echo output=<% $.x %>
      on-error: noop
"""


def test_warnings_are_exit_0_and_strict_makes_them_errors(tmp_path: Path) -> None:
    """Hints stay hints."""
    path = tmp_path / "odd.yaml"
    path.write_text(ODD)
    lenient, strict = tradewind("check", str(path)), tradewind("check", "--strict", str(path))
    assert (lenient.returncode, strict.returncode) == (0, 1)
    assert lenient.stdout.decode().splitlines()[-1] == "1 file: 0 errors, 1 warnings, 1 hints"
    assert strict.stdout.decode().splitlines()[-1] == "1 file: 1 errors, 0 warnings, 1 hints"


def test_format_json_is_what_json_writes(tmp_path: Path) -> None:
    """One option names all formats."""
    path = tmp_path / "odd.yaml"
    path.write_text(ODD)
    by_format, by_flag = tradewind("check", "--format", "json", str(path)), tradewind("check", "--json", str(path))
    assert by_format.stdout == by_flag.stdout
    assert [problem["severity"] for problem in json.loads(by_flag.stdout)["problems"]] == ["warning", "hint"]


def test_sarif_has_what_code_hosts_read(tmp_path: Path) -> None:
    """Version, rules, and results that refer to them, with level and region."""
    (tmp_path / "odd.yaml").write_text(ODD)
    (tmp_path / "bad.yaml").write_text(BAD)
    done = tradewind("check", "--format", "sarif", str(tmp_path / "odd.yaml"), str(tmp_path / "bad.yaml"))

    log = json.loads(done.stdout)
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert done.returncode == 1
    assert log["version"] == "2.1.0"
    assert run["tool"]["driver"]["name"] == "tradewind check"
    assert [rule["id"] for rule in rules] == list(CODES)
    assert all(rule["shortDescription"]["text"] and rule["helpUri"].endswith(f"#{rule['id']}") for rule in rules)
    found = []
    for result in run["results"]:
        place = result["locations"][0]["physicalLocation"]
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"].startswith("Expected ")
        region = place["region"]
        name = place["artifactLocation"]["uri"].rpartition("/")[2]
        found.append((name, result["ruleId"], result["level"], region["startLine"], region["startColumn"]))
    assert found == [
        ("bad.yaml", "unknown-keyword", "error", 5, 7),
        ("bad.yaml", "unknown-task", "error", 6, 19),
        ("odd.yaml", "unknown-variable", "warning", 5, 34),
        ("odd.yaml", "hidden-failure", "note", 6, 7),
    ]


def test_sarif_of_clean_files_has_rules_and_no_results(tmp_path: Path) -> None:
    """Code hosts then close what they showed before."""
    (tmp_path / "good.yaml").write_text(GOOD)
    (run,) = json.loads(tradewind("check", "--format", "sarif", str(tmp_path / "good.yaml")).stdout)["runs"]
    assert run["results"] == []
    assert len(run["tool"]["driver"]["rules"]) == len(CODES)


def test_schema_is_written_as_json() -> None:
    """What editors are pointed at."""
    done = tradewind("schema")
    assert done.returncode == 0
    assert json.loads(done.stdout) == lang.schema()
