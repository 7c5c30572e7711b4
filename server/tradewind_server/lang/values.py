"""Business values: JSON bytes to Python values and back, digit for digit.

This is the only place where JSON text becomes values. Integers are `int` of any size, other numbers
`decimal.Decimal`; there are no binary floats, no NaN and no Infinity, and no number is ever written with an
exponent. See `numbers.py` for the arithmetic.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TypeAlias

import msgspec

from tradewind_server.lang import numbers

#: None, bool, int, Decimal, str, list of values, dict from str to values.
Value: TypeAlias = object

MAX_DEPTH = 100
#: What a reference to a secret stands between; see `references.py`.
MARKS = "\ufdd0\ufdd1"
_MARK = re.compile(f"([{MARKS}])")
#: One that is never closed goes to the end: otherwise each quote in it would be tried as a beginning.
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % (numbers.MAX_DIGITS + 1))

_decoder = msgspec.json.Decoder(float_hook=numbers.parse_decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class ValueProblem(ValueError):
    """Bytes are not a business value, or a value cannot be written; the text is a plain sentence."""


def decode(data: bytes) -> Value:
    """Read one JSON text.

    Raises:
        ValueProblem: not UTF-8, not JSON, a number over 1,000 digits, nesting over 100 levels.
    """
    if len(data) > numbers.MAX_DIGITS and _LONG_NUMBER.search(data) and _has_long_integer(data):
        raise ValueProblem(f"a number has more than {numbers.MAX_DIGITS} digits")
    try:
        value = _decoder.decode(data)
    except (msgspec.ValidationError, numbers.NumberProblem):
        raise ValueProblem(f"a number has more than {numbers.MAX_DIGITS} digits") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise ValueProblem(_decode_problem(data, str(problem))) from None
    except RecursionError:
        raise ValueProblem(f"it is nested deeper than {MAX_DEPTH} levels") from None
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise ValueProblem(f"it is nested deeper than {MAX_DEPTH} levels")
    return value


def _has_long_integer(data: bytes) -> bool:
    """Look outside of strings, where any run of digits is allowed."""
    outside = _STRING.sub(b'""', data)
    return _LONG_NUMBER.search(outside) is not None


def _decode_problem(data: bytes, problem: str) -> str:
    try:
        data.decode()
    except UnicodeDecodeError as bad:
        return f"it is not UTF-8 at byte {bad.start}"
    return f"it is not JSON: {problem[:1].lower()}{problem[1:]}"


def _is_deeper(value: Value, levels: int) -> bool:
    if isinstance(value, dict):
        return levels == 0 or any(_is_deeper(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_is_deeper(item, levels - 1) for item in value)
    return False


def encode(value: Value) -> bytes:
    """Write a value as compact JSON; `decode(encode(x)) == x`.

    Raises:
        ValueProblem: it is no business value, or has a text that UTF-8 cannot hold.
    """
    try:
        data = _encoder.encode(value)
        if b"E" in data and (b"E-" in data or b"E+" in data):
            # Decimal writes 1E-10 for small numbers. Rare, and also met inside of texts.
            return _encoder.encode(_without_exponents(value))
    except UnicodeEncodeError:
        raise ValueProblem("a text holds a lone surrogate, which UTF-8 cannot hold") from None
    except (TypeError, ValueError, RecursionError):
        raise ValueProblem("it holds something that JSON cannot") from None
    return data


def _without_exponents(value: Value) -> Value:
    if isinstance(value, Decimal):
        return msgspec.Raw(numbers.text(value).encode())
    if isinstance(value, Mapping):
        return {key: _without_exponents(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_exponents(item) for item in value]
    return value


def is_truthy(value: Value) -> bool:
    """Tell whether a guard with this value lets pass: false, null, 0, "", [] and {} do not."""
    return bool(value)


def to_text(value: Value) -> str:
    """Write a value into a text, as Python's `str` does but with all digits of a decimal.

    Source: `mistral/expressions/__init__.py`; None is 'None', a list is in Python syntax.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return numbers.text(value)
    return _to_repr(value)


def _to_repr(value: Value) -> str:
    if isinstance(value, Decimal):
        return numbers.text(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_to_repr(key)}: {_to_repr(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_to_repr, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_to_repr, value)) + (",)" if len(value) == 1 else ")")
    if isinstance(value, str) and _MARK.search(value):
        return _keep_marks(value, repr, "'")
    return repr(value)


def json_dump(value: Value, indent: int | None = 4) -> str:
    """Write a value as JSON text for people: indented, characters beyond ASCII escaped as Mistral does."""
    if indent is None:
        return _to_json(value)
    return _to_indented(value, indent, "\n")


def _to_json(value: Value) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(str(key))}: {_to_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_to_json, value)) + "]"
    return _scalar_to_json(value)


def _to_indented(value: Value, indent: int, newline: str) -> str:
    deeper = newline + " " * indent
    if isinstance(value, Mapping) and value:
        items = [f"{_quoted(str(key))}: {_to_indented(item, indent, deeper)}" for key, item in value.items()]
        return "{" + deeper + f",{deeper}".join(items) + newline + "}"
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        items = [_to_indented(item, indent, deeper) for item in value]
        return "[" + deeper + f",{deeper}".join(items) + newline + "]"
    return _to_json(value)


def _scalar_to_json(value: Value) -> str:
    if isinstance(value, Decimal):
        return numbers.text(value)
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    return json.dumps(text) if text.isascii() else _keep_marks(text, json.dumps, '"')


def _keep_marks(text: str, write: Callable[[str], str], quote: str) -> str:
    """Write a text between quotes with its marks as they are: an escaped one would no longer be one."""
    parts = (part if part in MARKS else write(part)[1:-1] for part in _MARK.split(text))
    return f"{quote}{''.join(parts)}{quote}"
