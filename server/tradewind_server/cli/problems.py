"""How problems of definitions are shown: with their source line, a caret and what to do."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from tradewind_server import lang
from tradewind_server.cli import records
from tradewind_server.cli.output import Output
from tradewind_server.lang.lines import Lines

_COLOURS = {"error": "bold red", "warning": "bold yellow", "hint": "bold blue"}
#: Columns of the widest picture; a narrower terminal has narrower ones.
_WIDTH = 120
#: Columns of a tabulator, wherever it stands: the caret below has to meet its sign.
_TAB = " " * 4
#: What reorders the signs around it, so that a line would not say what it seems to; see Unicode TR 36, 3.2.
_REORDERS = frozenset({"RLE", "LRE", "RLO", "LRO", "PDF", "RLI", "LRI", "FSI", "PDI"})


def local_problem(problem: lang.Problem) -> records.Record:
    """Return a problem that was found here, in the shape of those that a server finds."""
    return {
        "severity": problem.severity,
        "code": problem.code,
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "path": problem.path,
        "message": problem.message,
        "fix": problem.fix,
    }


def show_problems(output: Output, problems: Sequence[lang.Problem], sources: Sequence[lang.Source]) -> None:
    """Write all problems with the line that each is in, and a summary."""
    if output.as_json:
        output.json({"problems": [local_problem(problem) for problem in problems]})
        return
    show_pictures(output, problems, sources)
    output.text(_summary(problems, len(sources)))


def show_pictures(output: Output, problems: Sequence[lang.Problem], sources: Sequence[lang.Source]) -> None:
    """Write all problems with the line that each is in."""
    lines = {source.file_name: Lines(source.text) for source in sources} if problems else {}
    width = min(output.console.width, _WIDTH)
    for problem in problems:
        # Unwrapped: a wrapped line would part the caret from its sign, and nothing could be searched for.
        output.console.print(picture(problem, lines.get(problem.file), width), soft_wrap=True)


def picture(problem: lang.Problem, lines: Lines | None, width: int = _WIDTH) -> Text:
    """Return a problem with its source line, of which no more than *width* columns are shown."""
    colour = _COLOURS[problem.severity]
    text = Text.assemble(
        (f"{problem.file}:{problem.line}:{problem.column}: ", "bold"),
        (f"{problem.severity}: ", colour),
        f"{problem.message} ",
        (f"[{problem.code}]", "dim"),
    )
    if lines is not None and problem.line <= len(lines):
        number = f"  {problem.line}"
        room = max(20, width - len(number) - 3)
        source, before = _excerpt(lines[problem.line - 1], problem.column - 1, room)
        text.append(f"\n{number} | {source}\n{' ' * len(number)} | {' ' * before}")
        text.append("^", colour)
    if problem.fix:
        text.append(f"\n  fix: {problem.fix}", "green")
    return text


def _excerpt(line: str, column: int, room: int) -> tuple[str, int]:
    """Return what is shown of a line, and the columns before the sign at *column*: a line may be a megabyte."""
    start = max(0, column - room)
    before, behind = _visible(line[start:column]), _visible(line[column : column + room])
    is_whole = start == 0 and column + room >= len(line)
    if is_whole and cell_len(before) + cell_len(behind) <= room:
        return before + behind, cell_len(before)
    if start or cell_len(before) > 2 * room // 3:
        before = "…" + set_cell_size(before[::-1], room // 3)[::-1]
    left = room - cell_len(before)
    if cell_len(behind) > left or column + room < len(line):
        behind = set_cell_size(behind, left - 1) + "…"
    return before + behind, cell_len(before)


def _visible(text: str) -> str:
    """Write a piece of a line such that each sign has its place: what has none, or moves others, is a stand-in."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_TAB if sign == "\t" else sign if _is_visible(sign) else "\ufffd" for sign in text)


def _is_visible(sign: str) -> bool:
    is_sign = unicodedata.category(sign) not in ("Cc", "Cs", "Zl", "Zp")
    return is_sign and unicodedata.bidirectional(sign) not in _REORDERS


def _summary(problems: Sequence[lang.Problem], files: int) -> Text:
    counts = Counter(problem.severity for problem in problems)
    errors = counts["error"]
    hints = f", {counts['hint']} hints" if counts["hint"] else ""
    what = f"{files} file" if files == 1 else f"{files} files"
    if not problems:
        return Text(f"{what}: no problems", "green")
    return Text(f"{what}: {errors} errors, {counts['warning']} warnings{hints}", "red" if errors else "yellow")
