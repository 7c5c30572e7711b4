"""Servers die while people decide: what somebody was answered is what counts, and there is one decision of each."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.crash.drive import ServerProcess
from tradewind import Client, TradewindError, connect

pytestmark = pytest.mark.slow

WORKFLOW = """
version: '2.0'
bonus:
  output: {said: <% $.said %>, by: <% $.by %>}
  tasks:
    approve:
      human: {title: Approve, groups: heads, outcomes: [approve, reject]}
      publish: {said: <% task().result.outcome %>, by: <% task().result.by %>}
      on-success:
        - noop: <% task().result.outcome in [approve, reject] %>
"""
BOARD = """
version: '2.0'
board:
  output: {votes: <% $.votes %>}
  tasks:
    approve:
      human: {title: Approve, users: [alice, ben, cid], quorum: 2}
      publish: {votes: '<% task().result.votes.select($.by) %>'}
"""
COUNT = 240
#: Answers after each of which the server is killed.
KILLS = (40, 150, 300)
SECONDS = 60.0


class Answers:
    """What the deciders were answered, and a signal for how many answers there are."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        #: Human task -> user -> outcome, or why not.
        self.of: dict[str, dict[str, str]] = {}
        self.count = 0

    def add(self, id_: str, user: str, answer: str) -> None:
        """Note an answer."""
        with self._changed:
            self.of.setdefault(id_, {})[user] = answer
            self.count += 1
            self._changed.notify_all()

    def wait(self, count: int) -> None:
        """Wait until there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.count >= count, SECONDS), f"{self.count} answers of {count}"


def decide(address: str, user: str, outcome: str, ids: list[str], answers: Answers) -> None:
    """Decide each, over all restarts of the server."""
    with connect(address, user=user, groups=["heads"], patience=SECONDS) as client:
        for id_ in ids:
            try:
                done = client.people.submit(client.people.get(id_), outcome)
                answers.add(id_, user, done.outcome)
            except TradewindError as error:
                answers.add(id_, user, error.reason)


def begin(client: Client, workflow: str, definition: str) -> list[str]:
    """Start as many as there are to decide, and return the ids of their human tasks."""
    client.deploy((f"{workflow}.yaml", definition))
    started = client.start_many([(workflow, None, {})] * COUNT)
    return [f"{execution.id}/a1" for execution in started if not isinstance(execution, TradewindError)]


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[ServerProcess, Client]]:
    """Give a server on SQLite, and a client that waits for it while it is away."""
    server = ServerProcess(str(folder / "people.db"), folder / "server.log")
    server.start()
    try:
        with connect(server.address, patience=SECONDS) as client:
            yield server, client
    finally:
        server.kill()


def through_kills(server: ServerProcess, people: Sequence[Callable[[], None]], answers: Answers) -> None:
    """Let all people act at once, and kill and restart the server after some of their answers."""
    with ThreadPoolExecutor(len(people)) as pool:
        acting = [pool.submit(each) for each in people]
        for count in KILLS:
            answers.wait(count)
            server.kill()
            server.start()
        for each in acting:
            each.result(SECONDS)


def test_of_two_who_decide_while_the_server_is_killed_one_counts(tmp_path: Path) -> None:
    """The answer that a kill swallowed is given to the repeated call: nobody is refused for his own decision."""
    answers = Answers()
    with served(tmp_path) as (server, client):
        ids = begin(client, "bonus", WORKFLOW)
        deciding = [
            functools.partial(decide, server.address, user, outcome, ids[n::4], answers)
            for n in range(4)
            for user, outcome in (("alice", "approve"), ("ben", "reject"))
        ]
        through_kills(server, deciding, answers)
        outputs = {f"{execution.id}/a1": execution.output for execution in client.executions(full=True)}
        completed = {
            id_: [entry.by for entry in client.people.entries(id_) if entry.outcome] for id_ in ids[:: COUNT // 24]
        }
    assert len(outputs) == len(answers.of) == COUNT
    wanted = {"alice": "approve", "ben": "reject"}
    for id_, output in outputs.items():
        [winner] = [user for user, answer in answers.of[id_].items() if answer == wanted[user]]
        assert output == {"said": wanted[winner], "by": winner}
        assert set(answers.of[id_].values()) == {wanted[winner], "HUMAN_TASK_CLOSED"}
    assert completed == {id_: [outputs[id_]["by"]] for id_ in completed}
    assert {output["by"] for output in outputs.values()} == {"alice", "ben"}


def test_of_three_who_vote_while_the_server_is_killed_two_count(tmp_path: Path) -> None:
    """Nobody has two votes by asking again, and none that was acknowledged is lost."""
    answers = Answers()
    with served(tmp_path) as (server, client):
        ids = begin(client, "board", BOARD)
        voting = [
            functools.partial(vote, server.address, user, ids[n::2], answers)
            for user in ("alice", "ben", "cid")
            for n in range(2)
        ]
        through_kills(server, voting, answers)
        outputs = {f"{execution.id}/a1": execution.output for execution in client.executions(full=True)}
    assert len(outputs) == len(answers.of) == COUNT
    for id_, output in outputs.items():
        taken = {user for user, answer in answers.of[id_].items() if answer == "voted"}
        assert isinstance(output, dict)
        assert sorted(output["votes"]) == sorted(taken)
        assert len(taken) == 2
        assert set(answers.of[id_].values()) == {"voted", "HUMAN_TASK_CLOSED"}


def vote(address: str, user: str, ids: list[str], answers: Answers) -> None:
    """Vote on each, over all restarts of the server."""
    with connect(address, user=user, patience=SECONDS) as client:
        for id_ in ids:
            try:
                client.people.submit(client.people.get(id_), "done")
                answers.add(id_, user, "voted")
            except TradewindError as error:
                answers.add(id_, user, error.reason)


def test_what_is_attached_while_the_server_is_killed_is_there_once(tmp_path: Path) -> None:
    """A file that was acknowledged is had back as it was, under the id that its owner was told."""
    answers = Answers()
    with served(tmp_path) as (server, client):
        ids = begin(client, "bonus", WORKFLOW)
        attaching = [
            functools.partial(attach, server.address, user, ids[n::3], answers)
            for user in ("alice", "ben")
            for n in range(3)
        ]
        through_kills(server, attaching, answers)
        there = {id_: client.people.get(id_).attachments for id_ in ids}
        kept = {id_: {a.added_by: client.people.download(id_, a.id) for a in there[id_]} for id_ in ids}
    assert answers.count == 2 * COUNT
    for id_, files in there.items():
        assert {file.added_by: file.id for file in files} == answers.of[id_]
        assert sorted(file.id for file in files) == ["f1", "f2"]
        for user, file in kept[id_].items():
            assert (file.content, file.is_whole) == (content_of(user, id_), True)


def attach(address: str, user: str, ids: list[str], answers: Answers) -> None:
    """Add a file to each, over all restarts of the server."""
    with connect(address, user=user, groups=["heads"], patience=SECONDS) as client:
        for id_ in ids:
            answers.add(id_, user, client.people.attach(id_, "slip.txt", content_of(user, id_)).id)


def content_of(user: str, id_: str) -> bytes:
    """Return a file of a person for a human task, of some pages of a database."""
    return f"{user} on {id_}\n".encode() * 200
