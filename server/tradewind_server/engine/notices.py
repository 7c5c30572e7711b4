"""What people are told of human tasks: which events ask for a notification, of whom, and what it may say.

What is asked for here is a row of the outbox in the same transaction; who sends it is not the engine's business.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tradewind_server.engine import events as e
from tradewind_server.engine.asked import names_of, scope_of, spec_of
from tradewind_server.engine.decision import Decision
from tradewind_server.engine.policies import TASK_ERRORS
from tradewind_server.engine.state import HumanTask
from tradewind_server.lang.expressions import Scope
from tradewind_server.lang.references import shown
from tradewind_server.lang.specs import HumanSpec
from tradewind_server.lang.values import to_text

OFFERED, REMINDER, ESCALATED, EXPIRED, CLOSED = "offered", "reminder", "escalated", "expired", "closed"
#: A longer title is cut.
_MOST_TITLE = 500


def public_fields(d: Decision, human_task: HumanTask, title: str) -> dict[str, object]:
    """Return all that may be said of a human task outside of the inbox; templates see nothing else."""
    task = d.state.tasks[human_task.task]
    asked = [*human_task.asked, *human_task.groups]
    return {
        "title": shown(title)[:_MOST_TITLE],
        "task": task.name,
        "human_task": f"{d.state.id}/a{human_task.id}",
        "workflow": d.state.workflow,
        "execution": d.state.id,
        "started_by": d.state.initiator,
        "who": human_task.assignee or ", ".join(asked),
        "due": "" if human_task.due is None else human_task.due.isoformat(timespec="minutes"),
        "priority": human_task.priority,
    }


def _title(d: Decision, human_task: HumanTask) -> str:
    try:
        return to_text(spec_of(d, human_task).title.evaluate(scope_of(d, human_task)))
    except TASK_ERRORS:
        return d.state.tasks[human_task.task].name


def request(
    d: Decision,
    kind: str,
    human_task: HumanTask,
    users: Sequence[str],
    groups: Sequence[str] = (),
    channels: Sequence[str] = (),
    message: str = "",
) -> None:
    """Ask for *users* and *groups* to be told, if there are any."""
    if not users and not groups:
        return
    subject = {**public_fields(d, human_task, _title(d, human_task)), "message": message}
    d.emit(
        e.NotificationRequested(
            kind, list(users), list(groups), subject, list(channels), human_task.id, human_task.task
        )
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """Who is told that people are asked."""

    users: Sequence[str] = ()
    groups: Sequence[str] = ()
    channels: Sequence[str] = ()


def told_of_offer(d: Decision, human: HumanSpec, scope: Scope, users: Sequence[str], groups: Sequence[str]) -> Told:
    """Return who is told when *users* and *groups* are asked: they, or whom the definition names instead, or nobody.

    Raises:
        TaskError: it names no names.
    """
    notify = human.notify
    if not (d.library.notify_asked if notify is None else notify.is_wanted):
        return Told()
    if notify is None or (notify.users is None and notify.groups is None):
        return Told(users, groups, notify.channels if notify is not None else ())
    others = names_of(notify.users, scope, "notify: users")
    return Told(others, names_of(notify.groups, scope, "notify: groups"), notify.channels)


def tell_asked(d: Decision, human_task: HumanTask, users: Sequence[str], message: str = "") -> None:
    """Tell *users* that it is for them now, as those who were asked first are told; nobody, if others are instead."""
    notify = spec_of(d, human_task).notify
    if not (d.library.notify_asked if notify is None else notify.is_wanted):
        return
    if notify is None or (notify.users is None and notify.groups is None):
        request(d, OFFERED, human_task, users, (), notify.channels if notify is not None else (), message)


def tell_responsible(
    d: Decision, kind: str, human_task: HumanTask, channels: Sequence[str] = (), message: str = ""
) -> None:
    """Tell whoever has it, and who is accountable for it; all who are asked if nobody has it, or more are to vote."""
    if human_task.assignee:
        request(d, kind, human_task, human_task.holders, (), channels, message)
    else:
        users = dict.fromkeys([*human_task.asked, *human_task.holders])
        request(d, kind, human_task, list(users), human_task.groups, channels, message)


def tell_holder(d: Decision, human_task: HumanTask, who: Sequence[str], message: str) -> None:
    """Tell whoever had it that it is not to be done any more."""
    request(d, CLOSED, human_task, who, message=message)
