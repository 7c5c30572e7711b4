"""What the log says when SQLite's disk is full."""

from __future__ import annotations

import asyncio
import logging
import sqlite3

import pytest
import sqlalchemy as sa

from tradewind_server.bootstrap import Server
from tradewind_server.runtime import outage
from tradewind_server.settings import Settings

PATIENCE = 10.0


class Listening(logging.Handler):
    """Keeps the first line of a log."""

    def __init__(self) -> None:
        super().__init__()
        self.line: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line."""
        if not self.line.done():
            self.line.set_result(record.getMessage())


@pytest.mark.slow
async def test_full_disk_is_logged_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It came with the statement and a link to the driver's documentation, three lines each time."""
    # given
    server = await Server.start(Settings(listen="127.0.0.1:0", database="", shutdown_grace_seconds=0))
    listening = Listening()
    log = logging.getLogger(outage.__name__)
    log.addHandler(listening)

    def refuse() -> None:
        raise sa.exc.OperationalError("PRAGMA", None, sqlite3.OperationalError("database or disk is full"))

    try:
        # when
        monkeypatch.setattr(server.runtime.database, "copy_back", refuse)
        server.runtime.commands += 1
        line = await asyncio.wait_for(listening.line, PATIENCE)
    finally:
        log.removeHandler(listening)
        await server.stop()

    # then
    assert line == "the database does not do as it should: database or disk is full; trying again"
