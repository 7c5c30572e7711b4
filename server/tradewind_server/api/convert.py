"""Between messages and records: payloads, moments, states, actors."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from google.protobuf import duration_pb2, timestamp_pb2

from tradewind.v1 import action_pb2, actor_pb2, event_pb2, execution_pb2, failure_pb2, payload_pb2, task_pb2
from tradewind_server.clock import to_microseconds
from tradewind_server.engine import commands as c
from tradewind_server.errors import FieldInvalid, PayloadInvalid, PayloadTooLarge, PayloadUnsupported
from tradewind_server.lang.references import defused, may_hold_marks
from tradewind_server.lang.values import ValueProblem, decode, encode
from tradewind_server.store.event_filter import states
from tradewind_server.store.filters import DELIVERY_KINDS
from tradewind_server.store.records import StoredEvent

JSON = "application/json"
_MOST_NAME = 255
_MOST_TAGS, _MOST_TAG = 20, 64
#: The year 10000.
_MOST_SECONDS = 253_402_300_800


# --- in ------------------------------------------------------------------------------------------


def value_of(payload: payload_pb2.Payload, what: str, limit: int) -> object:
    """Return the value that *payload* holds; None for an empty one.

    Raises:
        PayloadTooLarge, PayloadUnsupported, PayloadInvalid: it cannot be taken.
    """
    data = payload.data
    if len(data) > limit:
        raise PayloadTooLarge(what=what, limit=limit, setting="max_payload_bytes", size=len(data), field=what)
    if payload.content_type not in ("", JSON):
        raise PayloadUnsupported(feature="another content type", value=payload.content_type, field=what)
    if payload.encoding or payload.key_id or payload.HasField("external"):
        _refuse_forms(payload, what)
    if not data:
        return None
    try:
        value = decode(data)
        return defused(value) if may_hold_marks(data) else value
    except ValueProblem as problem:
        raise PayloadInvalid(what=what, expected="JSON in UTF-8", problem=problem, field=what) from None


def _refuse_forms(payload: payload_pb2.Payload, what: str) -> None:
    """Refuse the forms of a payload that come with later versions."""
    for feature, found in (
        ("encoding", payload.encoding),
        ("key_id", payload.key_id),
        ("external", payload.external.uri),
    ):
        if found:
            raise PayloadUnsupported(feature=feature, value=found, field=what)


def dictionary_of(payload: payload_pb2.Payload, what: str, limit: int) -> dict[str, object]:
    """Return the JSON object that *payload* holds; an empty one for none.

    Raises:
        PayloadInvalid: it is something else.
    """
    value = value_of(payload, what, limit)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PayloadInvalid(what=what, expected="a JSON object", problem="it is another value", field=what)
    return value


def name_of(field: str, given: str) -> str:
    """Return a name of at most 255 characters without control characters.

    Raises:
        FieldInvalid: it is none.
    """
    if len(given) > _MOST_NAME or not (given.isprintable() or not given):
        problem = f"it has {len(given)} characters" if len(given) > _MOST_NAME else "it holds control characters"
        expected = f"at most {_MOST_NAME} printable characters"
        raise FieldInvalid(name=field, expected=expected, problem=problem)
    return given


def tags_of(given: Sequence[str]) -> tuple[str, ...]:
    """Return at most 20 tags, each of at most 64 characters.

    Raises:
        FieldInvalid: they are more, or longer.
    """
    longest = max(map(len, given), default=0)
    if len(given) > _MOST_TAGS or longest > _MOST_TAG:
        expected = f"at most {_MOST_TAGS} tags of at most {_MOST_TAG} characters"
        problem = f"there are {len(given)}, and the longest has {longest}"
        raise FieldInvalid(name="tags", expected=expected, problem=problem)
    return tuple(name_of("tags", tag) for tag in given)


def required(field: str, given: str) -> str:
    """Return a name that must be given.

    Raises:
        FieldInvalid: it is empty or no name.
    """
    if not given:
        raise FieldInvalid(name=field, expected="given", problem="it is empty")
    return name_of(field, given)


def number_of(field: str, given: str, letter: str) -> int:
    """Return the number in an id like t3 or a7.

    Raises:
        FieldInvalid: it is no such id.
    """
    digits = given.removeprefix(letter)
    if not digits.isascii() or not digits.isdigit() or len(digits) > 12:
        raise FieldInvalid(name=field, expected=f"an id like {letter}1", problem=f"it is '{given[:40]}'")
    return int(digits)


def reason_of(given: str) -> str:
    """Return what somebody says of a command, 1,000 characters at most."""
    return text_of(given, 1000)


def text_of(given: str, most: int) -> str:
    """Return what somebody says: *most* characters at most, and without NUL, which no text of PostgreSQL can hold."""
    return str(defused(given[:most])).replace("\0", "\ufffd")


def page_size_of(given: int, most: int = 1000) -> int:
    """Return how many items a page has: 50 for 0, *most* at most.

    Raises:
        FieldInvalid: it is negative.
    """
    if given < 0:
        raise FieldInvalid(name="page_size", expected="0 or more", problem=f"it is {given}")
    return min(given or 50, most)


def failure_of(message: failure_pb2.Failure, limit: int) -> c.Failure:
    """Return what a worker says of its failure."""
    text = text_of(message.message, 10_000) or "The worker gave no message."
    details = value_of(message.details, "failure.details", limit)
    retryable = message.retryable if message.HasField("retryable") else True
    return c.Failure("ACTION", text, text_of(message.code, 200), details, retryable)


def microseconds_of(name: str, stamp: timestamp_pb2.Timestamp) -> int:
    """Return a moment of a request, microseconds since 1970.

    Raises:
        FieldInvalid: it is before 1970, after the year 9999, or missing.
    """
    if not 0 < stamp.seconds < _MOST_SECONDS or not 0 <= stamp.nanos < 1_000_000_000:
        expected, problem = "a moment after 1970 and before 10000", f"it is {stamp.seconds} s and {stamp.nanos} ns"
        raise FieldInvalid(name=name, expected=expected, problem=problem)
    return stamp.seconds * 1_000_000 + stamp.nanos // 1000


# --- out -----------------------------------------------------------------------------------------


def payload(value: object) -> payload_pb2.Payload:
    """Return *value* as JSON."""
    return payload_pb2.Payload(content_type=JSON, data=encode(value))


def set_payload(into: payload_pb2.Payload, data: bytes) -> None:
    """Put JSON bytes into a part of a message as they are."""
    into.content_type, into.data = JSON, data


def timestamp(microseconds: int) -> timestamp_pb2.Timestamp:
    """Return a stored moment."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=rest * 1000)


def moment(at: datetime) -> timestamp_pb2.Timestamp:
    """Return a moment."""
    return timestamp(to_microseconds(at))


def duration(microseconds: int) -> duration_pb2.Duration:
    """Return a length of time, 0 at least."""
    made = duration_pb2.Duration()
    set_duration(made, microseconds)
    return made


def set_duration(into: duration_pb2.Duration, microseconds: int) -> None:
    """Put a length of time, 0 at least, into a part of a message."""
    into.seconds, rest = divmod(max(0, microseconds), 1_000_000)
    into.nanos = rest * 1000


_ACTORS: Mapping[str, actor_pb2.ActorKind.ValueType] = {
    "anonymous": actor_pb2.ACTOR_KIND_ANONYMOUS,
    "caller": actor_pb2.ACTOR_KIND_CALLER,
    "worker": actor_pb2.ACTOR_KIND_WORKER,
    "timer": actor_pb2.ACTOR_KIND_TIMER,
    "parent": actor_pb2.ACTOR_KIND_PARENT,
    "child": actor_pb2.ACTOR_KIND_CHILD,
    "system": actor_pb2.ACTOR_KIND_SYSTEM,
}


def actor(text: str) -> actor_pb2.Actor:
    """Return a stored actor, "kind:name"."""
    kind, _, name = text.partition(":")
    return actor_pb2.Actor(kind=_ACTORS.get(kind, actor_pb2.ACTOR_KIND_UNSPECIFIED), name=name)


def execution_state(state: str) -> execution_pb2.ExecutionState.ValueType:
    """Return the enum value of a stored state."""
    return execution_pb2.ExecutionState.Value(f"EXECUTION_STATE_{state}")


def task_state(state: str) -> task_pb2.TaskState.ValueType:
    """Return the enum value of a stored state."""
    return task_pb2.TaskState.Value(f"TASK_STATE_{state}")


_FAILURE_KINDS: Mapping[str, failure_pb2.FailureKind.ValueType] = {
    "ACTION": failure_pb2.FAILURE_KIND_ACTION,
    "TIMEOUT": failure_pb2.FAILURE_KIND_TIMEOUT,
    "DEFINITION": failure_pb2.FAILURE_KIND_DEFINITION,
    "COMMAND": failure_pb2.FAILURE_KIND_COMMAND,
    "CHILD": failure_pb2.FAILURE_KIND_CHILD,
    "LIMIT": failure_pb2.FAILURE_KIND_LIMIT,
    **dict.fromkeys(DELIVERY_KINDS, failure_pb2.FAILURE_KIND_DELIVERY),
}


def failure(
    kind: str, message: str, code: str = "", details: object = None, *, retryable: bool = True
) -> failure_pb2.Failure:
    """Return a failure."""
    found = failure_pb2.Failure(
        kind=_FAILURE_KINDS.get(kind, failure_pb2.FAILURE_KIND_UNSPECIFIED), code=code, message=message
    )
    found.retryable = retryable
    if details is not None:
        found.details.CopyFrom(payload(details))
    return found


#: What a type of event does to the state of its action.
_ACTION_CHANGES = {
    "ActionScheduled": action_pb2.ACTION_STATE_QUEUED, "ActionReopened": action_pb2.ACTION_STATE_RUNNING,
    "ActionSucceeded": action_pb2.ACTION_STATE_SUCCEEDED, "ActionFailed": action_pb2.ACTION_STATE_FAILED,
    "ActionCancelled": action_pb2.ACTION_STATE_CANCELLED,
}  # fmt: skip


def event(stored: StoredEvent) -> event_pb2.Event:
    """Return a row of the log."""
    message = event_pb2.Event(
        execution_id=stored.execution_id,
        revision=stored.revision,
        namespace=stored.namespace,
        root_id=stored.root_id or stored.execution_id,
        at=timestamp(stored.at),
        actor=actor(stored.actor),
        cause=actor_pb2.Cause(command=stored.cause, request_id=stored.request_id),
        type=stored.type,
        type_version=stored.type_version,
        task_id=f"t{stored.task_id}" if stored.task_id else "",
        task=stored.task,
        action_id=f"a{stored.action_id}" if stored.action_id else "",
        body=payload_pb2.Payload(content_type=JSON, data=stored.body),
        workflow=stored.workflow,
        business_key=stored.business_key,
        traceparent=stored.trace,
    )
    of_execution, of_task = states(stored)
    if of_execution:
        message.execution_state = execution_state(of_execution)
    if of_task:
        message.task_state = task_state(of_task)
    if stored.type in _ACTION_CHANGES:
        message.action_state = _ACTION_CHANGES[stored.type]
    return message


#: Larger events are made into a message for each watcher: thousands of them would fill the memory.
_MOST_SHARED_BYTES = 4096


def shared_event(stored: StoredEvent) -> event_pb2.Event:
    """Return a row of the log as a message that nobody changes: those who watch the same share it if it is small."""
    return _small(stored) if len(stored.body) <= _MOST_SHARED_BYTES else event(stored)


_small = functools.lru_cache(4096)(event)


def digest_of(request: Any) -> str:
    """Return what makes the request what it is, whoever sends it again."""
    copy = type(request)()
    copy.CopyFrom(request)
    copy.request_id = ""
    content = copy.DESCRIPTOR.name.encode() + copy.SerializeToString(deterministic=True)
    return hashlib.sha256(content).hexdigest()[:32]
