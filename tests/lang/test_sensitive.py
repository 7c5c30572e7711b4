"""Which names a definition marks as sensitive."""

from __future__ import annotations

from typing import Any

import pytest

from tradewind_server.engine.library import FixedLibrary
from tradewind_server.lang import Source, read
from tradewind_server.lang.sensitive import marked_properties
from tradewind_server.lang.specs import WorkflowSpec


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"properties": {"a": {"type": "string", "x-sensitive": True}, "b": {"type": "string"}}}, {"a"}),
        ({"properties": {"a": {"type": "string", "writeOnly": True}}}, {"a"}),
        ({"properties": {"a": {"x-sensitive": False}, "b": {"x-sensitive": "yes"}}}, set()),
        ({"properties": {"a": {"properties": {"b": {"x-sensitive": True}}}}}, {"b"}),
        ({"$defs": {"d": {"properties": {"c": {"x-sensitive": True}}}}, "anyOf": [{"$ref": "#/$defs/d"}]}, {"c"}),
        ({"items": {"properties": {"a": {"x-sensitive": True}}}}, {"a"}),
        ({"properties": {"properties": {"x-sensitive": True}, "a": {}}}, {"properties"}),
    ],
)
def test_properties_of_a_form_are_marked_at_any_depth(form: dict[str, Any], expected: set[str]) -> None:
    """By either word, if it is true."""
    assert set(marked_properties(form)) == expected


def specs(text: str) -> dict[str, WorkflowSpec]:
    """Return the workflows of a file by name."""
    return {spec.name: spec for spec in read([Source("file.yaml", text)]).workflows}


def library(text: str) -> FixedLibrary:
    """Return the library of a file."""
    return FixedLibrary(specs(text))


CALLS = """
version: '2.0'
a: {sensitive: [x], tasks: {t: {workflow: b}}}
b: {tasks: {t: {workflow: c}, u: {workflow: a}}}
c: {sensitive: [z, y], tasks: {t: {action: std.noop}}}
d: {tasks: {t: {workflow: <% $.which %>}}}
e: {tasks: {t: {action: std.noop}}}
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a", ["x", "y", "z"]), ("b", ["x", "y", "z"]), ("c", ["y", "z"]), ("d", ["x", "y", "z"]), ("e", [])],
)
def test_a_workflow_has_the_names_of_what_it_can_call(name: str, expected: list[str]) -> None:
    """Around a circle, too; of a name that an expression gives nobody knows which it is."""
    found = library(CALLS)
    assert found.sensitive(found.workflows[name]) == expected


def test_members_of_a_workbook_call_each_other_by_their_short_names() -> None:
    """And the workflow of that name that stands alone is another one."""
    found = library(
        """
version: '2.0'
name: book
workflows:
  a: {tasks: {t: {workflow: b}}}
  b: {sensitive: [inside], tasks: {t: {action: std.noop}}}
"""
    )
    assert found.sensitive(found.workflows["book.a"]) == ["inside"]
