"""The command health, which health checks of containers call."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.cli.command_line import tradewind
from tradewind_server.bootstrap import Server
from tradewind_server.settings import Settings
from tradewind_server.testing.ports import free_port

pytestmark = pytest.mark.slow


async def test_health_of_a_server_is_told_without_a_token(tmp_path: Path) -> None:
    """First it serves; then it lives, and says that it is not fit."""
    # given
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text("tokens: []\n")
    settings = Settings(listen="127.0.0.1:0", database="", tokens_file=str(tokens), shutdown_grace_seconds=0)
    server = await Server.start(settings)
    ask = ("health", "--address", server.address)

    try:
        # when
        fit, as_json = await asyncio.to_thread(tradewind, *ask), await asyncio.to_thread(tradewind, *ask, "--json")
        server.runtime.on_health(False)
        unfit = await asyncio.to_thread(tradewind, *ask)
    finally:
        await server.stop()

    # then
    assert (fit.returncode, fit.stdout, json.loads(as_json.stdout)) == (0, b"SERVING\n", {"status": "SERVING"})
    assert (unfit.returncode, unfit.stdout) == (1, b"NOT_SERVING\n")


def test_health_of_no_server_is_that_there_is_none() -> None:
    """It does not wait for one, as other commands do: who checks comes again."""
    done = tradewind("health", "--address", f"127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"[UNAVAILABLE]" in done.stderr


@pytest.mark.parametrize("command", [("watch", "e1"), ("events",)])
def test_watching_where_no_server_answers_ends_as_other_commands_do(command: tuple[str, ...]) -> None:
    """It waited for ever, without a word."""
    done = tradewind(*command, "--address", f"127.0.0.1:{free_port()}")
    assert done.returncode == 3
    assert b"[UNAVAILABLE]" in done.stderr
