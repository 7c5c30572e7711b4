"""Rows of subscriptions as messages."""

from __future__ import annotations

from tradewind.v1 import subscription_pb2
from tradewind_server.api import convert, cursors
from tradewind_server.api.pages import Pages
from tradewind_server.store import webhooks
from tradewind_server.store.parked import Parked
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
    if row.webhook:
        message.webhook.CopyFrom(_webhook(webhooks.decode(row.webhook)))
    return message


def _webhook(stored: webhooks.Webhook) -> subscription_pb2.Webhook:
    return subscription_pb2.Webhook(
        url=stored.url,
        headers=stored.headers,
        signing_secret=stored.signing_secret,
        timeout=convert.duration(stored.timeout_us),
        max_attempts=stored.max_attempts,
        max_age=convert.duration(stored.max_age_us),
    )


def dead_letter(row: Parked) -> subscription_pb2.DeadLetter:
    """Return what was refused too often."""
    return subscription_pb2.DeadLetter(
        execution_id=row.execution_id,
        revision=row.revision,
        last_revision=row.through,
        attempts=row.attempts,
        first_attempt_at=convert.timestamp(row.first_at),
        given_up_at=convert.timestamp(row.given_up_at),
        message=row.message,
    )
