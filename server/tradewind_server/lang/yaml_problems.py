"""What is wrong with a text that is not YAML: where it begins to be, and what to do, which the library does not say."""

from __future__ import annotations

import dataclasses
import re

import yaml

from tradewind_server.lang.lines import Lines, Place

QUOTE_EXPRESSION = "Put the whole text with the expression in quotes: [ ] { } , # and ': ' mean something to YAML."
_EXPRESSION = re.compile(r"<%|\{[{%]")
_WRITE_OUT = "Write out what '&' and '*' stand for: they are plain text here, so that no small file becomes a huge one."
_ANCHOR = re.compile(r"(?:^|[\s\[{,])(?:&\w+\s*(?:[\[{]|\n)|\*\w+\s*[:,\]}])")
#: Messages of libyaml and of PyYAML's own reader.
_MAPPING = re.compile("mapping values are not allowed")
_NO_TOKEN = re.compile("cannot start any token")
_ESCAPE = re.compile("unknown escape character|did not find expected hexdecimal number|expected escape sequence")
_END = re.compile("unexpected end of stream")
_COLON = re.compile("could not find expected ':'")
_COMMA = re.compile("expected ',' or")
_KEY = re.compile("did not find expected key|expected <block end>|did not find expected '-' indicator")


@dataclasses.dataclass(frozen=True, slots=True)
class SyntaxProblem:
    """Where and why the library stopped, and what to do: a clause, and a sentence or ""."""

    message: str
    place: Place
    fix: str = ""


def syntax_problem(problem: yaml.YAMLError, text: str, lines: Lines) -> SyntaxProblem:
    """Return what is wrong with *text*, for which *problem* was raised."""
    if isinstance(problem, yaml.reader.ReaderError):
        bad = yaml.reader.Reader.NON_PRINTABLE.search(text)
        place = lines.place(bad.start() if bad is not None else 0)
        return SyntaxProblem(f"it is not YAML: {problem.reason}", place, "Remove the character.")
    said = str(getattr(problem, "problem", None) or "it cannot be read")
    mark, begun = getattr(problem, "problem_mark", None), getattr(problem, "context_mark", None)
    if mark is None:
        return SyntaxProblem(f"it is not YAML: {said}", lines.place(begun.index) if begun else Place(1, 1))
    is_behind = _ESCAPE.search(said) is not None and text[mark.index - 1 : mark.index] == "\\"  # as PyYAML has it
    place, start = lines.place(mark.index - is_behind), lines.place(begun.index) if begun is not None else None
    if start is not None and (_END.search(said) or _COLON.search(said)):
        place = start  # the reader notices it only at the end of what is begun there
    line = lines[place.line - 1]
    around = f"{lines[place.line - 2] if place.line > 1 else ''}\n{line[: place.column]}"
    fix = _WRITE_OUT if _ANCHOR.search(around) is not None else _fix(said, line, place, start)
    return SyntaxProblem(f"it is not YAML: {said}", place, fix)


def _fix(said: str, line: str, place: Place, start: Place | None) -> str:
    before, sign = line[: place.column - 1], line[place.column - 1 : place.column]
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "Indent with blanks: YAML takes no tabs."
    expression = _EXPRESSION.search(line)
    if expression is not None and expression.start() < place.column:
        return QUOTE_EXPRESSION
    if _END.search(said):
        return "Close the quote that is open here."
    if _ESCAPE.search(said):
        return "Write '\\\\' for a backslash, or put the text in single quotes."
    if _NO_TOKEN.search(said):
        return f"Put the text in quotes: it cannot begin with '{sign}'."
    return _fix_of_structure(said, before, sign, start)


def _fix_of_structure(said: str, before: str, sign: str, start: Place | None) -> str:
    if _MAPPING.search(said):
        if ": " in before:
            return "Put the text in quotes: ': ' begins a mapping."
        return "Indent it like the keys that it belongs to; the line before may lack a blank behind its ':'."
    if _COLON.search(said):
        return "Write ': ' behind a key, '- ' before an item, and indent a text further than its key."
    if _COMMA.search(said) and start is not None:
        return f"Close what is open from line {start.line}, column {start.column} on, or put a text in quotes."
    if _KEY.search(said):
        opening = {"]": "[", "}": "{"}.get(sign)
        if opening is not None and before.count(opening) > before.count(sign):  # a text as it was meant
            return "Put the whole text in quotes: ': ' begins a mapping."
        if opening is not None:
            return f"Remove the '{sign}': nothing is open here."
        return "Put the whole text in quotes." if before.strip() else "Indent it like the lines that it belongs to."
    return ""
