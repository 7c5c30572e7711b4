"""Check definition texts: all problems in one pass, and the specs of what has no error.

`read` finds what cannot be taken as it stands; `check` also looks at what is odd about the rest (`analysis`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from tradewind_server.lang import analysis, documents
from tradewind_server.lang.analysis import Action, Workflow
from tradewind_server.lang.documents import Document, Path
from tradewind_server.lang.named_forms import FORMS, is_forms, read_form
from tradewind_server.lang.problems import CODES, Problem, Problems, path_text, shortened
from tradewind_server.lang.reader import Bounds, Keyword, Reader, Shape, TooMuch
from tradewind_server.lang.shapes import DESCRIPTION, TEXT, TEXTS
from tradewind_server.lang.specs import AdhocActionSpec, FormSpec, Spec, WorkflowSpec
from tradewind_server.lang.workflows import check_name, read_action, read_workflow

Kind: TypeAlias = Literal["workbook", "workflows", "actions"]

#: What a file of tests is called; it defines nothing.
TEST_SUFFIX = ".test.yaml"
_MEMBER_NAME = re.compile(r"[\w-]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A file to check; it may hold several YAML documents."""

    file_name: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """What a check found."""

    #: Without those that have an error. In textual order.
    workflows: tuple[WorkflowSpec, ...]
    actions: tuple[AdhocActionSpec, ...]
    forms: tuple[FormSpec, ...]
    #: All together, for each source.
    by_source: tuple[tuple[Spec, ...], ...]
    #: In order of file, line and column.
    problems: tuple[Problem, ...]

    @property
    def is_valid(self) -> bool:
        """Tell whether everything can be deployed: there may be warnings, but no error."""
        return not any(problem.severity == "error" for problem in self.problems)


def check(
    sources: Sequence[Source],
    kind: Kind | None = None,
    is_deployed: Callable[[str], bool] = lambda name: False,
    has_form: Callable[[str], bool] = lambda reference: False,
) -> Checked:
    """Check files together.

    Args:
        sources: the files.
        kind: what every document is; None finds it out for each.
        is_deployed: tells whether a workflow that is in none of the files exists all the same.
        has_form: tells that of a form, whose name may have a version.
    """
    with _without_collecting():
        found = _read(sources, kind, bounded=True)
        if not found.is_cut:
            analysis.analyse(found.workflows, found.actions, [form for _, form in found.forms], is_deployed, has_form)
        return found.checked(sources)


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """Put off the search for garbage: all that is made lives to the end, and the search takes as long as the rest."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read(sources: Sequence[Source], kind: Kind | None = None) -> Checked:
    """Read files without looking for what is merely odd: for texts that have been checked before."""
    with _without_collecting():
        return _read(sources, kind, bounded=False).checked(sources)


@dataclasses.dataclass(slots=True)
class _Found:
    problems: Problems
    #: Everything read, also what has errors.
    workflows: list[Workflow] = dataclasses.field(default_factory=list)
    actions: list[Action] = dataclasses.field(default_factory=list)
    #: Those without errors, each with the number of its source.
    forms: list[tuple[int, FormSpec]] = dataclasses.field(default_factory=list)
    #: (kind, name) of everything read so far, with its file and line.
    names: dict[tuple[str, str], tuple[str, int]] = dataclasses.field(default_factory=dict)
    #: A file was not read to its end.
    is_cut: bool = False

    def checked(self, sources: Sequence[Source]) -> Checked:
        workflows = [item for item in self.workflows if item.is_valid]
        actions = [item for item in self.actions if item.is_valid]
        by_source: list[list[Spec]] = [[] for _ in sources]
        for workflow in workflows:
            by_source[workflow.reader.source_number].append(workflow.spec)
        for action in actions:
            by_source[action.reader.source_number].append(action.spec)
        for source_number, form in self.forms:
            by_source[source_number].append(form)
        return Checked(
            tuple(item.spec for item in workflows),
            tuple(item.spec for item in actions),
            tuple(form for _, form in self.forms),
            tuple(map(tuple, by_source)),
            self.problems.in_order(),
        )


def _read(sources: Sequence[Source], kind: Kind | None, *, bounded: bool) -> _Found:
    found = _Found(Problems())
    for number, source in enumerate(sources):
        loaded, yaml_problems = documents.load(source.text)
        for problem in yaml_problems:
            if found.problems.has_room(CODES[problem.code].severity):
                found.problems.add(_from_yaml(problem, source.file_name))
        if not loaded and not yaml_problems:
            message = "Expected a definition, but the text is empty."
            about = CODES["document-type"]
            if found.problems.has_room(about.severity):
                found.problems.add(Problem("document-type", "error", source.file_name, 1, 1, "", message, about.fix))
        bounds = Bounds() if bounded else None
        try:
            for document in loaded:
                reader = Reader(source.file_name, document, found.problems, number, bounds)
                _read_document(reader, document, kind, found)
                reader.withdraw_boolean_words()
        except TooMuch:
            found.is_cut = True
    return found


def _from_yaml(problem: documents.YamlProblem, file: str) -> Problem:
    message = f"Expected YAML of a definition, but {problem.message}."
    place, about = problem.place, CODES[problem.code]
    path, message = shortened(path_text(problem.path)), shortened(message)
    return Problem(
        problem.code, about.severity, file, place.line, place.column, path, message, problem.fix or about.fix
    )


def _read_document(reader: Reader, document: Document, kind: Kind | None, found: _Found) -> None:
    value = document.value
    if not isinstance(value, dict):
        message = "Expected a mapping with 'version' and definitions at the top of the document."
        reader.report("document-type", (), message)
        return
    if "version" not in value and isinstance(value.get("cases"), dict):
        message = "Expected a definition, but this is a file of tests."
        reader.report("document-type", (), message, f"Call it '*{TEST_SUFFIX}' and run it with 'tradewind test'.")
        return
    kind = kind or _kind(value)
    _check_version(reader, value)
    if kind == "workbook":
        _read_workbook(reader, value, found)
        return
    names = [name for name in value if name != "version"]
    if not names:
        reader.report("no-members", (), f"Expected {kind} in the document, but there are none.")
    for name in names:
        if name == FORMS and is_forms(value[name]):
            _read_forms(reader, value[name], "", found)
        else:
            _read_member(reader, kind, name, value[name], (name,), "", found)


def _kind(value: dict[str, object]) -> Kind:
    """Find out what a document is by what stands in it."""
    parts = (value.get("workflows"), value.get("actions"))
    is_workflow = any(isinstance(part, dict) and ("tasks" in part or "base" in part) for part in parts)
    if isinstance(value.get("name"), str) or (not is_workflow and any(part is not None for part in parts)):
        return "workbook"
    members = [item for name, item in value.items() if name != "version" and isinstance(item, dict)]
    has_base = any("base" in member for member in members)
    return "actions" if has_base and not any("tasks" in member for member in members) else "workflows"


def _check_version(reader: Reader, value: dict[str, object]) -> None:
    if "version" not in value:
        reader.report(
            "version", (), "Expected 'version' in the document, but it is missing.", "Add \"version: '2.0'\"."
        )
        return
    version = value["version"]
    is_known = not isinstance(version, bool) and (version in ("2.0", "2", 2) or version == Decimal(2))
    if not is_known:
        reader.report(
            "version", ("version",), f"Expected version 2.0, but it is '{version}'.", "Write \"version: '2.0'\"."
        )


def _read_members(reader: Reader, value: object, path: Path) -> object:
    return value if isinstance(value, dict) else reader.wrong(path, value, "a mapping of names to definitions")


_MEMBERS = Keyword(Shape("a mapping of names to definitions", _read_members, {"type": "object"}))
WORKBOOK = {
    "name": Keyword(TEXT, required=True),
    "description": Keyword(DESCRIPTION),
    "tags": Keyword(TEXTS),
    "actions": _MEMBERS,
    "workflows": _MEMBERS,
    FORMS: _MEMBERS,
}


def _read_workbook(reader: Reader, value: dict[str, object], found: _Found) -> None:
    parts: dict[str, Any] = reader.table(value, (), WORKBOOK, "a workbook", frozenset({"version"}))
    name = parts.get("name", "")
    check_name(reader, name, ("name",), "workbook")
    _check_unique(reader, "workbook", name, ("name",), found)
    kinds: tuple[Kind, ...] = ("actions", "workflows")
    for kind in kinds:
        for member, definition in parts.get(kind, {}).items():
            path = (kind, member)
            if _MEMBER_NAME.fullmatch(member) is None:
                message = f"Expected a name of letters, digits, '_' and '-' in a workbook, but got '{member}'."
                reader.report("invalid-name", path, message, at_value=False)
            _read_member(reader, kind, member, definition, path, name, found)
    _read_forms(reader, parts.get(FORMS, {}), name, found)


def _read_forms(reader: Reader, value: object, workbook: str, found: _Found) -> None:
    assert isinstance(value, dict)
    for name, schema in value.items():
        errors = reader.error_count
        form = read_form(reader, name, schema, (FORMS, name), workbook)
        if form is not None:
            _check_unique(reader, "form", form.name, (FORMS, name), found)
            if reader.error_count == errors:
                found.forms.append((reader.source_number, form))


def _read_member(
    reader: Reader, kind: Kind, name: str, value: object, path: Path, workbook: str, found: _Found
) -> None:
    reader.count_definition(path)
    full_name = f"{workbook}.{name}" if workbook else name
    errors, gaps = reader.error_count, len(reader.gaps)
    if kind == "actions":
        _check_unique(reader, "action", full_name, path, found)
        action = read_action(reader, name, value, path, workbook)
        if action is not None:
            is_whole = len(reader.gaps) == gaps and not reader.has_lost(path)
            found.actions.append(Action(reader, path, action, reader.error_count == errors, is_whole))
        return
    _check_unique(reader, "workflow", full_name, path, found)
    workflow, hidden = read_workflow(reader, name, value, path, workbook)
    found.workflows.append(Workflow(reader, path, workflow, reader.error_count == errors, hidden))


def _check_unique(reader: Reader, what: str, name: str, path: Path, found: _Found) -> None:
    first = found.names.get((what, name))
    found.names.setdefault((what, name), (reader.file, reader.line(path)))
    if first is not None and name:
        place = f"on line {first[1]}" if first[0] == reader.file else f"in {first[0]}"
        message = f"Expected {what} '{name}' once, but it is also {place}."
        reader.report("duplicate-name", path, message, "Rename one.", at_value=False)
