"""The language as a JSON Schema, for completion and hints in editors.

It is made from the tables by which definitions are read, so it cannot lag behind them. It describes one YAML document,
and takes everything that `check` accepts; what needs the whole (targets, joins, variables) only `check` finds.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from tradewind_server.lang.checking import WORKBOOK
from tradewind_server.lang.named_forms import FORMS
from tradewind_server.lang.reader import Keyword, Schema, table_schema
from tradewind_server.lang.tasks import DIRECT_TASK, REVERSE_TASK
from tradewind_server.lang.tasks import IGNORED as IGNORED_IN_TASK
from tradewind_server.lang.workflows import ACTION, IGNORED, WORKFLOW

_VERSION: Schema = {"description": "The version of the language.", "enum": ["2.0", "2", 2]}
_NAMES: Schema = {"pattern": "^[^ ]+$"}
_FORMS: Schema = {
    "description": "Forms by name, each a JSON Schema of an object.",
    "type": "object",
    "propertyNames": {"pattern": r"^[\w-]+$"},
    "additionalProperties": {"type": "object", "required": ["type"], "properties": {"type": {"const": "object"}}},
}


def schema() -> Schema:
    """Return the schema of one document: a workbook, a list of workflows, or a list of ad-hoc actions."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tradewind definitions",
        "type": "object",
        "required": ["version"],
        "anyOf": [_workbook(), _members("workflow"), _members("action")],
        "$defs": {
            "workflow": _workflow(),
            "action": table_schema(ACTION, IGNORED),
            "direct-task": _task(DIRECT_TASK),
            "reverse-task": _task(REVERSE_TASK),
        },
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _members(kind: str) -> Schema:
    return {
        "properties": {"version": _VERSION, FORMS: {"anyOf": [_FORMS, _ref(kind)]}},
        "minProperties": 2,
        "propertyNames": _NAMES,
        "additionalProperties": _ref(kind),
    }


def _workbook() -> Schema:
    whole = table_schema(WORKBOOK)
    properties = whole["properties"]
    assert isinstance(properties, dict)
    members = {
        f"{kind}s": {**properties[f"{kind}s"], "propertyNames": _NAMES, "additionalProperties": _ref(kind)}
        for kind in ("workflow", "action")
    }
    return {**whole, "properties": {"version": _VERSION, **properties, **members, FORMS: _FORMS}}


def _workflow() -> Schema:
    return {
        **table_schema(WORKFLOW, IGNORED),
        "if": {"properties": {"type": {"const": "reverse"}}, "required": ["type"]},
        "then": {"properties": {"tasks": {"additionalProperties": _ref("reverse-task")}}},
        "else": {"properties": {"tasks": {"additionalProperties": _ref("direct-task")}}},
    }


def _task(table: Mapping[str, Keyword]) -> Schema:
    pairs = itertools.combinations(("action", "workflow", "human"), 2)
    return {**table_schema(table, IGNORED_IN_TASK), "not": {"anyOf": [{"required": [*pair]} for pair in pairs]}}
