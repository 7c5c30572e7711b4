"""A tree in plain text. Each transition is one line; a task is told in full where it is nearest to the start."""

from __future__ import annotations

import collections
from collections.abc import Mapping

from tradewind_server.lang.chart import START, Chart, Edge, Node
from tradewind_server.pictures.labels import details, edge_label, one_line, title


def tree(chart: Chart, states: Mapping[str, str]) -> str:
    """Return the tree: below each task what follows it. ↺ leads back, ↑ to a task that is told elsewhere."""
    nodes = {node.id: node for node in chart.nodes}
    outgoing = chart.outgoing()
    owners = _owners(outgoing)
    lines = [one_line(chart.workflow)]
    pending = _branches(outgoing[START.id], "")
    while pending:
        edge, indent, is_last = pending.pop()
        in_full = owners[edge.target] is edge
        lines.append(f"{indent}{'└─ ' if is_last else '├─ '}{_line(edge, nodes[edge.target], states, in_full)}")
        if in_full:
            pending += _branches(outgoing[edge.target], indent + ("   " if is_last else "│  "))
    return "\n".join(lines) + "\n"


def _branches(edges: list[Edge], indent: str) -> list[tuple[Edge, str, bool]]:
    return [(edge, indent, edge is edges[-1]) for edge in reversed(edges)]


def _owners(outgoing: dict[str, list[Edge]]) -> dict[str, Edge]:
    """Return for each node the edge below which it is told in full: the one nearest to the start.

    A task that nothing leads to, not even the start, is added to those that follow the start.
    """
    owners: dict[str, Edge] = {}
    todo = collections.deque([START.id])
    for root in outgoing:
        if root != START.id and root not in owners:
            owners[root] = Edge(START.id, root, "start")
            outgoing[START.id].append(owners[root])
            todo.append(root)
        while todo:
            for edge in outgoing[todo.popleft()]:
                if edge.target not in owners:
                    owners[edge.target] = edge
                    todo.append(edge.target)
    return owners


def _line(edge: Edge, node: Node, states: Mapping[str, str], in_full: bool) -> str:
    label = edge_label(edge)
    text = f"{label}: {title(node, states)}" if label else title(node, states)
    if not in_full:
        return f"{text}  {'↺' if edge.is_back else '↑'}"
    state = states.get(node.label, "") if node.kind == "task" else ""
    return "  ".join(part for part in (text, state, details(node)) if part)
