"""Changes of human tasks, read once for all who watch inboxes, and told to those whom they may concern.

A thousand people at their screens hear of their own human tasks; what others do must cost them nothing. Lives on the
event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Iterator, Sequence
from typing import TypeAlias

import sqlalchemy as sa

from tradewind_server.errors import CursorLost, DatabaseUnavailable
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.runtime.tail import Follower
from tradewind_server.runtime.waiting import wait
from tradewind_server.store import inboxes, log
from tradewind_server.store.log import Place
from tradewind_server.store.records import StoredEvent

_log = logging.getLogger(__name__)
#: What begins the type of every event of a human task.
_TYPE = "HumanTask"
#: But for this one: nobody's list looks any other than before.
_CHANGES_NOTHING = "HumanTaskSeen"
#: After these there may be others who did it, from whom another one is separate.
_CHANGE_OTHERS = frozenset(
    {"HumanTaskCompleted", "HumanTaskExpired", "HumanTaskVoted", "HumanTaskChanged", "HumanTaskAttachmentAdded",
     "HumanTaskAttachmentWithdrawn"}
)  # fmt: skip
_PAUSE_SECONDS = 1.0
_LONG_SECONDS = 3600.0

#: A human task: execution and action.
Key: TypeAlias = tuple[str, int]


class Inbox:
    """One who watches. `principals` and `sent` are his to change."""

    def __init__(self) -> None:
        #: Whose entries are in the inbox.
        self.principals: Collection[str] = ()
        #: What he has been sent and not been told to forget.
        self.sent: set[Key] = set()
        #: Changed since he last took it.
        self._changed: dict[Key, None] = {}
        #: Some changes are not known: he has to read all of it anew.
        self.is_stale = False
        self._is_reading = False
        self._woken = asyncio.Event()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Read the database for a while: until `sent` says what was found, everything may concern him."""
        self._is_reading = True
        try:
            yield
        finally:
            self._is_reading = False

    def take(self) -> list[Key]:
        """Return what has changed since the last call and may concern him."""
        changed, self._changed = self._changed, {}
        return list(changed)

    async def wait(self, seconds: float) -> None:
        """Wait until there is something to take, or something else to look at, *seconds* at most."""
        await wait(self._woken, seconds)
        self._woken.clear()

    def tell(self, key: Key, asked: frozenset[str]) -> None:
        """A human task has changed that now asks *asked*."""
        if self._is_reading or key in self.sent or not asked.isdisjoint(self.principals):
            self._changed[key] = None
            self._woken.set()

    def wake(self) -> None:
        """Let him look."""
        self._woken.set()


class HumanTaskFeeds:
    """The feeds of all namespaces in which somebody watches."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._by_namespace: dict[str, _Feed] = {}

    @contextlib.contextmanager
    def one_of(self, namespace: str) -> Iterator[tuple[Inbox, asyncio.Event]]:
        """Give an inbox that is told of changes once the event is set; read the list after that."""
        feed = self._by_namespace.get(namespace)
        if feed is None:
            feed = self._by_namespace[namespace] = _Feed(self._runtime, namespace)
        inbox = Inbox()
        feed.inboxes.add(inbox)
        try:
            yield inbox, feed.has_begun
        finally:
            feed.inboxes.discard(inbox)
            if not feed.inboxes:
                feed.stop()
                self._by_namespace.pop(namespace, None)


class _Feed:
    def __init__(self, runtime: Runtime, namespace: str) -> None:
        self._runtime = runtime
        self._namespace = namespace
        self.inboxes: set[Inbox] = set()
        self.has_begun = asyncio.Event()
        self._place: Place | None = None
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """Read no more."""
        self._task.cancel()

    async def _run(self) -> None:
        follower = self._runtime.tails.follow(self._namespace)
        try:
            while not self._runtime.is_draining:
                try:
                    await self._step(follower)
                except CursorLost:
                    # so far behind that some of it has been removed
                    self._place = None
                except (DatabaseUnavailable, sa.exc.DBAPIError) as error:
                    self._runtime.outage.met(error)
                    await asyncio.sleep(_PAUSE_SECONDS)
                except Exception:
                    # who watches would wait for ever
                    _log.exception("changes of human tasks could not be read; trying again")
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            follower.close()
            self.has_begun.set()
            for inbox in self.inboxes:
                inbox.wake()

    async def _step(self, follower: Follower) -> None:
        if self._place is None:
            self._place = await self._runtime.read(lambda c, _: log.newest(self._runtime.database, c, self._namespace))
            if self.has_begun.is_set():
                # not before it is known from where on changes are told: what changed in between would be missed
                self._let_all_read_anew()
            self.has_begun.set()
        events, end, is_cut = await follower.next(self._place)
        changes = [event for event in events if event.type.startswith(_TYPE) and event.type != _CHANGES_NOTHING]
        if changes:
            asked = await self._runtime.read(lambda c, _: _asked(c, changes))
            for inbox in self.inboxes:
                for key, principals in asked.items():
                    inbox.tell(key, principals)
        self._place = end
        if not events and not is_cut:
            await follower.wait(_LONG_SECONDS)

    def _let_all_read_anew(self) -> None:
        for inbox in self.inboxes:
            inbox.is_stale = True
            inbox.wake()


def _asked(connection: sa.Connection, changes: Sequence[StoredEvent]) -> dict[Key, frozenset[str]]:
    """Return in whose inboxes what has changed is, also what only some may do no more since they did another one."""
    since: dict[str, int] = {}
    for event in changes:
        if event.type in _CHANGE_OTHERS:
            since.setdefault(event.execution_id, event.revision)
    keys = dict.fromkeys((event.execution_id, event.action_id) for event in changes)
    keys |= dict.fromkeys(inboxes.written_since(connection, list(since.items())))
    return inboxes.principals(connection, list(keys))
