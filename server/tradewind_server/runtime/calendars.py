"""The calendars of a server: from a YAML file to values that the engine computes business time with.

default: office            # the one that counts where a human task names none
calendars:
  office:
    time_zone: Europe/Berlin
    hours: 09:00-17:00     # or a list; or by day, e.g. {mon: 09:00-17:00, fri: [09:00-12:00, 13:00-15:00]}
    weekdays: [mon, tue, wed, thu, fri]
    holidays: DE-BY        # a country, or a part of one; see the library `holidays`
    days_off: [12-24, 2026-05-15]
"""

from __future__ import annotations

import dataclasses
import re
import zoneinfo
from collections.abc import Container, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from tradewind_server.engine.calendars import STANDARD, Calendar, Hours
from tradewind_server.lang.configuration import Unusable, read_file
from tradewind_server.lang.documents import Path
from tradewind_server.lang.reader import Keyword, Reader, Shape
from tradewind_server.lang.shapes import TEXT
from tradewind_server.on_demand import OnDemand

if TYPE_CHECKING:
    import holidays
else:
    holidays = OnDemand("holidays")

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")
_YEARLY = re.compile(r"([0-9]{2})-([0-9]{2})")
_MIDNIGHT = 24 * 60


@dataclasses.dataclass(frozen=True, slots=True)
class DaysOff(Container[date]):
    """Days on which nobody works, whatever day of the week they are."""

    dates: frozenset[date]
    #: (month, day)
    yearly: frozenset[tuple[int, int]]
    #: By country; it knows a year when it is asked for it.
    holidays: Container[object]

    def __contains__(self, day: object) -> bool:
        """Tell whether *day* is one."""
        return isinstance(day, date) and (
            day in self.dates or (day.month, day.day) in self.yearly or day in self.holidays
        )


def read_calendars(path: str) -> Mapping[str, Calendar]:
    """Return the calendars in the file at *path*, "" being the default; with "" for a path the standard one alone.

    Raises:
        Unusable: the file cannot be used.
    """
    if not path:
        return {"": STANDARD}
    found = read_file(path, _FILE, "calendars")
    calendars: dict[str, Calendar] = found["calendars"]
    default = found.get("default", "")
    if default and default not in calendars:
        raise Unusable(f"{path}: Expected the default to be one of the calendars, but there is no '{default}'.")
    return {**calendars, "": calendars.get(default, STANDARD)}


def _read_calendar(reader: Reader, value: object, path: Path) -> Calendar | None:
    parts: dict[str, Any] = reader.table(value, path, _CALENDAR, "a calendar")
    if not _CALENDAR.keys() & parts.keys() or "time_zone" not in parts:
        return None
    hours, weekdays = parts.get("hours", STANDARD.week[0]), parts.get("weekdays", frozenset(range(5)))
    week = tuple(hours.get(n, ()) if isinstance(hours, dict) else hours if n in weekdays else () for n in range(7))
    if not any(week):
        reader.wrong(path, value, "a calendar in which somebody works")
        return None
    dates, yearly = parts.get("days_off", (frozenset(), frozenset()))
    return Calendar(parts["time_zone"], week, DaysOff(dates, yearly, parts.get("holidays", frozenset())))  # type: ignore[arg-type]


def _read_zone(reader: Reader, value: object, path: Path) -> object:
    try:
        return zoneinfo.ZoneInfo(value) if isinstance(value, str) else reader.wrong(path, value, _ZONE.expected)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return reader.wrong(path, value, _ZONE.expected)


_ZONE = Shape("the name of a time zone such as Europe/Berlin", _read_zone)


def _read_hours(reader: Reader, value: object, path: Path) -> object:
    if not isinstance(value, dict):
        return _spans(reader, value, path)
    found: dict[int, Hours] = {}
    for day, hours in value.items():
        if day in _DAYS:
            found[_DAYS.index(day)] = _spans(reader, hours, (*path, day))
        else:
            reader.wrong((*path, day), day, f"one of {', '.join(_DAYS)}")
    return found


def _spans(reader: Reader, value: object, path: Path) -> Hours:
    found: list[tuple[int, int]] = []
    for text in value if isinstance(value, list) else [value]:
        match = _SPAN.fullmatch(text) if isinstance(text, str) else None
        opens, closes = (int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])) if match else (1, 0)
        if not (found[-1][1] if found else 0) <= opens < closes <= _MIDNIGHT:
            reader.wrong(path, text, f"{_HOURS.expected}, one after the other")
            return ()
        found.append((opens, closes))
    return tuple(found)


_HOURS = Shape("times of a day such as 09:00-17:00", _read_hours)


def _read_weekdays(reader: Reader, value: object, path: Path) -> object:
    days = value if isinstance(value, list) else [value]
    if not all(day in _DAYS for day in days):
        return reader.wrong(path, value, f"a list of {', '.join(_DAYS)}")
    return frozenset(map(_DAYS.index, days))


def _read_holidays(reader: Reader, value: object, path: Path) -> object:
    country, _, part = value.partition("-") if isinstance(value, str) else ("", "", "")
    try:
        return holidays.country_holidays(country, subdiv=part or None)
    except (NotImplementedError, KeyError, ValueError):
        return reader.wrong(path, value, "a country that the library 'holidays' knows, such as DE or DE-BY")


def _read_days_off(reader: Reader, value: object, path: Path) -> object:
    dates: set[date] = set()
    yearly: set[tuple[int, int]] = set()
    for n, text in enumerate(value if isinstance(value, list) else [value]):
        match = _YEARLY.fullmatch(text) if isinstance(text, str) else None
        try:
            # 2024 is a leap year
            day = date.fromisoformat(f"2024-{text}" if match else str(text))
        except ValueError:
            reader.wrong((*path, n), text, "a date such as 2026-12-24, or 12-24 for every year")
            continue
        if match:
            yearly.add((day.month, day.day))
        else:
            dates.add(day)
    return frozenset(dates), frozenset(yearly)


_CALENDAR = {
    "time_zone": Keyword(_ZONE, required=True),
    "hours": Keyword(_HOURS),
    "weekdays": Keyword(Shape("days of the week", _read_weekdays)),
    "holidays": Keyword(Shape("a country", _read_holidays)),
    "days_off": Keyword(Shape("a list of dates", _read_days_off)),
}


def _read_all(reader: Reader, value: object, path: Path) -> object:
    if not isinstance(value, dict) or not value:
        return reader.wrong(path, value, CALENDARS.expected)
    found = {name: _read_calendar(reader, each, (*path, name)) for name, each in value.items()}
    return {name: calendar for name, calendar in found.items() if calendar is not None}


#: Reads as name -> `Calendar`.
CALENDARS = Shape("a mapping of names to calendars", _read_all)
_FILE = {"default": Keyword(TEXT), "calendars": Keyword(CALENDARS, required=True)}
