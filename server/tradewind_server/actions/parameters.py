"""Reading what an action was given. What is wrong with it fails the action, and another attempt would fail alike."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from tradewind_server.actions.outcome import ActionError

#: Seconds that an action which talks to the world may take, if it says nothing itself.
DEFAULT_TIMEOUT_SECONDS = 60
#: Longest timeout that can be asked for, seconds: the action keeps a connection open all the while.
MAX_TIMEOUT_SECONDS = 24 * 3600

Input = Mapping[str, object]


def bad(problem: str) -> ActionError:
    """Return the failure of an action whose input is wrong."""
    return ActionError(problem, code="BAD_INPUT", retryable=False)


def timed_out(seconds: float) -> ActionError:
    """Return the failure of an action that took too long."""
    return ActionError(f"No answer within {seconds:g} s.", code="TIMEOUT")


def text(given: Input, name: str, default: str = "") -> str:
    """Return a text; *default* for null.

    Raises:
        ActionError: it is another value.
    """
    value = given.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise bad(f"{name} must be a text")
    return value


def required_text(given: Input, name: str) -> str:
    """Return a text that is not empty.

    Raises:
        ActionError: it is another value.
    """
    value = text(given, name)
    if not value:
        raise bad(f"{name} must be a text that is not empty")
    return value


def texts(given: Input, name: str) -> list[str]:
    """Return a list of texts; a single text is a list of one, null an empty one.

    Raises:
        ActionError: it is another value.
    """
    value = given.get(name)
    items = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(item, str) and item for item in items):
        raise bad(f"{name} must be a text or a list of texts")
    return [str(item) for item in items]


def flag(given: Input, name: str, default: bool) -> bool:
    """Return true or false; *default* for null.

    Raises:
        ActionError: it is another value.
    """
    value = given.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise bad(f"{name} must be true or false")
    return value


def port(given: Input, name: str, default: int) -> int:
    """Return a port number; *default* for null.

    Raises:
        ActionError: it is another value.
    """
    value = given.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536:
        raise bad(f"{name} must be a whole number from 1 to 65535")
    return value


def timeout(given: Input) -> float:
    """Return the seconds that the whole action may take.

    Raises:
        ActionError: it is no such number.
    """
    value = given.get("timeout")
    if value is None:
        return DEFAULT_TIMEOUT_SECONDS
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 < value <= MAX_TIMEOUT_SECONDS:
        raise bad(f"timeout must be a number of seconds over 0 and up to {MAX_TIMEOUT_SECONDS}")
    return float(value)
