"""Forms: what can be one, what fits, and that neither takes long."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tradewind_server.lang.forms import FormInvalid, check_form, faults_of

MONEY: dict[str, Any] = {
    "type": "object",
    "$defs": {"money": {"type": "number", "minimum": 0, "multipleOf": Decimal("0.01")}},
    "properties": {"net": {"$ref": "#/$defs/money"}, "gross": {"$ref": "#/$defs/money"}},
    "required": ["net"],
}


def doubling(steps: int) -> dict[str, Any]:
    """Return a form that is twice as much work with each step."""
    defs: dict[str, Any] = {"d0": {"type": "string"}}
    for n in range(1, steps):
        defs[f"d{n}"] = {"anyOf": [{"$ref": f"#/$defs/d{n - 1}"}, {"$ref": f"#/$defs/d{n - 1}"}]}
    return {"type": "object", "$defs": defs, "properties": {"x": {"$ref": f"#/$defs/d{steps - 1}"}}}


def nested(depth: int) -> dict[str, Any]:
    """Return a form that is nested so deep."""
    form: dict[str, Any] = {"type": "object"}
    for _ in range(depth):
        form = {"type": "object", "properties": {"a": form}}
    return form


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        ({"net": Decimal("10.50")}, []),
        ({"net": Decimal("10.505")}, ["net"]),
        ({"net": 10**40, "gross": -1}, ["gross"]),
        ({}, ["net"]),
        ([], [""]),
    ],
)
def test_numbers_are_compared_exactly(data: object, paths: list[str]) -> None:
    check_form(MONEY)
    assert [path for path, _ in faults_of(MONEY, data)] == paths


def test_a_fault_does_not_show_the_value() -> None:
    """It may be a salary."""
    [(_, what)] = faults_of({"type": "object", "properties": {"a": {"maxLength": 3}}}, {"a": "confidential"})
    assert "confidential" not in what


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ({"type": "array"}, "type is not 'object'"),
        ({"type": "object", "properties": {"a": {"type": "nomber"}}}, "properties.a.type"),
        ({"type": "object", "$ref": "https://example.com/form"}, "no reference to a place within it"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}, "there is nothing"),
        ({"type": "object", "allOf": [{"$ref": "#"}]}, "no reference to a place within it"),
        ({"type": "object", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, "refers to itself"),
        ({"type": "object", "allOf": [{"$dynamicRef": "#a"}]}, "no reference to a place within it"),
        ({"type": "object", "properties": {"a": {"pattern": "("}}}, "regex"),
        ({"type": "object", "properties": {"a": {"pattern": "(?=a)"}}}, "regex"),
        (doubling(40), "parts"),
        (nested(900), "nested|deep|hold"),
    ],
)
def test_what_cannot_be_a_form_is_told(form: dict[str, Any], problem: str) -> None:
    with pytest.raises(FormInvalid, match=problem):
        check_form(form)


def test_a_property_may_be_called_like_a_reference() -> None:
    form: dict[str, Any] = {"type": "object", "properties": {"$ref": {"type": "string"}}}
    check_form(form)
    assert faults_of(form, {"$ref": "x"}) == []


def test_every_problem_of_a_large_form_is_told_at_its_own_field() -> None:
    """A hundred missing texts were twenty problems of no field, and a hundred wrong ones were one."""
    names = [f"field_number_{n}" for n in range(100)]
    form = {"type": "object", "required": names, "properties": {name: {"type": "string"} for name in names}}
    assert [path for path, _ in faults_of(form, {})] == names
    assert sorted(path for path, _ in faults_of(form, dict.fromkeys(names, 1))) == sorted(names)
    inner = {"type": "object", "properties": {"a": {"type": "object", "required": ["b"]}}}
    assert [path for path, _ in faults_of(inner, {"a": {}})] == ["a.b"]


CHOICES: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "array", "items": {"anyOf": [{"const": f"x{n}"} for n in range(400)]}}},
}


@pytest.mark.parametrize(("count", "told"), [(3, 3), (30, 30), (20_000, 1)])
def test_much_data_is_told_less_of(count: int, told: int) -> None:
    """Finding one problem is quick; telling each of thousands is not."""
    assert len(faults_of(CHOICES, {"a": ["y"] * count})) == told


def test_more_data_than_a_form_can_check_in_time_is_refused() -> None:
    [(path, what)] = faults_of(CHOICES, {"a": ["x399"] * 20_000})
    assert (path, what.startswith("It is too much for this form")) == ("", True)
