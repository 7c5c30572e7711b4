"""On-clauses: what follows a task.

Source: `mistral/lang/v2/on_clause.py`, `mistral/lang/v2/publish.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tradewind_server.lang import inline
from tradewind_server.lang.documents import Path
from tradewind_server.lang.expressions import Template
from tradewind_server.lang.reader import Keyword, Reader, Schema, Shape, table_schema
from tradewind_server.lang.shapes import (
    EXPRESSION_SCHEMA,
    TEMPLATES,
    TEXT_SCHEMA,
    is_expression,
    is_text,
    report_repeats,
)
from tradewind_server.lang.specs import EngineCommand, OnClause, Publish, Transition

_COMMANDS = {command.value: command for command in EngineCommand}
_WITH_BLANK = re.compile(r"(\w+)\s+(\w+=.*)", re.DOTALL)
_WITH_BRACKETS = re.compile(r"(\w+)\((\w+=.*)\)", re.DOTALL)
_EXPECTED = "a task name, a list of them, or 'publish' and 'next'"


def _read_publish(reader: Reader, value: object, path: Path) -> object:
    scopes = reader.table(value, path, PUBLISH, "a 'publish' with scopes")
    parts = {name: part for name, part in scopes.items() if isinstance(part, Template)}
    return Publish(branch=parts.get("branch"), global_=parts.get("global"), atomic=parts.get("atomic"))


PUBLISH = {"branch": Keyword(TEMPLATES), "global": Keyword(TEMPLATES), "atomic": Keyword(TEMPLATES)}


def _read_next(reader: Reader, value: object, path: Path) -> object:
    if isinstance(value, str):
        return _single(_read_target(reader, value, path, None, path))
    if isinstance(value, dict):
        return _single(_read_guarded(reader, value, path))
    if not isinstance(value, list) or not value:
        return reader.wrong(path, value, "a task name or a list of them")
    report_repeats(reader, path, value)
    transitions = []
    for index, item in enumerate(value):
        place = (*path, index)
        if isinstance(item, dict):
            transitions.append(_read_guarded(reader, item, place))
        elif is_text(item):
            transitions.append(_read_target(reader, str(item), place, None, place))
        else:
            reader.wrong(place, item, "a task name, or 'task: guard'")
    return tuple(transition for transition in transitions if transition is not None)


def _single(transition: Transition | None) -> tuple[Transition, ...] | None:
    return None if transition is None else (transition,)


def _read_guarded(reader: Reader, value: dict[str, object], path: Path) -> Transition | None:
    if len(value) != 1:
        reader.report(
            "wrong-type", path, "Expected one 'task: guard' pair, but there are several.", "Write them as a list."
        )
        return None
    ((target, guard),) = value.items()
    if not is_expression(guard):
        reader.report(
            "guard",
            (*path, target),
            f"Expected the guard of '{target}' to be exactly one <% … %> or {{{{ … }}}} expression.",
            "Put the whole condition into one expression.",
        )
        return None
    return _read_target(reader, target, path, reader.template(guard, (*path, target)), (*path, target))


def _read_target(reader: Reader, text: str, path: Path, guard: Template | None, place: Path) -> Transition | None:
    match = _WITH_BRACKETS.fullmatch(text.strip()) or _WITH_BLANK.fullmatch(text.strip())
    if match is None:
        if not text or re.search(r"\s", text):
            message = f"Expected a task name without blanks, or a command like 'fail msg=\"…\"', but got '{text}'."
            reader.report("transition", place, message, at_value=guard is None)
            return None
        return Transition(text, _COMMANDS.get(text), guard)
    name = match.group(1)
    parameters, ignored = inline.parse_parameters(match.group(2))
    command = _COMMANDS.get(name)
    unused = [key for key in parameters if command is None or key != "msg"] + list(ignored)
    if unused:
        message = f"Expected only 'msg' for a command; '{', '.join(unused)}' has no effect."
        reader.report("unused-parameter", place, message, "Remove it.", at_value=guard is None)
    message_text = parameters.get("msg")
    if command is None or message_text is None:
        return Transition(name, command, guard)
    told = reader.template(message_text, place, within=text, at_value=guard is None)
    return Transition(name, command, guard, told)


def places(reader: Reader, clause: OnClause, where: Path) -> list[Path]:
    """Return for each transition of the clause at *where* its own place; *where* itself if that cannot be told."""
    value = reader.value(where)
    if isinstance(value, dict) and value.keys() & _ADVANCED.keys():
        where = (*where, "next") if "next" in value else where
        value = value.get("next")
    if isinstance(value, dict) and len(value) == 1:
        return [(*where, *value)] * len(clause.next)
    items = enumerate(value if isinstance(value, list) else ())
    # An entry that could not be read is no transition, and one of task-defaults that leads to its own task is none.
    return [
        next(((*where, index, *_keys(item)) for index, item in items if _is_written_as(transition, item)), where)
        for transition in clause.next
    ]


def _keys(item: object) -> Iterable[str]:
    return item if isinstance(item, dict) else ()


def _is_written_as(transition: Transition, item: object) -> bool:
    is_guarded = isinstance(item, dict) and len(item) == 1
    text = next(iter(_keys(item))) if is_guarded else item
    return is_guarded == (transition.guard is not None) and str(text).strip().startswith(transition.target)


_GUARDED_SCHEMA: Schema = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": EXPRESSION_SCHEMA,
}
_NEXT_SCHEMAS: list[Schema] = [
    TEXT_SCHEMA,
    {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"anyOf": [TEXT_SCHEMA, _GUARDED_SCHEMA]}},
    _GUARDED_SCHEMA,
]
_ADVANCED = {
    "publish": Keyword(Shape("scopes to publish in", _read_publish, table_schema(PUBLISH))),
    "next": Keyword(Shape("a task name or a list of them", _read_next, {"anyOf": _NEXT_SCHEMAS})),
}


def _read_clause(reader: Reader, value: object, path: Path) -> object:
    if isinstance(value, dict) and (not value or value.keys() & _ADVANCED.keys()):
        parts = reader.table(value, path, _ADVANCED, "an on-clause")
        following, publish = parts.get("next", ()), parts.get("publish")
        assert isinstance(following, tuple)
        return OnClause(following, publish if isinstance(publish, Publish) else None)
    if not isinstance(value, str | list | dict):
        return reader.wrong(path, value, _EXPECTED)
    transitions = _read_next(reader, value, path)
    return OnClause(transitions) if isinstance(transitions, tuple) else None


ON_CLAUSE = Shape(_EXPECTED, _read_clause, {"anyOf": [*_NEXT_SCHEMAS, table_schema(_ADVANCED)]})
