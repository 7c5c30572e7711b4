"""The Work stream: one worker, offers out, results in, many of each in a message."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

import grpc

from tradewind.v1 import action_callback_pb2 as pb
from tradewind_server.api import convert, offers
from tradewind_server.api.caller import namespace_of
from tradewind_server.api.errors import refusal_message
from tradewind_server.errors import FieldInvalid, LeaseLost, Refusal, StaleAttempt, StreamViolation
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.committer import Broken
from tradewind_server.runtime.desk import Session
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.runtime.secrets import Unresolved
from tradewind_server.store.records import Provenance, QueueRow
from tradewind_server.store.workers import Drain

_MOST_CREDITS = 10_000
#: A worker may hold as many, and name all of them at once.
_MOST_IN_FLIGHT = _MOST_CREDITS
_MOST_LABELS = 16
_MOST_NAMES = 1000
#: Offers in one message are cut by bytes.
_MOST_BYTES = 1024 * 1024
#: Above this many waiting requests a stream is not read on: its worker feels the pressure.
_QUEUE_PRESSURE = 10_000
#: Nor is that of a worker which leaves as many answers unread.
_MOST_ANSWERS = 20_000
#: That a result is recorded, nobody waits for: it is told so late (seconds), or with so many others, which spares
#: server and worker a message for each step.
_RECEIPTS_AFTER, _MANY_RECEIPTS = 0.01, 100

#: How long a stream with something in hand stays open when the server goes down: for results that are on their way.
#: A worker goes on with the rest at the next server; to wait for that would hold up the restart.
_FAREWELL_SECONDS = 0.5

_LEASES = Provenance("system:leases", "Accept")


def capabilities(given: Iterable[pb.ActionCapability]) -> dict[str, int]:
    """Return what a worker can do, name by name, with its own limit.

    Raises:
        FieldInvalid: there is nothing, or too much.
    """
    found = {convert.required("actions.name", item.name): item.concurrency for item in given}
    if not 1 <= len(found) <= _MOST_NAMES:
        expected = f"1 to {_MOST_NAMES} names"
        raise FieldInvalid(name="actions", expected=expected, problem=f"there are {len(found)}", field="actions")
    return found


def targets(worker: str, given: Iterable[pb.ActionCapability]) -> dict[str, list[str]]:
    """Return what a worker answers to, name by name: its id, and each label as key=value.

    Raises:
        FieldInvalid: there are too many labels.
    """
    found = {item.name: [worker, *(f"{key}={value}" for key, value in sorted(item.labels.items()))] for item in given}
    most = max(map(len, found.values()), default=0) - 1
    if most > _MOST_LABELS:
        expected = f"at most {_MOST_LABELS} labels"
        raise FieldInvalid(name="actions.labels", expected=expected, problem=f"there are {most}", field="actions")
    return found


@dataclasses.dataclass(slots=True)
class _Holding:
    """An offer in the worker's hands."""

    held: r.Held
    name: str
    token: bytes
    offered_at: float
    accepted: bool = False
    #: The work lease is written.
    written: bool = False


class WorkStream:
    """One stream, from Hello to its end."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._session = Session(runtime.ids.opaque(), "", "", {})
        self._granted = 0
        self._holding: dict[tuple[str, int], _Holding] = {}
        #: Messages with offers, and how many bytes the last of them has.
        self._offers: list[pb.WorkResponse] = []
        self._offers_bytes = 0
        self._receipts: list[pb.Receipt] = []
        self._are_receipts_due = False
        self._receipts_timer: asyncio.TimerHandle | None = None
        self._orders: list[pb.Order] = []
        self._standbys: list[pb.Standby] = []
        self._wake = asyncio.Event()
        self._ended: Exception | None = None
        self._is_over = False
        #: Results that have no receipt yet.
        self._unanswered = 0
        #: The worker has been told that the server goes down, and has had its time.
        self._has_said_farewell = self._is_farewell_over = False
        self._clock = runtime.clock.monotonic

    async def serve(self, incoming: AsyncIterator[pb.WorkRequest]) -> AsyncIterator[pb.WorkResponse]:
        """Yield what the worker is to get.

        Raises:
            StreamViolation, FieldInvalid: the worker breaks the rules.
        """
        first = await anext(aiter(incoming), None)
        if first is None:
            return
        welcome = await self._greet(first)
        tasks = [asyncio.create_task(self._listen(incoming)), asyncio.create_task(self._keep_leases())]
        drain = self._runtime.workers.open_stream(self._session, self._stand_by)
        if drain is not None:
            self._stand_by(drain)
        self._runtime.open_session(self._session, self)
        try:
            yield pb.WorkResponse(welcome=welcome)
            while True:
                await self._wake.wait()
                self._wake.clear()
                for message in self._outgoing():
                    yield message
                # what was not due then, if it has come to an end while these were sent
                for message in self._outgoing() if self._is_ending() else ():
                    yield message
                if self._ended is not None:
                    raise self._ended
                if self._runtime.is_draining and not self._has_said_farewell:
                    yield self._go_away()
                if self._is_done() and not self._wake.is_set():
                    return
        finally:
            for task in tasks:
                task.cancel()
            self._leave()

    # --- the beginning and the end ---------------------------------------------------------------

    def _go_away(self) -> pb.WorkResponse:
        self._has_said_farewell = True
        self._runtime.desk.drain(self._session.id)
        asyncio.get_running_loop().call_later(_FAREWELL_SECONDS, self._end_farewell)
        message = pb.WorkResponse(go_away=pb.GoAway(message="The server is shutting down."))
        convert.set_duration(message.go_away.grace, int(_FAREWELL_SECONDS * 1_000_000))
        return message

    def _end_farewell(self) -> None:
        self._is_farewell_over = True
        self._wake.set()

    def _is_done(self) -> bool:
        """Tell whether nothing is to be sent any more, and no result to come that is waited for."""
        is_last = self._is_over or (self._has_said_farewell and not self._holding)
        return self._is_farewell_over or (is_last and not self._unanswered)

    async def _greet(self, first: pb.WorkRequest) -> pb.Welcome:
        if first.WhichOneof("message") != "hello":
            raise StreamViolation(expected="Hello first", got=first.WhichOneof("message"))
        hello = first.hello
        session = self._session
        session.worker = convert.required("worker_id", hello.worker_id)
        session.build = convert.name_of("build", hello.build)
        session.instance = convert.name_of("instance", hello.instance)
        session.namespace = namespace_of(hello.namespace)
        session.limits = capabilities(hello.actions)
        session.targets = targets(session.worker, hello.actions)
        settings = self._runtime.settings
        welcome = pb.Welcome(
            server_id=self._runtime.server_id,
            max_credits=_MOST_CREDITS,
            max_message_bytes=settings.max_message_bytes,
            max_log_lines=settings.max_action_log_lines,
        )
        welcome.delivery_lease.seconds = settings.delivery_lease_seconds
        welcome.work_lease.seconds = settings.work_lease_seconds
        welcome.beat_interval.seconds = settings.beat_seconds
        welcome.in_flight.extend(await self._readopt(hello.in_flight))
        return welcome

    async def _readopt(self, tokens: Sequence[bytes]) -> list[pb.InFlightVerdict]:
        """Tell a worker that comes back which of its actions are still its own; a lease is renewed by it."""
        self._check_count(tokens, _MOST_IN_FLIGHT)
        readable: list[tuple[bytes, r.Held]] = []
        found: list[pb.InFlightVerdict] = []
        for token in dict.fromkeys(tokens):
            try:
                readable.append((token, offers.held(self._runtime, token, self._session.namespace)))
            except Refusal as refusal:
                # a refusal of one token is its verdict
                found.append(pb.InFlightVerdict(token=token, keep=False, refusal=refusal_message(refusal)))
        if not readable:
            return found
        asked = self._renewal([held for _, held in readable], returning=True)
        verdicts = await self._runtime.ask(asked, reserved=True)
        assert isinstance(verdicts, list)
        for (token, held), verdict in zip(readable, verdicts, strict=True):
            message = pb.InFlightVerdict(token=token, keep=verdict != r.LOST)
            if verdict == r.LOST:
                message.refusal.CopyFrom(refusal_message(LeaseLost(action=f"a{held.action_id}")))
            else:
                holding = _Holding(held, held.name, token, self._clock(), accepted=True, written=True)
                self._holding[held.execution_id, held.action_id] = holding
                self._session.held[held.name] += 1
                if verdict == r.CANCEL:
                    self._add_order(token, pb.ORDER_KIND_CANCEL)
            found.append(message)
        return found

    def _leave(self) -> None:
        """The stream is over: offers that were not accepted go back at once, accepted ones when their lease ends.

        Their work lease: an Accept that has not been written yet is now.
        """
        if self._receipts_timer is not None:
            self._receipts_timer.cancel()
        self._runtime.close_session(self._session.id)
        self._runtime.workers.close_stream(self._session.id)
        if accepted := [h.held for h in self._holding.values() if h.accepted and not h.written]:
            self._runtime.tell(self._renewal(accepted))
        released = [(h.held, 0) for h in self._holding.values() if not h.accepted]
        if released and not self._runtime.is_draining:
            self._runtime.tell(r.Release(provenance=_LEASES, released=released, lost=True))

    # --- from the worker -------------------------------------------------------------------------

    async def _listen(self, incoming: AsyncIterator[pb.WorkRequest]) -> None:
        try:
            async for message in incoming:
                self._take(message)
                while self._is_under_pressure():
                    await asyncio.sleep(0.005)
        except Refusal as refusal:
            self._ended = refusal
        except (grpc.RpcError, asyncio.CancelledError):
            pass
        finally:
            self._is_over = True
            self._wake.set()

    def _is_under_pressure(self) -> bool:
        unread = len(self._receipts) + len(self._orders)
        return unread > _MOST_ANSWERS or self._runtime.queue_length > _QUEUE_PRESSURE

    def _take(self, message: pb.WorkRequest) -> None:
        which = message.WhichOneof("message")
        take = _TAKES.get(which or "")
        if take is None:
            raise StreamViolation(expected="Credits, Accept, Refuse, Beat, Results or Drain", got=which)
        take(self, getattr(message, which or ""))

    def _credits(self, credits_: pb.Credits) -> None:
        more = credits_.granted - self._granted
        if more < 0:
            raise StreamViolation(expected="credits that never fall", got=f"{credits_.granted} after {self._granted}")
        room = max(0, _MOST_CREDITS - self._session.room)
        self._granted += min(more, room)
        self._runtime.grant(self._session.id, min(more, room))

    def _accept(self, accept: pb.Accept) -> None:
        self._check_count(accept.tokens)
        for token in accept.tokens:
            held = self._read(token)
            holding = self._holding.get((held.execution_id, held.action_id)) if held else None
            if holding is not None:
                holding.accepted = True

    def _read(self, token: bytes) -> r.Held | None:
        """Return what a token stands for; a bad one gets its receipt."""
        try:
            return offers.held(self._runtime, token, self._session.namespace)
        except Refusal as refusal:
            # a refusal of one token is its receipt
            self._add_receipt(token, pb.RECEIPT_STATUS_REFUSED, refusal)
            return None

    def _refuse(self, refuse: pb.Refuse) -> None:
        self._check_count(refuse.releases)
        released = []
        for release in refuse.releases:
            held = self._read(release.token)
            if held is not None:
                self._forget(held)
                released.append((held, offers.retry_seconds(release)))
                self._add_receipt(release.token, pb.RECEIPT_STATUS_RECORDED)
        if released:
            self._runtime.tell(r.Release(provenance=_LEASES, released=released, lost=False))

    def _beat(self, beat: pb.Beat) -> None:
        self._check_count(beat.actions, _MOST_IN_FLIGHT)
        tokens: list[bytes] = []
        renewed: list[r.Held] = []
        for action in beat.actions:
            held = self._read(action.token)
            if held is None:
                continue
            offers.note_beat(self._runtime, held, action)
            holding = self._holding.get((held.execution_id, held.action_id))
            if holding is not None:
                holding.accepted = holding.written = True
            tokens.append(action.token)
            renewed.append(held)
        self._renew(tokens, renewed)

    def _renew(self, tokens: Sequence[bytes], renewed: list[r.Held]) -> None:
        if not renewed:
            return
        request = self._renewal(renewed)

        def reply(verdicts: object) -> None:
            if not isinstance(verdicts, list):
                # the database is away: `_keep_leases` asks again
                for held in renewed:
                    if (holding := self._holding.get((held.execution_id, held.action_id))) is not None:
                        holding.written = False
                return
            for token, held, verdict in zip(tokens, renewed, verdicts, strict=False):
                if verdict == r.CANCEL:
                    self._add_order(token, pb.ORDER_KIND_CANCEL)
                elif verdict == r.LOST:
                    # no answer will come for it: its place is free
                    self._forget(held)
                    self._add_order(token, pb.ORDER_KIND_LEASE_LOST)

        request.reply = reply
        self._runtime.tell(request)

    def _renewal(self, renewed: list[r.Held], *, returning: bool = False) -> r.Renew:
        session = self._session
        return r.Renew(provenance=_LEASES, session=session.id, worker=session.worker, held=renewed, returning=returning)

    def _results(self, results: pb.Results) -> None:
        self._check_count(results.results)
        at = self._runtime.clock.now()
        session = self._session
        for outcome in results.results:
            held = self._read(outcome.token)
            if held is None:
                continue
            self._forget(held)
            try:
                request = offers.result(self._runtime, session.namespace, session.worker, held, outcome, at)
            except Refusal as refusal:
                # a refusal of one result is its receipt
                self._add_receipt(outcome.token, pb.RECEIPT_STATUS_REFUSED, refusal)
                continue
            request.session = session.id
            request.reply = self._acknowledge(outcome.token)
            self._runtime.tell(request)

    def _acknowledge(self, token: bytes) -> Callable[[object], None]:
        self._unanswered += 1

        def reply(answer: object) -> None:
            self._unanswered -= 1
            if isinstance(answer, r.Recorded):
                is_new = answer.is_new
                self._add_receipt(token, pb.RECEIPT_STATUS_RECORDED if is_new else pb.RECEIPT_STATUS_ALREADY_RECORDED)
            elif isinstance(answer, StaleAttempt | LeaseLost):
                self._add_receipt(token, pb.RECEIPT_STATUS_STALE, answer)
            elif isinstance(answer, Refusal):
                self._add_receipt(token, pb.RECEIPT_STATUS_REFUSED, answer)
            else:
                number = str(answer) if isinstance(answer, Broken) else ""
                self._receipts.append(pb.Receipt(token=token, status=pb.RECEIPT_STATUS_REFUSED))
                self._receipts[-1].refusal.code = grpc.StatusCode.INTERNAL.value[0]
                self._receipts[-1].refusal.reason = "INTERNAL"
                self._receipts[-1].refusal.message = f"The server failed; its log has the details under id {number}."
                self._send_receipts()

        return reply

    def _forget(self, held: r.Held) -> None:
        holding = self._holding.pop((held.execution_id, held.action_id), None)
        if holding is not None:
            self._runtime.desk.settled(self._session.id, holding.name)

    def _drain(self, _: pb.Drain) -> None:
        self._runtime.drain_session(self._session.id)

    def _check_count(self, items: Sequence[Any], most: int = offers.MOST_TOKENS) -> None:
        if len(items) > most:
            raise StreamViolation(expected=f"at most {most} items in a message", got=len(items))

    # --- to the worker ---------------------------------------------------------------------------

    def offer(self, row: QueueRow) -> None:
        """Send a leased action."""
        try:
            data = offers.input_of(self._runtime, row)
        except Unresolved as problem:
            self._runtime.tell(offers.undeliverable(self._runtime, row, problem))
            self._runtime.desk.give_back(self._session.id, row.name)
            self._runtime.grant(self._session.id, 0)  # others may wait for the room
            return
        token = offers.add_offer(self._runtime, row, data, self._room_for(len(data) + 400))
        held = r.Held(execution_id=row.execution_id, action_id=row.action_id, attempt=row.attempt, epoch=row.epoch)
        self._holding[row.execution_id, row.action_id] = _Holding(held, row.name, token, self._clock())
        self._wake.set()

    def _room_for(self, size: int) -> pb.Offers:
        """Return the offers of a message that has room for one of *size* bytes."""
        self._offers_bytes += size
        if not self._offers or self._offers_bytes > _MOST_BYTES:
            self._offers.append(pb.WorkResponse())
            self._offers_bytes = size
        return self._offers[-1].offers

    def order(self, execution_id: str, action_id: int, is_cancel: bool) -> None:
        """Tell the worker to stop, if it holds the action."""
        holding = self._holding.get((execution_id, action_id))
        if holding is not None:
            if not is_cancel:
                self._forget(holding.held)
            self._add_order(holding.token, pb.ORDER_KIND_CANCEL if is_cancel else pb.ORDER_KIND_LEASE_LOST)

    def go_away(self) -> None:
        """Let the stream look that the server goes down."""
        self._wake.set()

    def _stand_by(self, drain: Drain | None) -> None:
        message = drain.message if drain is not None else ""
        self._standbys.append(pb.Standby(is_draining=drain is not None, message=message))
        self._wake.set()

    def _add_order(self, token: bytes, kind: pb.OrderKind.ValueType) -> None:
        self._orders.append(offers.order(token, kind))
        self._wake.set()

    def _add_receipt(self, token: bytes, status: pb.ReceiptStatus.ValueType, refusal: Refusal | None = None) -> None:
        receipt = pb.Receipt(token=token, status=status)
        if refusal is not None:
            receipt.refusal.CopyFrom(refusal_message(refusal))
        self._receipts.append(receipt)
        if refusal is not None or len(self._receipts) >= _MANY_RECEIPTS or self._is_ending():
            self._send_receipts()
        elif self._receipts_timer is None:
            self._receipts_timer = asyncio.get_running_loop().call_later(_RECEIPTS_AFTER, self._send_receipts)

    def _send_receipts(self) -> None:
        if self._receipts_timer is not None:
            self._receipts_timer.cancel()
            self._receipts_timer = None
        self._are_receipts_due = True
        self._wake.set()

    def _is_ending(self) -> bool:
        return self._is_over or self._runtime.is_draining

    def _outgoing(self) -> list[pb.WorkResponse]:
        messages: list[pb.WorkResponse] = []
        messages += [pb.WorkResponse(standby=standby) for standby in self._standbys]
        self._standbys = []
        messages += self._offers
        self._offers = []
        # behind the offers: one of them may be cancelled already
        if self._orders:
            messages.append(pb.WorkResponse(orders=pb.Orders(orders=self._orders)))
            self._orders = []
        # last: an offer behind them would come a message later
        if self._receipts and (self._are_receipts_due or self._is_ending()):
            messages.append(pb.WorkResponse(receipts=pb.Receipts(receipts=self._receipts)))
            self._receipts = []
            self._are_receipts_due = False
        return messages

    async def _keep_leases(self) -> None:
        """Write Accept only for what has not been answered within half the delivery window."""
        window = self._runtime.settings.delivery_lease_seconds / 2
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(window / 2)
                due = self._clock() - window / 2
                late = [h for h in self._holding.values() if h.accepted and not h.written and h.offered_at <= due]
                for holding in late:
                    holding.written = True
                self._renew([h.token for h in late], [h.held for h in late])


_TAKES: Mapping[str, Callable[[WorkStream, Any], None]] = {
    "credits": WorkStream._credits,
    "accept": WorkStream._accept,
    "refuse": WorkStream._refuse,
    "beat": WorkStream._beat,
    "results": WorkStream._results,
    "drain": WorkStream._drain,
}
