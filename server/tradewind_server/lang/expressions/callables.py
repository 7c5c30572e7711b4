"""What an expression can call by name, and what it calls that does not exist: it fails whenever it is evaluated.

The names of YAQL stand here, since making its library takes longer than all else that a check does with a small file.
A test holds them equal to what is registered there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Literal, TypeAlias

from jinja2 import nodes

from tradewind_server.lang.expressions import yaql_face as face
from tradewind_server.lang.expressions.functions import FUNCTIONS
from tradewind_server.lang.expressions.jinja_sandbox import sandbox

Kind: TypeAlias = Literal["function", "method", "filter", "test"]
#: What is called, and its name.
Callee: TypeAlias = tuple[Kind, str]

# fmt: off
#: Of YAQL's library as the sandbox has it: called as f(x), as x.f(), and both ways.
_FUNCTIONS = frozenset(
    {
        "abs", "bitwiseAnd", "bitwiseNot", "bitwiseOr", "bitwiseXor", "bool", "characters", "coalesce",
        "datetime", "def", "dict", "escapeRegex", "examine", "float", "generate", "generateMany", "hex", "int",
        "isBoolean", "isDatetime", "isDict", "isInteger", "isIterable", "isList", "isNumber", "isRegex",
        "isSet", "isString", "isTimespan", "let", "list", "localtz", "now", "pow", "random", "range", "regex",
        "round", "selectAllCases", "selectCase", "sequence", "shiftBitsLeft", "shiftBitsRight", "sign", "str",
        "switch", "timespan", "utctz", "with",
    }
)
_METHODS = frozenset(
    {
        "accumulate", "add", "aggregate", "assert", "contains", "containsKey", "containsValue", "count",
        "cycle", "defaultIfEmpty", "delete", "deleteAll", "difference", "endsWith", "filter", "first",
        "flatten", "format", "get", "groupBy", "indexOf", "indexWhere", "insert", "insertMany", "intersect",
        "items", "join", "keys", "last", "lastIndexOf", "lastIndexWhere", "limit", "map", "matches", "memorize",
        "mergeWith", "orderBy", "orderByDescending", "reduce", "remove", "repeat", "replace", "replaceBy",
        "replaceMany", "reverse", "rightSplit", "search", "searchAll", "select", "selectMany", "single", "skip",
        "skipWhile", "slice", "sliceWhere", "split", "splitAt", "splitWhere", "startsWith", "substring", "sum",
        "switchCase", "symmetricDifference", "take", "takeWhile", "thenBy", "thenByDescending", "toCharArray",
        "toDict", "toList", "toLower", "toSet", "toUpper", "trim", "trimLeft", "trimRight", "union", "unpack",
        "values", "where", "zip", "zipLongest",
    }
)
_BOTH = frozenset(
    {
        "all", "any", "append", "concat", "distinct", "enumerate", "isEmpty", "len", "max", "min", "norm", "set",
    }
)
# fmt: on
YAQL: dict[Kind, frozenset[str]] = {
    "function": FUNCTIONS | _FUNCTIONS | _BOTH,
    "method": _METHODS | _BOTH,
}
#: How a call looks in a text; what stands in quotes may look so, too. Blanks count only behind a dot: a pattern that
#: may begin with blanks takes the square of a run of them.
_CALL = re.compile(r"(?:(\.)\s*)?\b([^\W\d]\w*)\(")


def unknown_in_yaql(ast: face.Ast, text: str) -> frozenset[Callee]:
    """Return what a YAQL expression calls that does not exist; *text* is the expression."""
    seen = _CALL.findall(text) if "(" in text else ()
    if all(name in YAQL["method" if dot else "function"] for dot, name in seen):
        return frozenset()
    called = list(_called(ast))
    own = {str(getattr(node.args[0], "value", "")) for _, node in called if node.name == "def" and node.args}
    if "" in own:
        return frozenset()
    found = ((kind, node.name.rstrip("_")) for kind, node in called)
    return frozenset((kind, name) for kind, name in found if name not in YAQL[kind] and name not in own)


def _called(ast: face.Ast) -> Iterator[tuple[Kind, face.Ast]]:
    pending: list[tuple[face.Ast, Kind]] = [(ast, "function")]
    while pending:
        node, kind = pending.pop()
        if type(node) is face.AstFunction:
            yield kind, node
        is_step = type(node) is face.AstBinary and node.operator in (".", "?.")
        for number, child in enumerate(face.children(node)):
            pending.append((child, "method" if is_step and number == 1 else "function"))


def unknown_in_jinja(parts: Iterable[nodes.Node], bare: Collection[str]) -> frozenset[Callee]:
    """Return what a text of Jinja calls that does not exist; *bare* are the names that nothing in it binds."""
    return frozenset(_unknown(parts, bare))


def _unknown(parts: Iterable[nodes.Node], bare: Collection[str]) -> Iterator[Callee]:
    for part in parts:
        if isinstance(part, nodes.Filter) and part.name not in sandbox().filters:
            yield "filter", part.name
        elif isinstance(part, nodes.Test) and part.name not in sandbox().tests:
            yield "test", part.name
        elif isinstance(part, nodes.Call) and isinstance(part.node, nodes.Name) and part.node.name in bare:
            yield "function", part.node.name


def known(kind: Kind, is_yaql: bool) -> Collection[str]:
    """Return what can be called so."""
    if is_yaql:
        return YAQL[kind]
    return {"filter": sandbox().filters, "test": sandbox().tests}.get(kind, FUNCTIONS | sandbox().globals.keys())
