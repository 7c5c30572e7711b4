"""Who watches an inbox hears of what may concern him, and of nothing else."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from tradewind_server.errors import CursorLost
from tradewind_server.runtime.human_task_feed import HumanTaskFeeds, Inbox
from tradewind_server.runtime.runtime import Runtime

OF_ANN, OF_BOB = frozenset({"user:ann"}), frozenset({"user:bob"})
KEY, OTHER = ("x", 1), ("y", 1)


def ann() -> Inbox:
    """Return Ann's inbox."""
    inbox = Inbox()
    inbox.principals = OF_ANN
    return inbox


def test_what_asks_others_is_not_told() -> None:
    inbox = ann()
    inbox.tell(KEY, OF_BOB)
    inbox.tell(OTHER, OF_ANN)
    assert inbox.take() == [OTHER]
    assert inbox.take() == []


def test_what_was_sent_is_told_whomever_it_asks_now() -> None:
    """Or it would stay on the screen for ever."""
    inbox = ann()
    inbox.sent.add(KEY)
    inbox.tell(KEY, frozenset())
    assert inbox.take() == [KEY]


def test_what_ends_while_the_list_is_read_is_told() -> None:
    """It may be in what was read, and is not yet in what was sent."""
    inbox = ann()
    with inbox.reading():
        inbox.tell(KEY, frozenset())
    inbox.tell(OTHER, frozenset())
    assert inbox.take() == [KEY]


class _Pruned:
    """A follower whose first place has been removed from the log; then nothing happens."""

    def __init__(self, done: list[str]) -> None:
        self._done = done

    async def next(self, place: str) -> tuple[list[Any], str, bool]:
        if place == "place 1":
            raise CursorLost(execution="x", revision=1, field="cursor")
        self._done.append(f"follow from {place}")
        return [], place, False

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def close(self) -> None:
        self._done.append("closed")


async def test_who_is_to_read_anew_is_told_when_it_is_known_from_where_on_changes_are_told() -> None:
    """What changes before that is in what he reads then, and what changes later is told."""
    done: list[str] = []
    inboxes: list[Inbox] = []

    async def read(_: object) -> str:
        done.append(f"stale: {[inbox.is_stale for inbox in inboxes]}")
        return f"place {len(done)}"

    tails = SimpleNamespace(follow=lambda namespace: _Pruned(done))
    runtime = cast("Runtime", SimpleNamespace(tails=tails, read=read, is_draining=False, database=None))
    with HumanTaskFeeds(runtime).one_of("default") as (inbox, has_begun):
        inboxes.append(inbox)
        await has_begun.wait()
        async with asyncio.timeout(10):
            await inbox.wait(10)
        assert inbox.is_stale
        assert done[:2] == ["stale: [False]", "stale: [False]"]
    await asyncio.sleep(0)
    assert done[2:] in (["closed"], ["follow from place 2", "closed"])
