"""Every case is equal to Mistral, or deviates by a listed row."""

from __future__ import annotations

import pytest

from tests.conformance.__main__ import DEFAULT, verdict
from tests.conformance.deviations import load_deviations
from tests.conformance.runner import Case, load_cases

_DEVIATIONS = load_deviations()


@pytest.mark.parametrize("case", load_cases(DEFAULT), ids=lambda case: case.name)
def test_case_is_equal_or_deviates_as_listed(case: Case) -> None:
    """What came out is what Mistral gave, or what the rule says instead."""
    outcome, found = verdict(case, _DEVIATIONS.get(case.name))
    assert outcome != "different", "\n".join(found)


def test_deviations_are_needed() -> None:
    """A listed deviation that is equal after all has to go."""
    for case in load_cases(DEFAULT):
        if case.name in _DEVIATIONS:
            assert verdict(case, _DEVIATIONS[case.name])[0] == "deviates", case.name
