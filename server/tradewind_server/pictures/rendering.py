"""The formats there are."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

from tradewind_server.lang.chart import Chart
from tradewind_server.pictures.dot import dot
from tradewind_server.pictures.mermaid import mermaid
from tradewind_server.pictures.svg import svg
from tradewind_server.pictures.tree import tree


class Format(enum.StrEnum):
    """How a picture is written."""

    TEXT = "text"
    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"


_RENDERERS: dict[Format, Callable[[Chart, Mapping[str, str]], str]] = {
    Format.TEXT: tree,
    Format.MERMAID: mermaid,
    Format.DOT: dot,
    Format.SVG: svg,
}


def render(chart: Chart, form: Format, states: Mapping[str, str] | None = None) -> str:
    """Return the picture, with a newline at its end.

    Args:
        chart: what to draw.
        form: how.
        states: state of each task that has one, by its name, when an execution is drawn.
    """
    return _RENDERERS[form](chart, states or {})
