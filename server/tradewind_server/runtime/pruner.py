"""Removes executions that are no longer kept, in small steps through the committer, beside what else it has to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tradewind_server.clock import Clock
from tradewind_server.errors import QueueFull, ServerDraining
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.tail import Read
from tradewind_server.settings import Settings
from tradewind_server.store import retention
from tradewind_server.store.records import Provenance

#: Everything is looked at again this often: a tree may have been in use, or a rule is new.
_AGAIN_SECONDS = 3600.0
_WHO = Provenance("system:retention", "RemoveExecutions")


class Pruner:
    """Looks for what is due and has it removed. Several servers do so at once; each tree goes once."""

    def __init__(
        self, read: Read, ask: Callable[[r.Request], Awaitable[object]], clock: Clock, settings: Settings
    ) -> None:
        self._read = read
        self._ask = ask
        self._clock = clock
        self._rows = settings.retention_rows
        self._rules: list[retention.Rule] = []
        self._places: retention.Places = {}
        self._forget_at = 0.0

    async def run(self) -> None:
        """Remove all that is due."""
        try:
            while await self._take_out():
                await self._empty()
            await self._empty()
        except (QueueFull, ServerDraining):
            return  # there is better to do; what is left is found again

    async def _take_out(self) -> bool:
        """Take out what one look finds; return whether there may be more."""
        now = self._clock.microseconds()
        rules = await self._read(lambda connection, _: retention.rules(connection))
        if rules != self._rules or self._clock.monotonic() >= self._forget_at:
            self._rules, self._places = rules, {}
            self._forget_at = self._clock.monotonic() + _AGAIN_SECONDS
        due: retention.Due = await self._read(lambda connection, _: retention.due(connection, now, self._places))
        if due.roots:
            await self._tidy(lambda transaction, in_use: retention.take_out(transaction, due.roots, in_use))
        self._places = due.places
        return due.has_more

    async def _empty(self) -> None:
        while await self._tidy(lambda transaction, _: retention.remove(transaction, self._rows)):
            continue

    async def _tidy(self, work: Callable[[Any, Any], int]) -> int:
        """Have *work* done, then leave the committer to others for as long as that took."""
        began = self._clock.monotonic()
        done = await self._ask(r.Tidy(provenance=_WHO, work=work))
        await asyncio.sleep(self._clock.monotonic() - began)
        assert isinstance(done, int)
        return done
