"""What a `*.test.yaml` may say, and a scenario: tables of keywords, read with a place for every mistake.

definitions: [salary.yaml]       # beside this file; without it, the file of the same stem
workflow: salary                 # without it, the one that no other calls
input: {month: 2026-11}          # of every case that does not say otherwise
mocks:                           # likewise; see `mocks.py`
  accounting.salary: {result: {amount: 4250.50}}
calendars:                       # as in a server's file of calendars; see `runtime/calendars.py`
  office: {time_zone: Europe/Berlin}
cases:
  a failure is told to the administrator:
    input: {employee_id: e-13}   # also workflow, env, params
    mocks:
      accounting.salary: {failure: {message: locked}}
    steps:                       # after the start; see `scenario.py`
      - advance: 1m
    then: {state: FAILED}        # see `scenario.py`
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path as FilePath
from typing import Any

from tradewind_server.engine.calendars import Calendar
from tradewind_server.engine.state import FINAL_EXECUTION_STATES
from tradewind_server.lang import TEST_SUFFIX, Problem, Source, documents
from tradewind_server.lang.documents import Path
from tradewind_server.lang.problems import CODES, Problems, Severity, did_you_mean, path_text
from tradewind_server.lang.reader import Keyword, Reader, Shape
from tradewind_server.lang.shapes import ANYTHING, FLAG, TEXT, TEXT_OR_TEXTS
from tradewind_server.runtime.calendars import CALENDARS
from tradewind_server.testing import people

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"[0-9]{1,6}[smhd]")

Fields = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One case: how the execution begins, what happens to it, what must come out."""

    name: str
    #: Of its name in the file, from 1.
    line: int
    workflow: str
    start: Fields
    mocks: Fields
    steps: list[Fields]
    then: Fields


@dataclasses.dataclass(frozen=True, slots=True)
class TestFile:
    """One `*.test.yaml`."""

    path: FilePath
    definitions: tuple[FilePath, ...]
    cases: tuple[Case, ...]
    calendars: Mapping[str, Calendar]
    #: Each mock with its place, to be compared with what the definitions call.
    mocked: Mapping[str, Path]
    #: (mock, place, what it answers), those of a sequence one by one.
    answers: tuple[tuple[str, Path, Fields], ...]
    reader: Reader
    #: Values that YAML reads otherwise than they look.
    warnings: tuple[Problem, ...]


def read_scenario(source: Source) -> tuple[Fields, tuple[Problem, ...]]:
    """Return a scenario and what is wrong with it."""
    value, _, found = _read(source, SCENARIO, "a scenario")
    # A surprising value shows itself: it is compared with what comes out.
    return value, tuple(problem for problem in found if problem.severity == "error")


def read_tests(path: FilePath, text: str, problems: list[Problem]) -> TestFile | None:
    """Return what a file of tests says, or None after adding to *problems*."""
    value, reader, found = _read(Source(str(path), text), TESTS, "a file of tests")
    if reader is None or any(problem.severity == "error" for problem in found):
        problems += found
        return None
    names = value.get("definitions", [path.name.removesuffix(TEST_SUFFIX) + ".yaml"])
    cases = []
    mocked = {name: ("mocks", name) for name in value.get("mocks", {})}
    answers = list(_answers(("mocks",), value.get("mocks", {})))
    for name, case in value["cases"].items():
        cases.append(_case(name, reader.line(("cases", name)), case, value))
        mocked |= {mock: ("cases", name, "mocks", mock) for mock in case.get("mocks") or {}}
        answers += _answers(("cases", name, "mocks"), case.get("mocks") or {})
    definitions = tuple(path.parent / each for each in ([names] if isinstance(names, str) else names))
    return TestFile(path, definitions, tuple(cases), value["calendars"], mocked, tuple(answers), reader, found)


def _answers(path: Path, mocks: Fields) -> Iterator[tuple[str, Path, Fields]]:
    for name, rules in mocks.items():
        for place, rule in _numbered((*path, name), rules):
            turns = _numbered((*place, "sequence"), rule["sequence"]) if "sequence" in rule else [(place, rule)]
            yield from ((name, where, answer) for where, answer in turns)


def _numbered(path: Path, value: Any) -> list[tuple[Path, Fields]]:
    return [((*path, n), item) for n, item in enumerate(value)] if isinstance(value, list) else [(path, value)]


def _case(name: str, line: int, case: Fields, common: Fields) -> Case:
    start = {
        "input": {**common.get("input", {}), **(case.get("input") or {})},
        "env": case.get("env") or {},
        "params": case.get("params") or {},
        "by": case.get("by", ""),
    }
    mocks = {**common.get("mocks", {}), **(case.get("mocks") or {})}
    workflow = str(case.get("workflow", common.get("workflow", "")))
    return Case(name, line, workflow, start, mocks, case.get("steps") or [], case["then"])


def _read(
    source: Source, keywords: Mapping[str, Keyword], what: str
) -> tuple[Fields, Reader | None, tuple[Problem, ...]]:
    problems = Problems()
    loaded, broken = documents.load(source.text)
    for problem in broken:
        problems.add(_from_yaml(problem, source.file_name))
    if len(loaded) != 1:
        if not broken:
            message = f"Expected one YAML document, but there are {len(loaded)}."
            problems.add(Problem("document-type", "error", source.file_name, 1, 1, "", message))
        return {}, None, problems.in_order()
    reader = Reader(source.file_name, loaded[0], problems)
    value = loaded[0].value
    read = reader.table(value, (), keywords, what)
    reader.withdraw_boolean_words()
    if not isinstance(value, dict):
        return {}, reader, problems.in_order()
    return {**value, "calendars": read.get("calendars", {})}, reader, problems.in_order()


def _from_yaml(problem: documents.YamlProblem, file: str) -> Problem:
    """Return a problem of the text: an error, but for values that `tradewind check` warns of, too."""
    is_odd = problem.code in ("yaml-boolean", "yaml-integer")
    path, fix = (path_text(problem.path), CODES[problem.code].fix) if is_odd else ("", "")
    message, place = f"Expected YAML, but {problem.message}.", problem.place
    severity: Severity = "warning" if is_odd else "error"
    return Problem(problem.code, severity, file, place.line, place.column, path, message, fix)


def seconds(duration: str) -> int:
    """Return the seconds of a duration such as 5s, 10m, 2h, 1d."""
    return int(duration[:-1]) * _UNITS[duration[-1]]


def time_of(duration: str) -> timedelta:
    """Return a duration such as 5s, 10m, 2h, 1d."""
    return timedelta(seconds=seconds(duration))


# --- shapes: they report what is wrong; the value itself is used as it is ----------------------------------------


def _read_mapping(reader: Reader, value: object, path: Path) -> object:
    return value if isinstance(value, dict) else reader.wrong(path, value, "a mapping")


def _read_duration(reader: Reader, value: object, path: Path) -> object:
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return value
    return reader.wrong(path, value, "a duration such as 5s, 10m, 2h or 1d")


def _read_count(reader: Reader, value: object, path: Path) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return reader.wrong(path, value, "a whole number of at least 0")


def _read_end(reader: Reader, value: object, path: Path) -> object:
    is_end = isinstance(value, str) and value in FINAL_EXECUTION_STATES
    return value if is_end else reader.wrong(path, value, "SUCCEEDED, FAILED or CANCELLED")


def _read_notifications(reader: Reader, value: object, path: Path) -> object:
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    return reader.wrong(path, value, "a list of mappings such as {kind: offered, to: alice}")


def _read_event(reader: Reader, value: object, path: Path) -> object:
    if isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get("type"), str)):
        return value
    return reader.wrong(path, value, "a type of event, or a mapping with 'type'")


MAPPING = Shape("a mapping", _read_mapping)
DURATION = Shape("a duration", _read_duration)
COUNT = Shape("a whole number", _read_count)
END = Shape("SUCCEEDED, FAILED or CANCELLED", _read_end)


def _table(keywords: Mapping[str, Keyword], what: str) -> Shape:
    def read(reader: Reader, value: object, path: Path) -> object:
        if value == {} or value is None:  # `pause:` and `pause: {}` are alike
            value = {}
            for name, keyword in keywords.items():
                if keyword.required:
                    reader.report("missing-keyword", path, f"Expected '{name}' in {what}, but it is missing.")
            return value
        reader.table(value, path, keywords, what)
        return value

    return Shape(what, read)


def _list_of(shape: Shape, what: str) -> Shape:
    def read(reader: Reader, value: object, path: Path) -> object:
        if not isinstance(value, list) or not value:
            return reader.wrong(path, value, what)
        for index, item in enumerate(value):
            shape.read(reader, item, (*path, index))
        return value

    return Shape(what, read)


# --- mocks -------------------------------------------------------------------------------------------------------

_FAILURE = {
    "message": Keyword(TEXT, required=True),
    "code": Keyword(TEXT),
    "details": Keyword(ANYTHING),
    "retryable": Keyword(FLAG),
}


def _read_true(reader: Reader, value: object, path: Path) -> object:
    return value if value is True else reader.wrong(path, value, "true")


def _answer(keywords: Mapping[str, Keyword], *kinds: str) -> Shape:
    one = f"exactly one of {', '.join(repr(kind) for kind in kinds)} in a mock"

    def read(reader: Reader, value: object, path: Path) -> object:
        if not isinstance(value, dict):
            return reader.wrong(path, value, f"a mapping with {one}")
        if value:
            reader.table(value, path, keywords, "a mock")
        if sum(kind in value for kind in kinds) != 1:
            reader.report("mock", path, f"Expected {one}.")
        return value

    return Shape(one, read)


_ANSWER = {
    "result": Keyword(ANYTHING),
    "failure": Keyword(_table(_FAILURE, "a failure")),
    "hold": Keyword(Shape("true", _read_true, takes_booleans=True)),
    "after": Keyword(DURATION),
}
_SEQUENCE = _list_of(_answer(_ANSWER, "result", "failure", "hold"), "a list of answers")
_RULE = _answer(
    {**_ANSWER, "sequence": Keyword(_SEQUENCE), "when": Keyword(MAPPING)}, "result", "failure", "hold", "sequence"
)
_RULES = _list_of(_RULE, "a list of answers")


def _read_mocks(reader: Reader, value: object, path: Path) -> object:
    if not isinstance(value, dict):
        return reader.wrong(path, value, "a mapping of actions or tasks to answers")
    for name, rule in value.items():
        (_RULES if isinstance(rule, list) else _RULE).read(reader, rule, (*path, name))
    return value


MOCKS = Shape("a mapping of actions or tasks to answers", _read_mocks)


# --- what is expected --------------------------------------------------------------------------------------------

_TOLD = _table(people.TOLD, "what is told of a human task")


def _read_people(reader: Reader, value: object, path: Path) -> object:
    if not isinstance(value, dict):
        return reader.wrong(path, value, "a mapping of tasks to what is told of their human tasks")
    for name, told in value.items():
        if told is not None:
            _TOLD.read(reader, told, (*path, name))
    return value


_EVENTS = _list_of(Shape("a type of event, or a mapping with 'type'", _read_event), "a list of events")
EXPECTED = {
    "state": Keyword(TEXT),
    "message": Keyword(ANYTHING),
    "output": Keyword(ANYTHING),
    "tasks": Keyword(MAPPING),
    "attempts": Keyword(MAPPING),
    "inputs": Keyword(MAPPING),
    "results": Keyword(MAPPING),
    "globals": Keyword(MAPPING),
    "executions": Keyword(MAPPING),
    "people": Keyword(Shape("a mapping of tasks to what is told of their human tasks", _read_people)),
    "notifications": Keyword(Shape("a list of mappings", _read_notifications)),
    "order": Keyword(_list_of(TEXT, "a list of tasks")),
    "events": Keyword(_EVENTS),
    "events_include": Keyword(_EVENTS),
}
_THEN = Shape("what is expected", _table({**EXPECTED, "refused": Keyword(TEXT)}, "what is expected").read)


def _read_then(reader: Reader, value: object, path: Path) -> object:
    if not value:
        reader.report("nothing-expected", path, "Expected something in 'then': without it nothing is tested.")
        return value
    return _THEN.read(reader, value, path)


THEN = Shape("what is expected", _read_then)


# --- steps -------------------------------------------------------------------------------------------------------

_TASK = {"task": Keyword(TEXT, required=True)}
_ITEM = {**_TASK, "item": Keyword(COUNT)}
_TARGET = {"of": Keyword(TEXT)}
_START = {"input": Keyword(MAPPING), "env": Keyword(MAPPING), "params": Keyword(MAPPING)}

_ABSENT = {
    "user": Keyword(TEXT, required=True),
    "substitute": Keyword(TEXT, required=True),
    "for": Keyword(DURATION, required=True),
}

#: Step -> what it takes.
STEPS: dict[str, Shape] = {
    "start": _table({"workflow": Keyword(TEXT, required=True), "by": Keyword(TEXT), **_START}, "'start'"),
    "take": _table(_ITEM, "'take'"),
    "complete": _table({**_ITEM, "result": Keyword(ANYTHING)}, "'complete'"),
    "fail": _table({**_ITEM, **_FAILURE, "message": Keyword(TEXT)}, "'fail'"),
    "cancel-action": _table({**_ITEM, "message": Keyword(TEXT)}, "'cancel-action'"),
    "advance": DURATION,
    "pause": _table({**_TARGET, "message": Keyword(TEXT)}, "'pause'"),
    "resume": _table({**_TARGET, "env": Keyword(MAPPING)}, "'resume'"),
    "cancel": _table({**_TARGET, "message": Keyword(TEXT)}, "'cancel'"),
    "stop": _table({**_TARGET, "state": Keyword(END, required=True), "message": Keyword(TEXT)}, "'stop'"),
    "rerun": _table({**_TASK, "reset": Keyword(FLAG), "env": Keyword(MAPPING)}, "'rerun'"),
    "skip": _table(_TASK, "'skip'"),
    "absent": _table(_ABSENT, "'absent'"),
    **{name: _table({**_ITEM, **keywords}, f"'{name}'") for name, keywords in people.STEPS.items()},
    "expect": _table(EXPECTED, "'expect'"),
}


def _step_of(known: Mapping[str, Shape]) -> Shape:
    def read(reader: Reader, step: object, path: Path) -> object:
        names = [name for name in step if name != "refused"] if isinstance(step, dict) else []
        if not isinstance(step, dict) or len(names) != 1:
            return reader.wrong(path, step, "one step, such as 'advance: 5s'")
        name = names[0]
        if name in known:
            known[name].read(reader, step[name], (*path, name))
        else:
            message = f"Expected a step, but '{name}' is none."
            reader.report("unknown-step", (*path, name), message, did_you_mean(name, known), at_value=False)
        return step

    return Shape("a step", read)


STEP_LIST = _list_of(_step_of(STEPS), "a list of steps")
#: In a case: the start is said, and who takes what the mocks say.
CASE_STEPS = {name: shape for name, shape in STEPS.items() if name not in ("start", "take")}


# --- files -------------------------------------------------------------------------------------------------------

_CASE = {
    "workflow": Keyword(TEXT),
    "by": Keyword(TEXT),
    **_START,
    "mocks": Keyword(MOCKS),
    "steps": Keyword(_list_of(_step_of(CASE_STEPS), "a list of steps")),
    "then": Keyword(THEN, required=True),
}


def _read_cases(reader: Reader, value: object, path: Path) -> object:
    if not isinstance(value, dict) or not value:
        return reader.wrong(path, value, "a mapping of names to cases")
    for name, case in value.items():
        reader.table(case, (*path, name), _CASE, "a case")
    return value


TESTS = {
    "definitions": Keyword(TEXT_OR_TEXTS),
    "workflow": Keyword(TEXT),
    "input": Keyword(MAPPING),
    "mocks": Keyword(MOCKS),
    "calendars": Keyword(CALENDARS),
    "cases": Keyword(Shape("a mapping of names to cases", _read_cases), required=True),
}
SCENARIO = {
    "name": Keyword(TEXT, required=True),
    "source": Keyword(TEXT),
    "calendars": Keyword(CALENDARS),
    "workflow": Keyword(ANYTHING, required=True),
    "when": Keyword(STEP_LIST, required=True),
    "then": Keyword(THEN, required=True),
}
