"""What a caller sees: the one place where sensitive values are masked on their way out.

Whoever has the right `see-sensitive-values` sees everything, and for him nothing here costs anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from google.protobuf.message import Message

from tradewind.v1 import execution_pb2, human_task_pb2, payload_pb2
from tradewind_server.api.caller import sees_sensitive
from tradewind_server.lang.sensitive import MASK
from tradewind_server.lang.values import decode, encode
from tradewind_server.runtime.requests import Snapshot
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.runtime.sensitive import ATTACHMENTS, Mask
from tradewind_server.store import listing
from tradewind_server.store.filters import EXECUTION_FIELDS, Term, parse_filter
from tradewind_server.store.records import MARKED, StoredEvent

#: Fields with words of people, workers and definitions; the others are names, ids and states.
_TEXTS = frozenset(
    {"code", "comment", "description", "detail", "file_name", "message", "note", "progress_message", "reason",
     "state_message", "text", "title", "uri"}
)  # fmt: skip
#: What a file is known by, as `sensitive.py` has it for events.
_OF_FILES = ("file_name", "uri", "digest")
#: Of the definition: it names what is sensitive, and holds none of it.
_FORM = "form"


class Sight:
    """Shows callers what they may see."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._sensitive = runtime.sensitive

    def events(self, connection: sa.Connection, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        """Return *events* as the caller may see them."""
        return events if sees_sensitive() else self._sensitive.masked(connection, events)

    async def seen(self, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        """Return *events* as the caller may see them; the database is looked at only if something is sensitive."""
        if sees_sensitive() or all(event.codec != MARKED for event in events):
            return events
        return await self._runtime.read(lambda c, _: self._sensitive.masked(c, events))

    def is_hidden(self, connection: sa.Connection, execution_id: str) -> bool:
        """Tell whether the caller may not see what cannot be masked, such as a file, of an execution."""
        return not sees_sensitive() and bool(self._sensitive.marks(connection, [execution_id]))

    async def snapshot(self, snapshot: Snapshot, message: execution_pb2.Execution) -> execution_pb2.Execution:
        """Return the *message* of a *snapshot* as the caller may see it."""
        if snapshot.is_sensitive and not sees_sensitive():
            await self._runtime.read(lambda c, _: self.show(c, [(message.id, message)]))
        return message

    def show(self, connection: sa.Connection, messages: Iterable[tuple[str, Message]]) -> None:
        """Mask in place what the caller may not see; each message goes with the execution that it tells of."""
        if sees_sensitive():
            return
        pairs = list(messages)
        masks = self._sensitive.masks(connection, (id_ for id_, _ in pairs))
        for id_, message in pairs if masks else ():
            if id_ in masks:
                _mask(message, masks[id_])


def terms_of(filter_: str) -> list[Term]:
    """Return the terms of a filter of executions, which tell a caller nothing that he may not see."""
    terms = parse_filter(filter_, EXECUTION_FIELDS)
    return terms if sees_sensitive() else [*terms, listing.MASKED]


def _mask(message: Message, mask: Mask) -> None:
    if isinstance(message, human_task_pb2.HumanTaskAttachment) and ATTACHMENTS in mask.names:
        for name in _OF_FILES:
            setattr(message, name, MASK if getattr(message, name) else "")
    for field, value in message.ListFields():
        if field.message_type is not None and field.name != _FORM and not _is_map(field):
            for part in (value,) if isinstance(value, Message) else value:
                _mask_part(part, mask)
        elif field.name in _TEXTS and isinstance(value, str):
            setattr(message, field.name, mask.text(value))


def _mask_part(part: Any, mask: Mask) -> None:
    if isinstance(part, payload_pb2.Payload):
        if part.data:
            part.data = encode(mask.value(decode(part.data)))
    else:
        _mask(part, mask)


def _is_map(field: Any) -> bool:
    return bool(field.message_type.GetOptions().map_entry)
