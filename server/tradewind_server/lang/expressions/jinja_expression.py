"""One Jinja expression or text, in a sandbox with exact numbers.

Source: `mistral/expressions/jinja_expression.py`.
"""

from __future__ import annotations

import functools
import itertools
import re

import jinja2
from jinja2 import nodes
from jinja2.environment import TemplateExpression
from jinja2.parser import Parser

from tradewind_server.lang.expressions.budget import Budget, plain
from tradewind_server.lang.expressions.functions import FUNCTIONS, language_functions
from tradewind_server.lang.expressions.jinja_places import syntax_error
from tradewind_server.lang.expressions.jinja_sandbox import BUDGET, bounded, sandbox
from tradewind_server.lang.expressions.names import Names, of_jinja
from tradewind_server.lang.expressions.problems import ExpressionError, ExpressionSyntaxError, Refused, failure
from tradewind_server.lang.expressions.scope import VARIABLES, Root, Scope
from tradewind_server.lang.expressions.yaql_expression import MAX_EXPRESSION

_SYSTEM_VARIABLES = ("__env", "__execution", "__task_execution")
_FOUND_BY_ITSELF = frozenset({*FUNCTIONS, *sandbox().globals})


#: Levels of an expression, and of a text with blocks, that certainly can be compiled: Python takes 200 brackets in each
#: other, and 20 loops. A deeper one is tried at once, so that a check tells it; all others are compiled when they are
#: first evaluated, since that takes longer than all else that a check does with them.
_SHALLOW = 60
_SHALLOW_TEXT = 15


class JinjaExpression:
    """What stands between `{{` and `}}`; the value keeps its type."""

    __slots__ = ("_names", "_path", "_program", "task_names", "text")

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        tree = _parse_expression(text)
        levels = _levels(tree)
        self._path = _plain_path(tree.body[0].node)  # type: ignore[attr-defined]
        self.task_names = _task_names(levels)
        self._names = of_jinja(tree, _FOUND_BY_ITSELF)
        self._program = _compiled(tree) if len(levels) > _SHALLOW else None

    @property
    def _compiled(self) -> TemplateExpression:
        if self._program is None:
            self._program = _compiled(_parse_expression(self.text))
        return TemplateExpression(self._program, undefined_to_none=False)

    def evaluate(self, scope: Scope) -> object:
        """Return a plain value, shared with the scope: it must not be changed.

        Raises:
            ExpressionError: it fails or exceeds its budget.
        """
        if self._path is not None:
            value = _walk(self._path, scope)
            if value is not _MISSING:
                return value
        budget = Budget()
        try:
            value = self._compiled(_variables(scope, budget))
            if isinstance(value, jinja2.Undefined):
                str(value)
            return plain(value, budget)
        except Exception as problem:
            raise _failure(self.text, problem) from None

    def names(self) -> Names:
        """Return what the expression names."""
        return self._names


class JinjaText:
    """A text with expressions or blocks in it; the result is text."""

    __slots__ = ("_names", "_program", "task_names", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        tree = sandbox().parse(text)
        levels = _levels(tree)
        self.task_names = _task_names(levels)
        self._names = of_jinja(tree, _FOUND_BY_ITSELF)
        self._program = _compiled(tree) if len(levels) > _SHALLOW_TEXT else None

    @property
    def _compiled(self) -> jinja2.Template:
        if self._program is None:
            self._program = _compiled(sandbox().parse(self.text))
        return self._program

    def evaluate(self, scope: Scope) -> object:
        """Return a text.

        Raises:
            ExpressionError: it fails or exceeds its budget.
        """
        budget = Budget()
        parts = []
        try:
            compiled = self._compiled
            context = compiled.new_context(_variables(scope, budget))
            for part in compiled.root_render_func(context):
                budget.allocate(len(part))
                parts.append(part)
            return "".join(parts)
        except Exception as problem:
            raise _failure(self.text, problem) from None

    def names(self) -> Names:
        """Return what the text names."""
        return self._names


def _compiled(tree: nodes.Template) -> jinja2.Template:
    """Compile; what names an unknown filter or test fails when it is evaluated, as in Mistral."""
    try:
        return sandbox().from_string(bounded(tree))
    except jinja2.TemplateAssertionError:
        return sandbox().from_string("{{ unknown_filter_or_test() }}")


@functools.lru_cache(maxsize=10_000)
def compile_jinja_expression(text: str) -> JinjaExpression:
    """Compile what stands between `{{` and `}}`.

    Raises:
        ExpressionSyntaxError: it is no expression.
    """
    _refuse_long(text)
    try:
        return JinjaExpression(text)
    except (jinja2.TemplateError, RecursionError, SyntaxError, ValueError) as problem:
        raise syntax_error(text, problem) from None


@functools.lru_cache(maxsize=10_000)
def compile_jinja_text(text: str) -> JinjaText:
    """Compile a text with expressions or blocks.

    Raises:
        ExpressionSyntaxError: it is no template.
    """
    _refuse_long(text)
    try:
        return JinjaText(text)
    except (jinja2.TemplateError, RecursionError, SyntaxError, ValueError) as problem:
        raise syntax_error(text, problem) from None


def _refuse_long(text: str) -> None:
    if len(text) > MAX_EXPRESSION:
        raise ExpressionSyntaxError(f"an expression may have {MAX_EXPRESSION} characters")


def _parse_expression(text: str) -> nodes.Template:
    parser = Parser(sandbox(), text, state="variable")
    expression = parser.parse_expression()
    if not parser.stream.eos:
        raise jinja2.TemplateSyntaxError("the expression goes on where it should end", parser.stream.current.lineno)
    tree = nodes.Template([nodes.Assign(nodes.Name("result", "store"), expression, lineno=1)], lineno=1)
    tree.set_environment(sandbox())
    return tree


def _variables(scope: Scope, budget: Budget) -> dict[str, object]:
    root = Root(scope)
    whole = root if scope.whole is VARIABLES else scope.whole
    variables: dict[str, object] = {**language_functions(scope.facts, budget), "_": whole, BUDGET: budget}
    for name in _SYSTEM_VARIABLES:
        if name in root:
            variables[name] = root[name]
    return variables


# --- the fast path: _.a.b ------------------------------------------------------------------------

_MISSING = object()


def _plain_path(node: nodes.Node) -> tuple[str, ...] | None:
    """Return the keys of `_.a.b`, if no key is also a method of dictionaries: that would come first."""
    keys: list[str] = []
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        key = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
        if not isinstance(key, str) or hasattr(dict, key):
            return None
        keys.insert(0, key)
        node = node.node
    return tuple(keys) if keys and isinstance(node, nodes.Name) and node.name == "_" else None


def _walk(path: tuple[str, ...], scope: Scope) -> object:
    for layer in scope.layers:
        if path[0] in layer:
            value: object = layer[path[0]]
            break
    else:
        return _MISSING
    for key in path[1:]:
        if type(value) is not dict or key not in value:
            return _MISSING
        value = value[key]
    return value


# --- what is told --------------------------------------------------------------------------------

_UNDEFINED = re.compile(r"'([^']*)' is undefined|(?:attribute|element) '([^']*)'")


def _failure(text: str, problem: BaseException) -> ExpressionError:
    """Tell an undefined name only if it stands in the text: a computed one is data."""
    if isinstance(problem, jinja2.UndefinedError):
        match = _UNDEFINED.search(str(problem))
        name = (match.group(1) or match.group(2)) if match else None
        if name == "unknown_filter_or_test":
            return failure(text, Refused("it names a filter or test that does not exist"))
        return failure(text, Refused(f"there is no '{name}'" if name and name in text else "a value is undefined"))
    if isinstance(problem, jinja2.exceptions.SecurityError):
        return failure(text, Refused("it does what expressions may not do"))
    if isinstance(problem, jinja2.TemplateRuntimeError):
        return failure(text, Refused("a filter or test does not exist or does not fit its value"))
    return failure(text, problem)


def _levels(tree: nodes.Node) -> list[list[nodes.Node]]:
    """Return the nodes of a tree, level by level."""
    levels = [[tree]]
    while below := [child for node in levels[-1] for child in node.iter_child_nodes()]:
        levels.append(below)
    return levels


def _task_names(levels: list[list[nodes.Node]]) -> frozenset[str] | None:
    names: set[str] = set()
    for call in itertools.chain.from_iterable(levels):
        if not isinstance(call, nodes.Call | nodes.Filter):
            continue
        name = call.name if isinstance(call, nodes.Filter) else getattr(call.node, "name", None)
        if name != "task":
            continue
        arguments = [*call.args, *call.kwargs]
        if arguments and not isinstance(arguments[0], nodes.Const):
            return None
        names |= {str(argument.value) for argument in arguments[:1]}
    return frozenset(names)
