"""The file of calendars: what it means, and what is said of one that is wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tradewind_server.engine.calendars import STANDARD
from tradewind_server.lang.configuration import Unusable
from tradewind_server.lang.durations import duration_of
from tradewind_server.runtime.calendars import read_calendars

GOOD = """
default: munich
calendars:
  munich:
    time_zone: Europe/Berlin
    hours: {mon: 09:00-17:00, fri: [09:00-12:00, 13:00-15:00], sat: 10:00-24:00}
    holidays: DE-BY
    days_off: [12-24, 2026-02-17, 02-29]
  doha: {time_zone: Asia/Qatar, weekdays: [sun, mon, tue, wed, thu]}
"""


def test_a_file_says_when_people_work(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(GOOD)
    found = read_calendars(str(tmp_path / "c.yaml"))

    munich, doha = found["munich"], found["doha"]
    assert found.keys() == {"", "munich", "doha"}
    assert found[""] is munich
    assert munich.week == (((540, 1020),), (), (), (), ((540, 720), (780, 900)), ((600, 1440),), ())
    days = [date(2026, 1, 6), date(2031, 12, 24), date(2026, 2, 17), date(2027, 2, 17), date(2028, 2, 29)]
    assert [day in munich.days_off for day in days] == [True, True, True, False, True]
    # Epiphany is a holiday in Bavaria, not in all of Germany; nothing is one in Doha's calendar
    assert date(2026, 1, 6) not in doha.days_off
    begin = datetime(2026, 1, 8, 13, tzinfo=UTC)  # Thursday, 16:00 there
    assert doha.after(begin, duration_of("2 business hours")) == datetime(2026, 1, 11, 7, tzinfo=UTC)


def test_without_a_file_the_office_counts() -> None:
    assert read_calendars("") == {"": STANDARD}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("calendars: {a: {hours: 09:00-17:00}}", "Expected 'time_zone' in a calendar, but it is missing"),
        ("calendars: {a: {time_zone: Mars/Base}}", "the name of a time zone such as Europe/Berlin"),
        ("calendars: {a: {time_zone: UTC, hours: 17:00-09:00}}", "times of a day such as 09:00-17:00"),
        ("calendars: {a: {time_zone: UTC, hours: [09:00-12:00, 11:00-13:00]}}", "one after the other"),
        ("calendars: {a: {time_zone: UTC, hours: 09:00-25:00}}", "times of a day"),
        ("calendars: {a: {time_zone: UTC, hours: {maybe: 09:00-17:00}}}", "one of mon, tue"),
        ("calendars: {a: {time_zone: UTC, weekdays: []}}", "a calendar in which somebody works"),
        ("calendars: {a: {time_zone: UTC, weekdays: [mo]}}", "a list of mon, tue"),
        ("calendars: {a: {time_zone: UTC, holidays: XX}}", "a country that the library"),
        ("calendars: {a: {time_zone: UTC, holidays: DE-XX}}", "a country that the library"),
        ("calendars: {a: {time_zone: UTC, days_off: [2026-02-30]}}", "a date such as 2026-12-24"),
        ("calendars: {a: {time_zone: UTC, lunch: 12:00}}", "'lunch' is none"),
        ("calendars: {a: {time_zone: UTC}}\ndefault: b", "there is no 'b'"),
        ("calendars: {}", "a mapping of names to calendars"),
        ("a: [", "Expected YAML"),
        ("", "Expected one YAML document"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(Unusable) as caught:
        read_calendars(str(tmp_path / "c.yaml"))

    assert problem in str(caught.value)
    assert "c.yaml" in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="No such file"):
        read_calendars(str(tmp_path / "none.yaml"))
