from __future__ import annotations

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind_server.lang import numbers, values

_decimals = st.decimals(allow_nan=False, allow_infinity=False, places=12).map(numbers.pointed)
_scalars = st.none() | st.booleans() | st.integers() | _decimals | st.text(st.characters(exclude_categories=["Cs"]))
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abE+-", max_size=4), inner, max_size=4),
)


@given(_values)
def test_encode_and_decode_keep_every_digit(value: object) -> None:
    assert values.decode(values.encode(value)) == value


@given(_decimals)
def test_decimals_are_written_without_an_exponent(value: Decimal) -> None:
    assert b"E" not in values.encode([value])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"1", 1),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b"1.50", Decimal("1.50")),
        (b"1e5", Decimal("100000.0")),
        (b"1.5e-7", Decimal("0.00000015")),
        (b'{"a":[null,true]}', {"a": [None, True]}),
    ],
)
def test_decode_reads_numbers_exactly(text: bytes, value: object) -> None:
    decoded = values.decode(text)

    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b'"\xff"', "it is not UTF-8 at byte 1"),
        (b"NaN", "it is not JSON"),
        (b"", "it is not JSON"),
        (b'"\\ud800"', "it is not JSON"),
        (b"1" * 1001, "more than 1000 digits"),
        (b"1" * 9000, "more than 1000 digits"),
        (b"0." + b"1" * 2000, "more than 1000 digits"),
        (b"1e5000", "more than 1000 digits"),
        (b"1e-99999999999", "more than 1000 digits"),
        (b"[" * 101 + b"]" * 101, "nested deeper than 100 levels"),
        (b"[" * 100_000, "nested deeper|not JSON"),
    ],
)
def test_decode_refuses_with_a_sentence(text: bytes, problem: str) -> None:
    with pytest.raises(values.ValueProblem, match=problem):
        values.decode(text)


def test_decode_takes_long_digits_inside_a_text() -> None:
    assert values.decode(b'"' + b"1" * 5000 + b'"') == "1" * 5000


@pytest.mark.parametrize("value", ["\ud800", {None: 1}, object()])
def test_encode_refuses_what_json_cannot_hold(value: object) -> None:
    with pytest.raises(values.ValueProblem):
        values.encode(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        ("a", "a"),
        (Decimal("0.00000001"), "0.00000001"),
        ([1, "a", None], "[1, 'a', None]"),
        ({"a": Decimal("1.5")}, "{'a': 1.5}"),
    ],
)
def test_to_text_writes_as_python_does_with_all_digits(value: object, text: str) -> None:
    assert values.to_text(value) == text


def test_json_dump_indents_by_four() -> None:
    assert (
        values.json_dump({"a": [1, Decimal("2.50"), {}]})
        == '{\n    "a": [\n        1,\n        2.50,\n        {}\n    ]\n}'
    )


def test_text_that_is_never_closed_is_refused_in_time() -> None:
    """Each quote in it was taken for a beginning: a payload of one MiB held up everybody for half an hour."""
    data = b'"' + b'\\"' * 500_000 + b"1" * 1_001
    started = time.process_time()
    with pytest.raises(values.ValueProblem, match="it is not JSON"):
        values.decode(data)
    assert time.process_time() - started < 2
