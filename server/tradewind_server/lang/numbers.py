"""Exact arithmetic of business numbers: Python `int` and `decimal.Decimal`, never binary floats.

A decimal always keeps a digit behind its point (`3.0`, not `3`): otherwise a stored `6.0 / 2` would come
back as the integer 3, and the next `/ 2` would floor. Addition, subtraction and multiplication are exact up
to `MAX_DIGITS` digits and refuse to round; division and inexact functions round half-even to 34 digits
(IEEE 754 decimal128).
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from decimal import Decimal
from typing import TypeAlias

Number: TypeAlias = "int | Decimal"

#: Digits that one number may have, before and behind the point together.
MAX_DIGITS = 1_000
_MAX_BITS = 3_322  # 10**1000 needs that many
_LARGEST = 10**MAX_DIGITS

_TRAPS = [decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow]
_EXACT = decimal.Context(
    prec=MAX_DIGITS,
    rounding=decimal.ROUND_HALF_EVEN,
    Emax=MAX_DIGITS,
    Emin=-MAX_DIGITS,
    traps=[*_TRAPS, decimal.Inexact],
)
_ROUNDED = decimal.Context(prec=34, rounding=decimal.ROUND_HALF_EVEN, Emax=MAX_DIGITS, Emin=-MAX_DIGITS, traps=_TRAPS)


class NumberProblem(ValueError):
    """A calculation has no exact, finite or small enough result; the text says which."""


def is_number(value: object) -> bool:
    """Tell whether *value* is a number of ours; booleans are not."""
    kind = type(value)
    return kind is int or kind is Decimal


def parse_decimal(text: str) -> Decimal:
    """Read a decimal literal exactly.

    Raises:
        NumberProblem: more than `MAX_DIGITS` digits, or an exponent that would need them.
    """
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > MAX_DIGITS + 2 or len(exponent) > 5 or (exponent and abs(int(exponent)) > MAX_DIGITS):
        raise NumberProblem(f"a number has more than {MAX_DIGITS} digits")
    try:
        return pointed(Decimal(text))
    except decimal.DecimalException:
        raise NumberProblem("a number is not a finite decimal") from None


def pointed(value: Decimal) -> Decimal:
    """Return the same value with at least one digit behind the point."""
    if not value.is_finite():
        raise NumberProblem("a number is not finite")
    if isinstance(exponent := value.as_tuple().exponent, int) and exponent >= 0:
        return value.quantize(Decimal("0.1"), context=_WIDE)
    return value


#: Only re-writes a value that is already within the limits, hence room for the added digits.
_WIDE = decimal.Context(prec=3 * MAX_DIGITS, Emax=3 * MAX_DIGITS, Emin=-3 * MAX_DIGITS, traps=_TRAPS)


def from_float(value: float) -> Decimal:
    """Convert what a library computed in binary, by its shortest text."""
    return parse_decimal(repr(value))


def text(value: Decimal) -> str:
    """Write a decimal without an exponent."""
    return format(value, "f")


def add(left: Number, right: Number) -> Number:
    """Add exactly."""
    if type(left) is int and type(right) is int:
        return _checked(left + right)
    return _exact(_EXACT.add, left, right)


def subtract(left: Number, right: Number) -> Number:
    """Subtract exactly."""
    if type(left) is int and type(right) is int:
        return _checked(left - right)
    return _exact(_EXACT.subtract, left, right)


def multiply(left: Number, right: Number) -> Number:
    """Multiply exactly."""
    if type(left) is int and type(right) is int:
        if left.bit_length() + right.bit_length() > _MAX_BITS + 2:
            raise NumberProblem(f"a number has more than {MAX_DIGITS} digits")
        return _checked(left * right)
    return _exact(_EXACT.multiply, left, right)


def divide(left: Number, right: Number) -> Number:
    """Divide as YAQL does: two integers floor, anything else is a decimal of 34 digits."""
    if type(left) is int and type(right) is int:
        return floor_divide(left, right)
    return true_divide(left, right)


def true_divide(left: Number, right: Number) -> Decimal:
    """Divide as Jinja does: always a decimal, rounded half-even to 34 digits."""
    if not right:
        raise NumberProblem("division by zero")
    return _rounded(_ROUNDED.divide, left, right)


def floor_divide(left: Number, right: Number) -> Number:
    """Divide and round towards minus infinity; the result has the kind of the operands."""
    if not right:
        raise NumberProblem("division by zero")
    if type(left) is int and type(right) is int:
        return left // right
    quotient = _exact(_EXACT.divide_int, left, right)
    remainder = subtract(left, multiply(quotient, right))
    return subtract(quotient, 1) if remainder and (remainder < 0) != (right < 0) else quotient


def modulo(left: Number, right: Number) -> Number:
    """Return the remainder with the sign of *right*, as Python does for both kinds of numbers."""
    if not right:
        raise NumberProblem("division by zero")
    if type(left) is int and type(right) is int:
        return left % right
    remainder = _exact(_EXACT.remainder, left, right)
    return add(remainder, right) if remainder and (remainder < 0) != (right < 0) else remainder


def power(base: Number, exponent: Number, modulus: Number | None = None) -> Number:
    """Raise to a power: exact for integers, else rounded to 34 digits."""
    if modulus is not None:
        if not (type(base) is int and type(exponent) is int and type(modulus) is int) or exponent < 0 or not modulus:
            raise NumberProblem(
                "a power with a modulus needs integers, an exponent of at least 0 and a modulus other than 0"
            )
        return pow(base, exponent, modulus)
    if type(base) is int and type(exponent) is int and exponent >= 0:
        if abs(base) > 1 and base.bit_length() * exponent > _MAX_BITS + base.bit_length():
            raise NumberProblem(f"a number has more than {MAX_DIGITS} digits")
        return _checked(base**exponent)
    if not base and exponent < 0:
        raise NumberProblem("division by zero")
    return _rounded(_ROUNDED.power, base, exponent)


def negate(value: Number) -> Number:
    """Change the sign."""
    return -value if type(value) is int else value.copy_negate()  # type: ignore[union-attr]


def round_half_even(value: Number, digits: int = 0) -> Number:
    """Round to *digits* behind the point; a decimal stays a decimal."""
    if type(value) is int:
        return value if digits >= 0 or digits < -MAX_DIGITS else round(value, digits)
    if abs(digits) > MAX_DIGITS:
        raise NumberProblem(f"a number cannot be rounded to {MAX_DIGITS} digits or more")
    assert isinstance(value, Decimal)
    if digits >= -value.as_tuple().exponent:  # type: ignore[operator]  # finite, so a number
        return value
    return pointed(value.quantize(Decimal(1).scaleb(-digits), context=_WIDE))


def to_int(value: object) -> int:
    """Convert a number or its text, cutting off what stands behind the point.

    Raises:
        NumberProblem: *value* is neither.
    """
    if isinstance(value, bool | int):
        return int(value)
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, str) and len(value) <= MAX_DIGITS:
        try:
            return int(value)
        except ValueError:
            pass
    raise NumberProblem("the value is not an integer")


def to_decimal(value: object) -> Decimal:
    """Convert a number or its text.

    Raises:
        NumberProblem: *value* is neither.
    """
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool | int):
        return pointed(Decimal(int(value)))
    if isinstance(value, str):
        stripped = value.strip()
        if stripped and stripped[-1].isdigit() and stripped.isascii():
            return parse_decimal(stripped.replace("_", ""))
    raise NumberProblem("the value is not a number")


def _checked(value: int) -> int:
    if -_LARGEST < value < _LARGEST:
        return value
    raise NumberProblem(f"a number has more than {MAX_DIGITS} digits")


def _exact(operation: _Operation, left: Number, right: Number) -> Decimal:
    try:
        return pointed(operation(Decimal(left), Decimal(right)))
    except decimal.DecimalException:
        raise NumberProblem(f"the exact result has more than {MAX_DIGITS} digits") from None


def _rounded(operation: _Operation, left: Number, right: Number) -> Decimal:
    try:
        result = operation(Decimal(left), Decimal(right))
    except decimal.DecimalException:
        raise NumberProblem("the result is not a finite number") from None
    if result and abs(result.adjusted()) > MAX_DIGITS:
        raise NumberProblem(f"the result has more than {MAX_DIGITS} digits")
    return pointed(_shortened(result))


def _shortened(value: Decimal) -> Decimal:
    """Drop the zeros that a division left behind: 7.0 / 2 is 3.5."""
    return value.normalize(_ROUNDED)


_Operation: TypeAlias = "Callable[[Decimal, Decimal], Decimal]"


def rounded_to(value: Decimal, digits: int, rounding: str) -> Decimal:
    """Round to *digits* behind the point in a direction of the decimal module."""
    return pointed(value.quantize(Decimal(1).scaleb(-digits), rounding=rounding, context=_WIDE))
