"""What a notification says: a text for each kind, with names of public fields in braces.

A line is left out where it names fields and all of them are empty. What a field holds is never read as a template.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from tradewind_server.lang.documents import Path
from tradewind_server.lang.reader import Keyword, Reader, Shape

_FIELD = re.compile(r"\{([a-z_]+)\}")
#: What templates may name: what the engine tells of the subject, and what the outbox knows besides.
FIELDS = frozenset(
    {"title", "task", "human_task", "workflow", "execution", "started_by", "who", "due", "priority", "message"}
    | {"id", "kind", "to", "link", "business_key"}
)
#: What the body of a message to a provider may name besides: the texts themselves, and where they go.
TEXTS = frozenset({"address", "subject", "text", "short"})
_MOST_SUBJECT = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Texts:
    """The templates of one kind."""

    subject: str
    text: str
    #: In a line, for a telephone.
    short: str


@dataclasses.dataclass(frozen=True, slots=True)
class Letter:
    """A notification in words."""

    #: The same however often it is sent.
    id: str
    #: Every public field, "" where there is none.
    fields: Mapping[str, str]
    subject: str
    text: str
    short: str
    #: W3C traceparent of what it is about, or "".
    trace: str = ""


_ABOUT = "Task: {title}\nDue: {due}\nProcess: {workflow}\nStarted by: {started_by}\n{link}"
DEFAULTS: Mapping[str, Texts] = {
    "offered": Texts(
        "To do: {title}",
        f"You are asked to decide.\n\n{_ABOUT}\nNote: {{message}}",
        "To do: {title}\ndue {due}\n{link}",
    ),
    "reminder": Texts(
        "Reminder: {title}", f"This still waits to be decided.\n\n{_ABOUT}", "Still to do: {title}\ndue {due}\n{link}"
    ),
    "escalated": Texts(
        "Escalated to you: {title}",
        f"Nobody has decided in time, so you are asked as well.\n\n{_ABOUT}",
        "Escalated to you: {title}\ndue {due}\n{link}",
    ),
    "expired": Texts(
        "Expired: {title}",
        f"Nobody has decided in time, so this has ended by itself.\nOutcome: {{message}}\n\n{_ABOUT}",
        "Expired: {title}\noutcome {message}",
    ),
    "closed": Texts(
        "No longer to do: {title}",
        f"This is not to be decided any more.\nReason: {{message}}\n\n{_ABOUT}",
        "No longer to do: {title}",
    ),
    "test": Texts("A test", "This is a test of the channel '{title}'.", "A test of the channel '{title}'"),
}


def written(texts: Texts, id_: str, fields: Mapping[str, object], link: str, trace: str = "") -> Letter:
    """Return a notification in words; *link* is a template, too, and *trace* goes along as it is."""
    said = {name: "" for name in FIELDS} | {name: str(value) for name, value in fields.items()} | {"id": id_}
    if said["human_task"]:
        said["link"] = filled(link, said)
    subject = " ".join(filled(texts.subject, said).split())[:_MOST_SUBJECT]
    return Letter(id_, said, subject, _lines(texts.text, said), " ".join(_lines(texts.short, said).split()), trace)


def _lines(template: str, fields: Mapping[str, str]) -> str:
    kept = []
    for line in template.splitlines():
        named = _FIELD.findall(line)
        if not named or any(fields.get(name) for name in named):
            kept.append(filled(line, fields))
    return "\n".join(kept).strip() + "\n"


def filled(template: str, fields: Mapping[str, str]) -> str:
    """Return *template* with its fields."""
    return _FIELD.sub(lambda match: fields.get(match[1], ""), template)


# --- in the file of channels ---------------------------------------------------------------------


def check_fields(reader: Reader, path: Path, template: str, known: frozenset[str]) -> None:
    """Report a name in braces that is none of the *known* fields."""
    for name in _FIELD.findall(template):
        if name not in known:
            reader.wrong(path, template, f"a text with fields of {', '.join(sorted(known))}")


def _read_template(reader: Reader, value: object, path: Path) -> object:
    if not isinstance(value, str) or not value:
        return reader.wrong(path, value, "a text")
    check_fields(reader, path, value, FIELDS)
    return value


TEMPLATE = Shape("a text with public fields in braces", _read_template)
_TEXTS = {"subject": Keyword(TEMPLATE), "text": Keyword(TEMPLATE), "short": Keyword(TEMPLATE)}


def _read_templates(reader: Reader, value: object, path: Path) -> object:
    if not isinstance(value, dict) or not value:
        return reader.wrong(path, value, TEMPLATES.expected)
    found = dict(DEFAULTS)
    for kind, entry in value.items():
        if kind not in DEFAULTS:
            reader.wrong((*path, kind), kind, f"one of {', '.join(DEFAULTS)}")
            continue
        parts: dict[str, Any] = reader.table(entry, (*path, kind), _TEXTS, "a notification's texts")
        found[kind] = dataclasses.replace(DEFAULTS[kind], **parts)
    return found


TEMPLATES = Shape("a mapping of kinds of notifications to texts", _read_templates)
