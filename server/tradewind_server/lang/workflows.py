"""Workflows and ad-hoc actions: their keywords, and the checks that need the whole.

Source: `mistral/lang/v2/workflows.py`, `mistral/lang/v2/actions.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from tradewind_server.lang import graph, inline, transitions
from tradewind_server.lang.documents import Path
from tradewind_server.lang.expressions import is_single_expression
from tradewind_server.lang.gaps import Gaps, gaps
from tradewind_server.lang.reader import Keyword, Reader, Shape, table_schema
from tradewind_server.lang.sensitive import sensitive_names
from tradewind_server.lang.shapes import (
    ANY_TEMPLATE,
    DESCRIPTION,
    INPUTS,
    LATE_TEMPLATES,
    TEMPLATES,
    TEXTS,
    is_text,
)
from tradewind_server.lang.specs import AdhocActionSpec, OnClause, TaskSpec, WorkflowSpec
from tradewind_server.lang.tasks import CALL, DEFAULTS, EITHER_TYPE, MAX_NAME, read_defaults, read_task

_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")


def _read_type(reader: Reader, value: object, path: Path) -> object:
    return value if value in ("direct", "reverse") else reader.wrong(path, value, "'direct' or 'reverse'")


def _read_tasks(reader: Reader, value: object, path: Path) -> object:
    if isinstance(value, dict) and value:
        return value
    return reader.wrong(path, value, "a mapping with at least one task")


WORKFLOW = {
    "type": Keyword(Shape("'direct' or 'reverse'", _read_type, {"enum": ["direct", "reverse"]})),
    "description": Keyword(DESCRIPTION),
    "tags": Keyword(TEXTS),
    "input": Keyword(INPUTS),
    "sensitive": Keyword(TEXTS),
    "vars": Keyword(TEMPLATES),
    "output": Keyword(TEMPLATES),
    "output-on-error": Keyword(LATE_TEMPLATES),
    "task-defaults": Keyword(Shape("the keywords of task-defaults", read_defaults, table_schema(DEFAULTS))),
    "tasks": Keyword(
        Shape("a mapping with at least one task", _read_tasks, {"type": "object", "minProperties": 1}), required=True
    ),
}
ACTION = {
    "base": Keyword(CALL, required=True),
    "base-input": Keyword(TEMPLATES),
    "input": Keyword(INPUTS),
    "output": Keyword(ANY_TEMPLATE),
    "description": Keyword(DESCRIPTION),
    "tags": Keyword(TEXTS),
}
#: Set by Mistral itself; harmless where people write them.
IGNORED = frozenset({"name", "version"})


def check_name(reader: Reader, name: str, path: Path, what: str) -> None:
    """Report a name of a workbook, workflow or action that cannot be one."""
    fix = ""
    if " " in name:
        problem, fix = "has a blank", "Write '_' instead."
    elif len(name) > MAX_NAME:
        problem = f"has {len(name)} characters, more than {MAX_NAME}"
    elif what == "workflow" and _UUID.fullmatch(name):
        problem = "looks like an id"
    else:
        return
    reader.report(
        "invalid-name", path, f"Expected a name for the {what}, but '{name[:60]}' {problem}.", fix, at_value=False
    )


def read_workflow(
    reader: Reader, name: str, value: object, path: Path, workbook: str = ""
) -> tuple[WorkflowSpec, Gaps]:
    """Read one workflow, as far as it can be read, and say what is hidden of it."""
    known_gaps = len(reader.gaps)
    check_name(reader, name, path, "workflow")
    parts: dict[str, Any] = reader.table(value, path, WORKFLOW, "a workflow", IGNORED)
    workflow_type: Literal["direct", "reverse"] = parts.get("type", "direct")
    is_known = "type" in parts or not isinstance(value, dict) or "type" not in value
    table = workflow_type if is_known else EITHER_TYPE
    defaults = parts.get("task-defaults", {})
    tasks = {
        task_name: read_task(reader, task_name, task, (*path, "tasks", task_name), table, defaults)
        for task_name, task in parts.get("tasks", {}).items()
    }
    sources = graph.inbound(tasks)
    found = [gap[len(path) :] for gap in reader.gaps[known_gaps:]]
    hidden = gaps(value, found, reader.has_lost(path), tasks)
    if tasks and workflow_type == "direct":
        _check_direct(reader, tasks, sources, path, hidden)
        _check_targets(reader, tasks, defaults, path)
    elif tasks:
        _check_reverse(reader, tasks, path)
    spec = WorkflowSpec(
        name=f"{workbook}.{name}" if workbook else name,
        line=reader.line(path),
        type=workflow_type,
        description=parts.get("description", ""),
        tags=parts.get("tags", ()),
        sensitive=sensitive_names(parts.get("sensitive", ()), tasks.values()),
        workbook=workbook,
        input=parts.get("input", ()),
        vars=parts.get("vars"),
        output=parts.get("output"),
        output_on_error=parts.get("output-on-error"),
        tasks=tasks,
        start_tasks=graph.start_tasks(sources) if workflow_type == "direct" else (),
        inbound=sources if workflow_type == "direct" else {},
    )
    return spec, hidden


def _check_direct(
    reader: Reader, tasks: dict[str, TaskSpec], sources: Mapping[str, tuple[str, ...]], path: Path, hidden: Gaps
) -> None:
    if not graph.start_tasks(sources):
        message = "Expected at least one task without a transition to it, to start with, but there is none."
        reader.report("no-start-task", (*path, "tasks"), message, "Add a first task.", at_value=False)
    for task in tasks.values():
        needed = 1 if task.join == "all" else task.join or 0
        if len(sources[task.name]) < needed and not hidden.may_lead_to(task.name):
            message = (
                f"Expected at least {needed} task(s) with a transition to the join '{task.name}', "
                f"but there are {len(sources[task.name])}."
            )
            reader.report("join-cardinality", (*path, "tasks", task.name, "join"), message, at_value=False)


def _written(reader: Reader, path: Path, task: TaskSpec, keyword: str) -> Path:
    """Return where a clause or the requirements of a task stand: in the task, or in task-defaults."""
    own = (*path, "tasks", task.name, keyword)
    written = reader.value(own)
    only_publishes = isinstance(written, dict) and "publish" in written and "next" not in written
    return own if written is not None and not only_publishes else (*path, "task-defaults", keyword)


def _check_targets(reader: Reader, tasks: dict[str, TaskSpec], defaults: Mapping[str, object], path: Path) -> None:
    """Report transitions to tasks that do not exist; those of task-defaults once."""
    seen: set[Path] = set()
    for task in tasks.values():
        for keyword, clause in graph.clauses(task):
            if all(entry.command is not None or entry.target in tasks for entry in clause.next):
                continue
            where = _written(reader, path, task, keyword)
            whole = clause if where[-2] == task.name else defaults.get(keyword)
            if where not in seen and isinstance(whole, OnClause):
                seen.add(where)
                _check_clause(reader, tasks, whole, where)


def _check_clause(reader: Reader, tasks: dict[str, TaskSpec], clause: OnClause, where: Path) -> None:
    for transition, place in zip(clause.next, transitions.places(reader, clause, where), strict=True):
        if transition.command is None and transition.target not in tasks:
            _report_unknown_task(reader, place, transition.target, tasks, at_value=transition.guard is None)


def _check_reverse(reader: Reader, tasks: dict[str, TaskSpec], path: Path) -> None:
    for task in tasks.values():
        for required in task.requires:
            if required not in tasks:
                where = _written(reader, path, task, "requires")
                written = reader.value(where)
                place = (
                    (*where, written.index(required)) if isinstance(written, list) and required in written else where
                )
                _report_unknown_task(reader, place, required, tasks)
    cycle = graph.requirement_cycle(tasks)
    if cycle:
        message = f"Expected requirements without a cycle, but there is one: {' -> '.join(cycle)}."
        reader.report("requirement-cycle", (*path, "tasks", cycle[0], "requires"), message, at_value=False)


def _report_unknown_task(
    reader: Reader, path: Path, name: str, tasks: dict[str, TaskSpec], at_value: bool = True
) -> None:
    message = f"Expected task '{name}' in the workflow, but there is none."
    reader.report("unknown-task", path, message, reader.problems.suggest(name, tasks.keys()), at_value=at_value)


def read_action(reader: Reader, name: str, value: object, path: Path, workbook: str = "") -> AdhocActionSpec | None:
    """Read one ad-hoc action as far as it can be read; None if it has no base."""
    check_name(reader, name, path, "action")
    parts: dict[str, Any] = reader.table(value, path, ACTION, "an ad-hoc action", IGNORED)
    base = inline.parse_call(value["base"]).name if isinstance(value, dict) and is_text(value.get("base")) else ""
    if is_single_expression(base):
        message = "Expected the name of an action in 'base': an expression in it is not evaluated."
        reader.report("expression-in-base", (*path, "base"), message)
    if base == name:
        message = f"Expected another action as base of '{name}': its own name makes every run fail."
        reader.report("base-is-itself", (*path, "base"), message)
    if "base" not in parts:
        return None
    own_input = parts.get("base-input")
    given = {key: reader.template(item, path) for key, item in own_input.source.items()} if own_input else {}
    return AdhocActionSpec(
        name=f"{workbook}.{name}" if workbook else name,
        line=reader.line(path),
        base=base,
        description=parts.get("description", ""),
        tags=parts.get("tags", ()),
        workbook=workbook,
        input=parts.get("input", ()),
        base_input={**given, **parts["base"][1]},
        output=parts.get("output"),
    )
