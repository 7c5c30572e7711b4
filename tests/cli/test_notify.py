"""`tradewind notify`, against a real server without channels."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

import tests.cli.test_check as command_line
from tests.docs.story import Story

TEXT = """
version: '2.0'
ask:
  tasks:
    ask: {human: {title: Ask, users: alice, notify: true}}
"""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A server of the module, with one workflow deployed."""
    folder = tmp_path_factory.mktemp("notify")
    (folder / "ask.yaml").write_text(TEXT)
    with Story(folder) as story:
        story.start("tradewind server")
        story.run("tradewind deploy ask.yaml")
        yield story


def run(story: Story, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command line."""
    return command_line.tradewind(*arguments, "--address", story.address)


@pytest.mark.slow
def test_what_was_given_up_is_listed_and_retried(story: Story) -> None:
    assert run(story, "start", "ask").returncode == 0
    found = _dead(story)
    assert (found["recipient"], found["kind"], found["state"]) == ("user:alice", "offered", "DEAD")
    assert found["message"] == "The contacts do not say how to reach user:alice."
    assert b"user:alice" in run(story, "notify", "list").stdout
    assert json.loads(run(story, "notify", "list", "--state", "sent", "--json").stdout) == []

    assert b"0 are sent again." in run(story, "notify", "retry", "none:1:1").stdout
    assert b"1 are sent again." in run(story, "notify", "retry", found["id"]).stdout
    assert _dead(story)["id"] == found["id"]


def _dead(story: Story) -> dict[str, str]:
    """Return the one that was given up, once it is."""
    for _ in range(50):
        listed: list[dict[str, str]] = json.loads(run(story, "notify", "list", "--state", "DEAD", "--json").stdout)
        if listed:
            return listed[0]
    raise AssertionError("nothing was given up")


@pytest.mark.slow
def test_what_cannot_be_is_told(story: Story) -> None:
    tried = run(story, "notify", "test", "--channel", "sms", "--to", "alice")
    assert tried.returncode == 1
    assert b"CHANNEL_NOT_FOUND" in tried.stderr
    wrong = run(story, "notify", "list", "--state", "lost")
    assert wrong.returncode == 2
    assert b"PENDING, SENT, DEAD" in wrong.stderr
