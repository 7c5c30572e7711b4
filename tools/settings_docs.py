"""Make docs/settings.md from the comments of settings.py (`make pages`)."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable
from pathlib import Path

from tradewind_server import settings
from tradewind_server.settings import Settings, variable

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"

_HEAD = """# Settings

What a server can be told, with its default. A setting is read from its environment variable; the options of
`tradewind server` stand above the environment. [Operating](operating.md) has a unit for systemd. This page is made from
`settings.py` by `make pages`; do not edit it.

| Setting | Environment variable | Type | Default | Meaning |
| --- | --- | --- | --- | --- |"""

_TYPES = {"bool": "true or false", "int": "whole number", "str": "text"}


def page() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *rows(inspect.getsource(settings)), ""])


def rows(source: str) -> Iterable[str]:
    """Return a row of the table for each setting; *source* is the text of the module that declares them.

    Raises:
        ValueError: a setting has no comment.
    """
    meanings = comments(source)
    for field in dataclasses.fields(Settings):
        if not meanings.get(field.name):
            raise ValueError(f"the setting {field.name} has no `#:` comment")
        default = _shown(field.default)
        type_ = _TYPES[str(field.type)]
        yield f"| `{field.name}` | `{variable(field.name)}` | {type_} | {default} | {meanings[field.name]} |"


def comments(source: str) -> dict[str, str]:
    """Return the `#:` comment above each annotated name."""
    found: dict[str, str] = {}
    pending: list[str] = []
    for line in map(str.strip, source.splitlines()):
        if line.startswith("#:"):
            pending.append(line[2:].strip())
        elif pending:
            found[line.partition(":")[0]] = " ".join(pending)
            pending = []
    return found


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return f"`{default}`" if default != "" else "empty"
