"""`tradewind notify`, against a server without channels."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.api import notified
from tests.api.notified import notifying
from tests.cli import command_line


async def run(address: str, *arguments: str) -> Any:
    """Run the command line, beside the server."""
    return await asyncio.to_thread(command_line.tradewind, *arguments, "--address", address)


@pytest.mark.slow
async def test_what_was_given_up_is_listed_and_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    notified.quickened(monkeypatch)
    async with notifying("", {}) as outbox:
        address = outbox.served.address
        await outbox.ask(["alice"])
        [dead] = await outbox.until("DEAD")
        [found] = json.loads((await run(address, "notify", "list", "--json")).stdout)
        table = (await run(address, "notify", "list")).stdout
        sent = await run(address, "notify", "list", "--state", "sent", "--json")
        other = await run(address, "notify", "retry", "none:1:1")
        retried = await run(address, "notify", "retry", dead.id)
        await outbox.until("DEAD")

    assert (found["id"], found["recipient"], found["kind"], found["state"]) == (
        dead.id,
        "user:alice",
        "offered",
        "DEAD",
    )
    assert found["message"] == "The contacts do not say how to reach user:alice."
    assert b"user:alice" in table
    assert json.loads(sent.stdout) == []
    assert b"0 are sent again." in other.stdout
    assert b"1 are sent again." in retried.stdout


@pytest.mark.slow
async def test_what_cannot_be_is_told() -> None:
    async with notifying("", {}) as outbox:
        tried = await run(outbox.served.address, "notify", "test", "--channel", "sms", "--to", "alice")
        wrong = await run(outbox.served.address, "notify", "list", "--state", "lost")

    assert tried.returncode == 1
    assert b"CHANNEL_NOT_FOUND" in tried.stderr
    assert wrong.returncode == 2
    assert b"PENDING, SENT, DEAD" in wrong.stderr
