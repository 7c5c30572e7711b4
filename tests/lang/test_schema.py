"""The JSON Schema of the language takes what `check` accepts, and sees what an editor should mark."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from tradewind_server.lang import Source, check, documents, schema

_TESTS = Path(__file__).parents[1]
_CASES = sorted((_TESTS / "conformance" / "cases").glob("*.yaml"))
_SCENARIOS = sorted((_TESTS / "scenarios").rglob("*.yaml"))
_VALIDATOR = jsonschema_rs.Draft202012Validator(schema())


def _problems(text: str) -> list[str]:
    """Return what the schema says to every document of a text."""
    loaded, _ = documents.load(text)
    return [problem.message for document in loaded for problem in _VALIDATOR.iter_errors(_plain(document.value))]


def _plain(value: object) -> object:
    return json.loads(json.dumps(value, default=lambda number: float(number) if isinstance(number, Decimal) else None))


def _scenario_text(path: Path) -> str:
    workflow = yaml.safe_load(path.read_text())["workflow"]
    assert isinstance(workflow, str)
    return workflow


def test_the_schema_is_one() -> None:
    """It obeys the draft that it names."""
    jsonschema_rs.meta.validate(schema())


@pytest.mark.parametrize("path", _CASES, ids=lambda path: path.stem)
def test_what_check_accepts_of_the_conformance_cases_is_valid(path: Path) -> None:
    """No editor marks a definition that can be deployed."""
    text = path.read_text()
    kind = json.loads(path.with_suffix(".json").read_text()).get("kind")
    if check([Source(path.name, text)], kind).is_valid:
        assert _problems(text) == []


@pytest.mark.parametrize("path", _SCENARIOS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_scenarios_run_is_valid(path: Path) -> None:
    """The same for what the engine's tests run."""
    assert _problems(_scenario_text(path)) == []


@pytest.mark.parametrize(
    "tasks",
    [
        "t: {acton: std.noop}",
        "t: {action: a, workflow: b}",
        "t: {wait-before: -1}",
        "t: {retry: {count: 1}}",
        "t: {on-success: {publish: {branhc: {a: 1}}}}",
        "t: {on-success: [{u: 'yes'}]}",
        "t: {join: some}",
        "t: {requires: [u]}",
        "t: {}",
    ],
)
def test_what_the_tables_refuse_is_not_valid(tasks: str) -> None:
    """Unknown keywords and wrong shapes are seen while they are typed."""
    assert _problems(f"version: '2.0'\nw:\n  tasks:\n    {tasks}\n") != []


def test_an_unknown_keyword_of_a_workflow_is_not_valid() -> None:
    """Also one level up, and in a workbook."""
    assert _problems("version: '2.0'\nw: {inputs: [a], tasks: {t: {action: std.noop}}}") != []
    assert _problems("version: '2.0'\nname: b\nworkflow: {w: {tasks: {t: {action: std.noop}}}}") != []


def test_reverse_tasks_have_their_own_keywords() -> None:
    """What a task may hold depends on the type of its workflow."""
    text = "version: '2.0'\nw: {type: reverse, tasks: {t: {%s}}}"
    assert _problems(text % "requires: u") == []
    assert _problems(text % "on-success: u") != []
