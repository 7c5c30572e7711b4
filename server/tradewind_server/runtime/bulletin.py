"""News between servers on one PostgreSQL: one coalesced NOTIFY per flush, on a connection of its own.

Never inside a commit: NOTIFY there would serialise the commits of the whole database. News may be lost without harm;
the tables are the truth and are polled slowly. A server that has heard of no other tells nobody anything, but that it
is there.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from tradewind_server.runtime.outage import Outage
from tradewind_server.store.database import Database

_CHANNEL = "tradewind"
#: PostgreSQL takes less than 8,000 bytes in one notification.
_MOST_EXECUTIONS = 150
_MOST_ORDERS = 20
_LISTEN_SECONDS = 0.5
#: A server that has nothing to tell says this often that it is there.
_GREETING_SECONDS = 5.0
#: One that was silent for longer is gone: without others, nobody is told anything.
_SILENCE_SECONDS = 16.0


class News(msgspec.Struct, omit_defaults=True):
    """What other servers may want to know."""

    server: str
    executions: list[str] = []
    #: (namespace, action name, target)
    queued: list[tuple[str, str, str]] = []
    #: (execution, action, is_cancel)
    orders: list[tuple[str, int, bool]] = []
    #: Executions about whose actions workers wrote something.
    logged: list[str] = []
    #: There was more than fits: look at everything.
    is_partial: bool = False
    #: Workers were drained or resumed, or limits changed.
    has_rules: bool = False

    @property
    def is_greeting(self) -> bool:
        """Tell whether it only says that its server is there."""
        told = self.executions or self.logged or self.queued or self.orders
        return not (told or self.is_partial or self.has_rules)


@dataclasses.dataclass(slots=True)
class _Pending:
    executions: dict[str, None] = dataclasses.field(default_factory=dict)
    queued: set[tuple[str, str, str]] = dataclasses.field(default_factory=set)
    orders: list[tuple[str, int, bool]] = dataclasses.field(default_factory=list)
    logged: dict[str, None] = dataclasses.field(default_factory=dict)
    has_rules: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.executions or self.queued or self.orders or self.logged or self.has_rules)

    @property
    def is_too_large(self) -> bool:
        return len(self.executions) + len(self.logged) > _MOST_EXECUTIONS or len(self.orders) > _MOST_ORDERS


class Bulletin:
    """Tells and hears news, each on a thread of its own."""

    def __init__(self, database: Database, server_id: str, hear: Callable[[News], None], outage: Outage) -> None:
        self._database = database
        self._outage = outage
        self._server_id = server_id
        self._hear = hear
        self._pending = _Pending()
        self._must_greet = False
        #: Other servers, and when each was heard of last, monotonic seconds.
        self._others: dict[str, float] = {}
        self._condition = threading.Condition()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._keep(self._send), name="bulletin-out", daemon=True),
            threading.Thread(target=self._keep(self._listen), name="bulletin-in", daemon=True),
        ]

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; news of others reach *hear* on *loop*."""
        self._loop = loop
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both threads."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()

    def tell(
        self,
        executions: Sequence[str],
        queued: Sequence[tuple[str, str, str]],
        orders: Sequence[tuple[str, int, bool]],
        logged: Sequence[str],
    ) -> None:
        """Let the other servers know; what comes while a notification is under way goes into the next."""
        if not (executions or queued or orders or logged):
            return
        with self._condition:
            if not self._has_others():
                return
            self._pending.executions.update(dict.fromkeys(executions))
            self._pending.queued.update(queued)
            self._pending.orders.extend(orders)
            self._pending.logged.update(dict.fromkeys(logged))
            self._condition.notify_all()

    def tell_of_rules(self) -> None:
        """Let the other servers know that workers were drained or resumed, or that limits changed."""
        with self._condition:
            self._pending.has_rules = self._has_others()
            self._condition.notify_all()

    def _has_others(self) -> bool:
        if not self._others:
            return False
        oldest = time.monotonic() - _SILENCE_SECONDS
        self._others = {server: heard for server, heard in self._others.items() if heard > oldest}
        return bool(self._others)

    def _note(self, server: str) -> None:
        """Another server is there; one that is new must hear of this one at once."""
        with self._condition:
            if server not in self._others:
                self._greet()
            self._others[server] = time.monotonic()

    def _greet(self) -> None:
        with self._condition:
            self._must_greet = True
            self._condition.notify_all()

    def _keep(self, work: Callable[[sa.Connection], None]) -> Callable[[], None]:
        def run() -> None:
            while not self._stopping:
                try:
                    with self._database.connect_reader() as connection:
                        work(connection)
                except sa.exc.DBAPIError as error:
                    self._outage.met(error)
                    with self._condition:
                        self._condition.wait_for(lambda: self._stopping, 1.0)

        return run

    def _send(self, connection: sa.Connection) -> None:
        while not self._stopping:
            with self._condition:
                self._condition.wait_for(self._has_news, _GREETING_SECONDS)
                is_last = self._stopping
                pending, self._pending = self._pending, _Pending()
                self._must_greet = False
            executions = list(pending.executions)[:_MOST_EXECUTIONS]
            news = News(
                self._server_id,
                executions,
                sorted(pending.queued)[:_MOST_ORDERS],
                pending.orders[:_MOST_ORDERS],
                list(pending.logged)[: _MOST_EXECUTIONS - len(executions)],
                pending.is_too_large,
                pending.has_rules,
            )
            # the last one also ends this server's own listening, which would go on for a while
            connection.exec_driver_sql("SELECT pg_notify(%s, %s)", (_CHANNEL, msgspec.json.encode(news).decode()))
            if is_last:
                return

    def _has_news(self) -> bool:
        return self._stopping or self._must_greet or not self._pending.is_empty

    def _listen(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"LISTEN {_CHANNEL}")
        self._greet()
        driver: Any = connection.connection.driver_connection
        decode = msgspec.json.Decoder(News).decode
        while not self._stopping:
            for note in driver.notifies(timeout=_LISTEN_SECONDS):
                if self._stopping:
                    return
                news = decode(note.payload)
                if news.server == self._server_id:
                    continue
                self._note(news.server)
                if not news.is_greeting:
                    self._loop.call_soon_threadsafe(self._hear, news)
