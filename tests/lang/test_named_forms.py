"""Forms with names, as they are read."""

from __future__ import annotations

import pytest

from tradewind_server.lang import Source, check


def codes(text: str) -> list[str]:
    """Return the codes of what is wrong with a text."""
    return [problem.code for problem in check([Source("file.yaml", text)]).problems]


def forms(text: str) -> list[str]:
    """Return the names of the forms of a text without problems."""
    checked = check([Source("file.yaml", text)])
    assert checked.problems == ()
    return [form.name for form in checked.forms]


def test_forms_stand_alone_or_beside_workflows_and_actions() -> None:
    """In a document of their own, in one of workflows, in a workbook, whose name is before theirs."""
    assert forms("version: '2.0'\nforms: {a: {type: object}, b: {type: object}}") == ["a", "b"]
    tasks = "{tasks: {t: {human: {title: T, groups: g, form: a}}}}"
    assert forms(f"version: '2.0'\nforms: {{a: {{type: object}}}}\nw: {tasks}") == ["a"]
    assert forms(f"version: '2.0'\nname: b\nworkflows: {{w: {tasks}}}\nforms: {{a: {{type: object}}}}") == ["b.a"]


def test_a_workflow_may_be_called_forms() -> None:
    """What has tasks is none."""
    assert forms("version: '2.0'\nforms: {tasks: {t: {action: std.noop}}}") == []


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ("{type: array}", "form"),
        ("{}", "wrong-type"),
        ("{type: object, properties: {a: {x-ui: wide}}}", "form"),
        ("{type: object, properties: {a: {x-ui: {order: first}}}}", "form"),
        ("{type: object, properties: {a: {x-ui: {order: true}}}}", "form"),
        ("{type: object, properties: {a: {properties: {b: {x-ui: {read-only: 1}}}}}}", "form"),
        ("{type: object, properties: {a: {x-ui: {help: [x]}}}}", "form"),
    ],
)
def test_a_form_that_is_none_is_refused(form: str, code: str) -> None:
    """Named or in its human task."""
    assert codes(f"version: '2.0'\nforms: {{a: {form}}}") == [code]
    human = f"{{title: T, groups: g, form: {form}}}"
    assert codes(f"version: '2.0'\nw: {{tasks: {{t: {{human: {human}}}}}}}") == [code]


def test_hints_of_other_kinds_are_passed_through() -> None:
    """A user interface may have its own."""
    form = "{type: object, properties: {a: {x-ui: {order: 1, colour: red, help: H, widget: w, read-only: false}}}}"
    assert forms(f"version: '2.0'\nforms: {{a: {form}}}") == ["a"]


@pytest.mark.parametrize("name", ["a b", "a@1", "''"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    """It could not be told from a version."""
    assert "invalid-name" in codes(f"version: '2.0'\nforms: {{'{name.strip(chr(39))}': {{type: object}}}}")


def test_two_forms_of_one_name_are_refused() -> None:
    """Also in two documents."""
    text = "version: '2.0'\nforms: {a: {type: object}}"
    assert codes(f"{text}\n---\n{text}") == ["duplicate-name"]
