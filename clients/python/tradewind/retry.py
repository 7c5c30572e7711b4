"""When to try again, and after how long. No clock, no sleep: the faces do the waiting."""

from __future__ import annotations

import logging
import math
import random

import grpc

from tradewind.errors import Exhausted, TradewindError, Unavailable

log = logging.getLogger("tradewind.streams")

#: First and longest delay in seconds.
FIRST, LONGEST = 0.1, 5.0
#: A server that is killed while it answers, and some proxies, cancel the streams of a connection that they drop.
_BROKEN = (grpc.StatusCode.UNAVAILABLE.name, grpc.StatusCode.CANCELLED.name)
#: How many tries that gave nothing are worth a word.
_TOLD_FAILURES = 2


class Backoff:
    """Delays that double up to a bound, each drawn at random between half and all of it.

    At random, so that many clients that lost the same server do not come back at the same moment.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._next = FIRST
        #: Tries of a stream that gave nothing, one after the other.
        self._failures = 0

    def reset(self) -> None:
        """Begin again with the first delay, after a success."""
        self._next = FIRST
        if self._failures >= _TOLD_FAILURES:
            log.warning("the server is heard from again")
        self._failures = 0

    def tell(self, error: TradewindError) -> None:
        """Log, once until something comes again, that nothing comes: else that could mean that nothing happens.

        Not if the next try succeeds: a stream that breaks and goes on at once has cost nobody anything.
        """
        self._failures += 1
        if self._failures == _TOLD_FAILURES:
            log.warning("nothing is heard from a server, and tried again until it is: %s", error.message)

    def delay(self) -> float:
        """Return the next delay in seconds."""
        delay = self._next * self._rng.uniform(0.5, 1.0)
        self._next = min(self._next * 2, LONGEST)
        return delay


def delay_before_retry(error: TradewindError, backoff: Backoff, left: float = math.inf) -> float | None:
    """Return the seconds to wait before the same request is sent again, or None if it should not be.

    With *left* seconds of patience, no more than half of them, unless the server asks for more: a long delay is not a
    reason to end before the patience does, and something is left for the next try.

    Safe for mutations too, because a repeat carries the same request id.
    """
    if isinstance(error, Unavailable) or (isinstance(error, Exhausted) and error.retry_after is not None):
        asked = error.retry_after.total_seconds() if error.retry_after else 0.0
        delay = max(asked, min(backoff.delay(), left / 2))
        return delay if left >= max(asked, FIRST) else None
    return None


def in_hand(seconds: float) -> float:
    """Return for how much of a try a server must have had it, as with StartAndWait: patience does not pass meanwhile.

    A try to connect ends after `LONGEST`.
    """
    return max(0.0, seconds - LONGEST)


def is_broken(error: TradewindError) -> bool:
    """Whether the connection failed, or what lies between; a server that refuses says why by a reason of its own."""
    return error.reason in _BROKEN
