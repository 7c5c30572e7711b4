"""References to secrets: what `secret('name')` is inside of values, until an action is handed out.

A reference is the text `secret('name')` between two marks, Unicode noncharacters, which are meant for a program's own
use and for no interchange. It may stand in the middle of a text. Data that comes from outside is `defused` where it
enters, and no function of an expression makes a mark out of other characters: so only `secret()` makes references.

Source: The Unicode Standard, 23.7 "Noncharacters"; docs/adr/0010-secrets.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tradewind_server.lang.values import MARKS, Value, encode

_OPEN, _CLOSE = tuple(MARKS)
#: Beginning of both marks in UTF-8, which values are stored in; few other characters have it. A search for one byte is
#: ten times faster than one for two, so it comes first.
_FIRST, _FIRST_TWO = _OPEN.encode()[:1], _OPEN.encode()[:2]
_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,64}")
_REFERENCE = re.compile(f"{_OPEN}secret\\('([A-Za-z0-9_.-]+)'\\){_CLOSE}".encode())
_MARKS = re.compile(f"[{MARKS}]")
_JSON_ESCAPE = re.compile(rb"\\u[fF][dD][dD][01]")
#: As JSON, YAML and the replacements of regular expressions write characters by number.
_ESCAPE = re.compile(r"\\(?:u|U0000|x)\{?0*FDD[01]", re.IGNORECASE)
#: U+FFFD: what stands for a character that cannot be carried.
_REPLACEMENT = "\ufffd"


def reference(name: str) -> str:
    """Return the reference to the secret called *name*.

    Raises:
        ValueError: no secret can be called so.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(name)
    return f"{_OPEN}secret('{name}'){_CLOSE}"


def shown(text: str) -> str:
    """Return *text* as people see it: a reference as `secret('name')`, without the marks around it."""
    return _MARKS.sub("", text)


def may_hold_marks(data: bytes) -> bool:
    """Tell whether JSON *data* has to be defused; cheap, and rarely true without need."""
    if _FIRST in data and _FIRST_TWO in data:
        return True
    return b"\\" in data and _JSON_ESCAPE.search(data) is not None


def spells_marks(text: str) -> bool:
    """Tell whether *text* would hold a mark if its escapes were read."""
    return "\\" in text and _ESCAPE.search(text) is not None


def defused(value: Value) -> Value:
    """Return *value*, which came from outside, without marks: nothing in it can be taken for a reference."""
    if isinstance(value, str):
        return _MARKS.sub(_REPLACEMENT, value)
    if isinstance(value, dict):
        return {_MARKS.sub(_REPLACEMENT, key): defused(item) for key, item in value.items()}
    return [defused(item) for item in value] if isinstance(value, list) else value


def resolved(data: bytes, lookup: Callable[[str], str]) -> bytes:
    """Return the JSON *data* with each reference replaced by what *lookup* gives for its name.

    Raises:
        ValueError: a mark is left over; an expression cut or changed a reference.
    """
    if _FIRST not in data or _FIRST_TWO not in data:
        return data
    made = _REFERENCE.sub(lambda match: encode(lookup(match[1].decode()))[1:-1], data)
    if any(mark.encode() in made for mark in MARKS):
        raise ValueError("a reference to a secret was cut or changed")
    return made
