"""ActionCallback's unary methods: the same rules as the stream, for a worker of thirty lines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from tradewind.v1 import action_callback_pb2 as pb
from tradewind.v1 import action_callback_pb2_grpc as service
from tradewind_server.api import convert, offers
from tradewind_server.api.caller import namespace_of, provenance
from tradewind_server.api.errors import refusal_message
from tradewind_server.api.work import WorkStream, capabilities, targets
from tradewind_server.errors import (
    ActionFinal,
    ExecutionNotFound,
    FieldInvalid,
    LeaseLost,
    Refusal,
    ServerDraining,
    StreamsExhausted,
)
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.desk import Session
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.runtime.secrets import Unresolved
from tradewind_server.runtime.waiting import wait
from tradewind_server.store import reads
from tradewind_server.store.records import Provenance, QueueRow
from tradewind_server.store.workers import Drain

_MOST_ACTIONS = 1000
_DEFAULT_WAIT_SECONDS = 20.0
_MOST_WAIT_SECONDS = 60.0


class Callback(service.ActionCallbackServicer):
    """Hands actions to workers and takes their results."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def Work(self, request_iterator: Any, context: Any) -> Any:
        """Serve one worker over a stream."""
        limit = self._runtime.settings.max_streams
        if self._runtime.desk.count >= limit:
            raise StreamsExhausted(count=limit, setting="max_streams")
        if self._runtime.is_draining:
            raise ServerDraining
        async for message in WorkStream(self._runtime).serve(request_iterator):
            yield message

    async def PollActions(self, request: pb.PollActionsRequest, context: Any) -> Any:
        """Wait for actions."""
        if self._runtime.is_draining:
            raise ServerDraining
        most = request.max_actions or 1
        if most > _MOST_ACTIONS:
            expected = f"at most {_MOST_ACTIONS}"
            raise FieldInvalid(name="max_actions", expected=expected, problem=f"it is {most}")
        session = Session(
            self._runtime.ids.opaque(),
            convert.required("worker_id", request.worker_id),
            namespace_of(request.namespace),
            capabilities(request.actions),
            targets(request.worker_id, request.actions),
            convert.name_of("build", request.build),
            convert.name_of("instance", request.instance),
        )
        asked = request.wait.seconds + request.wait.nanos / 1e9 if request.HasField("wait") else _DEFAULT_WAIT_SECONDS
        remaining = context.time_remaining()
        seconds = min(asked, _MOST_WAIT_SECONDS, *([max(0.0, remaining - 0.2)] if remaining is not None else []))
        rows = await _Poll(self._runtime, session).rows(most, seconds)
        answer = pb.PollActionsResponse(is_draining=session.is_held)
        self._add_fitting(rows, answer)
        return answer

    def _add_fitting(self, rows: Sequence[QueueRow], to: pb.PollActionsResponse) -> None:
        """Add the offers that one message holds; the rest goes back into the queue at once."""
        room = self._runtime.settings.max_message_bytes // 2
        released: list[tuple[r.Held, int]] = []
        for row in rows:
            room -= len(row.input or b"") + 1000
            if to.offers and room < 0:
                held = r.Held(
                    execution_id=row.execution_id, action_id=row.action_id, attempt=row.attempt, epoch=row.epoch
                )
                released.append((held, 0))
                continue
            try:
                data = offers.input_of(self._runtime, row)
            except Unresolved as problem:
                self._runtime.tell(offers.undeliverable(self._runtime, row, problem))
                continue
            offers.add_offer(self._runtime, row, data, to)
        if released:
            self._runtime.tell(r.Release(provenance=_system("Release"), released=released, lost=False))

    async def AcceptActions(self, request: pb.AcceptActionsRequest, context: Any) -> Any:
        """Turn delivery leases into work leases."""
        receipts = await self._renew(request.namespace, request.worker_id, [(t, None) for t in request.tokens])
        answer = pb.AcceptActionsResponse(receipts=[receipt for receipt, _ in receipts])
        answer.work_lease.seconds = self._runtime.settings.work_lease_seconds
        answer.beat_interval.seconds = self._runtime.settings.beat_seconds
        return answer

    async def HeartbeatActions(self, request: pb.HeartbeatActionsRequest, context: Any) -> Any:
        """Renew work leases."""
        beats = [(beat.token, beat) for beat in request.actions]
        answer = pb.HeartbeatActionsResponse()
        for receipt, verdict in await self._renew(request.namespace, request.worker_id, beats):
            if verdict == r.CANCEL:
                answer.orders.append(offers.order(receipt.token, pb.ORDER_KIND_CANCEL))
            elif verdict == r.LOST:
                why = receipt.refusal.message
                answer.orders.append(offers.order(receipt.token, pb.ORDER_KIND_LEASE_LOST, why))
        answer.work_lease.seconds = self._runtime.settings.work_lease_seconds
        return answer

    async def _renew(
        self, namespace: str, worker: str, tokens: Sequence[tuple[bytes, pb.ActionBeat | None]]
    ) -> list[tuple[pb.Receipt, str]]:
        if len(tokens) > offers.MOST_TOKENS:
            expected = f"at most {offers.MOST_TOKENS} tokens"
            raise FieldInvalid(name="actions", expected=expected, problem=f"there are {len(tokens)}")
        namespace, worker = namespace_of(namespace), convert.required("worker_id", worker)
        receipts: list[tuple[pb.Receipt, str]] = []
        wanted: list[tuple[int, r.Held]] = []
        for token, beat in tokens:
            try:
                held = offers.held(self._runtime, token, namespace)
                if beat is not None:
                    offers.note_beat(self._runtime, held, beat)
            except Refusal as refusal:
                # a refusal of one token is its receipt
                receipts.append((_receipt(token, pb.RECEIPT_STATUS_REFUSED, refusal), r.LOST))
                continue
            wanted.append((len(receipts), held))
            receipts.append((_receipt(token, pb.RECEIPT_STATUS_RECORDED), r.KEEP))
        verdicts = await self._runtime.ask(
            r.Renew(provenance=_system("Accept"), session="", worker=worker, held=[held for _, held in wanted]),
            reserved=True,
        )
        assert isinstance(verdicts, list)
        for (n, held), verdict in zip(wanted, verdicts, strict=True):
            token = tokens[n][0]
            if verdict == r.LOST:
                lost = _receipt(token, pb.RECEIPT_STATUS_STALE, LeaseLost(action=f"a{held.action_id}"))
                receipts[n] = (lost, r.LOST)
            else:
                receipts[n] = (receipts[n][0], verdict)
        return receipts

    async def CompleteAction(self, request: pb.CompleteActionRequest, context: Any) -> Any:
        """Record a result."""
        outcome = pb.ActionResult(result=request.result, logs=request.logs)
        status, id_, revision = await self._record(request, outcome, context)
        return pb.CompleteActionResponse(status=status, execution_id=id_, revision=revision)

    async def FailAction(self, request: pb.FailActionRequest, context: Any) -> Any:
        """Record a failure."""
        outcome = pb.ActionResult(failure=request.failure, logs=request.logs)
        status, id_, revision = await self._record(request, outcome, context)
        return pb.FailActionResponse(status=status, execution_id=id_, revision=revision)

    async def _record(self, request: Any, outcome: pb.ActionResult, context: Any) -> tuple[Any, str, int]:
        namespace = namespace_of(request.namespace)
        target = request.WhichOneof("target")
        if target is None:
            raise FieldInvalid(name="target", expected="a token or an action", problem="it is empty")
        by_token = target == "token"
        if by_token:
            given = offers.held(self._runtime, request.token, namespace)
        else:
            given = await self._referenced(namespace, request.action)
        worker = "" if by_token else "outside"
        asked = offers.result(self._runtime, namespace, worker, given, outcome, self._runtime.clock.now())
        if not by_token:
            asked.provenance = provenance(context, type(asked.command).__name__, request.request_id)
        try:
            recorded = await self._runtime.ask(asked, reserved=True)
        except LeaseLost:
            if by_token:
                raise
            raise ActionFinal(action=f"a{given.action_id}", state="ended") from None
        assert isinstance(recorded, r.Recorded)
        status = pb.RECEIPT_STATUS_RECORDED if recorded.is_new else pb.RECEIPT_STATUS_ALREADY_RECORDED
        return status, recorded.execution_id, recorded.revision

    async def _referenced(self, namespace: str, reference: pb.ActionReference) -> r.Held:
        given = convert.required("action.execution_id", reference.execution_id)
        number = convert.number_of("action.action_id", reference.action_id, "a")
        id_ = await self._runtime.read(lambda connection, _: reads.resolve_id(connection, namespace, given))
        if not id_:
            raise ExecutionNotFound(execution=given, field="action.execution_id")
        return r.Held(execution_id=id_, action_id=number, attempt=0, epoch=0)

    async def ReleaseActions(self, request: pb.ReleaseActionsRequest, context: Any) -> Any:
        """Take actions back."""
        if len(request.releases) > offers.MOST_TOKENS:
            expected = f"at most {offers.MOST_TOKENS}"
            problem = f"there are {len(request.releases)}"
            raise FieldInvalid(name="releases", expected=expected, problem=problem)
        namespace = namespace_of(request.namespace)
        receipts: list[pb.Receipt] = []
        released: list[tuple[r.Held, int]] = []
        for release in request.releases:
            try:
                released.append((offers.held(self._runtime, release.token, namespace), offers.retry_seconds(release)))
                receipts.append(_receipt(release.token, pb.RECEIPT_STATUS_RECORDED))
            except Refusal as refusal:
                # a refusal of one token is its receipt
                receipts.append(_receipt(release.token, pb.RECEIPT_STATUS_REFUSED, refusal))
        await self._runtime.ask(r.Release(provenance=_system("Release"), released=released, lost=False), reserved=True)
        return pb.ReleaseActionsResponse(receipts=receipts)


def _system(command: str) -> Provenance:
    return Provenance("system:leases", command)


def _receipt(token: bytes, status: Any, refusal: Refusal | None = None) -> pb.Receipt:
    receipt = pb.Receipt(token=token, status=status)
    if refusal is not None:
        receipt.refusal.CopyFrom(refusal_message(refusal))
    return receipt


class _Poll:
    """A session that lasts for one poll."""

    def __init__(self, runtime: Runtime, session: Session) -> None:
        self._runtime = runtime
        self._session = session
        self._rows: list[QueueRow] = []
        self._wake = asyncio.Event()

    async def rows(self, most: int, seconds: float) -> list[QueueRow]:
        self._runtime.workers.open_poll(self._session, self._stand_by)
        self._runtime.open_session(self._session, self)
        try:
            self._runtime.grant(self._session.id, most)
            if not await wait(self._wake, seconds):
                # what is there already has been asked for, however short the wait is
                await self._runtime.claimed(self._session.id)
            return self._rows
        finally:
            self._runtime.close_session(self._session.id)
            self._runtime.workers.close_poll(self._session)

    def offer(self, row: QueueRow) -> None:
        self._rows.append(row)
        self._wake.set()

    def _stand_by(self, drain: Drain | None) -> None:
        if drain is not None:
            self._wake.set()

    def order(self, execution_id: str, action_id: int, is_cancel: bool) -> None:
        """A poll hears of cancellations with its next heartbeat."""

    def go_away(self) -> None:
        """Answer with what there is; the next poll is refused."""
        self._wake.set()
