"""When to try again, and after how long. No clock, no sleep: the faces do the waiting."""

from __future__ import annotations

import random

from tradewind.errors import Exhausted, TradewindError, Unavailable

#: First and longest delay in seconds.
FIRST, LONGEST = 0.1, 5.0


class Backoff:
    """Delays that double up to a bound, each drawn at random between half and all of it.

    At random, so that many clients that lost the same server do not come back at the same moment.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._next = FIRST

    def reset(self) -> None:
        """Begin again with the first delay, after a success."""
        self._next = FIRST

    def delay(self) -> float:
        """Return the next delay in seconds."""
        delay = self._next * self._rng.uniform(0.5, 1.0)
        self._next = min(self._next * 2, LONGEST)
        return delay


def delay_before_retry(error: TradewindError, backoff: Backoff) -> float | None:
    """Return the seconds to wait before the same request is sent again, or None if it should not be.

    Safe for mutations too, because a repeat carries the same request id.
    """
    if isinstance(error, Unavailable) or (isinstance(error, Exhausted) and error.retry_after is not None):
        asked = error.retry_after.total_seconds() if error.retry_after else 0.0
        return max(asked, backoff.delay())
    return None
