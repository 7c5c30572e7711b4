"""Sending the outbox: each notification at least once, over the channels of its recipient one after the other.

A server takes what is due, which hides it from the others for a minute, sends it, and writes down how it went. What was
sent and not yet written down when a server dies is sent again by another one, with the same id. Nothing that waits is
in memory only: after a restart the table says what is left.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import Any

import sqlalchemy as sa

from tradewind_server.actions import backoff
from tradewind_server.actions.notification_channels import Setup
from tradewind_server.actions.notification_contacts import Contacts
from tradewind_server.actions.notification_sender import NotificationSender, NotSent
from tradewind_server.actions.notification_texts import Letter, written
from tradewind_server.errors import DatabaseUnavailable, Refusal
from tradewind_server.errors.people import ChannelNotFound, NotificationNotSent
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.committer import Broken
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.runtime.waiting import wait
from tradewind_server.store import notifications as store
from tradewind_server.store.notifications import Notification
from tradewind_server.store.records import Provenance

log = logging.getLogger(__name__)

#: Sent at once by one server.
_AT_ONCE = 16
#: How long what a server has taken is hidden from the others: longer than any attempt takes.
_LEASE_SECONDS = 60.0
#: Between two looks for what another server left or wrote.
_LOOK_SECONDS = 2.0
#: The first attempt after a failure, and the longest time between two.
_FIRST_SECONDS = 5.0
_LONGEST_SECONDS = 1800.0
_MOST_MESSAGE = 1000
_PROVENANCE = Provenance("system:notifications", "SendNotifications")


class Notifications:
    """Sends what is due. Belongs to the event loop."""

    def __init__(self, runtime: Runtime, sender: NotificationSender, setup: Setup, contacts: Contacts) -> None:
        self._runtime = runtime
        self._sender = sender
        self._setup = setup
        self._contacts = contacts
        self._loop: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        #: Microseconds that a server without channels leaves to others, which may have some, before it gives up.
        self._leaves = int(_LEASE_SECONDS * 1_000_000) if runtime.database.is_postgresql and not setup.channels else 0
        #: On SQLite there is no other server: what one before this had taken is free.
        self._frees_all = not runtime.database.is_postgresql

    def start(self) -> None:
        """Begin to send."""
        self._loop = asyncio.create_task(self._keep_sending())

    async def stop(self) -> None:
        """Send no more, and leave what was begun to the other servers."""
        tasks = [*self._sending, *([self._loop] if self._loop else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        owner, now = self._runtime.server_id, self._now()
        self._runtime.tell(_tidy(lambda connection: store.let_go(connection, owner, now)))
        await self._sender.close()

    async def _keep_sending(self) -> None:
        while True:
            pause = _LOOK_SECONDS
            try:
                pause = await self._send_due()
            except (DatabaseUnavailable, sa.exc.DBAPIError) as trouble:
                self._runtime.outage.met(trouble)
            except (Refusal, Broken) as problem:
                log.warning("notifications cannot be looked for: %s; trying again", problem)
            except Exception:
                # what must be sent must not end with one fault
                log.exception("notifications failed; trying again")
            await wait(self._runtime.notifications_changed, pause)
            self._runtime.notifications_changed.clear()

    async def _send_due(self) -> float:
        """Begin to send what is due; return in how many seconds to look again."""
        if self._frees_all:
            now = self._now()
            await self._ask(lambda connection: store.let_go(connection, None, now))
            self._frees_all = False
        room = _AT_ONCE - len(self._sending)
        if room <= 0 or not self._runtime.is_fit:
            return _LOOK_SECONDS
        due = await self._runtime.read(lambda connection, _: store.next_due(connection))
        now = self._now() - self._leaves
        if due is None or due > now:
            return _LOOK_SECONDS if due is None else min(_LOOK_SECONDS, (due - now) / 1_000_000 + 0.001)
        owner, until = self._runtime.server_id, self._now() + int(_LEASE_SECONDS * 1_000_000)
        taken: list[Notification] = await self._ask(lambda connection: store.take(connection, owner, now, until, room))
        for row in taken:
            task = asyncio.create_task(self._send(row))
            self._sending.add(task)
            task.add_done_callback(self._ended)
        # another server may hold the lock on what is due
        return 0.0 if len(taken) == room else _LOOK_SECONDS if not taken else 0.01

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._runtime.notifications_changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # its lease ends, and it is sent again
            log.error("a notification could not be sent", exc_info=error)

    async def _ask(self, work: Any) -> Any:
        return await self._runtime.ask(_tidy(work), reserved=True)

    # --- one notification ------------------------------------------------------------------------

    async def _send(self, row: Notification) -> None:
        found = await self._read(row)
        if found is None:
            return  # its execution was removed, and it with it
        letter, wanted = found
        ways = self._contacts.ways(row.recipient, wanted)
        row = dataclasses.replace(row, first_at=row.first_at or self._now())
        if row.step >= len(ways):
            how = f" over {', '.join(wanted)}" if wanted else ""
            # contacts that have become fewer: what went wrong before says more
            row = self._given_up(row, row.message or f"The contacts do not say how to reach {row.recipient}{how}.")
        else:
            name, address = ways[row.step]
            row = dataclasses.replace(row, channel=name, attempts=row.attempts + 1)
            row = await self._attempt(row, name, address, letter, is_last=row.step + 1 == len(ways))
        if row.state == store.DEAD:
            log.error("notification %s to %s is given up: %s", row.id, row.recipient, row.message)
        await self._ask(lambda connection: store.note(connection, row))

    async def _read(self, row: Notification) -> tuple[Letter, list[str]] | None:
        """Return it in words, and over which channels it is wanted."""
        found = await self._runtime.read(lambda connection, _: store.request_of(connection, row))
        if found is None:
            return None
        request, stored = found
        fields: Any = {**request.subject, "business_key": stored.business_key}
        masks = await self._runtime.read(lambda c, _: self._runtime.sensitive.masks(c, [row.execution_id]))
        if row.execution_id in masks:
            # it leaves the house: whoever may see more looks at the human task itself
            fields = masks[row.execution_id].value(fields)
        fields |= {"kind": row.kind, "to": row.recipient.partition(":")[2]}
        letter = written(self._setup.templates[row.kind], row.id, fields, self._setup.link, stored.trace)
        return letter, request.channels

    async def _attempt(
        self, row: Notification, name: str, address: str, letter: Letter, *, is_last: bool
    ) -> Notification:
        """Send it once; return the row as it is then."""
        channel = self._setup.channels.get(name)
        try:
            if channel is None:
                raise NotSent(f"There is no channel '{name}'.", retryable=False)
            provider_id = await self._sender.send(channel, address, letter)
        except NotSent as problem:
            now = self._now()
            message = f"{name}: {problem}"[:_MOST_MESSAGE]
            limit, age = (channel.max_attempts, channel.max_age) if channel is not None else (1, 1)
            if problem.retryable and row.attempts < limit and now - row.first_at < age * 1_000_000:
                pause = max(pause_seconds(row), problem.retry_after)
                return dataclasses.replace(row, message=message, next_at=now + int(pause * 1_000_000))
            if is_last:
                return self._given_up(row, message)
            return dataclasses.replace(row, message=message, step=row.step + 1, attempts=0, first_at=0, next_at=now)
        return dataclasses.replace(row, state=store.SENT, provider_id=provider_id, message="", ended_at=self._now())

    def _given_up(self, row: Notification, message: str) -> Notification:
        return dataclasses.replace(row, state=store.DEAD, message=message, ended_at=self._now())

    # --- by hand ---------------------------------------------------------------------------------

    async def try_channel(self, name: str, to: str) -> str:
        """Send a test now: to a user, to "group:NAME", or to an address. Return the provider's name for it.

        Raises:
            ChannelNotFound: there is no such channel.
            NotificationNotSent: the provider did not take it.
        """
        channel = self._setup.channels.get(name)
        if channel is None:
            raise ChannelNotFound(channel=name, known=", ".join(self._setup.channels) or "none", field="channel")
        recipient = to if to.startswith(("user:", "group:")) else f"user:{to}"
        ways = self._contacts.ways(recipient, [name])
        fields = {"title": name, "kind": "test", "to": to}
        letter = written(self._setup.templates["test"], f"test:{self._runtime.ids.opaque()}", fields, "")
        try:
            return await self._sender.send(channel, ways[0][1] if ways else to, letter)
        except NotSent as problem:
            raise NotificationNotSent(channel=name, to=to, problem=str(problem)) from None

    def _now(self) -> int:
        return self._runtime.clock.microseconds()


def _tidy(work: Any) -> r.Tidy:
    def within(transaction: Any, _: object) -> object:
        transaction.has_written = True
        return work(transaction.connection)

    return r.Tidy(provenance=_PROVENANCE, work=within)


def pause_seconds(row: Notification) -> float:
    """Return how long to wait after an attempt over a channel."""
    what = f"{row.id} {row.step} {row.attempts}"
    return backoff.pause(row.attempts, _FIRST_SECONDS, _LONGEST_SECONDS, what)
