"""Inline parameters: `std.http url="https://…" timeout=5`.

A name, then `key=value` pairs. A value is quoted text, a JSON list or dictionary, a number, true, false,
null, an expression, or (R36) a bare word. Anything else is passed over, as in Mistral, but told.

Source: `mistral/lang/base.py`.
"""

from __future__ import annotations

import dataclasses
import re

from tradewind_server.lang import values

_EXPRESSION = r"<%.*?%>|\{\{.*?\}\}|\{%.*?%\}"
_NAME = re.compile(rf"(?:{_EXPRESSION}|[^\s])+", re.DOTALL)
_KEY = re.compile(r"([-_A-Za-z0-9]+)=")
_BARE = re.compile(rf"(?:{_EXPRESSION}|,(?=[^\s,])|[^\s,])+", re.DOTALL)
_SKIPPED = re.compile(r"[\s,]+")
_LITERAL = re.compile(r"true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?")


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A name with parameters."""

    name: str
    parameters: dict[str, object]
    #: Pieces that are no parameter and have no effect.
    ignored: tuple[str, ...] = ()


def parse_call(text: str) -> Call:
    """Split a name, which may be an expression, from its parameters."""
    stripped = text.strip()
    match = _NAME.match(stripped)
    name = match.group() if match is not None else ""
    parameters, ignored = parse_parameters(stripped[len(name) :])
    return Call(name, parameters, ignored)


def parse_parameters(text: str) -> tuple[dict[str, object], tuple[str, ...]]:
    """Read `key=value` pairs; also return the pieces that are none."""
    parameters: dict[str, object] = {}
    ignored: list[str] = []
    position = 0
    while position < len(text):
        if blank := _SKIPPED.match(text, position):
            position = blank.end()
            continue
        key = _KEY.match(text, position)
        if key is None or key.end() >= len(text) or text[key.end()].isspace():
            piece = _BARE.match(text, position)
            assert piece is not None
            ignored.append(piece.group())
            position = piece.end()
            continue
        parameters[key.group(1)], position = _value(text, key.end())
    return parameters, tuple(ignored)


def _value(text: str, start: int) -> tuple[object, int]:
    quote = text[start]
    if quote in "\"'" and (end := text.find(quote, start + 1)) > 0:
        return text[start + 1 : end], end + 1
    if quote == "[" or (quote == "{" and text[start + 1 : start + 2] not in ("{", "%")):
        end = _balanced_end(text, start)
        if end:
            return _json_or_text(text[start:end]), end
    match = _BARE.match(text, start)
    if match is None:
        return "", start + 1
    word = match.group()
    return (_json_or_text(word) if _LITERAL.fullmatch(word) else word), match.end()


def _balanced_end(text: str, start: int) -> int:
    """Return where the bracket at *start* is closed, or 0."""
    depth = 0
    position = start
    while position < len(text):
        sign = text[position]
        if sign == '"':
            match = re.compile(r'"(?:[^"\\]|\\.)*"').match(text, position)
            position = match.end() if match else position + 1
            continue
        depth += (sign in "[{") - (sign in "]}")
        position += 1
        if depth == 0:
            return position
    return 0


def _json_or_text(text: str) -> object:
    try:
        return values.decode(text.encode())
    except (values.ValueProblem, UnicodeEncodeError):
        return text
