"""The streams of watchers that are open at this server, and whose they are. Lives on the event loop."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator

from tradewind_server.errors import StreamsExhausted
from tradewind_server.settings import Settings


class Streams:
    """Counts them: all together, and those of each client, so that one leaves room for the others."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._by_client: collections.Counter[str] = collections.Counter()

    @property
    def count(self) -> int:
        """Return how many are open."""
        return self._by_client.total()

    @contextlib.contextmanager
    def one_of(self, client: str) -> Iterator[None]:
        """Have one more of *client* for a while.

        Raises:
            StreamsExhausted: it, or all together, have as many as may be.
        """
        settings, total = self._settings, self.count
        if total >= settings.max_streams:
            raise StreamsExhausted(count=total, setting="max_streams")
        if self._by_client[client] >= settings.max_client_streams:
            raise StreamsExhausted(count=self._by_client[client], setting="max_client_streams")
        self._by_client[client] += 1
        try:
            yield
        finally:
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]
