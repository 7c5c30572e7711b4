"""What stands at nodes and edges, in every format: made harmless, on one line, and not too long."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from tradewind_server.lang.chart import Edge, Node

#: Characters of a guard or message; a picture shows where it goes, the definition says exactly when.
LONGEST = 60

#: What neither XML nor a terminal should get.
_CONTROL = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

SIGNS = {
    "SUCCEEDED": "✓",
    "SKIPPED": "↷",
    "FAILED": "✗",
    "CANCELLED": "⊘",
    "RUNNING": "●",
    "PAUSED": "‖",
    "WAITING": "○",
    "DELAYED": "○",
}
#: State -> (fill, line and text) on light ground, the same on dark ground.
COLOURS = {
    "SUCCEEDED": ("#e3f5e6", "#1e7b34", "#12351c", "#7ee094"),
    "SKIPPED": ("#eef3e3", "#5d7a1e", "#262f12", "#bdd97e"),
    "FAILED": ("#fde7e7", "#b3261e", "#3d1513", "#ff9d96"),
    "CANCELLED": ("#f6e6f6", "#8a2c8a", "#331333", "#e79ae7"),
    "RUNNING": ("#e0f1fb", "#0b6a99", "#0d2c3d", "#7cc8f0"),
    "PAUSED": ("#fdf3d8", "#8a6100", "#382a08", "#f0cd75"),
    "WAITING": ("#e9ebf8", "#3a4aa8", "#191f42", "#a9b5f5"),
    "DELAYED": ("#e9ebf8", "#3a4aa8", "#191f42", "#a9b5f5"),
}


def printable(text: str) -> str:
    """Replace characters that XML cannot hold, that steer a terminal, or that turn the direction of writing."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str, longest: int = LONGEST) -> str:
    """Return *text* printable, on one line, cut to *longest* characters."""
    line = " ".join(printable(text).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def width(text: str) -> int:
    """Return how many columns *text* takes in a font of fixed width."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


def title(node: Node, states: Mapping[str, str]) -> str:
    """Return the first line of a node: its name, with the sign of its state."""
    sign = SIGNS.get(states.get(node.label, ""), "") if node.kind == "task" else ""
    name = one_line(node.label, 120)
    return f"{sign} {name}" if sign else name


def details(node: Node) -> str:
    """Return the second line of a node; "" if there is nothing to say."""
    parts = [f"join {node.join}"] if node.join else []
    parts += ["for each item"] if node.has_items else []
    if node.kind == "task":
        parts.append(("workflow " if node.calls_workflow else "") + one_line(node.callee))
    elif node.message:
        parts.append(one_line(node.message))
    return ", ".join(parts)


def edge_label(edge: Edge) -> str:
    """Return what stands at an edge: its clause, unless it is the usual one, and its guard."""
    parts: list[str] = [] if edge.kind in ("start", "on-success", "requires") else [edge.kind]
    parts += [one_line(edge.guard)] if edge.guard else []
    return " ".join(parts)
