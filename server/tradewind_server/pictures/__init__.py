"""Pictures of workflows: mermaid, dot, svg, text.

Pure: a chart and the states of its tasks in, text out. What lives here: escaping, layout, colours. What may not: how a
chart is made of a definition (`lang/chart.py`), and where states come from (the caller).

Names, guards and messages are hostile until escaped: they may hold quotes, angle brackets, signs of any script, and
control characters that a terminal would obey.
"""

from tradewind_server.pictures.rendering import Format, render

__all__ = ["Format", "render"]
