"""Sending events to webhooks: at least once, in the order of each execution, whoever of the servers does it.

One server at a time sends for a subscription; a lease says which. It reads the log from the subscription's place on and
sends the events of different executions side by side. An event that is not taken parks its execution: what follows of
it waits, everybody else's goes on. So the place moves, and a receiver that refuses one thing gets the rest.

What was sent and not yet written down when a server dies is sent again, with the same id.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Sequence

import sqlalchemy as sa

from tradewind_server.actions import backoff
from tradewind_server.actions.webhook_sender import NotDelivered, WebhookSender
from tradewind_server.errors import CursorLost, DatabaseUnavailable, FilterInvalid, Refusal
from tradewind_server.runtime import subscriptions as r
from tradewind_server.runtime.committer import Broken
from tradewind_server.runtime.notify import PREFIX, NotifyRoute
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.runtime.selection import Selection
from tradewind_server.runtime.tail import COMMANDS, Follower
from tradewind_server.runtime.waiting import wait
from tradewind_server.store import log as events_log
from tradewind_server.store import parked, webhooks
from tradewind_server.store import subscriptions as store
from tradewind_server.store.parked import Parked
from tradewind_server.store.records import MARKED, Provenance, StoredEvent
from tradewind_server.store.subscriptions import Subscription
from tradewind_server.store.webhooks import Webhook

log = logging.getLogger(__name__)

#: Requests to one receiver at once.
_AT_ONCE = 16
#: An execution whose receiver takes longer is parked while it does, so that the others need not wait for it.
_PATIENCE_SECONDS = 1.0
#: Above this many executions that wait for another attempt, the receiver is down, and the place stays where it is.
_MOST_WAITING = 1000
#: Those of them that are looked at together: more than are sent at once.
_MOST_DUE = 4 * _AT_ONCE
#: Events of one parked execution sent before that is written down.
_STRETCH = 50
_LOOK_SECONDS = 1.0
_LEASE_SECONDS = 30.0
_RENEW_SECONDS = 5.0
_MOST_LEASES = 20
_EVERY = 100_000
#: The first attempt after a failure, and the longest time between two.
_FIRST_SECONDS = 1.0
_LONGEST_SECONDS = 3600.0
_PROVENANCE = Provenance("system:webhooks", "DeliverEvents")


class Webhooks:
    """All webhooks that this server sends to. Belongs to the event loop."""

    def __init__(self, runtime: Runtime, sender: WebhookSender) -> None:
        self._runtime = runtime
        self._sender = sender
        self._pumps: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._look: asyncio.Task[None] | None = None
        #: On SQLite there is no other server: what one before this had leased is free.
        self._takes_all = not runtime.database.is_postgresql

    def start(self) -> None:
        """Begin to send."""
        self._look = asyncio.create_task(self._keep_looking())

    async def stop(self) -> None:
        """Send no more; other servers take over at once."""
        tasks = [*self._pumps.values(), *([self._look] if self._look else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._sender.close()

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self._take_free()
            except (DatabaseUnavailable, sa.exc.DBAPIError) as trouble:
                self._runtime.outage.met(trouble)
            except (Refusal, Broken) as problem:
                log.warning("webhooks cannot be looked for: %s; trying again", problem)
            except Exception:
                # what must be sent must not end with one fault
                log.exception("webhooks could not be looked for; trying again")
            self._pumps = {key: task for key, task in self._pumps.items() if not task.done()}
            await wait(self._runtime.webhooks_changed, _LOOK_SECONDS)
            self._runtime.webhooks_changed.clear()

    async def _take_free(self) -> None:
        now = self._now()
        length = int(_LEASE_SECONDS * 1_000_000)
        ended_by = now + length if self._takes_all else now
        # a few at a time: the other servers look, too
        most = _EVERY if self._takes_all else _MOST_LEASES
        found = await self._runtime.read(lambda c, _: store.unsent(c, ended_by, most))
        self._takes_all = False
        for namespace, name in found:
            row = await self._runtime.ask(
                r.Lease(
                    provenance=_PROVENANCE,
                    namespace=namespace,
                    name=name,
                    owner=self._runtime.server_id,
                    at=now,
                    ended_by=ended_by,
                    until=now + length,
                )
            )
            if isinstance(row, Subscription):
                previous = self._pumps.get((namespace, name))
                if previous is not None:
                    previous.cancel()
                self._pumps[namespace, name] = asyncio.create_task(Pump(self._runtime, self._sender, row).run())

    def _now(self) -> int:
        return self._runtime.clock.microseconds()


@dataclasses.dataclass(slots=True)
class _Chain:
    """Events of one execution, to be sent one after the other."""

    events: Sequence[StoredEvent]
    webhook: Webhook
    #: How often the first of them was sent before, and when first.
    attempts: int = 0
    first_at: int = 0
    #: How many are sent.
    sent: int = 0
    problem: NotDelivered | None = None


class Pump:
    """Sends one subscription's events as long as it has the lease."""

    def __init__(self, runtime: Runtime, sender: WebhookSender, row: Subscription) -> None:
        self._runtime = runtime
        self._sender = sender
        self._row = row
        self._place = row.place
        self._written = row.place
        self._written_at = runtime.clock.monotonic()
        #: Executions at which something is being sent beside the log.
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)
        #: The receiver asked for quiet until then, monotonic seconds.
        self._quiet_until = 0.0
        self._is_lost = False
        self._disable = ""
        #: Each execution has a receiver of its own: what one asks for is nothing to the others.
        self._is_shared = row.name.startswith(PREFIX)

    async def run(self) -> None:
        """Send until somebody else does, or nobody should."""
        row, runtime = self._row, self._runtime
        key = (row.namespace, row.name)
        self._follower = follower = runtime.tails.follow(row.namespace)
        runtime.consumers.enter(key, row.epoch, self._lose, follower.wake)
        try:
            self._route = _route(row, runtime)
            follower.is_whole = row.place != events_log.BEGINNING
            if follower.is_whole and not await runtime.read(lambda c, _: events_log.holds(c, row.namespace, row.place)):
                await self._give_up()
            while not self._is_lost:
                await self._step(follower)
        except CursorLost:
            await self._give_up()
        except (Refusal, Broken, sa.exc.DBAPIError) as problem:
            log.warning("webhook '%s' of '%s' is interrupted: %s", row.name, row.namespace, problem)
        except FilterInvalid as problem:
            log.error("webhook '%s' of '%s' has no usable filter: %s", row.name, row.namespace, problem)
        except Exception:
            # another server, or this one a little later, takes it up
            log.exception("webhook '%s' of '%s' failed", row.name, row.namespace)
        finally:
            runtime.consumers.leave(key, row.epoch)
            follower.close()
            for task in self._busy.values():
                task.cancel()
            self._let_go()

    async def _give_up(self) -> None:
        self._disable = "CURSOR_LOST: the log does not have the event of its cursor. Rewind it, and enable it."
        await self._write()

    def _let_go(self) -> None:
        """Free the lease, so that another server need not wait for its end, unless it is another's already."""
        self._disable = ""
        self._runtime.tell(self._delivered(self._written, 0.0))

    def _lose(self) -> None:
        self._is_lost = True
        self._follower.wake()

    async def _step(self, follower: Follower) -> None:
        clock = self._runtime.clock
        quiet = self._quiet_until - clock.monotonic()
        if quiet > 0:
            await follower.wait(min(quiet, _RENEW_SECONDS))
            await self._renew()
            return
        next_due, waiting = await self._retry_due()
        has_more = waiting < _MOST_WAITING and await self._round(follower)
        await self._renew()
        if not has_more and not self._is_lost:
            await follower.wait(min(next_due, _RENEW_SECONDS))

    async def _renew(self) -> None:
        is_far = self._place.xid - self._written.xid > COMMANDS
        if is_far or self._runtime.clock.monotonic() - self._written_at > _RENEW_SECONDS:
            await self._write()

    # --- from the log ----------------------------------------------------------------------------

    async def _round(self, follower: Follower) -> bool:
        """Send what follows in the log, or park it; tell whether there may be more."""
        events, end, is_cut = await follower.next(self._place)
        wanted = await self._route.of(events)
        if wanted:
            await self._send(wanted, end)
        else:
            self._place = end
        return bool(events) or is_cut

    async def _send(self, wanted: Sequence[StoredEvent], end: events_log.Place) -> None:
        by_execution: dict[str, list[StoredEvent]] = {}
        for event in await self._masked(wanted):
            by_execution.setdefault(event.execution_id, []).append(event)
        hooks = {id_: self._route.webhook(events[0]) for id_, events in by_execution.items()}
        row, ids = self._row, list(by_execution)
        known = await self._runtime.read(lambda c, _: parked.of(c, row.namespace, row.name, ids))
        waiting = known.keys() | self._busy.keys()
        following = [self._parked(events[0], events[-1]) for id_, events in by_execution.items() if id_ in waiting]
        chains = {id_: _Chain(events, hooks[id_]) for id_, events in by_execution.items() if id_ not in waiting}
        tasks = {id_: asyncio.create_task(self._run_chain(chain)) for id_, chain in chains.items()}
        try:
            if tasks:
                await asyncio.wait(tasks.values(), timeout=_PATIENCE_SECONDS)
        except asyncio.CancelledError:
            for task in tasks.values():
                task.cancel()
            raise
        progress = [self._result(chain) for chain in chains.values() if chain.problem is not None]
        for id_, task in tasks.items():
            if not task.done():
                # its own row says what is not sent, until it has ended
                progress.append(self._slow(chains[id_]))
                self._busy[id_] = asyncio.create_task(self._finish(id_, chains[id_], task))
            else:
                task.result()
        await self._write(progress, following, end)

    def _parked(self, first: StoredEvent, last: StoredEvent) -> Parked:
        row = self._row
        return Parked(row.namespace, row.name, first.execution_id, first.revision, last.revision, next_at=self._now())

    def _slow(self, chain: _Chain) -> Parked:
        """Return the row of an execution at which something is under way: due only if this server is gone."""
        later = self._now() + chain.webhook.timeout_us * len(chain.events) + int(_LEASE_SECONDS * 1_000_000)
        return dataclasses.replace(self._parked(chain.events[chain.sent], chain.events[-1]), next_at=later)

    async def _finish(self, id_: str, chain: _Chain, task: asyncio.Task[None]) -> None:
        try:
            await task
            await self._write([self._result(chain)])
        except (Refusal, Broken) as problem:
            log.warning("webhook '%s': %s", self._row.name, problem)
            self._lose()
        except Exception:
            # else it would be due at once, again and again
            log.exception("webhook '%s' failed", self._row.name)
            self._lose()
        finally:
            task.cancel()
            self._busy.pop(id_, None)
            self._follower.wake()

    # --- once more -------------------------------------------------------------------------------

    async def _retry_due(self) -> tuple[float, int]:
        """Send what is due again; return in how many seconds something is, and how many executions wait."""
        row, now = self._row, self._now()
        key = (row.namespace, row.name)
        # who ends while this reads may be read as he was before; he wakes the follower, and is looked at again
        busy = set(self._busy)
        rows = await self._runtime.read(lambda c, _: parked.due(c, *key, _MOST_DUE))
        count = len(rows)
        if count == _MOST_DUE:
            count = await self._runtime.read(lambda c, _: parked.waiting(c, *key, _MOST_WAITING))
        busy |= self._busy.keys()
        idle = [item for item in rows if item.execution_id not in busy]
        for item in idle:
            if item.next_at <= now and len(self._busy) < _AT_ONCE:
                self._busy[item.execution_id] = asyncio.create_task(self._resume(item))
        later = [(item.next_at - now) / 1_000_000 for item in idle if item.next_at > now]
        return max(0.01, min(later, default=_RENEW_SECONDS)), count

    async def _resume(self, item: Parked) -> None:
        """Send the next events of a parked execution."""
        try:
            events = await self._runtime.read(lambda c, _: parked.events(c, item, _STRETCH))
            wanted = await self._route.of(events)
            passed = events[-1].revision if len(events) == _STRETCH else item.through
            progress = dataclasses.replace(
                item, revision=passed + 1, attempts=0, first_at=0, next_at=self._now(), message=""
            )
            if wanted:
                chain = _Chain(await self._masked(wanted), self._route.webhook(wanted[0]))
                if wanted[0].revision == item.revision:
                    chain.attempts, chain.first_at = item.attempts, item.first_at
                await self._run_chain(chain)
                if chain.problem is not None:
                    progress = dataclasses.replace(self._result(chain), through=item.through)
            await self._write([progress])
        except (Refusal, Broken) as problem:
            log.warning("webhook '%s': %s", self._row.name, problem)
            self._lose()
        except Exception:
            # else it would be due at once, again and again
            log.exception("webhook '%s' failed", self._row.name)
            self._lose()
        finally:
            self._busy.pop(item.execution_id, None)
            self._follower.wake()

    async def _masked(self, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        """Return *events* as a receiver sees them, who has no rights."""
        if all(event.codec != MARKED for event in events):
            return events
        return await self._runtime.read(lambda c, _: self._runtime.sensitive.masked(c, events))

    # --- sending ---------------------------------------------------------------------------------

    async def _run_chain(self, chain: _Chain) -> None:
        """Send the events one after the other, up to the first that is not taken."""
        for event in chain.events:
            async with self._room:
                if self._is_lost or self._is_late():
                    chain.problem = NotDelivered("The server stopped sending.")
                    return
                chain.first_at = chain.first_at or self._now()
                try:
                    await self._sender.send(chain.webhook, event)
                except NotDelivered as problem:
                    self._heed(problem)
                    chain.problem = problem
                    chain.attempts += 1
                    return
            chain.sent += 1
            chain.attempts, chain.first_at = 0, 0

    def _is_late(self) -> bool:
        """Tell whether the lease is over, so that another server may send by now."""
        return self._runtime.clock.monotonic() - self._written_at > _LEASE_SECONDS

    def _heed(self, problem: NotDelivered) -> None:
        if self._is_shared:
            return
        if problem.is_gone:
            self._disable = "The receiver answered that it is gone (410)."
        if problem.retry_after:
            self._quiet_until = max(self._quiet_until, self._runtime.clock.monotonic() + problem.retry_after)

    def _result(self, chain: _Chain) -> Parked:
        """Return how far a chain has come: with nothing left, or parked until the next attempt, or given up."""
        if chain.problem is None:
            last = chain.events[-1]
            return dataclasses.replace(self._parked(last, last), revision=last.revision + 1)
        now, webhook = self._now(), chain.webhook
        item = self._parked(chain.events[chain.sent], chain.events[-1])
        is_dead = chain.attempts >= webhook.max_attempts or now - chain.first_at >= webhook.max_age_us
        is_dead = is_dead or (self._is_shared and chain.problem.is_gone)
        pause = max(backoff_seconds(item, chain.attempts), chain.problem.retry_after)
        return dataclasses.replace(
            item,
            attempts=chain.attempts,
            first_at=chain.first_at,
            next_at=now + int(pause * 1_000_000),
            given_up_at=now if is_dead else 0,
            message=str(chain.problem)[:1000],
        )

    # --- writing down ----------------------------------------------------------------------------

    async def _write(
        self,
        progress: Sequence[Parked] = (),
        following: Sequence[Parked] = (),
        place: events_log.Place | None = None,
    ) -> None:
        """Write what was sent, and keep the lease. The place moves only together with what is parked before it."""
        place = place or self._place
        asked_at = self._runtime.clock.monotonic()
        request = self._delivered(place, _LEASE_SECONDS, progress, following)
        is_ours = await self._runtime.ask(request, reserved=True)
        self._place, self._written, self._written_at = max(self._place, place), place, asked_at
        if not is_ours:
            self._lose()

    def _delivered(
        self,
        place: events_log.Place,
        lease_seconds: float,
        progress: Sequence[Parked] = (),
        following: Sequence[Parked] = (),
    ) -> r.Deliver:
        row, now = self._row, self._now()
        return r.Deliver(
            provenance=_PROVENANCE,
            namespace=row.namespace,
            name=row.name,
            epoch=row.epoch,
            at=now,
            lease_until=now + int(lease_seconds * 1_000_000),
            place=place,
            progress=progress,
            following=following,
            disable=self._disable,
        )

    def _now(self) -> int:
        return self._runtime.clock.microseconds()


class _Route:
    """The events that one webhook gets."""

    def __init__(self, row: Subscription, runtime: Runtime) -> None:
        self.of = Selection(row.filter, runtime.read).of
        self._webhook = webhooks.decode(row.webhook)

    def webhook(self, event: StoredEvent) -> Webhook:
        """Return where an event goes."""
        return self._webhook


def _route(row: Subscription, runtime: Runtime) -> _Route | NotifyRoute:
    if row.name.startswith(PREFIX):
        return NotifyRoute(int(row.name.removeprefix(PREFIX)), runtime.read)
    return _Route(row, runtime)


def backoff_seconds(item: Parked, attempts: int) -> float:
    """Return how long to wait after so many attempts to send the next event of a parked execution."""
    what = f"{item.subscription} {item.execution_id} {item.revision} {attempts}"
    return backoff.pause(attempts, _FIRST_SECONDS, _LONGEST_SECONDS, what)
