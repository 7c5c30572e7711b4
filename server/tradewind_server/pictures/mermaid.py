"""Mermaid: pastes into Markdown of the usual forges."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tradewind_server.lang.chart import Chart, Edge, Node
from tradewind_server.pictures.labels import COLOURS, details, edge_label, title

#: Between quotes, everything that mermaid, its Markdown or the HTML it makes could understand becomes an entity: signs,
#: and what begins a list. Letters of other scripts are harmless, and unreadable as numbers.
_UNSAFE = re.compile(r"[^\w .,:=+/\u0080-\U0010ffff-]|^[+-]|(?<=^[0-9])\.|(?<=^[0-9]{2})\.", re.ASCII)


def mermaid(chart: Chart, states: Mapping[str, str]) -> str:
    """Return a flowchart."""
    ids = {node.id: f"n{number}" for number, node in enumerate(chart.nodes)}
    lines = ["flowchart TD"]
    lines += [f"    {ids[node.id]}{_shape(node, states)}" for node in chart.nodes]
    lines += [f"    {ids[edge.source]} {_arrow(edge)} {ids[edge.target]}" for edge in chart.edges]
    errors = [str(number) for number, edge in enumerate(chart.edges) if edge.kind == "on-error"]
    if errors:
        lines.append(f"    linkStyle {','.join(errors)} stroke:#b3261e")
    for state in dict.fromkeys(states.values()):
        members = [ids[node.id] for node in chart.nodes if node.kind == "task" and states.get(node.label) == state]
        if state in COLOURS and members:
            fill, line, *_ = COLOURS[state]
            lines.append(f"    classDef {state} fill:{fill},stroke:{line},color:{line}")
            lines.append(f"    class {','.join(members)} {state}")
    return "\n".join(lines) + "\n"


def _shape(node: Node, states: Mapping[str, str]) -> str:
    parts = [_safe(part) for part in (title(node, states), details(node)) if part]
    text = '"' + "<br/>".join(parts) + '"'
    if node.kind == "start":
        return f"(({text}))"
    if node.kind == "command":
        return f"([{text}])"
    return f"[[{text}]]" if node.calls_workflow else f"[{text}]"


def _arrow(edge: Edge) -> str:
    line = "-.->" if edge.is_back else "-->"
    label = edge_label(edge)
    return f'{line}|"{_safe(label)}"|' if label else line


def _safe(text: str) -> str:
    return _UNSAFE.sub(lambda found: f"#{ord(found[0])};", text)
