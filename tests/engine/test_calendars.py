"""Business time: what a calendar says, both ways, over holidays, breaks and changes of the clocks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind_server.engine.calendars import STANDARD, Calendar, Hours
from tradewind_server.lang.durations import Duration, Unit, duration_of

BERLIN = ZoneInfo("Europe/Berlin")
LONG: Hours = ((9 * 60, 12 * 60), (13 * 60, 17 * 60))
SHORT: Hours = ((9 * 60, 12 * 60),)
#: Fridays are short; Maundy Thursday 2026-04-02 is worked, Good Friday and Easter Monday are not.
OFFICE = Calendar(
    BERLIN, (LONG, LONG, LONG, LONG, SHORT, (), ()), frozenset({date(2026, 4, 3), date(2026, 4, 6), date(2026, 12, 24)})
)
#: All day long, every day: clocks change while they work.
ALWAYS = Calendar(BERLIN, (((0, 1440),),) * 7)


def berlin(text: str) -> datetime:
    """Return a moment by the clock in Berlin."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


@pytest.mark.parametrize(
    ("begin", "length", "end"),
    [
        # within a day, over lunch, over the night, over a weekend
        ("2026-03-02T10:00", "1 business hour", "2026-03-02T11:00"),
        ("2026-03-02T11:30", "1 business hour", "2026-03-02T13:30"),
        ("2026-03-02T16:00", "3 business hours", "2026-03-03T11:00"),
        ("2026-03-06T11:00", "2 business hours", "2026-03-09T10:00"),
        # work that fills the day ends with the day, not on the next morning
        ("2026-03-02T16:00", "1 business hour", "2026-03-02T17:00"),
        ("2026-03-02T11:00", "60 business minutes", "2026-03-02T12:00"),
        # nothing counts before work begins
        ("2026-03-07T15:00", "0 business hours", "2026-03-09T09:00"),
        ("2026-03-02T06:00", "1 business hour", "2026-03-02T10:00"),
        ("2026-03-02T10:00", "1 business day", "2026-03-03T10:00"),
        ("2026-03-02T06:00", "1 business day", "2026-03-03T09:00"),
        ("2026-03-07T15:00", "1 business day", "2026-03-10T09:00"),
        ("2026-03-02T17:00", "1 business day", "2026-03-04T09:00"),
        # Friday ends early
        ("2026-03-05T16:00", "1 business day", "2026-03-06T12:00"),
        # over Easter, with the clocks changed on 2026-03-29
        ("2026-04-02T15:00", "1 business day", "2026-04-07T15:00"),
        ("2026-03-27T10:00", "1 business day", "2026-03-30T10:00"),
        ("2026-03-27T11:00", "2 business hours", "2026-03-30T10:00"),
        ("2026-10-23T11:00", "2 business hours", "2026-10-26T10:00"),
        # Christmas Eve is off
        ("2026-12-23T10:00", "1 business day", "2026-12-25T10:00"),
    ],
)
def test_business_time_ends(begin: str, length: str, end: str) -> None:
    assert OFFICE.after(berlin(begin), duration_of(length)) == berlin(end)


@pytest.mark.parametrize(
    ("end", "length", "begin"),
    [
        ("2026-03-02T11:00", "1 business hour", "2026-03-02T10:00"),
        ("2026-03-02T13:30", "1 business hour", "2026-03-02T11:30"),
        ("2026-03-03T11:00", "3 business hours", "2026-03-02T16:00"),
        ("2026-03-09T08:00", "1 business hour", "2026-03-06T11:00"),
        ("2026-03-02T10:00", "1 business hour", "2026-03-02T09:00"),
        ("2026-03-08T10:00", "0 business days", "2026-03-06T12:00"),
        ("2026-03-10T16:00", "2 business days", "2026-03-06T12:00"),
        ("2026-04-07T15:00", "1 business day", "2026-04-02T15:00"),
    ],
)
def test_business_time_begins(end: str, length: str, begin: str) -> None:
    assert OFFICE.before(berlin(end), duration_of(length)) == berlin(begin)


def test_hours_are_real_hours_where_clocks_change_during_work() -> None:
    """The night of 2026-03-29 has 23 hours, that of 2026-10-25 has 25; a time that is left out is an hour later."""
    three = duration_of("3 business hours")
    assert ALWAYS.after(berlin("2026-03-29T00:30"), three) == berlin("2026-03-29T04:30")
    assert ALWAYS.after(berlin("2026-10-25T00:30"), three) == berlin("2026-10-25T02:30") + timedelta(hours=1)
    assert ALWAYS.after(berlin("2026-03-28T02:30"), duration_of("1 business day")) == berlin("2026-03-29T03:30")


def test_seconds_are_seconds_in_every_calendar() -> None:
    begin = berlin("2026-03-28T12:00")
    assert OFFICE.after(begin, Duration(90)) == begin + timedelta(seconds=90)
    assert OFFICE.before(begin, Duration(90)) == begin - timedelta(seconds=90)


@pytest.mark.parametrize(
    ("calendar", "length", "why"),
    [
        (OFFICE, "801 business days", "longer than 800 business days"),
        (OFFICE, "6001 business hours", "longer than 21600000 business seconds"),
        (Calendar(BERLIN, (LONG, (), (), (), (), (), ())), "800 business days", ""),
        (Calendar(BERLIN, ((),) * 7), "1 business hour", "too little working time"),
    ],
)
def test_what_would_never_end_is_refused(calendar: Calendar, length: str, why: str) -> None:
    """A calendar of few working days still gives a moment."""
    begin = berlin("2026-03-02T10:00")
    if not why:
        assert calendar.after(begin, duration_of(length)) == berlin("2041-07-01T10:00")
        return
    with pytest.raises(ValueError, match=why):
        calendar.after(begin, duration_of(length))


_MOMENTS = st.integers(0, 5 * 366 * 86_400).map(lambda n: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=n))


@given(_MOMENTS, st.integers(1, 400_000))
def test_there_and_back_again(begin: datetime, seconds: int) -> None:
    """Going back from where it ends leads to where it began to count."""
    length = Duration(seconds, Unit.BUSINESS_SECOND)
    for calendar in (OFFICE, STANDARD):
        end = calendar.after(begin, length)
        assert calendar.before(end, length) == calendar.after(begin, Duration(0, Unit.BUSINESS_SECOND))


@given(_MOMENTS, st.integers(1, 60))
def test_days_later_somebody_works(begin: datetime, days: int) -> None:
    """It is on a working day, within its hours, and a day more is later."""
    end = OFFICE.after(begin, Duration(days, Unit.BUSINESS_DAY)).astimezone(BERLIN)
    hours = OFFICE.week[end.weekday()]
    assert end.date() not in OFFICE.days_off
    assert hours[0][0] <= end.hour * 60 + end.minute <= hours[-1][1]
    assert OFFICE.after(begin, Duration(days + 1, Unit.BUSINESS_DAY)) > end > begin


@given(_MOMENTS, st.integers(0, 100_000), st.integers(0, 100_000))
def test_work_adds_up(begin: datetime, first: int, second: int) -> None:
    """Two stretches after one another are as long as both together."""
    both = OFFICE.after(begin, Duration(first + second, Unit.BUSINESS_SECOND))
    half = OFFICE.after(begin, Duration(first, Unit.BUSINESS_SECOND))
    end = OFFICE.after(half, Duration(second, Unit.BUSINESS_SECOND))
    # what ends with the day, and what begins with the next, are the same moment of work
    assert OFFICE.after(end, Duration(0, Unit.BUSINESS_SECOND)) == OFFICE.after(both, Duration(0, Unit.BUSINESS_SECOND))
