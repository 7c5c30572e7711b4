"""The runtime's face on the event loop: ask, read, watch, serve workers; and the loops that keep things moving."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import logging
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Protocol, TypeVar

import sqlalchemy as sa

from tradewind_server import garbage
from tradewind_server.clock import SystemClock
from tradewind_server.errors import DatabaseUnavailable, QueueFull, ServerDraining
from tradewind_server.ids import Ids
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.action_limits import ActionLimits
from tradewind_server.runtime.alarm import Alarm
from tradewind_server.runtime.batch import Surroundings
from tradewind_server.runtime.bulletin import Bulletin, News
from tradewind_server.runtime.cache import Cache
from tradewind_server.runtime.committer import Committer
from tradewind_server.runtime.consumers import Consumers
from tradewind_server.runtime.desk import Desk, QueueName, Session
from tradewind_server.runtime.hearing import Hearing
from tradewind_server.runtime.hub import Hub
from tradewind_server.runtime.log_followers import LogFollowers
from tradewind_server.runtime.meters import Meters
from tradewind_server.runtime.outage import Outage
from tradewind_server.runtime.pruner import Pruner
from tradewind_server.runtime.secrets import Secrets
from tradewind_server.runtime.sensitive import Sensitive
from tradewind_server.runtime.streams import Streams
from tradewind_server.runtime.tail import Tails
from tradewind_server.runtime.tokens import Signer
from tradewind_server.runtime.turns import CommitterThread
from tradewind_server.runtime.waiting import wait
from tradewind_server.runtime.workers import BEAT_SECONDS, Workers
from tradewind_server.settings import Settings
from tradewind_server.store import scans
from tradewind_server.store.database import Database, brief
from tradewind_server.store.definitions import Registry
from tradewind_server.store.records import Provenance, QueueRow
from tradewind_server.store.statements import Dialect
from tradewind_server.store.substitutes import Announced
from tradewind_server.store.writer import Writer

log = logging.getLogger(__name__)

T = TypeVar("T")

#: What is left lying in the tables (by a dead server, or a lost shortcut) is picked up after this long.
LATE_SECONDS = 2.0
_SCAN_SECONDS = 2.0
_SWEEP_SECONDS = 1.0
_CLOCK_SECONDS = 10.0
#: A clock that cannot be read from the database within this long is not corrected by it.
_CLOCK_BOUND_SECONDS = 0.5
#: Without a correction for this long nobody knows any more how late it is.
_CLOCK_TRUST_SECONDS = 60.0
#: How long somebody waits for what is being claimed for him, at most.
_CLAIM_SECONDS = 1.0
_READ_THREADS = 4
#: How long SQLite's log grows before it is copied back.
_COPY_SECONDS = 0.25
#: How long a thread keeps the interpreter's lock from one that waits for it. A millisecond would add one to a hop's
#: p99, and a fifth of one cost some 5 % of the server's processor time in switching.
_SWITCH_SECONDS = 0.0005


class Link(Protocol):
    """The event loop's end of a worker session."""

    def offer(self, row: QueueRow) -> None:
        """Hand a leased action over."""

    def order(self, execution_id: str, action_id: int, is_cancel: bool) -> None:
        """Tell the worker to stop, if it holds the action."""

    def go_away(self) -> None:
        """The server goes down: let the worker look for another one."""


class Runtime:
    """One server's runtime. All methods are for the event loop."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        settings: Settings,
        clock: SystemClock,
        ids: Ids,
        signer: Signer,
    ) -> None:
        self.database = database
        self.settings = settings
        self.clock = clock
        self.ids = ids
        self.registry = registry
        self.signer = signer
        self.secrets = Secrets(settings)
        self.sensitive = Sensitive()
        self.server_id = ids.opaque()[:12]
        self.desk = Desk()
        self.hub = Hub()
        self.log_followers = LogFollowers()
        self.streams = Streams(settings)
        self.outage = Outage(clock.monotonic)
        self.tails = Tails(database, self.read, self.outage)
        self.consumers = Consumers(self.read)
        #: Set when a webhook may have to be sent to that was not before.
        self.webhooks_changed = asyncio.Event()
        self.limits = ActionLimits(self.read, self.ask, self.desk)
        #: (namespace, action) -> what lets its queues be looked at when its rate lets another one go.
        self._rested: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self.workers = Workers(self.server_id, self.read, self.ask, clock, self.desk)
        #: Set when notifications wait to be sent that did not before.
        self.notifications_changed = asyncio.Event()
        self.pruner = Pruner(self.read, self.ask, clock, settings)
        self._alarm = Alarm()
        self._alarm_changed = asyncio.Event()
        around = Surroundings(Cache(settings.cache_bytes), self.desk, registry, settings)
        names = [f"{self.server_id}/{number}" for number in range(2 if database.is_postgresql else 1)]
        self._writers = [Writer(database, name) for name in names]
        committers = [Committer(writer, around, clock, ids) for writer in self._writers]
        self._thread = CommitterThread(committers, self._publish, settings)
        self._links: dict[str, Link] = {}
        #: Session -> what is done when its claim has been answered.
        self._claiming: dict[str, asyncio.Future[None]] = {}
        self._again: set[str] = set()
        self._readers = concurrent.futures.ThreadPoolExecutor(_READ_THREADS, "reader")
        self._loop = asyncio.get_running_loop()
        self._tasks: list[asyncio.Task[None]] = []
        #: A reference, or the task could be collected before it is done.
        self._obeying: asyncio.Task[None] | None = None
        self._bulletin = Bulletin(database, self.server_id, self._hear, self.outage) if database.is_postgresql else None
        self._draining = False
        self.meters = Meters()
        self.commands = 0
        #: How many there were when SQLite's log was last copied back.
        self._copied_commands = 0
        #: Told of the namespace and name of a queued action that no session of this server serves.
        self.on_unserved: Callable[[str, str], None] = lambda namespace, name: None
        #: Told when the server becomes unfit to serve, and fit again.
        self.on_health: Callable[[bool], None] = lambda is_fit: None
        self._corrected_at = clock.monotonic()
        self._hearing = Hearing(clock, settings, _SWEEP_SECONDS)
        self._is_fit = True

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to work: pick up what is due, then keep going."""
        if self.database.is_postgresql:
            await self.correct_clock()
            self._repeat(_CLOCK_SECONDS, self.correct_clock)
            self._repeat(_SWEEP_SECONDS, self._check_clock)
        sys.setswitchinterval(_SWITCH_SECONDS)
        garbage.search_rarely()
        garbage.leave_out_what_is_loaded()
        self._thread.start()
        await self.limits.refresh()
        await self.workers.refresh()
        await self._scan(0.0)
        self._tasks.append(asyncio.create_task(self._ring()))
        self._repeat(_SCAN_SECONDS, lambda: self._scan(LATE_SECONDS))
        self._repeat(_SWEEP_SECONDS, self._sweep)
        self._repeat(BEAT_SECONDS, self._beat)
        if self.settings.retention_seconds:
            self._repeat(self.settings.retention_seconds, self._prune)
        if self._bulletin is not None:
            self._bulletin.start(self._loop)
        if not self.database.is_postgresql:
            self._repeat(_COPY_SECONDS, self._copy_back)

    async def stop(self) -> None:
        """Finish what is queued, then close."""
        self._draining = True
        self.tails.stop()
        for handle in self._rested.values():
            handle.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._bulletin is not None:
            await asyncio.to_thread(self._bulletin.stop)
        if (farewell := self.workers.farewell()) is not None:
            self.tell(farewell)
        for writer in self._writers:
            writer.give_up()
        await asyncio.to_thread(self._thread.stop)
        await asyncio.sleep(0)
        for writer in self._writers:
            writer.close()
        self._readers.shutdown(wait=True)

    def _repeat(self, seconds: float, work: Callable[[], Coroutine[None, None, None]]) -> None:
        async def loop() -> None:
            while True:
                await asyncio.sleep(seconds)
                try:
                    await work()
                except ServerDraining:
                    return
                except (DatabaseUnavailable, sa.exc.OperationalError, sa.exc.InterfaceError) as error:
                    self.outage.met(error)
                except Exception:
                    # what keeps the server going must itself keep going
                    log.exception("a repeated task failed; trying again")

        self._tasks.append(asyncio.create_task(loop()))

    async def _copy_back(self) -> None:
        if self.commands != self._copied_commands:
            self._copied_commands = self.commands
            await self._loop.run_in_executor(self._readers, self.database.copy_back)

    # --- asking ----------------------------------------------------------------------------------

    async def ask(self, request: r.Request, *, reserved: bool = False) -> object:
        """Have *request* carried out and return its answer, once it is durable.

        Raises:
            Refusal: it is refused, or the queue is full.
            Broken: the server is at fault.
        """
        if self._draining:
            raise ServerDraining
        future: asyncio.Future[object] = self._loop.create_future()

        def reply(answer: object) -> None:
            if future.done():
                return
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        request.reply = reply
        self._thread.submit(request, reserved=reserved)
        return await future

    def tell(self, request: r.Request) -> None:
        """Have *request* carried out some time soon; nobody waits for the answer but `request.reply`."""
        self._thread.submit(request, reserved=True)

    async def read(self, query: Callable[[sa.Connection, Dialect], T]) -> T:
        """Run *query* on a snapshot of the database, off the loop.

        Raises:
            DatabaseUnavailable: it does not answer.
        """

        def work() -> T:
            with self.database.reading() as (connection, dialect):
                return query(connection, dialect)

        try:
            # with the context of the call, which says who asks
            return await self._loop.run_in_executor(self._readers, contextvars.copy_context().run, work)
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise DatabaseUnavailable(problem=brief(error)) from error

    @property
    def is_draining(self) -> bool:
        """Tell whether the server is going down."""
        return self._draining

    def drain(self) -> None:
        """Take no more commands, and let watchers, workers and who waits for an end go elsewhere."""
        self._draining = True
        for link in self._links.values():
            link.go_away()
        self.hub.go_away()
        self.tails.wake_all()
        self.log_followers.wake_all()

    @property
    def is_fit(self) -> bool:
        """Tell whether the time is known well enough to compare moments with other servers."""
        return self._is_fit

    @property
    def committer_thread_id(self) -> int:
        """Return the operating system's id of the thread that decides and commits, which has been started."""
        return self._thread.native_id

    @property
    def queue_length(self) -> int:
        """Return how many requests wait for the committer."""
        return self._thread.length

    # --- workers ---------------------------------------------------------------------------------

    def open_session(self, session: Session, link: Link) -> None:
        """Take a worker in."""
        self._links[session.id] = link
        self.desk.open(session)
        if self._draining:
            link.go_away()  # it was on its way in when the others were told

    def close_session(self, session_id: str) -> None:
        """Let a worker go; what it holds stays leased until it is released or the lease ends."""
        self.desk.close(session_id)
        self._links.pop(session_id, None)

    def drain_session(self, session_id: str) -> None:
        """Give a worker nothing more, as it says itself; it still hears of cancellations."""
        self.desk.drain(session_id)
        self.workers.note_going(session_id)

    async def limits_changed(self) -> None:
        """A limit has been put or removed: all servers are to obey."""
        await self._learn_limits()
        self._claim()
        if self._bulletin is not None:
            self._bulletin.tell_of_rules()

    async def drains_changed(self) -> None:
        """An operator has drained workers, or resumed them: all servers are to obey."""
        await self.workers.refresh()
        self._claim()
        if self._bulletin is not None:
            self._bulletin.tell_of_rules()

    async def claimed(self, session_id: str) -> None:
        """Wait, for a second at most, until nothing is claimed for a session: what it was given it has then."""
        if (claim := self._claiming.get(session_id)) is not None:
            await asyncio.wait((claim,), timeout=_CLAIM_SECONDS)

    def grant(self, session_id: str, more: int) -> None:
        """A worker has room for *more* actions."""
        self.desk.grant(session_id, more)
        if session_id in self._claiming:
            self._again.add(session_id)
        # nothing is new to the others: of thousands that connect at once each would look at all
        self._claim(session_id)

    def _claim(self, session_id: str = "") -> None:
        """Ask for queued actions on behalf of every session with room, or of one."""
        if not self._is_fit:
            return
        for session, wanted in self.desk.wants(session_id):
            if session.id in self._claiming:
                continue
            self._claiming[session.id] = self._loop.create_future()
            request = r.Claim(
                provenance=Provenance("system:claims", "ClaimActions"), session=session.id, worker=session.worker,
                build=session.build, namespace=session.namespace, wanted=wanted,
            )  # fmt: skip
            request.reply = lambda _, id_=session.id: self._end_claim(id_)
            self.tell(request)

    def _end_claim(self, session_id: str) -> None:
        self._claiming.pop(session_id).set_result(None)
        if session_id in self._again:
            self._again.remove(session_id)
            self._claim(session_id)

    # --- what comes back -------------------------------------------------------------------------

    def _publish(self, outcome: r.Outcome) -> None:
        """Called by the committer's thread: one hop to the loop for a whole batch."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._deliver, outcome)

    def _deliver(self, outcome: r.Outcome) -> None:
        self.commands += outcome.commands
        self.meters.note(outcome.commit_seconds, outcome.announcements)
        for request, answer in outcome.answers:
            if request.reply is not None:
                request.reply(answer)
        self.hub.announce(outcome.announcements)
        self.tails.note({announcement.namespace for announcement in outcome.announcements})
        changed = [announcement.execution_id for announcement in outcome.announcements]
        self.log_followers.wake((*changed, *outcome.logged))
        for session_id, row in outcome.offers:
            self._hand_over(session_id, row)
        for execution_id, action_id, is_cancel in outcome.orders:
            self._order(execution_id, action_id, is_cancel)
        self._note_timers(outcome)
        if outcome.notified:
            self.notifications_changed.set()
        for target in outcome.targets:
            self._deliver_messages(target)
        for request in outcome.follow_ups:
            self.tell(request)
        self._look_after(outcome.queued)
        self._note_limited(outcome)
        if outcome.queued or outcome.emptied or outcome.limited:
            self._claim()
        if self._bulletin is not None:
            self._bulletin.tell(changed, sorted(outcome.queued), outcome.orders, outcome.logged)

    def _note_limited(self, outcome: r.Outcome) -> None:
        """Look again where a rate lets another action go."""
        for queue, next_at in outcome.limited.items():
            name = queue[:2]
            if next_at is not None and name not in self._rested:
                seconds = max(0, next_at - self.clock.microseconds()) / 1_000_000 + 0.001
                self._rested[name] = self._loop.call_later(seconds, self._wake_queue, queue)

    def _wake_queue(self, queue: QueueName) -> None:
        self._rested.pop(queue[:2], None)
        self.desk.note_queued([queue])
        self._claim()

    def _look_after(self, queues: Iterable[QueueName]) -> None:
        for queue in queues:
            if not self.desk.serves(queue):
                self.on_unserved(queue[0], queue[1])

    def _hand_over(self, session_id: str, row: QueueRow) -> None:
        link = self._links.get(session_id)
        if link is not None and not self.desk.is_leaving(session_id):
            link.offer(row)
            return
        # the session closed, or began to drain, while its action was being leased
        self.desk.give_back(session_id, row.name)
        held = r.Held(execution_id=row.execution_id, action_id=row.action_id, attempt=row.attempt, epoch=row.epoch)
        provenance = Provenance("system:sessions", "ReleaseActions")
        self.tell(r.Release(provenance=provenance, released=[(held, 0)], lost=False))

    def _order(self, execution_id: str, action_id: int, is_cancel: bool) -> None:
        for link in self._links.values():
            link.order(execution_id, action_id, is_cancel)

    def _note_timers(self, outcome: r.Outcome) -> None:
        first = self._alarm.next_due()
        for due, execution_id, timer_id in outcome.timers:
            self._alarm.add(due, execution_id, timer_id)
        for key in outcome.ended_timers:
            self._alarm.forget(*key)
        if self._alarm.next_due() != first:
            self._alarm_changed.set()

    def _deliver_messages(self, target: str) -> None:
        provenance = Provenance("system:messages", "DeliverMessages")
        self.tell(r.Deliver(provenance=provenance, target=target, at=self.clock.now()))

    def _hear(self, news: News) -> None:
        """Another server has committed something."""
        if news.executions:
            self.tails.note_all()
        if news.is_partial:
            self.hub.wake_all()
            self.log_followers.wake_all()
        self.hub.wake(news.executions)
        self.log_followers.wake((*news.executions, *news.logged))
        for execution_id, action_id, is_cancel in news.orders:
            self._order(execution_id, action_id, is_cancel)
        if news.has_rules:
            self._obeying = self._loop.create_task(self._obey())
        if news.queued:
            self.desk.note_queued(news.queued)
            self._look_after(news.queued)
            self._claim()

    async def _obey(self) -> None:
        with contextlib.suppress(DatabaseUnavailable, ServerDraining):  # the next look or beat asks again
            await self._learn_limits()
            await self.workers.refresh()
            self._claim()

    async def _learn_limits(self) -> None:
        await self.limits.refresh(is_news=True)
        for handle in self._rested.values():
            handle.cancel()
        self._rested.clear()

    # --- what keeps going ------------------------------------------------------------------------

    async def _ring(self) -> None:
        """Fire timers when they are due."""
        while True:
            due = self._alarm.next_due()
            now = self.clock.microseconds()
            if due is None or due > now or not self._is_fit:
                timeout = None if due is None or not self._is_fit else (due - now) / 1_000_000 + 0.001
                await wait(self._alarm_changed, timeout)
                self._alarm_changed.clear()
                continue
            for execution_id, timer_id in self._alarm.pop_due(now, 1000):
                self._fire(execution_id, timer_id)
            await asyncio.sleep(0)

    def _fire(self, execution_id: str, timer_id: int) -> None:
        provenance = Provenance(f"timer:{timer_id}", "FireTimer")
        self.tell(r.Timer(provenance=provenance, target=execution_id, timer_id=timer_id, at=self.clock.now()))

    async def _scan(self, late: float) -> None:
        """Read what the tables hold that memory may not: timers soon due, messages left lying, queued actions."""
        now = self.clock.microseconds()
        overdue = now - int(late * 1_000_000)
        found = await self.read(lambda connection, _: scans.look(connection, now, overdue))
        for due, execution_id, timer_id in found.timers:
            self._alarm.add(due, execution_id, timer_id)
        self._alarm_changed.set()
        for target in found.targets:
            self._deliver_messages(target)
        if found.queued:
            self.desk.note_queued(found.queued)
            self._look_after(found.queued)
        if late:
            await self.limits.refresh()
        self._claim()
        if self._bulletin is not None:
            # news between servers may be lost
            followed, awaited = self.hub.followed(), self.hub.awaited()
            self.hub.wake_behind(await self.read(lambda connection, _: scans.revisions(connection, followed)))
            logged = self.log_followers.followed()
            self.log_followers.check(await self.read(lambda connection, _: scans.log_marks(connection, logged)))
            await self.consumers.check()
            self.hub.wake(await self.read(lambda connection, _: scans.ended(connection, awaited)))
        if found.has_absences and self._is_fit:
            await self._announce_absences()
        self.outage.answered()

    async def _announce_absences(self) -> None:
        request = r.AnnounceAbsences(provenance=Provenance("system:absences", "AnnounceAbsences"), at=self.clock.now())
        is_more = True
        with contextlib.suppress(QueueFull):
            while is_more:
                done = await self.ask(request, reserved=True)
                assert isinstance(done, Announced)
                is_more = done.is_more
                if done.has_told:
                    self.notifications_changed.set()

    async def _sweep(self) -> None:
        """Take away what is leased to workers that are silent, though they could say that they are there."""
        if not self._is_fit:
            self._hearing.begin_anew()
            return
        now, were_heard = self._hearing.look()
        by = Provenance("system:leases", "SweepLeases")
        try:
            with contextlib.suppress(QueueFull):
                await self.ask(r.Sweep(provenance=by, at=now, were_heard=were_heard))
        except DatabaseUnavailable:
            self._hearing.begin_anew()
            raise

    async def _beat(self) -> None:
        if not self._is_fit:
            return
        with contextlib.suppress(QueueFull):
            await self.workers.beat()
        self._claim()

    async def _prune(self) -> None:
        if self._is_fit:
            await self.pruner.run()

    async def correct_clock(self) -> None:
        """Learn the database's time."""
        began = self.clock.monotonic()
        moment = await self.read(lambda connection, _: scans.database_now(connection))
        took = self.clock.monotonic() - began
        if took > _CLOCK_BOUND_SECONDS:
            log.warning("the database took %.1f s to tell the time; the clock was not corrected", took)
            return
        self.clock.correct(moment)
        self._corrected_at = began

    async def _check_clock(self) -> None:
        """Claim and expire nothing while the time is a guess: leases and timers are compared across servers.

        It waits for nothing: whatever asks a database that hangs does so for as long as that lasts.
        """
        age = self.clock.monotonic() - self._corrected_at
        is_fit = age <= _CLOCK_TRUST_SECONDS
        if is_fit == self._is_fit:
            return
        self._is_fit = is_fit
        log.log(
            logging.INFO if is_fit else logging.ERROR,
            "the database's time is known again"
            if is_fit
            else f"the database's time could not be learned for {age:.0f} s: nothing is claimed and no timer fires",
        )
        self.desk.suspend(not is_fit)
        self.on_health(is_fit)
        self._alarm_changed.set()
        self._claim()
