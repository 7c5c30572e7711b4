"""Values keep their digits on the way to the server and back."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind import values
from tradewind.v1 import payload_pb2

numbers = st.integers(-(10**999), 10**999) | st.decimals(-(10**30), 10**30, places=4)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_a_value_comes_back_equal(value: values.Value) -> None:
    """What goes out comes back, digit by digit."""
    assert values.decode(values.encode(value)) == value


@pytest.mark.parametrize(
    "text",
    ["1200.50", "0.10", "123456789012345678901234567890", "-0.000000000000000000000000000001", "1.0", "[1,2.50]", "{}"],
)
def test_digits_stay_as_they_are(text: str) -> None:
    """Trailing zeros and long numbers survive as text."""
    assert values.encode(values.decode(text.encode())) == text.encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("1E+3"), "1000"),
        (1e-7, "0.0000001"),
        (0.1, "0.1"),
        (1e16, "10000000000000000"),
        ((1, "ä\n"), '[1,"ä\\n"]'),
    ],
)
def test_numbers_are_never_written_exponentially(value: values.Value, text: str) -> None:
    """Exponents are written out, and a float by its shortest text."""
    assert values.encode(value).decode() == text


@pytest.mark.parametrize(
    "value",
    [float("nan"), Decimal("Infinity"), 10**1001, Decimal("1E+2000"), {1: 2}, object(), "\ud800", {"a": {2}}],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_carry_is_refused(value: values.Value) -> None:
    """A value that would lose something, or fill the memory, is refused before it is sent."""
    with pytest.raises(values.NotCarried):
        values.encode(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    """A cycle is an error, not an endless loop."""
    cycle: list[object] = []
    cycle.append(cycle)
    with pytest.raises(values.NotCarried, match="contains itself"):
        values.encode(cycle)


@pytest.mark.parametrize(
    "data",
    [
        b"1e1000000000",
        b"1e99999999999999999999",
        b"NaN",
        b"1" * 5000,
        b"1." + b"1" * 1001,
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"half": "\\ud800"}',
        b'["\\uDC00"]',
    ],
    ids=lambda data: data[:12].decode(errors="replace"),
)
def test_what_is_not_our_json_is_refused(data: bytes) -> None:
    """Numbers beyond the limits and broken texts are refused with one exception."""
    with pytest.raises(values.NotCarried):
        values.decode(data)


def test_what_is_no_json_is_told_with_its_place() -> None:
    """In one sentence; what Python says of it began with another "Expecting"."""
    with pytest.raises(
        values.NotCarried, match=r"^Expected JSON, but it is none at line 2, column 6: expecting value\.$"
    ):
        values.decode(b'{"a": 1,\n "b":}')


def test_an_unknown_payload_is_refused() -> None:
    """A payload that is packed in a way that this version does not know is not guessed at."""
    with pytest.raises(values.NotCarried, match="gzip"):
        values.from_payload(payload_pb2.Payload(data=b"1", encoding="gzip"))
