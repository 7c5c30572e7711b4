"""The events that a filter lets through, for whoever follows the log. Lives on the event loop."""

from __future__ import annotations

from collections.abc import Sequence

from tradewind_server.runtime.tail import Read
from tradewind_server.store import reads
from tradewind_server.store.event_filter import passes
from tradewind_server.store.filters import EVENT_FIELDS, Term, parse_filter
from tradewind_server.store.records import StoredEvent

#: Tags of executions that are remembered.
_MOST_TAGS = 10_000


class Selection:
    """A filter, and what it must know of executions.

    Raises:
        FilterInvalid: the text is none.
    """

    def __init__(self, filter_: str, read: Read) -> None:
        self.terms: list[Term] = parse_filter(filter_, EVENT_FIELDS)
        self._read = read
        self._asks_tags = any(term.column == "tags" for term in self.terms)
        self._tags: dict[str, str] = {}

    async def of(self, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        """Return those of *events* that pass."""
        if not self.terms:
            return events
        if self._asks_tags:
            await self._learn_tags(events)
        return [event for event in events if passes(event, self.terms, self._tags.get(event.execution_id, ""))]

    async def _learn_tags(self, events: Sequence[StoredEvent]) -> None:
        if len(self._tags) > _MOST_TAGS:
            self._tags.clear()
        unknown = list({event.execution_id for event in events} - self._tags.keys())
        if unknown:
            rows = await self._read(lambda c, _: reads.executions_by_ids(c, unknown))
            self._tags.update({row.id: row.tags for row in rows})
