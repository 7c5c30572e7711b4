"""docs/mistral.md lists every deviation of the conformance cases, and no other case."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conformance.deviations import load_deviations

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "mistral.md"


def _differences() -> list[list[str]]:
    section = _PAGE.read_text(encoding="utf-8").partition("\n## What differs\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| --")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[1:]]


def test_cases_of_each_row_are_those_that_deviate_by_it() -> None:
    """Rows without a number are those outside of Mistral's decisions."""
    listed: dict[str, set[str]] = {}
    for row, *_, cases in _differences():
        listed.setdefault(row, set()).update(re.findall(r"\d+", cases))
    deviating: dict[str, set[str]] = {}
    for name, deviation in load_deviations().items():
        row = deviation["row"] if re.fullmatch(r"R\d+", deviation["row"]) else ""
        deviating.setdefault(row, set()).add(name.partition("-")[0])

    assert {row: cases for row, cases in listed.items() if cases} == deviating


def test_every_difference_has_a_reason() -> None:
    for row, what, mistral, tradewind, why, _ in _differences():
        assert all((what, mistral, tradewind, why)), row
