"""Leased actions as offers, and tokens as what they stand for: shared by the stream and the unary methods."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from tradewind.v1 import action_callback_pb2 as pb
from tradewind.v1 import action_pb2
from tradewind_server.api import convert
from tradewind_server.engine import commands as c
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.runtime.secrets import Unresolved
from tradewind_server.runtime.tokens import Token
from tradewind_server.store.projection import OfferDetail
from tradewind_server.store.records import LogLine, Provenance, QueueRow

_detail = msgspec.json.Decoder(OfferDetail).decode

#: Most tokens in one message: what a worker holds is far less, and a million of them would stall everybody.
MOST_TOKENS = 1_000
MOST_RETRY_SECONDS = 24 * 3600
_MOST_LOG_CHARACTERS = 4096
#: Why to stop, for people.
_ORDERS = {
    pb.ORDER_KIND_CANCEL: "Its task or its execution was cancelled.",
    pb.ORDER_KIND_LEASE_LOST: "It has ended, or its lease is lost and another worker may have it.",
}
#: The year 10000.
_END_OF_TIME = 253_402_300_800


def input_of(runtime: Runtime, row: QueueRow) -> bytes:
    """Return the input of an action as its worker gets it, with its secrets.

    Raises:
        Unresolved: it has a secret that this server does not have; `undeliverable` is the answer.
    """
    return runtime.secrets.resolved(row.input or b"{}")


def add_offer(runtime: Runtime, row: QueueRow, data: bytes, to: pb.Offers | pb.PollActionsResponse) -> bytes:
    """Add the offer of a leased action, with its input as *data*, *to* a message, and return its token."""
    detail = _detail(row.detail)
    now = runtime.clock.microseconds()
    token = runtime.signer.sign(Token(row.namespace, row.execution_id, row.action_id, row.attempt, row.epoch))
    # filled in place: a message that is put into another one is copied
    message = to.offers.add(
        token=token,
        namespace=row.namespace,
        execution_id=row.execution_id,
        action_id=f"a{row.action_id}",
        action=row.name,
        attempt=row.attempt,
        idempotency_key=f"{row.execution_id}/a{row.action_id}",
        task=detail.task,
        workflow=detail.workflow,
        traceparent=detail.trace,
        deliveries=row.deliveries + 1,
        business_key=detail.business_key,
    )
    convert.set_payload(message.input, data)
    convert.set_duration(message.delivery_left, row.lease_until - now)
    message.lease_left.seconds = runtime.settings.work_lease_seconds
    if row.checkpoint is not None:
        convert.set_payload(message.checkpoint, row.checkpoint)
    if row.timeout_at:
        convert.set_duration(message.timeout_left, row.timeout_at - now)
    if detail.item_index >= 0:
        message.item_index = detail.item_index
    return token


def order(token: bytes, kind: pb.OrderKind.ValueType, why: str = "") -> pb.Order:
    """Return the order to stop working on an action; *why* if more is known than the kind says."""
    return pb.Order(token=token, kind=kind, message=why or _ORDERS[kind])


def undeliverable(runtime: Runtime, row: QueueRow, problem: Unresolved) -> r.Result:
    """Return the request that fails an action which cannot be offered."""
    return r.result_of(row, c.FailAction(runtime.clock.now(), row.action_id, problem.failure), "system:secrets")


def held(runtime: Runtime, token: bytes, namespace: str) -> r.Held:
    """Return what *token* stands for.

    Raises:
        TokenInvalid: it is none of ours.
    """
    found = runtime.signer.read(token, namespace)
    return r.Held(execution_id=found.execution_id, action_id=found.action_id, attempt=found.attempt, epoch=found.epoch)


def note_beat(runtime: Runtime, held: r.Held, beat: pb.ActionBeat) -> None:
    """Take over what a worker tells of its action; it is stored.

    Raises:
        PayloadTooLarge, PayloadUnsupported, PayloadInvalid: the checkpoint cannot be taken.
    """
    held.progress = runtime.secrets.masked_text(convert.text_of(beat.progress_message, 1000))
    held.logs = log_lines(runtime, beat.logs)
    if beat.HasField("checkpoint"):
        convert.value_of(beat.checkpoint, "checkpoint", runtime.settings.max_payload_bytes)
        held.checkpoint = runtime.secrets.masked_json(beat.checkpoint.data)


def log_lines(runtime: Runtime, given: Sequence[action_pb2.LogLine]) -> list[LogLine]:
    """Return what is kept of the lines that a worker sends: a log never makes trouble for its action."""
    most = runtime.settings.max_action_log_lines
    now = runtime.clock.microseconds() if given else 0
    return [
        LogLine(
            line.number,
            line.at.seconds * 1_000_000 + line.at.nanos // 1000 if 0 < line.at.seconds < _END_OF_TIME else now,
            line.level if line.level in action_pb2.LogLevel.values() and line.level else action_pb2.LOG_LEVEL_INFO,
            runtime.secrets.masked_text(convert.text_of(line.message, _MOST_LOG_CHARACTERS)),
        )
        for line in given[:MOST_TOKENS]
        if 0 < line.number <= most
    ]


def retry_seconds(release: pb.Release) -> int:
    """Return when a released action may be offered again, seconds from now: a day at most."""
    return min(max(0, release.retry_after.seconds), MOST_RETRY_SECONDS)


def result(
    runtime: Runtime, namespace: str, worker: str, given: r.Held, outcome: pb.ActionResult, at: datetime
) -> r.Result:
    """Return the request that records what a worker answered, which came at the moment *at*.

    Raises:
        Refusal: the payload cannot be taken.
    """
    limit = runtime.settings.max_payload_bytes
    command: c.Answer
    if outcome.WhichOneof("outcome") == "failure":
        failure = convert.failure_of(outcome.failure, limit)
        if failure.code == "CANCELLED":
            command = c.CancelAction(at, given.action_id, failure.message)
        else:
            command = c.FailAction(at, given.action_id, failure)
    else:
        command = c.CompleteAction(at, given.action_id, convert.value_of(outcome.result, "result", limit))
    return r.Result(
        provenance=Provenance(f"worker:{worker}", type(command).__name__),
        target=given.execution_id,
        namespace=namespace,
        action_id=given.action_id,
        attempt=given.attempt,
        epoch=given.epoch,
        worker=worker,
        command=runtime.secrets.masked_answer(command),
        size_bytes=500 + outcome.ByteSize(),
        logs=log_lines(runtime, outcome.logs) if outcome.logs else [],
    )
