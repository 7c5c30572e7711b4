"""The Jinja environment: nothing can be changed, reached or made too large, and numbers stay exact.

Jinja's own sandbox bounds neither texts (`"a" * 10**10`) nor loops. So every operator, concatenation, call,
loop round and filter passes here and is counted; the tree of an expression is rewritten for that (`bounded`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.filters import FILTERS, _GroupTuple, make_attrgetter
from jinja2.lexer import Lexer, Token
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace
from jinja2.visitor import NodeTransformer

from tradewind_server.lang import numbers, values
from tradewind_server.lang.expressions.budget import MAX_BYTES, MAX_ITEMS, Budget, plain
from tradewind_server.lang.expressions.problems import Refused
from tradewind_server.lang.expressions.scope import Root

#: Variable that carries the budget; read where a template cannot shadow it.
BUDGET = "__budget"

# fmt: off
_TEXT_METHODS = frozenset(
    {
        "capitalize", "casefold", "center", "count", "endswith", "expandtabs", "find", "format", "index", "isalnum",
        "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isprintable",
        "isspace", "istitle", "isupper", "join", "ljust", "lower", "lstrip", "partition", "removeprefix",
        "removesuffix", "replace", "rfind", "rindex", "rjust", "rpartition", "rsplit", "rstrip", "split",
        "splitlines", "startswith", "strip", "swapcase", "title", "upper", "zfill",
    }
)
# fmt: on
_METHODS: Mapping[type, frozenset[str]] = {
    str: _TEXT_METHODS,
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    dict: frozenset({"get", "items", "keys", "values"}),
}
#: What else can be read: of the groups that `groupby` makes, which are tuples, their two parts.
_FIELDS: Mapping[type, frozenset[str]] = {_GroupTuple: frozenset({"grouper", "list"})}
_RUNTIME = (LoopContext, Macro, Cycler, Joiner, Namespace)
_ROOT_METHODS = frozenset({"get", "items", "keys", "values"})


def _budget(context: Context) -> Budget:
    budget = context.parent[BUDGET]
    assert isinstance(budget, Budget)
    return budget


class _ExactLexer(Lexer):
    def wrap(
        self, stream: Iterable[tuple[int, str, str]], name: str | None = None, filename: str | None = None
    ) -> Iterator[Token]:
        for line, kind, text in stream:
            if kind == "float":
                yield Token(line, kind, numbers.parse_decimal(text.replace("_", "")))  # type: ignore[arg-type]
            else:
                yield from super().wrap([(line, kind, text)], name, filename)


class Sandbox(ImmutableSandboxedEnvironment):
    """Where all expressions are compiled."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})
    intercepted_unops = frozenset({"+", "-"})

    @functools.cached_property
    def lexer(self) -> Lexer:
        """Return the lexer that reads decimals as decimals."""
        return _ExactLexer(self)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Allow what reads, of the types that can be met."""
        if isinstance(obj, _RUNTIME):
            return super().is_safe_attribute(obj, attr, value)
        return attr in _METHODS.get(type(obj), ()) or attr in _FIELDS.get(type(obj), ())

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Read `obj.attribute`; of `_` only the methods of a dictionary and the variables."""
        if not isinstance(obj, Root):
            return super().getattr(obj, attribute)
        if attribute in _ROOT_METHODS:
            return getattr(obj, attribute)
        return obj[attribute] if attribute in obj else self.undefined(obj={}, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Read `obj[argument]`; of `_` the variable, also where a method has its name."""
        if isinstance(obj, Root):
            if not isinstance(argument, str):
                return self.undefined(obj={}, name="?")
            return obj[argument] if argument in obj else self.getattr(obj, argument)
        return super().getitem(obj, argument)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        budget = _budget(__context)
        budget.step()
        _check_text_method(__obj, args, budget)
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute exactly, and no more than fits."""
        if numbers.is_number(left) and numbers.is_number(right):
            return _ARITHMETIC[operator](left, right)
        budget = _budget(context)
        if operator == "%" and isinstance(left, str):
            return _percent_format(left, right, budget)
        if operator == "*":
            return _repeated(left, right, budget)
        if operator == "+" and isinstance(left, Sized) and isinstance(right, Sized):
            budget.allocate(len(left) + len(right))
        elif isinstance(left, bool) or isinstance(right, bool):
            return self.call_binop(context, operator, _unbool(left), _unbool(right))
        return super().call_binop(context, operator, left, right)

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:
        """Change the sign exactly."""
        if numbers.is_number(arg):
            return numbers.negate(arg) if operator == "-" else arg
        return super().call_unop(context, operator, arg)

    def tick(self, context: Context) -> None:
        """Count a round of a loop or a run of a macro."""
        _budget(context).step()

    def concatenate(self, context: Context, *parts: object) -> str:
        """Compute `a ~ b`."""
        texts = [_finalized(part) for part in parts]
        _budget(context).allocate(sum(map(len, texts)))
        return "".join(texts)

    def decimal(self, text: str) -> Decimal:
        """Make a decimal literal."""
        return Decimal(text)


def _unbool(value: object) -> object:
    return int(value) if isinstance(value, bool) else value


_ARITHMETIC: Mapping[str, Callable[[Any, Any], numbers.Number]] = {
    "+": numbers.add,
    "-": numbers.subtract,
    "*": numbers.multiply,
    "/": numbers.true_divide,
    "//": numbers.floor_divide,
    "**": numbers.power,
    "%": numbers.modulo,
}


def _repeated(left: Any, right: Any, budget: Budget) -> Any:
    many, count = (left, right) if isinstance(left, Sized) else (right, left)
    if isinstance(many, Sized) and isinstance(count, int):
        budget.allocate(len(many) * max(0, count) * (1 if isinstance(many, str) else 16))
    return left * right


_MARKS = frozenset(map(ord, values.MARKS))
_NO_CHARACTER = "a format cannot make a character of a number"
_WIDE_FORMAT = re.compile(r"\d{5,}|\*|\{[^{}]*\{")
#: `%c` and `{:c}`, which make any character, also a mark of a reference to a secret, out of a number.
_CHARACTER_FORMAT = re.compile(r":[^{}:]*c\}")
_PERCENT_CHARACTER = re.compile(r"%[-#0 +\d.]*[hlL]?c")
_NAMED_CHARACTER = re.compile(r"\)[-#0 +\d.]*[hlL]?c")


def _check_format(text: str) -> None:
    if _WIDE_FORMAT.search(text):
        raise Refused("a width in a format is too large or computed")
    if _CHARACTER_FORMAT.search(text):
        raise Refused(_NO_CHARACTER)


def _check_text_method(method: Any, arguments: tuple[Any, ...], budget: Budget) -> None:
    """Refuse a call of a method of a text whose result would be too large."""
    name = getattr(method, "__name__", "")
    text = getattr(getattr(method, "__wrapped__", method), "__self__", None)
    if not isinstance(text, str):
        return
    if name == "format":
        _check_format(text)
    budget.allocate(len(text) + sum(item for item in arguments if isinstance(item, int) and item > 0))
    if name == "expandtabs":
        budget.allocate(text.count("\t") * max([8, *(item for item in arguments if isinstance(item, int))]))
    if name == "replace" and len(arguments) > 1 and all(isinstance(item, str) for item in arguments[:2]):
        budget.allocate(text.count(arguments[0]) * len(arguments[1]))
    if name == "join" and arguments and isinstance(arguments[0], list | tuple | str):
        budget.allocate(sum(len(text) + len(item) for item in arguments[0] if isinstance(item, str)))


def _check_characters(text: str, arguments: Any) -> None:
    """Refuse a number for `%c`, or for `%(name)c` the number of a mark; a text of one character may be there."""
    if isinstance(arguments, Mapping):
        is_risky = any(isinstance(item, int) and item in _MARKS for item in arguments.values())
        pattern = _NAMED_CHARACTER
    else:
        given = arguments if isinstance(arguments, tuple) else (arguments,)
        is_risky, pattern = any(isinstance(item, int) for item in given), _PERCENT_CHARACTER
    if is_risky and pattern.search(text):
        raise Refused(_NO_CHARACTER)


_PERCENT = re.compile(r"%(\(\w*\))?([-#0 +]*)(\d*)(\.\d+)?([a-zA-Z%])")


def _percent_format(text: str, arguments: Any, budget: Budget) -> str:
    """Format with `%`; `%f` takes decimals digit for digit instead of through a float."""
    _check_format(text)
    _check_characters(text, arguments)
    budget.allocate(len(text) + 10_000 * text.count("%") // 10)
    if isinstance(arguments, Mapping):
        return text % {key: _finalized(item) if isinstance(item, Decimal) else item for key, item in arguments.items()}
    given = list(arguments) if isinstance(arguments, tuple) else [arguments]
    used = iter(range(len(given)))

    def replaced(match: re.Match[str]) -> str:
        name, flags, width, precision, kind = match.groups()
        if kind == "%" or name:
            return match.group()
        position = next(used, None)
        if position is None or not numbers.is_number(given[position]):
            return match.group()
        if kind in "fF":
            align = "<" if "-" in flags else ""
            sign = "+" if "+" in flags else " " if " " in flags else ""
            zeros = "0" if "0" in flags and not align else ""
            specification = f"{align}{sign}{zeros}{width}{precision or '.6'}f"
            given[position] = format(Decimal(given[position]), specification)
            return "%s"
        if isinstance(given[position], Decimal):
            given[position] = int(given[position]) if kind in "diu" else numbers.text(given[position])
        return match.group()

    return _PERCENT.sub(replaced, text) % tuple(given)


def _finalized(value: object) -> str:
    return str(value) if isinstance(value, jinja2.Undefined) else values.to_text(value)


# --- the tree ------------------------------------------------------------------------------------


def bounded(tree: nodes.Template) -> nodes.Template:
    """Rewrite a parsed template so that loops, macros and concatenations are counted."""
    _Bounding().visit(tree)
    tree.set_lineno(1)
    tree.set_environment(sandbox())
    return tree


class _Bounding(NodeTransformer):
    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, _tick())
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, _tick())
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _environment_call("concatenate", [nodes.ContextReference(), *node.nodes])

    def visit_Const(self, node: nodes.Const) -> nodes.Node:
        if isinstance(node.value, Decimal):
            return _environment_call("decimal", [nodes.Const(str(node.value))])
        return node


def _tick() -> nodes.Node:
    return nodes.ExprStmt(_environment_call("tick", [nodes.ContextReference()]))


def _environment_call(name: str, arguments: list[nodes.Expr]) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), arguments, [], None, None)


# --- filters -------------------------------------------------------------------------------------


def _counted_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter of Jinja so that the size of what is piped in is counted."""
    walks_text = name in _WALKING
    marker = getattr(function, "jinja_pass_arg", None)

    @jinja2.pass_context
    def counted(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        budget = _budget(context)
        budget.step()
        if isinstance(value, Sized) and not isinstance(value, jinja2.Undefined):
            is_text = isinstance(value, str) and not walks_text
            if not is_text and len(value) > MAX_ITEMS:
                raise Refused(f"it walks through more than {MAX_ITEMS} items")
            budget.read(len(value) * (1 if is_text else 64))
        if marker is None:
            return function(value, *args, **kwargs)
        first = {"context": context, "eval_context": context.eval_ctx, "environment": context.environment}[marker.name]
        return function(first, value, *args, **kwargs)

    return counted


def _width_checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter whose result grows with a number or text that it is given."""

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        numbers_given = [item for item in [*args, *kwargs.values()] if isinstance(item, int)]
        text_size = sum(len(item) for item in [*args, *kwargs.values()] if isinstance(item, str))
        lines = 1 + sum(item.count("\n") for item in args if isinstance(item, str))
        if max([0, *numbers_given]) * lines + text_size > MAX_BYTES:
            raise Refused(f"it makes a value of more than {MAX_BYTES} bytes")
        return function(*args, **kwargs)

    return checked


@jinja2.pass_environment
def _wordwrap(
    environment: Sandbox,
    s: Any,
    width: int = 79,
    break_long_words: bool = True,
    wrapstring: str | None = None,
    break_on_hyphens: bool = True,
) -> str:
    """Wrap lines. A word of many lines is refused, for the rest of it is copied for each of them."""
    text = _finalized(s)
    longest = max(map(len, text.split()), default=0)
    if break_long_words and longest * longest > max(1, width) * _MOST_COPIED:
        raise Refused("a word in it is too long to be wrapped")
    wrapped: str = FILTERS["wordwrap"](environment, text, width, break_long_words, wrapstring, break_on_hyphens)
    return wrapped


@jinja2.pass_context
def _replace(context: Context, value: Any, old: str, new: str, count: int | None = None) -> str:
    text = _finalized(value)
    _budget(context).allocate(len(text) + text.count(old) * len(new))
    return text.replace(old, new, -1 if count is None else count)


@jinja2.pass_context
def _join(context: Context, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    items = value if attribute is None else map(make_attrgetter(context.environment, attribute), value)
    parts = []
    for item in items:
        parts.append(_finalized(item))
        _budget(context).allocate(len(parts[-1]) + len(d))
    return d.join(parts)


@jinja2.pass_context
def _format(context: Context, value: str, *args: Any, **kwargs: Any) -> str:
    return _percent_format(value, kwargs or args, _budget(context))


@jinja2.pass_context
def _tojson(context: Context, value: Any, indent: int | None = None) -> str:
    made = plain(value, _budget(context))
    text = values.json_dump(_sorted(made), indent if indent is None else min(indent, 16))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("'", "\\u0027")


def _pprint(value: Any) -> str:
    """Write a value as Python does, a text in quotes; on one line, unlike Jinja."""
    return values.to_text([value])[1:-1] if isinstance(value, str) else _finalized(value)


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


@jinja2.pass_context
def _sum(context: Context, value: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
    items = value if attribute is None else map(make_attrgetter(context.environment, attribute), value)
    total = start
    for item in items:
        total = context.environment.call_binop(context, "+", total, item)  # type: ignore[attr-defined]
    return total


def _to_int(value: Any, default: Any = 0, base: int = 10) -> Any:
    try:
        return int(value, base) if isinstance(value, str) and base != 10 else numbers.to_int(value)
    except ValueError:
        try:
            return int(numbers.to_decimal(value))
        except ValueError:
            return default


def _to_decimal(value: Any, default: Any = Decimal("0.0")) -> Any:
    try:
        return numbers.to_decimal(value)
    except ValueError:
        return default


def _round(value: Any, precision: int = 0, method: str = "common") -> Any:
    if method not in ("common", "ceil", "floor"):
        raise Refused("round() knows common, ceil and floor")
    number = numbers.to_decimal(value)
    if method == "common":
        return numbers.round_half_even(number, precision)
    if abs(precision) > 100:
        raise Refused("a number cannot be rounded so")
    rounding = ROUND_CEILING if method == "ceil" else ROUND_FLOOR
    return numbers.rounded_to(number, precision, rounding)


def _abs(value: Any) -> Any:
    return numbers.negate(value) if numbers.is_number(value) and value < 0 else value


@jinja2.pass_context
def _random(context: Context, value: Any) -> Any:
    """Draw an item, derived from the execution and not random, so that the same command decides the same."""
    items = list(value)
    if not items:
        return context.environment.undefined("No random item, sequence was empty.")
    return items[int(context.parent["uuid"]().replace("-", ""), 16) % len(items)]


def _language_filter(name: str) -> Callable[..., Any]:
    """Make a filter of a function: the piped value stands for the context and is not used."""

    @jinja2.pass_context
    def piped(context: Context, _value: Any, *args: Any, **kwargs: Any) -> Any:
        return context.parent[name](*args, **kwargs)

    return piped


_OWN_FILTERS: Mapping[str, Callable[..., Any]] = {
    "wordwrap": _wordwrap,
    "replace": _replace,
    "join": _join,
    "format": _format,
    "tojson": _tojson,
    "sum": _sum,
    "int": _to_int,
    "float": _to_decimal,
    "round": _round,
    "abs": _abs,
    "random": _random,
    "string": _finalized,
    "pprint": _pprint,
}
_GROWING = ("center", "indent", "batch", "slice", "truncate", "urlize")
#: Filters to which a text is a list of its characters.
# fmt: off
_WALKING = frozenset(
    {
        "batch", "groupby", "join", "list", "map", "max", "min", "random", "reject", "rejectattr", "select",
        "selectattr", "slice", "sort", "sum", "unique",
    }
)
# fmt: on
#: Characters that are copied to wrap one word.
_MOST_COPIED = 100_000_000
_LANGUAGE = ("env", "execution", "executions", "task", "tasks", "global", "uuid")
_LANGUAGE_OF_VALUES = ("json_dump", "json_parse", "yaml_dump", "yaml_parse")


@functools.cache
def sandbox() -> Sandbox:
    """Return the one environment."""
    made = Sandbox(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,
        finalize=_finalized,
        cache_size=0,
    )
    made.globals = {name: made.globals[name] for name in ("range", "dict", "cycler", "joiner", "namespace")}
    filters = {**FILTERS, **{name: _width_checked(FILTERS[name]) for name in _GROWING}, **_OWN_FILTERS}
    made.filters = {name: _counted_filter(name, function) for name, function in filters.items()}
    made.tests["float"] = lambda value: isinstance(value, Decimal)
    made.filters.update({name: _language_filter(name) for name in (*_LANGUAGE, *_LANGUAGE_OF_VALUES)})
    return made
