"""Every file of tests/scenarios is a behaviour.

It runs on SQLite, and again on PostgreSQL if there is one. What was decided on SQLite is decided once more by the
engine alone, without store, runtime and clock: the same commands must give the same events, to the byte. Those that
need no virtual clock are played over gRPC, too: `test_scenarios_over_grpc.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tradewind_server.engine.commands import Command, StartExecution
from tradewind_server.engine.decide import decide
from tradewind_server.engine.decision import Decision
from tradewind_server.engine.events import TaskFailed, TaskSkipped, TaskSucceeded
from tradewind_server.engine.library import Library
from tradewind_server.engine.state import Execution
from tradewind_server.errors import Refusal
from tradewind_server.lang.specs import EngineCommand, WorkflowSpec
from tradewind_server.runtime import batch
from tradewind_server.runtime.requests import Outcome
from tradewind_server.store.database import Database
from tradewind_server.store.records import StoredEvent
from tradewind_server.store.schema import metadata
from tradewind_server.testing import laws
from tradewind_server.testing.coverage import taken
from tradewind_server.testing.postgres import PrivatePostgres
from tradewind_server.testing.scenario import read, run
from tradewind_server.testing.world import World

FOLDER = Path(__file__).parent / "scenarios"
COMMANDS = {command.value for command in EngineCommand}
FILES = sorted(FOLDER.glob("*/*.yaml"))


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.fixture(scope="module")
def postgresql(postgres: PrivatePostgres) -> Iterator[Database]:
    """One PostgreSQL database for all scenarios, emptied before each."""
    database = Database(postgres.create("scenarios"))
    yield database
    database.close()


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_scenario_on_sqlite(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The behaviour holds on a file of its own, and in the engine alone."""
    decided = _Decided()
    monkeypatch.setattr(batch, "decide", decided.decide)
    database = Database("")
    try:
        _play(path, database)
    finally:
        database.close()
    decided.check_engine_alone()


class _Decided:
    """Everything that the engine was asked, and what it answered."""

    def __init__(self) -> None:
        #: Execution -> (spec, command, library, the events or the refusal's reason).
        self._all: dict[str, list[tuple[WorkflowSpec, Command, Library, list[bytes] | str]]] = {}
        self._last: dict[str, Execution] = {}

    def decide(self, spec: WorkflowSpec, state: Execution | None, command: Command, library: Library) -> Decision:
        """Decide as the engine does, and remember it."""
        id_ = command.execution_id if isinstance(command, StartExecution) else state.id if state else ""
        log = self._all.setdefault(id_, [])
        try:
            decision = decide(spec, state, command, library)
        except Refusal as refusal:
            log.append((spec, command, library, refusal.reason))
            raise
        log.append((spec, command, library, list(decision.bodies)))
        self._last[id_] = decision.state
        return decision

    def check_engine_alone(self) -> None:
        """Ask everything again, from the start of each execution on."""
        assert self._all
        for id_, log in self._all.items():
            state: Execution | None = None
            for spec, command, library, answered in log:
                answer, state = _ask(spec, state, command, library)
                assert answer == answered, f"{id_}: {command}"
            assert state == self._last.get(id_)


def _ask(
    spec: WorkflowSpec, state: Execution | None, command: Command, library: Library
) -> tuple[list[bytes] | str, Execution | None]:
    try:
        decision = decide(spec, state, command, library)
    except Refusal as refusal:
        return refusal.reason, state
    return decision.bodies, decision.state


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_scenario_on_postgresql(path: Path, postgresql: Database) -> None:
    """The same behaviour, to the event, on PostgreSQL."""
    with postgresql.connect_writer() as connection:
        # ten times as fast as TRUNCATE where there are few rows
        connection.exec_driver_sql(
            "".join(f'DELETE FROM "{table.name}";' for table in reversed(metadata.sorted_tables))
        )
    _play(path, postgresql)


def _play(path: Path, database: Database) -> None:
    scenario = read(path)
    world = World(database, open_world=True, calendars=scenario["calendars"])
    try:
        run(scenario, world, partial(laws.check, world))
        for id_ in {event.execution_id for outcome in world.outcomes for event in _events(outcome)}:
            _check_branches(world, id_)
    finally:
        world.close()


def _events(outcome: Outcome) -> list[StoredEvent]:
    return [event for announced in outcome.announcements for event in announced.events]


def _check_branches(world: World, id_: str) -> None:
    """What the coverage of tests says was taken is what the engine says follows."""
    for event, branches in taken(world.spec(id_), world.events(id_)):
        assert isinstance(event, TaskSucceeded | TaskFailed | TaskSkipped)
        assert [branch.target for branch in branches if branch.target not in COMMANDS] == event.next


def test_scenarios_are_found() -> None:
    """An empty folder would pass in silence."""
    assert len(FILES) >= 50
