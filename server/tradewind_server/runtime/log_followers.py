"""Who follows the logs of an execution's actions, to be woken when there may be more. Lives on the event loop.

Nothing is kept for them: each reads the table at its own pace.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence


class LogFollowers:
    """Those of one server."""

    def __init__(self) -> None:
        self._by_execution: dict[str, set[asyncio.Event]] = {}
        #: How far each execution was at the last `check`.
        self._marks: Mapping[str, tuple[int, int]] = {}

    @contextlib.contextmanager
    def one_of(self, execution_id: str) -> Iterator[asyncio.Event]:
        """Follow an execution for a while; read the table after this, not before."""
        woken = asyncio.Event()
        group = self._by_execution.setdefault(execution_id, set())
        group.add(woken)
        try:
            yield woken
        finally:
            group.discard(woken)
            if not group:
                del self._by_execution[execution_id]

    def wake(self, execution_ids: Iterable[str]) -> None:
        """Something was written about these, or one of their actions has ended."""
        for id_ in execution_ids:
            for woken in self._by_execution.get(id_, ()):
                woken.set()

    def wake_all(self) -> None:
        """Something may have happened to any."""
        self.wake(self._by_execution)

    def followed(self) -> Sequence[str]:
        """Return the executions that somebody follows."""
        return list(self._by_execution)

    def check(self, marks: Mapping[str, tuple[int, int]]) -> None:
        """Wake those whose execution is not where it was at the last check: news of other servers may be lost."""
        self.wake(id_ for id_, mark in marks.items() if self._marks.get(id_) != mark)
        self._marks = marks
