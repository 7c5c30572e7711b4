"""Inline parameters: `std.http url="https://…" timeout=5`.

A name, then `key=value` pairs. A value is quoted text, a JSON list or dictionary, a number, true, false,
null, an expression, or (R36) a bare word. Anything else is passed over, as in Mistral, but told.

Source: `mistral/lang/base.py`.
"""

from __future__ import annotations

import dataclasses
import re

from tradewind_server.lang import values

_CLOSING = {"<%": "%>", "{{": "}}", "{%": "%}"}
#: What surely begins no expression.
_PLAIN = re.compile(r"[^\s,<{]+")
_KEY = re.compile(r"([-_A-Za-z0-9]+)=")
_SKIPPED = re.compile(r"[\s,]+")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_LITERAL = re.compile(r"true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?")
#: Brackets without an end that are looked for in one text; each is looked for to the end of the text.
_MOST_OPEN = 4


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
    name = stripped[: _Text(stripped).word_end(0, commas=True)]
    parameters, ignored = parse_parameters(stripped[len(name) :])
    return Call(name, parameters, ignored)


def parse_parameters(text: str) -> tuple[dict[str, object], tuple[str, ...]]:
    """Read `key=value` pairs; also return the pieces that are none."""
    parameters: dict[str, object] = {}
    ignored: list[str] = []
    reader = _Text(text)
    position = 0
    while position < len(text):
        if blank := _SKIPPED.match(text, position):
            position = blank.end()
            continue
        key = _KEY.match(text, position)
        if key is None or key.end() >= len(text) or text[key.end()].isspace():
            end = reader.word_end(position)
            ignored.append(text[position:end])
            position = end
            continue
        parameters[key.group(1)], position = reader.value(key.end())
    return parameters, tuple(ignored)


class _Text:
    """A text that is read from left to right, in time that grows with its length and no faster."""

    def __init__(self, text: str) -> None:
        self._text = text
        #: Signs of which there is none any more.
        self._used_up: set[str] = set()
        self._open_left = _MOST_OPEN

    def value(self, start: int) -> tuple[object, int]:
        """Return the value at *start*, and its end."""
        text = self._text
        quote = text[start]
        if quote in "\"'" and (end := self._find(quote, start + 1)) > 0:
            return text[start + 1 : end], end + 1
        if quote == "[" or (quote == "{" and text[start + 1 : start + 2] not in ("{", "%")):
            end = self._balanced_end(start)
            if end:
                return _json_or_text(text[start:end]), end
        end = self.word_end(start)
        if end == start:
            return "", start + 1
        word = text[start:end]
        return (_json_or_text(word) if _LITERAL.fullmatch(word) else word), end

    def word_end(self, start: int, *, commas: bool = False) -> int:
        """Return the end of the word at *start*; expressions in it may hold blanks.

        A comma is part of it if something follows at once, or *commas*.
        """
        text, position = self._text, start
        while position < len(text):
            if plain := _PLAIN.match(text, position):
                position = plain.end()
                continue
            sign = text[position]
            if sign.isspace() or (sign == "," and not commas and not _goes_on(text, position + 1)):
                break
            closing = _CLOSING.get(text[position : position + 2])
            end = self._find(closing, position + 2) if closing else -1
            position = position + 1 if end < 0 else end + 2
        return position

    def _find(self, sign: str, start: int) -> int:
        end = -1 if sign in self._used_up else self._text.find(sign, start)
        if end < 0:
            self._used_up.add(sign)
        return end

    def _balanced_end(self, start: int) -> int:
        """Return where the bracket at *start* is closed, or 0."""
        text, depth, position = self._text, 0, start
        has_strings = True
        while position < len(text) and self._open_left > 0:
            sign = text[position]
            if sign == '"' and has_strings:
                match = _STRING.match(text, position)
                # if this one is not closed, none behind it is
                has_strings = match is not None
                position = match.end() if match else position + 1
                continue
            depth += (sign in "[{") - (sign in "]}")
            position += 1
            if depth == 0:
                return position
        self._open_left -= 1
        return 0


def _goes_on(text: str, position: int) -> bool:
    return position < len(text) and text[position] != "," and not text[position].isspace()


def _json_or_text(text: str) -> object:
    try:
        return values.decode(text.encode())
    except (values.ValueProblem, UnicodeEncodeError):
        return text
