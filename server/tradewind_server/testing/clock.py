"""A clock that moves only when it is told to, and ids that are counted."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from tradewind_server.clock import to_microseconds


class VirtualClock:
    """Stands still between two `advance`s."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._elapsed = 0.0

    def now(self) -> datetime:
        """Return the moment it shows."""
        return self._now

    def microseconds(self) -> int:
        """Return the moment in microseconds since 1970."""
        return to_microseconds(self._now)

    def monotonic(self) -> float:
        """Return the seconds since it was made."""
        return self._elapsed

    def advance(self, by: timedelta) -> None:
        """Move on."""
        self._now += by
        self._elapsed += by.total_seconds()


class CountedIds:
    """The same ids in every run."""

    def __init__(self, start: int = 0) -> None:
        self._count = start

    def execution(self, at: datetime) -> str:
        """Return the next id in the form of a UUIDv7."""
        self._count += 1
        number = int(at.timestamp() * 1000) << 80 | 0x7 << 76 | 0x2 << 62 | self._count
        return str(uuid.UUID(int=number))

    def opaque(self) -> str:
        """Return the next id as text."""
        self._count += 1
        return f"{self._count:032x}"
