"""Business time: when a calendar's people work, and which moment is so much of it away.

A calendar is a value. The engine gets it from its `Library`, computes a moment with it, and writes the moment into an
event: replaying asks no calendar, and a calendar that changes moves nothing that has been set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tradewind_server.lang.durations import Duration, Unit

#: Longer business times are refused, so that no decision takes long: three years or so, which are counted in 1 ms.
_MOST = {Unit.BUSINESS_DAY: 800, Unit.BUSINESS_SECOND: 6_000 * 3600}
#: Days looked at; more without enough work among them is a calendar of people who do not work.
_HORIZON_DAYS = 50 * 366
_NOTHING = timedelta()

#: Opening and closing, in minutes of the day by the clock on the wall.
Hours = tuple[tuple[int, int], ...]
#: The same as moments.
Spans = tuple[tuple[datetime, datetime], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Calendar:
    """When people work."""

    zone: ZoneInfo
    #: Monday first; one after the other within a day, which may end at 24:00 (1440) at the latest.
    week: tuple[Hours, Hours, Hours, Hours, Hours, Hours, Hours]
    #: Holidays, and days off of the house.
    days_off: Container[date] = frozenset()
    #: What has been computed, since a decision may count over the same days hundreds of times.
    _known: dict[date, Spans] = dataclasses.field(default_factory=dict, init=False, compare=False, repr=False)

    def after(self, moment: datetime, duration: Duration) -> datetime:
        """Return the moment at which *duration* is over that began at *moment*.

        Business time begins when work does. So many business days later means the same time by the clock on the wall,
        within that day's hours.

        Raises:
            ValueError: it is too long, or the calendar has too little work.
        """
        return self._away(moment, duration, forward=True)

    def before(self, moment: datetime, duration: Duration) -> datetime:
        """Return the moment from which *duration* leads to *moment*; the mirror image of `after`.

        Raises:
            ValueError: it is too long, or the calendar has too little work.
        """
        return self._away(moment, duration, forward=False)

    def _away(self, moment: datetime, duration: Duration, *, forward: bool) -> datetime:
        if duration.unit is Unit.SECOND:
            seconds = timedelta(seconds=duration.count)
            return moment + seconds if forward else moment - seconds
        if duration.count > (most := _MOST[duration.unit]):
            raise ValueError(f"it is longer than {most} {duration.unit.value}s")
        if duration.unit is Unit.BUSINESS_DAY:
            return self._days_away(self._worked(moment, _NOTHING, forward), duration.count, forward)
        return self._worked(moment, timedelta(seconds=duration.count), forward)

    def _worked(self, moment: datetime, left: timedelta, forward: bool) -> datetime:
        """Return where *left* of working time ends."""
        for opens, closes in self._spans(moment, forward):
            start, end = (max(opens, moment), closes) if forward else (opens, min(closes, moment))
            if start >= end:
                continue
            if left <= end - start:
                return start + left if forward else end - left
            left -= end - start
        raise ValueError("the calendar has too little working time")

    def _days_away(self, start: datetime, count: int, forward: bool) -> datetime:
        local = start.astimezone(self.zone)
        if not count:
            return start
        of_day = local.replace(tzinfo=None) - datetime.combine(local.date(), time())
        for day in self._days(local.date(), forward):
            count -= bool(self._spans_of(day)) and day != local.date()
            if not count:
                hours = self.week[day.weekday()]
                first, last = timedelta(minutes=hours[0][0]), timedelta(minutes=hours[-1][1])
                return self._moment(day, min(max(of_day, first), last))
        raise ValueError("the calendar has too few working days")

    def _spans(self, moment: datetime, forward: bool) -> Iterator[tuple[datetime, datetime]]:
        for day in self._days(moment.astimezone(self.zone).date(), forward):
            yield from self._spans_of(day) if forward else reversed(self._spans_of(day))

    def _spans_of(self, day: date) -> Spans:
        found = self._known.get(day)
        if found is None:
            hours = () if day in self.days_off else self.week[day.weekday()]
            found = self._known[day] = tuple(
                (self._moment(day, timedelta(minutes=opens)), self._moment(day, timedelta(minutes=closes)))
                for opens, closes in hours
            )
        return found

    @staticmethod
    def _days(first: date, forward: bool) -> Iterator[date]:
        for n in range(_HORIZON_DAYS):
            yield first + timedelta(days=n if forward else -n)

    def _moment(self, day: date, of_day: timedelta) -> datetime:
        """Return a time by the clock on the wall; one that a change of the clocks leaves out is as much later."""
        # adding to a moment of a zone moves the clock on the wall
        return (datetime(day.year, day.month, day.day, tzinfo=self.zone) + of_day).astimezone(UTC)


_OFFICE: Hours = ((9 * 60, 17 * 60),)
#: Where nobody has named one: Monday to Friday, 9 to 17 UTC, no holidays.
STANDARD = Calendar(ZoneInfo("UTC"), (_OFFICE, _OFFICE, _OFFICE, _OFFICE, _OFFICE, (), ()))
