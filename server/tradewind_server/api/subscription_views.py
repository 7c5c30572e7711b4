"""Rows of subscriptions as messages."""

from __future__ import annotations

from tradewind.v1 import subscription_pb2
from tradewind_server.api import convert, cursors
from tradewind_server.api.pages import Pages
from tradewind_server.store.subscriptions import Subscription


def subscription(pages: Pages, row: Subscription) -> subscription_pb2.Subscription:
    """Return a subscription without what changes by itself."""
    message = subscription_pb2.Subscription(
        namespace=row.namespace,
        name=row.name,
        description=row.description,
        filter=row.filter,
        state=subscription_pb2.SubscriptionState.Value(f"SUBSCRIPTION_STATE_{row.state}"),
        state_message=row.message,
        cursor=cursors.cursor(pages, row.namespace, row.place),
        consumer=row.consumer,
        epoch=row.consumers,
        etag=str(row.revision),
        created_at=convert.timestamp(row.created_at),
        updated_at=convert.timestamp(row.updated_at),
        updated_by=convert.actor(row.actor),
    )
    if row.acknowledged_at:
        message.acknowledged_at.CopyFrom(convert.timestamp(row.acknowledged_at))
    return message
