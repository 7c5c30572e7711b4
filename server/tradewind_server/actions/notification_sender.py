"""One attempt to send a notification over one channel.

Each channel carries the notification's id, which is the same on every attempt: as Message-ID in an e-mail, as
Idempotency-Key and wherever the template has it to a provider of SMS, as webhook-id to a webhook.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from tradewind_server.actions.egress import AddressRefused, EgressPolicy
from tradewind_server.actions.email import EmailAction
from tradewind_server.actions.files import Files
from tradewind_server.actions.notification_channels import Channel, EmailChannel, SmsChannel, WebhookChannel
from tradewind_server.actions.notification_texts import Letter, filled
from tradewind_server.actions.outcome import ActionError
from tradewind_server.actions.webhook_sender import NotDelivered, WebhookSender, trace_header, with_secrets
from tradewind_server.clock import SystemClock
from tradewind_server.ids import Ids
from tradewind_server.lang.values import ValueProblem, decode, encode
from tradewind_server.on_demand import OnDemand, loaded
from tradewind_server.runtime.secrets import Secrets, Unresolved
from tradewind_server.store.webhooks import Webhook

if TYPE_CHECKING:
    import aiohttp
else:
    aiohttp = OnDemand("aiohttp")

_log = logging.getLogger(__name__)
_MOST_ANSWER_BYTES = 64 * 1024
_MOST_ID = 200


class NotSent(Exception):
    """As far as is known, the recipient does not get it; the text says why, and holds no secret."""

    def __init__(self, message: str, *, retryable: bool = True, retry_after: float = 0.0) -> None:
        super().__init__(message)
        #: Another attempt over the same channel may succeed.
        self.retryable = retryable
        #: Seconds that the provider asks for; 0 if it does not say.
        self.retry_after = retry_after


class NotificationSender:
    """Sends over all channels. Use it within one event loop, and close it."""

    def __init__(self, allow_private_addresses: bool, secrets: Secrets, clock: SystemClock, ids: Ids) -> None:
        self._secrets = secrets
        self._allows_all = allow_private_addresses
        self._policies = {allowed: EgressPolicy(allowed) for allowed in (True, False)}
        files = Files("")
        now: Callable[[], datetime] = clock.now
        self._mails = {allowed: EmailAction(policy, files, now, ids) for allowed, policy in self._policies.items()}
        self._hooks = {allowed: WebhookSender(policy, secrets, clock) for allowed, policy in self._policies.items()}
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def send(self, channel: Channel, address: str, letter: Letter) -> str:
        """Send *letter*; return what the provider calls it, or "".

        Raises:
            NotSent: nobody took it, or nobody said so in time.
        """
        try:
            async with asyncio.timeout(channel.timeout):
                return await self._dispatch(channel, address, letter)
        except Unresolved as problem:
            raise NotSent(str(problem)) from None
        except TimeoutError:
            raise NotSent(f"No answer within {channel.timeout} s.") from None
        except NotSent as problem:
            # a provider may say again what it was told
            said = self._secrets.masked_text(str(problem))
            raise NotSent(said, retryable=problem.retryable, retry_after=problem.retry_after) from problem
        except Exception as error:
            # it must count as an attempt, or it would be tried for ever
            _log.exception("a notification could not be sent over '%s'", channel.name)
            message = f"The server is at fault; its log says how ({type(error).__name__})."
            raise NotSent(message) from error

    async def _dispatch(self, channel: Channel, address: str, letter: Letter) -> str:
        if isinstance(channel, EmailChannel):
            return await self._mail(channel, address, letter)
        if isinstance(channel, SmsChannel):
            return await self._sms(channel, address, letter)
        assert isinstance(channel, WebhookChannel)
        return await self._hook(channel, address, letter)

    def _may_go_anywhere(self, channel: Channel) -> bool:
        return channel.allow_private or self._allows_all

    # --- e-mail ----------------------------------------------------------------------------------

    async def _mail(self, channel: EmailChannel, address: str, letter: Letter) -> str:
        given = {
            "smtp_server": channel.server,
            "from_addr": channel.sender,
            "to_addrs": [part.strip() for part in address.split(",")],
            "subject": letter.subject,
            "body": letter.text,
            "tls": channel.tls or None,
            "smtp_username": channel.username,
            "smtp_password": with_secrets(self._secrets, channel.password),
            "timeout": channel.timeout,
        }
        message_id = f"<{letter.id.replace(':', '.')}@tradewind.invalid>"
        try:
            await self._mails[self._may_go_anywhere(channel)].run(given, message_id=message_id)
        except ActionError as error:
            raise NotSent(error.message, retryable=error.retryable) from error
        return message_id

    # --- SMS -------------------------------------------------------------------------------------

    async def _sms(self, channel: SmsChannel, address: str, letter: Letter) -> str:
        fields = {
            **letter.fields,
            "address": address,
            "subject": letter.subject,
            "text": letter.text,
            "short": letter.short,
        }
        headers = {name: with_secrets(self._secrets, value) for name, value in channel.headers.items()}
        headers |= {"Idempotency-Key": letter.id, **trace_header(letter.trace, headers)}
        await loaded(aiohttp)
        try:
            body: aiohttp.FormData | bytes
            if channel.form is not None:
                body = aiohttp.FormData(
                    {name: filled(with_secrets(self._secrets, text), fields) for name, text in channel.form.items()}
                )
            else:
                headers.setdefault("Content-Type", "application/json")
                body = encode(_filled_json(self._revealed(channel.json), fields))
            async with self._session(self._may_go_anywhere(channel)).request(
                channel.method, channel.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                return _provider_id(channel, response.status, await _beginning(response))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, AddressRefused):
                raise NotSent(f"Refused to connect: {error.os_error}.", retryable=False) from error
            raise NotSent(f"The request failed: {str(error) or type(error).__name__}") from error

    def _revealed(self, value: object) -> object:
        """Return *value* with the secrets that its texts name; before fields are filled in, which may say anything."""
        if isinstance(value, str):
            return with_secrets(self._secrets, value)
        if isinstance(value, dict):
            return {key: self._revealed(item) for key, item in value.items()}
        return [self._revealed(item) for item in value] if isinstance(value, list) else value

    def _session(self, may_go_anywhere: bool) -> aiohttp.ClientSession:
        if may_go_anywhere not in self._sessions:
            self._sessions[may_go_anywhere] = self._policies[may_go_anywhere].session()
        return self._sessions[may_go_anywhere]

    # --- webhooks --------------------------------------------------------------------------------

    async def _hook(self, channel: WebhookChannel, address: str, letter: Letter) -> str:
        hook = Webhook(
            url=address,
            headers=dict(channel.headers),
            signing_secret=channel.signing_secret,
            timeout_us=channel.timeout * 1_000_000,
        )
        body = {**letter.fields, "subject": letter.subject, "text": letter.text}
        try:
            sender = self._hooks[self._may_go_anywhere(channel)]
            await sender.post(hook, letter.id, "application/json", encode(body), letter.trace)
        except NotDelivered as problem:
            raise NotSent(str(problem), retryable=not problem.is_gone, retry_after=problem.retry_after) from None
        return ""

    async def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()
        for hook in self._hooks.values():
            await hook.close()


def _filled_json(value: object, fields: dict[str, str]) -> object:
    if isinstance(value, str):
        return filled(value, fields)
    if isinstance(value, dict):
        return {key: _filled_json(item, fields) for key, item in value.items()}
    return [_filled_json(item, fields) for item in value] if isinstance(value, list) else value


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, or as much of it as anybody looks at."""
    data = b""
    async for part in response.content.iter_chunked(8192):
        data += part
        if len(data) > _MOST_ANSWER_BYTES:
            response.close()
            break
    return data[:_MOST_ANSWER_BYTES]


def _provider_id(channel: SmsChannel, status: int, body: bytes) -> str:
    """Return what the provider calls the message.

    Raises:
        NotSent: the provider refused it, or said 2xx and did not give it a name, as one does that has not taken it.
    """
    said = body[:200].decode("utf-8", "replace").strip()
    if not 200 <= status < 300:
        # a request that is wrong stays wrong; too many, too slow, and the provider's own faults pass
        retryable = status >= 500 or status in (408, 425, 429)
        raise NotSent(f"Status {status}: {said}" if said else f"Status {status}.", retryable=retryable)
    if not channel.message_id:
        return ""
    try:
        found: object = decode(body)
        for part in channel.message_id.split("."):
            found = found[int(part)] if isinstance(found, list) else found[part]  # type: ignore[index]
    except (ValueProblem, ValueError, LookupError, TypeError):
        found = None
    if found is None or isinstance(found, dict | list | bool):
        raise NotSent(f"Status {status}, but its answer has no '{channel.message_id}': {said}")
    return str(found)[:_MOST_ID]
