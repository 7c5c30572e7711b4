"""What is written in a definition, before it means anything: plain values, looked into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tradewind_server.lang.documents import Path


def written_at(value: Any, path: Path) -> object:
    """Return what is written at *path* within *value*, None if nothing is."""
    for part in path:
        try:
            value = value[part]
        except (TypeError, LookupError):
            return None
    return value


def keys_within(value: object) -> Iterator[str]:
    """Give the keys of all tables within *value*."""
    if isinstance(value, dict):
        yield from value
        for item in value.values():
            yield from keys_within(item)
    elif isinstance(value, list):
        for item in value:
            yield from keys_within(item)
