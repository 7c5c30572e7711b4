"""States of executions in memory, least recently used out first. Belongs to the committer alone."""

from __future__ import annotations

import collections
from collections.abc import Iterable

from tradewind_server.store.records import Lease, Live, QueueRow


class Cache:
    """Bounded in bytes, as far as these can be guessed."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._entries: collections.OrderedDict[str, Live] = collections.OrderedDict()
        self._weights: dict[str, int] = {}
        self.size_bytes = 0

    def get(self, execution_id: str) -> Live | None:
        """Return the cached state, as fresh as it was put."""
        live = self._entries.get(execution_id)
        if live is not None:
            self._entries.move_to_end(execution_id)
        return live

    def revisions(self, execution_ids: Iterable[str]) -> dict[str, int]:
        """Return at which revision those are kept that go on; what has ended may be removed from the database."""
        found = ((id_, self._entries.get(id_)) for id_ in execution_ids)
        return {id_: live.state.revision for id_, live in found if live is not None and not live.state.is_final}

    def lease(self, execution_id: str, action_id: int) -> Lease | None:
        """Return who holds an action, if that is remembered."""
        live = self._entries.get(execution_id)
        return live.leases.get(action_id) if live is not None else None

    def note_lease(self, row: QueueRow) -> None:
        """Remember who holds an action, if its execution is remembered."""
        live = self._entries.get(row.execution_id)
        if live is not None:
            live.leases[row.action_id] = row.lease

    def forget_lease(self, execution_id: str, action_id: int) -> None:
        """Have the row in the queue read again the next time."""
        live = self._entries.get(execution_id)
        if live is not None:
            live.leases.pop(action_id, None)

    def put(self, live: Live) -> None:
        """Keep *live*; others may have to go."""
        id_ = live.envelope.id
        self.drop(id_)
        self._entries[id_] = live
        # a value takes about twice its text, and an event leaves some 500 bytes of state
        self._weights[id_] = weight = 3000 + 500 * live.state.revision + 2 * live.values_bytes
        self.size_bytes += weight
        while self.size_bytes > self._limit and len(self._entries) > 1:
            self.drop(next(iter(self._entries)))

    def drop(self, execution_id: str) -> None:
        """Forget a state."""
        if self._entries.pop(execution_id, None) is not None:
            self.size_bytes -= self._weights.pop(execution_id)
