"""`tradewind token`, which asks no server."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from tests.cli import command_line
from tradewind_server.api.tokens import Tokens


def test_token_is_what_the_servers_file_lets_in(tmp_path: Path) -> None:
    """With its namespaces and its calls; without any it may call everything, and the entry has no list."""
    narrow = command_line.tradewind("token", "bob", "--namespace", "hr", "--call", "decide", "--call", "read", "--json")
    wide = command_line.tradewind("token", "ann", "--json")
    made = [json.loads(done.stdout) for done in (narrow, wide)]
    assert made[0]["entry"]["calls"] == ["decide", "read"]
    assert "calls" not in made[1]["entry"]
    path = tmp_path / "tokens.yaml"
    path.write_text(yaml.safe_dump({"tokens": [each["entry"] for each in made]}))
    tokens = Tokens(str(path))
    bob = tokens.identity({"authorization": f"Bearer {made[0]['token']}"})
    assert (bob.name, bob.namespaces, bob.calls) == ("bob", frozenset({"hr"}), frozenset({"decide", "read"}))
    assert "work" in tokens.identity({"authorization": f"Bearer {made[1]['token']}"}).calls


def test_token_for_calls_that_do_not_exist_is_not_made() -> None:
    """The server would not start with its entry."""
    done = command_line.tradewind("token", "bob", "--call", "write")
    assert done.returncode != 0
    assert b"but got 'write'" in done.stderr
    assert done.stdout == b""
