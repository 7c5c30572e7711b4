"""Reading a document's values against tables of keywords, reporting everything that is wrong.

A `Shape` says what a value has to be and turns it into what specs hold. Nothing here stops at the first
problem: a wrong value reads as None, and whoever builds a spec asks at the end whether there was an error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from decimal import Decimal

from tradewind_server.lang.documents import Document, Path
from tradewind_server.lang.expressions import ExpressionSyntaxError, Template, compile_template
from tradewind_server.lang.problems import Problem, Severity, did_you_mean, path_text


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What a value has to be."""

    #: Ends the sentence "Expected 'x' to be …".
    expected: str
    #: Returns what the value means, None after reporting a problem.
    read: Callable[[Reader, object, Path], object]


@dataclasses.dataclass(frozen=True, slots=True)
class Keyword:
    """One entry of a keyword table."""

    shape: Shape
    required: bool = False


class Reader:
    """Reads one document."""

    def __init__(self, file: str, text: str, document: Document, problems: list[Problem]) -> None:
        self._file = file
        self._lines = text.splitlines()
        self._document = document
        self._problems = problems
        self.error_count = 0

    def line(self, path: Path) -> int:
        """Return the line of the key at *path*."""
        return self._document.place(path).line

    def report(
        self,
        code: str,
        path: Path,
        message: str,
        fix: str = "",
        severity: Severity = "error",
        at_value: bool = True,
        offset: int = 0,
    ) -> None:
        """Add a problem with the value at *path*, or with its key if not *at_value*."""
        self.error_count += severity == "error"
        self._problems.append(self.problem(code, path, message, fix, severity, at_value, offset))

    def problem(
        self,
        code: str,
        path: Path,
        message: str,
        fix: str = "",
        severity: Severity = "error",
        at_value: bool = False,
        offset: int = 0,
    ) -> Problem:
        """Return a problem with its place, without adding it."""
        place = self._document.value_place(path) if at_value else self._document.place(path)
        column = place.column + (self._text_start(path, place.line, place.column) + offset if offset else 0)
        return Problem(code, severity, self._file, place.line, column, path_text(path), message, fix)

    def _text_start(self, path: Path, line: int, column: int) -> int:
        """Return 1 if the text at a place is quoted."""
        rest = self._lines[line - 1][column - 1 :] if line <= len(self._lines) else ""
        return 1 if rest[:1] in ("'", '"') else 0

    def wrong(self, path: Path, value: object, expected: str) -> object:
        """Report that a value has not the shape it needs; returns None, as what it reads as."""
        what = f"'{path[-1]}'" if path and isinstance(path[-1], str) else f"'{path_text(path)}'"
        self.report("wrong-type", path, f"Expected {what} to be {expected}, but it is {described(value)}.")
        return None

    def table(
        self,
        value: object,
        path: Path,
        keywords: Mapping[str, Keyword],
        what: str,
        ignored: frozenset[str] = frozenset(),
    ) -> dict[str, object]:
        """Read a mapping by its table; returns what could be read, by keyword."""
        if not isinstance(value, dict) or not value:
            self.wrong(path, value, f"the keywords of {what}")
            return {}
        result: dict[str, object] = {}
        for name, item in value.items():
            keyword = keywords.get(name)
            if keyword is not None:
                read = keyword.shape.read(self, item, (*path, name))
                if read is not None:
                    result[name] = read
            elif name not in ignored:
                self.report(
                    "unknown-keyword",
                    (*path, name),
                    f"Expected a keyword of {what}, but '{name}' is none.",
                    did_you_mean(name, keywords),
                    at_value=False,
                )
        for name, keyword in keywords.items():
            if keyword.required and name not in value:
                message = f"Expected '{name}' in {what}, but it is missing."
                self.report("missing-keyword", path, message, f"Add '{name}: …'.", at_value=False)
        return result

    def template(self, value: object, path: Path, strict: bool = True, within: object = None) -> Template:
        """Compile a value; a broken expression is an error at its top, a warning deeper down.

        Mistral finds the deeper ones only when they are evaluated, and accepts the definition. *within* is the
        text at *path* if the value is only a part of it.
        """
        start = within.find(value) if isinstance(within, str) and isinstance(value, str) else 0

        def report(place: Path, problem: ExpressionSyntaxError) -> None:
            severity: Severity = "error" if strict and len(place) - len(path) <= 1 else "warning"
            message = f"Expected an expression that can be parsed, but {problem.message}."
            self.report("expression-syntax", place, message, severity=severity, offset=problem.offset + max(0, start))

        template = compile_template(value, report, path)
        self._warn_unclosed(value, path)
        return template

    def _warn_unclosed(self, value: object, path: Path) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                self._warn_unclosed(item, (*path, key))
        elif isinstance(value, str) and ("<%" in value) != ("%>" in value):
            message = "Expected '<%' and '%>' in pairs; this is taken as plain text."
            self.report("unclosed-expression", path, message, "Close the expression.", severity="warning")


def described(value: object) -> str:
    """Say what kind of value it is, with the value itself if it is short."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text '{value}'" if 0 < len(value) <= 60 else "an empty text" if not value else "a long text"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    return "a list" if value else "an empty list"
