"""`human`: a task that a person does. Its keywords and how they become a `HumanSpec`.

This is Tradewind's own addition to the language.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

from tradewind_server.lang.attachments import ATTACHMENTS_SHAPE
from tradewind_server.lang.documents import Path
from tradewind_server.lang.durations import DURATION, duration_of
from tradewind_server.lang.expressions import Template
from tradewind_server.lang.forms import FormInvalid, check_form
from tradewind_server.lang.named_forms import check_hints, is_reference
from tradewind_server.lang.reader import Keyword, Reader, Schema, Shape, table_schema
from tradewind_server.lang.resolvers import or_resolver, split_resolvers
from tradewind_server.lang.shapes import (
    COUNT,
    EXPRESSION_SCHEMA,
    FLAG,
    TEMPLATES,
    TEXT,
    TEXT_OR_TEXTS,
    TEXT_SCHEMA,
    TEXT_TEMPLATE,
    is_expression,
    is_text,
    names_shape,
    report_repeats,
)
from tradewind_server.lang.specs import Escalation, Expiry, HumanSpec, Notify, Outcome, Quorum, Reminder, Separation

MAX_PRIORITY = 100
#: Votes for one outcome.
MAX_QUORUM = 100
_OUTCOME_NAME = re.compile(r"[\w-]{1,64}")
_INITIATOR = "initiator"
_CHANNEL_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def _read_names(reader: Reader, value: object, path: Path) -> object:
    if is_text(value) or (isinstance(value, list) and value and all(map(is_text, value))):
        return reader.template(value, path)
    return reader.wrong(path, value, _NAMES.expected)


_NAMES = Shape(
    "a name, a list of names, or an expression that gives one of these",
    _read_names,
    {"anyOf": [TEXT_SCHEMA, {"type": "array", "minItems": 1, "items": TEXT_SCHEMA}]},
)
_WHO = {"users": Keyword(_NAMES), "groups": Keyword(_NAMES)}
_ASKED = {field: Keyword(or_resolver(_NAMES)) for field in _WHO}


def _read_form(reader: Reader, value: object, path: Path) -> object:
    if isinstance(value, str) and is_reference(value):
        return value
    if not isinstance(value, dict) or not value:
        return reader.wrong(path, value, _FORM.expected)
    try:
        check_form(value)
        check_hints(value)
    except FormInvalid as problem:
        message = f"Expected a JSON Schema of an object, but {problem}."
        reader.report("form", path, message)
        return None
    return value


_FORM = Shape(
    "a JSON Schema of an object, or the name of a form",
    _read_form,
    {"anyOf": [{"type": "object", "required": ["type"]}, TEXT_SCHEMA]},
)


def _read_outcomes(reader: Reader, value: object, path: Path) -> object:
    if isinstance(value, list) and value:
        report_repeats(reader, path, value)
        pairs: list[tuple[object, object, Path]] = [(item, None, (*path, n)) for n, item in enumerate(value)]
    elif isinstance(value, dict) and value:
        pairs = [(name, detail, (*path, name)) for name, detail in value.items()]
    else:
        return reader.wrong(path, value, _OUTCOMES.expected)
    found = [_read_outcome(reader, name, detail, place) for name, detail, place in pairs]
    return tuple(outcome for outcome in found if outcome is not None)


def _read_outcome(reader: Reader, name: object, detail: object, path: Path) -> Outcome | None:
    if not isinstance(name, str) or not _OUTCOME_NAME.fullmatch(name):
        reader.wrong(path, name, "an outcome's name of at most 64 letters, digits, '_' and '-'")
        return None
    if detail is None:
        return Outcome(name)
    parts = reader.table(detail, path, _OUTCOME, "an outcome")
    return Outcome(name, parts.get("reason") == "required")


def _read_reason(reader: Reader, value: object, path: Path) -> object:
    return value if value in ("required", "optional") else reader.wrong(path, value, "'required' or 'optional'")


_OUTCOME = {"reason": Keyword(Shape("'required' or 'optional'", _read_reason, {"enum": ["required", "optional"]}))}
_OUTCOMES = Shape(
    "a list of outcomes, or a mapping with the details of each",
    _read_outcomes,
    {
        "anyOf": [
            {"type": "array", "minItems": 1, "uniqueItems": True, "items": TEXT_SCHEMA},
            {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": {"anyOf": [{"type": "null"}, table_schema(_OUTCOME)]},
            },
        ]
    },
)


def _read_votes(reader: Reader, value: object, path: Path) -> object:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_QUORUM
    if is_count or is_expression(value) or value == "all":
        return reader.template(value, path)
    return reader.wrong(path, value, _VOTES.expected)


_VOTES = Shape(
    f"a whole number from 1 to {MAX_QUORUM}, 'all', or one expression that gives a number",
    _read_votes,
    {"anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX_QUORUM}, {"const": "all"}, EXPRESSION_SCHEMA]},
)


def _read_quorum(reader: Reader, value: object, path: Path) -> object:
    if not isinstance(value, dict):
        votes: Any = _VOTES.read(reader, value, path)
        return None if votes is None else Quorum(_counted(votes))
    parts: dict[str, Any] = reader.table(value, path, _QUORUM, "a quorum")
    return Quorum(
        _counted(parts.get("votes")), parts.get("veto", ()), parts.get("sequential", False), parts.get("otherwise", "")
    )


def _counted(votes: Template | None) -> Template | None:
    return None if votes is None or votes.source == "all" else votes


_QUORUM = {
    "votes": Keyword(_VOTES),
    "veto": Keyword(TEXT_OR_TEXTS),
    "sequential": Keyword(FLAG),
    "otherwise": Keyword(TEXT),
}
_QUORUM_SHAPE = Shape(
    "how many votes decide: a number, 'all', or 'votes', 'veto', 'sequential' and 'otherwise'",
    _read_quorum,
    {"anyOf": [_VOTES.schema, table_schema(_QUORUM)]},
)


def _read_separation(reader: Reader, value: object, path: Path) -> object:
    entries = value if isinstance(value, list) and value else [value]
    initiator, tasks, users = False, [], []
    for n, entry in enumerate(entries):
        place = (*path, n) if isinstance(value, list) else path
        if entry == _INITIATOR:
            initiator = True
        elif isinstance(entry, dict) and len(entry) == 1:
            parts: dict[str, Any] = reader.table(entry, place, _SEPARATED, "a separation")
            tasks += [parts["task"]] if "task" in parts else []
            users += [parts["user"]] if "user" in parts else []
        else:
            reader.wrong(place, entry, _SEPARATION.expected)
    return Separation(initiator, tuple(tasks), tuple(users))


_SEPARATED = {"task": Keyword(TEXT), "user": Keyword(_NAMES)}
_SEPARATION_SCHEMA: Schema = {"anyOf": [{"const": _INITIATOR}, table_schema(_SEPARATED)]}
_SEPARATION = Shape(
    "'initiator', 'task: NAME' or 'user: NAME', or a list of these",
    _read_separation,
    {"anyOf": [_SEPARATION_SCHEMA, {"type": "array", "minItems": 1, "items": _SEPARATION_SCHEMA}]},
)


def _read_fallback(reader: Reader, value: object, path: Path) -> object:
    return reader.table(value, path, _WHO, "a fallback") or None


_FALLBACK = Shape("'users' and 'groups'", _read_fallback, table_schema(_WHO))


_CHANNELS = names_shape(
    "a channel's name of at most 32 small letters, digits, '_' and '-', or a list of these", _CHANNEL_NAME
)


def _read_notify(reader: Reader, value: object, path: Path) -> object:
    if isinstance(value, bool):
        return Notify(is_wanted=value)
    if not isinstance(value, dict):
        return reader.wrong(path, value, _NOTIFY_SHAPE.expected)
    parts: dict[str, Any] = reader.table(value, path, _NOTIFY, "a notification")
    return Notify(**parts)


_NOTIFY = {**_WHO, "channels": Keyword(_CHANNELS)}
_NOTIFY_SHAPE = Shape(
    "true, false, or who is told by 'users', 'groups' and 'channels'",
    _read_notify,
    {"anyOf": [{"type": "boolean"}, table_schema(_NOTIFY)]},
    takes_booleans=True,
)


def _read_escalations(reader: Reader, value: object, path: Path) -> object:
    entries = value if isinstance(value, list) and value else [value]
    found = []
    for n, entry in enumerate(entries):
        place = (*path, n) if isinstance(value, list) else path
        parts: dict[str, Any] = reader.table(entry, place, _ESCALATION, "an escalation")
        if isinstance(entry, dict) and entry and not entry.keys() & _WHO.keys():
            message = "Expected 'users' or 'groups' in an escalation, or it asks nobody."
            reader.report("missing-keyword", place, message, "Add 'groups: …'.", at_value=False)
        if "after" in parts:
            found.append(Escalation(**parts))
    _check_order(reader, found, path)
    return tuple(found)


def _check_order(reader: Reader, steps: list[Escalation], path: Path) -> None:
    known = [duration_of(step.after.source) for step in steps if step.after.is_constant]
    if any(later.is_before(sooner) for sooner, later in itertools.pairwise(known)):
        reader.report("escalation-order", path, "Expected escalations in the order of 'after', but they are not.")


_ESCALATION = {"after": Keyword(DURATION, required=True), **_WHO, "channels": Keyword(_CHANNELS)}
_ESCALATIONS = Shape(
    "'after' with 'users' or 'groups', or a list of these",
    _read_escalations,
    {"anyOf": [table_schema(_ESCALATION), {"type": "array", "minItems": 1, "items": table_schema(_ESCALATION)}]},
)


def _read_reminders(reader: Reader, value: object, path: Path) -> object:
    entries = value if isinstance(value, list) and value else [value]
    found = []
    for n, entry in enumerate(entries):
        place = (*path, n) if isinstance(value, list) else path
        parts: dict[str, Any] = reader.table(entry, place, _REMINDER, "a reminder")
        _check_one_of(reader, entry, place, "a reminder", "after", "before due")
        if isinstance(entry, dict) and "every" in entry and "count" not in entry:
            message = "Expected 'count' beside 'every' in a reminder, or it never ends."
            reader.report("missing-keyword", place, message, "Add 'count: 3'.", at_value=False)
        if isinstance(entry, dict) and "count" in entry and "every" not in entry:
            message = "Expected 'every' beside 'count' in a reminder, or all would come at once."
            reader.report("missing-keyword", place, message, "Add 'every: 1d'.", at_value=False)
        found.append(Reminder(**{name.replace(" ", "_"): part for name, part in parts.items()}))
    return tuple(found)


def _check_one_of(reader: Reader, entry: object, path: Path, what: str, *names: str) -> None:
    if isinstance(entry, dict) and entry and sum(name in entry for name in names) != 1:
        either = " or ".join(f"'{name}'" for name in names)
        reader.report("missing-keyword", path, f"Expected either {either} in {what}.", at_value=False)


_REMINDER = {
    "after": Keyword(DURATION),
    "before due": Keyword(DURATION),
    "every": Keyword(DURATION),
    "count": Keyword(COUNT),
    "channels": Keyword(_CHANNELS),
}
_REMINDERS = Shape(
    "'after' or 'before due', or a list of these",
    _read_reminders,
    {"anyOf": [table_schema(_REMINDER), {"type": "array", "minItems": 1, "items": table_schema(_REMINDER)}]},
)


def _read_expiry(reader: Reader, value: object, path: Path) -> object:
    parts: dict[str, Any] = reader.table(value, path, _EXPIRY, "an expiry")
    _check_one_of(reader, value, path, "an expiry", "after", "at")
    return Expiry(parts.get("after"), parts.get("outcome", ""))


def _read_due(reader: Reader, value: object, path: Path) -> object:
    return value if value == "due" else reader.wrong(path, value, "'due'")


_EXPIRY = {
    "after": Keyword(DURATION),
    "at": Keyword(Shape("'due'", _read_due, {"const": "due"})),
    "outcome": Keyword(TEXT),
}
_EXPIRY_SHAPE = Shape("'after' or 'at: due', perhaps with 'outcome'", _read_expiry, table_schema(_EXPIRY))

HUMAN = {
    "title": Keyword(TEXT_TEMPLATE, required=True),
    "description": Keyword(TEXT_TEMPLATE),
    "show": Keyword(TEMPLATES),
    "form": Keyword(_FORM),
    **_ASKED,
    "fallback": Keyword(_FALLBACK),
    "separate_from": Keyword(_SEPARATION),
    "outcomes": Keyword(_OUTCOMES),
    "quorum": Keyword(_QUORUM_SHAPE),
    "attachments": Keyword(ATTACHMENTS_SHAPE),
    "priority": Keyword(COUNT),
    "calendar": Keyword(TEXT_TEMPLATE),
    "due": Keyword(DURATION),
    "notify": Keyword(_NOTIFY_SHAPE),
    "remind": Keyword(_REMINDERS),
    "escalate": Keyword(_ESCALATIONS),
    "expire": Keyword(_EXPIRY_SHAPE),
}


def _read_human(reader: Reader, value: object, path: Path) -> object:
    parts: dict[str, Any] = reader.table(value, path, HUMAN, "a human task")
    if isinstance(value, dict) and value and not value.keys() & _WHO.keys():
        message = "Expected 'users' or 'groups' in a human task, or nobody can do it."
        reader.report("missing-keyword", path, message, "Add 'groups: …'.", at_value=False)
    _check_priority(reader, parts.get("priority"), path)
    if "title" not in parts:
        return None
    fallback = parts.pop("fallback", {})
    if isinstance(parts.get("form"), str):
        parts["form_name"] = parts.pop("form")
    return HumanSpec(
        **split_resolvers(parts), fallback_users=fallback.get("users"), fallback_groups=fallback.get("groups")
    )


def _check_priority(reader: Reader, priority: Template | None, path: Path) -> None:
    if priority is not None and isinstance(priority.source, int) and priority.source > MAX_PRIORITY:
        reader.wrong((*path, "priority"), priority.source, f"at most {MAX_PRIORITY}")


HUMAN_SHAPE = Shape("the keywords of a human task", _read_human, table_schema(HUMAN))
