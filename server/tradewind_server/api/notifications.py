"""NotificationService."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tradewind.v1 import notification_pb2
from tradewind.v1 import notification_service_pb2 as pb
from tradewind.v1 import notification_service_pb2_grpc as service
from tradewind_server.api import convert
from tradewind_server.api.caller import check_notifier, namespace_of, provenance
from tradewind_server.api.pages import Pages
from tradewind_server.errors import FieldInvalid
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.store import notifications
from tradewind_server.store.notifications import Key, Notification

_MOST_IDS = 1000
_PREFIX = "NOTIFICATION_STATE_"
_STATES: dict[int, str] = {
    notification_pb2.NotificationState.Value(f"{_PREFIX}{state}"): state for state in notifications.STATES
}

#: Sends a test over a channel to somebody; returns the provider's name for it.
TryChannel = Callable[[str, str], Awaitable[str]]


class Notifications(service.NotificationServiceServicer):
    """Shows the outbox."""

    def __init__(self, runtime: Runtime, pages: Pages, try_channel: TryChannel) -> None:
        self._runtime = runtime
        self._pages = pages
        self._try_channel = try_channel

    async def ListNotifications(self, request: pb.ListNotificationsRequest, context: Any) -> Any:
        """Return one page, and counts."""
        namespace = namespace_of(request.namespace)
        states = [_state_of(number) for number in request.states] or list(notifications.STATES)
        size = convert.page_size_of(request.page_size)
        query = ("notifications", namespace, *sorted(states))
        position: list[Any] = self._pages.position(query, request.page_token)
        after: Key = (str(position[0]), int(position[1]), int(position[2])) if position else ("", 0, 0)

        def work(connection: Any, _: Any) -> pb.ListNotificationsResponse:
            rows = notifications.page(connection, namespace, states, after, size + 1)
            counts = notifications.counts(connection, namespace)
            taken = min(len(rows), size)
            return pb.ListNotificationsResponse(
                notifications=map(_message, rows[:taken]),
                next_page_token=self._pages.next(query, rows, taken, lambda row: row.key),
                pending_count=counts.get(notifications.PENDING, 0),
                sent_count=counts.get(notifications.SENT, 0),
                dead_count=counts.get(notifications.DEAD, 0),
            )

        return await self._runtime.read(work)

    async def RetryNotifications(self, request: pb.RetryNotificationsRequest, context: Any) -> Any:
        """Have dead ones sent again."""
        check_notifier()
        namespace, keys = namespace_of(request.namespace), _keys_of(request.ids)
        now = self._runtime.clock.microseconds()

        def work(transaction: Any, _: Any) -> int:
            transaction.has_written = True
            return notifications.retry(transaction.connection, namespace, keys, now)

        caller = provenance(context, "RetryNotifications", "")
        count = await self._runtime.ask(r.Tidy(provenance=caller, work=work))
        assert isinstance(count, int)
        self._runtime.notifications_changed.set()
        return pb.RetryNotificationsResponse(retried_count=count)

    async def SendTestNotification(self, request: pb.SendTestNotificationRequest, context: Any) -> Any:
        """Send one now."""
        check_notifier()
        channel = convert.required("channel", request.channel)
        return pb.SendTestNotificationResponse(
            provider_id=await self._try_channel(channel, convert.required("to", request.to))
        )


def _state_of(number: int) -> str:
    if number not in _STATES:
        raise FieldInvalid(name="states", expected="states of notifications", problem=f"one is {number}")
    return _STATES[number]


def _keys_of(ids: Any) -> list[Key]:
    if len(ids) > _MOST_IDS:
        raise FieldInvalid(name="ids", expected=f"at most {_MOST_IDS}", problem=f"there are {len(ids)}")
    keys = []
    for id_ in ids:
        key = notifications.key_of(id_)
        if key is None:
            problem = f"one is '{id_:.80}'"
            raise FieldInvalid(name="ids", expected="ids of notifications", problem=problem)
        keys.append(key)
    return keys


def _message(row: Notification) -> notification_pb2.Notification:
    message = notification_pb2.Notification(
        id=row.id,
        namespace=row.namespace,
        execution_id=row.execution_id,
        revision=row.revision,
        kind=row.kind,
        recipient=row.recipient,
        state=notification_pb2.NotificationState.Value(f"{_PREFIX}{row.state}"),
        channel=row.channel,
        attempts=row.attempts,
        provider_id=row.provider_id,
        message=row.message,
        created_at=convert.timestamp(row.created_at),
    )
    if row.state == notifications.PENDING:
        message.next_at.CopyFrom(convert.timestamp(row.next_at))
    else:
        message.ended_at.CopyFrom(convert.timestamp(row.ended_at))
    return message
