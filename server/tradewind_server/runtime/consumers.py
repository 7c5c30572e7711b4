"""The consumers that this server has, so that each learns when its subscription is not its own any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tradewind_server.runtime.tail import Read
from tradewind_server.store import subscriptions as store

Key = tuple[str, str]


class Consumers:
    """Those of one server. Lives on the event loop."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._open: dict[Key, dict[int, tuple[Callable[[], None], Callable[[], None]]]] = {}

    def enter(self, key: Key, epoch: int, lost: Callable[[], None], wake: Callable[[], None]) -> None:
        """Take a consumer in.

        Args:
            key: namespace and name of its subscription.
            epoch: with which it has it.
            lost: called once another epoch has begun.
            wake: called when there is something to do that the log does not tell.
        """
        self._open.setdefault(key, {})[epoch] = (lost, wake)

    def wake(self, key: Key) -> None:
        """Let the consumer of *key* look, if it is here."""
        for _, wake in self._open.get(key, {}).values():
            wake()

    def leave(self, key: Key, epoch: int) -> None:
        """Forget a consumer."""
        group = self._open.get(key, {})
        group.pop(epoch, None)
        if not group:
            self._open.pop(key, None)

    async def check(self, keys: Iterable[Key] | None = None) -> None:
        """Compare with the table what is consumed of *keys*, or of all: another server may have changed it."""
        wanted = [key for key in (self._open if keys is None else keys) if key in self._open]
        if not wanted:
            return
        epochs = await self._read(lambda c, _: store.epochs(c, wanted))
        for key in wanted:
            for epoch, (lost, _) in list(self._open.get(key, {}).items()):
                if epochs.get(key) != epoch:
                    lost()
