"""The calls about subscriptions, as values, and where a consumer stands. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypedDict

from tradewind.calls import Call, new_request_id, timestamp
from tradewind.errors import TradewindError, from_refusal
from tradewind.models import DeadLetter, Event, LogUpdate, Page, Subscription, Webhook
from tradewind.v1 import subscription_pb2
from tradewind.v1 import subscription_service_pb2 as pb

_SERVICE = "SubscriptionService"
_ABORTED, _UNAVAILABLE = 10, 14


class SubscriptionOptions(TypedDict, total=False):
    """What can be said when a subscription is made, beside its name and filter; without a start it begins now."""

    #: What it is for.
    description: str
    #: Begin after the update that had this cursor.
    cursor: str
    #: Begin at the beginning of the log.
    from_beginning: bool
    #: Where the server sends the events; without, `consume` takes them.
    webhook: Webhook


def _subscription(response: Any) -> Subscription:
    return Subscription.read(response.subscription)


def create(namespace: str, name: str, filter_: str, options: SubscriptionOptions) -> Call[Subscription]:
    """Make a subscription."""
    wanted = subscription_pb2.Subscription(name=name, filter=filter_, description=options.get("description", ""))
    request = pb.CreateSubscriptionRequest(namespace=namespace, request_id=new_request_id(), subscription=wanted)
    if "webhook" in options:
        wanted.webhook.CopyFrom(options["webhook"].write())
        request.subscription.CopyFrom(wanted)
    if options.get("from_beginning"):
        request.from_beginning = True
    elif options.get("cursor"):
        request.cursor = options["cursor"]
    return Call(_SERVICE, "CreateSubscription", request, _subscription)


def get(namespace: str, name: str) -> Call[Subscription]:
    """Get one."""
    request = pb.GetSubscriptionRequest(namespace=namespace, name=name)
    return Call(_SERVICE, "GetSubscription", request, _subscription)


def page(namespace: str, size: int, token: str) -> Call[Page[Subscription]]:
    """List them."""
    request = pb.ListSubscriptionsRequest(namespace=namespace, page_size=size, page_token=token)

    def read(response: pb.ListSubscriptionsResponse) -> Page[Subscription]:
        return Page([Subscription.read(item) for item in response.subscriptions], response.next_page_token)

    return Call(_SERVICE, "ListSubscriptions", request, read)


def update(
    namespace: str, seen: Subscription, filter_: str | None, description: str | None, webhook: Webhook | None
) -> Call[Subscription]:
    """Change one that was seen, unless somebody else has changed it since."""
    wanted = subscription_pb2.Subscription()
    wanted.CopyFrom(seen.proto)
    wanted.filter = seen.filter if filter_ is None else filter_
    wanted.description = seen.description if description is None else description
    if webhook is not None:
        wanted.webhook.CopyFrom(webhook.write())
    request = pb.UpdateSubscriptionRequest(
        namespace=namespace, request_id=new_request_id(), subscription=wanted, etag=seen.etag
    )
    return Call(_SERVICE, "UpdateSubscription", request, _subscription)


def delete(namespace: str, name: str) -> Call[None]:
    """Remove one; a repeat, whose first answer was lost, is no error."""
    request = pb.DeleteSubscriptionRequest(namespace=namespace, request_id=new_request_id(), name=name)
    return Call(_SERVICE, "DeleteSubscription", request, lambda response: None)


def enable(namespace: str, name: str) -> Call[Subscription]:
    """Let events be handed out."""
    request = pb.EnableSubscriptionRequest(namespace=namespace, request_id=new_request_id(), name=name)
    return Call(_SERVICE, "EnableSubscription", request, _subscription)


def disable(namespace: str, name: str, message: str) -> Call[Subscription]:
    """Let nothing be handed out."""
    request = pb.DisableSubscriptionRequest(
        namespace=namespace, request_id=new_request_id(), name=name, message=message
    )
    return Call(_SERVICE, "DisableSubscription", request, _subscription)


def rewind(namespace: str, name: str, cursor: str, time: datetime | None, from_beginning: bool) -> Call[Subscription]:
    """Move the place: after a cursor, before a moment, to the beginning, or else to the end."""
    request = pb.RewindSubscriptionRequest(namespace=namespace, request_id=new_request_id(), name=name)
    if cursor:
        request.cursor = cursor
    elif time is not None:
        request.time.CopyFrom(timestamp(time))
    elif from_beginning:
        request.beginning = True
    else:
        request.now = True
    return Call(_SERVICE, "RewindSubscription", request, _subscription)


def dead_letters(namespace: str, name: str, size: int, token: str) -> Call[Page[DeadLetter]]:
    """List what a webhook refused too often."""
    request = pb.ListDeadLettersRequest(namespace=namespace, name=name, page_size=size, page_token=token)

    def read(response: pb.ListDeadLettersResponse) -> Page[DeadLetter]:
        return Page([DeadLetter.read(item) for item in response.dead_letters], response.next_page_token)

    return Call(_SERVICE, "ListDeadLetters", request, read)


def retry_dead_letters(namespace: str, name: str, executions: Sequence[str]) -> Call[int]:
    """Have dead letters sent again."""
    request = pb.RetryDeadLettersRequest(
        namespace=namespace, request_id=new_request_id(), name=name, execution_ids=executions
    )
    return Call(_SERVICE, "RetryDeadLetters", request, lambda response: int(response.count))


def discard_dead_letters(namespace: str, name: str, executions: Sequence[str]) -> Call[int]:
    """Give dead letters up."""
    request = pb.DiscardDeadLettersRequest(
        namespace=namespace, request_id=new_request_id(), name=name, execution_ids=executions
    )
    return Call(_SERVICE, "DiscardDeadLetters", request, lambda response: int(response.count))


class Consumption:
    """Where one consumer stands.

    With a *cursor*, which the consumer keeps by itself, a new stream begins after what he was given last; without one,
    after what the server has written down.
    """

    def __init__(self, namespace: str, name: str, consumer: str, credit: int, cursor: str | None) -> None:
        self._open = pb.ConsumeOpen(namespace=namespace, name=name, consumer=consumer, max_unacknowledged=credit)
        self._keeps_cursor = cursor is not None
        self._open.cursor = cursor or ""
        self._epoch = 0

    def request(self) -> pb.ConsumeRequest:
        """Build the request that opens a stream."""
        return pb.ConsumeRequest(open=self._open)

    def receive(self, response: pb.ConsumeResponse) -> LogUpdate | None:
        """Take one response; return what is to be acknowledged once the consumer is done with it, or None."""
        which = response.WhichOneof("message")
        if which == "opened":
            self._epoch = response.opened.subscription.epoch
        if which == "events":
            return LogUpdate(response.events.cursor, tuple(map(Event.read, response.events.events)))
        if which == "checkpoint":
            lag = response.checkpoint.lag.ToTimedelta().total_seconds()
            return LogUpdate(response.checkpoint.cursor, lag=lag)
        return None

    def acknowledge(self, update: LogUpdate) -> pb.ConsumeRequest:
        """Build the request that acknowledges what the consumer is done with."""
        if self._keeps_cursor:
            self._open.cursor = update.cursor
        return pb.ConsumeRequest(acknowledge=pb.Acknowledge(cursor=update.cursor))

    def ended(self, now: Subscription) -> TradewindError:
        """Return why a stream has ended of which that is not known: somebody took over, or it is to be opened again."""
        facts = {"name": now.name, "consumer": now.consumer}
        if now.proto.epoch != self._epoch:
            message = (
                f"Expected to consume subscription '{now.name}' alone, but '{now.consumer}' has taken it over. Stop."
            )
            return from_refusal(_ABORTED, "SUBSCRIPTION_TAKEN_OVER", message, facts)
        return from_refusal(_UNAVAILABLE, "SUBSCRIPTION_CHANGED", "The stream has ended. Call again.", facts)

    def note(self, error: TradewindError) -> None:
        """The stream broke: where somebody has moved the subscription, the consumer's own place is no more."""
        if error.reason == "SUBSCRIPTION_CHANGED":
            self._open.cursor = ""
