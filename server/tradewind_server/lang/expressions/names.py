"""Which variables an expression certainly reads: what a check needs, and an evaluation does not.

Only what is sure counts. In `$.list.where($.x > 1)` the second `$` is an item, so arguments are looked into only
where they are known to be evaluated outside; and what the expression itself asks about first (`$.get(x)`,
`_.x is defined`) may well be missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from jinja2 import TemplateAssertionError, meta, nodes

from tradewind_server.lang.expressions import yaql_face as face
from tradewind_server.lang.expressions.callables import Callee, unknown_in_jinja, unknown_in_yaql
from tradewind_server.lang.expressions.functions import FUNCTIONS

#: Functions and methods whose arguments are evaluated where the call stands.
_EAGER = frozenset(
    {"coalesce", "concat", "containsKey", "dict", "endsWith", "format", "get", "join", "keys", "len", "list", "replace"}
    | {"round", "set", "split", "startsWith", "substring", "switch", "toLower", "toUpper", "trim", "values"}
    | {
        "abs",
        "bool",
        "float",
        "int",
        "isDict",
        "isEmpty",
        "isInteger",
        "isList",
        "isString",
        "max",
        "min",
        "str",
        "sum",
    }
    | FUNCTIONS
)
_ASKING = frozenset({"get", "containsKey"})
_COMPARISONS = frozenset({"=", "!=", "<", ">", "<=", ">=", "+", "-", "*", "/"})
_ASKING_TESTS = frozenset({"defined", "undefined", "none"})
_ASKING_FILTERS = frozenset({"default", "d"})


@dataclasses.dataclass(frozen=True, slots=True)
class Names:
    """What an expression names."""

    #: Variables of the context that it reads, as `$.x` or `_.x`.
    variables: frozenset[str] = frozenset()
    #: Words that stand where a variable may be meant: `x` instead of `$.x` or `_.x`.
    bare: frozenset[str] = frozenset()
    #: What it calls that does not exist.
    unknown: frozenset[Callee] = frozenset()


def of_yaql(ast: face.Ast, text: str) -> Names:
    """Collect the names of the YAQL expression *text*."""
    read, asked, bare = _of_yaql(ast)
    return Names(frozenset(read - asked), frozenset(bare), unknown_in_yaql(ast, text))


def bare_in_yaql(ast: face.Ast) -> list[str]:
    """Return the bare words of an expression, each as often as it is there."""
    return _of_yaql(ast)[2]


def _of_yaql(ast: face.Ast) -> tuple[set[str], set[str], list[str]]:
    """Return what is read, what is asked about, and the bare words."""
    read: set[str] = set()
    asked: set[str] = set()
    bare = [ast.value] if _is_word(ast) else []
    pending = [ast]
    while pending:
        node = pending.pop()
        kind = type(node)
        if kind is face.AstBinary and node.operator == ".":
            pending += _of_step(node, read, asked)
        elif kind is face.AstIndex:
            start, *positions = node.args
            pending.append(start)
            if _is_root(start) and positions and _is_text(positions[0]):
                read.add(positions[0].value)
        elif kind is face.AstFunction:
            pending += node.args if node.name in _EAGER else ()
        elif kind is face.AstBinary:
            if node.operator in _COMPARISONS:
                bare += [operand.value for operand in node.args if _is_word(operand)]
            pending += node.args[:1] if node.operator in ("->", "?.") else node.args
        else:
            pending += face.children(node)
    return read, asked, bare


def _of_step(node: face.Ast, read: set[str], asked: set[str]) -> list[face.Ast]:
    """Read `left.right`; returns what is still to be looked into."""
    left, right = node.args
    if type(right) is face.AstFunction:
        if _is_root(left) and right.name in _ASKING and right.args and hasattr(right.args[0], "value"):
            asked.add(str(right.args[0].value))
        return [left, *(right.args if right.name in _EAGER else ())]
    if _is_root(left) and type(right) is face.AstKeyword:
        read.add(right.value)
    return [left]


def _is_root(ast: face.Ast) -> bool:
    return type(ast) is face.AstVariable and ast.path.value == "$"


def _is_text(ast: face.Ast) -> bool:
    return type(ast) in (face.AstConstant, face.AstKeyword) and isinstance(ast.value, str)


def _is_word(ast: face.Ast) -> bool:
    return type(ast) is face.AstKeyword and isinstance(ast.value, str)


def of_jinja(tree: nodes.Template, known: frozenset[str]) -> Names:
    """Collect the names of a Jinja expression or text; *known* are those that Jinja finds by itself."""
    parts = list(_with_asked(tree))
    words = [part for part, _ in parts if isinstance(part, nodes.Name)]
    asked = {part.name for part, is_asked in parts if is_asked and isinstance(part, nodes.Name)}
    asked |= _paths(part for part, is_asked in parts if is_asked)
    compared = (part.expr for part, _ in parts if isinstance(part, nodes.Compare))
    asked |= {value.value for value in compared if isinstance(value, nodes.Const)}
    read = set() if any(word.name == "_" and word.ctx == "store" for word in words) else _paths(p for p, _ in parts)
    # an expression binds no name; a block may, here or there
    binds = any(not isinstance(part, nodes.Output) for part in tree.body) and not _is_expression(tree)
    bare = _undeclared(tree) if binds else {word.name for word in words if word.ctx == "load"}
    bare -= known | asked | {"_"}
    bound, maybe = _bound(tree) if binds else (set(), set())
    unknown = unknown_in_jinja((part for part, _ in parts), bare - bound)
    bare -= {name for _, name in unknown} | maybe
    return Names(frozenset(read - asked), frozenset(name for name in bare if not name.startswith("__")), unknown)


def _is_expression(tree: nodes.Template) -> bool:
    return len(tree.body) == 1 and isinstance(tree.body[0], nodes.Assign)


def _with_asked(tree: nodes.Node) -> Iterator[tuple[nodes.Node, bool]]:
    """Give each node, and whether what it stands in asks if it is there.

    Jinja's own search takes the square of the depth, and only finds.
    """
    pending = [(tree, False)]
    for node, is_asked in pending:
        yield node, is_asked
        subject = _subject(node)
        pending.extend((child, is_asked or child is subject) for child in node.iter_child_nodes())


def _subject(node: nodes.Node) -> nodes.Node | None:
    """Return what a test or a filter asks about."""
    asks = isinstance(node, nodes.Test) and node.name in _ASKING_TESTS
    asks = asks or (isinstance(node, nodes.Filter) and node.name in _ASKING_FILTERS)
    return node.node if asks and isinstance(node, nodes.Test | nodes.Filter) else None


def _undeclared(tree: nodes.Template) -> set[str]:
    assert tree.environment is not None
    generator = meta.TrackingCodeGenerator(tree.environment)
    # it folds constants, and for that looks into every part anew at each level
    generator.optimizer = None
    try:
        generator.visit(tree)
    except TemplateAssertionError:  # an unknown filter: it fails before any name is looked up
        return set()
    return generator.undeclared_identifiers


def _bound(tree: nodes.Node) -> tuple[set[str], set[str]]:
    """Return the names that a text binds somewhere, and those of them that it binds on a condition.

    Jinja counts the latter as undeclared; a loop keeps what it binds to itself.
    """
    bound: set[str] = set()
    maybe: set[str] = set()
    pending = [(tree, False)]
    for node, is_conditional in pending:
        if isinstance(node, nodes.Macro) or (isinstance(node, nodes.Name) and node.ctx == "store"):
            bound.add(node.name)
            maybe |= {node.name} if is_conditional else set()
        is_conditional = is_conditional or isinstance(node, nodes.If)
        pending.extend((child, is_conditional) for child in node.iter_child_nodes())
    return bound, maybe


def _paths(parts: Iterable[nodes.Node]) -> set[str]:
    """Return x of every `_.x` and `_['x']` among *parts*, but not of methods."""
    found = set()
    for part in parts:
        if isinstance(part, nodes.Getattr | nodes.Getitem) and isinstance(part.node, nodes.Name):
            key = part.attr if isinstance(part, nodes.Getattr) else getattr(part.arg, "value", None)
            if part.node.name == "_" and isinstance(key, str) and not hasattr(dict, key):
                found.add(key)
    return found
