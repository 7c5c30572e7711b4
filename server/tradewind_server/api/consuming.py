"""The Consume stream: one consumer, events out, acknowledgements in.

What is sent and not acknowledged is bounded by the credit. Acknowledgements are written one at a time: what comes while
one is under way is written together.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterator

import grpc

from tradewind.v1 import subscription_service_pb2 as pb
from tradewind_server.api import convert, cursors, subscription_views
from tradewind_server.api.caller import namespace_of
from tradewind_server.api.log_watching import CHECKPOINT_SECONDS
from tradewind_server.api.pages import Pages
from tradewind_server.api.sight import Sight
from tradewind_server.errors import (
    FieldInvalid,
    Refusal,
    ServerDraining,
    StreamViolation,
    SubscriptionChanged,
    SubscriptionTakenOver,
)
from tradewind_server.runtime import subscriptions as r
from tradewind_server.runtime.committer import Broken
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.runtime.selection import Selection
from tradewind_server.runtime.tail import COMMANDS, Follower
from tradewind_server.store import log
from tradewind_server.store import subscriptions as store
from tradewind_server.store.log import BEGINNING, Place
from tradewind_server.store.records import Provenance, StoredEvent
from tradewind_server.store.subscriptions import Subscription

_DEFAULT_CREDIT = 1000
_MOST_CREDIT = 10_000
_MOST_BYTES = 1024 * 1024
#: A consumer that acknowledges each event costs this much time of the log at most: one write in it.
_FLUSH_SECONDS = 0.05


class ConsumeStream:
    """One stream, from ConsumeOpen to its end."""

    def __init__(self, runtime: Runtime, pages: Pages, caller: Provenance) -> None:
        self._runtime = runtime
        self._pages = pages
        self._caller = caller
        self._sight = Sight(runtime)
        self._id = runtime.ids.opaque()
        self._credit = _DEFAULT_CREDIT
        #: Ends of what is sent and not acknowledged, each with its number of events.
        self._unacknowledged: collections.deque[tuple[Place, int]] = collections.deque()
        #: What has passed the filter and is not sent yet, and where it ends.
        self._pending: collections.deque[StoredEvent] = collections.deque()
        #: What is acknowledged, what of it is being written, and what is written and to be told.
        self._acknowledged: Place | None = None
        self._written: Place | None = None
        self._told: Place | None = None
        self._has_news = asyncio.Event()
        self._ended: Exception | None = None
        self._is_over = False
        self._is_lost = False

    async def serve(self, incoming: AsyncIterator[pb.ConsumeRequest]) -> AsyncIterator[pb.ConsumeResponse]:
        """Yield what the consumer is to get.

        Raises:
            Refusal: the stream cannot go on.
        """
        first = await anext(aiter(incoming), None)
        if first is None:
            return
        self._row = row = await self._open(first)
        self._selection = Selection(row.filter, self._runtime.read)
        self._sent = row.place
        key = (row.namespace, row.name)
        consumers, follower = self._runtime.consumers, self._runtime.tails.follow(row.namespace)
        self._follower = follower
        tasks: list[asyncio.Task[None]] = []
        try:
            # whoever had it learns of it at once if he is here
            await consumers.check([key])
            consumers.enter(key, row.epoch, self._lose, follower.wake)
            tasks += [asyncio.create_task(self._listen(incoming)), asyncio.create_task(self._flush())]
            opened = pb.ConsumeOpened(subscription=subscription_views.subscription(self._pages, row))
            yield pb.ConsumeResponse(opened=opened)
            async for message in self._follow(follower):
                yield message
            if self._acknowledged is not None and await self._runtime.ask(self._advance(self._acknowledged)):
                self._written = self._acknowledged
                yield self._confirmed(self._acknowledged)
        finally:
            for task in tasks:
                task.cancel()
            consumers.leave(key, row.epoch)
            follower.close()
            self._write_rest()

    # --- the beginning and the end ---------------------------------------------------------------

    async def _open(self, first: pb.ConsumeRequest) -> Subscription:
        if first.WhichOneof("message") != "open":
            raise StreamViolation(expected="ConsumeOpen first", got=first.WhichOneof("message"))
        wanted = first.open
        namespace, name = namespace_of(wanted.namespace), convert.required("name", wanted.name)
        self._credit = wanted.max_unacknowledged or _DEFAULT_CREDIT
        if not 1 <= self._credit <= _MOST_CREDIT:
            field, problem = "max_unacknowledged", f"it is {self._credit}"
            raise FieldInvalid(name=field, expected=f"from 1 to {_MOST_CREDIT}", problem=problem)
        place = cursors.place(self._pages, namespace, wanted.cursor) if wanted.cursor else None
        called = self._caller.actor.partition(":")[2]
        consumer = convert.name_of("consumer", wanted.consumer) or called or "unnamed"
        row = await self._runtime.ask(
            r.Take(
                provenance=self._caller, namespace=namespace, name=name, owner=self._id, consumer=consumer, place=place
            )
        )
        assert isinstance(row, Subscription)
        return row

    def _lose(self) -> None:
        self._is_lost = True
        self._follower.wake()

    async def _why_lost(self) -> Refusal:
        """Return why the subscription is not this stream's any more."""
        name = self._row.name
        try:
            row = await self._runtime.read(lambda c, _: store.get(c, self._row.namespace, name))
        except Refusal as refusal:
            return refusal
        if row.owner != self._id:
            return SubscriptionTakenOver(name=name, consumer=row.consumer)
        return SubscriptionChanged(name=name)

    # --- to the consumer -------------------------------------------------------------------------

    async def _follow(self, follower: Follower) -> AsyncIterator[pb.ConsumeResponse]:
        clock = self._runtime.clock
        follower.is_whole = self._sent != BEGINNING
        place, due = self._sent, clock.monotonic() + CHECKPOINT_SECONDS
        while not self._is_over:
            if self._told is not None:
                acknowledged, self._told = self._told, None
                yield self._confirmed(acknowledged)
            # right before the next look, which forgets who woke it
            await self._check()
            has_more = False
            if not self._pending:
                events, place, has_more = await follower.next(place)
                self._pending.extend(await self._sight.seen(await self._selection.of(events)))
            for events_message in self._messages(place):
                yield events_message
                due = clock.monotonic() + CHECKPOINT_SECONDS
            if self._pending or not has_more:
                # with something left the credit is used up: an acknowledgement wakes
                await follower.wait(max(0.0, due - clock.monotonic()) if not self._pending else CHECKPOINT_SECONDS)
            is_far = place.xid - self._sent.xid > COMMANDS
            if not self._pending and (clock.monotonic() >= due or is_far):
                yield await self._checkpoint(place, is_held=follower.is_held)
                due = clock.monotonic() + CHECKPOINT_SECONDS

    async def _check(self) -> None:
        if self._ended is not None:
            raise self._ended
        if self._is_lost:
            raise await self._why_lost()
        if self._runtime.is_draining:
            raise ServerDraining

    def _messages(self, end: Place) -> list[pb.ConsumeResponse]:
        """Return of what is pending as much as the credit allows, cut by bytes."""
        room = self._credit - sum(count for _, count in self._unacknowledged)
        messages: list[pb.ConsumeResponse] = []
        while self._pending and room > 0:
            chunk: list[StoredEvent] = []
            size = 0
            while self._pending and len(chunk) < room:
                size += len(self._pending[0].body) + 500
                if chunk and size > _MOST_BYTES:
                    break
                chunk.append(self._pending.popleft())
            room -= len(chunk)
            self._sent = Place.after(chunk[-1]) if self._pending else end
            self._unacknowledged.append((self._sent, len(chunk)))
            batch = pb.ConsumedEvents(events=map(convert.shared_event, chunk), cursor=self._cursor(self._sent))
            messages.append(pb.ConsumeResponse(events=batch))
        return messages

    async def _checkpoint(self, place: Place, *, is_held: bool) -> pb.ConsumeResponse:
        self._sent = max(self._sent, place)
        checkpoint = pb.ConsumeCheckpoint(cursor=self._cursor(place))
        if is_held:
            runtime = self._runtime
            held = await runtime.read(lambda c, _: log.blocker(runtime.database, c, self._row.namespace))
            if held is not None:
                checkpoint.lag.CopyFrom(convert.duration(runtime.clock.microseconds() - held.since))
        return pb.ConsumeResponse(checkpoint=checkpoint)

    def _confirmed(self, place: Place) -> pb.ConsumeResponse:
        return pb.ConsumeResponse(acknowledged=pb.Acknowledged(cursor=self._cursor(place)))

    def _cursor(self, place: Place) -> str:
        return cursors.cursor(self._pages, self._row.namespace, place)

    # --- from the consumer -----------------------------------------------------------------------

    async def _listen(self, incoming: AsyncIterator[pb.ConsumeRequest]) -> None:
        try:
            async for message in incoming:
                self._take(message)
        except Refusal as refusal:
            self._ended = refusal
        except grpc.RpcError:
            self._is_over = True
        else:
            self._is_over = True
        self._follower.wake()

    def _take(self, message: pb.ConsumeRequest) -> None:
        which = message.WhichOneof("message")
        if which != "acknowledge":
            raise StreamViolation(expected="Acknowledge", got=which)
        place = cursors.place(self._pages, self._row.namespace, message.acknowledge.cursor)
        if place > self._sent:
            raise StreamViolation(expected="a cursor of this stream", got="one of something that was not sent")
        while self._unacknowledged and self._unacknowledged[0][0] <= place:
            self._unacknowledged.popleft()
        if self._acknowledged is None or place > self._acknowledged:
            self._acknowledged = place
            self._has_news.set()
        self._follower.wake()

    async def _flush(self) -> None:
        """Write what is acknowledged, once at a time."""
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            place = self._acknowledged
            assert place is not None
            try:
                is_ours = await self._runtime.ask(self._advance(place))
            except (Refusal, Broken) as error:
                self._ended = error
                break
            self._written = place
            if not is_ours:
                self._is_lost = True
                break
            self._told = place
            self._follower.wake()
            await asyncio.sleep(_FLUSH_SECONDS)
        self._follower.wake()

    def _write_rest(self) -> None:
        """Have the last acknowledgement written; nobody waits for it."""
        if self._acknowledged is not None and self._acknowledged != self._written and not self._is_lost:
            self._runtime.tell(self._advance(self._acknowledged))

    def _advance(self, place: Place) -> r.Advance:
        row, at = self._row, self._runtime.clock.microseconds()
        return r.Advance(
            provenance=self._caller, namespace=row.namespace, name=row.name, epoch=row.epoch, place=place, at=at
        )
