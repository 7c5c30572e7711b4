"""How much work it is to compile and look through expressions, told from their text alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tradewind_server.lang.expressions import delimiters

#: What the expressions of one file may be, in tokens of YAQL, each of which takes some 3 µs. Few files of 1 MiB are
#: beyond it that are not made for that.
MAX_EFFORT = 250_000
#: Of an expression beside its tokens.
_EACH = 13
#: A token of Jinja takes so much longer,
_JINJA = 2
#: and one of a Jinja text with blocks, or that is so long that it may be deep: it is compiled to Python at once.
_JINJA_COMPILED = 8
_LONG = 60
_TOKEN = re.compile(r"\w+|[^\w\s]")


class Effort:
    """Counts the effort of one file. A text that is met again is not work."""

    def __init__(self) -> None:
        self._left = MAX_EFFORT
        self._met: set[str] = set()

    def allows(self, value: object) -> bool:
        """Count the texts in *value*, and tell whether they may be compiled."""
        for text in _texts(value):
            if text not in self._met:
                self._met.add(text)
                self._left -= _effort(text)
        return self._left >= 0


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _effort(text: str) -> int:
    if delimiters.has_yaql(text):
        sources = [source for _, source, offset in delimiters.split_yaql(text) if offset >= 0]
        return sum(_EACH + len(_TOKEN.findall(source)) for source in sources)
    if delimiters.has_jinja(text):
        tokens = len(_TOKEN.findall(text))
        return (_JINJA_COMPILED if tokens > _LONG or "{%" in text else _JINJA) * (_EACH + tokens)
    return 0
