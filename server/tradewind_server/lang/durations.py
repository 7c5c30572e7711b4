"""How long something lasts, as definitions write it: in seconds, or in the business time of a calendar."""

from __future__ import annotations

import dataclasses
import enum
import re

from tradewind_server.lang.documents import Path
from tradewind_server.lang.reader import Reader, Shape
from tradewind_server.lang.shapes import COUNT, TEXT_SCHEMA, is_count, is_expression

_PLAIN = re.compile(r"([0-9]{1,9})(?:([smhd])| (second|minute|hour|day)s?)")
_BUSINESS = re.compile(r"([0-9]{1,6}) business (minute|hour|day)s?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "second": 1, "minute": 60, "hour": 3600, "day": 86_400}
#: How people write what they mean, also where it is not taken.
_MEANT = re.compile(r"([0-9]{1,6})\s*([smhdw]|(?i:secs?|seconds?|mins?|minutes?|hrs?|hours?|days?|weeks?))")
_MEANT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Unit(enum.Enum):
    """What a duration counts."""

    SECOND = "second"
    #: Seconds within working hours.
    BUSINESS_SECOND = "business second"
    #: Days on which anybody works.
    BUSINESS_DAY = "business day"


@dataclasses.dataclass(frozen=True, slots=True)
class Duration:
    """So many of a unit."""

    count: int
    unit: Unit = Unit.SECOND

    def is_before(self, other: Duration) -> bool:
        """Tell whether it is over before *other*; False also where only a calendar could say."""
        return self.unit is other.unit and self.count < other.count


def duration_of(value: object) -> Duration:
    """Return what *value* says.

    Raises:
        ValueError: it is no duration.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Duration(value)
    if isinstance(value, str) and (match := _PLAIN.fullmatch(value)):
        return Duration(int(match[1]) * _SECONDS[match[2] or match[3]])
    if isinstance(value, str) and (match := _BUSINESS.fullmatch(value)):
        count, word = int(match[1]), match[2]
        if word == "day":
            return Duration(count, Unit.BUSINESS_DAY)
        return Duration(count * _SECONDS[word], Unit.BUSINESS_SECOND)
    raise ValueError(f"a duration is whole seconds or a text such as 2d, not {type(value).__name__} {value!r:.40}")


def is_duration(value: object) -> bool:
    """Tell whether `duration_of` takes *value*."""
    try:
        duration_of(value)
    except ValueError:
        return False
    return True


def _read(reader: Reader, value: object, path: Path) -> object:
    if is_expression(value) or is_duration(value):
        return reader.template(value, path)
    meant = _meant_seconds(value)
    fix = "" if meant is None else f"Write {meant}, which are seconds, or a text of those forms."
    if isinstance(value, str) and is_duration(plain := value.strip().lower()):
        fix = f"Write '{plain}'."
    return reader.wrong(path, value, DURATION.expected, fix)


def _meant_seconds(value: object) -> int | None:
    """Return the seconds that a text such as '5 min' means; None if that is not known."""
    meant = _MEANT.fullmatch(value.strip()) if isinstance(value, str) else None
    return int(meant[1]) * _MEANT_SECONDS[meant[2][0].lower()] if meant else None


DURATION = Shape(
    "whole seconds, a text such as 30m, 4h, 2d, '2 days' or '2 business days', or an expression that gives one of "
    "these",
    _read,
    {"anyOf": [{"type": "integer", "minimum": 0}, TEXT_SCHEMA]},
)


def _read_seconds(reader: Reader, value: object, path: Path) -> object:
    if is_count(value) or is_expression(value):
        return reader.template(value, path)
    meant = _meant_seconds(value)
    fix = "" if meant is None else f"Write it in seconds: {meant}."
    return reader.wrong(path, value, SECONDS.expected, fix)


#: As Mistral has it. Only what people are given time for is written in words.
SECONDS = Shape("whole seconds, at least 0, or one expression", _read_seconds, COUNT.schema)
