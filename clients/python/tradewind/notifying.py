"""The calls about notifications, as values. No I/O lives here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from tradewind.calls import Call
from tradewind.models import Page, moment
from tradewind.v1 import notification_pb2
from tradewind.v1 import notification_service_pb2 as pb

_SERVICE = "NotificationService"


@dataclass(frozen=True, slots=True)
class Notification:
    """A message to one recipient."""

    #: The same on every attempt.
    id: str
    execution_id: str
    #: "offered", "reminder" …
    kind: str
    #: "user:NAME" or "group:NAME".
    recipient: str
    #: "PENDING", "SENT", "DEAD".
    state: str
    channel: str
    attempts: int
    #: What the provider calls it, once it is sent.
    provider_id: str
    #: What went wrong last.
    message: str
    created_at: datetime | None
    #: None unless it is PENDING.
    next_at: datetime | None
    #: None while it is PENDING.
    ended_at: datetime | None
    proto: notification_pb2.Notification = field(repr=False, compare=False)

    @classmethod
    def read(cls, proto: notification_pb2.Notification) -> Notification:
        """Read a message."""
        return cls(
            id=proto.id,
            execution_id=proto.execution_id,
            kind=proto.kind,
            recipient=proto.recipient,
            state=notification_pb2.NotificationState.Name(proto.state).removeprefix("NOTIFICATION_STATE_"),
            channel=proto.channel,
            attempts=proto.attempts,
            provider_id=proto.provider_id,
            message=proto.message,
            created_at=moment(proto, "created_at"),
            next_at=moment(proto, "next_at"),
            ended_at=moment(proto, "ended_at"),
            proto=proto,
        )


def notifications(namespace: str, states: Iterable[str], size: int, token: str) -> Call[Page[Notification]]:
    """List notifications, of some states or all."""
    wanted = [notification_pb2.NotificationState.Value(f"NOTIFICATION_STATE_{state}") for state in states]
    request = pb.ListNotificationsRequest(namespace=namespace, states=wanted, page_size=size, page_token=token)

    def read(response: pb.ListNotificationsResponse) -> Page[Notification]:
        return Page([Notification.read(item) for item in response.notifications], response.next_page_token)

    return Call(_SERVICE, "ListNotifications", request, read)


def retry_notifications(namespace: str, ids: Iterable[str]) -> Call[int]:
    """Have some, or all, that were given up sent again."""
    request = pb.RetryNotificationsRequest(namespace=namespace, ids=ids)
    return Call(_SERVICE, "RetryNotifications", request, lambda response: int(response.retried_count))


def send_test_notification(channel: str, to: str) -> Call[str]:
    """Send one now; the answer is the provider's name for it."""
    request = pb.SendTestNotificationRequest(channel=channel, to=to)
    return Call(_SERVICE, "SendTestNotification", request, lambda response: str(response.provider_id))
