"""Two batches under way on PostgreSQL: one is decided while the other commits, and neither rests on the other."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

import pytest

from tradewind_server.engine import commands as c
from tradewind_server.engine.state import ExecutionState
from tradewind_server.errors import DatabaseUnavailable
from tradewind_server.runtime import batch
from tradewind_server.runtime import requests as r
from tradewind_server.runtime import turns as turns_
from tradewind_server.runtime.batch import Surroundings
from tradewind_server.runtime.committer import Broken, Committer
from tradewind_server.runtime.desk import Session
from tradewind_server.runtime.turns import Turns
from tradewind_server.store.database import Database
from tradewind_server.store.records import Provenance, QueueRow
from tradewind_server.testing.lossy import LossyWriter
from tradewind_server.testing.world import World

WAITING = """
version: '2.0'
wait:
  tasks:
    a: {action: std.async_noop}
work:
  tasks:
    a: {action: my.work}
"""
PAUSED, RUNNING = ExecutionState.PAUSED, ExecutionState.RUNNING
_ANYBODY = Provenance("anonymous:", "Test")


class Server:
    """A server whose committers take turns, step by step."""

    def __init__(self, database: Database) -> None:
        self.world = World(database, open_world=True)
        world = self.world
        around = Surroundings(world.cache, world.desk, world.registry, world.settings)
        self.writers = [LossyWriter(database, f"turns/{number}") for number in range(2)]
        self.turns = Turns([Committer(writer, around, world.clock, world.ids) for writer in self.writers])
        world.deploy(WAITING)

    def close(self) -> None:
        """Give all connections back."""
        self.world.close()
        for writer in self.writers:
            writer.discard()

    def states(self, ids: Sequence[str]) -> list[ExecutionState]:
        """Return the states of executions as they are in the database, after comparing them with their events."""
        for id_ in ids:
            self.world.cache.drop(id_)
            self.world.check_replay(id_)
        return [self.world.live(id_).state.state for id_ in ids]

    def command(self, id_: str, command: type[c.PauseExecution | c.ResumeExecution]) -> r.Command:
        """Return a command on an execution."""
        return r.Command(provenance=_ANYBODY, target=id_, namespace="default", command=command(self.world.clock.now()))

    def pause(self, id_: str) -> r.Command:
        """Return a command to pause an execution."""
        return self.command(id_, c.PauseExecution)

    def resume(self, id_: str) -> r.Command:
        """Return a command to let a paused execution go on."""
        return self.command(id_, c.ResumeExecution)

    def start(self, workflow: str) -> r.Start:
        """Return a request to start an execution."""
        at = self.world.clock.now()
        return r.Start(
            provenance=_ANYBODY, target=self.world.ids.execution(at), at=at, namespace="default", workflow=workflow,
            workflow_namespace="", definition_version=0, input={}, env={}, params={}, external_id="",
            business_key="", use_existing=False, tags=(), description="", digest="d",
        )  # fmt: skip

    def claim(self) -> r.Claim:
        """Return a claim that finds nothing."""
        return r.Claim(provenance=_ANYBODY, session="none", worker="w", namespace="default", wanted=[])


@pytest.fixture
def server(postgres_url: Callable[[], str]) -> Iterator[Server]:
    """Give a server on PostgreSQL."""
    database = Database(postgres_url())
    opened = Server(database)
    yield opened
    opened.close()
    database.close()


class Steps:
    """Repeats steps as the thread does, and keeps the answers."""

    def __init__(self, server: Server) -> None:
        self._turns = server.turns
        self._later: list[r.Request] = []
        self.answers: list[tuple[r.Request, type]] = []

    def run(self, *fresh: r.Request, most: int = 2) -> None:
        """Take *fresh* in, and go on until nothing is under way; *most* steps."""
        given = list(fresh)
        for _ in range(most):
            outcome, self._later = self._turns.step([*self._later, *given])
            given = []
            self.answers += _answered(outcome) if outcome is not None else []
            if self._turns.is_idle:
                return


@contextlib.contextmanager
def holding(server: Server, query: str, *parameters: object) -> Iterator[None]:
    """Hold the rows of *query* as another server would."""
    with server.world.database.connect_reader() as other:
        other.exec_driver_sql("BEGIN")
        other.exec_driver_sql(query, parameters)
        try:
            yield
        finally:
            other.exec_driver_sql("ROLLBACK")


def _held(row: QueueRow) -> r.Held:
    return r.Held(execution_id=row.execution_id, action_id=row.action_id, attempt=row.attempt, epoch=row.epoch)


def _answered(outcome: r.Outcome | None) -> list[tuple[r.Request, type]]:
    assert outcome is not None
    return [(request, type(answer)) for request, answer in outcome.answers]


def test_batch_is_decided_while_the_one_before_commits(server: Server) -> None:
    """Each is answered once it is durable, in the order in which they began."""
    one, two = (server.world.start("wait") for _ in range(2))
    first, second = server.pause(one), server.pause(two)

    assert server.turns.step([first]) == (None, [])
    assert not server.turns.is_idle
    outcome, later = server.turns.step([second])
    assert (_answered(outcome), later) == ([(first, r.Snapshot)], [])
    outcome, later = server.turns.step([])
    assert (_answered(outcome), later) == ([(second, r.Snapshot)], [])

    assert server.turns.is_idle
    assert server.states([one, two]) == [PAUSED, PAUSED]


def test_what_concerns_an_execution_under_way_waits_for_its_end_in_order(server: Server) -> None:
    """What it would be decided on may never come to be."""
    one, two = (server.world.start("wait") for _ in range(2))
    pause, resume, again = server.pause(one), server.resume(one), server.pause(one)
    other = server.pause(two)

    server.turns.step([pause])
    outcome, later = server.turns.step([resume, other, again])
    assert (_answered(outcome), later) == ([(pause, r.Snapshot)], [resume, again])
    outcome, later = server.turns.step(later)
    assert (_answered(outcome), later) == ([(other, r.Snapshot)], [])
    outcome, _ = server.turns.step([])

    assert _answered(outcome) == [(resume, r.Snapshot), (again, r.Snapshot)]
    assert server.states([one, two]) == [PAUSED, PAUSED]


def test_what_looks_at_more_than_its_execution_has_nothing_else_under_way(server: Server) -> None:
    """A claim that finds a queue empty must not miss what a batch under way has just put there."""
    id_ = server.world.start("wait")
    pause, resume, claim = server.pause(id_), server.resume(id_), server.claim()

    server.turns.step([pause])
    outcome, later = server.turns.step([claim, resume])
    assert (_answered(outcome), later) == ([(pause, r.Snapshot)], [claim, resume])
    outcome, later = server.turns.step(later)

    assert outcome is not None
    assert ([request for request, _ in outcome.answers], later) == ([claim, resume], [])
    assert server.turns.is_idle


def test_what_is_carried_out_alone_overtakes_nothing(server: Server) -> None:
    """An action that was delivered too often was leased once more, before its failure was recorded, and again."""
    one, two = (server.world.start("wait") for _ in range(2))
    pause, other, claim, resume = server.pause(one), server.pause(two), server.claim(), server.resume(one)

    assert server.turns.step([pause]) == (None, [])
    outcome, later = server.turns.step([resume, claim, other])
    assert (_answered(outcome), later) == ([(pause, r.Snapshot)], [resume, claim, other])
    outcome, later = server.turns.step(later)

    assert outcome is not None
    assert {id(request) for request, _ in outcome.answers} == {id(resume), id(claim), id(other)}
    assert later == []


def test_what_is_carried_out_alone_does_not_wait_for_a_lock_of_another_server(server: Server) -> None:
    """Workers would get nothing as long as one execution is locked."""
    id_ = server.world.start("wait")
    pause, claim = server.pause(id_), server.claim()
    with server.world.database.connect_writer() as other:
        other.exec_driver_sql("BEGIN")
        other.exec_driver_sql("SELECT 1 FROM executions FOR UPDATE")

        outcome, later = server.turns.step([pause, claim])

        assert (_answered(outcome), later) == ([(claim, list)], [pause])
        other.exec_driver_sql("ROLLBACK")
    server.turns.step(later)
    outcome, _ = server.turns.step([])
    assert _answered(outcome) == [(pause, r.Snapshot)]


def test_results_do_not_wait_for_as_long_as_workers_ask_for_more(server: Server) -> None:
    """There is another claim each time: what came before it has its turn all the same."""
    pause = server.pause(server.world.start("wait"))

    outcome, later = server.turns.step([pause, server.claim()])

    assert outcome is not None
    assert pause in [request for request, _ in outcome.answers]
    assert later == []


def test_commands_on_an_execution_that_another_server_holds_stay_in_order(server: Server) -> None:
    """The first waited for its lock in vain; the second came later, and its patience ends when it is free."""
    one = server.world.start("wait")
    pause, resume = server.pause(one), server.resume(one)
    steps = Steps(server)
    with holding(server, "SELECT 1 FROM executions WHERE id = %s FOR UPDATE", one):
        steps.run(pause)
        server.world.clock.advance(timedelta(milliseconds=30))
        steps.run(resume)
        server.world.clock.advance(timedelta(milliseconds=30))
        steps.run()
        server.world.clock.advance(timedelta(milliseconds=30))
    steps.run()
    steps.run()

    assert steps.answers == [(pause, r.Snapshot), (resume, r.Snapshot)]
    assert server.states([one]) == [RUNNING]


def test_executions_that_another_server_holds_do_not_keep_all_others_waiting(server: Server) -> None:
    """Each is waited for in its turn, longer than the patience of the next; between them there is time for others."""
    ids = [server.world.start("wait") for _ in range(3)]
    held, other = [server.pause(id_) for id_ in ids[:2]], server.pause(ids[2])
    steps = Steps(server)
    with holding(server, "SELECT 1 FROM executions WHERE id = ANY(%s) FOR UPDATE", ids[:2]):
        steps.run(*held)
        for _ in range(4):
            server.world.clock.advance(timedelta(seconds=0.2))
            steps.run(other, most=1)
            other_is_done = (other, r.Snapshot) in steps.answers
            if other_is_done:
                break
        assert other_is_done


def test_beat_stays_before_the_result_that_follows_it(server: Server) -> None:
    """What the worker wrote about its action is in the beat, which is worth nothing once the result is recorded."""
    world = server.world
    one, two = (world.start("work") for _ in range(2))
    rows = {row.execution_id: row for row in world.lease("my.work")}
    beat = r.Renew(provenance=_ANYBODY, session="s", worker="w", held=[_held(rows[one]), _held(rows[two])])
    at = world.clock.now()
    results = [r.result_of(rows[id_], c.CompleteAction(at, rows[id_].action_id, 1), "worker:w") for id_ in (one, two)]

    server.turns.step([server.command(one, c.PauseExecution)])
    _, later = server.turns.step([beat, *results])
    assert later == [beat, *results]
    server.turns.step([beat])
    _, later = server.turns.step(results)
    assert later == results


def test_retry_of_a_large_start_is_answered_while_the_first_is_under_way(server: Server) -> None:
    """It waits for the first one's claim; and the end of that was still in the driver, as the network was full."""
    for writer in server.writers:
        writer.connection.exec_driver_sql("SET lock_timeout = '5s'")
    first, second = (server.start("wait") for _ in range(2))
    for start in (first, second):
        start.provenance, start.description = Provenance("anonymous:", "Test", "again"), "x" * 40_000_000

    server.turns.step([first])
    server.turns.step([second])
    outcome, _ = server.turns.step([])

    assert outcome is not None
    assert outcome.answers == [(second, r.Started(None, first.target, existing=False))]


def test_server_goes_on_after_a_fault_of_its_own_at_the_end_of_a_commit(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows what has happened, and so the caller is told; the thread that decides must not end."""
    one = server.world.start("wait")
    first, second = server.pause(one), server.pause(one)
    writer = server.writers[1]

    def fail() -> bool:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(writer, "_send_commit", lambda: fail)
    server.turns.step([first])
    outcome, _ = server.turns.step([])
    monkeypatch.undo()
    server.turns.step([second])
    last, _ = server.turns.step([])

    assert (_answered(outcome), _answered(last)) == ([(first, Broken)], [(second, r.Snapshot)])
    assert server.states([one]) == [PAUSED]


def test_new_action_does_not_overtake_what_the_batch_before_left_in_the_queue(server: Server) -> None:
    """A worker got room between the two: the older action is still its first."""
    world = server.world
    world.desk.open(Session("s", "w", "default", {"my.work": 0}, room=0))
    world.desk.note_drained([("default", "my.work", "")])

    server.turns.step([server.start("work")])
    world.desk.grant("s", 10)
    older, _ = server.turns.step([server.start("work")])
    newer, _ = server.turns.step([])

    assert older is not None
    assert newer is not None
    assert (older.offers, newer.offers) == ([], [])
    assert older.queued == newer.queued == {("default", "my.work", "")}


@pytest.mark.parametrize(
    ("fault", "answer", "state"), [("never arrived", DatabaseUnavailable, RUNNING), ("reply lost", r.Snapshot, PAUSED)]
)
def test_commit_that_goes_wrong_leaves_the_batch_after_it_as_it_is(
    server: Server, fault: str, answer: type, state: ExecutionState
) -> None:
    """It is about other executions, and on another connection."""
    one, two = (server.world.start("wait") for _ in range(2))
    for writer in server.writers:
        writer.faults = [fault]

    server.turns.step([server.pause(one)])
    for writer in server.writers:
        writer.faults = []
    outcomes = [server.turns.step([server.pause(two)])[0], server.turns.step([])[0]]

    assert [[kind for _, kind in _answered(outcome)] for outcome in outcomes] == [[answer], [r.Snapshot]]
    assert server.states([one, two]) == [state, PAUSED]
    if state is RUNNING:
        server.turns.step([server.pause(one)])
        server.turns.step([])
        assert server.states([one]) == [PAUSED]


def test_row_that_the_database_refuses_is_answered_alone_with_another_batch_under_way(server: Server) -> None:
    """All else of its batch is carried out once more, and the other batch is none of its business."""
    ids = [server.world.start("wait") for _ in range(4)]
    with server.world.database.connect_writer() as connection:
        connection.exec_driver_sql(
            "INSERT INTO events SELECT (jsonb_populate_record(e, jsonb_build_object('revision', revision + 1))).* "
            f"FROM events e WHERE execution_id = '{ids[1]}' ORDER BY revision DESC LIMIT 1"
        )
    first, bad, third, other = (server.pause(id_) for id_ in ids)

    server.turns.step([first, bad, third])
    outcome, _ = server.turns.step([other])
    last, _ = server.turns.step([])

    answers = dict((id(request), kind) for request, kind in _answered(outcome))
    assert answers == {id(first): r.Snapshot, id(bad): Broken, id(third): r.Snapshot}
    assert _answered(last) == [(other, r.Snapshot)]
    assert server.states([ids[0], ids[2], ids[3]]) == [PAUSED] * 3


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_or_done_twice_whatever_fails(
    server: Server, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits fail, batches end early: each execution is as the last of its commands left it that was carried out."""
    dice = random.Random(seed)
    monkeypatch.setattr(turns_, "_SHARE", 4)
    monkeypatch.setattr(batch._TimeLeft, "is_over", lambda _: dice.random() < 0.3)
    ids = [server.world.start("wait") for _ in range(3)]
    sent: list[r.Request] = []
    answers: dict[int, object] = {}
    deferred: list[r.Request] = []
    while len(sent) < 120 or deferred or not server.turns.is_idle:
        fresh: list[r.Request] = []
        if len(sent) < 120:
            fresh = [dice.choice([server.pause, server.resume])(dice.choice(ids)) for _ in range(dice.randrange(6))]
            fresh += [server.claim()] * (dice.random() < 0.1)
            sent += fresh
        for writer in server.writers:
            writer.faults = dice.choices([[], ["reply lost"], ["never arrived"]], [8, 1, 1])[0]
        outcome, deferred = server.turns.step([*deferred, *fresh])
        for request, answer in outcome.answers if outcome is not None else ():
            assert answers.setdefault(id(request), answer) is answer

    assert answers.keys() == set(map(id, sent))
    expected = dict.fromkeys(ids, RUNNING)
    for request in sent:
        if isinstance(request, r.Command) and isinstance(answers[id(request)], r.Snapshot):
            expected[request.target] = PAUSED if isinstance(request.command, c.PauseExecution) else RUNNING
    assert server.states(ids) == list(expected.values())
