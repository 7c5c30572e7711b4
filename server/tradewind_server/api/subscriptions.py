"""SubscriptionService: what is kept of subscriptions, and the stream that hands their events out."""

from __future__ import annotations

from typing import Any

from tradewind.v1 import subscription_pb2
from tradewind.v1 import subscription_service_pb2 as pb
from tradewind.v1 import subscription_service_pb2_grpc as service
from tradewind_server.api import convert, cursors, subscription_views
from tradewind_server.api.caller import client, namespace_of, provenance
from tradewind_server.api.consuming import ConsumeStream
from tradewind_server.api.pages import Pages, fill
from tradewind_server.api.webhooks import webhook_of
from tradewind_server.errors import FieldInvalid, ServerDraining, SubscriptionNotFound
from tradewind_server.runtime import subscriptions as r
from tradewind_server.runtime.notify import PREFIX
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.store import parked
from tradewind_server.store import subscriptions as store
from tradewind_server.store.filters import EVENT_FIELDS, parse_filter
from tradewind_server.store.log import BEGINNING
from tradewind_server.store.subscriptions import Start, Subscription

_MOST_TEXT = 1000
_MOST_FILTER = 10_000
_MOST_EXECUTIONS = 1000
#: Commands that are looked at to tell how far a subscription is behind.
_BEHIND_COMMANDS = 1000


class Subscriptions(service.SubscriptionServiceServicer):
    """Keeps subscriptions."""

    def __init__(self, runtime: Runtime, pages: Pages) -> None:
        self._runtime = runtime
        self._pages = pages

    # --- making and changing ---------------------------------------------------------------------

    async def CreateSubscription(self, request: pb.CreateSubscriptionRequest, context: Any) -> Any:
        """Make one."""
        given, namespace = request.subscription, namespace_of(request.namespace)
        caller = provenance(context, "CreateSubscription", request.request_id)
        now = self._runtime.clock.microseconds()
        wanted = Subscription(
            namespace,
            _name(given.name),
            **_content(given),
            created_at=now,
            updated_at=now,
            actor=caller.actor,
        )
        answer = await self._runtime.ask(
            r.Create(
                provenance=caller,
                namespace=namespace,
                name=wanted.name,
                digest=convert.digest_of(request),
                wanted=wanted,
                start=self._start(namespace, request),
                size_bytes=500 + request.ByteSize(),
            )
        )
        assert isinstance(answer, tuple)
        row, created = answer
        self._runtime.webhooks_changed.set()
        return pb.CreateSubscriptionResponse(subscription=self._message(row), created=created)

    def _start(self, namespace: str, request: pb.CreateSubscriptionRequest) -> Start:
        which = request.WhichOneof("start")
        if which == "cursor":
            return Start(after=cursors.place(self._pages, namespace, request.cursor))
        return Start(after=BEGINNING) if which and request.from_beginning else Start()

    async def UpdateSubscription(self, request: pb.UpdateSubscriptionRequest, context: Any) -> Any:
        """Replace what a caller may choose."""
        changes = _content(request.subscription)
        name = _name(request.subscription.name)
        row = await self._change(request, context, "UpdateSubscription", name, changes, request.etag)
        return pb.UpdateSubscriptionResponse(subscription=self._message(row))

    async def EnableSubscription(self, request: pb.EnableSubscriptionRequest, context: Any) -> Any:
        """Let events be handed out again."""
        name = convert.required("name", request.name)
        changes = {"state": store.ACTIVE, "message": ""}
        row = await self._change(request, context, "EnableSubscription", name, changes)
        return pb.EnableSubscriptionResponse(subscription=self._message(row))

    async def DisableSubscription(self, request: pb.DisableSubscriptionRequest, context: Any) -> Any:
        """Let nothing be handed out."""
        name = convert.required("name", request.name)
        changes = {"state": store.DISABLED, "message": convert.reason_of(request.message)}
        row = await self._change(request, context, "DisableSubscription", name, changes)
        return pb.DisableSubscriptionResponse(subscription=self._message(row))

    async def _change(
        self, request: Any, context: Any, command: str, name: str, changes: dict[str, Any], etag: str = ""
    ) -> Subscription:
        caller = provenance(context, command, request.request_id)
        changes |= {"updated_at": self._runtime.clock.microseconds(), "actor": caller.actor}
        namespace = namespace_of(request.namespace)
        row = await self._runtime.ask(
            r.Change(
                provenance=caller,
                namespace=namespace,
                name=name,
                digest=convert.digest_of(request),
                changes=changes,
                etag=etag,
                size_bytes=500 + request.ByteSize(),
            )
        )
        await self._tell(namespace, name)
        assert isinstance(row, Subscription)
        return row

    async def DeleteSubscription(self, request: pb.DeleteSubscriptionRequest, context: Any) -> Any:
        """Remove one."""
        namespace, name = namespace_of(request.namespace), convert.required("name", request.name)
        try:
            await self._runtime.ask(
                r.Delete(
                    provenance=provenance(context, "DeleteSubscription", request.request_id),
                    namespace=namespace,
                    name=name,
                    digest=convert.digest_of(request),
                    etag=request.etag,
                )
            )
        except SubscriptionNotFound:
            if not request.allow_missing:
                raise
        await self._tell(namespace, name)
        return pb.DeleteSubscriptionResponse()

    async def RewindSubscription(self, request: pb.RewindSubscriptionRequest, context: Any) -> Any:
        """Move its place."""
        namespace, name = namespace_of(request.namespace), convert.required("name", request.name)
        row = await self._runtime.ask(
            r.Rewind(
                provenance=provenance(context, "RewindSubscription", request.request_id),
                namespace=namespace,
                name=name,
                digest=convert.digest_of(request),
                to=self._to(namespace, request),
            )
        )
        await self._tell(namespace, name)
        assert isinstance(row, Subscription)
        return pb.RewindSubscriptionResponse(subscription=self._message(row))

    def _to(self, namespace: str, request: pb.RewindSubscriptionRequest) -> Start:
        which = request.WhichOneof("to")
        if which == "cursor":
            return Start(after=cursors.place(self._pages, namespace, request.cursor))
        if which == "time":
            return Start(moment=convert.microseconds_of("time", request.time))
        if which == "beginning" and request.beginning:
            return Start(after=BEGINNING)
        if which == "now" and request.now:
            return Start()
        problem = "none is given"
        raise FieldInvalid(name="to", expected="one of cursor, time, beginning and now", problem=problem)

    async def _tell(self, namespace: str, name: str) -> None:
        """Let whoever hands the events out on this server know that it is not his any more, and take it anew."""
        await self._runtime.consumers.check([(namespace, name)])
        self._runtime.webhooks_changed.set()

    # --- reading ---------------------------------------------------------------------------------

    async def GetSubscription(self, request: pb.GetSubscriptionRequest, context: Any) -> Any:
        """Return one, and how far it is behind."""
        namespace, name = namespace_of(request.namespace), convert.required("name", request.name)

        def work(connection: Any, _: Any) -> pb.GetSubscriptionResponse:
            row = store.get(connection, namespace, name)
            message = self._message(row)
            message.pending_events = self._note_lag(connection, row, message, _BEHIND_COMMANDS)
            counts = parked.counts(connection, namespace, name)
            message.waiting_executions, message.dead_letters = counts.get(False, 0), counts.get(True, 0)
            return pb.GetSubscriptionResponse(subscription=message)

        return await self._runtime.read(work)

    async def ListSubscriptions(self, request: pb.ListSubscriptionsRequest, context: Any) -> Any:
        """Return one page of them."""
        namespace = namespace_of(request.namespace)
        size = convert.page_size_of(request.page_size)
        query = ("subscriptions", namespace)
        position = self._pages.position(query, request.page_token)
        after = str(position[0]) if position else ""

        def work(connection: Any, _: Any) -> pb.ListSubscriptionsResponse:
            def messages(rows: Any) -> list[subscription_pb2.Subscription]:
                made = [self._message(row) for row in rows]
                for row, message in zip(rows, made, strict=True):
                    self._note_lag(connection, row, message, 1)
                return made

            rows = store.page(connection, namespace, after, size + 1)
            found = fill(rows, messages, size)
            token = self._pages.next(query, rows, len(found), lambda row: (row.name,))
            return pb.ListSubscriptionsResponse(subscriptions=found, next_page_token=token)

        return await self._runtime.read(work)

    def _note_lag(
        self, connection: Any, row: Subscription, message: subscription_pb2.Subscription, commands: int
    ) -> int:
        """Say how old the oldest event after the place is; return how many there are in the next *commands*."""
        since, count = store.behind(connection, row, commands)
        if since is not None:
            message.lag.CopyFrom(convert.duration(self._runtime.clock.microseconds() - since))
        return count

    def _message(self, row: Subscription) -> subscription_pb2.Subscription:
        return subscription_views.subscription(self._pages, row)

    # --- dead letters ----------------------------------------------------------------------------

    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, context: Any) -> Any:
        """Return one page of what was refused too often."""
        namespace, name = namespace_of(request.namespace), convert.required("name", request.name)
        size = convert.page_size_of(request.page_size)
        query = ("dead letters", namespace, name)
        position = self._pages.position(query, request.page_token)
        after = str(position[0]) if position else ""

        def work(connection: Any, _: Any) -> pb.ListDeadLettersResponse:
            store.get(connection, namespace, name)
            rows = parked.dead(connection, namespace, name, after, size + 1)
            found = fill(rows, lambda some: [subscription_views.dead_letter(row) for row in some], size)
            token = self._pages.next(query, rows, len(found), lambda row: (row.execution_id,))
            return pb.ListDeadLettersResponse(dead_letters=found, next_page_token=token)

        return await self._runtime.read(work)

    async def RetryDeadLetters(self, request: pb.RetryDeadLettersRequest, context: Any) -> Any:
        """Have some sent again."""
        return pb.RetryDeadLettersResponse(count=await self._settle(request, context, r.RetryDead, "RetryDeadLetters"))

    async def DiscardDeadLetters(self, request: pb.DiscardDeadLettersRequest, context: Any) -> Any:
        """Give some up."""
        count = await self._settle(request, context, r.DiscardDead, "DiscardDeadLetters")
        return pb.DiscardDeadLettersResponse(count=count)

    async def _settle(self, request: Any, context: Any, kind: type[r.RetryDead | r.DiscardDead], command: str) -> int:
        if len(request.execution_ids) > _MOST_EXECUTIONS:
            expected, problem = f"at most {_MOST_EXECUTIONS}", f"there are {len(request.execution_ids)}"
            raise FieldInvalid(name="execution_ids", expected=expected, problem=problem)
        namespace, name = namespace_of(request.namespace), convert.required("name", request.name)
        count = await self._runtime.ask(
            kind(
                provenance=provenance(context, command, request.request_id),
                namespace=namespace,
                name=name,
                digest=convert.digest_of(request),
                executions=[convert.name_of("execution_ids", id_) for id_ in request.execution_ids],
                at=self._runtime.clock.microseconds(),
            )
        )
        assert isinstance(count, int)
        self._runtime.consumers.wake((namespace, name))
        return count

    # --- the stream ------------------------------------------------------------------------------

    async def Consume(self, request_iterator: Any, context: Any) -> Any:
        """Hand the events of one out."""
        if self._runtime.is_draining:
            raise ServerDraining
        caller = provenance(context, "Consume", "")
        with self._runtime.streams.one_of(client()):
            async for message in ConsumeStream(self._runtime, self._pages, caller).serve(request_iterator):
                yield message


def _name(given: str) -> str:
    """Return the name of a subscription that a caller makes or changes."""
    if given.startswith(PREFIX):
        expected, problem = f"a name that does not begin with {PREFIX}", "the server keeps those"
        raise FieldInvalid(name="name", expected=expected, problem=problem, field="subscription.name")
    return convert.required("subscription.name", given)


def _content(given: subscription_pb2.Subscription) -> dict[str, Any]:
    """Return what a caller chooses of a subscription.

    Raises:
        FilterInvalid, FieldInvalid: it is out of range.
    """
    for name, text, most in (("description", given.description, _MOST_TEXT), ("filter", given.filter, _MOST_FILTER)):
        if len(text) > most:
            expected, problem = f"at most {most} characters", f"there are {len(text)}"
            raise FieldInvalid(name=name, expected=expected, problem=problem, field=f"subscription.{name}")
    parse_filter(given.filter, EVENT_FIELDS)
    return {
        "description": convert.text_of(given.description, _MOST_TEXT),
        "filter": given.filter,
        "webhook": webhook_of(given.webhook) if given.HasField("webhook") else b"",
    }
