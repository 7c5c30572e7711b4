"""Tests of workflows: finds `*.test.yaml`, plays each case in a world of its own, and says what differed.

What stands in such a file: `grammar.py`; its mocks: `mocks.py`; its steps and expectations: `scenario.py`; whether it
fits its definitions: `subject.py`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tradewind_server import lang
from tradewind_server.errors import Refusal
from tradewind_server.lang.problems import Problem
from tradewind_server.runtime.committer import Broken
from tradewind_server.store.database import Database
from tradewind_server.store.schema import metadata
from tradewind_server.store.writer import Writer
from tradewind_server.testing.comparison import Different, told
from tradewind_server.testing.coverage import Coverage, Covered
from tradewind_server.testing.grammar import Case, read_tests
from tradewind_server.testing.mocks import Mocks
from tradewind_server.testing.scenario import Stage
from tradewind_server.testing.subject import Subject, misfits
from tradewind_server.testing.world import World

__all__ = ["Covered", "Report", "Result", "Suite", "Unreadable", "load", "run"]

#: What stays between two cases of a file: the definitions, of which each case would deploy the same.
_DEPLOYED = frozenset({"installation", "registry", "definitions"})


class Unreadable(Exception):
    """A file or folder is not there, cannot be read, or has no tests; the text says which."""


@dataclasses.dataclass(frozen=True, slots=True)
class Suite:
    """Everything that was found."""

    subjects: tuple[Subject, ...]
    #: Errors: nothing can be run before they are mended.
    problems: tuple[Problem, ...]
    #: Of the files of tests: values that YAML reads otherwise than they look.
    warnings: tuple[Problem, ...]
    #: Every file that was read, for showing problems.
    sources: tuple[lang.Source, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """How one case came out."""

    file: str
    #: Of the case's name, from 1.
    line: int
    name: str
    seconds: float
    #: What differed, a line each; none: it passed.
    differences: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Tell whether everything came out as expected."""
        return not self.differences


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """How all cases came out."""

    results: tuple[Result, ...]
    #: (definition file, what was seen of one of its workflows). Empty if cases were selected.
    coverage: tuple[tuple[str, Covered], ...]


# --- finding and reading -----------------------------------------------------------------------------------------


def load(paths: Sequence[Path]) -> Suite:
    """Read all tests at *paths*, folders with all that is below them, and their definitions.

    Raises:
        Unreadable: a path or a definition is not there or cannot be read, or there are no tests.
    """
    problems: list[Problem] = []
    sources: dict[str, lang.Source] = {}
    subjects = []
    for path in dict.fromkeys(found for given in paths for found in _find(given)):
        sources[str(path)] = _source(path)
        tests = read_tests(path, sources[str(path)].text, problems)
        if tests is None:
            continue
        definitions = tuple(_source(each) for each in tests.definitions)
        sources |= {source.file_name: source for source in definitions}
        homes = tuple((each.file_name, spec) for each in definitions for spec in lang.read([each]).workflows)
        subject = Subject(tests, definitions, lang.read(definitions), homes)
        errors = [problem for problem in subject.checked.problems if problem.severity == "error"]
        problems += errors or misfits(subject)
        subjects.append(subject)
    warnings = tuple(warning for subject in subjects for warning in subject.tests.warnings)
    return Suite(tuple(subjects), tuple(dict.fromkeys(problems)), warnings, tuple(sources.values()))


def _find(path: Path) -> list[Path]:
    found = sorted(path.rglob(f"*{lang.TEST_SUFFIX}")) if path.is_dir() else [path]
    if not found:
        raise Unreadable(f"Expected files called *{lang.TEST_SUFFIX} below '{path}', but there are none.")
    return found


def _source(path: Path) -> lang.Source:
    try:
        return lang.Source(str(path), path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise Unreadable(f"Expected a file at '{path}', but it cannot be read: {problem.strerror}.") from None
    except UnicodeDecodeError as problem:
        raise Unreadable(f"Expected '{path}' to be UTF-8, but byte {problem.start} is not.") from None


# --- running -----------------------------------------------------------------------------------------------------


def run(suite: Suite, pattern: str = "") -> Report:
    """Play all cases, or those with *pattern* in their name or file's name, whatever the case of its letters."""
    results: list[Result] = []
    seen = {source.file_name: Coverage() for subject in suite.subjects for source in subject.sources}
    database = Database("")
    writer = Writer(database, "tests")
    try:
        # nothing here has to survive a crash of the machine, and waiting for the disk is most of the time
        writer.connection.exec_driver_sql("PRAGMA synchronous=OFF")
        for subject in suite.subjects:
            results += _run_file(subject, pattern.lower(), database, writer, seen)
    finally:
        writer.discard()
        database.close()
    return Report(tuple(results), () if pattern else tuple(_coverage(suite, seen)))


def _coverage(suite: Suite, seen: dict[str, Coverage]) -> Iterator[tuple[str, Covered]]:
    specs = {(file, spec.name): spec for subject in suite.subjects for file, spec in subject.homes}
    for (file, _), spec in specs.items():
        yield file, seen[file].of(spec)


def _run_file(
    subject: Subject, pattern: str, database: Database, writer: Writer, seen: dict[str, Coverage]
) -> Iterator[Result]:
    cases = [case for case in subject.tests.cases if pattern in f"{subject.tests.path} {case.name}".lower()]
    if not cases:
        return
    _empty(writer, keep=frozenset())
    World(database, writer=writer).deploy(*(source.text for source in subject.sources), *subject.placeholders())
    homes = {spec.name: seen[file] for file, spec in subject.homes}
    for case in cases:
        _empty(writer, keep=_DEPLOYED)
        began = time.perf_counter()
        names = subject.called() | case.mocks.keys()
        world = World(
            database,
            open_world=True,
            writer=writer,
            mocks=Mocks(case.mocks),
            mocked_names=names,
            absent=subject.absent,
            calendars=subject.tests.calendars,
        )
        stage = Stage(world)
        differences = _play(case, case.workflow or subject.only, stage)
        taken = time.perf_counter() - began
        for id_ in stage.tree():
            spec = world.spec(id_)
            homes[spec.name].note(spec, world.events(id_))
        yield Result(str(subject.tests.path), case.line, case.name, taken, differences)


def _empty(writer: Writer, keep: frozenset[str]) -> None:
    for name in metadata.tables.keys() - keep:
        writer.connection.exec_driver_sql(f"DELETE FROM {name}")


def _play(case: Case, workflow: str, stage: Stage[World]) -> tuple[str, ...]:
    steps = [{"start": {"workflow": workflow, **case.start}}, *(dict(step) for step in case.steps)]
    if "refused" in case.then:
        steps[-1]["refused"] = case.then["refused"]
    for number, step in enumerate(steps):
        kind = next(name for name in step if name != "refused")
        where = f"step {number} ({kind}): " if number else "start: "
        if differences := _attempt(stage, step):
            return tuple(where + line for line in differences)
    try:
        stage.expect({key: value for key, value in case.then.items() if key != "refused"})
    except Different as different:
        return different.differences
    except AssertionError as failed:
        return (str(failed),)
    return ()


def _attempt(stage: Stage[World], step: dict[str, object]) -> tuple[str, ...]:
    try:
        stage.step(step)
    except Different as different:
        return different.differences
    except (AssertionError, RuntimeError) as failed:
        return (str(failed),)
    except Refusal as refusal:
        return (f"refused, {refusal.reason}: {refusal}",)
    except Broken as broken:
        return (f"the engine is at fault, not the workflow: see the log, error {broken}",)
    # of a task with many items one call says enough
    calls = {call.task: call for call in reversed(stage.world.unanswered)}
    return tuple(
        f"task {call.task} calls {call.name} with {told(call.input)}, and no mock answers it: add one to 'mocks', "
        "with 'hold: true' if a step answers it"
        for call in reversed(calls.values())
    )
