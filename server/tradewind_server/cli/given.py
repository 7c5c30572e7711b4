"""Values that are given on the command line: JSON, @file, or - for standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from tradewind import values
from tradewind_server.cli.session import Unusable


def read_value(text: str, option: str) -> values.Value:
    """Read the JSON that *text* is or points to; numbers keep their digits.

    Raises:
        Unusable: there is no such file, or it is not JSON.
    """
    try:
        data = _bytes(text)
    except OSError as problem:
        raise Unusable(f"Expected a file for {option}, but '{text[1:]}' cannot be read: {problem.strerror}.") from None
    try:
        return values.decode(data)
    except values.NotCarried as problem:
        raise Unusable(f"{problem} For {option} give JSON, @file or -.") from None


def read_object(text: str, option: str) -> dict[str, values.Value]:
    """Read a JSON object; "" is {}.

    Raises:
        Unusable: it is something else.
    """
    value = read_value(text, option) if text else {}
    if not isinstance(value, dict):
        raise Unusable(f"Expected a JSON object for {option}, such as '{{\"name\": 1}}', but got {text[:40]}.")
    return value


def _bytes(text: str) -> bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    if text.startswith("@"):
        return Path(text[1:]).read_bytes()
    return text.encode("utf-8", "surrogateescape")
