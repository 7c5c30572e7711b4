"""Where a sign of a YAML text value stands in the file: over several lines, in block scalars, between escapes.

A value differs from what is written in blanks, quotes and escapes only, so the signs that are no blanks are counted.
"""

from __future__ import annotations

import re

from tradewind_server.lang.lines import Lines, Place

_PLAIN = re.compile(r"\S")
_UNITS = {
    "'": re.compile(r"''|\S"),
    '"': re.compile(r"\\(?:x\w\w|u\w{4}|U\w{8}|.|$)|\S"),
}
#: Escapes of blanks, and of the end of a line.
_BLANK = re.compile(r"\\[tnrvfNLP_\s]|\\$")
#: Characters of a value that are counted, and of one line: a thousand problems must not take seconds.
_MOST, _MOST_OF_LINE = 20_000, 4_000


def inside(lines: Lines, start: Place, text: str, offset: int) -> Place:
    """Return where the sign at *offset* of *text* stands; *start*, where the value begins, if it is not found."""
    if offset <= 0 or start.line > len(lines):
        return start
    column = start.column - 1
    first = lines[start.line - 1][column : column + 1]
    column += first in _UNITS
    if lines[start.line - 1].startswith(text[: offset + 1], column):
        return Place(start.line, column + offset + 1)
    if offset > _MOST:
        return start
    number = start.line - 1
    if first in ("|", ">"):
        number, column = number + 1, 0
    return _counted(lines, number, column, _UNITS.get(first, _PLAIN), _visible(text[:offset])) or start


def _counted(lines: Lines, number: int, column: int, units: re.Pattern[str], left: int) -> Place | None:
    """Return the place of the sign with *left* visible ones before it, counted from a line and column on."""
    for line_number in range(number, min(len(lines), number + _MOST)):
        line = lines[line_number][column:]
        if "\\" not in line and "'" not in line and (count := _visible(line)) <= left:
            left -= count
        elif left > _MOST_OF_LINE:
            break
        else:
            for unit in units.finditer(line):
                if _BLANK.fullmatch(unit.group()) is not None:
                    continue
                if left == 0:
                    return Place(line_number + 1, column + unit.start() + 1)
                left -= 1
        column = 0
    return None


def _visible(text: str) -> int:
    return len("".join(text.split()))
