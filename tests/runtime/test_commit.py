"""What the committer makes of commits of unknown outcome, of locks, and of requests that break."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import types
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tradewind_server.engine import commands as c
from tradewind_server.engine import decide
from tradewind_server.engine.state import ExecutionState
from tradewind_server.errors import DatabaseUnavailable, ExecutionNotFound, ExecutionWrongState, Refusal
from tradewind_server.runtime import batch
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.batch import Batch
from tradewind_server.runtime.committer import Broken
from tradewind_server.settings import Settings
from tradewind_server.store import schema, unit_of_work
from tradewind_server.store.database import Database
from tradewind_server.store.records import Provenance
from tradewind_server.store.writer import Writer, is_doubtful
from tradewind_server.testing.lossy import LossyWriter
from tradewind_server.testing.world import World

WAITING = """
version: '2.0'
wait:
  tasks:
    a: {action: std.async_noop, publish: {r: <% task().result %>}, on-success: b}
    b: {action: std.async_noop}
"""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Give an empty database of each kind."""
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def lossy(database: Database) -> Iterator[tuple[World, LossyWriter]]:
    """Give a world whose commits can go wrong."""
    writer = LossyWriter(database, "lossy")
    world = World(database, writer=writer)
    world.deploy(WAITING)
    yield world, writer
    world.close()


def test_commit_whose_reply_is_lost_has_happened_once(lossy: tuple[World, LossyWriter]) -> None:
    """The caller hears of success, and nothing is done again."""
    world, writer = lossy
    id_ = world.start("wait")

    writer.faults = ["reply lost"]
    answer = world.answer(id_, c.CompleteAction(world.clock.now(), 1, 7))

    assert isinstance(answer, r.Recorded)
    assert [e.type for e in world.events(id_)].count("ActionSucceeded") == 1
    world.check_replay(id_)


def test_commit_that_never_arrived_has_not_happened(lossy: tuple[World, LossyWriter]) -> None:
    """The caller is told to try again, the state is as before, and the second try works."""
    world, writer = lossy
    id_ = world.start("wait")
    before = world.live(id_).state.revision

    writer.faults = ["never arrived"]
    with pytest.raises(DatabaseUnavailable, match=r"the commit was rolled back \(never arrived\)"):
        world.answer(id_, c.CompleteAction(world.clock.now(), 1, 7))

    assert world.live(id_).state.revision == before
    assert isinstance(world.answer(id_, c.CompleteAction(world.clock.now(), 1, 7)), r.Recorded)
    world.check_replay(id_)


def test_reason_of_an_earlier_rollback_is_not_told_again(lossy: tuple[World, LossyWriter]) -> None:
    """Each time the database's own words, or none."""
    world, writer = lossy
    id_ = world.start("wait")

    writer.faults = ["never arrived", "rolled back"]
    for said in (r"the commit was rolled back \(never arrived\)\.", r"the commit was rolled back\."):
        with pytest.raises(DatabaseUnavailable, match=said):
            world.answer(id_, c.CompleteAction(world.clock.now(), 1, 7))

    assert isinstance(world.answer(id_, c.CompleteAction(world.clock.now(), 1, 7)), r.Recorded)
    world.check_replay(id_)


@pytest.mark.parametrize("fault", ["reply lost", "never arrived"])
def test_server_that_goes_down_waits_for_no_database_that_is_away(
    lossy: tuple[World, LossyWriter], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """With the outcome of a commit unknown, it did not end until it was killed. Asked again, the next one can tell."""
    # given
    world, writer = lossy
    id_ = world.start("wait")

    def away(*_: object) -> bool:
        raise sa.exc.OperationalError("SELECT", None, Exception("connection refused"))

    # when
    with monkeypatch.context() as patch:
        patch.setattr(LossyWriter, "_is_written", away)
        writer.faults = [fault]
        writer.give_up()
        with pytest.raises(DatabaseUnavailable, match=rf"the server goes down before it is back \({fault}\)"):
            world.answer(id_, c.CompleteAction(world.clock.now(), 1, 7))

    # then
    with contextlib.suppress(Refusal):  # it is there, if only the reply was lost
        world.answer(id_, c.CompleteAction(world.clock.now(), 1, 7))
    assert [e.type for e in world.events(id_)].count("ActionSucceeded") == 1
    world.check_replay(id_)


@pytest.mark.parametrize("fault", ["reply lost", "never arrived"])
def test_commit_without_events_whose_end_is_unknown_is_found_out(lossy: tuple[World, LossyWriter], fault: str) -> None:
    """Whatever it wrote, and whatever was committed before it."""
    world, writer = lossy
    world.start("wait")

    writer.faults = [fault]
    if fault == "reply lost":
        world.deploy(WAITING.replace("wait:", "another:"))
    else:
        with pytest.raises(DatabaseUnavailable):
            world.deploy(WAITING.replace("wait:", "another:"))
        world.deploy(WAITING.replace("wait:", "another:"))

    assert world.start("another")


def test_start_whose_reply_is_lost_is_one_execution(lossy: tuple[World, LossyWriter]) -> None:
    """The same request id, sent again, gets the execution that the lost reply was about."""
    world, writer = lossy

    writer.faults = ["reply lost"]
    first = world.start("wait", request_id="r1")
    second = world.start("wait", request_id="r1")

    assert first == second


def test_newest_commit_of_each_server_is_kept_for_an_hour(database: Database) -> None:
    """And of one that is gone no longer, nor what a server of version 0.1.0 kept of each commit."""
    world = World(database, writer=Writer(database, "here"))
    world.deploy(WAITING)
    at = world.clock.microseconds()
    with database.connect_writer() as connection:
        connection.execute(sa.insert(schema.last_batches).values(server="gone", batch="b1", at=at))
        connection.execute(sa.insert(schema.batches).values(id="b2", server="of before", at=at))

    world.clock.advance(timedelta(minutes=59))
    world.deploy(WAITING.replace("wait:", "another:"))
    world.recover()
    assert _known_commits(database) == ["gone", "here", "of before"]

    world.clock.advance(timedelta(minutes=2))
    world.recover()
    assert _known_commits(database) == ["here"]
    world.close()


def _known_commits(database: Database) -> list[str]:
    tables = (schema.batches, schema.last_batches)
    with database.connect_reader() as connection:
        return sorted(name for t in tables for name in connection.execute(sa.select(t.c.server)).scalars())


def _pause(world: World, id_: str) -> r.Command:
    provenance = Provenance("anonymous:", "PauseExecution")
    return r.Command(
        provenance=provenance, target=id_, namespace="default", command=c.PauseExecution(world.clock.now())
    )


def test_command_behind_a_foreign_lock_waits_in_its_place(postgres_url: Callable[[], str]) -> None:
    """It is deferred with all later commands of its execution; after a while the server waits for the lock itself."""
    # given
    url = postgres_url()
    database = Database(url)
    world = World(database)
    world.deploy(WAITING)
    held, free = world.start("wait"), world.start("wait")
    first, second, other = _pause(world, held), _pause(world, held), _pause(world, free)
    with psycopg.connect(url) as foreign:
        foreign.execute("SELECT id FROM executions WHERE id = %s FOR UPDATE", (held,))

        # when
        outcome = world.committer.step([first, other, second])

        # then
        assert outcome.deferred == [first, second]
        assert [request for request, _ in outcome.answers] == [other]

        # when
        world.clock.advance(timedelta(seconds=1))
        release = threading.Timer(0.1, foreign.rollback)
        release.start()
        outcome = world.committer.step(outcome.deferred)
        release.join()

        # then
        assert [request for request, _ in outcome.answers] == [first, second]
    assert world.live(held).state.state is ExecutionState.PAUSED
    world.close()
    database.close()


def test_lock_that_is_never_free_defers_for_ever_and_blocks_nobody(postgres_url: Callable[[], str]) -> None:
    """The wait for the lock ends by its timeout; the command keeps its place."""
    url = postgres_url()
    database = Database(url)
    world = World(database)
    world.deploy(WAITING)
    held = world.start("wait")
    command = _pause(world, held)
    with psycopg.connect(url) as foreign:
        foreign.execute("SELECT id FROM executions WHERE id = %s FOR UPDATE", (held,))
        world.committer.step([command])
        world.clock.advance(timedelta(seconds=1))

        outcome = world.committer.step([command])

        assert outcome.deferred == [command]
        assert outcome.answers == []
    world.close()
    database.close()


def test_request_that_breaks_is_answered_alone(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others of its batch are carried out; the caller at fault is told a number of the log, nothing else."""
    # given
    world = World(database)
    world.deploy(WAITING)
    good, bad = world.start("wait"), world.start("wait")
    broken, fine = _pause(world, bad), _pause(world, good)
    broken.command = None  # type: ignore[assignment]

    # when
    outcome = world.committer.step([broken, fine])

    # then
    answers = dict((id(request), answer) for request, answer in outcome.answers)
    assert isinstance(answers[id(broken)], Broken)
    assert isinstance(answers[id(fine)], r.Snapshot)
    assert world.live(good).state.state is ExecutionState.PAUSED
    assert world.live(bad).state.state is ExecutionState.RUNNING
    world.close()


@pytest.mark.parametrize(("processor", "clock"), [(10, 10), (0, 100)])
def test_batch_ends_when_its_time_for_deciding_is_over(
    database: Database, monkeypatch: pytest.MonkeyPatch, processor: int, clock: int
) -> None:
    """That of the processor, or ten times as much by the clock: a slow database held up whoever came first."""
    # given
    world = World(database, settings=Settings(batch_decide_ms=25))
    world.deploy(WAITING)
    commands = [_pause(world, world.start("wait")) for _ in range(6)]
    decided = 0
    decide = Batch._decide

    def slowly(*arguments: Any) -> None:
        nonlocal decided
        decided += 1
        decide(*arguments)

    times = types.SimpleNamespace(
        thread_time=lambda: decided * processor / 1000, monotonic=lambda: decided * clock / 1000
    )
    monkeypatch.setattr(batch, "time", times)
    monkeypatch.setattr(Batch, "_decide", slowly)

    # when
    outcome = world.committer.step(commands)

    # then
    assert [request for request, _ in outcome.answers] == commands[:3]
    assert outcome.deferred == commands[3:]
    world.close()


def _taken(id_: str) -> str:
    """Return what takes the place of the next event of an execution, as nobody does."""
    return (
        "INSERT INTO events SELECT execution_id, revision + 1, "
        + ", ".join(column.name for column in schema.events.columns if column.name not in ("execution_id", "revision"))
        + f" FROM events WHERE execution_id = '{id_}' ORDER BY revision DESC LIMIT 1"
    )


def test_what_several_batches_tell_is_told_whole() -> None:
    """Where each request is carried out alone, watchers of logs and senders of notifications hear of all, too."""
    made: dict[type, Any] = {list: [1], set: {1}, dict: {1: 2}, bool: True, int: 1}
    batch = r.Outcome(**{name: made[type(getattr(r.Outcome(), name))] for name in r.Outcome.__struct_fields__})

    together = r.Outcome()
    together.add(batch)

    assert together == batch


def test_row_that_the_database_refuses_is_answered_alone(database: Database) -> None:
    """PostgreSQL says so in answer to the commit; nothing of the request has happened, and all of the others."""
    # given
    world = World(database)
    world.deploy(WAITING)
    ids = [world.start("wait") for _ in range(3)]
    with database.connect_writer() as connection:
        connection.exec_driver_sql(_taken(ids[1]))
    first, bad, last = (_pause(world, id_) for id_ in ids)

    # when
    outcome = world.committer.step([first, bad, last])

    # then
    answers = {id(request): answer for request, answer in outcome.answers}
    assert isinstance(answers[id(bad)], Broken)
    assert isinstance(answers[id(first)], r.Snapshot)
    assert isinstance(answers[id(last)], r.Snapshot)
    paused, running = ExecutionState.PAUSED, ExecutionState.RUNNING
    assert [world.live(id_).state.state for id_ in ids] == [paused, running, paused]
    world.close()


def test_connection_that_is_lost_with_statements_on_their_way_has_written_nothing(
    postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL ends the connection before the commit: the callers are told, and the next try works."""
    # given
    url = postgres_url()
    database = Database(url)
    world = World(database)
    world.deploy(WAITING)
    ids = [world.start("wait") for _ in range(3)]
    ended = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND xact_start < now()"
    )
    send_commit, sent = Writer._send_commit, itertools.count()

    def cut_off(self: Writer) -> Callable[[], bool]:
        if not next(sent):
            with psycopg.connect(url, autocommit=True) as foreign:
                foreign.execute(ended)
        return send_commit(self)

    monkeypatch.setattr(Writer, "_send_commit", cut_off)

    # when
    outcome = world.committer.step([_pause(world, id_) for id_ in ids])

    # then
    assert [type(answer) for _, answer in outcome.answers] == [DatabaseUnavailable] * 3
    assert [world.live(id_).state.state for id_ in ids] == [ExecutionState.RUNNING] * 3

    # when
    outcome = world.committer.step([_pause(world, id_) for id_ in ids])

    # then
    assert [type(answer) for _, answer in outcome.answers] == [r.Snapshot] * 3
    for id_ in ids:
        world.check_replay(id_)
    world.close()
    database.close()


@pytest.mark.parametrize("when", ["decided", "committed"])
def test_connection_that_postgresql_ends_since_it_was_idle_is_a_lost_one(
    postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The caller is told to try again: it was told of a fault of the server, and did not."""
    # given
    url = postgres_url()
    database = Database(url)
    world = World(database)
    world.deploy(WAITING)
    id_ = world.start("wait")
    writer = world._writer

    def let_it_end() -> None:
        backend = writer.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        writer.connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 1")
        with psycopg.connect(url, autocommit=True) as foreign:
            until_gone(foreign, backend)

    with monkeypatch.context() as patch:
        if when == "decided":
            write = unit_of_work.Transaction.write

            def write_late(self: unit_of_work.Transaction, *rows: Any) -> None:
                let_it_end()
                write(self, *rows)

            patch.setattr(unit_of_work.Transaction, "write", write_late)
        else:
            send_commit = writer._send_commit

            def send_late() -> Callable[[], bool]:
                let_it_end()
                return send_commit()

            patch.setattr(writer, "_send_commit", send_late)

        # when
        outcome = world.committer.step([_pause(world, id_)])

    # then
    assert [type(answer) for _, answer in outcome.answers] == [DatabaseUnavailable]

    # when
    outcome = world.committer.step([_pause(world, id_)])

    # then
    assert [type(answer) for _, answer in outcome.answers] == [r.Snapshot]
    world.check_replay(id_)
    world.close()
    database.close()


@pytest.mark.parametrize("ended", [True, False])
def test_commit_that_ends_the_connection_is_in_doubt_whatever_postgresql_says(ended: bool) -> None:
    """A disk that fails while the log is written ends all connections, with a code of its own: it may be there."""
    failed = psycopg.errors.IoError("could not fdatasync file")
    assert is_doubtful(sa.exc.OperationalError("COMMIT", None, failed, connection_invalidated=ended)) is ended


def until_gone(foreign: psycopg.Connection, backend: int) -> None:
    """Wait until PostgreSQL has ended a connection, which it does by itself."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
    end = time.monotonic() + 10
    while foreign.execute(query, (backend,)).fetchone() != (0,):
        assert time.monotonic() < end


def test_commit_in_doubt_does_not_wait_for_another_process_of_the_same_number(postgres_url: Callable[[], str]) -> None:
    """After a restart of PostgreSQL numbers are given anew: the committer waited for as long as the other was there."""
    url = postgres_url()
    database = Database(url)
    writer = LossyWriter(database, "lossy")
    world = World(database, writer=writer)
    world.deploy(WAITING)
    id_ = world.start("wait")
    with psycopg.connect(url) as foreign:
        writer._backend = (foreign.info.backend_pid, *writer._backend[1:])
        writer.faults = ["reply lost"]
        outcome = world.committer.step([_pause(world, id_)])

    assert [type(answer) for _, answer in outcome.answers] == [r.Snapshot]
    world.close()
    database.close()


def test_look_that_finds_nothing_leaves_the_plans_as_they_are(postgres_url: Callable[[], str]) -> None:
    """PostgreSQL planned everything anew after each of them, twice."""
    database = Database(postgres_url())
    world = World(database)
    world.deploy(WAITING)
    for _ in range(3):
        world.start("wait")
    plans = sa.text("SELECT count(*) FROM pg_prepared_statements")
    before = world._writer.connection.execute(plans).scalar_one()

    world.committer.step([r.Sweep(provenance=Provenance("system:leases", "SweepLeases"), at=world.clock.now())])

    assert world._writer.connection.execute(plans).scalar_one() >= before > 3
    world.close()
    database.close()


def test_row_that_is_refused_leaves_nothing_behind_that_fails_the_next_batches(
    postgres_url: Callable[[], str],
) -> None:
    """What PostgreSQL did not prepare, since it came after that row, was taken to be prepared for ever after."""
    # given: looks, as on every server that has just begun
    database = Database(postgres_url())
    world = World(database)
    world.deploy(WAITING)
    ids = [world.start("wait") for _ in range(3)]
    world._writer.discard()
    look = r.Sweep(provenance=Provenance("system:leases", "SweepLeases"), at=world.clock.now())
    for _ in range(3):
        world.committer.step([look])
    world.committer.step([_pause(world, ids[0])])
    with database.connect_writer() as connection:
        connection.exec_driver_sql(_taken(ids[1]))

    # when
    outcome = world.committer.step([_pause(world, ids[1])])

    # then
    assert [type(answer) for _, answer in outcome.answers] == [Broken]

    # when
    outcome = world.committer.step([_pause(world, ids[2])])

    # then
    assert [type(answer) for _, answer in outcome.answers] == [r.Snapshot]
    world.close()
    database.close()


def test_lock_that_is_not_free_is_waited_for_again_whatever_language_postgresql_says_so_in(
    postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller of a German PostgreSQL was told that the database is away, and the connection was dropped."""
    database = Database(postgres_url())
    world = World(database)
    world.deploy(WAITING)
    command = _pause(world, world.start("wait"))
    command.deferred_since = world.clock.monotonic()
    world.clock.advance(timedelta(seconds=1))
    said = psycopg.errors.LockNotAvailable("storniere Anfrage wegen Zeitüberschreitung einer Sperre")

    def refuse(*_: object, **__: object) -> None:
        raise sa.exc.OperationalError("SELECT", None, said)

    monkeypatch.setattr(unit_of_work.Transaction, "lock", refuse)

    outcome = world.committer.step([command])

    assert outcome.deferred == [command]
    world.close()
    database.close()


def test_postgresql_gives_up_a_server_that_vanished_as_soon_as_a_server_gives_up_postgresql(
    postgres_url: Callable[[], str],
) -> None:
    """Two hours: for so long nobody could touch what it had locked, nor read what others had committed since."""
    database = Database(postgres_url())
    writer = Writer(database, "s")
    settings = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
    found = [writer.connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in settings]
    writer.close()
    database.close()
    assert found == ["10", "5", "4", "30000"]


def test_state_of_another_server_is_caught_up(postgres_url: Callable[[], str]) -> None:
    """A cached state evolves by the events that another server wrote meanwhile."""
    database = Database(postgres_url())
    one, two = World(database), World(database, first_id=1_000_000)
    one.deploy(WAITING)
    id_ = one.start("wait")

    two.answer(id_, c.CompleteAction(two.clock.now(), 1, "first"))
    one.answer(id_, c.CompleteAction(one.clock.now(), 2, "second"))

    state = one.live(id_).state
    assert state.state is ExecutionState.SUCCEEDED
    assert state.output == {"r": "first"}
    one.check_replay(id_)
    one.close()
    two.close()
    database.close()


def test_command_for_an_execution_that_has_been_removed_finds_none(database: Database) -> None:
    """Its server remembers it still; what has ended may have gone from the database since."""
    # given
    world = World(database)
    world.deploy(WAITING)
    id_ = world.start("wait")
    for action in (1, 2):
        world.answer(id_, c.CompleteAction(world.clock.now(), action, 7))
    assert world.live(id_).state.state is ExecutionState.SUCCEEDED
    with database.connect_writer() as connection:
        connection.execute(sa.delete(schema.executions))

    # when
    [(_, answer)] = world.committer.step([_pause(world, id_)]).answers

    # then
    assert isinstance(answer, ExecutionNotFound)
    world.close()


def test_refusal_that_comes_after_an_event_leaves_no_trace(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server remembers stays what the database has: the next command is decided on that."""
    # given
    world = World(database)
    world.deploy(WAITING)
    id_ = world.start("wait")

    def refusing(*arguments: Any) -> Any:
        decide(*arguments)
        raise ExecutionWrongState(command="pause", execution=id_, state="odd")

    # when
    with monkeypatch.context() as patched:
        patched.setattr("tradewind_server.runtime.batch.decide", refusing)
        [(_, answer)] = world.committer.step([_pause(world, id_)]).answers

    # then
    assert isinstance(answer, Broken)
    assert isinstance(world.answer(id_, c.CompleteAction(world.clock.now(), 1, 7)), r.Recorded)
    world.check_replay(id_)
    world.close()
