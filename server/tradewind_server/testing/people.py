"""What people do in a scenario, and what can be told of the human tasks that they do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from tradewind_server.clock import from_microseconds
from tradewind_server.engine import commands as c
from tradewind_server.engine import events as e
from tradewind_server.engine.attachment import Attachment
from tradewind_server.engine.state import HumanTask
from tradewind_server.lang.reader import Keyword
from tradewind_server.lang.shapes import ANYTHING, TEXT, TEXTS
from tradewind_server.store.notifications import Notification
from tradewind_server.store.substitutes import LATER


def person_of(how: dict[str, Any]) -> c.Person:
    """Return who acts in a step."""
    groups, stands_for = frozenset(how.get("groups", ())), frozenset(how.get("stands_for", ()))
    return c.Person(how["by"], groups, how.get("manages", False), stands_for)


def command_of(kind: str, how: dict[str, Any], at: datetime, human_task: HumanTask) -> c.HumanTaskCommand:
    """Return what the step *kind* asks of a human task; who submits has seen what it shows now, unless he says else."""
    return _COMMANDS[kind](at, human_task, person_of(how), how)


_Make = Callable[[datetime, HumanTask, c.Person, dict[str, Any]], c.HumanTaskCommand]
_COMMANDS: dict[str, _Make] = {
    "claim": lambda at, h, person, how: c.ClaimHumanTask(at, h.id, person),
    "release": lambda at, h, person, how: c.ReleaseHumanTask(at, h.id, person, how.get("note", "")),
    "assign": lambda at, h, person, how: c.AssignHumanTask(at, h.id, person, how["to"], how.get("note", "")),
    "delegate": lambda at, h, person, how: c.DelegateHumanTask(at, h.id, person, how["to"], how.get("note", "")),
    "draft": lambda at, h, person, how: c.SaveHumanTaskDraft(at, h.id, person, how.get("data")),
    "comment": lambda at, h, person, how: c.CommentHumanTask(at, h.id, person, how["text"]),
    "attach": lambda at, h, person, how: _attach(at, h, person, how),
    "withdraw": lambda at, h, person, how: c.WithdrawAttachment(
        at, h.id, person, how["attachment"], how.get("note", "")
    ),
    "submit": lambda at, h, person, how: c.SubmitHumanTask(
        at, h.id, person, how["outcome"], how.get("etag", h.etag), how.get("reason", ""), how.get("data")
    ),
}


def _attach(at: datetime, human_task: HumanTask, person: c.Person, how: dict[str, Any]) -> c.AddAttachment:
    """Return what adds a file; one with a `uri` is kept elsewhere."""
    uri, content = how.get("uri", ""), str(how.get("content", "")).encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    given = Attachment(how["name"], how.get("content_type", "text/plain"), len(content), digest, uri)
    return c.AddAttachment(at, human_task.id, person, given, None if uri else content)


#: What `people` of an expectation can say of a human task.
_TOLD: dict[str, Callable[[HumanTask], Any]] = {
    "state": lambda h: str(h.state),
    "users": lambda h: list(h.users),
    "groups": lambda h: list(h.groups),
    "excluded": lambda h: dict(h.excluded),
    "priority": lambda h: h.priority,
    "assignee": lambda h: h.assignee,
    "owner": lambda h: h.owner,
    "done_by": lambda h: h.done_by,
    "outcome": lambda h: h.outcome,
    "comments": lambda h: h.comment_count,
    "level": lambda h: h.level,
    "quorum": lambda h: h.quorum,
    "asked": lambda h: list(h.asked),
    # by whom -> how
    "votes": lambda h: {vote.by: vote.outcome for vote in h.votes},
    # number -> name
    "attachments": lambda h: {f"f{each.id}": each.name for each in h.attachments},
    # who has it -> who is accountable for that
    "claims": lambda h: {claim.by: claim.owner for claim in h.claims},
}
TOLD = {name: Keyword(ANYTHING) for name in _TOLD}


def told(human_task: HumanTask, fields: Iterable[str]) -> dict[str, Any]:
    """Return *fields* of a human task as `people` of an expectation speaks of it."""
    return {name: _TOLD[name](human_task) for name in fields}


def place_of(row: Notification) -> tuple[object, ...]:
    """Return the place of a notification among others; of the substitutes who are told later, when and their names."""
    return (row.revision, row.number) if row.number < LATER else (row.revision, LATER, row.created_at, row.recipient)


def notified(row: Notification, event: e.NotificationRequested) -> dict[str, Any]:
    """Return a notification as `notifications` of an expectation speaks of it: what it may say, and who is told."""
    kind, _, name = row.recipient.partition(":")
    moment = from_microseconds(row.created_at).isoformat(timespec="minutes").replace("+00:00", "Z")
    to = name if kind == "user" else f"{kind} {name}"
    return {**event.subject, "kind": row.kind, "to": to, "channels": list(event.channels), "at": moment}


_DO = {"by": Keyword(TEXT, required=True), "groups": Keyword(TEXTS), "stands_for": Keyword(TEXTS)}
_TO = {"to": Keyword(TEXT, required=True), "note": Keyword(TEXT)}
#: Step -> what it takes beside the task. Where somebody acts who may manage human tasks, he says so.
STEPS: dict[str, dict[str, Keyword]] = {
    "claim": _DO,
    "release": {**_DO, "note": Keyword(TEXT), "manages": Keyword(ANYTHING)},
    "assign": {**_DO, **_TO, "manages": Keyword(ANYTHING)},
    "delegate": {**_DO, **_TO},
    "draft": {**_DO, "data": Keyword(ANYTHING)},
    "comment": {**_DO, "text": Keyword(TEXT, required=True)},
    "attach": {
        **_DO,
        "name": Keyword(TEXT, required=True),
        "content": Keyword(TEXT),
        "content_type": Keyword(TEXT),
        "uri": Keyword(TEXT),
        "manages": Keyword(ANYTHING),
    },
    "withdraw": {
        **_DO,
        "attachment": Keyword(ANYTHING, required=True),
        "note": Keyword(TEXT),
        "manages": Keyword(ANYTHING),
    },
    "submit": {
        **_DO,
        "outcome": Keyword(TEXT, required=True),
        "reason": Keyword(ANYTHING),
        "data": Keyword(ANYTHING),
        "etag": Keyword(TEXT),
    },
}
