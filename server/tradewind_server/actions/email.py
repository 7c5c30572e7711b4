"""The action std.email: one message to a mail server."""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
from collections.abc import Callable
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

import aiosmtplib

from tradewind_server.actions.egress import EgressPolicy, connection_failure
from tradewind_server.actions.files import Files, tls_of
from tradewind_server.actions.outcome import ActionError, readable
from tradewind_server.actions.parameters import Input, bad, required_text, text, texts, timed_out, timeout
from tradewind_server.ids import Ids

_NONE, _STARTTLS, _IMPLICIT = "none", "starttls", "implicit"
#: Ports that go without saying.
_PORTS = {_NONE: 25, _STARTTLS: 25, _IMPLICIT: 465}
_MAX_ADDRESSES = 1000


class EmailAction:
    """Does std.email; a connection lasts for one message."""

    def __init__(self, policy: EgressPolicy, files: Files, now: Callable[[], datetime], ids: Ids) -> None:
        self._policy = policy
        self._files = files
        self._now = now
        self._ids = ids

    async def run(self, given: Input, *, message_id: str = "") -> object:
        """Send the message; return None, or which recipients the server refused while it took others.

        *message_id* tells a message that is sent again; without it each has its own.

        Raises:
            ActionError: the input is wrong, the server cannot be reached in time, or refuses the login or the message.
        """
        message = self._message(given, message_id)
        sender, recipients = _bare(required_text(given, "from_addr")), _recipients(given)
        seconds = timeout(given)
        host, number, mode = _server(given)
        try:
            async with asyncio.timeout(seconds):
                refused = await self._send(given, host, number, mode, message, sender, recipients)
        except (TimeoutError, aiosmtplib.SMTPTimeoutError):
            raise timed_out(seconds) from None
        except (OSError, aiosmtplib.SMTPException, ValueError) as error:
            raise _failure(error, host) from error
        return {"refused": refused} if refused else None

    async def _send(
        self, given: Input, host: str, number: int, mode: str, message: EmailMessage, sender: str, recipients: list[str]
    ) -> dict[str, str]:
        tls = tls_of(given, self._files)
        made = await self._policy.connect(host, number)
        client = aiosmtplib.SMTP(
            hostname=host,
            sock=made,
            # its name tells nothing of the machine; RFC 5321, 4.1.3
            local_hostname="[127.0.0.1]",
            use_tls=mode == _IMPLICIT,
            start_tls=False,
            validate_certs=tls is not False,
            tls_context=tls if isinstance(tls, ssl.SSLContext) else None,
            timeout=None,
        )
        try:
            await client.connect()
            if mode == _STARTTLS:
                await _start_tls(client, host)
            if password := text(given, "smtp_password"):
                await client.login(text(given, "smtp_username") or sender, password)
            refused, _ = await client.send_message(message, sender=sender, recipients=recipients)
            await client.execute_command(b"QUIT")
        finally:
            _abort(client)
        return {address: _said(answer.code, answer.message) for address, answer in refused.items()}

    def _message(self, given: Input, message_id: str) -> EmailMessage:
        message = EmailMessage(SMTP)
        try:
            for header, name in (
                ("From", "from_addr"),
                ("To", "to_addrs"),
                ("Cc", "cc_addrs"),
                ("Reply-To", "reply_to"),
            ):
                if found := texts(given, name):
                    message[header] = ", ".join(found)
            message["Subject"] = text(given, "subject") or "<No subject>"
            message["Date"] = format_datetime(self._now())
            message["Message-ID"] = message_id or f"<{self._ids.opaque()}@tradewind.invalid>"
            message.set_content(text(given, "body") or "<No body>")
            if html := text(given, "html_body"):
                message.add_alternative(html, subtype="html")
            for attachment in _attachments(given):
                _attach(message, attachment)
        except (ValueError, LookupError, IndexError):
            raise bad("addresses, subject and names of attachments must fit into one line of a header") from None
        return message


# --- the input -----------------------------------------------------------------------------------


def _server(given: Input) -> tuple[str, int, str]:
    has_password = bool(text(given, "smtp_password"))
    mode = text(given, "tls", _STARTTLS if has_password else _NONE)
    if mode not in _PORTS:
        raise bad(f"tls must be one of {', '.join(_PORTS)}")
    if has_password and mode == _NONE:
        raise bad("smtp_password is never sent without TLS: tls must be starttls or implicit")
    host, separator, number = required_text(given, "smtp_server").rpartition(":")
    if not separator:
        return number, _PORTS[mode], mode
    if not (number.isascii() and number.isdigit() and 0 < int(number[:6]) < 65536 and host):
        raise bad("smtp_server must be a host, or a host and a port as in mail.example.org:587")
    return host.strip("[]"), int(number), mode


def _recipients(given: Input) -> list[str]:
    found = [_bare(item) for name in ("to_addrs", "cc_addrs", "bcc_addrs") for item in texts(given, name)]
    if not 1 <= len(found) <= _MAX_ADDRESSES:
        raise bad(f"to_addrs, cc_addrs and bcc_addrs must have 1 to {_MAX_ADDRESSES} addresses together")
    return found


def _bare(address: str) -> str:
    """Return `a@b.c` of `Name <a@b.c>`."""
    found = parseaddr(address)[1]
    if not found.rpartition("@")[0] or not found.isprintable() or " " in found:
        raise bad("each address must be of the form name@example.org")
    return found


def _attachments(given: Input) -> list[dict[str, object]]:
    value = given.get("attachments")
    items = [] if value is None else value
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise bad("attachments must be a list of dictionaries")
    return items


def _attach(message: EmailMessage, attachment: dict[str, object]) -> None:
    unknown = attachment.keys() - {"filename", "content", "content_base64", "content_type"}
    if unknown or ("content" in attachment) == ("content_base64" in attachment):
        raise bad("an attachment has filename, either content or content_base64, and may have content_type")
    try:
        data = base64.b64decode(text(attachment, "content_base64"), validate=True)
    except (binascii.Error, ValueError):
        raise bad("content_base64 of an attachment is not base64") from None
    if "content" in attachment:
        data = text(attachment, "content").encode()
    default = "text/plain" if "content" in attachment else "application/octet-stream"
    main, separator, sub = text(attachment, "content_type", default).partition("/")
    if not separator or not main.isalnum() or not sub.isprintable():
        raise bad("content_type of an attachment must be of the form text/plain")
    message.add_attachment(data, maintype=main, subtype=sub, filename=required_text(attachment, "filename"))


# --- the server ---------------------------------------------------------------------------------


def _abort(client: aiosmtplib.SMTP) -> None:
    # with TLS a close would wait for the server's good-bye, which may never come
    transport = client.transport
    client.close()
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()


async def _start_tls(client: aiosmtplib.SMTP, host: str) -> None:
    await client.ehlo()
    if not client.supports_extension("starttls"):
        raise ActionError(f"{host} does not offer STARTTLS.", code="NOT_OFFERED", retryable=False)
    await client.starttls()


# --- the answer ----------------------------------------------------------------------------------


def _said(code: int, message: str) -> str:
    return readable(f"{code} {message}"[:1000])


def _failure(error: Exception, host: str) -> ActionError:
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return ActionError(f"{host} refused the login.", code="LOGIN_REFUSED", retryable=False)
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        refused = {item.recipient: _said(item.code, item.message) for item in error.recipients}
        can_recover = any(item.code < 500 for item in error.recipients)
        message = f"{host} refused every recipient."
        return ActionError(message, details={"refused": refused}, code="RECIPIENTS_REFUSED", retryable=can_recover)
    if isinstance(error, aiosmtplib.SMTPResponseException) and error.code > 0:
        message = f"{host} answered {_said(error.code, error.message)}"
        return ActionError(message, code=f"SMTP_{error.code}", retryable=error.code < 500)
    if isinstance(error, aiosmtplib.SMTPNotSupported):
        return ActionError(f"{host} does not offer what is needed: {error}", code="NOT_OFFERED", retryable=False)
    if isinstance(error.__cause__, ssl.SSLError):
        return connection_failure(error.__cause__, host)
    if isinstance(error, OSError | aiosmtplib.SMTPException):
        return connection_failure(error, host)
    return bad(f"The message cannot be sent: {error}")
