"""WatchHumanTasks: a list of human tasks and everything that becomes of it."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Sequence
from typing import Any

from tradewind.v1 import human_task_service_pb2 as pb
from tradewind_server.api import convert, human_task_views
from tradewind_server.api.caller import namespace_of, person
from tradewind_server.api.sight import Sight
from tradewind_server.errors import ServerDraining
from tradewind_server.runtime.human_task_feed import HumanTaskFeeds, Inbox
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.store import inboxes
from tradewind_server.store.filters import HUMAN_TASK_FIELDS, parse_filter
from tradewind_server.store.inboxes import For

#: A quiet stream says that it is alive this often.
_ALIVE_SECONDS = 15.0
_PAGE = 200


class HumanTaskWatching:
    """Follows lists of human tasks for callers."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._feeds = HumanTaskFeeds(runtime)

    async def watch(self, request: pb.WatchHumanTasksRequest) -> AsyncIterator[pb.WatchHumanTasksResponse]:
        """Yield the list, then its changes, until the caller has enough.

        Raises:
            FilterInvalid, PersonUnknown, ServerDraining.
        """
        namespace = namespace_of(request.namespace)
        with self._feeds.one_of(namespace) as (inbox, has_begun):
            watch = _Watch(self._runtime, namespace, request, inbox)
            await has_begun.wait()
            async for message in watch.begin():
                yield message
            async for message in watch.follow():
                yield message


class _Watch:
    """One caller's watch."""

    def __init__(self, runtime: Runtime, namespace: str, request: pb.WatchHumanTasksRequest, inbox: Inbox) -> None:
        self._runtime = runtime
        self._sight = Sight(runtime)
        self._namespace = namespace
        self._terms = parse_filter(request.filter, HUMAN_TASK_FIELDS)
        self._scope = request.scope or pb.HUMAN_TASK_SCOPE_INBOX
        self._who = person()
        #: Whose entries are in the list; it changes when an absence begins or ends.
        self._for = For(self._who.user, ())
        self._inbox = inbox

    async def begin(self) -> AsyncIterator[pb.WatchHumanTasksResponse]:
        """Yield the list as it is now."""
        self._for = await self._runtime.read(lambda c, _: self._for_now(c))
        self._inbox.principals = self._for.principals
        after: inboxes.Place | None = None
        while True:
            with self._inbox.reading():
                rows, message = await self._runtime.read(functools.partial(self._page, after))
            is_complete = message.is_complete = len(rows) < _PAGE
            yield message
            if is_complete:
                return
            after = inboxes.place_of(rows[-1])

    def _for_now(self, connection: Any) -> For:
        now = self._runtime.clock.microseconds()
        return human_task_views.inbox_of(connection, self._namespace, self._who, self._scope, now)

    def _page(self, after: inboxes.Place | None, connection: Any, dialect: Any) -> tuple[Sequence[Any], Any]:
        rows = inboxes.page(connection, self._namespace, self._for, self._terms, _PAGE, after)
        self._inbox.sent.update((row.execution_id, row.action_id) for row in rows)
        found = human_task_views.messages(self._sight, connection, dialect, rows, full=False)
        return rows, pb.WatchHumanTasksResponse(human_tasks=found)

    async def follow(self) -> AsyncIterator[pb.WatchHumanTasksResponse]:
        """Yield what changes, for ever.

        Raises:
            ServerDraining: the server goes down.
        """
        clock = self._runtime.clock
        # also on a stream that is never quiet: an absence begins and ends without an event
        due = clock.monotonic() + _ALIVE_SECONDS
        while True:
            if self._runtime.is_draining:
                raise ServerDraining
            keys = self._inbox.take()
            with self._inbox.reading():
                message = await self._runtime.read(functools.partial(self._news, keys)) if keys else None
            if message is not None:
                yield message
            if self._inbox.is_stale or clock.monotonic() >= due:
                if self._inbox.is_stale or self._for != await self._runtime.read(lambda c, _: self._for_now(c)):
                    self._inbox.is_stale = False
                    async for message in self._anew():
                        yield message
                yield pb.WatchHumanTasksResponse(alive_at=convert.moment(clock.now()))
                due = clock.monotonic() + _ALIVE_SECONDS
            elif not keys:
                await self._inbox.wait(due - clock.monotonic())

    async def _anew(self) -> AsyncIterator[pb.WatchHumanTasksResponse]:
        """Yield the list after an absence has begun or ended, and what is in it no more."""
        before, self._inbox.sent = self._inbox.sent, set()
        async for message in self.begin():
            message.is_complete = False
            yield message
        gone = [f"{execution_id}/a{action_id}" for execution_id, action_id in sorted(before - self._inbox.sent)]
        yield pb.WatchHumanTasksResponse(removed_ids=gone)

    def _news(
        self, keys: Sequence[tuple[str, int]], connection: Any, dialect: Any
    ) -> pb.WatchHumanTasksResponse | None:
        """Return what the caller must hear of *keys*, None for nothing."""
        rows = inboxes.listed(connection, self._namespace, self._for, self._terms, keys)
        there = {(row.execution_id, row.action_id) for row in rows}
        sent = self._inbox.sent
        removed = [key for key in keys if key in sent and key not in there]
        sent -= set(removed)
        sent |= there
        if not rows and not removed:
            return None
        return pb.WatchHumanTasksResponse(
            human_tasks=human_task_views.messages(self._sight, connection, dialect, rows, full=False),
            removed_ids=[f"{execution_id}/a{action_id}" for execution_id, action_id in removed],
        )
