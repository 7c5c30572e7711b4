"""Refusals to gRPC: one table, one way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias
from urllib.parse import quote

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from tradewind.v1 import failure_pb2
from tradewind_server.errors import DefinitionInvalid, Kind, Refusal, without_middle
from tradewind_server.errors.people import DecisionInvalid
from tradewind_server.lang import Problem

DOMAIN = "tradewind"

CODES: dict[Kind, int] = {
    Kind.INVALID: code_pb2.INVALID_ARGUMENT,
    Kind.NOT_FOUND: code_pb2.NOT_FOUND,
    Kind.EXISTS: code_pb2.ALREADY_EXISTS,
    Kind.WRONG_STATE: code_pb2.FAILED_PRECONDITION,
    Kind.CONFLICT: code_pb2.ABORTED,
    Kind.EXHAUSTED: code_pb2.RESOURCE_EXHAUSTED,
    Kind.COMPACTED: code_pb2.OUT_OF_RANGE,
    Kind.DENIED: code_pb2.PERMISSION_DENIED,
    Kind.UNAUTHENTICATED: code_pb2.UNAUTHENTICATED,
    Kind.UNAVAILABLE: code_pb2.UNAVAILABLE,
}

#: When to come back, seconds, for what passes by itself.
RETRY_SECONDS = {Kind.EXHAUSTED: 1, Kind.UNAVAILABLE: 1}

#: Bytes that a status may take as sent. Java's clients take 8 KiB of headers by default, and fail the whole connection
#: at more; the rest is for the headers that gRPC adds.
_MOST_BYTES = 7 * 1024

#: Half for the sentence and its facts where there are many violations to tell.
_MOST_BYTES_BESIDE_VIOLATIONS = _MOST_BYTES // 2

#: Characters that one variable part may have, largest first; with the last one everything fits.
_LENGTHS = (_MOST_BYTES, 1024, 512, 256, 128, 64, 32)

#: The same inside a message, of which there may be a thousand in an answer.
_MOST_INSIDE = 512

#: What HTTP/2 counts for each header beside its name and value.
_HEADER_BYTES = 32

#: Violations that are looked at: of the shortest ones no more have room.
_MOST_VIOLATIONS = 200

#: Bytes that say which field a violation is and how long, and by which the lengths around all of them may grow.
_BYTES_BEFORE_EACH, _BYTES_AROUND = 4, 8

#: Facts that say what is in the wrong state; the first that a refusal has.
_SUBJECTS = ("human_task", "execution", "task", "action", "channel", "name")

_SENT_AS_IT_IS = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

_Violation: TypeAlias = error_details_pb2.BadRequest.FieldViolation


class DefinitionProblems(DefinitionInvalid):
    """A refused deployment, with the first problems as field violations; ValidateDefinitions tells all of them."""

    def __init__(self, problems: list[Problem]) -> None:
        first = problems[0]
        super().__init__(
            count=len(problems),
            first=f"{first.file}:{first.line}:{first.column}: {first.message}",
            field="files",
        )
        self.problems = problems


def status_of(refusal: Refusal) -> status_pb2.Status:
    """Return *refusal* as `google.rpc.Status` with ErrorInfo and what else fits.

    It is no larger than clients take: long facts are then without their middle, and the last violations are left out.
    """
    first, *others = _violations(refusal) or [None]
    most = _MOST_BYTES_BESIDE_VIOLATIONS if others else _MOST_BYTES
    statuses = (_status(refusal, length, first) for length in _LENGTHS)
    status = next(status for status in statuses if size_as_sent(status) <= most)
    return _with_violations(status, others) if others else status


def size_as_sent(status: status_pb2.Status) -> int:
    """Return the bytes of headers that *status* takes: its text percent-encoded, its details in base64."""
    values = {
        "grpc-status": len(str(status.code)),
        "grpc-message": len(quote(status.message, safe=_SENT_AS_IT_IS)),
        "grpc-status-details-bin": -(-status.ByteSize() * 4 // 3),
    }
    return sum(len(name) + size + _HEADER_BYTES for name, size in values.items())


def _status(refusal: Refusal, length: int, violation: _Violation | None) -> status_pb2.Status:
    """Return *refusal* with parts of *length* characters at most, and with one of its violations."""
    facts, sentence = refusal.shortened(length)
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=facts)]
    if violation is not None:
        details.append(error_details_pb2.BadRequest(field_violations=[_shortened(violation, length, sentence)]))
    if refusal.kind is Kind.WRONG_STATE:
        failed = error_details_pb2.PreconditionFailure.Violation(
            type=refusal.reason, subject=_subject(facts), description=sentence
        )
        details.append(error_details_pb2.PreconditionFailure(violations=[failed]))
    if refusal.kind in (Kind.NOT_FOUND, Kind.EXISTS):
        what, name = _resource(refusal.reason, facts)
        details.append(error_details_pb2.ResourceInfo(resource_type=what, resource_name=name, description=sentence))
    if refusal.kind in RETRY_SECONDS:
        delay = duration_pb2.Duration(seconds=RETRY_SECONDS[refusal.kind])
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if refusal.kind is Kind.EXHAUSTED:
        quota = error_details_pb2.QuotaFailure.Violation(subject=facts.get("setting", ""), description=sentence)
        details.append(error_details_pb2.QuotaFailure(violations=[quota]))
    return status_pb2.Status(code=CODES[refusal.kind], message=sentence, details=map(_packed, details))


def _subject(facts: Mapping[str, str]) -> str:
    """Return the id or name of what is in the wrong state."""
    return next(facts[name] for name in _SUBJECTS if name in facts)


def _resource(reason: str, facts: Mapping[str, str]) -> tuple[str, str]:
    """Return the type and the name of what is not there, or is there already."""
    if "what" in facts:
        return facts["what"], facts["name"]
    what, name = next(iter(facts.items()))
    return (reason.partition("_")[0].lower() if what == "name" else what), name


def _violations(refusal: Refusal) -> list[_Violation]:
    """Return the violations; one whose description is empty says what the refusal says."""
    if isinstance(refusal, DefinitionProblems):
        return [_violation(problem) for problem in refusal.problems[:_MOST_VIOLATIONS]]
    if isinstance(refusal, DecisionInvalid):
        return [
            _Violation(field=f"data.{path}" if path else "data", description=what, reason=refusal.reason)
            for path, what in refusal.faults[:_MOST_VIOLATIONS]
        ]
    return [_Violation(field=refusal.field, reason=refusal.reason)] if refusal.field else []


def _violation(problem: Problem) -> _Violation:
    return _Violation(
        field=f"{problem.file}:{problem.line}:{problem.column} {problem.path}",
        description=f"{problem.message} {problem.fix}".strip(),
        reason=problem.code,
    )


def _shortened(violation: _Violation, length: int, sentence: str) -> _Violation:
    return _Violation(
        field=without_middle(violation.field, length),
        description=without_middle(violation.description, length) or sentence,
        reason=violation.reason,
    )


def _with_violations(status: status_pb2.Status, others: Iterable[_Violation]) -> status_pb2.Status:
    """Return *status*, whose second detail holds a violation, with as many of *others* as there is room for."""
    bad = error_details_pb2.BadRequest()
    status.details[1].Unpack(bad)
    left = (_MOST_BYTES - size_as_sent(status)) * 3 // 4 - _BYTES_AROUND
    for violation in others:
        left -= violation.ByteSize() + _BYTES_BEFORE_EACH
        if left < 0:
            break
        bad.field_violations.append(violation)
    status.details[1].Pack(bad)
    return status


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def internal(log_id: str) -> status_pb2.Status:
    """Return the status of an error of the server's own: its text stays in the log."""
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"log_id": log_id})
    message = f"The server failed to answer. Its log has the details under id {log_id}."
    return status_pb2.Status(code=code_pb2.INTERNAL, message=message, details=[_packed(info)])


def refusal_message(refusal: Refusal) -> failure_pb2.Refusal:
    """Return *refusal* as it stands inside a message, where there is no status."""
    facts, sentence = refusal.shortened(_MOST_INSIDE)
    message = failure_pb2.Refusal(
        code=CODES[refusal.kind],
        reason=refusal.reason,
        message=sentence,
        metadata=facts,
        field=refusal.field,
    )
    if refusal.kind in RETRY_SECONDS:
        message.retry_after.seconds = RETRY_SECONDS[refusal.kind]
    return message
