"""How answers are written: for people in colour, plain into a pipe, or as JSON for scripts."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from tradewind import values
from tradewind_server.lang.references import shown

#: Colour of each state, of executions, tasks, actions and workers alike.
COLOURS = {
    "RUNNING": "cyan",
    "QUEUED": "blue",
    "WAITING": "blue",
    "DELAYED": "blue",
    "PAUSED": "yellow",
    "CANCELLING": "yellow",
    "SUCCEEDED": "green",
    "SKIPPED": "green",
    "FAILED": "red",
    "CANCELLED": "magenta",
    "ACTIVE": "green",
    "DRAINING": "yellow",
}

#: Columns of a line in a pipe: nothing is ever cut there.
_PIPE_WIDTH = 10_000
#: What a terminal obeys, but for the end of a line and the tabulator, and what has it show signs in another order, as
#: 10 for 01. Marks that say of one sign which way it goes (U+200E) stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """Return *text* without what a terminal would obey; whoever wrote it moves neither its cursor nor other signs."""
    return _CONTROL.sub("\ufffd", text)


def grid(columns: Sequence[str], cells: Iterable[Sequence[Text | str]]) -> Table:
    """Return *cells* under *columns*: nothing is cut, and an id stands in one line, since somebody will copy it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = list(cells)
    for number, name in enumerate(columns):
        width = max((len(row[number]) for row in rows), default=0) if name == "ID" else None
        table.add_column(name, min_width=width, no_wrap=name == "ID", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


class Output:
    """Writes to standard output, either JSON alone or text alone.

    Args:
        as_json: write JSON, one value a line, decimals as numbers with all their digits.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.console = _console(stderr=False)

    @property
    def is_live(self) -> bool:
        """Whether somebody looks on, so that pictures may move."""
        return self.console.is_terminal and not self.as_json

    def record(self, value: values.Value, text: RenderableType) -> None:
        """Write one answer: *value* as JSON, or *text* for people."""
        if self.as_json:
            self.json(value)
        else:
            self.console.print(text)

    def json(self, value: values.Value) -> None:
        """Write one JSON value on a line of its own."""
        text = values.encode(value).decode()
        # JSON itself escapes what is below U+0020; all of these stand in texts, so that an escape says the same
        self.raw(_CONTROL.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text) + "\n")

    def raw(self, text: str) -> None:
        """Write *text* as it is: a file's content, in which nothing is wrapped or coloured."""
        sys.stdout.buffer.write(shown(text).encode())
        sys.stdout.buffer.flush()

    def table(
        self, rows: Sequence[values.Value], columns: Sequence[str], cells: Iterable[Sequence[Text | str]]
    ) -> None:
        """Write *rows* as a JSON list, or *cells* under *columns* for people."""
        if self.as_json:
            self.json(list(rows))
            return
        self.console.print(grid(columns, cells))

    def text(self, text: RenderableType) -> None:
        """Write something that only people want to read."""
        if not self.as_json:
            self.console.print(text)


class _Shown:
    """A stream that writes references to secrets as people know them; all else is the stream's."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(shown(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _PlainConsole(Console):
    """A console that shows what people and processes wrote as it is, and does not obey it."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Give the parts of *renderable*, without control characters but those of the console's own."""
        for segment in super().render(renderable, options):
            if segment.control is None:
                yield Segment(harmless(segment.text), segment.style)
            else:
                yield segment


def _console(stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    file = cast(TextIO, _Shown(stream))
    width = None if stream.isatty() else _PIPE_WIDTH
    return _PlainConsole(file=file, highlight=False, markup=False, emoji=False, width=width)


def error_console() -> Console:
    """Return where errors go."""
    return _console(stderr=True)


def state_text(state: str) -> Text:
    """Return *state* in its colour."""
    return Text(state, COLOURS.get(state, ""))
