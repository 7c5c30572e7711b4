"""What a server says of its settings when it starts."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from tests.api.harness import serving
from tests.certificates import Authority
from tradewind_server.bootstrap import Server
from tradewind_server.cli import session
from tradewind_server.settings import OF_CALLERS, Settings, from_environment, misspelt


async def test_settings_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    """Or every secret would be missing, and nobody knew why."""
    nothing = str(tmp_path / "nothing")
    async with serving(
        "", secrets_dir=nothing, files_dir=nothing, known_hosts=nothing, insecure_hosts=True, unknown_actions="fail"
    ) as served:
        assert [warning.split()[0] for warning in served.server.warnings] == [
            "secrets_dir", "files_dir", "known_hosts", "insecure_hosts", "unknown_actions",
        ]  # fmt: skip


async def test_settings_that_do_not_fit_together_are_told() -> None:
    """Payloads of 16 MiB were allowed, and refused by gRPC above 4."""
    large = 16 * 1024 * 1024
    async with serving("", max_payload_bytes=large, max_attachment_bytes=large, callback_url="example.com") as served:
        assert [warning.split()[0] for warning in served.server.warnings] == [
            "callback_url", "max_payload_bytes", "max_attachment_bytes",
        ]  # fmt: skip


async def test_settings_that_are_right_are_not_told(tmp_path: Path) -> None:
    """The same rule in the other direction."""
    (tmp_path / "known_hosts").touch()
    folder = str(tmp_path)
    async with serving(
        "",
        secrets_dir=folder,
        files_dir=folder,
        known_hosts=f"{folder}/known_hosts",
        callback_url="https://example.com",
    ) as served:
        assert served.server.warnings == []


async def test_files_that_everybody_on_the_machine_reads_or_changes_are_told(tmp_path: Path) -> None:
    """Whoever reads the key can pretend to be the server, and whoever writes tokens lets himself in."""
    certificate, key = Authority(tmp_path, "ours").issue("server")
    tokens, secret = tmp_path / "tokens.yaml", tmp_path / "secret"
    tokens.write_text("tokens: []")
    secret.write_bytes(b"a secret of sixteen bytes")
    names = {"tls_certificate": certificate, "tls_key": key, "tokens_file": tokens, "proxy_secret_file": secret}
    files = {name: str(path) for name, path in names.items()}
    for path, mode in ((certificate, 0o644), (key, 0o640), (tokens, 0o644), (secret, 0o600)):
        path.chmod(mode)
    assert await _told(**files) == []
    for path in names.values():
        path.chmod(0o666)
    told = await _told(**files)
    assert [warning.split()[0] for warning in told] == [
        "tls_key", "proxy_secret_file", "tls_certificate", "tokens_file",
    ]  # fmt: skip
    assert told[0] == f"tls_key names '{key}', which everybody on this machine can read: take that right away."
    assert told[3] == f"tokens_file names '{tokens}', which everybody on this machine can change: take that right away."


async def _told(**files: Any) -> list[str]:
    server = await Server.start(Settings(listen="localhost:0", database="", shutdown_grace_seconds=0, **files))
    await server.stop()
    return server.warnings


def test_setting_that_is_no_choice_is_refused() -> None:
    """A slip in `wait` must not let every action of a worker fail."""
    with pytest.raises(ValueError, match="TRADEWIND_UNKNOWN_ACTIONS must be wait or fail, but is 'wiat'"):
        from_environment({"TRADEWIND_UNKNOWN_ACTIONS": "wiat"})
    assert from_environment({"TRADEWIND_UNKNOWN_ACTIONS": "fail"}).unknown_actions == "fail"


@pytest.mark.parametrize(
    ("variable", "text", "told"),
    [
        ("BATCH_COMMANDS", "0", "at least 1, but is 0"),
        ("RETENTION_SECONDS", "-5", "at least 0, but is -5"),
        ("MAX_MESSAGE_BYTES", "9999999999", "at most 2147483647, but is 9999999999"),
        ("WORK_LEASE_SECONDS", "999999999999999", "at most 2147483647, but is 999999999999999"),
    ],
)
def test_number_with_which_a_server_cannot_work_is_refused(variable: str, text: str, told: str) -> None:
    """It started and hung, stood still without a word, or ended with a traceback."""
    with pytest.raises(ValueError, match=f"TRADEWIND_{variable} must be {told}"):
        from_environment({f"TRADEWIND_{variable}": text})


def test_number_at_its_bound_is_taken() -> None:
    """And 0 where it means something; a cache may be larger than a message."""
    variables = {"BATCH_COMMANDS": 1, "RETENTION_SECONDS": 0, "MAX_MESSAGE_BYTES": 2**31 - 1, "CACHE_BYTES": 2**33}
    settings = from_environment({f"TRADEWIND_{name}": str(number) for name, number in variables.items()})
    assert [getattr(settings, name.lower()) for name in variables] == list(variables.values())


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TOKEN_FILE", "TOKENS_FILE"),
        ("TLS_CERT", "TLS_CERTIFICATE"),
        ("DATABASE_URL", "DATABASE"),
        ("SHUTDWON_GRACE_SECONDS", "SHUTDOWN_GRACE_SECONDS"),
    ],
)
def test_misspelt_setting_is_told(name: str, meant: str) -> None:
    """A server whose operator had written TOKEN_FILE let everybody in, without a word."""
    assert misspelt({f"TRADEWIND_{name}": "x"}) == {f"TRADEWIND_{name}": f"TRADEWIND_{meant}"}


@pytest.mark.parametrize(
    "name",
    [
        "TOKENS_FILE", *sorted(OF_CALLERS), "SECRET_DIR", "PORT", "PORT_7233_TCP_ADDR", "SERVICE_HOST", "SERVICE_PORT",
    ],
)  # fmt: skip
def test_variable_of_somebody_else_is_not_told(name: str) -> None:
    """Settings, what the command line reads, secrets, and what Kubernetes sets for a service."""
    assert misspelt({f"TRADEWIND_{name}": "x", name: "x"}) == {}


def test_variables_of_the_command_line_are_known() -> None:
    """Or one that is new would be told as misspelt."""
    assert set(re.findall(r'envvar="TRADEWIND_(\w+)"', inspect.getsource(session))) == OF_CALLERS
