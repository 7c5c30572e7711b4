"""One POST to a webhook: the event as a CloudEvent, signed, over connections that obey the egress policy.

Only the status of the answer counts. Its body is not read: nobody would use it, and it may be long or never end.

Source: CloudEvents 1.0, JSON format in structured mode; Standard Webhooks (webhook-id, webhook-timestamp,
webhook-signature: v1 and the base64 of HMAC-SHA256 over id, timestamp and body with dots between); W3C Trace Context
(the header traceparent), and CloudEvents' extension for it (the attribute of that name).
"""

from __future__ import annotations

import base64
import binascii
import email.utils
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from tradewind_server.actions.egress import AddressRefused, EgressPolicy
from tradewind_server.clock import SystemClock, from_microseconds
from tradewind_server.lang.references import reference
from tradewind_server.lang.values import decode, encode
from tradewind_server.on_demand import OnDemand, loaded
from tradewind_server.runtime.secrets import Secrets, Unresolved
from tradewind_server.store.event_filter import states
from tradewind_server.store.records import StoredEvent
from tradewind_server.store.webhooks import Webhook

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver
else:
    aiohttp = OnDemand("aiohttp")

_CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
#: A receiver that asks for more time than this is tried again all the same.
_MOST_RETRY_SECONDS = 3600.0
_SECRET = re.compile(r"secret\('([A-Za-z0-9_.-]{1,64})'\)")
_KEY_PREFIX = "whsec_"
#: Header, and attribute of a CloudEvent.
TRACE = "traceparent"


class NotDelivered(Exception):
    """The receiver does not have the event, as far as is known; the text says why, and holds no secret."""

    def __init__(self, message: str, *, retry_after: float = 0.0, is_gone: bool = False) -> None:
        super().__init__(message)
        #: Seconds that the receiver asks for; 0 if it does not say.
        self.retry_after = retry_after
        #: It wants nothing any more.
        self.is_gone = is_gone


class WebhookSender:
    """Sends to all webhooks over one pool of connections. Use it within one event loop, and close it."""

    def __init__(
        self, policy: EgressPolicy, secrets: Secrets, clock: SystemClock, resolver: AbstractResolver | None = None
    ) -> None:
        self._policy = policy
        self._secrets = secrets
        self._clock = clock
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def send(self, webhook: Webhook, event: StoredEvent) -> None:
        """Send *event*, once.

        Raises:
            NotDelivered: the receiver did not answer with 2xx in time.
        """
        await self.post(webhook, event_id(event), _CONTENT_TYPE, cloud_event(event), event.trace)

    async def post(self, webhook: Webhook, id_: str, content_type: str, body: bytes, trace: str) -> None:
        """Send *body*, once; *id_* stays the same however often it is sent, *trace* is what it belongs to, or "".

        Raises:
            NotDelivered: the receiver did not answer with 2xx in time.
        """
        await loaded(aiohttp)
        try:
            headers = trace_header(trace, webhook.headers) | self._headers(webhook, id_, content_type, body)
            timeout = aiohttp.ClientTimeout(total=webhook.timeout_us / 1_000_000)
            async with self._opened().post(
                webhook.url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                status, retry_after = response.status, response.headers.get("Retry-After", "")
        except Unresolved as problem:
            raise NotDelivered(str(problem)) from None
        except TimeoutError:
            raise NotDelivered(f"No answer within {webhook.timeout_us / 1_000_000:g} s.") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NotDelivered(self._secrets.masked_text(_failure(error))) from error
        self._judge(status, retry_after)

    def _judge(self, status: int, retry_after: str) -> None:
        if 200 <= status < 300:
            return
        if 300 <= status < 400:
            raise NotDelivered(f"Status {status}: redirects are not followed.")
        seconds = self._seconds(retry_after) if status in (429, 503) else 0.0
        raise NotDelivered(f"Status {status}.", retry_after=seconds, is_gone=status == 410)

    def _seconds(self, retry_after: str) -> float:
        """Return the seconds of a Retry-After, which is a number or a date: an hour at most."""
        if retry_after.isascii() and retry_after.isdigit():
            return min(float(retry_after[:9]), _MOST_RETRY_SECONDS)
        try:
            until = email.utils.parsedate_to_datetime(retry_after)
        except ValueError:
            return 0.0
        until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
        return min(max(0.0, (until - self._clock.now()).total_seconds()), _MOST_RETRY_SECONDS)

    def _headers(self, webhook: Webhook, id_: str, content_type: str, body: bytes) -> dict[str, str]:
        headers = {name: with_secrets(self._secrets, value) for name, value in webhook.headers.items()}
        timestamp = str(int(self._clock.now().timestamp()))
        headers |= {"Content-Type": content_type, "webhook-id": id_, "webhook-timestamp": timestamp}
        if webhook.signing_secret:
            key = signing_key(with_secrets(self._secrets, f"secret('{webhook.signing_secret}')"))
            headers["webhook-signature"] = signature(key, id_, timestamp, body)
        return headers

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = self._policy.session(self._resolver)
        return self._session

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


def trace_header(trace: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return the header that says of which trace a request is, if of any; one that an operator gave stays."""
    return {TRACE: trace} if trace and TRACE not in map(str.lower, given) else {}


def with_secrets(secrets: Secrets, text: str) -> str:
    """Return *text*, as an operator wrote it, with the secrets that it names.

    Raises:
        Unresolved: there is no such secret.
    """
    marked = _SECRET.sub(lambda match: reference(match[1]), text)
    return str(decode(secrets.resolved(encode(marked))))


def _failure(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, AddressRefused):
        return f"Refused to connect: {error.os_error}."
    return f"The request failed: {str(error) or type(error).__name__}"


def signing_key(secret: str) -> bytes:
    """Return the key that *secret* stands for: base64 after whsec_, or else its own bytes."""
    if secret.startswith(_KEY_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_KEY_PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


def signature(key: bytes, id_: str, timestamp: str, body: bytes) -> str:
    """Return the header webhook-signature."""
    made = hmac.digest(key, f"{id_}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(made).decode()}"


def event_id(event: StoredEvent) -> str:
    """Return what stays the same however often an event is sent."""
    return f"{event.execution_id}:{event.revision}"


def cloud_event(event: StoredEvent) -> bytes:
    """Return *event* as a CloudEvent in structured mode; numbers keep their digits."""
    of_execution, of_task = states(event)
    kind, _, name = event.actor.partition(":")
    return encode(
        {
            "specversion": "1.0",
            "id": event_id(event),
            "source": f"/tradewind/namespaces/{quote(event.namespace, safe='')}",
            "type": f"io.tradewind.{event.type}",
            "subject": event.execution_id,
            "time": _moment(from_microseconds(event.at)),
            "datacontenttype": "application/json",
            **({TRACE: event.trace} if event.trace else {}),
            "data": {
                "execution_id": event.execution_id,
                "revision": event.revision,
                "namespace": event.namespace,
                "root_id": event.root_id or event.execution_id,
                "workflow": event.workflow,
                "business_key": event.business_key,
                "type": event.type,
                "type_version": event.type_version,
                "at": _moment(from_microseconds(event.at)),
                "actor": {"kind": kind.upper(), "name": name},
                "command": event.cause,
                "task": event.task,
                "task_id": f"t{event.task_id}" if event.task_id else "",
                "action_id": f"a{event.action_id}" if event.action_id else "",
                "execution_state": of_execution or None,
                "task_state": of_task or None,
                "body": decode(event.body),
            },
        }
    )


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
