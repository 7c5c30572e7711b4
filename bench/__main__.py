"""`python -m bench`: measure, show, and write the page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench import language, large, machine, parts, report, starts, two_servers, workload
from bench.measure import Bench, Results
from bench.places import open_place
from bench.processes import Broken

#: What is measured beside the workloads.
_SECTIONS = ("expressions", "definition", "items", "starts")
_DATABASES = {"sqlite": ["sqlite"], "postgresql": ["postgresql"], "both": ["sqlite", "postgresql"]}


def main() -> int:
    """Run the command and return its exit code: 0 measured, 1 something was wrong, 2 not usable."""
    asked = _arguments()
    workloads = [each for each in workload.read(asked.quick) if asked.only in (None, each.name)]
    sections = [name for name in _SECTIONS if asked.only in (None, name)]
    if not workloads and not sections:
        known = ", ".join([*(each.name for each in workload.read(asked.quick)), *_SECTIONS])
        sys.stderr.write(f"Expected one of {known}, but got '{asked.only}'.\n")
        return 2
    facts = machine.describe()
    databases = _DATABASES[asked.database]
    try:
        results = (
            [_measure(name, workloads, asked.quick, asked.only is None) for name in databases] if workloads else []
        )
        further = report.Further(
            language.expressions(0.01 if asked.quick else 0.2) if "expressions" in sections else [],
            language.definition(500 if asked.quick else 5_000) if "definition" in sections else None,
            [_items(name, asked.quick) for name in databases] if "items" in sections else [],
            starts.measure(databases, 1 if asked.quick else 9) if "starts" in sections else None,
        )
    except Broken as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    page = report.page(facts, results, further, asked.quick)
    sys.stdout.write(f"\n{page}")
    is_whole = not asked.quick and asked.only is None and asked.database == "both"
    target = asked.results or (parts.PAGE if is_whole else None)
    if target is not None:
        target.write_text(parts.carried(page))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the real server.")
    parser.add_argument("--quick", action="store_true", help="one small run each: does it still work?")
    parser.add_argument("--only", metavar="NAME", help=f"one workload's file, or {', '.join(_SECTIONS)}")
    parser.add_argument("--database", choices=_DATABASES, default="both")
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help="where to write the page; default bench/results.md if all is run"
    )
    return parser.parse_args()


def _measure(name: str, workloads: list[workload.Workload], is_quick: bool, is_whole: bool) -> Results:
    with open_place(name) as place:
        bench = Bench(place, 1 if is_quick else 3, 0.5 if is_quick else 2.0, lambda line: _tell(f"{name} {line}"))
        results = bench.run(workloads)
        if name == "postgresql" and is_whole:
            results.sides = two_servers.measure(place, 20 if is_quick else 200, 200 if is_quick else 1000)
    _tell(f"{name} durability, read back: {results.durability}")
    return results


def _items(name: str, is_quick: bool) -> large.Large:
    with open_place(name) as place:
        measured = large.measure(place, 1_000 if is_quick else 100_000)
    _tell(f"{name} with-items over {measured.items:,}: {measured.seconds:.1f} s")
    return measured


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
