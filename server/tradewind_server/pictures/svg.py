"""SVG: one file that needs nothing else, for light and dark grounds."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

from tradewind_server.lang.chart import Chart, Edge, Node
from tradewind_server.pictures.labels import COLOURS, details, edge_label, one_line, printable, title, width
from tradewind_server.pictures.layout import Size, Spot, arrange

#: Pixels of a column of 13 and 11 pixels high letters of fixed width, a little more than in common fonts.
_COLUMN, _SMALL_COLUMN = 8.0, 6.8
_LINE, _MARGIN, _HEAD, _LOOP = 18.0, 16.0, 6.0, 24.0

_STYLE = """
text { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 13px; fill: #1b1f24;
  text-anchor: middle; dominant-baseline: central; }
.small { font-size: 11px; fill: #57606a; }
.ground { fill: #ffffff; }
.box { fill: #f6f8fa; stroke: #57606a; stroke-width: 1.2; }
.command .box { fill: #ffffff; }
.edge { fill: none; stroke: #57606a; stroke-width: 1.3; }
.head { fill: #57606a; stroke: none; }
.on-error .edge { stroke: #b3261e; }
.on-error .head { fill: #b3261e; }
.on-error text { fill: #b3261e; }
.back .edge { stroke-dasharray: 5 4; }
"""
_DARK_STYLE = """
text { fill: #e6edf3; }
.small { fill: #9da7b3; }
.ground { fill: #0d1117; }
.box { fill: #161b22; stroke: #9da7b3; }
.command .box { fill: #0d1117; }
.edge { stroke: #9da7b3; }
.head { fill: #9da7b3; }
.on-error .edge { stroke: #ff9d96; }
.on-error .head { fill: #ff9d96; }
.on-error text { fill: #ff9d96; }
"""


def svg(chart: Chart, states: Mapping[str, str]) -> str:
    """Return the picture as one SVG document."""
    boxes = {node.id: _box_size(node, states) for node in chart.nodes}
    labels = {
        number: Size(width(label) * _SMALL_COLUMN + 8, 16)
        for number, edge in enumerate(chart.edges)
        if (label := edge_label(edge))
    }
    layout = arrange(chart, _with_loops(chart, boxes, labels), labels)
    w, h = layout.width + 2 * _MARGIN, layout.height + 2 * _MARGIN
    root = ET.Element(
        "svg", xmlns="http://www.w3.org/2000/svg", width=_n(w), height=_n(h), viewBox=f"0 0 {_n(w)} {_n(h)}", role="img"
    )
    ET.SubElement(root, "title").text = one_line(chart.workflow, 200)
    ET.SubElement(root, "style").text = _style(states)
    ET.SubElement(root, "rect", {"class": "ground", "width": "100%", "height": "100%"})
    group = ET.SubElement(root, "g", transform=f"translate({_n(_MARGIN)} {_n(_MARGIN)})")
    for number, edge in enumerate(chart.edges):
        _draw_edge(group, edge, layout.routes.get(number), layout.nodes[edge.source], boxes[edge.source])
    for number, edge in enumerate(chart.edges):  # above all lines
        if number in labels:
            _draw_label(group, edge, layout.routes.get(number), layout.nodes[edge.source], boxes[edge.source])
    for node in chart.nodes:
        _draw_node(group, node, layout.nodes[node.id], boxes[node.id], states)
    return f"{ET.tostring(root, encoding='unicode')}\n"


def _style(states: Mapping[str, str]) -> str:
    light, dark = _STYLE, _DARK_STYLE
    for state in dict.fromkeys(states.values()):
        if state in COLOURS:
            fill, line, dark_fill, dark_line = COLOURS[state]
            light += f".{state} .box {{ fill: {fill}; stroke: {line}; }}\n"
            dark += f".{state} .box {{ fill: {dark_fill}; stroke: {dark_line}; }}\n"
    return f"{light}@media (prefers-color-scheme: dark) {{{dark}}}\n"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


# --- nodes -------------------------------------------------------------------------------------------------------


def _box_size(node: Node, states: Mapping[str, str]) -> Size:
    if node.kind == "start":
        return Size(14, 14)
    second = details(node)
    columns = max(width(title(node, states)) * _COLUMN, width(second) * _SMALL_COLUMN)
    return Size(columns + 24, _LINE * (2 if second else 1) + 10)


def _with_loops(chart: Chart, boxes: Mapping[str, Size], labels: Mapping[int, Size]) -> dict[str, Size]:
    """Return the sizes of nodes with room for edges to themselves, left too, so that the box stays in the middle."""
    sizes = dict(boxes)
    for number, edge in enumerate(chart.edges):
        if edge.source == edge.target:
            room = _LOOP + (labels[number].width if number in labels else 0)
            box, widest = boxes[edge.source], sizes[edge.source].width
            sizes[edge.source] = Size(max(widest, box.width + 2 * room), box.height)
    return sizes


def _draw_node(parent: ET.Element, node: Node, spot: Spot, box: Size, states: Mapping[str, str]) -> None:
    state = states.get(node.label, "") if node.kind == "task" else ""
    group = ET.SubElement(parent, "g", {"class": f"{node.kind} {state}".strip()})
    ET.SubElement(group, "title").text = printable(f"{node.label} {node.callee or node.message} {state}".strip())
    if node.kind == "start":
        ET.SubElement(group, "circle", {"class": "head", "cx": _n(spot.x), "cy": _n(spot.y), "r": "7"})
        return
    _box(group, spot, box, radius=box.height / 2 if node.kind == "command" else 5)
    if node.calls_workflow:
        _box(group, spot, Size(box.width - 6, box.height - 6), radius=3)
    second = details(node)
    _text(group, spot.x, spot.y - (_LINE / 2 if second else 0), title(node, states))
    if second:
        _text(group, spot.x, spot.y + _LINE / 2, second, small=True)


def _box(parent: ET.Element, spot: Spot, size: Size, radius: float = 0, kind: str = "box") -> None:
    place = {"x": _n(spot.x - size.width / 2), "y": _n(spot.y - size.height / 2)}
    extent = {"width": _n(size.width), "height": _n(size.height), **({"rx": _n(radius)} if radius else {})}
    ET.SubElement(parent, "rect", {"class": kind, **place, **extent})


def _text(parent: ET.Element, x: float, y: float, text: str, small: bool = False) -> None:
    attributes = {"x": _n(x), "y": _n(y), **({"class": "small"} if small else {})}
    ET.SubElement(parent, "text", attributes).text = text


# --- edges -------------------------------------------------------------------------------------------------------


def _draw_edge(parent: ET.Element, edge: Edge, route: Sequence[Spot] | None, spot: Spot, box: Size) -> None:
    group = ET.SubElement(parent, "g", {"class": f"{edge.kind} back" if edge.is_back else edge.kind})
    if edge.guard:
        ET.SubElement(group, "title").text = printable(edge.guard)
    if route is None:
        _draw_loop(group, spot, box)
        return
    points = _points(route, upward=edge.is_back)
    ET.SubElement(group, "path", {"class": "edge", "d": _curve(points)})
    (x, y), turn = points[-1], -1 if edge.is_back else 1
    _head(group, (x - 4, y), (x + 4, y), (x, y + turn * _HEAD))


def _draw_label(parent: ET.Element, edge: Edge, route: Sequence[Spot] | None, spot: Spot, box: Size) -> None:
    label = edge_label(edge)
    size = Size(width(label) * _SMALL_COLUMN + 4, 14)
    if route is None:
        at = Spot(size, 0, spot.x + (box.width + size.width) / 2 + _LOOP, spot.y)
    else:
        at = route[-2] if edge.is_back else route[1]
    group = ET.SubElement(parent, "g", {"class": edge.kind})
    _box(group, at, size, kind="ground")
    _text(group, at.x, at.y, label, small=True)


def _points(route: Sequence[Spot], upward: bool) -> list[tuple[float, float]]:
    """Return where the edge leaves and enters what it goes through, by turns."""
    sign = -1 if upward else 1
    points = []
    for spot in route:
        reach = sign * spot.size.height / 2
        points += [(spot.x, spot.y - reach), (spot.x, spot.y + reach)]
    x, y = points[-2]
    return [*points[1:-2], (x, y - sign * _HEAD)]


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """Return a path that bends between two layers only, and is vertical where it leaves and enters one."""
    path = f"M{_n(points[0][0])} {_n(points[0][1])}"
    for number, ((x, y), (next_x, next_y)) in enumerate(zip(points, points[1:], strict=False)):
        if number % 2:
            path += f" V{_n(next_y)}"
        else:
            middle = (y + next_y) / 2
            path += f" C{_n(x)} {_n(middle)} {_n(next_x)} {_n(middle)} {_n(next_x)} {_n(next_y)}"
    return path


def _draw_loop(parent: ET.Element, spot: Spot, box: Size) -> None:
    """Draw an edge from a node to itself, at its right side."""
    x, y = spot.x + box.width / 2, spot.y
    far, near = _n(x + _LOOP), _n(x + _HEAD)
    path = f"M{_n(x)} {_n(y + 8)} C{far} {_n(y + 16)} {far} {_n(y - 16)} {near} {_n(y - 8)}"
    ET.SubElement(parent, "path", {"class": "edge", "d": path})
    _head(parent, (x + _HEAD, y - 12), (x + _HEAD, y - 4), (x, y - 8))


def _head(parent: ET.Element, *corners: tuple[float, float]) -> None:
    points = " ".join(f"{_n(x)},{_n(y)}" for x, y in corners)
    ET.SubElement(parent, "polygon", {"class": "head", "points": points})
