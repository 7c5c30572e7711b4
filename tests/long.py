"""What `make test` leaves to `make long`."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

#: Of many cases alike `make test` takes every fourth.
_EVERY = 4


def some_now(cases: Iterable[object]) -> list[object]:
    """Return the cases, all but some of them marked as long."""
    return [pytest.param(each, marks=pytest.mark.long) if n % _EVERY else each for n, each in enumerate(cases)]
