"""The only user of time: database time for what is stored, monotonic time for what is only waited for."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Seconds that go on while the machine sleeps, where it can tell.
_elapsed: Callable[[], float] = (
    functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)


class Clock(Protocol):
    """Where moments come from."""

    def now(self) -> datetime:
        """Return the moment, aware, in UTC, as the database counts it."""

    def microseconds(self) -> int:
        """Return the same as it is stored: whole microseconds since 1970."""

    def monotonic(self) -> float:
        """Return seconds that never go back, from an arbitrary start."""


class SystemClock:
    """This machine's clock, corrected by its measured offset from the database's.

    Between two measurements the monotonic clock carries the time, so that a jump of the wall clock does nothing.
    """

    def __init__(self) -> None:
        self._base = datetime.now(UTC)
        self._started = _elapsed()

    def now(self) -> datetime:
        """Return the moment, aware, in UTC."""
        return self._base + timedelta(seconds=_elapsed() - self._started)

    def microseconds(self) -> int:
        """Return the moment in microseconds since 1970."""
        return to_microseconds(self._base) + round((_elapsed() - self._started) * 1_000_000)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def correct(self, database_now: datetime) -> timedelta:
        """Take *database_now*, read just now, as the time; return by how much it differed."""
        difference = database_now - self.now()
        self._base, self._started = database_now, _elapsed()
        return difference


@functools.lru_cache(1024)
def to_microseconds(at: datetime) -> int:
    """Return whole microseconds since 1970, the form in which moments are stored.

    All that a command does has one moment, which is asked for again and again.
    """
    delta = at - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_microseconds(value: int) -> datetime:
    """Return the moment of a stored number of microseconds."""
    return _EPOCH + timedelta(microseconds=value)
