"""WatchHumanTasks: a list of human tasks and everything that becomes of it."""

from __future__ import annotations

import asyncio
import collections
import functools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypeAlias

from tradewind.v1 import human_task_service_pb2 as pb
from tradewind_server.api import convert, human_task_views
from tradewind_server.api.caller import namespace_of, person
from tradewind_server.api.sight import Sight
from tradewind_server.clock import to_microseconds
from tradewind_server.errors import ServerDraining
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.runtime.tail import Follower
from tradewind_server.store import human_tasks, log
from tradewind_server.store.filters import HUMAN_TASK_FIELDS, parse_filter
from tradewind_server.store.human_tasks import For
from tradewind_server.store.log import Place
from tradewind_server.store.records import StoredEvent

#: A quiet stream says that it is alive this often.
_ALIVE_SECONDS = 15.0
_PAGE = 200
#: What begins the type of every event of a human task.
_TYPE = "HumanTask"
#: Stretches of the log that are remembered: all who are up to date ask for the same one.
_KEPT = 64

#: Human tasks that changed, each with whom it asks.
Changed: TypeAlias = Mapping[tuple[str, int], frozenset[str]]


class HumanTaskWatching:
    """Follows lists of human tasks for callers."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._changes = _Changes(runtime)

    async def watch(self, request: pb.WatchHumanTasksRequest) -> AsyncIterator[pb.WatchHumanTasksResponse]:
        """Yield the list, then its changes, until the caller has enough.

        Raises:
            FilterInvalid, PersonUnknown, ServerDraining.
        """
        watch = _Watch(self._runtime, self._changes, request)
        follower = self._runtime.tails.follow(watch.namespace)
        try:
            place = await watch.start()
            async for message in watch.begin():
                yield message
            async for message in watch.follow(follower, place):
                yield message
        finally:
            follower.close()


class _Changes:
    """Which human tasks a stretch of the log changes and whom they ask, read once for all who watch."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known: collections.OrderedDict[tuple[str, Place, Place], asyncio.Future[Changed]] = (
            collections.OrderedDict()
        )

    async def between(self, namespace: str, start: Place, end: Place, events: Sequence[StoredEvent]) -> Changed:
        """Return what *events*, all from *start* to *end*, change.

        Raises:
            DatabaseUnavailable.
        """
        stretch = (namespace, start, end)
        known = self._known.get(stretch)
        if known is None:
            known = self._known[stretch] = asyncio.ensure_future(self._read(namespace, events))
            # if all who wait go away, nobody asks how it ended
            known.add_done_callback(lambda done: done.cancelled() or done.exception())
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        try:
            # shielded: a caller that goes away must not take it from the others
            return await asyncio.shield(known)
        except Exception:
            self._known.pop(stretch, None)
            raise

    async def _read(self, namespace: str, events: Sequence[StoredEvent]) -> Changed:
        keys = list({(event.execution_id, event.action_id): None for event in events if event.type.startswith(_TYPE)})
        if not keys:
            return {}
        found: Changed = await self._runtime.read(lambda c, _: human_tasks.principals(c, namespace, keys))
        return found


class _Watch:
    """One caller's watch."""

    def __init__(self, runtime: Runtime, changes: _Changes, request: pb.WatchHumanTasksRequest) -> None:
        self._runtime = runtime
        self._changes = changes
        self._sight = Sight(runtime)
        self.namespace = namespace_of(request.namespace)
        self._terms = parse_filter(request.filter, HUMAN_TASK_FIELDS)
        self._scope = request.scope or pb.HUMAN_TASK_SCOPE_INBOX
        self._who = person()
        #: Whose entries are in the list; it changes when an absence begins or ends.
        self._inbox = For(self._who.user, ())
        #: What the caller has been sent and not been told to forget.
        self._sent: set[tuple[str, int]] = set()

    async def start(self) -> Place:
        """Return where in the log the list is at least."""
        return await self._runtime.read(lambda c, _: log.newest(self._runtime.database, c, self.namespace))

    async def begin(self) -> AsyncIterator[pb.WatchHumanTasksResponse]:
        """Yield the list as it is now."""
        self._inbox = await self._runtime.read(lambda c, _: self._inbox_now(c))
        after: human_tasks.Place | None = None
        while True:
            rows, message = await self._runtime.read(functools.partial(self._page, after))
            is_complete = message.is_complete = len(rows) < _PAGE
            yield message
            if is_complete:
                return
            after = human_tasks.place_of(rows[-1])

    def _inbox_now(self, connection: Any) -> For:
        now = to_microseconds(self._runtime.clock.now())
        return human_task_views.inbox_of(connection, self.namespace, self._who, self._scope, now)

    def _page(self, after: human_tasks.Place | None, connection: Any, dialect: Any) -> tuple[Sequence[Any], Any]:
        rows = human_tasks.inbox(connection, self.namespace, self._inbox, self._terms, _PAGE, after)
        self._sent.update((row.execution_id, row.action_id) for row in rows)
        found = human_task_views.messages(self._sight, connection, dialect, rows, full=False)
        return rows, pb.WatchHumanTasksResponse(human_tasks=found)

    async def follow(self, follower: Follower, place: Place) -> AsyncIterator[pb.WatchHumanTasksResponse]:
        """Yield what changes after *place*, for ever.

        Raises:
            ServerDraining: the server goes down.
        """
        clock = self._runtime.clock
        # also on a stream that is never quiet: an absence begins and ends without an event
        due = clock.monotonic() + _ALIVE_SECONDS
        while True:
            if self._runtime.is_draining:
                raise ServerDraining
            keys, place, is_cut = await self._changed(follower, place)
            message = await self._runtime.read(functools.partial(self._news, keys)) if keys else None
            if message is not None:
                yield message
            if clock.monotonic() >= due:
                if self._inbox != await self._runtime.read(lambda c, _: self._inbox_now(c)):
                    async for message in self._anew():
                        yield message
                yield pb.WatchHumanTasksResponse(alive_at=convert.moment(clock.now()))
                due = clock.monotonic() + _ALIVE_SECONDS
            if not keys and not is_cut:
                await follower.wait(due - clock.monotonic())

    async def _anew(self) -> AsyncIterator[pb.WatchHumanTasksResponse]:
        """Yield the list after an absence has begun or ended, and what is in it no more."""
        before, self._sent = self._sent, set()
        async for message in self.begin():
            message.is_complete = False
            yield message
        gone = [f"{execution_id}/a{action_id}" for execution_id, action_id in sorted(before - self._sent)]
        yield pb.WatchHumanTasksResponse(removed_ids=gone)

    async def _changed(self, follower: Follower, place: Place) -> tuple[list[tuple[str, int]], Place, bool]:
        """Return what changed after *place* and may concern the caller, where that ends, and whether there is more."""
        events, end, is_cut = await follower.next(place)
        changed = await self._changes.between(self.namespace, place, end, events) if events else {}
        mine = [
            key for key, asked in changed.items() if key in self._sent or not asked.isdisjoint(self._inbox.principals)
        ]
        return mine, end, is_cut

    def _news(
        self, keys: Sequence[tuple[str, int]], connection: Any, dialect: Any
    ) -> pb.WatchHumanTasksResponse | None:
        """Return what the caller must hear of *keys*, None for nothing."""
        rows = human_tasks.listed(connection, self.namespace, self._inbox, self._terms, keys)
        there = {(row.execution_id, row.action_id) for row in rows}
        removed = [key for key in keys if key in self._sent and key not in there]
        self._sent -= set(removed)
        self._sent |= there
        if not rows and not removed:
            return None
        return pb.WatchHumanTasksResponse(
            human_tasks=human_task_views.messages(self._sight, connection, dialect, rows, full=False),
            removed_ids=[f"{execution_id}/a{action_id}" for execution_id, action_id in removed],
        )
