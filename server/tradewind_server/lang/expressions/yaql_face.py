# mypy: disallow-subclassing-any=False, warn-return-any=False
"""The one place that knows the yaql library: parsing, types that count steps, defining functions.

The library has no type stubs; the neighbours see only what stands here.
"""

from __future__ import annotations

import collections.abc  # before yaql, which uses it without importing it
import copy
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

import yaql
from yaql.language import contexts, exceptions, expressions, factory, lexer, specs, utils, yaqltypes

from tradewind_server.lang import numbers
from tradewind_server.lang.expressions.budget import MAX_BYTES, MAX_ITEMS, Budget
from tradewind_server.lang.expressions.functions import Function
from tradewind_server.lang.expressions.problems import ExpressionSyntaxError, Refused
from tradewind_server.lang.expressions.scope import Facts

Ast: TypeAlias = Any
AstFunction = expressions.Function
AstBinary = expressions.BinaryOperator
AstUnary = expressions.UnaryOperator
AstIndex = expressions.IndexExpression
AstList = expressions.ListExpression
AstMap = expressions.MapExpression
AstVariable = expressions.GetContextValue
AstConstant = expressions.Constant
AstKeyword = expressions.KeywordConstant
AstWrap = expressions.Wrap
AstPair = expressions.MappingRuleExpression
NO_VALUE = utils.NO_VALUE
FrozenDict = utils.FrozenDict

_OPTIONS = utils.FrozenDict(
    {
        "yaql.limitIterators": MAX_ITEMS,
        "yaql.memoryQuota": MAX_BYTES,
        "yaql.convertInputData": False,
        "yaql.convertOutputData": False,
    }
)


class Evaluation:
    """What the library calls the engine: it reaches every function, so it carries our budget and facts."""

    __slots__ = ("budget", "facts", "functions", "options")

    def __init__(self, budget: Budget, facts: Facts, functions: Mapping[str, Function]) -> None:
        self.budget = budget
        self.facts = facts
        self.functions = functions
        self.options = _OPTIONS


# --- parsing -------------------------------------------------------------------------------------


class _ExactLexer(lexer.Lexer):
    """Reads decimals as decimals."""

    @staticmethod
    def t_NUMBER(t: Any) -> Any:
        r"""\b\d+(\.?\d+)?\b"""  # noqa: D415
        t.value = numbers.parse_decimal(t.value) if "." in t.value else _parse_integer(t.value)
        return t


def _parse_integer(text: str) -> int:
    if len(text) > numbers.MAX_DIGITS:
        raise numbers.NumberProblem(f"a number has more than {numbers.MAX_DIGITS} digits")
    return int(text)


class _ExactFactory(factory.YaqlFactory):
    def _create_lexer(self, operators: Any) -> Any:
        return _ExactLexer(operators)


@functools.cache
def _engine() -> Any:
    """Make lexer and parser, once: it takes some 50 ms."""
    return _ExactFactory().create()


#: What the lexer fails at without saying where: a character that does not exist, a number that is too long.
_BROKEN_ESCAPE = re.compile(r"\\U(?!00(?:0|10))|\\N\{")
_LONG_NUMBER = re.compile(rf"(?<![\d.])[\d.]{{{numbers.MAX_DIGITS}}}")


def parse(text: str) -> Ast:
    """Parse one expression.

    Raises:
        ExpressionSyntaxError: it is none; the offset is within *text*.
    """
    engine = _engine()
    # Both keep state while they work, hence the copies: this may run in several threads.
    try:
        return copy.copy(engine.parser).parse(text, lexer=engine.lexer.clone())
    except exceptions.YaqlLexicalException as problem:
        raise ExpressionSyntaxError(f"unexpected character '{problem.value}'", problem.position or 0) from None
    except exceptions.YaqlGrammarException as problem:
        if problem.position is None:
            raise ExpressionSyntaxError("the expression ends too early", len(text)) from None
        raise ExpressionSyntaxError(f"unexpected '{problem.value}'", problem.position) from None
    except numbers.NumberProblem as problem:
        raise ExpressionSyntaxError(str(problem), _offset(_LONG_NUMBER, text)) from None
    except UnicodeDecodeError:
        raise ExpressionSyntaxError("a text has a broken escape", _offset(_BROKEN_ESCAPE, text)) from None
    except RecursionError:
        raise ExpressionSyntaxError("the expression is nested too deeply") from None


class Word(str):
    """A bare word that knows its offset."""

    offset: int


class _PlacedTokens:
    """A lexer whose bare words know their offset."""

    def __init__(self, lexer: Any) -> None:
        self._lexer = lexer
        self.input = lexer.input

    def token(self) -> Any:
        """Return the next token, None behind the last."""
        token = self._lexer.token()
        if token is not None and token.type == "KEYWORD_STRING":
            token.value = Word(token.value)
            token.value.offset = token.lexpos
        return token


def parse_placed(text: str) -> Ast:
    """Parse an expression that can be parsed once more, for the places of its bare words, which are `Word`s."""
    engine = _engine()
    return copy.copy(engine.parser).parse(text, lexer=_PlacedTokens(engine.lexer.clone()))


def _offset(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.search(text)
    return found.start() if found is not None else 0


# --- types of parameters, with counting ----------------------------------------------------------


class _Number(yaqltypes.PythonType):
    def __init__(self, nullable: bool = False) -> None:
        super().__init__((int, Decimal), nullable, validators=[lambda value: not isinstance(value, bool)])


class _Items(yaqltypes.Iterable):
    def convert(self, value: Any, receiver: Any, context: Any, function_spec: Any, engine: Any, *args: Any) -> Any:
        return _counted(super().convert(value, receiver, context, function_spec, engine, *args), engine)


class _Iterator(yaqltypes.Iterator):
    def convert(self, value: Any, receiver: Any, context: Any, function_spec: Any, engine: Any, *args: Any) -> Any:
        return _counted(super().convert(value, receiver, context, function_spec, engine, *args), engine)


class _Text(yaqltypes.String):
    def convert(self, value: Any, receiver: Any, context: Any, function_spec: Any, engine: Any, *args: Any) -> Any:
        text = super().convert(value, receiver, context, function_spec, engine, *args)
        if text is not None:
            engine.budget.read(len(text))
        return text


def _counted(values: Any, engine: Evaluation) -> Any:
    if values is None:
        return None
    if isinstance(values, collections.abc.Sized):
        engine.budget.read(len(values) * 64)
        return values
    return _counting(values, engine.budget)


def _counting(values: Iterable[object], budget: Budget) -> Iterator[object]:
    for position, value in enumerate(values):
        if position % 16 == 0:
            budget.step()
        yield value


NUMBER = _Number()
NUMBER_OR_NULL = _Number(nullable=True)
TEXT = _Text()
TEXT_OR_NULL = _Text(nullable=True)
INTEGER = yaqltypes.Integer()
ITEMS = _Items()
ITERATOR = _Iterator()
SEQUENCE = yaqltypes.Sequence()
MAPPING = yaqltypes.PythonType(utils.MappingType, False)
SET = yaqltypes.PythonType(utils.SetType, False)
ANY = yaqltypes.PythonType(object, True)
LAMBDA_IN_CONTEXT = yaqltypes.Lambda(with_context=True)


def python_type(kind: type) -> Any:
    """Make the parameter type for instances of a class."""
    return yaqltypes.PythonType(kind, False)


_REPLACED = {yaqltypes.Number: _Number, yaqltypes.Iterable: _Items, yaqltypes.String: _Text}


# --- contexts and functions ----------------------------------------------------------------------

#: Their results are parts of what was there before.
_READERS = frozenset({"#get_context_data", "#operator_.", "#operator_?.", "#indexer", "get", "first", "last", "#iter"})


class CountingContext(contexts.Context):
    """Every function call of the library passes here."""

    def __call__(self, name: str, engine: Evaluation, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Prepare a call of *name*, counted."""
        engine.budget.step()
        call = super().__call__(name, engine, *args, **kwargs)
        return call if name in _READERS else functools.partial(_charged, call, engine.budget)


def _charged(call: Callable[..., Any], budget: Budget, *args: Any, **kwargs: Any) -> Any:
    result = call(*args, **kwargs)
    if isinstance(result, str):
        budget.allocate(len(result))
    elif isinstance(result, collections.abc.Sized):
        budget.allocate(16 * len(result))
    return result


def library_context(left_out: frozenset[str], module_wrappers: Mapping[str, Callable[[Function], Function]]) -> Any:
    """Make a context with the standard functions, counting, without mathematics, regexes and Python objects.

    Args:
        left_out: payload names, `module.function`, that are not taken over.
        module_wrappers: wrappers for all functions of a module.
    """
    source = yaql.create_context(math=False, regex=False, yaqlized=False, convention=None)
    target = None
    for layer in reversed(list(_layers(source))):
        target = CountingContext(target, convention=layer.convention)
        for definition in itertools.chain.from_iterable(layer._functions.values()):
            module = definition.payload.__module__.rpartition(".")[2]
            if f"{module}.{definition.payload.__name__}" in left_out:
                continue
            for parameter in definition.parameters.values():
                replacement = _REPLACED.get(type(parameter.value_type))
                if replacement is not None:
                    parameter.value_type = _replaced(parameter.value_type, replacement)
            if module in module_wrappers:
                definition.payload = module_wrappers[module](definition.payload)
            target.register_function(definition)
    return target


def _replaced(value_type: Any, replacement: Any) -> Any:
    replaced = replacement(nullable=value_type.nullable)
    replaced.validators = [*replaced.validators, *value_type.validators[1:]]
    return replaced


def _layers(context: Any) -> Iterator[Any]:
    while context is not None:
        yield context
        context = context.parent


def registered(context: Any) -> Iterator[tuple[str, Any]]:
    """Give each function and method of a context that can be called by name, with its definition."""
    for layer in _layers(context):
        for name, definitions in layer._functions.items():
            yield from ((name, definition) for definition in definitions if name.isidentifier())


def define(context: Any, name: str, payload: Function, method: bool | None = False, /, **parameters: Any) -> None:
    """Register a function; *method* None means callable both ways.

    A parameter of the payload called `engine` gets the `Evaluation`, one called `context` the context;
    *parameters* gives types to others, any value being the default.
    """
    definition = specs.get_function_definition(
        payload, name=name, function=method is not True, method=method is not False, convention=context.convention
    )
    for parameter, value_type in parameters.items():
        definition.set_parameter(parameter, value_type, overwrite=True)
    for parameter in definition.parameters.values():
        parameter.alias = context.convention.convert_parameter_name(parameter.name.rstrip("_"))
    context.register_function(definition)


def delegate(name: str, method: bool = False) -> Any:
    """Make the type of a hidden parameter that calls another function of the language."""
    return yaqltypes.Delegate(name, method=method)


def run(ast: Ast, context: Any, root: object, evaluation: Evaluation) -> object:
    """Evaluate in a child of *context* where `$` is *root*.

    Raises:
        Refused: the library refuses; the text holds no data.
    """
    child = context.create_child_context()
    child["$"] = root
    try:
        return ast(NO_VALUE, child, evaluation)
    except exceptions.YaqlException as problem:
        raise Refused(_told(problem)) from None


def told_iteration(problem: BaseException) -> BaseException:
    """Turn a problem of the library that comes up when a lazy result is read into one without data."""
    return Refused(_told(problem)) if isinstance(problem, exceptions.YaqlException) else problem


_QUOTED = re.compile(r'"([^"]*)"')
_NAMED = (
    exceptions.NoFunctionRegisteredException,
    exceptions.NoMethodRegisteredException,
    exceptions.NoMatchingFunctionException,
    exceptions.NoMatchingMethodException,
    exceptions.AmbiguousFunctionException,
    exceptions.AmbiguousMethodException,
)


def _told(problem: BaseException) -> str:
    """Tell the problem by the name of the function: the library's own text quotes values."""
    if isinstance(problem, exceptions.WrappedException):
        return "the collection does not have the item asked for"
    if isinstance(problem, exceptions.CollectionTooLargeException):
        return f"it makes more than {MAX_ITEMS} items"
    if isinstance(problem, exceptions.MemoryQuotaExceededException):
        return f"it makes a value of more than {MAX_BYTES} bytes"
    match = _QUOTED.search(str(problem)) if isinstance(problem, _NAMED) else None
    if match is None:
        return "a function got an argument that it does not take"
    name = match.group(1)
    if name.startswith("#property#"):
        return f"there is no '{name.removeprefix('#property#')}'"
    if name.startswith("#") or name.startswith("*"):
        return f"operator '{name.rpartition('_')[2].lstrip('#*')}' does not fit the types of its operands"
    if isinstance(problem, _NAMED[:2]):
        return f"there is no function '{name}'" + (" for this value" if isinstance(problem, _NAMED[1]) else "")
    return f"function '{name}' does not take these arguments"


def children(ast: Ast) -> tuple[Ast, ...]:
    """Return the nodes right below a node."""
    if isinstance(ast, AstPair):
        return (ast.source, ast.destination)
    if isinstance(ast, AstWrap):
        return (ast.expr,)
    return tuple(ast.args) if isinstance(ast, AstFunction) else ()
