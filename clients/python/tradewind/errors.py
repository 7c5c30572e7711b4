"""What can go wrong when the server is called: one exception, with a subclass for each kind.

`reason` is one of the names in docs/errors.md; branch on it or on the class, never on the message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tradewind.advice import WHAT_TO_DO


@dataclass(frozen=True)
class Violation:
    """One field of the request, or one place in a definition, that is wrong."""

    #: Path of the field, or file, line and column of a definition.
    field: str
    #: What is wrong with it.
    description: str


class TradewindError(Exception):
    """A call was refused or could not be made.

    Attributes:
        reason: name from docs/errors.md, e.g. "STALE_ATTEMPT"; the name of the gRPC code if no server answered.
        message: what was expected, what was found, and what to do.
        metadata: the variable parts of the message, by name.
        code: the gRPC status code.
        violations: the fields at fault; empty unless the request is.
        retry_after: how long to wait before trying again; None if the server does not say.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        metadata: Mapping[str, str] | None = None,
        violations: tuple[Violation, ...] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(f"{message} [{reason}]")
        self.reason = reason
        self.message = message
        self.code = code
        self.metadata = dict(metadata or {})
        self.violations = violations
        self.retry_after = retry_after

    @property
    def hint(self) -> str:
        """What to do: as the message says it, else as docs/errors.md does; "" if neither says anything."""
        # Messages read "Expected …, but …. What to do."
        _, found, rest = self.message.partition(", but ")
        match = re.search(r"\. (?=[A-Z])", rest) if found else None
        return rest[match.end() :] if match else WHAT_TO_DO.get(self.reason, _HINTS.get(self.code, ""))


class InvalidRequest(TradewindError):
    """The request itself is wrong; `violations` says where."""


class NotFound(TradewindError):
    """What the request names does not exist in the namespace."""


class AlreadyExists(TradewindError):
    """An id or key is taken."""


class WrongState(TradewindError):
    """The execution, task or action is in a state that does not allow it."""


class Conflict(TradewindError):
    """Something newer came in between, such as another attempt of the action."""


class Exhausted(TradewindError):
    """A limit is reached; try again later."""


class OutOfRange(TradewindError):
    """A revision is not there any more, or not yet."""


class Denied(TradewindError):
    """The caller is not known, or may not do this."""


class Unavailable(TradewindError):
    """No server answers; the call can be repeated."""


class DeadlineExceeded(TradewindError):
    """No answer came in time; whether the call had an effect is not known."""


class ServerFailed(TradewindError):
    """The server failed in a way it does not declare; its log has the details under metadata["log_id"]."""


class Closed(TradewindError):
    """The client was closed, before the call or during it; whether a call had an effect then is not known."""

    def __init__(self) -> None:
        message = "Expected an open client, but it has been closed. Connect anew."
        super().__init__(grpc.StatusCode.CANCELLED.name, message, code=grpc.StatusCode.CANCELLED)


_CLASSES: dict[grpc.StatusCode, type[TradewindError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: WrongState,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Exhausted,
    grpc.StatusCode.OUT_OF_RANGE: OutOfRange,
    grpc.StatusCode.PERMISSION_DENIED: Denied,
    grpc.StatusCode.UNAUTHENTICATED: Denied,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.INTERNAL: ServerFailed,
}

_HINTS = {
    grpc.StatusCode.UNAVAILABLE: "Check the address, and that the server runs.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "Repeat with the same request id, or allow more time.",
    grpc.StatusCode.UNIMPLEMENTED: "The server is older than this client.",
}


def from_rpc_error(error: grpc.RpcError) -> TradewindError:
    """Turn gRPC's exception, of a sync or asyncio call, into ours."""
    call: Any = error  # gRPC's exceptions are calls too, which its base class does not say
    status = rpc_status.from_call(call)
    code = call.code()
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details if status else ():
        for kind in (info, request, retry):
            if detail.Is(kind.DESCRIPTOR):
                detail.Unpack(kind)
    return _CLASSES.get(code, TradewindError)(
        info.reason or code.name,
        call.details() or code.name,
        code=code,
        metadata=info.metadata,
        violations=tuple(Violation(v.field, v.description) for v in request.field_violations),
        retry_after=retry.retry_delay.ToTimedelta() if retry.HasField("retry_delay") else None,
    )


def from_refusal(code: int, reason: str, message: str, metadata: Mapping[str, str]) -> TradewindError:
    """Make the error of one item in a call that handles many."""
    status = next((item for item in grpc.StatusCode if item.value[0] == code), grpc.StatusCode.UNKNOWN)
    return _CLASSES.get(status, TradewindError)(reason, message, code=status, metadata=metadata)
