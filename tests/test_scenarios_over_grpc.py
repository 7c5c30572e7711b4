"""The third way to play a scenario: over gRPC, with workers on Work streams, against one server and its real clock.

A scenario needs a world of its own, and is left out, if time must pass in it, if it speaks of moments of the virtual
clock or of calendars, or if it does or says what no call does or carries.

Planted faults that this was seen to find: an event that WatchEvents leaves out, and one that ListEvents leaves out; a
state's message that GetExecution does not tell; a cancelled action that is recorded as failed; a fact that is missing
from a refusal's metadata.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.harness import Served, running
from tests.api.remote_world import RemoteWorld
from tests.long import some_now
from tests.test_scenarios import FILES
from tradewind_server.testing.clock import VirtualClock
from tradewind_server.testing.grammar import Fields
from tradewind_server.testing.scenario import read, run

#: Steps for which there is no call.
NO_CALLS = {"advance", "stop"}
#: What people cannot say in a call: for whom they stand follows from absences.
UNSAID = {"stands_for"}
SECRET = b"between a proxy and its server"

_numbers = itertools.count(1)


def needs_a_world(scenario: Fields) -> bool:
    """Tell whether a scenario cannot be played from outside."""
    steps = [(kind, how or {}) for step in scenario["when"] for kind, how in step.items() if kind != "refused"]
    expected = str([scenario["then"], *(how for kind, how in steps if kind == "expect")])
    return bool(
        scenario["calendars"]
        or VirtualClock().now().strftime("%Y-%m-") in expected
        or any(kind in NO_CALLS or UNSAID & how.keys() or not _fits(how) for kind, how in steps)
    )


def _fits(how: Fields) -> bool:
    """Tell whether a message can carry what is filled in: an object."""
    return isinstance(how.get("data", {}), dict)


SCENARIOS = {path: scenario for path in FILES if not needs_a_world(scenario := read(path))}


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """Give what runs the event loop of the server and of who calls it, whenever one of these tests asks something."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def served(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Give one server for all; it believes the tests who calls, as they have the proxy's secret."""
    secret = tmp_path_factory.mktemp("proxy") / "secret"
    secret.write_bytes(SECRET)
    server = running("", proxy_secret_file=str(secret))
    yield runner.run(server.__aenter__())
    runner.run(server.__aexit__(None, None, None))


@pytest.mark.parametrize("path", some_now(SCENARIOS), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_scenario_over_grpc(path: Path, runner: asyncio.Runner, served: Served) -> None:
    """The behaviour holds for those who call, watch and work."""
    with contextlib.closing(RemoteWorld(runner, served, SECRET, f"scenario{next(_numbers)}")) as world:
        run(SCENARIOS[path], world, world.check)


def test_most_scenarios_are_played_from_outside() -> None:
    """A rule that leaves out too many would pass in silence."""
    assert len(SCENARIOS) >= 135
    kinds = {kind for scenario in SCENARIOS.values() for step in scenario["when"] for kind in step}
    assert {"start", "take", "complete", "fail", "cancel", "rerun", "claim", "submit", "attach", "refused"} <= kinds


@pytest.mark.parametrize(
    "changes",
    [
        {"when": [{"start": {"workflow": "wf"}}, {"advance": "5s"}]},
        {"when": [{"start": {"workflow": "wf"}}, {"stop": {"state": "FAILED"}}]},
        {"when": [{"submit": {"task": "t", "by": "a", "outcome": "done", "stands_for": ["b"]}}]},
        {"when": [{"submit": {"task": "t", "by": "a", "outcome": "done", "data": [1]}}]},
        {"when": [{"expect": {"notifications": [{"at": "2026-01-01T00:00Z"}]}}]},
        {"then": {"output": {"due": "2026-01-02T00:00+00:00"}}},
        {"calendars": {"office": {}}},
    ],
)
def test_what_cannot_be_done_from_outside_is_left_out(changes: dict[str, Any]) -> None:
    """Each reason for itself, and nothing else."""
    plain = {"when": [{"start": {"workflow": "wf"}}, {"pause": None}], "then": {"state": "PAUSED"}, "calendars": {}}
    assert not needs_a_world(plain)
    assert needs_a_world({**plain, **changes})
