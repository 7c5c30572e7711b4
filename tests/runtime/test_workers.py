"""The workers of a server, and what it knows of limits: nothing is lost while something is being written."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tradewind_server.clock import SystemClock
from tradewind_server.errors import DatabaseUnavailable
from tradewind_server.runtime import workers as registry
from tradewind_server.runtime.action_limits import ActionLimits
from tradewind_server.runtime.desk import Desk, Session
from tradewind_server.runtime.workers import Workers
from tradewind_server.store import action_limits
from tradewind_server.store import workers as store


class Table:
    """What is written of workers, at the pace of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written: list[tuple[list[tuple[str, bool]], list[str]]] = []
        self.began, self.go = asyncio.Event(), asyncio.Event()
        self.go.set()
        self.failure: Exception | None = None
        monkeypatch.setattr(registry, "_GATHER_SECONDS", 0.0)
        monkeypatch.setattr(store, "write", self._write)
        self.workers = Workers("server", self._nothing, self.ask, SystemClock(), Desk())

    def _write(self, _: Any, rows: Any, gone: Any) -> None:
        self.written.append(([(row.id, row.is_going) for row in rows], list(gone)))

    async def _nothing(self, _: Any) -> Any:
        return {}

    async def ask(self, request: Any, *, reserved: bool) -> object:
        """Carry out a request, once the test lets it."""
        self.began.set()
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        return request.work(None, None)


async def test_a_worker_that_drains_while_it_is_written_down_is_shown_to_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(monkeypatch)
    session = Session("s", "worker", "default", {"work": 0})
    table.go.clear()
    table.workers.open_stream(session, lambda _: None)
    writing = asyncio.create_task(table.workers.flush())
    await table.began.wait()

    session.is_going = True
    table.workers.note_going("s")
    table.go.set()
    await writing
    await table.workers.flush()

    assert table.written == [([("s", False)], []), ([("s", True)], [])]


async def test_what_could_not_be_written_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(monkeypatch)
    table.failure = DatabaseUnavailable(problem="away")
    table.workers.open_stream(Session("a", "worker", "default", {"work": 0}), lambda _: None)
    table.workers.open_stream(Session("b", "worker", "default", {"work": 0}), lambda _: None)
    table.workers.close_stream("b")
    with pytest.raises(DatabaseUnavailable):
        await table.workers.flush()

    table.failure = None
    await table.workers.flush()

    assert table.written == [([("a", False)], ["b"])]


async def test_what_is_in_hand_takes_part_in_a_limit_also_if_that_could_not_be_written_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = ("default", "work")
    desk, table = Desk(), Table(monkeypatch)
    adopted: list[frozenset[tuple[str, str]]] = []
    monkeypatch.setattr(action_limits, "adopt", lambda _, names: adopted.append(names))

    async def names(_: Any) -> Any:
        return frozenset([name])

    limits = ActionLimits(names, table.ask, desk)
    table.failure = DatabaseUnavailable(problem="away")
    with pytest.raises(DatabaseUnavailable):
        await limits.refresh()
    assert desk.limited == {name}

    table.failure = None
    await limits.refresh()
    await limits.refresh()

    assert adopted == [{name}]
