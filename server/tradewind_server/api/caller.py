"""Who calls: until callers have identities, what they say of themselves is not believed."""

from __future__ import annotations

from typing import Any

from tradewind_server.errors import FieldInvalid
from tradewind_server.store.records import Provenance

_MOST = 128


def provenance(context: Any, command: str, request_id: str) -> Provenance:
    """Return who caused a command, and how.

    Raises:
        FieldInvalid: the request id is too long.
    """
    if len(request_id) > _MOST:
        expected = f"at most {_MOST} characters"
        raise FieldInvalid(
            name="request_id", expected=expected, problem=f"it has {len(request_id)}", field="request_id"
        )
    return Provenance("anonymous:", command, request_id, _trace(context))


def _trace(context: Any) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent" and isinstance(value, str) and len(value) <= _MOST:
            return value
    return ""
