"""The watch hub: wakes those who follow an execution. Lives on the event loop.

What it hands on is a shortcut: a follower that falls behind loses its shortcut, not an event, and goes on from the
table at its own pace.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Iterable, Mapping, Sequence

from tradewind_server.runtime.requests import Announcement, Snapshot
from tradewind_server.store.records import StoredEvent

#: Batches kept for a follower before it has to read the table, and bytes of them, unless one alone has more.
_KEPT = 256
KEPT_BYTES = 1024 * 1024


class Follower:
    """Who follows one execution, and what he has not been given yet."""

    def __init__(self, hub: Hub, execution_id: str, *, end_only: bool) -> None:
        self._hub = hub
        #: Woken by the end of the execution only.
        self.end_only = end_only
        self.execution_id = execution_id
        self._pending: collections.deque[Announcement] = collections.deque()
        self._pending_bytes = 0
        self._wake = asyncio.Event()
        #: Something happened that is not in `_pending`.
        self._unseen = False
        #: Up to where the follower has everything.
        self.revision = 0

    def push(self, announcement: Announcement | None) -> None:
        """Wake the follower; None: something happened, on another server or out of sight."""
        if announcement is None:
            self._unseen = True
        elif self.end_only and announcement.ended is None:
            return
        else:
            self._pending.append(announcement)
            self._pending_bytes += announcement.size_bytes
            while len(self._pending) > _KEPT or (self._pending_bytes > KEPT_BYTES and len(self._pending) > 1):
                self._pop()
        self._wake.set()

    def _pop(self) -> Announcement:
        announcement = self._pending.popleft()
        self._pending_bytes -= announcement.size_bytes
        return announcement

    @property
    def pending_bytes(self) -> int:
        """Return how many bytes of events it keeps."""
        return self._pending_bytes

    async def wait(self, timeout: float) -> bool:
        """Wait until something may have happened, *timeout* seconds at most; return whether it has."""
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    def take(self) -> Sequence[StoredEvent]:
        """Return what is known to follow its revision, all that has piled up at once: who is behind pays less for each.

        Nothing means: nothing has happened, unless it `has_missed` something.
        """
        found: list[StoredEvent] = []
        newest = self.revision
        while self._pending:
            events = self._pending[0].events
            if events[-1].revision > newest:
                if events[0].revision != newest + 1:
                    break
                found.extend(events)
                newest = events[-1].revision
            self._pop()
        return found

    @property
    def has_missed(self) -> bool:
        """Tell whether something happened that only the table knows; ask before it, and after `take`."""
        return self._unseen or bool(self._pending)

    def take_end(self) -> Snapshot | None:
        """Return the ended execution, if what was pushed since the last time says so."""
        ended = self._pending[-1].ended if self._pending else None
        self._pending.clear()
        self._pending_bytes = 0
        return ended

    def take_unseen(self) -> bool:
        """Tell whether something happened since the last time that only the table knows."""
        unseen, self._unseen = self._unseen, False
        return unseen

    def close(self) -> None:
        """Stop following."""
        self._hub.remove(self)


class Hub:
    """All subscriptions of this server."""

    def __init__(self) -> None:
        self._by_execution: dict[str, set[Follower]] = {}
        self._is_going = False

    def follow(self, execution_id: str, *, end_only: bool = False) -> Follower:
        """Follow an execution, or only wait for its end, from now on; read the table after this, not before."""
        follower = Follower(self, execution_id, end_only=end_only)
        self._by_execution.setdefault(execution_id, set()).add(follower)
        if self._is_going:
            follower.push(None)
        return follower

    def remove(self, follower: Follower) -> None:
        """Forget a follower."""
        group = self._by_execution.get(follower.execution_id)
        if group is not None:
            group.discard(follower)
            if not group:
                del self._by_execution[follower.execution_id]

    def announce(self, announcements: Iterable[Announcement]) -> None:
        """Hand the events of a batch to their followers."""
        for announcement in announcements:
            for follower in self._by_execution.get(announcement.execution_id, ()):
                follower.push(announcement)

    def wake(self, execution_ids: Iterable[str]) -> None:
        """Wake the followers of executions that changed on another server."""
        for id_ in execution_ids:
            for follower in self._by_execution.get(id_, ()):
                follower.push(None)

    def go_away(self) -> None:
        """Wake everybody, also who comes later: the server goes down."""
        self._is_going = True
        for group in self._by_execution.values():
            for follower in group:
                follower.push(None)

    def wake_all(self) -> None:
        """Wake everybody who follows events."""
        for group in self._by_execution.values():
            for follower in group:
                if not follower.end_only:
                    follower.push(None)

    def followed(self) -> list[str]:
        """Return the executions whose events somebody follows."""
        return [id_ for id_, group in self._by_execution.items() if any(not s.end_only for s in group)]

    def wake_behind(self, revisions: Mapping[str, int]) -> None:
        """Wake those who follow events and lack some: a slow poll as a net under lost notifications."""
        for id_, revision in revisions.items():
            for follower in self._by_execution.get(id_, ()):
                if not follower.end_only and follower.revision < revision:
                    follower.push(None)

    def awaited(self) -> list[str]:
        """Return the executions whose end somebody waits for."""
        return [id_ for id_, group in self._by_execution.items() if any(s.end_only for s in group)]

    @property
    def count(self) -> int:
        """Return how many subscriptions there are."""
        return sum(map(len, self._by_execution.values()))
