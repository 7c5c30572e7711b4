"""Resolvers: an action that says who is asked to do a human task, such as the manager of somebody."""

from __future__ import annotations

from typing import Any

from tradewind_server.lang.documents import Path
from tradewind_server.lang.expressions import Template
from tradewind_server.lang.reader import Keyword, Reader, Schema, Shape, table_schema
from tradewind_server.lang.shapes import TEMPLATES, TEXT_TEMPLATE
from tradewind_server.lang.specs import Resolver

RESOLVER = {"action": Keyword(TEXT_TEMPLATE, required=True), "input": Keyword(TEMPLATES)}


def or_resolver(names: Shape) -> Shape:
    """Return the shape of *names* that a resolver may give instead."""

    def read(reader: Reader, value: object, path: Path) -> object:
        return _read_resolver(reader, value, path) if isinstance(value, dict) else names.read(reader, value, path)

    ways: Schema = {"anyOf": [names.schema, table_schema(RESOLVER)]}
    return Shape(f"{names.expected}, or 'action' and 'input' of what gives one", read, ways)


def _read_resolver(reader: Reader, value: object, path: Path) -> object:
    parts: dict[str, Any] = reader.table(value, path, RESOLVER, "a resolver")
    action = parts.get("action")
    return Resolver(action, parts.get("input")) if isinstance(action, Template) else None


def split_resolvers(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords of a human task with its resolvers under names of their own."""
    found = dict(parts)
    for field in ("users", "groups"):
        if isinstance(parts.get(field), Resolver):
            found[f"{field}_by"] = found.pop(field)
    return found
