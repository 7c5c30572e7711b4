"""What can go wrong with an expression, and how it is told without telling business data."""

from __future__ import annotations

from collections.abc import Callable

from tradewind_server.lang import numbers

#: Messages of libraries may quote values; these classes are told by kind instead.
_CAUSES: tuple[tuple[type[BaseException], str], ...] = (
    (RecursionError, "it is nested too deeply"),
    (MemoryError, "it needs too much memory"),
    (ZeroDivisionError, "division by zero"),
    (IndexError, "an index is out of range"),
    (StopIteration, "the collection does not have the item asked for"),
    (AssertionError, "an assertion does not hold"),
    (OverflowError, "a number or date is out of range"),
    (TypeError, "an operation does not fit the type of its value"),
    (ValueError, "an operation does not fit its value"),
    (AttributeError, "a value has no such attribute"),
)


class ExpressionError(Exception):
    """An expression failed at run time; the text names the expression and the cause, never data."""

    def __init__(self, expression: str, cause: str) -> None:
        self.expression = expression
        self.cause = cause
        super().__init__(f"Expected to evaluate '{_shortened(expression)}', but {cause}.")


class ExpressionSyntaxError(ValueError):
    """A text holds an expression that cannot be parsed.

    Attributes:
        message: a clause that says what is wrong.
    """

    def __init__(self, message: str, offset: int | Callable[[], int] = 0) -> None:
        self.message = message
        self._offset = offset
        super().__init__(message)

    @property
    def offset(self) -> int:
        """Where in the whole text it is, counted from 0; finding it may take as long as parsing."""
        return self._offset if isinstance(self._offset, int) else self._offset()


class Refused(Exception):
    """A cause that may be told as it is: it holds no data."""


def failure(expression: str, problem: BaseException) -> ExpressionError:
    """Make the error of *expression* from whatever its evaluation raised."""
    if isinstance(problem, ExpressionError):
        return problem
    return ExpressionError(expression, _cause(expression, problem))


def _cause(expression: str, problem: BaseException) -> str:
    if isinstance(problem, Refused | numbers.NumberProblem):
        return str(problem)
    if isinstance(problem, KeyError):
        key = problem.args[0] if problem.args else None
        # A computed key is data; one that stands in the expression is not.
        return f"there is no '{key}'" if isinstance(key, str) and key in expression else "a key is missing"
    for kind, cause in _CAUSES:
        if isinstance(problem, kind):
            return cause
    return f"it failed ({type(problem).__name__})"


def _shortened(expression: str, limit: int = 300) -> str:
    return expression if len(expression) <= limit else expression[:limit] + "…"
