"""The workers of this server: written down for all servers to see, and drained when an operator says so.

A row is written when a worker comes, changes or leaves, and a sign of life of all of them with each beat. Whom
operators have drained is kept in memory, so that neither a poll nor a stream has to ask for it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tradewind_server.clock import SystemClock
from tradewind_server.errors import Refusal, ServerDraining
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.desk import Desk, Session
from tradewind_server.runtime.tail import Read
from tradewind_server.store import workers as store
from tradewind_server.store.records import Provenance
from tradewind_server.store.unit_of_work import Transaction
from tradewind_server.store.workers import Drain, Serves

log = logging.getLogger(__name__)

BEAT_SECONDS = 10.0
#: A stream without a beat of its server for as long is gone.
_STREAM_SECONDS = 30
#: A worker that polls may work on what it has got meanwhile.
_POLL_SECONDS = 90
#: Changes of as long are written together.
_GATHER_SECONDS = 0.05
#: Most workers written down; those beyond work all the same.
_MOST = 20_000

#: Told when the worker is drained, and, with None, when it is resumed.
Told = Callable[[Drain | None], None]
_BY = Provenance("system:workers", "NoteWorkers")


@dataclasses.dataclass(slots=True)
class _Entry:
    """One row, and the sessions that it stands for: one stream, or the polls that wait at the moment."""

    id: str
    program: str
    session: Session
    connection: str
    first_seen: int
    last_seen: int
    sessions: dict[str, Told]
    is_held: bool


class Workers:
    """Those of one server. Lives on the event loop."""

    def __init__(
        self, server_id: str, read: Read, ask: Callable[..., Awaitable[object]], clock: SystemClock, desk: Desk
    ) -> None:
        self._server_id = server_id
        self._read = read
        self._ask = ask
        self._clock = clock
        self._desk = desk
        self._entries: dict[str, _Entry] = {}
        #: (namespace, worker, instance) -> id of the entry of its polls.
        self._polling: dict[tuple[str, str, str], str] = {}
        self._changed: dict[str, None] = {}
        self._gone: dict[str, None] = {}
        self._drains: Mapping[str, Drain] = {}
        self._writing = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._flush: asyncio.Task[None] | None = None

    # --- who is here -----------------------------------------------------------------------------

    def open_stream(self, session: Session, told: Told) -> Drain | None:
        """Take a worker's stream in, before its session is opened; return the drain that holds it."""
        program = store.program_of(session.namespace, session.worker, session.instance)
        self._add(session.id, program, session, "STREAM", {session.id: told})
        return self._drains.get(program) if session.is_held else None

    def close_stream(self, session_id: str) -> None:
        """The stream is over."""
        if self._entries.pop(session_id, None) is not None:
            self._changed.pop(session_id, None)
            self._gone[session_id] = None
            self._write_soon()

    def note_going(self, session_id: str) -> None:
        """The worker has said that it drains."""
        if session_id in self._entries:
            self._mark(session_id)

    def open_poll(self, session: Session, told: Told) -> None:
        """Take a poll in, before its session is opened."""
        key = (session.namespace, session.worker, session.instance)
        entry = self._entries.get(self._polling.get(key, ""))
        if entry is None:
            program = store.program_of(*key)
            id_ = f"{program}-{self._server_id}"
            self._polling[key] = id_
            self._add(id_, program, session, "POLL", {session.id: told})
            return
        session.is_held = entry.is_held
        entry.sessions[session.id] = told
        entry.last_seen = self._now()
        if (session.build, session.limits, session.targets) != (
            entry.session.build, entry.session.limits, entry.session.targets,
        ):  # fmt: skip
            entry.session = session
            self._mark(entry.id)

    def close_poll(self, session: Session) -> None:
        """The poll is over; its worker is taken to be there for a while."""
        entry = self._entries.get(self._polling.get((session.namespace, session.worker, session.instance), ""))
        if entry is not None:
            entry.sessions.pop(session.id, None)
            entry.last_seen = self._now()

    def _add(self, id_: str, program: str, session: Session, connection: str, sessions: dict[str, Told]) -> None:
        session.is_held = program in self._drains
        if len(self._entries) >= _MOST:
            return
        now = self._now()
        self._entries[id_] = _Entry(id_, program, session, connection, now, now, sessions, session.is_held)
        self._gone.pop(id_, None)
        self._mark(id_)

    def _now(self) -> int:
        return self._clock.microseconds()

    # --- writing ---------------------------------------------------------------------------------

    def _mark(self, id_: str) -> None:
        self._changed[id_] = None
        self._write_soon()

    def _write_soon(self) -> None:
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._gather())

    async def _gather(self) -> None:
        try:
            while self._changed or self._gone:
                await asyncio.sleep(_GATHER_SECONDS)
                await self.flush()
        except ServerDraining:
            return  # the last request of this server takes all of them out
        except Refusal as refusal:
            log.warning("who works here could not be written down: %s; the next beat does", refusal)

    async def flush(self) -> None:
        """Write down what has changed.

        Raises:
            Refusal: it cannot be written now; the next beat tries again.
        """
        async with self._writing:
            changed, gone = self._changed, self._gone
            if not changed and not gone:
                return
            # what changes meanwhile is noted anew
            self._changed, self._gone = {}, {}
            rows = [self._row(self._entries[id_]) for id_ in changed if id_ in self._entries]
            leaves = list(gone)
            try:
                await self._ask(r.Tidy(provenance=_BY, work=lambda tx, _: store.write(tx, rows, leaves)), reserved=True)
            except BaseException:
                # whatever kept it from being written, also the end of this task
                self._changed = {**changed, **self._changed}
                self._gone = {**{id_: None for id_ in gone if id_ not in self._entries}, **self._gone}
                raise

    async def beat(self) -> None:
        """Write a sign of life for all, forget who has vanished, and learn whom operators have drained."""
        self._forget_silent()
        await self.flush()
        seen = [self._seen(entry) for entry in self._entries.values()]
        now = self._now()

        def work(transaction: Transaction, _: Any) -> None:
            store.touch(transaction, seen)
            store.expire(transaction, now)

        await self._ask(r.Tidy(provenance=_BY, work=work), reserved=True)
        await self.refresh()

    def farewell(self) -> r.Tidy | None:
        """Return the request that takes all of this server out, which is about to end."""
        if self._flush is not None:
            self._flush.cancel()
        ids = [*self._entries, *self._gone]
        return r.Tidy(provenance=_BY, work=lambda tx, _: store.write(tx, (), ids)) if ids else None

    def _forget_silent(self) -> None:
        oldest = self._now() - _POLL_SECONDS * 1_000_000
        for key, id_ in list(self._polling.items()):
            entry = self._entries.get(id_)
            if entry is None or (not entry.sessions and entry.last_seen < oldest):
                del self._polling[key]
                self._entries.pop(id_, None)
                self._changed.pop(id_, None)
                self._gone[id_] = None

    def _seen(self, entry: _Entry) -> tuple[int, int, str]:
        if entry.sessions:
            entry.last_seen = self._now()
        seconds = _STREAM_SECONDS if entry.connection == "STREAM" else _POLL_SECONDS
        return entry.last_seen, entry.last_seen + seconds * 1_000_000, entry.id

    def _row(self, entry: _Entry) -> store.Worker:
        session = entry.session
        last_seen, expires_at, _ = self._seen(entry)
        # the first target of each name is the worker's own id
        serves = [
            Serves(name, concurrency, session.targets.get(name, ())[1:])
            for name, concurrency in sorted(session.limits.items())
        ]
        return store.Worker(
            entry.id, entry.program, session.namespace, session.worker, session.instance, self._server_id,
            entry.connection, session.build, session.is_going, serves, entry.first_seen, last_seen, expires_at,
        )  # fmt: skip

    # --- drains ----------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Learn whom operators have drained, and obey."""
        async with self._reading:
            # one at a time: what was read later must not be overwritten by what was read before
            self._drains = await self._read(lambda connection, _: store.drains(connection))
        for entry in self._entries.values():
            found = self._drains.get(entry.program)
            if (found is not None) == entry.is_held:
                continue
            entry.is_held = found is not None
            for session_id, told in entry.sessions.items():
                self._desk.hold(session_id, is_held=entry.is_held)
                told(found)
