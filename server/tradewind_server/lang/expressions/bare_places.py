"""Where a text has its bare words, such as the second `x` in `<% $.x = x %>`: it is read once more for that.

The same word may be a key, a part of a path or a text in quotes elsewhere, so it is not looked for by its letters.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import jinja2
from jinja2 import nodes

from tradewind_server.lang.expressions import delimiters, names
from tradewind_server.lang.expressions import yaql_face as face
from tradewind_server.lang.expressions.jinja_places import parse_placed


def bare_offset(text: str, name: str) -> int:
    """Return where the bare word *name* first stands in *text*, which can be parsed; 0 if it does not."""
    return _offsets(text).get(name, 0)


@functools.lru_cache(maxsize=1_000)
def _offsets(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    try:
        for name, offset in _in_yaql(text) if delimiters.has_yaql(text) else _in_jinja(text):
            found[name] = min(offset, found.get(name, offset))
    except (jinja2.TemplateError, RecursionError):  # of what parses, the depth may be too much from here
        pass
    return found


def _in_yaql(text: str) -> Iterator[tuple[str, int]]:
    for _, source, offset in delimiters.split_yaql(text):
        if offset >= 0:
            words = (word for word in names.bare_in_yaql(face.parse_placed(source)) if isinstance(word, face.Word))
            yield from ((str(word), offset + word.offset) for word in words)


def _in_jinja(text: str) -> Iterator[tuple[str, int]]:
    """Give what is read outside of what binds it: a loop, a macro, a `with`."""
    pending: list[tuple[nodes.Node, frozenset[str]]] = [(parse_placed(text), frozenset())]
    for node, bound in pending:
        if isinstance(node, nodes.Name) and node.ctx == "load" and node.name not in bound:
            yield node.name, node.lineno
        outside, targets = _bound_by(node)
        inside = bound | targets
        outer = set(map(id, outside))
        pending.extend((child, bound if id(child) in outer else inside) for child in node.iter_child_nodes())


def _bound_by(node: nodes.Node) -> tuple[Iterable[nodes.Node], frozenset[str]]:
    """Return the names that a node binds for what is below it, and what of that they are not bound for."""
    if isinstance(node, nodes.For):
        return (node.iter, *node.else_), _names_of((node.target,))
    if isinstance(node, nodes.Macro | nodes.CallBlock):
        call = (node.call,) if isinstance(node, nodes.CallBlock) else ()
        return (*call, *node.defaults), _names_of(node.args)
    if isinstance(node, nodes.With):
        return node.values, _names_of(node.targets)
    return (), frozenset()


def _names_of(targets: Iterable[nodes.Node]) -> frozenset[str]:
    own = {target.name for target in targets if isinstance(target, nodes.Name)}
    return frozenset(own.union(*({name.name for name in target.find_all(nodes.Name)} for target in targets)))
