r"""Lines and columns of a text as editors count them, so that whoever is sent to a place finds it.

YAML 1.1 also ends lines at U+0085, U+2028 and U+2029, Python at some more; editors, code hosts and the line that is
shown with a problem do not. So places are made of the index of a character and nothing else.

Source: the Language Server Protocol, "Text Documents": an end of a line is \n, \r\n or \r.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools

#: A mark of the encoding: editors do not show it, and it has no column.
BYTE_ORDER_MARK = "\ufeff"


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Line and column, both from 1; a column is a character."""

    line: int
    column: int


class Lines:
    """The lines of one text."""

    __slots__ = ("_starts", "_text")

    def __init__(self, text: str) -> None:
        self._text = text.removeprefix(BYTE_ORDER_MARK)
        lines = self._text
        if "\r" in lines:
            lines = lines.replace("\r\n", " \n").replace("\r", "\n")
        sizes = map(len, lines.split("\n"))
        #: Of each line, and of the one that there is not behind the last.
        self._starts = list(itertools.accumulate(sizes, lambda start, size: start + size + 1, initial=0))

    def place(self, index: int) -> Place:
        """Return where the character at *index* stands; the first one behind the byte order mark is 0."""
        line = bisect.bisect_right(self._starts, index)
        return Place(line, index - self._starts[line - 1] + 1)

    def __len__(self) -> int:
        """Count the lines; what follows the last end is one only if there is something."""
        return len(self._starts) - 1 - (self._starts[-2] == len(self._text))

    def __getitem__(self, number: int) -> str:
        """Return a line without its end, the first as number 0."""
        return self._text[self._starts[number] : self._starts[number + 1] - 1].removesuffix("\r")
