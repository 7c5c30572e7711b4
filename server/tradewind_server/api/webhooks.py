"""Webhooks as callers describe them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from google.protobuf import duration_pb2

from tradewind.v1 import subscription_pb2
from tradewind_server.errors import FieldInvalid, ParameterInvalid
from tradewind_server.runtime.notify import Unusable, targets
from tradewind_server.store import webhooks
from tradewind_server.store.webhooks import Webhook

_MOST_URL = 2000
_MOST_HEADERS = 20
_MOST_HEADER = 4096
_MOST_ATTEMPTS = 1000
_SECOND = 1_000_000
#: Shortest and longest, microseconds.
_TIMEOUTS = (_SECOND, 60 * _SECOND)
_AGES = (_SECOND, 30 * 86_400 * _SECOND)
#: Source: RFC 9110, token.
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
#: What the server says itself.
_OURS = frozenset({"content-type", "content-length", "host", "transfer-encoding", "connection"})
_SECRET_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,64}")


def webhook_of(given: subscription_pb2.Webhook) -> bytes:
    """Return a webhook as it is stored.

    Raises:
        FieldInvalid: a part of it is out of range.
    """
    default = Webhook(url="")
    return webhooks.encode(
        Webhook(
            url=_url(given.url),
            headers=_headers(dict(given.headers)),
            signing_secret=_secret(given.signing_secret),
            timeout_us=_microseconds("timeout", given.timeout, _TIMEOUTS) or default.timeout_us,
            max_attempts=_attempts(given.max_attempts) or default.max_attempts,
            max_age_us=_microseconds("max_age", given.max_age, _AGES) or default.max_age_us,
        )
    )


def count_notified(params: Mapping[str, object]) -> int:
    """Return how many webhooks the start parameter `notify` names.

    Raises:
        ParameterInvalid: it cannot be used.
    """
    try:
        found = targets(params)
        for target in found:
            _url(target.webhook.url)
            _headers(target.webhook.headers)
            _secret(target.webhook.signing_secret)
    except (Unusable, FieldInvalid) as problem:
        expected = "a list of webhooks like {type: webhook, url: ..., headers: ..., event_types: [...]}"
        said = str(problem).rstrip(".")
        raise ParameterInvalid(name="notify", expected=expected, problem=said, field="params") from None
    return len(found)


def _invalid(name: str, expected: str, problem: str) -> FieldInvalid:
    return FieldInvalid(
        name=f"webhook.{name}", expected=expected, problem=problem, field=f"subscription.webhook.{name}"
    )


def _url(given: str) -> str:
    expected = f"an http or https URL of at most {_MOST_URL} characters"
    if len(given) > _MOST_URL or not given.isascii() or not given.isprintable() or " " in given:
        raise _invalid("url", expected, "it is longer, or holds other characters than a URL")
    try:
        parts = urlsplit(given)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_url = False
    if not is_url:
        raise _invalid("url", expected, f"it is '{given[:100]}'")
    return given


def _headers(given: dict[str, str]) -> dict[str, str]:
    if len(given) > _MOST_HEADERS:
        raise _invalid("headers", f"at most {_MOST_HEADERS}", f"there are {len(given)}")
    for name, value in given.items():
        if not _HEADER.fullmatch(name) or name.lower() in _OURS or name.lower().startswith("webhook-"):
            raise _invalid(
                "headers", "names of headers that the server does not set itself", f"there is '{name[:100]}'"
            )
        if len(value) > _MOST_HEADER or not (value.isprintable() and value.isascii()):
            raise _invalid(
                "headers", f"at most {_MOST_HEADER} printable ASCII characters", f"'{name}' is something else"
            )
    return given


def _secret(given: str) -> str:
    if given and not _SECRET_NAME.fullmatch(given):
        raise _invalid("signing_secret", "the name of a secret", "it is none")
    return given


def _attempts(given: int) -> int:
    if not 0 <= given <= _MOST_ATTEMPTS:
        raise _invalid("max_attempts", f"from 1 to {_MOST_ATTEMPTS}", f"it is {given}")
    return given


def _microseconds(name: str, given: duration_pb2.Duration, bounds: tuple[int, int]) -> int:
    found = given.seconds * _SECOND + given.nanos // 1000
    least, most = bounds
    if found and not least <= found <= most:
        raise _invalid(name, f"from {least // _SECOND} s to {most // _SECOND} s", f"it is {found / _SECOND:g} s")
    return found
