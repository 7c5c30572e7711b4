"""Timers in memory: which execution to wake when. The table is the truth; this only saves reading it."""

from __future__ import annotations

import heapq


class Alarm:
    """A heap of due moments. Adding a timer twice is no matter; a timer that is gone is a no-op when it fires."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str, int]] = []
        self._known: set[tuple[str, int]] = set()

    def add(self, due: int, execution_id: str, timer_id: int) -> None:
        """Remember a timer; *due* in microseconds since 1970."""
        key = (execution_id, timer_id)
        if key not in self._known:
            self._known.add(key)
            heapq.heappush(self._heap, (due, execution_id, timer_id))

    def forget(self, execution_id: str, timer_id: int) -> None:
        """The timer has ended before it was due."""
        self._known.discard((execution_id, timer_id))

    def next_due(self) -> int | None:
        """Return when the next timer is due."""
        while self._heap and self._heap[0][1:] not in self._known:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: int, limit: int) -> list[tuple[str, int]]:
        """Return up to *limit* timers that are due, earliest first, and forget them."""
        due: list[tuple[str, int]] = []
        while len(due) < limit and (first := self.next_due()) is not None and first <= now:
            _, execution_id, timer_id = heapq.heappop(self._heap)
            self._known.discard((execution_id, timer_id))
            due.append((execution_id, timer_id))
        return due
