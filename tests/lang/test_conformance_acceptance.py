"""Definitions are accepted or refused as Mistral does, but for the listed deviations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tradewind_server.lang import Source, check

_CASES = Path(__file__).parent.parent / "conformance" / "cases"

#: Case -> why Tradewind decides otherwise.
_DEVIATIONS = {
    "041-cmd-fail-msg-call-form": "R37: fail(msg=…) is accepted",
    "314-reverse-cycle": "R32: requirement cycles are refused",
    "340-yaml-types-in-input": "Infinity is no JSON value, so '.inf' is refused where it is written",
    "401-wf-unknown-keyword": "R35: unknown keywords of a workflow are refused",
    "419-reverse-cycle-def": "R32: requirement cycles are refused",
    "449-version-3": "R34: the version is checked",
    "455-duplicate-yaml-key-task": "R33: duplicate keys are refused",
}


@pytest.mark.parametrize("path", sorted(_CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_definitions_are_accepted_as_in_mistral(path: Path) -> None:
    run = json.loads(path.with_suffix(".json").read_text())
    expected = json.loads(path.with_suffix(".expected.json").read_text())["expected"]["accepted"]

    checked = check([Source(path.name, path.read_text())], run.get("kind"))

    assert checked.is_valid is (expected is not (path.stem in _DEVIATIONS))


#: What these tell of makes the run fail where it is met; unreachable tasks and dead guards never run.
_FATAL = {
    "unknown-variable",
    "unpublished-variable",
    "other-branch-variable",
    "bare-name",
    "unknown-action",
    "unknown-workflow",
    "wrong-parameters",
    "impossible-join",
}


def _runs(path: Path) -> Iterator[dict[str, object]]:
    expected = json.loads(path.with_suffix(".expected.json").read_text())["expected"]
    yield expected
    yield from expected.get("tasks", ())


@pytest.mark.parametrize("path", sorted(_CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_runs_without_a_failure_in_mistral_is_not_told_to_fail(path: Path) -> None:
    """No false alarm: 286 real runs are the witness."""
    run = json.loads(path.with_suffix(".json").read_text())
    states = [found.get("state") for found in _runs(path)]
    if states[0] != "SUCCESS" or "ERROR" in states:
        return

    problems = check([Source(path.name, path.read_text())], run.get("kind")).problems

    assert [problem for problem in problems if problem.code in _FATAL] == []
