"""Servers die in the middle, and nothing is lost. The long form is `python -m tests.crash`."""

from __future__ import annotations

import pytest

from tests.crash.check import check
from tests.crash.drive import Report, run
from tests.crash.faults import FAULTS, planted
from tradewind_server.testing.postgres import find_binaries

pytestmark = pytest.mark.slow

SEED = 20260101
#: Seconds; longer than an offer waits in these runs (2 s), and shorter than in the long form.
HOLE = 2.5


@pytest.fixture(scope="module")
def report() -> Report:
    """A short run on SQLite."""
    return run(6, SEED, "sqlite", replays=20, longest_hole=HOLE)


def test_killed_server_on_sqlite_loses_nothing(report: Report) -> None:
    """Every acknowledged start and result is there, once, and every execution ends as it should."""
    assert [*report.stuck, *check(report.facts)] == []
    assert len(report.kills) == 6
    assert report.kills_in_flight > 0
    assert any(start.execution_id for start in report.facts.starts.values())


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_checker_finds_planted_fault(report: Report, name: str) -> None:
    """A checker that finds nothing proves nothing."""
    assert check(planted(report.facts, name)) != []


@pytest.mark.skipif(find_binaries() is None, reason="PostgreSQL is not installed")
def test_one_of_two_servers_on_postgresql_killed_loses_nothing() -> None:
    """The other goes on; connections of the database are cut too, and watchers have to reconnect all the time."""
    report = run(4, SEED, "postgresql", replays=20, reconnects=30, longest_hole=HOLE)
    assert [*report.stuck, *check(report.facts)] == []
    assert report.kills_in_flight > 0
    assert report.reconnects >= 30
