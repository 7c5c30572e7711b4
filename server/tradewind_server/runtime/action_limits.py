"""Limits of actions: which a server knows of, and what one batch may hand out under them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterable

from tradewind_server.runtime import requests as r
from tradewind_server.runtime.desk import Desk
from tradewind_server.runtime.tail import Read
from tradewind_server.store import action_limits as store
from tradewind_server.store.action_limits import Limit, Name
from tradewind_server.store.records import Provenance, QueueRow
from tradewind_server.store.statements import Row
from tradewind_server.store.unit_of_work import Transaction

_BY = Provenance("system:limits", "AdoptActions")


class ActionLimits:
    """What a server knows of limits: their names, kept at the desk. Lives on the event loop."""

    def __init__(self, read: Read, ask: Callable[..., Awaitable[object]], desk: Desk) -> None:
        self._read = read
        self._ask = ask
        self._desk = desk
        self._reading = asyncio.Lock()
        #: New to this server: what it has handed out of them is not counted yet.
        self._to_adopt: frozenset[Name] = frozenset()

    async def refresh(self, *, is_news: bool = False) -> None:
        """Learn which actions have a limit; what this server has handed out of them takes part from now on.

        Args:
            is_news: a limit has changed, though perhaps not its name: what waits for it is looked at again.
        """
        async with self._reading:
            # one at a time: what was read later must not be overwritten by what was read before
            names = await self._read(lambda connection, _: store.names(connection))
            self._to_adopt = (self._to_adopt & names) | (names - self._desk.limited)
            if is_news or names != self._desk.limited:
                self._desk.set_limited(names)
            if added := self._to_adopt:
                # after the batch that may be under way, which does not know them yet
                await self._ask(r.Tidy(provenance=_BY, work=lambda tx, _: store.adopt(tx, added)), reserved=True)
                self._to_adopt = frozenset()


@dataclasses.dataclass(slots=True)
class _Left:
    """What is left of a limit in one batch."""

    limit: Limit
    #: None: no bound.
    room: int | None
    has_gone: bool = False


class Ration:
    """What one batch may hand out. Limits are locked before anything else but claims."""

    def __init__(self, transaction: Transaction, limited: frozenset[Name], now: int) -> None:
        self._tx = transaction
        #: As they were known when the batch began.
        self.limited = limited
        self._now = now
        self._locked: dict[Name, Limit] = {}
        self._left: dict[Name, _Left] = {}
        self._slots: list[Row] = []

    def lock(self, requests: Iterable[r.Request]) -> None:
        """Lock what the batch may need; nothing if it hands out nothing that has a limit."""
        wanted: set[Name] = set()
        for request in requests:
            if isinstance(request, r.Claim) and self.limited:
                wanted.update((request.namespace, name) for name, _, _ in request.wanted)
            elif isinstance(request, r.Tidy):
                wanted.update(request.limits)
        if wanted:
            self._locked = store.lock(self._tx, wanted)

    def allowed(self, name: Name, count: int) -> int:
        """Return how many of *count* may be handed out."""
        limit = self._locked.get(name)
        if limit is None:
            return count
        left = self._left.get(name)
        if left is None:
            room = None if limit.concurrency is None else limit.concurrency - store.held(self._tx, limit)
            left = self._left[name] = _Left(limit, room)
        if left.room is not None:
            count = min(count, left.room)
        if limit.rate_count is not None:
            count = min(count, left.limit.allowed(self._now))
        return max(0, count)

    def take(self, name: Name, rows: Iterable[QueueRow]) -> None:
        """Note that *rows* are handed out."""
        left = self._left.get(name)
        if left is None:
            return
        slots = [(row.execution_id, row.action_id, row.namespace, row.name) for row in rows]
        self._slots += slots
        if left.room is not None:
            left.room -= len(slots)
        if left.limit.rate_count is not None and slots:
            left.limit, left.has_gone = left.limit.taken(self._now, len(slots)), True

    def next_at(self, name: Name) -> int | None:
        """Return when the rate lets another one go; None if something else must happen first."""
        left = self._left[name]
        if left.limit.rate_count is None or (left.room is not None and left.room <= 0):
            return None
        return left.limit.next_at()

    def write(self) -> None:
        """Write what was taken."""
        rates = [left.limit for left in self._left.values() if left.has_gone]
        if self._slots or rates:
            store.note(self._tx, sorted(self._slots), rates)
