"""`python -m tests.conformance [FOLDER]`: run every case and count what is equal."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

from tests.conformance.compare import differences
from tests.conformance.deviations import load_deviations
from tests.conformance.runner import Case, load_cases, run

DEFAULT = Path(__file__).parent / "cases"


def verdict(case: Case, deviation: dict[str, Any] | None) -> tuple[str, list[str]]:
    """Return ("equal" | "deviates" | "different", what differs)."""
    try:
        actual = run(case)
    except Exception:
        return "different", [traceback.format_exc(limit=-3)]
    return judge(case, deviation, actual)


def judge(case: Case, deviation: dict[str, Any] | None, actual: dict[str, Any]) -> tuple[str, list[str]]:
    """Compare what came out of *case*, wherever it was run, with what should."""
    found = differences(case.expected, actual, case.unstable)
    if not found:
        return "equal", []
    if deviation is not None:
        own = differences(deviation["expected"], actual, case.unstable)
        return ("deviates", found) if not own else ("different", [*own, f"(deviation {deviation['row']})"])
    return "different", found


def main(arguments: list[str]) -> int:
    """Run the cases; the exit code is 1 when one is neither equal nor a listed deviation."""
    folder = Path(arguments[0]) if arguments else DEFAULT
    only = set(arguments[1:])
    deviations = load_deviations()
    counts = {"equal": 0, "deviates": 0, "different": 0}
    for case in load_cases(folder):
        if only and not any(case.name.startswith(prefix) for prefix in only):
            continue
        outcome, found = verdict(case, deviations.get(case.name))
        counts[outcome] += 1
        if outcome == "different":
            sys.stdout.write(f"{case.name}: different\n" + "".join(f"    {line}\n" for line in found))
    total = sum(counts.values())
    parts = f"{counts['equal']} equal, {counts['deviates']} deviate as listed, {counts['different']} different"
    sys.stdout.write(f"{parts}, {total} total\n")
    return 1 if counts["different"] or not total else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
