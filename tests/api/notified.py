"""What tests of notifications share: a mail server, a provider of SMS, a receiver of webhooks, a server that sends.

The provider of SMS is a small one of our own: Kannel's test SMSC would take two daemons and a configuration for each,
to answer in one way. This one also refuses, stalls, lies and breaks off.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web
from aiosmtpd.smtp import SMTP

from tests.api.harness import PATIENCE, Served, serving
from tradewind.v1 import notification_pb2, notification_service_pb2_grpc
from tradewind.v1 import notification_service_pb2 as pb
from tradewind_server.actions import notifications
from tradewind_server.lang.values import decode

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

ASKING = """
version: '2.0'
asking:
  input: [users, groups, channels]
  tasks:
    ask:
      human:
        title: Approve <% $.users %>
        users: <% $.users %>
        groups: <% $.groups %>
        due: 2d
        notify: {channels: CHANNELS}
"""


class Mailbox:
    """What an SMTP server got, and what it answers."""

    def __init__(self) -> None:
        self.messages: list[tuple[list[str], Message]] = []
        #: Said to the next messages instead of taking them.
        self.refusals: list[str] = []
        self.address = ""
        self.news = asyncio.Condition()

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:
        """Take a message; called by aiosmtpd."""
        if self.refusals:
            return self.refusals.pop(0)
        async with self.news:
            self.messages.append((list(envelope.rcpt_tos), message_from_bytes(envelope.content)))
            self.news.notify_all()
        return "250 taken"

    async def count(self, most: int) -> list[tuple[list[str], Message]]:
        """Wait until so many messages have come."""
        async with asyncio.timeout(PATIENCE), self.news:
            await self.news.wait_for(lambda: len(self.messages) >= most)
        return self.messages


@contextlib.asynccontextmanager
async def receiving_mail() -> AsyncIterator[Mailbox]:
    """Run a mail server."""
    mailbox = Mailbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(mailbox, hostname="here"), "127.0.0.1", 0)
    mailbox.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield mailbox
    finally:
        server.close()
        await server.wait_closed()


class Provider:
    """Takes messages over HTTP, keeps them, and answers what it is told to."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], Any]] = []
        #: What to answer next; then `usual`.
        self.answers: list[Answer] = []
        self.usual: Answer = says(202, {"messages": [{"id": "m-1"}]})
        self.url = ""
        self.news = asyncio.Condition()

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Keep one, and answer."""
        body = await request.read()
        async with self.news:
            self.requests.append((dict(request.headers), decode(body)))
            self.news.notify_all()
        return await (self.answers.pop(0) if self.answers else self.usual)(request)

    async def count(self, most: int) -> list[tuple[dict[str, str], Any]]:
        """Wait until so many requests have come."""
        async with asyncio.timeout(PATIENCE), self.news:
            await self.news.wait_for(lambda: len(self.requests) >= most)
        return self.requests

    @property
    def ids(self) -> set[str]:
        """The ids that the requests carried."""
        return {headers.get("Idempotency-Key") or headers["webhook-id"] for headers, _ in self.requests}


def says(status: int, body: object = None) -> Answer:
    """Answer with a status and JSON."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status)

    return answer


async def stalls(request: web.Request) -> web.StreamResponse:
    """Answer nothing at all."""
    await asyncio.Event().wait()
    raise AssertionError


async def breaks_off(request: web.Request) -> web.StreamResponse:
    """Say 200, and break off in the body."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    assert request.transport is not None
    request.transport.abort()
    return response


@contextlib.asynccontextmanager
async def providing() -> AsyncIterator[Provider]:
    """Run a provider."""
    provider = Provider()
    application = web.Application()
    application.router.add_post("/messages", provider.take)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}/messages"
    try:
        yield provider
    finally:
        await runner.cleanup()


def sms(provider: Provider, **more: object) -> dict[str, object]:
    """Return a channel to *provider*, which tries twice."""
    return {
        "kind": "sms",
        "url": provider.url,
        "headers": {"Authorization": "Bearer secret('sms')"},
        "json": {"to": "{address}", "text": "{short}", "ref": ["{id}"]},
        "message_id": "messages.0.id",
        "allow_private": True,
        "max_attempts": 2,
        "timeout": 5,
        **more,
    }


def mail(address: str, **more: object) -> dict[str, object]:
    """Return a channel to a mail server, which tries once."""
    base = {"kind": "email", "server": address, "from": "Tradewind <tradewind@example.org>", "tls": "none"}
    return {**base, "allow_private": True, "max_attempts": 1, **more}


def hook(**more: object) -> dict[str, object]:
    """Return a channel of webhooks."""
    return {"kind": "webhook", "allow_private": True, "max_attempts": 4, "timeout": 5, **more}


class Outbox:
    """A server that sends, and its service."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.server = served.server
        self.stub: Any = notification_service_pb2_grpc.NotificationServiceStub(served.channel)

    async def ask(self, users: list[str], groups: list[str] | None = None) -> str:
        """Ask people, and have them notified."""
        return await self.served.start("asking", {"users": users, "groups": groups or [], "channels": []})

    async def having(self, *states: str) -> list[notification_pb2.Notification]:
        """Return notifications."""
        wanted = [notification_pb2.NotificationState.Value(f"NOTIFICATION_STATE_{state}") for state in states]
        return list(
            (
                await self.stub.ListNotifications(pb.ListNotificationsRequest(states=wanted, page_size=1000))
            ).notifications
        )

    async def until(self, state: str, count: int = 1) -> list[notification_pb2.Notification]:
        """Wait until there are so many of a state; looked at whenever something was written down."""
        async with asyncio.timeout(PATIENCE):
            while True:
                written.clear()
                found = await self.having(state)
                if len(found) >= count:
                    return found
                await written.wait()


#: Set whenever it was written down how a notification went.
written = asyncio.Event()


def quickened(patch: Any) -> None:
    """Try again soon, and tell when something was written down."""
    global written
    written = asyncio.Event()
    patch.setattr(notifications, "_FIRST_SECONDS", 0.02)
    patch.setattr(notifications, "_LOOK_SECONDS", 0.1)
    ask = notifications.Notifications._ask

    async def tell(self: notifications.Notifications, work: Any) -> Any:
        found = await ask(self, work)
        written.set()
        return found

    patch.setattr(notifications.Notifications, "_ask", tell)


@contextlib.contextmanager
def configured(
    folder: Path, channels: Mapping[str, object], users: Mapping[str, object], **more: object
) -> Iterator[dict[str, Any]]:
    """Write the two files, and give the settings that name them."""
    (folder / "channels.yaml").write_text(yaml.safe_dump({"channels": dict(channels), **more}))
    contacts(folder, users)
    yield {"channels_file": str(folder / "channels.yaml"), "contacts_file": str(folder / "contacts.yaml")}


def contacts(folder: Path, users: Mapping[str, object], groups: Mapping[str, object] | None = None) -> None:
    """Write the file of contacts anew."""
    (folder / "contacts.yaml").write_text(yaml.safe_dump({"users": dict(users), "groups": dict(groups or {})}))


@contextlib.asynccontextmanager
async def notifying(database: str, settings: dict[str, Any], wanted: str = "[]") -> AsyncIterator[Outbox]:
    """Run a server that sends, with the workflow `asking`."""
    async with serving(database, **settings) as served:
        text = ASKING.replace("{channels: CHANNELS}", f"{{channels: {wanted}}}" if wanted != "[]" else "true")
        await served.deploy(text)
        yield Outbox(served)
