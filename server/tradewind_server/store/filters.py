"""Filters of lists: a small typed subset of AIP-160, `field = value AND ...`, pushed down to SQL."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tradewind_server.clock import to_microseconds
from tradewind_server.engine.state import FINAL_EXECUTION_STATES, ExecutionState
from tradewind_server.errors import FilterInvalid


@dataclasses.dataclass(frozen=True, slots=True)
class Term:
    """One comparison."""

    column: str
    operator: str
    value: object


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """A field that can be filtered on."""

    column: str
    operators: tuple[str, ...]
    parse: Callable[[str], object]


def _words(*allowed: str) -> Callable[[str], object]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"'{text}' is none of {', '.join(allowed)}")
        return text

    return parse


def _kind(text: str) -> str:
    return str(_words("workflow", "action", "form")(text.lower()))


def _task_number(text: str) -> int:
    digits = text.removeprefix("t")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 12:
        raise ValueError(f"'{text[:40]}' is no id like t1")
    return int(digits)


def _moment(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"'{text}' has no time zone")
    return to_microseconds(moment)


def _version(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:19]) < 2**31:
        raise ValueError(f"'{text}' is no version, which is a number from 1")
    return int(text)


def _whole(text: str) -> int:
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError("a whole number of 64 bits is wanted")
    return number


def _searched(text: str) -> str:
    if len(text) < 2:
        raise ValueError("a text of two characters at least can be searched for")
    return text


def _flag(text: str) -> int:
    return int(str(_words("true", "false")(text)) == "true")


_EQUALS = ("=", "!=")
_TIMES = ("<", "<=", ">", ">=")

#: States of executions, as rows have them.
FINAL_STATES = tuple(str(state) for state in ExecutionState if state in FINAL_EXECUTION_STATES)
OPEN_STATES = tuple(str(state) for state in ExecutionState if state not in FINAL_EXECUTION_STATES)
EXECUTION_STATES = (*OPEN_STATES, *FINAL_STATES)
#: What a failure's kind can be, as callers see it.
ERROR_KINDS = ("ACTION", "TIMEOUT", "DELIVERY", "LIMIT", "CHILD", "COMMAND", "DEFINITION")

#: The two in rows that are DELIVERY to callers.
DELIVERY_KINDS = ("LEASE_LOST", "NOT_DELIVERABLE")


def _error_kind(text: str) -> object:
    kind = _words(*ERROR_KINDS)(text)
    return DELIVERY_KINDS if kind == "DELIVERY" else kind


EXECUTION_FIELDS: Mapping[str, Field] = {
    "state": Field("state", _EQUALS, _words(*EXECUTION_STATES)),
    "workflow": Field("workflow", _EQUALS, str),
    "definition_version": Field("definition_version", ("=",), _version),
    "workflow_namespace": Field("workflow_namespace", _EQUALS, str),
    "business_key": Field("business_key", _EQUALS, str),
    "external_id": Field("external_id", _EQUALS, str),
    "root_id": Field("root_id", _EQUALS, str),
    "parent_id": Field("parent_id", _EQUALS, str),
    "tags": Field("tags", (":",), str),
    "error_kind": Field("error_kind", _EQUALS, _error_kind),
    "error_code": Field("error_code", _EQUALS, str),
    "text": Field("text", (":",), _searched),
    "created_at": Field("created_at", _TIMES, _moment),
    "finished_at": Field("finished_at", _TIMES, _moment),
}
TASK_FIELDS: Mapping[str, Field] = {
    "id": Field("task_id", _EQUALS, _task_number),
    "name": Field("name", _EQUALS, str),
    "state": Field(
        "state",
        _EQUALS,
        _words("WAITING", "DELAYED", "RUNNING", "PAUSED", "SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED"),
    ),
}
EVENT_FIELDS: Mapping[str, Field] = {
    "execution_id": Field("execution_id", _EQUALS, str),
    "root_id": Field("root_id", _EQUALS, str),
    "workflow": Field("workflow", _EQUALS, str),
    "business_key": Field("business_key", _EQUALS, str),
    "task": Field("task", _EQUALS, str),
    "type": Field("type", _EQUALS, str),
    "execution_state": Field("execution_state", _EQUALS, EXECUTION_FIELDS["state"].parse),
    "task_state": Field("task_state", _EQUALS, TASK_FIELDS["state"].parse),
    "tags": Field("tags", (":",), str),
}
ACTION_FIELDS: Mapping[str, Field] = {
    "name": Field("name", _EQUALS, str),
    "task": Field("task", _EQUALS, str),
    "state": Field("state", _EQUALS, _words("OPEN", "QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED")),
    "task_id": Field("task_id", _EQUALS, _task_number),
    "worker": Field("worker", _EQUALS, str),
    "workflow": Field("workflow", _EQUALS, str),
    "asynchronous": Field("asynchronous", ("=",), _flag),
}
HUMAN_TASK_FIELDS: Mapping[str, Field] = {
    "state": Field("state", _EQUALS, _words("OFFERED", "CLAIMED", "COMPLETED", "CLOSED")),
    "task": Field("task", _EQUALS, str),
    "workflow": Field("workflow", _EQUALS, str),
    "business_key": Field("business_key", _EQUALS, str),
    "execution_id": Field("execution_id", _EQUALS, str),
    "assignee": Field("assignee", _EQUALS, str),
    "owner": Field("owner", _EQUALS, str),
    "done_by": Field("done_by", _EQUALS, str),
    "outcome": Field("outcome", _EQUALS, str),
    "priority": Field("priority", _TIMES, _whole),
    "due_at": Field("due_at", _TIMES, _moment),
    "created_at": Field("created_at", _TIMES, _moment),
}
WORKER_FIELDS: Mapping[str, Field] = {
    "worker_id": Field("worker", _EQUALS, str),
    "instance": Field("instance", _EQUALS, str),
    "build": Field("build", _EQUALS, str),
    "server_id": Field("server", _EQUALS, str),
    "state": Field("state", _EQUALS, _words("ACTIVE", "DRAINING")),
    "connection": Field("connection", _EQUALS, _words("STREAM", "POLL")),
    "action": Field("action", ("=",), str),
}
DEFINITION_FIELDS: Mapping[str, Field] = {
    "name": Field("name", _EQUALS, str),
    "kind": Field("kind", _EQUALS, _kind),
    "workflow_namespace": Field("workflow_namespace", _EQUALS, str),
    "current": Field("current", ("=",), _flag),
}

_TERM = re.compile(r"""\s*([a-z_]+)\s*(!=|<=|>=|=|<|>|:)\s*("(?:[^"\\]|\\.)*"|[^\s"]+)\s*""")
_AND = re.compile(r"AND(?:\s+|$)")
_MOST_TERMS = 20


def parse_filter(text: str, fields: Mapping[str, Field]) -> list[Term]:
    """Return the terms of *text*, all of which must hold.

    Raises:
        FilterInvalid: it cannot be understood, or names something that cannot be filtered on.
    """
    if "\0" in text:
        raise _invalid("it holds the character NUL, which nothing that is stored does", fields)
    terms: list[Term] = []
    position = 0
    while position < len(text.rstrip()):
        if terms:
            joined = _AND.match(text, position)
            if joined is None:
                raise _invalid(f"'{text[position : position + 20]}' follows where AND should", fields)
            position = joined.end()
        found = _TERM.match(text, position)
        if found is None or len(terms) >= _MOST_TERMS:
            raise _invalid(f"'{text[position : position + 20]}' is no comparison", fields)
        name, operator, value = found.groups()
        terms.append(_term(name, operator, value, fields))
        position = found.end()
    return terms


def _term(name: str, operator: str, text: str, fields: Mapping[str, Field]) -> Term:
    field = fields.get(name)
    if field is None:
        raise _invalid(f"there is no field '{name}'", fields)
    if operator not in field.operators:
        raise _invalid(f"field '{name}' takes {' '.join(field.operators)}, not '{operator}'", fields)
    value = re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
    try:
        return Term(field.column, operator, field.parse(value))
    except ValueError as error:
        raise _invalid(f"the value of '{name}' is wrong: {error}", fields) from None


def _invalid(problem: str, fields: Mapping[str, Field]) -> FilterInvalid:
    return FilterInvalid(problem=problem, fields=", ".join(fields), field="filter")


# --- pushed down ---------------------------------------------------------------------------------


def filtered(query: Any, table: sa.Table, terms: Sequence[Term]) -> Any:
    """Add *terms* to *query* of *table*."""
    for term in terms:
        query = query.where(holds(table, term))
    return query


def holds(table: sa.Table, term: Term) -> sa.ColumnElement[bool]:
    """Return *term* as a condition of *table*."""
    return compared(table.c[term.column], term)


def compared(column: sa.ColumnElement[Any], term: Term) -> sa.ColumnElement[bool]:
    """Return *term* as a condition of *column*."""
    if isinstance(term.value, tuple):
        return column.in_(term.value) if term.operator == "=" else column.not_in(term.value)
    if term.operator == "=":
        return column == term.value
    if term.operator == "!=":
        return column != term.value
    return column.op(term.operator, is_comparison=True)(term.value)
