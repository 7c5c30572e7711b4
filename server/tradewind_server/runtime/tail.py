"""The end of each namespace's log, read once for all who follow it. Lives on the event loop.

What is kept here is a shortcut: a follower that falls behind reads the table at its own pace until it is here again.
"""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from tradewind_server.errors import CursorLost, DatabaseUnavailable
from tradewind_server.runtime.outage import Outage
from tradewind_server.runtime.waiting import wait
from tradewind_server.store import log as store
from tradewind_server.store.database import Database
from tradewind_server.store.log import Place, Stretch
from tradewind_server.store.records import StoredEvent
from tradewind_server.store.statements import Dialect

log = logging.getLogger(__name__)

#: Commands read at once.
COMMANDS = 200
#: What is kept for those who are a little behind.
_KEPT_BYTES = 16 * 1024 * 1024
_KEPT_STRETCHES = 64
#: Other servers' news may be lost: the table is looked at this often without any.
_NET_SECONDS = 1.0
#: What an older transaction holds back is looked for again after this long, and then ever more rarely.
_HELD_SECONDS = 0.005
_HELD_MOST_SECONDS = 0.25
_PAUSE_SECONDS = 1.0


#: Runs a query on a snapshot of the database, off the loop.
Read = Callable[[Callable[[sa.Connection, Dialect], Any]], Awaitable[Any]]


class Tail:
    """The newest stretches of one namespace's log. It keeps itself up to date as long as somebody follows."""

    def __init__(self, namespace: str, database: Database, read: Read, outage: Outage) -> None:
        self._namespace = namespace
        self._database = database
        self._read = read
        self._outage = outage
        self._stretches: collections.deque[Stretch] = collections.deque()
        self._bytes = 0
        self._followers: set[asyncio.Event] = set()
        self._wake = asyncio.Event()
        #: Where what is kept ends; None while that is not known.
        self._end: Place | None = None
        #: Something is committed that an older transaction holds back.
        self.is_held = False
        self._task = asyncio.create_task(self._run())

    @property
    def count(self) -> int:
        """Return how many follow."""
        return len(self._followers)

    def join(self, woken: asyncio.Event) -> None:
        """Wake somebody whenever there may be more."""
        self._followers.add(woken)

    def leave(self, woken: asyncio.Event) -> None:
        """Wake somebody no more."""
        self._followers.discard(woken)

    def note(self) -> None:
        """Something has been committed."""
        self._wake.set()

    def stop(self) -> None:
        """Read no more."""
        self._task.cancel()

    def after(self, place: Place) -> tuple[Sequence[StoredEvent], Place] | None:
        """Return what is known to follow *place*, and where that ends; None: ask the table."""
        if self._end is None or place < (self._stretches[0].start if self._stretches else self._end):
            return None
        following: Stretch | None = None
        # from the newest back: most who follow are there
        for stretch in reversed(self._stretches):
            if stretch.end <= place:
                break
            following = stretch
        if following is None:
            return (), place
        if following.start >= place:
            return following.events, following.end
        return [event for event in following.events if Place.after(event) > place], following.end

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except (DatabaseUnavailable, sa.exc.DBAPIError) as error:
                self._outage.met(error)
            except Exception:
                # whoever follows would wait for ever
                log.exception("the log of '%s' could not be read; trying again", self._namespace)
            await wait(self._wake, _PAUSE_SECONDS)

    async def _follow(self) -> None:
        if self._end is None:
            self._end = await self._read(lambda c, _: store.newest(self._database, c, self._namespace))
            self.wake_followers()
        pause = _HELD_SECONDS
        while True:
            self._wake.clear()
            stretch = await self._next(self._end)
            self.is_held = stretch.is_held
            if stretch.events:
                self._keep(stretch)
                pause = _HELD_SECONDS
            if stretch.is_cut:
                continue
            if stretch.is_held:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _HELD_MOST_SECONDS)
            else:
                await wait(self._wake, _NET_SECONDS if self._database.is_postgresql else None)

    async def _next(self, start: Place) -> Stretch:
        stretch: Stretch = await self._read(
            lambda c, _: store.read(self._database, c, self._namespace, start, COMMANDS)
        )
        return stretch

    def _keep(self, stretch: Stretch) -> None:
        self._stretches.append(stretch)
        self._bytes += _size(stretch)
        self._end = stretch.end
        while len(self._stretches) > 1 and (self._bytes > _KEPT_BYTES or len(self._stretches) > _KEPT_STRETCHES):
            self._bytes -= _size(self._stretches.popleft())
        self.wake_followers()

    def wake_followers(self) -> None:
        """Let all who follow look."""
        for woken in self._followers:
            woken.set()


def _size(stretch: Stretch) -> int:
    return sum(len(event.body) + 500 for event in stretch.events)


class Follower:
    """One who follows the log of a namespace. Close it."""

    def __init__(self, tails: Tails, namespace: str, tail: Tail) -> None:
        self._tails = tails
        self._namespace = namespace
        self._tail = tail
        self._woken = asyncio.Event()
        #: It has been where nothing of the log is removed, and is to be told if that is no longer so.
        self.is_whole = False
        tail.join(self._woken)

    async def next(self, place: Place) -> tuple[Sequence[StoredEvent], Place, bool]:
        """Return what follows *place*, where that ends, and whether there is more for certain.

        Raises:
            CursorLost: some of what followed has been removed.
        """
        self._woken.clear()
        known = self._tail.after(place)
        if known is not None:
            return (*known, False)
        stretch, floor = await self._tails.look(self._namespace, place)
        if self.is_whole and place < floor:
            raise CursorLost(execution=place.execution_id, revision=place.revision, field="cursor")
        self.is_whole = self.is_whole or stretch.end >= floor
        return stretch.events, stretch.end, stretch.is_cut

    def wake(self) -> None:
        """End the wait: something else than the log has changed."""
        self._woken.set()

    @property
    def is_held(self) -> bool:
        """Tell whether something is committed that may not be read yet."""
        return self._tail.is_held

    async def wait(self, seconds: float) -> None:
        """Wait until there may be more, *seconds* at most."""
        await wait(self._woken, seconds)
        self._woken.clear()

    def close(self) -> None:
        """Follow no more."""
        self._tail.leave(self._woken)
        self._tails.tidy(self._namespace)


class Tails:
    """The tails of all namespaces that somebody follows."""

    def __init__(self, database: Database, read: Read, outage: Outage) -> None:
        self._database = database
        self._read = read
        self._outage = outage
        self._by_namespace: dict[str, Tail] = {}

    def follow(self, namespace: str) -> Follower:
        """Follow the log of *namespace* from now on."""
        tail = self._by_namespace.get(namespace)
        if tail is None:
            tail = self._by_namespace[namespace] = Tail(namespace, self._database, self._read, self._outage)
        return Follower(self, namespace, tail)

    async def look(self, namespace: str, place: Place) -> tuple[Stretch, Place]:
        """Read the table after *place*; return that, and the place up to which events may have been removed."""

        def work(connection: sa.Connection, _: Dialect) -> tuple[Stretch, Place]:
            stretch = store.read(self._database, connection, namespace, place, COMMANDS)
            return stretch, store.floor(connection, namespace)

        found: tuple[Stretch, Place] = await self._read(work)
        return found

    def tidy(self, namespace: str) -> None:
        """Give up a tail that nobody follows."""
        tail = self._by_namespace.get(namespace)
        if tail is not None and not tail.count:
            tail.stop()
            del self._by_namespace[namespace]

    def note(self, namespaces: Iterable[str]) -> None:
        """Something has been committed in these."""
        for namespace in namespaces:
            tail = self._by_namespace.get(namespace)
            if tail is not None:
                tail.note()

    def note_all(self) -> None:
        """Something may have been committed anywhere."""
        for tail in self._by_namespace.values():
            tail.note()

    def wake_all(self) -> None:
        """Wake all who follow: the server goes down."""
        for tail in self._by_namespace.values():
            tail.wake_followers()

    def stop(self) -> None:
        """Read no more."""
        for tail in self._by_namespace.values():
            tail.stop()

    @property
    def count(self) -> int:
        """Return how many follow."""
        return sum(tail.count for tail in self._by_namespace.values())
