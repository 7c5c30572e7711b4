"""Values with expressions in them, compiled once and evaluated often."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from tradewind_server.lang.expressions import delimiters
from tradewind_server.lang.expressions.budget import MAX_BYTES
from tradewind_server.lang.expressions.jinja_expression import compile_jinja_expression, compile_jinja_text
from tradewind_server.lang.expressions.problems import ExpressionError, ExpressionSyntaxError
from tradewind_server.lang.expressions.scope import Scope
from tradewind_server.lang.expressions.yaql_expression import Expression, compile_yaql
from tradewind_server.lang.values import to_text

_Evaluate: TypeAlias = Callable[[Scope], object]
ReportProblem: TypeAlias = Callable[[tuple[str | int, ...], ExpressionSyntaxError], None]


Parts: TypeAlias = "Iterable[tuple[str | int, Template]]"


class Template:
    """A value in which every text may hold expressions; immutable.

    Attributes:
        source: the value as it was written.
        is_constant: whether it has no expression at all.
        task_names: the tasks asked for with `task('name')`, or None if a name is computed.
        expressions: those of a text.
        parts: the entries of a list or a dictionary by their key.
    """

    __slots__ = ("_evaluate", "expressions", "is_constant", "parts", "source", "task_names")

    def __init__(
        self,
        source: object,
        evaluate: _Evaluate | None = None,
        task_names: frozenset[str] | None = frozenset(),
        expressions: tuple[Expression, ...] = (),
        parts: Parts = (),
    ) -> None:
        self.source = source
        self.expressions = expressions
        self.parts = parts
        self.is_constant = evaluate is None
        self.task_names = task_names
        self._evaluate = evaluate

    @classmethod
    def constant(cls, value: object) -> Template:
        """Make a template of a value that is taken as it is."""
        return cls(value)

    def evaluate(self, scope: Scope) -> object:
        """Return the value in *scope*.

        The result shares parts with the source and the scope: nobody may change it.

        Raises:
            ExpressionError: an expression fails or exceeds its budget.
        """
        return self.source if self._evaluate is None else self._evaluate(scope)

    def texts(self, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Template]]:
        """Give each text with an expression in it, be it a broken one, with its place below *path*."""
        if self.expressions or (isinstance(self.source, str) and not self.is_constant):
            yield path, self
        for key, part in self.parts:
            if not part.is_constant:
                yield from part.texts((*path, key))

    def __repr__(self) -> str:
        return f"Template({self.source!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self.source == other.source and self.is_constant == other.is_constant

    def __hash__(self) -> int:
        return hash(repr(self.source))


def compile_template(raw: object, report: ReportProblem | None = None, path: tuple[str | int, ...] = ()) -> Template:
    """Compile a value: texts, also inside of lists and dictionaries, but never dictionary keys.

    Args:
        raw: a plain value.
        report: if given, is told the place below *raw* of each text that cannot be parsed; such a text then
            fails when it is evaluated, as in Mistral.
        path: the place of *raw*, put before the places told.

    Raises:
        ExpressionSyntaxError: the first text that cannot be parsed, if there is no *report*.
    """
    if isinstance(raw, str):
        return _compile_or_report(raw, report, path)
    if isinstance(raw, dict):
        parts = {key: compile_template(item, report, (*path, key)) for key, item in raw.items()}
        if all(part.is_constant for part in parts.values()):
            return Template(raw)
        return Template(raw, _dictionary(parts), _together(parts.values()), parts=parts.items())
    if isinstance(raw, list | tuple):
        items = [compile_template(item, report, (*path, index)) for index, item in enumerate(raw)]
        if all(item.is_constant for item in items):
            return Template(raw)
        together = _together(items)
        return Template(
            raw, lambda scope: [item.evaluate(scope) for item in items], together, parts=tuple(enumerate(items))
        )
    return Template(raw)


def _compile_or_report(text: str, report: ReportProblem | None, path: tuple[str | int, ...]) -> Template:
    try:
        return _compile_text(text)
    except ExpressionSyntaxError as problem:
        if report is None:
            raise
        report(path, problem)
        message = problem.message

    def fail(scope: Scope) -> object:
        raise ExpressionError(text, message)

    return Template(text, fail)


def _dictionary(parts: dict[str, Template]) -> _Evaluate:
    return lambda scope: {key: part.evaluate(scope) for key, part in parts.items()}


def _together(parts: Iterable[Template | Expression]) -> frozenset[str] | None:
    names: set[str] = set()
    for part in parts:
        if part.task_names is None:
            return None
        names |= part.task_names
    return frozenset(names)


@functools.lru_cache(maxsize=10_000)
def _compile_text(text: str) -> Template:
    delimiters.refuse_mixture(text)
    if delimiters.has_yaql(text):
        return _compile_yaql_text(text)
    if delimiters.has_jinja(text):
        return _compile_jinja_text(text)
    return Template(text)


def _compile_yaql_text(text: str) -> Template:
    single = delimiters.single_yaql(text)
    if single is not None:
        expression = _at(2, single)
        return Template(text, expression.evaluate, expression.task_names, (expression,))
    pieces = [
        (before, _at(offset, source) if offset >= 0 else None) for before, source, offset in delimiters.split_yaql(text)
    ]
    expressions = [expression for _, expression in pieces if expression is not None]
    return Template(text, _interpolation(text, pieces), _together(expressions), tuple(expressions))


def _at(offset: int, source: str) -> Expression:
    try:
        return compile_yaql(source)
    except ExpressionSyntaxError as problem:
        raise ExpressionSyntaxError(problem.message, problem.offset + offset) from None


def _interpolation(text: str, pieces: list[tuple[str, Expression | None]]) -> _Evaluate:
    def interpolate(scope: Scope) -> object:
        parts = []
        for before, expression in pieces:
            parts.append(before)
            if expression is not None:
                parts.append(to_text(expression.evaluate(scope)))
        result = "".join(parts)
        if len(result) > MAX_BYTES:
            raise ExpressionError(text, f"it makes a text of more than {MAX_BYTES} characters")
        return result

    return interpolate


def _compile_jinja_text(text: str) -> Template:
    single = delimiters.single_jinja(text)
    if single is not None:
        try:
            expression = compile_jinja_expression(single)
            return Template(text, expression.evaluate, expression.task_names, (expression,))
        except ExpressionSyntaxError:
            # Two expressions in one text look alike: "{{ 1 }} and {{ 2 }}".
            pass
    whole = compile_jinja_text(text)
    return Template(text, whole.evaluate, whole.task_names, (whole,))


def is_single_expression(text: str) -> bool:
    """Tell whether a text is exactly one `<% … %>` or `{{ … }}`, so that its value keeps its type."""
    if delimiters.single_yaql(text) is not None:
        return True
    single = delimiters.single_jinja(text)
    if single is None:
        return False
    try:
        compile_jinja_expression(single)
    except ExpressionSyntaxError:
        # A broken expression is one too, unless it is several: "{{ 1 }} and {{ 2 }}".
        return "}}" not in single
    return True
