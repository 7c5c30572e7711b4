"""Bounds of one evaluation, in steps and bytes: the same on every machine, never wall time."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from decimal import Decimal

import jinja2

from tradewind_server.lang import numbers
from tradewind_server.lang.expressions.problems import Refused
from tradewind_server.lang.values import MAX_DEPTH

#: One step is about one function call of the expression library, 20 to 60 us.
MAX_STEPS = 20_000
#: Size of any text or collection that an expression makes.
MAX_BYTES = 4 * 1024 * 1024
#: Items of one collection.
MAX_ITEMS = 100_000
#: Bytes that a C loop handles in roughly the time of one step.
_BYTES_PER_STEP = 4_096


class Budget:
    """Counts what one evaluation uses up."""

    __slots__ = ("bytes_left", "steps_left")

    def __init__(self, steps: int = MAX_STEPS, size_bytes: int = 4 * MAX_BYTES) -> None:
        self.steps_left = steps
        self.bytes_left = size_bytes

    def step(self, count: int = 1) -> None:
        """Use up steps.

        Raises:
            Refused: none are left.
        """
        self.steps_left -= count
        if self.steps_left < 0:
            raise Refused(f"it takes more than {MAX_STEPS} steps")

    def read(self, size: int) -> None:
        """Use up the steps of a loop over *size* characters or items."""
        if size >= _BYTES_PER_STEP:
            self.step(size // _BYTES_PER_STEP)

    def allocate(self, size: int) -> None:
        """Use up bytes for something new; *size* is estimated before it is made.

        Raises:
            Refused: it is too large, or all of them together are.
        """
        if size < 64:
            size = 64
        self.bytes_left -= size
        if size > MAX_BYTES or self.bytes_left < 0:
            raise Refused(f"it makes a value of more than {MAX_BYTES} bytes")


def plain(value: object, budget: Budget, depth: int = 0) -> object:
    """Turn the result of an expression into a business value, copying what is not one yet.

    Iterators, tuples and sets become lists, keys become text as in JSON (R31), dates ISO text.

    Raises:
        Refused: it cannot be one, or is too large.
    """
    kind = type(value)
    if kind is str:
        budget.allocate(len(value))  # type: ignore[arg-type]
        return value
    if value is None or kind is bool or kind is int or kind is Decimal:
        budget.allocate(8)
        return value
    if depth > MAX_DEPTH:
        raise Refused(f"its result is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return _plain_mapping(value, budget, depth)
    if isinstance(value, list | tuple):
        return [plain(item, budget, depth + 1) for item in value]
    return _plain_other(value, budget, depth)


def _plain_mapping(value: Mapping[object, object], budget: Budget, depth: int) -> dict[str, object]:
    result = {}
    for key, item in value.items():
        budget.allocate(64)
        result[key if isinstance(key, str) else key_text(key)] = plain(item, budget, depth + 1)
    return result


def _plain_other(value: object, budget: Budget, depth: int) -> object:
    if type(value) is jinja2.Undefined:  # of an `if` without `else`; every other one is strict, and fails
        return None
    if isinstance(value, float):
        return numbers.from_float(value)
    if isinstance(value, str):  # marked-up text of Jinja
        return plain(str(value), budget, depth)
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return numbers.true_divide(value // datetime.timedelta(microseconds=1), 1_000_000)
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return _plain_items(value, budget, depth)
    raise Refused("its result is not a JSON value")


def _plain_items(values: Iterable[object], budget: Budget, depth: int) -> list[object]:
    result: list[object] = []
    for item in values:
        if len(result) >= MAX_ITEMS:
            raise Refused(f"it makes more than {MAX_ITEMS} items")
        result.append(plain(item, budget, depth + 1))
    return result


def key_text(key: object) -> str:
    """Write a dictionary key that is not text as JSON would.

    Raises:
        Refused: JSON has no such key.
    """
    if key is None:
        return "null"
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int):
        return str(key)
    if isinstance(key, Decimal):
        return numbers.text(key)
    raise Refused("a key of its result is not text")
