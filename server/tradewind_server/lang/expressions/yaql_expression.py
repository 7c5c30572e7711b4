"""One YAQL expression, ready to be evaluated."""

from __future__ import annotations

import functools
from typing import Protocol

from tradewind_server.lang.expressions import names, yaql_fast, yaql_library
from tradewind_server.lang.expressions import yaql_face as face
from tradewind_server.lang.expressions.budget import Budget, plain
from tradewind_server.lang.expressions.functions import language_functions
from tradewind_server.lang.expressions.problems import ExpressionSyntaxError, failure
from tradewind_server.lang.expressions.scope import Scope

MAX_EXPRESSION = 16_384


class Expression(Protocol):
    """A compiled expression of either language."""

    #: Names of tasks asked for with task('name'); None: some name is computed.
    task_names: frozenset[str] | None

    def evaluate(self, scope: Scope) -> object:
        """Return a plain value; raise ExpressionError."""

    def names(self) -> names.Names:
        """Return what the expression names."""


class YaqlExpression:
    """One expression without its marks."""

    __slots__ = ("_ast", "_fast", "_names", "task_names", "text")

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self._ast = face.parse(text)
        self._fast = yaql_fast.compile_fast(self._ast)
        self.task_names = _task_names(self._ast)
        self._names: names.Names | None = None

    def evaluate(self, scope: Scope) -> object:
        """Return a plain value; it may share parts with the scope, so it must not be changed.

        Raises:
            ExpressionError: it fails or exceeds its budget.
        """
        try:
            if self._fast is not None:
                try:
                    return self._fast(scope)
                except yaql_fast.Unusual:
                    pass
            return self.evaluate_in_library(scope)
        except Exception as problem:
            raise failure(self.text, face.told_iteration(problem)) from None

    def names(self) -> names.Names:
        """Return what the expression names."""
        if self._names is None:
            self._names = names.of_yaql(self._ast, self.text)
        return self._names

    def evaluate_in_library(self, scope: Scope) -> object:
        """Evaluate without the fast path; raises whatever goes wrong."""
        budget = Budget()
        evaluation = face.Evaluation(budget, scope.facts, language_functions(scope.facts, budget))
        return plain(face.run(self._ast, yaql_library.context(), yaql_library.root(scope), evaluation), budget)


@functools.lru_cache(maxsize=10_000)
def compile_yaql(text: str) -> YaqlExpression:
    """Compile an expression.

    Raises:
        ExpressionSyntaxError: the offset is within *text*.
    """
    if len(text) > MAX_EXPRESSION:
        raise ExpressionSyntaxError(f"an expression may have {MAX_EXPRESSION} characters")
    try:
        return YaqlExpression(text)
    except RecursionError:
        raise ExpressionSyntaxError("the expression is nested too deeply") from None


def _task_names(ast: face.Ast) -> frozenset[str] | None:
    """Collect the names of task('x'); the text of an AST node's arguments is enough to walk it."""
    names: set[str] = set()
    pending = [ast]
    while pending:
        node = pending.pop()
        if type(node) is face.AstFunction and node.name in ("task", "call"):
            if node.name == "call" or (node.args and not isinstance(node.args[0], face.AstConstant)):
                return None
            if node.args:
                names.add(str(node.args[0].value))
        pending.extend(face.children(node))
    return frozenset(names)
