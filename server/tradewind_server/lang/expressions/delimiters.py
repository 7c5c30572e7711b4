"""Where expressions stand in a text: `<% … %>`, `{{ … }}`, `{% … %}`.

An expression ends at the first closing mark, over lines too (R26). Quotes inside are not looked at, as in
Mistral.

Source: `mistral/expressions/yaql_expression.py`, `jinja_expression.py`.
"""

from __future__ import annotations

import re

from tradewind_server.lang.expressions.problems import ExpressionSyntaxError

YAQL = re.compile(r"<%(.*?)%>", re.DOTALL)
_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


def has_yaql(text: str) -> bool:
    """Tell whether a YAQL expression stands in *text*."""
    return "<%" in text and YAQL.search(text) is not None


def has_jinja(text: str) -> bool:
    """Tell whether a Jinja expression or block stands in *text*."""
    return ("{{" in text or "{%" in text) and _JINJA.search(text) is not None


def split_yaql(text: str) -> list[tuple[str, str, int]]:
    """Split into (text before, expression, its offset); the last has the rest and no expression, offset -1."""
    parts = []
    end = 0
    for match in YAQL.finditer(text):
        parts.append((text[end : match.start()], match.group(1), match.start(1)))
        end = match.end()
    parts.append((text[end:], "", -1))
    return parts


def single_yaql(text: str) -> str | None:
    """Return the expression if *text* is exactly one, blanks and newlines after it aside; else None (R26)."""
    stripped = text.rstrip()
    if not stripped.startswith("<%") or not stripped.endswith("%>"):
        return None
    inner = stripped[2:-2]
    return inner if "%>" not in inner else None


def single_jinja(text: str) -> str | None:
    """Return the expression if *text* may be exactly one `{{ … }}`; else None.

    Closing marks may stand inside, in quotes or as the end of two dictionaries: whether the inner text
    parses as one expression decides in the end.
    """
    stripped = text.rstrip()
    if not stripped.startswith("{{") or not stripped.endswith("}}") or len(stripped) < 4:
        return None
    return stripped[2:-2]


def refuse_mixture(text: str) -> None:
    """Raise ExpressionSyntaxError if both languages stand in *text*."""
    if has_yaql(text) and (jinja := _JINJA.search(YAQL.sub(lambda match: " " * len(match.group()), text))):
        raise ExpressionSyntaxError("YAQL and Jinja cannot be mixed in one text", jinja.start())
