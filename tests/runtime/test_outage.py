"""What the log says while the database is away."""

from __future__ import annotations

import sqlite3

import pytest
import sqlalchemy as sa

from tradewind_server.errors import DatabaseUnavailable
from tradewind_server.runtime.outage import Outage

REFUSED = DatabaseUnavailable(problem="connection refused")
FULL = sa.exc.OperationalError("INSERT", None, sqlite3.OperationalError("database or disk is full"))


class Passing:
    """Seconds that pass when the test says so."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what has been logged since the last question."""
    found = caplog.messages[:]
    caplog.clear()
    return found


def test_database_that_is_away_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Five lines a second said it, each the same."""
    caplog.set_level("INFO")
    now = Passing()
    outage = Outage(now)
    for _ in range(90):
        for _ in range(5):
            outage.met(REFUSED)
        now.seconds += 1
    assert messages(caplog) == ["the database does not do as it should: connection refused; trying again"] * 2
    outage.met(FULL)
    assert messages(caplog) == ["the database does not do as it should: database or disk is full; trying again"]


def test_end_of_an_outage_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """When something is answered, and nothing has failed for a while: some still meet a connection that is lost."""
    caplog.set_level("INFO")
    now = Passing()
    outage = Outage(now)
    outage.answered()
    assert messages(caplog) == []
    outage.met(REFUSED)
    now.seconds += 20
    outage.met(REFUSED)
    now.seconds += 2
    outage.answered()
    assert messages(caplog) == ["the database does not do as it should: connection refused; trying again"]
    now.seconds += 4
    outage.answered()
    outage.answered()
    assert messages(caplog) == ["the database does as it should again, after 20 s"]
    outage.met(REFUSED)
    assert len(messages(caplog)) == 1
