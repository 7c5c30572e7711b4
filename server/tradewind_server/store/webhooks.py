"""Where a subscription's events are sent, as it is stored with the subscription."""

from __future__ import annotations

import msgspec


class Webhook(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A receiver, and how patient the server is with it."""

    url: str
    #: Values may hold secret('name').
    headers: dict[str, str] = {}
    #: Name of the secret to sign with; "" not to sign.
    signing_secret: str = ""
    timeout_us: int = 10_000_000
    #: After so many attempts, or so long after the first, an event is a dead letter.
    max_attempts: int = 20
    max_age_us: int = 86_400_000_000


def encode(webhook: Webhook) -> bytes:
    """Return *webhook* as it is stored."""
    return msgspec.json.encode(webhook)


decode = msgspec.json.Decoder(Webhook).decode
