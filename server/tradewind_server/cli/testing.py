"""The command test: the cases of `*.test.yaml`, without a server."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tradewind_server.cli import records
from tradewind_server.cli.output import Output
from tradewind_server.cli.problems import local_problem, show_pictures, show_problems
from tradewind_server.cli.session import NOT_DONE, UNUSABLE, Unusable, alone
from tradewind_server.pictures.labels import printable

if TYPE_CHECKING:
    from tradewind_server.testing.cases import Covered, Report, Result


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("test")(run_cases)


@alone
def run_cases(
    output: Output,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[PATH]...", help="Files *.test.yaml, or folders; default is here.")
    ] = None,
    select: Annotated[str, typer.Option("-k", help="Only cases with this in their name or file name.")] = "",
    junit: Annotated[Path | None, typer.Option(help="Write the results as JUnit XML, too.")] = None,
    all_branches: Annotated[
        bool, typer.Option("--all-branches", help="Fail, too, if a task or branch was never taken.")
    ] = False,
) -> None:
    """Test workflows without a server: exit 0 if all cases pass, 1 if not, 2 if a file cannot be used."""
    # It plays a whole server in this process; the other commands start without.
    from tradewind_server.testing import cases

    try:
        suite = cases.load(paths or [Path()])
    except cases.Unreadable as problem:
        raise Unusable(str(problem)) from None
    if suite.problems:
        show_problems(output, (*suite.problems, *suite.warnings), suite.sources)
        raise typer.Exit(UNUSABLE)
    report = cases.run(suite, select)
    if not report.results:
        raise Unusable(f"Expected a case with '{select}' in its name, but there is none.")
    if junit:
        _write(junit, _xml(report))
    if not output.as_json:
        show_pictures(output, suite.warnings, suite.sources)
    problems = [local_problem(warning) for warning in suite.warnings]
    output.record({**_record(report), "problems": problems}, _text(report))
    missed = all_branches and not all(covered.is_complete for _, covered in report.coverage)
    if missed or not all(result.passed for result in report.results):
        raise typer.Exit(NOT_DONE)


def _record(report: Report) -> records.Record:
    return {
        "passed": sum(result.passed for result in report.results),
        "failed": sum(not result.passed for result in report.results),
        "cases": [
            {
                "file": result.file,
                "line": result.line,
                "name": result.name,
                "passed": result.passed,
                "seconds": Decimal(f"{result.seconds:.4f}"),
                "differences": list(result.differences),
            }
            for result in report.results
        ],
        "coverage": [
            {
                "file": file,
                "workflow": covered.workflow,
                "tasks": covered.tasks,
                "branches": covered.branches,
                "never_started": list(covered.never_started),
                "never_taken": [
                    {"task": branch.task, "clause": branch.clause, "target": branch.target, "guard": branch.guard}
                    for branch in covered.never_taken
                ],
            }
            for file, covered in report.coverage
        ],
    }


def _text(report: Report) -> Text:
    text = Text()
    for file, results in groupby(report.results, key=lambda result: result.file):
        text.append(f"{file}\n", "bold")
        for result in results:
            _append_result(text, result)
    for file, covered in report.coverage:
        _append_covered(text, file, covered)
    failed = sum(not result.passed for result in report.results)
    seconds = sum(result.seconds for result in report.results)
    counts = f"{len(report.results) - failed} passed" + (f", {failed} failed" if failed else "")
    text.append(f"{counts} in {seconds:.2f} s", "red" if failed else "green")
    return text


def _append_result(text: Text, result: Result) -> None:
    sign, colour = ("✓", "green") if result.passed else ("✗", "red")
    place = "" if result.passed else f"  {result.file}:{result.line}"
    text.append(f"  {sign} {result.name}", colour)
    text.append(f"  {result.seconds * 1000:.0f} ms{place}\n", "dim")
    for difference in result.differences:
        text.append(f"      {difference}\n")


def _append_covered(text: Text, file: str, covered: Covered) -> None:
    started = covered.tasks - len(covered.never_started)
    taken = covered.branches - len(covered.never_taken)
    text.append(f"{covered.workflow}", "bold")
    text.append(f"  {started} of {covered.tasks} tasks started, {taken} of {covered.branches} branches taken")
    text.append(f"  {file}\n", "dim")
    for name in covered.never_started:
        text.append(f"  never started: {name}\n", "yellow")
    for branch in covered.never_taken:
        guard = f" ({branch.guard})" if branch.guard else ""
        text.append(f"  never taken: {branch.task} {branch.clause} → {branch.target}{guard}\n", "yellow")


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as problem:
        raise Unusable(f"Expected to write '{path}', but it is not possible: {problem.strerror}.") from None


def _xml(report: Report) -> bytes:
    root = ET.Element("testsuites")
    for file, results in groupby(report.results, key=lambda result: result.file):
        suite = ET.SubElement(root, "testsuite", name=printable(file))
        all_results = list(results)
        _count(suite, all_results)
        for result in all_results:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=printable(file),
                name=printable(result.name),
                file=printable(file),
                line=str(result.line),
                time=f"{result.seconds:.4f}",
            )
            if not result.passed:
                failure = ET.SubElement(case, "failure", message=printable(result.differences[0]))
                failure.text = printable("\n".join(result.differences))
    _count(root, list(report.results))
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _count(element: ET.Element, results: list[Result]) -> None:
    element.set("tests", str(len(results)))
    element.set("failures", str(sum(not result.passed for result in results)))
    element.set("errors", "0")
    element.set("time", f"{sum(result.seconds for result in results):.4f}")
