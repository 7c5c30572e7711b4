"""Whether workers could say for a while that they are there; until then no lease of one that is silent is taken away.

After a start, an outage of the database, or a time in which this server was stopped or its machine slept, leases have
ended that nobody could renew, and whoever holds one may come with its result (docs/adr/0005-leases.md).
"""

from __future__ import annotations

from datetime import datetime

from tradewind_server.clock import Clock
from tradewind_server.settings import Settings


class Hearing:
    """Since when what workers say is written down.

    Args:
        clock: the server's; how far it has come between two looks tells of a time that nobody had.
        settings: how often workers renew a lease, and how long one is that they have not accepted.
        interval: seconds between two looks for leases that have lapsed.
    """

    def __init__(self, clock: Clock, settings: Settings, interval: float) -> None:
        self._clock = clock
        self._longest_gap = interval + settings.delivery_lease_seconds
        self._needed = settings.beat_seconds + settings.delivery_lease_seconds
        self._since = clock.monotonic()
        self._looked_at = clock.now()

    def begin_anew(self) -> None:
        """Nothing that a worker says was written down until now."""
        self._since = self._clock.monotonic()

    def look(self) -> tuple[datetime, bool]:
        """Return the moment of a look for leases that have lapsed, and whether workers could renew theirs by then."""
        now = self._clock.now()
        if (now - self._looked_at).total_seconds() > self._longest_gap:
            self.begin_anew()
        self._looked_at = now
        return now, self._clock.monotonic() - self._since >= self._needed
