"""What people do, over a client: the same calls as of `people.py`, sent."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from tradewind import attachments, errors, people, values
from tradewind.attachments import Attachment, Download
from tradewind.calls import Call
from tradewind.models import Page
from tradewind.people import Absence, HumanTask, HumanTaskEntry, InboxUpdate, InboxWatch

T = TypeVar("T")
_PAGE = 100


class _Send(Protocol):
    def __call__(self, call: Call[T], /) -> T: ...


class _Pages(Protocol):
    def __call__(self, call: Callable[[str], Call[Page[T]]], /) -> Iterator[T]: ...


class _AioSend(Protocol):
    async def __call__(self, call: Call[T], /) -> T: ...


class _AioPages(Protocol):
    def __call__(self, call: Callable[[str], Call[Page[T]]], /) -> AsyncIterator[T]: ...


class People:
    """Human tasks, as the user whom the client's connection stands for."""

    def __init__(
        self,
        namespace: str,
        send: _Send,
        pages: _Pages,
        follow: Callable[[InboxWatch, None], Iterator[InboxUpdate]],
    ) -> None:
        self._namespace = namespace
        self._send = send
        self._pages = pages
        self._follow = follow

    def list(self, scope: str = "inbox", filter: str = "") -> Iterator[HumanTask]:
        """List human tasks, page by page as they are read: those of an inbox, "mine", "delegated" or "all"."""
        return self._pages(lambda token: people.listed(self._namespace, scope, filter, _PAGE, token))

    def count(self, scope: str = "inbox", filter: str = "") -> int:
        """Count human tasks, up to 10,000."""
        return self._send(people.counted(self._namespace, scope, filter))

    def get(self, id: str) -> HumanTask:
        """Get one with all that it shows."""
        return self._send(people.get(self._namespace, id))

    def entries(self, id: str) -> Iterator[HumanTaskEntry]:
        """List who did what about one, in order."""
        return self._pages(lambda token: people.entries(self._namespace, id, _PAGE, token))

    def claim(self, id: str) -> HumanTask:
        """Take one, so that nobody else works on it."""
        return self._send(people.claim(self._namespace, id))

    def release(self, id: str, note: str = "") -> HumanTask:
        """Give one back."""
        return self._send(people.release(self._namespace, id, note))

    def assign(self, id: str, user: str, note: str = "") -> HumanTask:
        """Give one to a user, as one who may manage human tasks."""
        return self._send(people.assign(self._namespace, id, user, note))

    def delegate(self, id: str, user: str, note: str = "") -> HumanTask:
        """Let another user do one; who delegates stays accountable."""
        return self._send(people.delegate(self._namespace, id, user, note))

    def save_draft(self, id: str, data: values.Value) -> HumanTask:
        """Keep what has been filled in so far."""
        return self._send(people.save_draft(self._namespace, id, data))

    def comment(self, id: str, text: str) -> HumanTask:
        """Say something about one."""
        return self._send(people.comment(self._namespace, id, text))

    def attach(
        self, id: str, name: str, content: bytes, *, content_type: str = "application/octet-stream"
    ) -> Attachment:
        """Add a file to one; who has seen it before has to look again. The same again is the one that is there.

        Raises:
            NotFound: ATTACHMENT_NOT_FOUND; the call was repeated, and what it added is withdrawn already.
        """
        return self._send(attachments.attach(self._namespace, id, name, content, content_type))

    def refer(
        self, id: str, name: str, uri: str, size: int, digest: str, *, content_type: str = "application/octet-stream"
    ) -> Attachment:
        """Add a reference to a file that is kept elsewhere: where, its bytes, and "sha256:" with its digest."""
        return self._send(attachments.refer(self._namespace, id, name, uri, size, digest, content_type))

    def download(self, id: str, attachment_id: str) -> Download:
        """Get a file of one with what is in it."""
        return self._send(attachments.download(self._namespace, id, attachment_id))

    def withdraw(self, id: str, attachment_id: str, note: str = "") -> None:
        """Take a file of one back: what is in it is removed, and the audit trail says so."""
        self._send(attachments.withdraw(self._namespace, id, attachment_id, note))

    def submit(self, seen: HumanTask, outcome: str, *, reason: str = "", data: values.Value = None) -> HumanTask:
        """Decide one, on what was *seen*: if it shows something else by now, nothing is decided.

        Raises:
            Conflict: HUMAN_TASK_CHANGED; get it again and look.
            InvalidRequest: DECISION_INVALID; `violations` holds each problem with the data.
        """
        return self._send(people.submit(self._namespace, seen, outcome, reason, data))

    def submit_many(
        self, seen: Sequence[HumanTask], outcome: str, *, reason: str = ""
    ) -> builtins.list[HumanTask | errors.TradewindError]:
        """Decide up to 1,000 in the same way, each for itself: an item is decided, or why it is not."""
        return self._send(people.submit_many(self._namespace, seen, outcome, reason))

    def add_absence(
        self, substitute: str, starts_at: datetime, ends_at: datetime, *, user: str = "", note: str = ""
    ) -> Absence:
        """Let somebody stand in for you, or, as one who may manage human tasks, for *user*; with time zones."""
        return self._send(people.add_absence(self._namespace, user, substitute, starts_at, ends_at, note))

    def absences(self, user: str = "") -> Iterator[Absence]:
        """List absences that have not ended, of one user or of all, page by page as they are read."""
        return self._pages(lambda token: people.absences(self._namespace, user, _PAGE, token))

    def remove_absence(self, id: str) -> None:
        """End an absence at once."""
        self._send(people.remove_absence(self._namespace, id))

    def watch(self, scope: str = "inbox", filter: str = "") -> Iterator[InboxUpdate]:
        """Follow an inbox: first all that is in it, then what comes, changes and goes, over restarts of the server."""
        return self._follow(InboxWatch(self._namespace, scope, filter), None)


class AioPeople:
    """The same for asyncio."""

    def __init__(
        self,
        namespace: str,
        send: _AioSend,
        pages: _AioPages,
        follow: Callable[[InboxWatch, None], AsyncIterator[InboxUpdate]],
    ) -> None:
        self._namespace = namespace
        self._send = send
        self._pages = pages
        self._follow = follow

    def list(self, scope: str = "inbox", filter: str = "") -> AsyncIterator[HumanTask]:
        """List human tasks, page by page as they are read: those of an inbox, "mine", "delegated" or "all"."""
        return self._pages(lambda token: people.listed(self._namespace, scope, filter, _PAGE, token))

    async def count(self, scope: str = "inbox", filter: str = "") -> int:
        """Count human tasks, up to 10,000."""
        return await self._send(people.counted(self._namespace, scope, filter))

    async def get(self, id: str) -> HumanTask:
        """Get one with all that it shows."""
        return await self._send(people.get(self._namespace, id))

    def entries(self, id: str) -> AsyncIterator[HumanTaskEntry]:
        """List who did what about one, in order."""
        return self._pages(lambda token: people.entries(self._namespace, id, _PAGE, token))

    async def claim(self, id: str) -> HumanTask:
        """Take one, so that nobody else works on it."""
        return await self._send(people.claim(self._namespace, id))

    async def release(self, id: str, note: str = "") -> HumanTask:
        """Give one back."""
        return await self._send(people.release(self._namespace, id, note))

    async def assign(self, id: str, user: str, note: str = "") -> HumanTask:
        """Give one to a user, as one who may manage human tasks."""
        return await self._send(people.assign(self._namespace, id, user, note))

    async def delegate(self, id: str, user: str, note: str = "") -> HumanTask:
        """Let another user do one; who delegates stays accountable."""
        return await self._send(people.delegate(self._namespace, id, user, note))

    async def save_draft(self, id: str, data: values.Value) -> HumanTask:
        """Keep what has been filled in so far."""
        return await self._send(people.save_draft(self._namespace, id, data))

    async def comment(self, id: str, text: str) -> HumanTask:
        """Say something about one."""
        return await self._send(people.comment(self._namespace, id, text))

    async def attach(
        self, id: str, name: str, content: bytes, *, content_type: str = "application/octet-stream"
    ) -> Attachment:
        """Add a file to one; who has seen it before has to look again. The same again is the one that is there.

        Raises:
            NotFound: ATTACHMENT_NOT_FOUND; the call was repeated, and what it added is withdrawn already.
        """
        return await self._send(attachments.attach(self._namespace, id, name, content, content_type))

    async def refer(
        self, id: str, name: str, uri: str, size: int, digest: str, *, content_type: str = "application/octet-stream"
    ) -> Attachment:
        """Add a reference to a file that is kept elsewhere: where, its bytes, and "sha256:" with its digest."""
        return await self._send(attachments.refer(self._namespace, id, name, uri, size, digest, content_type))

    async def download(self, id: str, attachment_id: str) -> Download:
        """Get a file of one with what is in it."""
        return await self._send(attachments.download(self._namespace, id, attachment_id))

    async def withdraw(self, id: str, attachment_id: str, note: str = "") -> None:
        """Take a file of one back: what is in it is removed, and the audit trail says so."""
        await self._send(attachments.withdraw(self._namespace, id, attachment_id, note))

    async def submit(self, seen: HumanTask, outcome: str, *, reason: str = "", data: values.Value = None) -> HumanTask:
        """Decide one, on what was *seen*: if it shows something else by now, nothing is decided.

        Raises:
            Conflict: HUMAN_TASK_CHANGED; get it again and look.
            InvalidRequest: DECISION_INVALID; `violations` holds each problem with the data.
        """
        return await self._send(people.submit(self._namespace, seen, outcome, reason, data))

    async def submit_many(
        self, seen: Sequence[HumanTask], outcome: str, *, reason: str = ""
    ) -> builtins.list[HumanTask | errors.TradewindError]:
        """Decide up to 1,000 in the same way, each for itself: an item is decided, or why it is not."""
        return await self._send(people.submit_many(self._namespace, seen, outcome, reason))

    async def add_absence(
        self, substitute: str, starts_at: datetime, ends_at: datetime, *, user: str = "", note: str = ""
    ) -> Absence:
        """Let somebody stand in for you, or, as one who may manage human tasks, for *user*; with time zones."""
        return await self._send(people.add_absence(self._namespace, user, substitute, starts_at, ends_at, note))

    def absences(self, user: str = "") -> AsyncIterator[Absence]:
        """List absences that have not ended, of one user or of all, page by page as they are read."""
        return self._pages(lambda token: people.absences(self._namespace, user, _PAGE, token))

    async def remove_absence(self, id: str) -> None:
        """End an absence at once."""
        await self._send(people.remove_absence(self._namespace, id))

    def watch(self, scope: str = "inbox", filter: str = "") -> AsyncIterator[InboxUpdate]:
        """Follow an inbox: first all that is in it, then what comes, changes and goes, over restarts of the server."""
        return self._follow(InboxWatch(self._namespace, scope, filter), None)
