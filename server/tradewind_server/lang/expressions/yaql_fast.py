"""The common YAQL forms as Python closures, 100 times faster than the library.

A closure gives exactly what the library would give, or raises `Unusual`: then the library evaluates the
whole expression. So everything here guards narrowly, and no error is told from here. What is evaluated
twice then are only facts; a derived uuid is drawn again.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TypeAlias

from tradewind_server.lang import numbers
from tradewind_server.lang.expressions import yaql_face as face
from tradewind_server.lang.expressions.functions import secret
from tradewind_server.lang.expressions.scope import Scope

Closure: TypeAlias = Callable[[Scope], object]

#: Longer texts and lists go through the library, which counts them.
_MAX_LENGTH = 10_000


class Unusual(Exception):
    """This case is left to the library."""


def compile_fast(ast: face.Ast) -> Closure | None:
    """Make a closure of the expression, or None if it has a part that is left to the library."""
    return _stream(ast) or _compile(ast)


def _compile(ast: face.Ast) -> Closure | None:
    maker = _MAKERS.get(type(ast))
    return maker(ast) if maker is not None else None


def _all(asts: tuple[face.Ast, ...]) -> list[Closure] | None:
    closures = []
    for ast in asts:
        closure = _compile(ast)
        if closure is None:
            return None
        closures.append(closure)
    return closures


def _constant(ast: face.Ast) -> Closure | None:
    value = ast.value
    return lambda scope: value


def _wrap(ast: face.Ast) -> Closure | None:
    return _compile(ast.expr)


# --- paths ---------------------------------------------------------------------------------------


def _is_root(ast: face.Ast) -> bool:
    return type(ast) is face.AstVariable and ast.path.value == "$"


def _dot(ast: face.Ast) -> Closure | None:
    left, right = ast.args
    if type(right) is face.AstKeyword:
        return _path(ast)
    if type(right) is face.AstFunction:
        return _method(left, right)
    return None


def _path(ast: face.Ast) -> Closure | None:
    """Compile `$.a.b.c` or `<anything>.a.b`."""
    keys: list[str] = []
    while type(ast) is face.AstBinary and ast.operator == "." and type(ast.args[1]) is face.AstKeyword:
        keys.insert(0, ast.args[1].value)
        ast = ast.args[0]
    if _is_root(ast):
        return _variable(keys[0]) if len(keys) == 1 else _steps(_variable(keys[0]), keys[1:])
    if type(ast) is face.AstFunction and ast.name == "task" and len(ast.args) < 2:
        start, keys = _task_part(ast, keys[0]), keys[1:]
    else:
        start = _compile(ast)
    return start if not keys else _steps(start, keys) if start is not None else None


def _task_part(ast: face.Ast, part: str) -> Closure | None:
    """Compile `task().result` and the like: one field, without making the others."""
    name = _compile(ast.args[0]) if ast.args else lambda scope: None
    if name is None:
        return None

    def field(scope: Scope) -> object:
        found = name(scope)
        if found is not None and type(found) is not str or ast.args and found is None:
            raise Unusual
        try:
            return scope.facts.task_part(found, part)
        except KeyError:
            raise Unusual from None

    return field


def _variable(name: str) -> Closure:
    def variable(scope: Scope) -> object:
        for layer in scope.layers:
            if name in layer:
                return layer[name]
        raise Unusual

    return variable


def _steps(start: Closure, keys: list[str]) -> Closure:
    def steps(scope: Scope) -> object:
        value = start(scope)
        for key in keys:
            if type(value) is not dict or key not in value:
                raise Unusual
            value = value[key]
        return value

    return steps


def _method(left: face.Ast, call: face.Ast) -> Closure | None:
    if call.name == "get" and len(call.args) in (1, 2):
        arguments = _all(call.args)
        if arguments is not None and _is_root(left):
            return _get_variable(*arguments)
        start = _compile(left)
        return _get(start, *arguments) if arguments is not None and start is not None else None
    if call.name == "len" and not call.args:
        start = compile_fast(left)
        return _len(start) if start is not None else None
    return None


def _get_variable(key: Closure, default: Closure = lambda scope: None) -> Closure:
    def get(scope: Scope) -> object:
        name = key(scope)
        if type(name) is not str:
            raise Unusual
        otherwise = default(scope)
        for layer in scope.layers:
            if name in layer:
                return layer[name]
        return otherwise

    return get


def _get(start: Closure, key: Closure, default: Closure = lambda scope: None) -> Closure:
    def get(scope: Scope) -> object:
        value, name = start(scope), key(scope)
        if type(value) is not dict or type(name) is not str:
            raise Unusual
        return value.get(name, default(scope))

    return get


def _index(ast: face.Ast) -> Closure | None:
    closures = _all(ast.args) if len(ast.args) == 2 else None
    if closures is None:
        return None
    left, right = closures

    def index(scope: Scope) -> object:
        value, key = left(scope), right(scope)
        if type(value) is list and type(key) is int and -len(value) <= key < len(value):
            return value[key]
        if type(value) is dict and type(key) is str and key in value:
            return value[key]
        raise Unusual

    return index


# --- per item ------------------------------------------------------------------------------------


class _Item:
    """Stands for `$` in what is evaluated for each item."""


def _stream(ast: face.Ast) -> Closure | None:
    """Compile `….where(…)` and `….select(…)`.

    The library makes an iterator of them, which few of its functions and no operator take: so they are compiled only
    where they are the whole expression, or where `where`, `select` or `len` goes on with them.
    """
    if type(ast) is not face.AstBinary or ast.operator != ".":
        return None
    left, call = ast.args
    if type(call) is not face.AstFunction or call.name not in _PER_ITEM or len(call.args) != 1:
        return None
    inside = _inside(call.args[0])
    start, body = compile_fast(left), _compile(inside) if inside is not None else None
    return _PER_ITEM[call.name](start, body) if start is not None and body is not None else None


def _inside(ast: face.Ast) -> face.Ast | None:
    """Return a copy of *ast* in which `$` is the item; None if something in it gives `$` another meaning again."""
    if type(ast) is face.AstVariable:
        return _Item() if ast.path.value == "$" else None
    if type(ast) is face.AstFunction and ast.name in _PER_ITEM:
        return None
    inside = copy.copy(ast)
    for name in ("expr", "source", "destination"):
        if hasattr(ast, name):
            part = _inside(getattr(ast, name))
            if part is None:
                return None
            setattr(inside, name, part)
    if hasattr(ast, "args"):
        parts = [_inside(argument) for argument in ast.args]
        if any(part is None for part in parts):
            return None
        inside.args = tuple(parts)
    return inside


def _items(start: Closure, scope: Scope) -> list[Scope]:
    value = start(scope)
    if type(value) is not list or len(value) > _MAX_LENGTH:
        raise Unusual
    return [Scope(scope.layers, scope.facts, item) for item in value]


def _where(start: Closure, predicate: Closure) -> Closure:
    return lambda scope: [inner.whole for inner in _items(start, scope) if predicate(inner)]


def _select(start: Closure, selector: Closure) -> Closure:
    return lambda scope: [selector(inner) for inner in _items(start, scope)]


_PER_ITEM: Mapping[str, Callable[[Closure, Closure], Closure]] = {"where": _where, "select": _select}


# --- functions -----------------------------------------------------------------------------------


def _function(ast: face.Ast) -> Closure | None:
    if type(ast) is not face.AstFunction:
        return None
    if not ast.args and ast.name in _FACTS:
        return _FACTS[ast.name]
    arguments = _all(ast.args) if len(ast.args) == 1 and ast.name in _ONE_ARGUMENT else None
    return _ONE_ARGUMENT[ast.name](arguments[0]) if arguments is not None else None


def _task(name: Closure) -> Closure:
    def task(scope: Scope) -> object:
        found = name(scope)
        if type(found) is not str:
            raise Unusual
        return scope.facts.task(found)

    return task


def _global(name: Closure) -> Closure:
    def global_variable(scope: Scope) -> object:
        found = name(scope)
        if type(found) is not str:
            raise Unusual
        return scope.facts.global_variable(found)

    return global_variable


def _secret(name: Closure) -> Closure:
    def reference(scope: Scope) -> object:
        found = name(scope)
        if type(found) is not str:
            raise Unusual
        return secret(found)

    return reference


def _len(start: Closure) -> Closure:
    def length(scope: Scope) -> object:
        value = start(scope)
        if type(value) in (str, list, dict):
            return len(value)  # type: ignore[arg-type]
        raise Unusual

    return length


def _env(scope: Scope) -> object:
    env = scope.facts.env()
    return env if type(env) is dict else dict(env)


_FACTS: Mapping[str, Closure] = {
    "env": _env,
    "execution": lambda scope: scope.facts.execution(),
    "task": lambda scope: scope.facts.task(None),
    "uuid": lambda scope: scope.facts.uuid(),
}
_ONE_ARGUMENT: Mapping[str, Callable[[Closure], Closure]] = {
    "task": _task, "global": _global, "secret": _secret, "len": _len,
}  # fmt: skip


# --- operators -----------------------------------------------------------------------------------


def _binary(ast: face.Ast) -> Closure | None:
    if ast.operator == ".":
        return _dot(ast)
    maker = _LAZY.get(ast.operator)
    compute = _COMPUTED.get(ast.operator)
    if maker is None and compute is None:
        return None
    closures = _all(ast.args)
    if closures is None:
        return None
    left, right = closures
    if maker is not None:
        return maker(left, right)
    assert compute is not None
    return _computed(compute, left, right)


def _computed(compute: Callable[[object, object], object], left: Closure, right: Closure) -> Closure:
    return lambda scope: compute(left(scope), right(scope))


_LAZY: Mapping[str, Callable[[Closure, Closure], Closure]] = {
    "and": lambda left, right: lambda scope: left(scope) and right(scope),
    "or": lambda left, right: lambda scope: left(scope) or right(scope),
}


def _comparison(compare: Callable[[object, object], bool]) -> Callable[[object, object], object]:
    def compared(left: object, right: object) -> object:
        if _comparable(type(left), type(right)):
            return compare(left, right)
        raise Unusual

    return compared


def _comparable(left: type, right: type) -> bool:
    return (left is str and right is str) or (left in _NUMBERS and right in _NUMBERS)


_NUMBERS = frozenset({int, Decimal})


def _arithmetic(calculate: Callable[[numbers.Number, numbers.Number], object]) -> Callable[[object, object], object]:
    def calculated(left: object, right: object) -> object:
        if type(left) in _NUMBERS and type(right) in _NUMBERS:
            return calculate(left, right)  # type: ignore[arg-type]
        raise Unusual

    return calculated


def _plus(left: object, right: object) -> object:
    kind = type(left)
    if kind in _NUMBERS and type(right) in _NUMBERS:
        return numbers.add(left, right)  # type: ignore[arg-type]
    if kind is not type(right):
        raise Unusual
    if kind in (str, list, dict) and len(left) + len(right) <= _MAX_LENGTH:  # type: ignore[arg-type]
        return left | right if kind is dict else left + right  # type: ignore[operator]
    raise Unusual


def _in(left: object, right: object) -> object:
    if type(right) is list and len(right) <= _MAX_LENGTH and type(left) in (str, int, Decimal, bool, type(None)):
        return left in right
    if type(right) is str and type(left) is str and len(right) <= _MAX_LENGTH:
        return left in right
    raise Unusual


def _equal(left: object, right: object) -> bool:
    if type(left) in (list, dict) and type(right) is type(left) and len(left) > 100:  # type: ignore[arg-type]
        raise Unusual
    return left == right


_COMPUTED: Mapping[str, Callable[[object, object], object]] = {
    "=": _equal,
    "!=": lambda left, right: not _equal(left, right),
    "<": _comparison(operator.lt),  # type: ignore[arg-type]
    "<=": _comparison(operator.le),  # type: ignore[arg-type]
    ">": _comparison(operator.gt),  # type: ignore[arg-type]
    ">=": _comparison(operator.ge),  # type: ignore[arg-type]
    "+": _plus,
    "-": _arithmetic(numbers.subtract),
    "*": _arithmetic(numbers.multiply),
    "/": _arithmetic(numbers.divide),
    "mod": _arithmetic(numbers.modulo),
    "in": _in,
}


def _unary(ast: face.Ast) -> Closure | None:
    operand = _compile(ast.args[0])
    if operand is None or ast.operator not in ("not", "-"):
        return None
    if ast.operator == "not":
        return lambda scope: not operand(scope)

    def negated(scope: Scope) -> object:
        value = operand(scope)
        if type(value) in _NUMBERS:
            return numbers.negate(value)  # type: ignore[arg-type]
        raise Unusual

    return negated


# --- literals ------------------------------------------------------------------------------------


def _list(ast: face.Ast) -> Closure | None:
    closures = _all(ast.args)
    if closures is None:
        return None
    return lambda scope: [closure(scope) for closure in closures]


def _map(ast: face.Ast) -> Closure | None:
    if not all(type(pair) is face.AstPair for pair in ast.args):
        return None
    keys = _all(tuple(pair.source for pair in ast.args))
    items = _all(tuple(pair.destination for pair in ast.args))
    if keys is None or items is None:
        return None
    pairs = list(zip(keys, items, strict=True))

    def mapping(scope: Scope) -> object:
        made = {}
        for key, item in pairs:
            name = key(scope)
            if type(name) is not str:
                raise Unusual
            made[name] = item(scope)
        return made

    return mapping


_MAKERS: Mapping[type, Callable[[face.Ast], Closure | None]] = {
    _Item: lambda ast: lambda scope: scope.whole,
    face.AstConstant: _constant,
    face.AstKeyword: _constant,
    face.AstWrap: _wrap,
    face.AstBinary: _binary,
    face.AstUnary: _unary,
    face.AstIndex: _index,
    face.AstFunction: _function,
    face.AstList: _list,
    face.AstMap: _map,
}
