"""When a call is repeated, and when its patience is over."""

from __future__ import annotations

from datetime import timedelta

import grpc
import pytest

from tradewind.errors import Exhausted, Unavailable
from tradewind.retry import LONGEST, Backoff, delay_before_retry, is_broken

_GONE = Unavailable("UNAVAILABLE", "connection reset by peer", code=grpc.StatusCode.UNAVAILABLE)
_REFUSED = Unavailable("DATABASE_UNAVAILABLE", "", code=grpc.StatusCode.UNAVAILABLE)
_ASKED = Exhausted("QUEUE_FULL", "", code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=timedelta(seconds=3))


def long_delays() -> Backoff:
    """Return delays of at least half the longest one."""
    backoff = Backoff()
    for _ in range(10):
        backoff.delay()
    return backoff


@pytest.mark.parametrize(
    ("error", "left", "delay"),
    [(_GONE, 4.0, 2.0), (_GONE, 0.1, 0.05), (_GONE, 0.09, None), (_ASKED, 4.0, 3.0), (_ASKED, 2.9, None)],
)
def test_patience_ends_a_call_and_a_long_delay_does_not(
    error: Unavailable | Exhausted, left: float, delay: float | None
) -> None:
    """It gave up as soon as a delay was longer than the patience that was left: up to 5 s too early."""
    assert delay_before_retry(error, long_delays(), left) == delay


def test_what_has_no_end_gets_the_whole_delay() -> None:
    delay = delay_before_retry(_GONE, long_delays())
    assert delay is not None
    assert LONGEST / 2 <= delay <= LONGEST


def test_a_server_that_refuses_is_there() -> None:
    """It says why by a reason; where nobody does, the connection failed or what lies between."""
    assert (is_broken(_GONE), is_broken(_REFUSED), is_broken(_ASKED)) == (True, False, False)
