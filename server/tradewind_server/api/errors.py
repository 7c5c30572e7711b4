"""Refusals to gRPC: one table, one way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from tradewind.v1 import failure_pb2
from tradewind_server.errors import DefinitionInvalid, Kind, Refusal
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


#: Details travel in trailers, of which clients take 8 KiB; ErrorInfo and the sentence need room too.
_MOST_VIOLATION_BYTES = 4_096


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
    """Return *refusal* as `google.rpc.Status` with ErrorInfo and what else fits."""
    details = [_packed(error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=refusal.facts))]
    violations = _violations(refusal)
    if violations:
        details.append(_packed(error_details_pb2.BadRequest(field_violations=violations)))
    if refusal.kind is Kind.WRONG_STATE:
        violation = error_details_pb2.PreconditionFailure.Violation(
            type=refusal.reason, subject=refusal.facts.get("execution", ""), description=str(refusal)
        )
        details.append(_packed(error_details_pb2.PreconditionFailure(violations=[violation])))
    if refusal.kind in (Kind.NOT_FOUND, Kind.EXISTS):
        what, name = next(iter(refusal.facts.items()), ("", ""))
        info = error_details_pb2.ResourceInfo(resource_type=what, resource_name=name, description=str(refusal))
        details.append(_packed(info))
    if refusal.kind in RETRY_SECONDS:
        delay = duration_pb2.Duration(seconds=RETRY_SECONDS[refusal.kind])
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    if refusal.kind is Kind.EXHAUSTED:
        quota = error_details_pb2.QuotaFailure.Violation(
            subject=refusal.facts.get("setting", ""), description=str(refusal)
        )
        details.append(_packed(error_details_pb2.QuotaFailure(violations=[quota])))
    return status_pb2.Status(code=CODES[refusal.kind], message=str(refusal), details=details)


def _violations(refusal: Refusal) -> list[error_details_pb2.BadRequest.FieldViolation]:
    if isinstance(refusal, DefinitionProblems):
        return list(_first_that_fit(map(_violation, refusal.problems)))
    if isinstance(refusal, DecisionInvalid):
        return [
            error_details_pb2.BadRequest.FieldViolation(
                field=f"data.{path}" if path else "data", description=what, reason=refusal.reason
            )
            for path, what in refusal.faults
        ]
    if refusal.field:
        return [
            error_details_pb2.BadRequest.FieldViolation(
                field=refusal.field, description=str(refusal), reason=refusal.reason
            )
        ]
    return []


def _violation(problem: Problem) -> error_details_pb2.BadRequest.FieldViolation:
    return error_details_pb2.BadRequest.FieldViolation(
        field=f"{problem.file}:{problem.line}:{problem.column} {problem.path}",
        description=f"{problem.message} {problem.fix}".strip(),
        reason=problem.code,
    )


def _first_that_fit(
    violations: Iterable[error_details_pb2.BadRequest.FieldViolation],
) -> Iterator[error_details_pb2.BadRequest.FieldViolation]:
    left = _MOST_VIOLATION_BYTES
    for violation in violations:
        left -= violation.ByteSize()
        if left < 0:
            return
        yield violation


def _packed(message: object) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)  # type: ignore[arg-type]
    return packed


def internal(log_id: str) -> status_pb2.Status:
    """Return the status of an error of the server's own: its text stays in the log."""
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"log_id": log_id})
    message = f"The server failed to answer. Its log has the details under id {log_id}."
    return status_pb2.Status(code=code_pb2.INTERNAL, message=message, details=[_packed(info)])


def refusal_message(refusal: Refusal) -> failure_pb2.Refusal:
    """Return *refusal* as it stands inside a message, where there is no status."""
    message = failure_pb2.Refusal(
        code=CODES[refusal.kind],
        reason=refusal.reason,
        message=str(refusal),
        metadata=refusal.facts,
        field=refusal.field,
    )
    if refusal.kind in RETRY_SECONDS:
        message.retry_after.seconds = RETRY_SECONDS[refusal.kind]
    return message
