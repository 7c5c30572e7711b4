"""Business values as JSON bytes that keep every digit: `int` and `Decimal`, never a binary float.

Source: docs/adr/0002-numbers.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from json.encoder import encode_basestring
from typing import Any, NoReturn

from tradewind.v1 import payload_pb2

#: What a caller may pass: None, bool, int, Decimal, float, str, and lists, tuples and mappings of these.
Value = Any

#: Most digits of a number, and greatest distance of its first digit from the decimal point.
MAX_DIGITS = 1000

#: An int of more bits has more than MAX_DIGITS digits.
_MAX_BITS = math.ceil(MAX_DIGITS * math.log2(10))


class NotCarried(ValueError):
    """A value cannot be carried as JSON, or bytes are not the JSON that we carry."""


def to_payload(value: Value) -> payload_pb2.Payload:
    """Wrap *value* for the wire.

    Raises:
        NotCarried: it has a type or a number that JSON with exact digits cannot carry.
    """
    return payload_pb2.Payload(data=encode(value))


def from_payload(payload: payload_pb2.Payload) -> Value:
    """Unwrap what came over the wire; a payload without data is None.

    Raises:
        NotCarried: it is not plain JSON.
    """
    if payload.content_type not in ("", "application/json") or payload.encoding or payload.HasField("external"):
        raise NotCarried(f"Expected plain JSON, but got {payload.content_type or payload.encoding or 'a reference'}.")
    return decode(payload.data) if payload.data else None


def encode(value: Value) -> bytes:
    """Write *value* as compact JSON in UTF-8, its Decimals as numbers with all their digits.

    A float is written by its shortest decimal text, never exponential.

    Raises:
        NotCarried: it has a type or a number that JSON with exact digits cannot carry, or refers to itself.
    """
    parts: list[str] = []
    try:
        _write(value, parts.append)
        return "".join(parts).encode()
    except RecursionError:
        raise NotCarried("Expected a value without deep nesting, but it is too deep or contains itself.") from None
    except UnicodeEncodeError as error:
        raise NotCarried(f"Expected text that UTF-8 can carry, but {error.reason}.") from None


def decode(data: bytes) -> Value:
    """Read JSON: numbers with a fraction or exponent as Decimal, all others as int.

    Raises:
        NotCarried: it is not JSON in UTF-8, or has a number beyond the limits.
    """
    # Only a text this long can hold an integer that is too long; short ones keep the fast path.
    parse_int = _integer if len(data) > MAX_DIGITS else None
    try:
        value = json.loads(data.decode(), parse_float=_decimal, parse_int=parse_int, parse_constant=_refuse_constant)
        if b"\\ud" in data or b"\\uD" in data:
            encode(value)  # an escape may stand for half of a character
        return value
    except NotCarried:
        raise
    except json.JSONDecodeError as error:
        place, problem = f"line {error.lineno}, column {error.colno}", error.msg[:1].lower() + error.msg[1:]
        raise NotCarried(f"Expected JSON, but it is none at {place}: {problem}.") from None
    except (ValueError, RecursionError) as error:
        raise NotCarried(f"Expected JSON in UTF-8, but {error}.") from None


def _write(value: Value, emit: Callable[[str], object]) -> None:
    writer = _WRITERS.get(type(value))
    if writer is None:
        writer = _writer_of_subclass(value)
    writer(value, emit)


def _writer_of_subclass(value: Value) -> Callable[[Any, Callable[[str], object]], None]:
    for kind, writer in _WRITERS.items():
        if isinstance(value, kind):
            return writer
    if isinstance(value, Mapping):
        return _write_mapping
    raise NotCarried(f"Expected a JSON value, but got {type(value).__name__}. Convert it to text or a mapping.")


def _write_none(value: None, emit: Callable[[str], object]) -> None:
    emit("null")


def _write_bool(value: bool, emit: Callable[[str], object]) -> None:
    emit("true" if value else "false")


def _write_str(value: str, emit: Callable[[str], object]) -> None:
    emit(encode_basestring(value))


def _write_int(value: int, emit: Callable[[str], object]) -> None:
    if value.bit_length() > _MAX_BITS:
        raise NotCarried(f"Expected at most {MAX_DIGITS} digits, but an integer has more.")
    emit(int.__repr__(value))


def _write_float(value: float, emit: Callable[[str], object]) -> None:
    _write_decimal(Decimal(float.__repr__(value)), emit)


def _write_decimal(value: Decimal, emit: Callable[[str], object]) -> None:
    if not value.is_finite():
        raise NotCarried(f"Expected a finite number, but got {value}.")
    _check(value, len(value.as_tuple().digits))
    emit(format(value, "f"))


def _write_list(value: list[Any] | tuple[Any, ...], emit: Callable[[str], object]) -> None:
    separator = "["
    for item in value:
        emit(separator)
        _write(item, emit)
        separator = ","
    emit("]" if separator == "," else "[]")


def _write_mapping(value: Mapping[str, Any], emit: Callable[[str], object]) -> None:
    separator = "{"
    for key, item in value.items():
        if not isinstance(key, str):
            raise NotCarried(f"Expected text as key, but got {key!r}.")
        emit(separator)
        emit(encode_basestring(key))
        emit(":")
        _write(item, emit)
        separator = ","
    emit("}" if separator == "," else "{}")


_WRITERS: dict[type, Callable[[Any, Callable[[str], object]], None]] = {
    str: _write_str,
    bool: _write_bool,  # before int, whose subclass it is
    int: _write_int,
    Decimal: _write_decimal,
    dict: _write_mapping,
    list: _write_list,
    tuple: _write_list,
    type(None): _write_none,
    float: _write_float,
}


def _decimal(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise NotCarried(f"Expected a number, but its exponent is too large: {text[:40]}.") from None
    _check(number, len(number.as_tuple().digits) if len(text) > MAX_DIGITS else 0)
    return number


def _check(number: Decimal, digits: int) -> None:
    # The exponent is checked too: `1e1000000000` is cheap to send and would fill the memory when written out.
    exponent = number.as_tuple().exponent if not number else number.adjusted()
    if digits > MAX_DIGITS or not isinstance(exponent, int) or abs(exponent) > MAX_DIGITS:
        raise NotCarried(f"Expected at most {MAX_DIGITS} digits and an exponent within as many, but a number has more.")


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS + text.startswith("-"):
        raise NotCarried(f"Expected at most {MAX_DIGITS} digits, but an integer has {len(text)}.")
    return int(text)


def _refuse_constant(text: str) -> NoReturn:
    raise NotCarried(f"Expected a number, but got {text}.")
