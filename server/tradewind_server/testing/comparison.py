"""How what is differs from what was expected, as lines that name the place: `output.total: expected 2, got 1`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from tradewind_server.lang.references import shown
from tradewind_server.lang.values import encode

#: Characters of one value in a difference.
_LONGEST = 400

Fields = Mapping[str, Any]


class Different(AssertionError):
    """Something did not come out as expected; `differences` has a line for each place."""

    def __init__(self, differences: Sequence[str]) -> None:
        super().__init__("\n".join(differences))
        self.differences = tuple(differences)


def differences(place: str, expected: object, actual: object) -> Iterator[str]:
    """Give a line for each place at or below *place* that differs. Digits count: 1.50 is not 1.5."""
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        for key in dict.fromkeys([*expected, *actual]):
            inner = f"{place}.{key}"
            if key not in actual:
                yield f"{inner}: expected {told(expected[key])}, but it is missing"
            elif key not in expected:
                yield f"{inner}: unexpected, got {told(actual[key])}"
            else:
                yield from differences(inner, expected[key], actual[key])
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for index, (wanted, got) in enumerate(zip(expected, actual, strict=True)):
            yield from differences(f"{place}[{index}]", wanted, got)
    elif plain(expected) != plain(actual):
        yield f"{place}: expected {told(expected)}, got {told(actual)}"


def event_differences(expected: Sequence[str | Fields], actual: Sequence[Fields], *, complete: bool) -> list[str]:
    """Compare events with those *expected* in this order: all of them if *complete*, else others may stand between."""
    seen = ", ".join(f"{event['type']}({event['task']})" if event.get("task") else event["type"] for event in actual)
    position = 0
    for number, entry in enumerate(expected, 1):
        wanted = {"type": entry} if isinstance(entry, str) else entry
        while not complete and position < len(actual) and not _fits(wanted, actual[position]):
            position += 1
        if position == len(actual):
            return [f"events: number {number}, {dict(wanted)}, is missing; there are: {seen}"]
        if not _fits(wanted, actual[position]):
            return [f"events: expected number {number} to be {dict(wanted)}, got {actual[position]}; there are: {seen}"]
        position += 1
    return [f"events: there are more than expected: {seen}"] if complete and position < len(actual) else []


def notification_differences(expected: Sequence[Fields], actual: Sequence[Fields]) -> list[str]:
    """Compare notifications with all those *expected*, in order; of each the fields that are given."""
    if len(expected) == len(actual) and all(map(_fits, expected, actual)):
        return []
    return [f"notifications: expected {told(list(map(dict, expected)))}, got {told(list(map(dict, actual)))}"]


def _fits(wanted: Fields, actual: Fields) -> bool:
    return all(name in actual and plain(actual[name]) == plain(value) for name, value in wanted.items())


def order_differences(expected: Sequence[str], actual: Sequence[str]) -> list[str]:
    """Compare names with those *expected* in this order; others may stand between."""
    rest = iter(actual)
    missing = next((name for name in expected if name not in rest), None)
    if missing is None:
        return []
    return [f"order: expected {', '.join(expected)}, but {missing} does not come then; there are: {', '.join(actual)}"]


def includes(part: Fields, whole: object) -> bool:
    """Tell whether *whole* is a mapping with all of *part* in it, at every level."""
    if not isinstance(whole, Mapping):
        return False
    return all(
        key in whole
        and (includes(value, whole[key]) if isinstance(value, Mapping) else plain(value) == plain(whole[key]))
        for key, value in part.items()
    )


def plain(value: Any) -> Any:
    """Return *value* in a form in which 1.50, 1.5, and true and 1 differ; a secret is as a case can write it."""
    if isinstance(value, bool | Decimal):
        return (type(value).__name__, str(value))
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def told(value: object) -> str:
    """Return a value as JSON, with all its digits; a very long one is cut."""
    text = shown(encode(value).decode())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
