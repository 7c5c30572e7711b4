"""The whole command line at once, for who wants to look at it; the command `tradewind` loads what it is asked for."""

from __future__ import annotations

from tradewind_server.cli.entry import application

app = application()
