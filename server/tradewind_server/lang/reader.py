"""Reading a document's values against tables of keywords, reporting everything that is wrong.

A `Shape` says what a value has to be and turns it into what specs hold. Nothing here stops at the first
problem: a wrong value reads as None, and whoever builds a spec asks at the end whether there was an error.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import TypeAlias

from tradewind_server.lang.documents import Document, Path
from tradewind_server.lang.expressions import ExpressionSyntaxError, Template, compile_template, delimiters
from tradewind_server.lang.expressions.bare_places import bare_offset
from tradewind_server.lang.expressions.effort import MAX_EFFORT, Effort
from tradewind_server.lang.positions import inside
from tradewind_server.lang.problems import CODES, Code, Problem, Problems, Severity, path_text, shortened
from tradewind_server.lang.written import written_at

#: A JSON Schema, or a part of one.
Schema: TypeAlias = dict[str, object]


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What a value has to be."""

    #: Ends the sentence "Expected 'x' to be …".
    expected: str
    #: Returns what the value means, None after reporting a problem.
    read: Callable[[Reader, object, Path], object]
    #: The same for editors; it may take more than *read*, never less.
    schema: Schema = dataclasses.field(default_factory=dict)
    #: It may be true or false, also written as YAML's `yes` and the like.
    takes_booleans: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Keyword:
    """One entry of a keyword table."""

    shape: Shape
    required: bool = False


def table_schema(keywords: Mapping[str, Keyword], ignored: Iterable[str] = ()) -> Schema:
    """Return the schema of a mapping that `Reader.table` reads."""
    properties: Schema = {name: {} for name in sorted(ignored)}
    for name, keyword in keywords.items():
        properties[name] = {"description": f"Takes {keyword.shape.expected}.", **keyword.shape.schema}
    required = [name for name, keyword in keywords.items() if keyword.required]
    whole: Schema = {"type": "object", "minProperties": 1, "properties": properties, "additionalProperties": False}
    return {**whole, "required": required} if required else whole


#: Tasks, workflows and actions of one file that is checked.
MAX_DEFINITIONS = 10_000

#: Of codes that belong to other files than definitions, such as tests of them.
_OTHER = Code("error", "")
#: After these errors the rest is as it was meant.
_LEAVES_NO_GAP = frozenset(
    {"expression-syntax", "unknown-task", "no-start-task", "join-cardinality", "requirement-cycle", "duplicate-item"}
    | {"invalid-name", "name-too-long", "duplicate-name"}
)


_TIGHT_PAIR = re.compile(r"[\w-]+:\S")


class TooMuch(Exception):
    """A file has more than is checked; that has been reported, and the rest of it is not read."""


class Bounds:
    """What may still be read of one file: a check answers soon, whatever it is given."""

    def __init__(self) -> None:
        self.effort = Effort()
        self.definitions = MAX_DEFINITIONS


class Reader:
    """Reads one document."""

    def __init__(
        self,
        file: str,
        document: Document,
        problems: Problems,
        source_number: int = 0,
        bounds: Bounds | None = None,
    ) -> None:
        self.file = file
        #: Which of the sources of one check this is, from 0.
        self.source_number = source_number
        #: Shared by all readers of one check.
        self.problems = problems
        self._document = document
        #: Shared by all readers of one file; None: no bound.
        self._bounds = bounds
        self.error_count = 0
        #: Where errors are that hide a part of what was meant, so that more would seem wrong than is.
        self.gaps: list[Path] = []
        #: Where a boolean stands that is meant to be one, however it is written.
        self.booleans: list[Path] = []

    def line(self, path: Path) -> int:
        """Return the line of the key at *path*."""
        return self._document.place(path).line

    def has(self, path: Path) -> bool:
        """Tell whether something is written at *path*."""
        return path in self._document.marks

    def withdraw_boolean_words(self) -> None:
        """Take back what was told of `yes` and the like where only a boolean can be meant."""
        places = {self._document.value_place(path) for path in self.booleans}
        self.problems.withdraw("yaml-boolean", self.file, {(place.line, place.column) for place in places})

    def has_lost(self, path: Path) -> bool:
        """Tell whether something is written for the definition at *path* that has no value."""
        return not self._document.lost.isdisjoint({path, ()})

    def value(self, path: Path) -> object:
        """Return what is written at *path*, None if nothing is."""
        return written_at(self._document.value, path)

    def report(
        self,
        code: str,
        path: Path,
        message: str,
        fix: str = "",
        severity: Severity | None = None,
        at_value: bool = True,
        offset: int = 0,
        words: tuple[str, ...] = (),
    ) -> None:
        """Add a problem with the value at *path*, or with its key if not *at_value*.

        *severity* None is that of the code. *offset* counts characters from the start of that text, where
        the first of *words* that is there is looked for if there are any.
        """
        severity = severity or CODES.get(code, _OTHER).severity
        self.error_count += severity == "error"
        if severity == "error" and code not in _LEAVES_NO_GAP:
            self.gaps.append(path)
        if self.problems.has_room(severity):
            if words:
                at_value, offset = self._find(path, words)
            self.problems.add(self.problem(code, path, message, fix, severity, at_value, offset))

    def _find(self, path: Path, words: tuple[str, ...]) -> tuple[bool, int]:
        """Return whether a word is in the text at *path*, or else in its key, and where."""
        text, key = self.value(path), path[-1] if path else ""
        at = _find_word(text, words) if isinstance(text, str) else -1
        at_key = _find_word(key, words) if at < 0 and isinstance(key, str) else -1
        return at_key < 0, max(at, at_key, 0)

    def _text(self, path: Path) -> tuple[object, int]:
        """Return the text at *path* and 0; a parameter of an inline retry is a piece of its text, that begins there."""
        around = self.value(path[:-1]) if path and path not in self._document.value_marks else None
        if not isinstance(around, str):
            return self.value(path), 0
        found = _find_word(around, (f"{path[-1]}=",))
        if found < 0:  # the one item of a list that is written as a text
            return around, 0
        start = found + len(f"{path[-1]}=")
        return around, start + (around[start : start + 1] in ("'", '"'))

    def problem(
        self,
        code: str,
        path: Path,
        message: str,
        fix: str = "",
        severity: Severity | None = None,
        at_value: bool = False,
        offset: int = 0,
    ) -> Problem:
        """Return a problem with its place, without adding it."""
        about = CODES.get(code, _OTHER)
        place = self._document.value_place(path) if at_value else self._document.place(path)
        text, start = self._text(path) if at_value or not path else (path[-1], 0)
        if start + offset and isinstance(text, str):
            place = inside(self._document.lines, place, text, start + offset)
        texts = (shortened(path_text(path)), shortened(message), shortened(fix or about.fix))
        return Problem(code, severity or about.severity, self.file, place.line, place.column, *texts)

    def report_name(self, code: str, path: Path, name: str, message: str, fix: str = "") -> None:
        """Add a problem with a name in the text at *path*."""
        self.report(code, path, message, fix, words=(f"$.{name}", f"_.{name}", name))

    def report_within(self, code: str, path: Path, source: str, word: str, message: str, fix: str = "") -> None:
        """Add a problem with a bare word of an expression in *source*, which stands in the text at *path*."""
        offset = bare_offset(source, word) if not self.problems.is_full(CODES[code].severity) else 0
        (text, start), key = self._text(path), path[-1] if path else ""
        if isinstance(text, str) and source in text:
            self.report(code, path, message, fix, offset=text.find(source) + offset - start)
        elif isinstance(key, str) and source in key:
            self.report(code, path, message, fix, at_value=False, offset=key.find(source) + offset)
        else:  # it was written in other quotes
            self.report_name(code, path, word, message, fix)

    def report_parameter(self, code: str, path: Path, key: str, message: str, fix: str = "") -> None:
        """Add a problem with an inline parameter in the text at *path*."""
        self.report(code, path, message, fix, words=(f"{key}=",))

    def report_call(self, code: str, path: Path, name: str, message: str, fix: str = "") -> None:
        """Add a problem with what is called in the text at *path*."""
        self.report(code, path, message, fix, words=(f"{name}(", name))

    def wrong(self, path: Path, value: object, expected: str, fix: str = "") -> object:
        """Report that a value has not the shape it needs; returns None, as what it reads as."""
        what = f"'{path[-1]}'" if path and isinstance(path[-1], str) else f"'{path_text(path)}'"
        message = f"Expected {what} to be {expected}, but it is {described(value)}."
        self.report("wrong-type", path, message, fix or _fix_of_shape(value, expected))
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
                    if isinstance(item, bool) and keyword.shape.takes_booleans:
                        self.booleans.append((*path, name))
            elif name not in ignored:
                self.report(
                    "unknown-keyword",
                    (*path, name),
                    f"Expected a keyword of {what}, but '{name}' is none.",
                    self.problems.suggest(name, keywords.keys()),
                    at_value=False,
                )
        for name in [name for name, keyword in keywords.items() if keyword.required]:
            if name not in value:
                message = f"Expected '{name}' in {what}, but it is missing."
                self.report("missing-keyword", path, message, f"Add '{name}: …'.", at_value=False)
        return result

    def count_definition(self, path: Path) -> None:
        """Count a task, a workflow or an action.

        Raises:
            TooMuch: the file has more than are checked.
        """
        if self._bounds is None:
            return
        self._bounds.definitions -= 1
        if self._bounds.definitions < 0:
            message = f"Expected at most {MAX_DEFINITIONS} tasks, workflows and actions in one file; here are more."
            self.report("too-many-definitions", path, message, at_value=False)
            raise TooMuch

    def template(
        self, value: object, path: Path, strict: bool = True, within: object = None, at_value: bool = True
    ) -> Template:
        """Compile a value; a broken expression is an error at its top, a warning deeper down.

        Mistral finds the deeper ones only when they are evaluated, and accepts the definition. *within* is the
        text at *path* if the value is only a part of it, or its key if not *at_value*.

        Raises:
            TooMuch: the file has more expressions than are checked.
        """
        if self._bounds is not None and not self._bounds.effort.allows(value):
            message = f"Expected expressions of at most {MAX_EFFORT} tokens in one file; up to here are more."
            self.report("too-many-expressions", path, message)
            raise TooMuch
        start = within.find(value) if isinstance(within, str) and isinstance(value, str) else 0

        def report(place: Path, problem: ExpressionSyntaxError) -> None:
            severity: Severity = "error" if strict and len(place) - len(path) <= 1 else "warning"
            message = f"Expected an expression that can be parsed, but {problem.message}."
            offset = 0 if self.problems.is_full(severity) else problem.offset + max(0, start)
            self.report("expression-syntax", place, message, "", severity, at_value, offset)

        template = compile_template(value, report, path)
        self._warn_unclosed(value, path)
        return template

    def _warn_unclosed(self, value: object, path: Path) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                self._warn_unclosed(item, (*path, key))
        elif isinstance(value, str):
            for opening, closing in delimiters.MARKS:
                if (opening in value) != (closing in value) and (opening in value or closing == "%>"):
                    message = f"Expected '{opening}' and '{closing}' in pairs; this is taken as plain text."
                    fix = "Close the expression; put the text in quotes if YAML cuts it at a comma or '#'."
                    written, mark = self.value(path), opening if opening in value else closing
                    start = max(0, written.find(value)) if isinstance(written, str) else 0
                    self.report("unclosed-expression", path, message, fix, offset=start + value.find(mark))
                    break


def _find_word(text: str, words: tuple[str, ...]) -> int:
    """Return where the first of *words* stands that does, as a whole word; else -1."""
    for word in words:
        start = text.find(word)
        while start >= 0:
            before, after = text[start - 1 : start], text[start + len(word) : start + len(word) + 1]
            if not _is_letter(before) and (word[-1] in "=(" or not _is_letter(after)):
                return start
            start = text.find(word, start + 1)
    return -1


def _is_letter(sign: str) -> bool:
    return sign.isalnum() or sign == "_"


def _fix_of_shape(value: object, expected: str) -> str:
    """Return what to do about a value of another shape, where it looks as if somebody had meant the right one."""
    if "mapping" in expected or "keywords" in expected:
        if isinstance(value, list) and value and all(isinstance(item, dict) and len(item) == 1 for item in value):
            return "Remove the '- ' before each name."
        if isinstance(value, str) and _TIGHT_PAIR.match(value):
            return "Write a blank behind ':'."
    elif isinstance(value, str) and (value.isdigit() or value in ("true", "false")):
        return "Remove the quotes."
    return ""


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
