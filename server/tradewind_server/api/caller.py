"""Who calls, and what he may touch."""

from __future__ import annotations

import asyncio
import contextvars
import re
from collections.abc import Mapping
from typing import Any

from tradewind_server.api import convert
from tradewind_server.api.access import (
    MANAGE,
    NAMESPACE_RULE,
    NOTIFY,
    SEE_SENSITIVE,
    Access,
    Identity,
    is_namespace,
)
from tradewind_server.engine.commands import Person
from tradewind_server.errors import FieldInvalid, Unauthenticated
from tradewind_server.errors.people import NotNotifier, PersonUnknown
from tradewind_server.store.records import Provenance

_MOST = 128
#: What is no trace context is as if it were not there, as its specification says.
_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?")
#: Who makes the call of this task. Without `admit` it has no value: what was not let in may touch nothing.
_identity: contextvars.ContextVar[Identity] = contextvars.ContextVar("identity")
#: Whose streams count together: those of a name, else of a machine.
_client: contextvars.ContextVar[str] = contextvars.ContextVar("client")
#: How often it is looked whether a token that a stream was opened with is still there.
_LOOK_SECONDS = 1.0
#: Load balancers ask for health, and have no token.
_OPEN = "/grpc.health.v1.Health/"


class Admitted:
    """Who was let in; whether he still may is asked for each message of a stream, and looked at once a second."""

    def __init__(self, access: Access, metadata: Mapping[str, Any], identity: Identity) -> None:
        self._access = access
        self._metadata = metadata
        self._identity = identity
        self._looked_at = access.clock.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time to `check` again."""
        return self._access.clock.monotonic() - self._looked_at >= _LOOK_SECONDS

    async def check(self) -> None:
        """Let him go on.

        Raises:
            Unauthenticated: his token was withdrawn, or may do less by now.
        """
        self._looked_at = self._access.clock.monotonic()
        try:
            self._access.check_still(self._metadata, self._identity)
        except Unauthenticated:
            # a file that is just being written may lack half of its tokens, and workers that are refused end
            await asyncio.sleep(_LOOK_SECONDS)
            self._access.check_still(self._metadata, self._identity)


def admit(access: Access, method: str, context: Any) -> Admitted | None:
    """Learn who makes this call, for all that is asked of this module while it lasts; None if anybody may.

    Raises:
        Unauthenticated: *access* asks for more than the caller gives.
        CallDenied: he may not call this method.
    """
    if not method.startswith(_OPEN):
        metadata = dict(context.invocation_metadata() or ())
        identity = access.identity(metadata)
        identity.check_call(method)
        _identity.set(identity)
        # ipv4:127.0.0.1:5000, or ipv6:[::1]:5000: without the port
        _client.set(f"name:{identity.name}" if identity.name else context.peer().rpartition(":")[0])
        return Admitted(access, metadata, identity)
    return None


def client() -> str:
    """Return whose stream this call is, as far as streams are counted."""
    return _client.get()


def namespace_of(given: str) -> str:
    """Return the namespace of a request.

    Raises:
        FieldInvalid: it is no name.
        NamespaceDenied: the caller may not use it.
    """
    namespace = given or "default"
    if not is_namespace(namespace):
        problem = f"it has {len(given)} characters" if len(given) > 255 else "it holds others"
        raise FieldInvalid(name="namespace", expected=NAMESPACE_RULE, problem=problem)
    _identity.get().check(namespace)
    return namespace


def person() -> Person:
    """Return the person who calls.

    Raises:
        PersonUnknown: nobody is known.
    """
    identity = _identity.get()
    if not identity.name:
        raise PersonUnknown(problem="the call names nobody: give a token, or the metadata 'x-tradewind-user' (--user)")
    return Person(identity.name, identity.groups, MANAGE in identity.rights)


def check_notifier() -> None:
    """Let only those through that may manage notifications.

    Raises:
        NotNotifier: this one may not.
    """
    identity = _identity.get()
    if NOTIFY not in identity.rights:
        raise NotNotifier(user=identity.name)


def sees_sensitive() -> bool:
    """Tell whether the caller may see the values of sensitive names."""
    return SEE_SENSITIVE in _identity.get().rights


def caller_name() -> str:
    """Return who calls, "" for nobody known."""
    return _identity.get().name


def caller_groups() -> frozenset[str]:
    """Return the groups of who calls."""
    return _identity.get().groups


def provenance(context: Any, command: str, request_id: str) -> Provenance:
    """Return who caused a command, and how.

    Raises:
        FieldInvalid: the request id is too long.
    """
    if len(request_id) > _MOST:
        expected = f"at most {_MOST} characters"
        raise FieldInvalid(name="request_id", expected=expected, problem=f"it has {len(request_id)}")
    convert.name_of("request_id", request_id)
    name = _identity.get().name
    actor = f"caller:{name}" if name else "anonymous:"
    return Provenance(actor, command, request_id, _trace(context))


def _trace(context: Any) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent" and isinstance(value, str) and len(value) <= _MOST and _TRACE.fullmatch(value):
            return value
    return ""
