"""Actions that only look at their input: std.noop, echo, fail, sleep, async_noop, test_dict."""

from __future__ import annotations

from decimal import Decimal

from tradewind_server.actions.outcome import ActionError, After
from tradewind_server.actions.parameters import Input, bad

#: Longest std.sleep and std.echo delay, seconds: one week. Longer waits are timers (wait-before), which cost nothing.
MAX_DELAY_SECONDS = 7 * 24 * 3600
#: Most keys of std.test_dict.
MAX_KEYS = 10_000


def noop(_: Input) -> object:
    """Do nothing."""
    return None


def echo(given: Input) -> object:
    """Return `output`, `delay` seconds later."""
    delay = given.get("delay")
    seconds = float(delay) if isinstance(delay, int | Decimal) and not isinstance(delay, bool) and delay > 0 else 0.0
    return After(min(seconds, MAX_DELAY_SECONDS), given["output"]) if seconds else given["output"]


def fail(given: Input) -> object:
    """Fail, with `error_data` as the result if it is given."""
    raise ActionError("Fail action expected exception.", details=given.get("error_data") or None, code="FAIL")


def sleep(given: Input) -> object:
    """Succeed `seconds` later."""
    seconds = given.get("seconds", 1)
    if isinstance(seconds, bool) or not isinstance(seconds, int | Decimal) or not 0 <= seconds <= MAX_DELAY_SECONDS:
        raise bad(f"seconds must be a number from 0 to {MAX_DELAY_SECONDS}")
    return After(float(seconds), None)


def test_dict(given: Input) -> object:
    """Return a dictionary of `size` keys."""
    size = given.get("size", 0)
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MAX_KEYS:
        raise bad(f"size must be a whole number from 0 to {MAX_KEYS}")
    prefix, value = given.get("key_prefix", ""), given.get("val", "")
    return {f"{prefix}{n}": value for n in range(size)}
