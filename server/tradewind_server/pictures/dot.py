"""DOT, the language of Graphviz."""

from __future__ import annotations

from collections.abc import Mapping

from tradewind_server.lang.chart import Chart, Edge, Node
from tradewind_server.pictures.labels import COLOURS, details, edge_label, one_line, title


def dot(chart: Chart, states: Mapping[str, str]) -> str:
    """Return a directed graph."""
    ids = {node.id: f"n{number}" for number, node in enumerate(chart.nodes)}
    lines = [
        f"digraph {_quoted(one_line(chart.workflow))} {{",
        '  node [shape=box, style="rounded,filled", fillcolor=white, fontname="sans-serif"];',
        '  edge [fontname="sans-serif", fontsize=10];',
    ]
    lines += [f"  {ids[node.id]} [{_node(node, states)}];" for node in chart.nodes]
    lines += [f"  {ids[edge.source]} -> {ids[edge.target]}{_edge(edge)};" for edge in chart.edges]
    return "\n".join([*lines, "}"]) + "\n"


def _node(node: Node, states: Mapping[str, str]) -> str:
    text = _quoted(*(part for part in (title(node, states), details(node)) if part))
    attributes = [f"label={text}"]
    if node.kind == "start":
        attributes.append("shape=circle")
    elif node.kind == "command":
        attributes.append("shape=oval")
    elif node.calls_workflow:
        attributes.append("peripheries=2")
    state = states.get(node.label, "") if node.kind == "task" else ""
    if state in COLOURS:
        fill, line, *_ = COLOURS[state]
        attributes.append(f'fillcolor="{fill}", color="{line}", fontcolor="{line}"')
    return ", ".join(attributes)


def _edge(edge: Edge) -> str:
    label = edge_label(edge)
    attributes = [f"label={_quoted(label)}"] if label else []
    attributes += ["style=dashed"] if edge.is_back else []
    attributes += ['color="#b3261e"'] if edge.kind == "on-error" else []
    return f" [{', '.join(attributes)}]" if attributes else ""


def _quoted(*lines: str) -> str:
    # a backslash begins an escape such as \N, the name of the node, so it is doubled before the line ends are put in
    return '"' + "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines) + '"'
