"""Who watches an inbox hears of what may concern him, and of nothing else."""

from __future__ import annotations

from tradewind_server.runtime.human_task_feed import Inbox

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
