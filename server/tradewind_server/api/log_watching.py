"""WatchEvents: the log of a namespace through a filter, from any place on, at the receiver's own pace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

from tradewind.v1 import execution_pb2
from tradewind.v1 import execution_service_pb2 as pb
from tradewind_server.api import convert, cursors, views
from tradewind_server.api.caller import namespace_of
from tradewind_server.api.pages import Pages
from tradewind_server.api.sight import Sight
from tradewind_server.clock import to_microseconds
from tradewind_server.errors import CursorLost, ServerDraining
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.runtime.selection import Selection
from tradewind_server.runtime.tail import COMMANDS, Follower
from tradewind_server.store import log, reads
from tradewind_server.store.event_filter import states
from tradewind_server.store.log import BEGINNING, Place
from tradewind_server.store.records import StoredEvent

#: A quiet stream says that it is alive, and how far it is, this often.
CHECKPOINT_SECONDS = 15.0
_MOST_BYTES = 1024 * 1024
#: Executions of a snapshot read at once.
_SNAPSHOT_PAGE = 100
#: What a snapshot can be filtered by.
_OF_EXECUTION = frozenset({"execution_id", "root_id", "workflow", "business_key", "tags"})


class LogWatching:
    """Follows namespaces for callers."""

    def __init__(self, runtime: Runtime, pages: Pages) -> None:
        self._runtime = runtime
        self._pages = pages

    async def watch(self, request: pb.WatchEventsRequest) -> AsyncIterator[pb.WatchEventsResponse]:
        """Yield what the request asks for, until the caller has enough.

        Raises:
            FilterInvalid, CursorInvalid, CursorLost, ServerDraining.
        """
        runtime = self._runtime
        watch = _Watch(runtime, self._pages, request)
        follower = runtime.tails.follow(watch.namespace)
        try:
            place = await watch.start()
            follower.is_whole = watch.is_whole
            if request.with_snapshot:
                async for message in watch.snapshot(place):
                    yield message
            elif request.WhichOneof("start") is None:
                # else one who is cut off before the first event could not resume
                yield await watch.checkpoint(place, is_held=follower.is_held)
            is_silent = request.WhichOneof("start") in ("cursor", "from_beginning")
            async for message in watch.follow(follower, place, is_silent=is_silent):
                yield message
        finally:
            follower.close()


class _Watch:
    """One caller's watch."""

    def __init__(self, runtime: Runtime, pages: Pages, request: pb.WatchEventsRequest) -> None:
        self._runtime = runtime
        self._pages = pages
        self._request = request
        self._sight = Sight(runtime)
        self.namespace = namespace_of(request.namespace)
        self._selection = Selection(request.filter, runtime.read)
        #: It begins where nothing of the log is removed, and is to be told if that is no longer so.
        self.is_whole = False
        #: What the snapshot showed of an execution, as long as its events up to there may still come.
        self._shown: dict[str, int] = {}

    async def start(self) -> Place:
        """Return where to start.

        Raises:
            CursorInvalid, CursorLost: the cursor is no good.
        """
        which = self._request.WhichOneof("start")
        self.is_whole = True
        if which == "cursor":
            place = cursors.place(self._pages, self.namespace, self._request.cursor)
            if not await self._runtime.read(lambda c, _: log.holds(c, self.namespace, place)):
                raise CursorLost(execution=place.execution_id, revision=place.revision, field="cursor")
            return place
        if which == "from_beginning" and self._request.from_beginning:
            self.is_whole = False
            return BEGINNING
        return await self._runtime.read(lambda c, _: log.newest(self._runtime.database, c, self.namespace))

    def _cursor(self, place: Place) -> str:
        return cursors.cursor(self._pages, self.namespace, place)

    # --- the snapshot ----------------------------------------------------------------------------

    async def snapshot(self, place: Place) -> AsyncIterator[pb.WatchEventsResponse]:
        """Yield the executions that are open at *place*, or were when it was read."""
        terms = [term for term in self._selection.terms if term.column in _OF_EXECUTION]
        ids = await self._runtime.read(lambda c, _: reads.open_ids(c, self.namespace, terms))
        message = pb.WatchEventsResponse()
        size = 0
        for start in range(0, len(ids), _SNAPSHOT_PAGE):
            for execution in await self._executions(ids[start : start + _SNAPSHOT_PAGE]):
                if size and size + execution.ByteSize() > _MOST_BYTES:
                    message.continued = True
                    yield message
                    message, size = pb.WatchEventsResponse(), 0
                message.snapshot.append(execution)
                self._shown[execution.id] = execution.revision
                size += execution.ByteSize()
        message.cursor = self._cursor(place)
        yield message

    async def _executions(self, ids: Sequence[str]) -> list[execution_pb2.Execution]:
        return await self._runtime.read(
            lambda c, dialect: views.executions(self._sight, c, dialect, reads.executions_by_ids(c, ids), full=True)
        )

    # --- following -------------------------------------------------------------------------------

    async def follow(
        self, follower: Follower, place: Place, *, is_silent: bool
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        """Yield what follows *place*, for ever; if that is nothing yet, and the stream *is_silent*, a checkpoint.

        Raises:
            ServerDraining: the server goes down.
        """
        clock = self._runtime.clock
        told, due = place, clock.monotonic() + (0.0 if is_silent else CHECKPOINT_SECONDS)
        while True:
            if self._runtime.is_draining:
                raise ServerDraining
            events, end, is_cut = await follower.next(place)
            wanted = await self._wanted(events)
            for message in self._messages(wanted, end):
                yield message
                told, due = end, clock.monotonic() + CHECKPOINT_SECONDS
            place = end
            if not events and not is_cut:
                await follower.wait(due - clock.monotonic())
            # what the filter leaves out for long is not read again by one who resumes
            if clock.monotonic() >= due or place.xid - told.xid > COMMANDS:
                yield await self.checkpoint(place, is_held=follower.is_held)
                told, due = place, clock.monotonic() + CHECKPOINT_SECONDS

    async def _wanted(self, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        if self._shown:
            events = [event for event in events if self._is_new(event)]
        return await self._sight.seen(await self._selection.of(events))

    def _is_new(self, event: StoredEvent) -> bool:
        shown = self._shown.get(event.execution_id, 0)
        if shown and event.revision >= shown:
            del self._shown[event.execution_id]
        return event.revision > shown

    # --- messages --------------------------------------------------------------------------------

    def _messages(self, events: Sequence[StoredEvent], end: Place) -> Iterator[pb.WatchEventsResponse]:
        """Yield *events* cut by bytes; the cursor of the last message is *end*."""
        kept = _newest(events) if self._request.coalesce else events
        if not kept:
            return
        message = pb.WatchEventsResponse(coalesced=len(events) - len(kept))
        size = 0
        for n, event in enumerate(kept):
            if size and size + len(event.body) > _MOST_BYTES:
                message.cursor = self._cursor(Place.after(kept[n - 1]))
                yield message
                message, size = pb.WatchEventsResponse(), 0
            message.events.append(convert.shared_event(event))
            size += len(event.body) + 500
        message.cursor = self._cursor(end)
        yield message

    async def checkpoint(self, place: Place, *, is_held: bool) -> pb.WatchEventsResponse:
        """Return the sign that a watch has come to *place*, and what holds the log back there, if anything does."""
        runtime = self._runtime
        now = runtime.clock.now()
        checkpoint = pb.Checkpoint(at=convert.moment(now))
        if is_held:
            held = await runtime.read(lambda c, _: log.blocker(runtime.database, c, self.namespace))
            if held is not None:
                checkpoint.lag.CopyFrom(convert.duration(to_microseconds(now) - held.since))
                checkpoint.held_by = held.who
        return pb.WatchEventsResponse(cursor=self._cursor(place), checkpoint=checkpoint)


def _newest(events: Sequence[StoredEvent]) -> list[StoredEvent]:
    """Return of each execution and each of its tasks the newest event that enters a state, in the order of the log."""
    newest: dict[tuple[str, int], StoredEvent] = {}
    for event in events:
        of_execution, of_task = states(event)
        if of_execution or of_task:
            key = (event.execution_id, event.task_id if of_task else 0)
            newest.pop(key, None)
            newest[key] = event
    return list(newest.values())
