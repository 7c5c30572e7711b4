"""Where expressions stand in a text: `<% … %>`, `{{ … }}`, `{% … %}`.

An expression ends at the first closing mark, over lines too (R26). Quotes inside are not looked at, as in
Mistral.

Source: `mistral/expressions/yaql_expression.py`, `jinja_expression.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from tradewind_server.lang.expressions.problems import ExpressionSyntaxError

_JINJA = (("{{", "}}"), ("{%", "%}"))
#: What opens and what closes an expression or a block.
MARKS = (("<%", "%>"), *_JINJA)


def has_yaql(text: str) -> bool:
    """Tell whether a YAQL expression stands in *text*."""
    return _start(text, "<%", "%>") >= 0


def has_jinja(text: str) -> bool:
    """Tell whether a Jinja expression or block stands in *text*."""
    return any(_start(text, *marks) >= 0 for marks in _JINJA)


def _start(text: str, opening: str, closing: str) -> int:
    """Return where the first expression begins, -1 if there is none: if the first is not closed, none is."""
    start = text.find(opening)
    return start if start >= 0 and text.find(closing, start + 2) >= 0 else -1


def split_yaql(text: str) -> list[tuple[str, str, int]]:
    """Split into (text before, expression, its offset); the last has the rest and no expression, offset -1."""
    parts = []
    end = 0
    for start, stop in _yaql(text):
        parts.append((text[end : start - 2], text[start:stop], start))
        end = stop + 2
    parts.append((text[end:], "", -1))
    return parts


def _yaql(text: str) -> Iterator[tuple[int, int]]:
    """Give start and end of each expression, without its marks."""
    start = text.find("<%") + 2
    while start > 1 and (stop := text.find("%>", start)) >= 0:
        yield start, stop
        start = text.find("<%", stop + 2) + 2


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
    if "{" not in text or not has_yaql(text):
        return
    outside = "".join(
        before + " " * (len(source) + 4 if offset >= 0 else 0) for before, source, offset in split_yaql(text)
    )
    starts = [start for marks in _JINJA if (start := _start(outside, *marks)) >= 0]
    if starts:
        raise ExpressionSyntaxError("YAQL and Jinja cannot be mixed in one text", min(starts))
