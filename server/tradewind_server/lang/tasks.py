"""Tasks and task-defaults: their keywords and how they become a `TaskSpec`.

Source: `mistral/lang/v2/tasks.py`, `task_defaults.py`, `retry_policy.py`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal

from tradewind_server.lang import inline, values
from tradewind_server.lang.documents import Path
from tradewind_server.lang.durations import SECONDS
from tradewind_server.lang.expressions import Template
from tradewind_server.lang.human_tasks import HUMAN_SHAPE
from tradewind_server.lang.reader import Keyword, Reader, Schema, Shape, table_schema
from tradewind_server.lang.shapes import (
    CONDITION,
    COUNT,
    DESCRIPTION,
    EXPRESSION,
    PRIORITY,
    TEMPLATES,
    TEXT_OR_TEXTS,
    TEXT_SCHEMA,
    TEXT_TEMPLATE,
    TEXTS,
    is_expression,
    is_text,
    report_repeats,
)
from tradewind_server.lang.specs import COMMAND_WORDS, OnClause, Retry, TaskSpec
from tradewind_server.lang.transitions import ON_CLAUSE

MAX_NAME = 255
#: A join's unique key has a prefix and an id before the name.
MAX_JOIN_NAME = MAX_NAME - 47

_WITH_ITEMS = re.compile(r"([\w-]+)\s+in\s*(.+)", re.DOTALL)


def _read_input(reader: Reader, value: object, path: Path) -> object:
    if isinstance(value, dict) and value:
        return reader.template(value, path)
    if not is_text(value):
        return reader.wrong(path, value, "a mapping with at least one entry, or one expression")
    if not is_expression(value):
        message = "Expected a mapping, or one expression that gives one: this text will fail the task."
        reader.report("text-input", path, message)
    return reader.template(value, path)


def _read_retry(reader: Reader, value: object, path: Path) -> object:
    if isinstance(value, str):
        parameters, ignored = inline.parse_parameters(value)
        report_ignored(reader, path, ignored)
        value = parameters
    parts: dict[str, Any] = reader.table(value, path, RETRY, "a retry")
    if "count" not in parts or "delay" not in parts:
        return None
    return Retry(parts["count"], parts["delay"], parts.get("break-on"), parts.get("continue-on"))


RETRY = {
    "count": Keyword(COUNT, required=True),
    "delay": Keyword(SECONDS, required=True),
    "break-on": Keyword(EXPRESSION),
    "continue-on": Keyword(EXPRESSION),
}


def _read_with_items(reader: Reader, value: object, path: Path) -> object:
    if is_text(value):
        pair = _read_items(reader, str(value), path)
        return None if pair is None else (pair,)
    if not isinstance(value, list) or not value:
        return reader.wrong(path, value, "'variable in <% list %>', or a list of such texts")
    repeats = report_repeats(reader, path, value)
    pairs: dict[str, Template] = {}
    for index, item in enumerate(value):
        if not isinstance(item, str):
            reader.wrong((*path, index), item, "a text like 'variable in <% list %>'")
            continue
        pair = _read_items(reader, item, (*path, index))
        if pair is not None and pair[0] in pairs and index not in repeats:
            message = f"Expected a variable of its own for each list, but '{pair[0]}' is there twice."
            reader.report("with-items", (*path, index), message, "Rename one: a variable goes through one list only.")
        pairs |= {} if pair is None else dict([pair])
    return tuple(pairs.items())


def _read_items(reader: Reader, text: str, path: Path) -> tuple[str, Template] | None:
    match = _WITH_ITEMS.fullmatch(text.strip())
    if match is None:
        message = f"Expected 'variable in <% list %>' or 'variable in [1, 2]', but got '{text}'."
        reader.report("with-items", path, message)
        return None
    name, collection = match.groups()
    if collection.startswith("["):
        return _read_items_list(reader, name, collection, path)
    if not is_expression(collection):
        message = f"Expected one expression or a list after 'in', but got '{collection}'."
        reader.report("with-items", path, message)
        return None
    return name, reader.template(collection, path, within=text)


def _read_items_list(reader: Reader, name: str, text: str, path: Path) -> tuple[str, Template] | None:
    if text == "[]":
        reader.report("with-items", path, "Expected items in the list, but it is empty.", "Write '[ ]' for none.")
        return None
    try:
        items = values.decode(text.encode())
    except (values.ValueProblem, UnicodeEncodeError) as problem:
        fix = "Put texts in double quotes, or use an expression."
        reader.report("with-items", path, f"Expected a JSON list after 'in', but {problem}.", fix)
        return None
    return name, reader.template(items, path, strict=False)


def _read_join(reader: Reader, value: object, path: Path) -> object:
    if value == "one":
        return 1
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    return reader.wrong(path, value, "'all', 'one' or a whole number of at least 0")


def _read_call(reader: Reader, value: object, path: Path) -> object:
    if not is_text(value):
        return reader.wrong(path, value, "a name, with parameters if needed")
    call = inline.parse_call(str(value))
    report_ignored(reader, path, call.ignored)
    callee = reader.template(call.name, path)
    return callee, {key: reader.template(item, path, within=value) for key, item in call.parameters.items()}


def report_ignored(reader: Reader, path: Path, ignored: tuple[str, ...]) -> None:
    """Warn of pieces of inline parameters that have no effect."""
    if ignored:
        message = f"Expected 'key=value' pairs; '{' '.join(ignored)}' has no effect."
        fix = "Write 'key=value' without blanks around '=', and quote texts that hold blanks."
        reader.report("unused-text", path, message, fix)


CALL = Shape("a name, with parameters if needed", _read_call, TEXT_SCHEMA)
#: The list after `in` may be broken over lines.
_ITEMS_SCHEMA: Schema = {"type": "string", "pattern": r"^\s*[\w-]+\s+in\s*\S"}
_WITH_ITEMS_SHAPE = Shape(
    "'variable in <% list %>'",
    _read_with_items,
    {"anyOf": [_ITEMS_SCHEMA, {"type": "array", "minItems": 1, "uniqueItems": True, "items": _ITEMS_SCHEMA}]},
)
_JOIN_SHAPE = Shape(
    "'all', 'one' or a number", _read_join, {"anyOf": [{"enum": ["all", "one"]}, {"type": "integer", "minimum": 0}]}
)
_RETRY_SHAPE = Shape("'count' and 'delay'", _read_retry, {"anyOf": [table_schema(RETRY), TEXT_SCHEMA]})
_INPUT_SHAPE = Shape(
    "a mapping or one expression", _read_input, {"anyOf": [{"type": "object", "minProperties": 1}, TEXT_SCHEMA]}
)

_POLICIES = {
    "retry": Keyword(_RETRY_SHAPE),
    "wait-before": Keyword(SECONDS),
    "wait-after": Keyword(SECONDS),
    "timeout": Keyword(SECONDS),
    "pause-before": Keyword(CONDITION),
    "concurrency": Keyword(COUNT),
    "fail-on": Keyword(CONDITION),
    "safe-rerun": Keyword(CONDITION),
    "priority": Keyword(PRIORITY),
}
_CLAUSES = {name: Keyword(ON_CLAUSE) for name in ("on-success", "on-error", "on-complete", "on-skip")}
_REQUIRES = {"requires": Keyword(TEXT_OR_TEXTS)}

TASK = {
    "description": Keyword(DESCRIPTION),
    "tags": Keyword(TEXTS),
    "action": Keyword(CALL),
    "workflow": Keyword(CALL),
    "human": Keyword(HUMAN_SHAPE),
    "input": Keyword(_INPUT_SHAPE),
    "with-items": Keyword(_WITH_ITEMS_SHAPE),
    "publish": Keyword(TEMPLATES),
    "publish-on-error": Keyword(TEMPLATES),
    "publish-on-skip": Keyword(TEMPLATES),
    "keep-result": Keyword(CONDITION),
    "target": Keyword(TEXT_TEMPLATE),
    **_POLICIES,
}
DIRECT_TASK = {**TASK, **_CLAUSES, "join": Keyword(_JOIN_SHAPE)}
REVERSE_TASK = {**TASK, **_REQUIRES}
DEFAULTS = {**_POLICIES, **_CLAUSES, **_REQUIRES}
#: Set by Mistral itself; harmless where people write them.
IGNORED = frozenset({"name", "version", "type"})
#: The type of a workflow with one that does not exist: either may be meant.
EITHER_TYPE = "either"
#: For each type of workflow its table, and the keywords of the other type.
_TABLES = {
    "direct": (DIRECT_TASK, frozenset(REVERSE_TASK.keys() - DIRECT_TASK.keys())),
    "reverse": (REVERSE_TASK, frozenset(DIRECT_TASK.keys() - REVERSE_TASK.keys())),
    EITHER_TYPE: ({**DIRECT_TASK, **REVERSE_TASK}, frozenset()),
}
_IGNORED_OR_FOREIGN = {name: IGNORED | foreign for name, (_, foreign) in _TABLES.items()}

#: Keywords of which the spec holds something else than what was read.
_NO_FIELDS = ("action", "workflow", "join")
#: The field of the spec for each other keyword.
_FIELDS = {keyword: keyword.replace("-", "_") for keyword in (*DIRECT_TASK, *REVERSE_TASK) if keyword not in _NO_FIELDS}
#: What tells a worker about its action, and so a person nothing.
_FOR_WORKERS = ("input", "target", "safe-rerun", "priority")
_KINDS: tuple[Literal["action", "workflow", "human"], ...] = ("action", "workflow", "human")
_CLAUSE_FIELDS = ("on_success", "on_error", "on_complete", "on_skip")
_NOTHING = Template.constant("std.noop")


def read_defaults(reader: Reader, value: object, path: Path) -> object:
    """Read `task-defaults`, by keyword."""
    return reader.table(value, path, DEFAULTS, "task-defaults")


def read_task(
    reader: Reader, name: str, value: object, path: Path, workflow_type: str, defaults: Mapping[str, object]
) -> TaskSpec:
    """Read one task; what cannot be read is as if it were not there."""
    reader.count_definition(path)
    _check_name(reader, name, value, path)
    if not isinstance(value, dict) or not value:
        reader.wrong(path, value, "the keywords of a task")
        return TaskSpec(name, reader.line(path))
    table, foreign = _TABLES[workflow_type]
    parts: dict[str, Any] = reader.table(value, path, table, "a task", _IGNORED_OR_FOREIGN[workflow_type])
    for keyword in value.keys() & foreign:
        message = f"Expected no '{keyword}' in a {workflow_type} workflow."
        fix = "Use 'requires'." if workflow_type == "reverse" else "Use 'on-success', or 'type: reverse'."
        reader.report("wrong-workflow-type", (*path, keyword), message, fix, at_value=False)
    kinds = [kind for kind in _KINDS if kind in value]
    if len(kinds) > 1:
        given = " and ".join(f"'{kind}'" for kind in kinds)
        message = f"Expected one of 'action', 'workflow' and 'human' in task '{name}', but {given} are there."
        reader.report("exclusive-keywords", (*path, kinds[1]), message, "Keep one.", at_value=False)
    policies = {keyword: item for keyword, item in defaults.items() if keyword in _POLICIES}
    fields: dict[str, Any] = {_FIELDS[key]: item for key, item in {**policies, **parts}.items() if key in _FIELDS}
    callee, parameters = parts.get("action") or parts.get("workflow") or (_NOTHING, {})
    spec = TaskSpec(
        name,
        reader.line(path),
        kind=next((kind for kind in _KINDS if kind in parts), "action"),
        callee=callee,
        parameters=parameters,
        join=parts.get("join") or None,
        **fields,
    )
    _check_human(reader, spec, value, path)
    _warn(reader, spec, value, path)
    _warn_publish_conflicts(reader, spec, path)
    return _with_defaults(spec, defaults, workflow_type)


def _check_human(reader: Reader, spec: TaskSpec, raw: Mapping[str, object], path: Path) -> None:
    for keyword in _FOR_WORKERS if spec.kind == "human" else ():
        if keyword in raw:
            message = f"Expected no '{keyword}' in human task '{spec.name}': it is for workers."
            fix = "Use 'show' for what the person is to see." if keyword == "input" else "Remove it."
            reader.report("exclusive-keywords", (*path, keyword), message, fix, at_value=False)


def _check_name(reader: Reader, name: str, value: object, path: Path) -> None:
    is_join = isinstance(value, dict) and bool(value.get("join"))
    limit = MAX_JOIN_NAME if is_join else MAX_NAME
    if len(name) > limit:
        what = "a task with a join" if is_join else "a task"
        message = f"Expected the name of {what} to have at most {limit} characters, but it has {len(name)}."
        reader.report("name-too-long", path, message, at_value=False)
    if name in COMMAND_WORDS:
        message = f"Expected a task name that is no engine command: as a target, '{name}' means the command."
        reader.report("reserved-name", path, message, "Rename the task.", at_value=False)


def _warn(reader: Reader, spec: TaskSpec, raw: Mapping[str, object], path: Path) -> None:
    given = raw.get("input")
    for key in spec.parameters:
        if isinstance(given, dict) and key in given:
            message = f"Expected parameter '{key}' once; the inline value counts, the one in 'input' does not."
            reader.report("parameter-twice", (*path, "input", key), message, "Remove one.")
    if "concurrency" in raw and "with-items" not in raw:
        message = "Expected 'concurrency' together with 'with-items'; alone it has no effect."
        reader.report("unused-concurrency", (*path, "concurrency"), message, at_value=False)


def _warn_publish_conflicts(reader: Reader, spec: TaskSpec, path: Path) -> None:
    """Warn where one variable is published at two levels: on-complete wins, then the task (R3)."""
    if not any(_clause_variables(getattr(spec, field)) for field in _CLAUSE_FIELDS):
        return
    for own, clause_name in (
        ("publish", "on-success"),
        ("publish_on_error", "on-error"),
        ("publish_on_skip", "on-skip"),
    ):
        task_level = _variables(getattr(spec, own))
        clause_level = _clause_variables(getattr(spec, clause_name.replace("-", "_")))
        complete_level = _clause_variables(spec.on_complete)
        for name in sorted(clause_level & (task_level | complete_level)):
            message = f"Expected '{name}' to be published once; what '{clause_name}' publishes does not count."
            reader.report("publish-conflict", (*path, clause_name, "publish"), message)
        for name in sorted(task_level & complete_level):
            message = f"Expected '{name}' to be published once; what 'on-complete' publishes counts."
            reader.report("publish-conflict", (*path, own.replace("_", "-"), name), message)


def _clause_variables(clause: OnClause | None) -> set[str]:
    return _variables(clause.publish.branch) if clause is not None and clause.publish is not None else set()


def _variables(template: Template | None) -> set[str]:
    return set(template.source) if template is not None and isinstance(template.source, dict) else set()


def _with_defaults(spec: TaskSpec, defaults: Mapping[str, object], workflow_type: str) -> TaskSpec:
    """Add what task-defaults say beyond policies: clauses without the task itself, requirements."""
    if workflow_type == "reverse":
        more = defaults.get("requires", ())
        assert isinstance(more, tuple)
        names = dict.fromkeys([*spec.requires, *more])
        return dataclasses.replace(spec, requires=tuple(name for name in names if name != spec.name))
    changes: dict[str, Any] = {}
    for field in _CLAUSE_FIELDS if defaults else ():
        default = defaults.get(field.replace("_", "-"))
        own = getattr(spec, field)
        if isinstance(default, OnClause) and (own is None or not own.next):
            following = tuple(transition for transition in default.next if transition.target != spec.name)
            if following or own is not None:
                # A default clause only leads on; what it publishes is not used.
                changes[field] = OnClause(following, own.publish if own is not None else None)
    return dataclasses.replace(spec, **changes) if changes else spec
