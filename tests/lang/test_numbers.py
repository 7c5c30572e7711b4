from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind_server.lang import numbers

_integers = st.integers(min_value=-(10**40), max_value=10**40)


@given(_integers, _integers.filter(bool))
def test_integers_divide_as_python_does(left: int, right: int) -> None:
    assert numbers.divide(left, right) == left // right
    assert numbers.modulo(left, right) == left % right


@given(_integers, _integers)
def test_decimals_add_and_multiply_exactly(left: int, right: int) -> None:
    a, b = numbers.parse_decimal(f"{left}e-20"), numbers.parse_decimal(f"{right}e-20")

    assert Fraction(numbers.add(a, b)) == Fraction(left + right, 10**20)
    assert Fraction(numbers.multiply(a, b)) == Fraction(left * right, 10**40)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (numbers.add(Decimal("0.1"), Decimal("0.2")), "0.3"),
        (numbers.divide(Decimal("7.0"), 2), "3.5"),
        (numbers.divide(Decimal("6.0"), 2), "3.0"),
        (numbers.true_divide(1, 3), "0." + "3" * 34),
        (numbers.floor_divide(Decimal("-7.5"), 2), "-4.0"),
        (numbers.modulo(Decimal("-7.5"), 2), "0.5"),
        (numbers.power(Decimal("1.5"), 2), "2.25"),
        (numbers.round_half_even(Decimal("2.567"), 1), "2.6"),
        (numbers.round_half_even(Decimal("2.5")), "2.0"),
    ],
)
def test_decimals_keep_their_point(result: numbers.Number, expected: str) -> None:
    assert isinstance(result, Decimal)
    assert numbers.text(result) == expected


@pytest.mark.parametrize(
    ("operation", "left", "right"),
    [
        (numbers.multiply, 10**600, 10**600),
        (numbers.add, Decimal("1e900"), Decimal("1e-900")),
        (numbers.power, 10, 10**9),
        (numbers.power, 2, 10**18),
        (numbers.divide, 1, 0),
        (numbers.power, 0, -1),
    ],
)
def test_results_without_bound_are_refused(operation: object, left: numbers.Number, right: numbers.Number) -> None:
    assert callable(operation)
    with pytest.raises(numbers.NumberProblem):
        operation(left, right)
