"""Filters of lists: what they take, and what they say when they do not."""

from __future__ import annotations

import pytest

from tradewind_server.errors import FilterInvalid
from tradewind_server.store.filters import EXECUTION_FIELDS, HUMAN_TASK_FIELDS, Term, parse_filter


def test_terms_are_joined_by_and() -> None:
    """Every comparison becomes a term; quotes are optional around single words."""
    terms = parse_filter('state = RUNNING AND workflow != "a \\"b\\""', EXECUTION_FIELDS)

    assert terms == [Term("state", "=", "RUNNING"), Term("workflow", "!=", 'a "b"')]


def test_moment_is_compared_as_microseconds() -> None:
    """A time zone is needed, or nobody knows which moment is meant."""
    terms = parse_filter("created_at >= 1970-01-01T00:00:01+00:00", EXECUTION_FIELDS)

    assert terms == [Term("created_at", ">=", 1_000_000)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("color = red", "there is no field 'color'"),
        ("state < RUNNING", "takes = !=, not '<'"),
        ("state = BUSY", "'BUSY' is none of"),
        ("state RUNNING", "is no comparison"),
        ("state = RUNNING workflow = x", "follows where AND should"),
        ("created_at > yesterday", "the value of 'created_at' is wrong"),
        ("created_at > 2026-01-01T00:00:00", "has no time zone"),
        ("state = RUNNING AND", "is no comparison"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_the_fields(text: str, problem: str) -> None:
    """The refusal says what is wrong and what there is."""
    with pytest.raises(FilterInvalid) as refusal:
        parse_filter(text, EXECUTION_FIELDS)

    assert problem in str(refusal.value)
    assert "business_key" in refusal.value.facts["fields"]


@pytest.mark.parametrize("number", ["1e3", "", str(2**63), str(-(2**63) - 1), "9" * 5_000])
def test_a_priority_that_no_database_takes_is_refused(number: str) -> None:
    """It was an internal error."""
    with pytest.raises(FilterInvalid, match="the value of 'priority' is wrong|is no comparison"):
        parse_filter(f'priority < "{number}"', HUMAN_TASK_FIELDS)


@pytest.mark.parametrize("number", [0, 2**63 - 1, -(2**63)])
def test_a_priority_is_any_number_that_a_database_takes(number: int) -> None:
    assert parse_filter(f"priority < {number}", HUMAN_TASK_FIELDS) == [Term("priority", "<", number)]
