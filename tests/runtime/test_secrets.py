"""Where secrets come from, and what is masked."""

from __future__ import annotations

import datetime
import os
from decimal import Decimal
from pathlib import Path

import pytest

from tradewind_server.engine import commands as c
from tradewind_server.lang.references import reference
from tradewind_server.lang.values import encode
from tradewind_server.runtime.secrets import MAX_VALUE_BYTES, Secrets, Unresolved
from tradewind_server.settings import Settings

AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def secrets(folder: Path | None = None, **environment: str) -> Secrets:
    """Make secrets of a folder and of variables."""
    return Secrets(Settings(secrets_dir=str(folder) if folder else ""), environment)


def resolve(found: Secrets, name: str) -> str:
    """Resolve one reference."""
    return found.resolved(encode(reference(name))).decode()


def test_variable_is_found_by_the_name_in_capitals() -> None:
    """Dots and dashes, which variables cannot have, are underscores."""
    found = secrets(TRADEWIND_SECRET_DB_PASS_WORD="hunter22")

    assert resolve(found, "db.pass-word") == resolve(found, "DB_PASS_WORD") == '"hunter22"'


def test_file_comes_before_the_variable_and_is_read_each_time(tmp_path: Path) -> None:
    """The newline at its end is not part of it; a file that changes counts at once, and both values are masked."""
    file = tmp_path / "token"
    file.write_text("first-value\n")
    found = secrets(tmp_path, TRADEWIND_SECRET_TOKEN="of-variable")
    assert resolve(found, "token") == '"first-value"'

    file.write_text("second-value")

    assert resolve(found, "token") == '"second-value"'
    assert found.masked("first-value second-value of-variable") == "*** *** ***"


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\xff\xfe", b"x" * (MAX_VALUE_BYTES + 1)], ids=["empty", "newline", "binary", "long"]
)
def test_file_that_holds_no_secret_is_none(tmp_path: Path, content: bytes) -> None:
    """Better no secret than an empty password."""
    (tmp_path / "token").write_bytes(content)

    with pytest.raises(Unresolved):
        resolve(secrets(tmp_path), "token")


def test_pipes_and_folders_are_no_secrets(tmp_path: Path) -> None:
    """Nobody writes into a pipe: reading it would stand still for ever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()

    for name in ("pipe", "folder", "nothing"):
        with pytest.raises(Unresolved):
            resolve(secrets(tmp_path), name)


def test_unknown_secret_is_named() -> None:
    """The failure is typed, and another attempt would fail alike."""
    with pytest.raises(Unresolved) as caught:
        resolve(secrets(OTHER_PREFIX_X="v"), "x")

    failure = caught.value.failure
    assert (failure.kind, failure.code, failure.retryable) == ("NOT_DELIVERABLE", "SECRET_NOT_FOUND", False)
    assert failure.message == "There is no secret 'x' on this server."


def test_empty_prefix_means_no_variables() -> None:
    """Or every variable of the process would be one."""
    found = Secrets(Settings(secrets_prefix=""), {"PATH": "/usr/local/bin"})

    with pytest.raises(Unresolved):
        resolve(found, "PATH")
    assert found.masked("/usr/local/bin") == "/usr/local/bin"


def test_prefix_of_the_setting_itself_is_no_secret() -> None:
    """Neither setting begins like a secret."""
    assert not any(f"TRADEWIND_{name}".startswith("TRADEWIND_SECRET_") for name in ("SECRETS_DIR", "SECRETS_PREFIX"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a longest-value b", "a *** b"),
        ({"longest-value": [1, None, True, "longest"]}, {"***": [1, None, True, "***"]}),
        ("short five5", "short five5"),
        (1234567, "***"),
        (Decimal("12345.67"), Decimal("12345.67")),
        ('say "quoted"\n', "say ***"),
    ],
)
def test_masks(value: object, expected: object) -> None:
    """Longest first, in keys and numbers too; what is short stands there by chance."""
    found = secrets(
        TRADEWIND_SECRET_A="longest",
        TRADEWIND_SECRET_B="longest-value",
        TRADEWIND_SECRET_C="five5",
        TRADEWIND_SECRET_D="1234567",
        TRADEWIND_SECRET_E='"quoted"\n',
    )

    assert found.masked(value) == expected


def test_answers_are_masked_in_all_their_parts() -> None:
    """Results, failures with code and details, and words of who gave up."""
    found = secrets(TRADEWIND_SECRET_A="canary-7")

    assert found.masked_answer(c.CompleteAction(AT, 1, ["canary-7"])) == c.CompleteAction(AT, 1, ["***"])
    assert found.masked_answer(c.CancelAction(AT, 1, "no canary-7")) == c.CancelAction(AT, 1, "no ***")
    failure = c.Failure("ACTION", "bad canary-7", "E_canary-7", {"a": "canary-7"})
    masked = c.Failure("ACTION", "bad ***", "E_***", {"a": "***"})
    assert found.masked_answer(c.FailAction(AT, 1, failure)) == c.FailAction(AT, 1, masked)
    assert found.masked_json(b'{"a":"xcanary-7"}') == b'{"a":"x***"}'


def test_without_secrets_an_answer_is_the_same_object() -> None:
    """The hot path of a server that has none."""
    answer = c.CompleteAction(AT, 1, ["canary-7"])

    assert secrets().masked_answer(answer) is answer
