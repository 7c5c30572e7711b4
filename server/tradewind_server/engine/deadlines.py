"""What happens to a human task by itself: reminders, escalation, expiry.

All moments but those of escalations are computed when people are asked, and written into that event. An escalation is
evaluated when it comes, with what the process knows by then.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta

from tradewind_server.engine import events as e
from tradewind_server.engine import notices
from tradewind_server.engine.asked import names_of, scope_of, spec_of
from tradewind_server.engine.calendars import Calendar
from tradewind_server.engine.decision import Decision
from tradewind_server.engine.eligibility import why_kept_away
from tradewind_server.engine.policies import MOST_SECONDS, TASK_ERRORS, TaskError, whole_number
from tradewind_server.engine.quorum import SYSTEM, result_of
from tradewind_server.engine.state import HumanTask
from tradewind_server.lang.durations import Duration, Unit, duration_of
from tradewind_server.lang.expressions import Scope, Template
from tradewind_server.lang.specs import Escalation, HumanSpec, Reminder
from tradewind_server.lang.values import to_text

#: Purposes of the timers, with the action after a colon.
ESCALATE, REMIND, EXPIRE = "escalate", "remind", "expire"
NOBODY_DECIDED = "Nobody decided in time."
_MOST_REMINDERS = 100
#: From the first to the last of one reminder; it bounds what computing them takes.
_LONGEST_SERIES = timedelta(days=3 * 366)


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """When what is to happen."""

    due: datetime | None
    #: (moment, number of the reminder in the definition, from 0), the first first.
    reminders: list[tuple[datetime, int]]
    escalates: datetime | None
    expires: datetime | None


def plan(d: Decision, human: HumanSpec, scope: Scope) -> Plan:
    """Return when a human task that is offered now is due, and so on.

    Raises:
        TaskError: the definition gives no duration somewhere, or names an unknown calendar.
    """
    if human.due is None and not (human.escalate or human.remind or human.expire):
        return Plan(None, [], None, None)
    time = _Time(calendar_of(d, human, scope), scope)
    due = None if human.due is None else time.after(d.at, human.due, "due")
    escalates = time.after(d.at, human.escalate[0].after, "escalate: after") if human.escalate else None
    expires = None
    if human.expire is not None:
        expires = due if human.expire.after is None else time.after(d.at, human.expire.after, "expire: after")
    moments = [(moment, n) for n, reminder in enumerate(human.remind) for moment in time.of(reminder, d.at, due)]
    if len(moments) > _MOST_REMINDERS:
        raise TaskError(f"remind must give at most {_MOST_REMINDERS} moments, but gives {len(moments)}")
    return Plan(due, sorted(each for each in moments if each[0] > d.at), escalates, expires)


def calendar_of(d: Decision, human: HumanSpec, scope: Scope) -> Calendar:
    """Return the calendar by which a human task counts.

    Raises:
        TaskError: this server has none of that name.
    """
    name = "" if human.calendar is None else to_text(human.calendar.evaluate(scope))
    found = d.library.calendar(name)
    if found is None:
        raise TaskError(f"calendar must be one that the server knows, but is '{name:.40}'")
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class _Time:
    calendar: Calendar
    scope: Scope

    def after(self, moment: datetime, template: Template, what: str) -> datetime:
        return self._away(moment, self._duration(template, what), what, forward=True)

    def _away(self, moment: datetime, duration: Duration, what: str, *, forward: bool) -> datetime:
        try:
            return self.calendar.after(moment, duration) if forward else self.calendar.before(moment, duration)
        except (ValueError, OverflowError) as problem:
            raise TaskError(f"{what} cannot be computed: {problem}") from None

    def _duration(self, template: Template, what: str) -> Duration:
        try:
            duration = duration_of(template.evaluate(self.scope))
        except ValueError as problem:
            raise TaskError(f"{what}: {problem}") from None
        if duration.unit is Unit.SECOND and duration.count > MOST_SECONDS:
            raise TaskError(f"{what} must be at most {MOST_SECONDS} s, but is {duration.count} s")
        return duration

    def of(self, reminder: Reminder, offered: datetime, due: datetime | None) -> list[datetime]:
        """Return all moments of a reminder, also those that are over."""
        if reminder.after is not None:
            first = self.after(offered, reminder.after, "remind: after")
        elif reminder.before_due is not None and due is not None:
            first = self._away(due, self._duration(reminder.before_due, "before due"), "before due", forward=False)
        else:
            raise TaskError("remind: before due needs 'due'")
        count = 1 if reminder.count is None else whole_number(reminder.count, self.scope, "remind: count")
        if count > _MOST_REMINDERS:
            raise TaskError(f"remind: count must be at most {_MOST_REMINDERS}, but is {count}")
        found = [first]
        while reminder.every is not None and len(found) < count:
            found.append(self.after(found[-1], reminder.every, "remind: every"))
            if found[-1] <= found[-2]:
                raise TaskError("remind: every must be more than no time")
            if found[-1] - first > _LONGEST_SERIES:
                raise TaskError("remind goes on for more than three years")
        return found[:count]


def begin(d: Decision, human_task: HumanTask, what: Plan) -> None:
    """Set the timers of a human task that has just been offered."""
    if what.escalates is not None:
        d.set_timer_at(f"{ESCALATE}:{human_task.id}", what.escalates, human_task.task)
    if what.expires is not None:
        d.set_timer_at(f"{EXPIRE}:{human_task.id}", what.expires, human_task.task)
    _remind_next(d, human_task)


def _remind_next(d: Decision, human_task: HumanTask) -> None:
    if human_task.reminders:
        d.set_timer_at(f"{REMIND}:{human_task.id}", human_task.reminders[0][0], human_task.task)


def end(d: Decision, action: int, task: int) -> None:
    """Drop the timers of a human task that is over."""
    timers = d.state.tasks[task].timers
    for purpose in (ESCALATE, REMIND, EXPIRE):
        timer = timers.get(f"{purpose}:{action}")
        if timer is not None:
            d.emit(e.TimerEnded(timer))


# --- when they are due ---------------------------------------------------------------------------


def escalate(d: Decision, action: int) -> None:
    """Ask more people, those of the next step, and tell them; who had it has had his time.

    A step that asks nobody says why, and the next one comes at once: nobody would hear of it before.
    """
    human_task = d.state.human_tasks[action]
    if not human_task.is_open:
        return
    human, level = spec_of(d, human_task), human_task.level
    step, rest = human.escalate[level], human.escalate[level + 1 :]
    users, groups, why_nobody = _asked_by(d, human_task, step)
    new_groups = [group for group in groups if group not in human_task.groups]
    new = [user for user in users if user not in human_task.users]
    d.emit(e.HumanTaskEscalated(action, human_task.task, level + 1, users, groups, why_nobody))
    told = [user for user in new if user in human_task.asked]
    notices.request(d, notices.ESCALATED, human_task, told, new_groups, step.channels)
    if rest and why_nobody:
        escalate(d, action)
    elif rest:
        _await_step(d, human_task, human, rest[0])


def _asked_by(d: Decision, human_task: HumanTask, step: Escalation) -> tuple[list[str], list[str], str]:
    """Return which users and groups a step asks, of those who may do it, and why it asks nobody."""
    scope = scope_of(d, human_task)
    try:
        named = names_of(step.users, scope, "users")
        groups = names_of(step.groups, scope, "groups")
    except TASK_ERRORS as error:
        return [], [], str(error)
    why_not = {user: why for user in named if (why := why_kept_away(d, human_task, user))}
    users = [user for user in named if user not in why_not]
    if users or groups:
        return users, groups, ""
    why = "; ".join(f"'{user}' is excluded: {why}" for user, why in why_not.items()) or "nobody is named"
    return [], [], f"Nobody of this step may do it: {why}."


def _await_step(d: Decision, human_task: HumanTask, human: HumanSpec, step: Escalation) -> None:
    offered, scope = d.state.actions[human_task.id].created_at, scope_of(d, human_task)
    try:
        due = _Time(calendar_of(d, human, scope), scope).after(offered, step.after, "escalate: after")
    except TASK_ERRORS as error:
        # those who were asked before still are
        d.emit(e.HumanTaskEscalated(human_task.id, human_task.task, human_task.level, message=str(error)))
        return
    d.set_timer_at(f"{ESCALATE}:{human_task.id}", due, human_task.task)


def remind(d: Decision, action: int) -> None:
    """Tell once more whoever has it or is asked; what came while no server ran is one reminder."""
    human_task = d.state.human_tasks[action]
    passed = [number for moment, number in human_task.reminders if moment <= d.at]
    if not human_task.is_open or not passed:
        return
    channels = spec_of(d, human_task).remind[passed[-1]].channels
    d.emit(e.HumanTaskReminded(action, human_task.task, len(passed)))
    notices.tell_responsible(d, notices.REMINDER, human_task, channels)
    _remind_next(d, human_task)


def expire(d: Decision, action: int) -> bool:
    """End it: decided by the system as its definition says, or failed. Return whether it was open."""
    human_task = d.state.human_tasks[action]
    if not human_task.is_open:
        return False
    expiry = spec_of(d, human_task).expire
    assert expiry is not None
    notices.tell_responsible(d, notices.EXPIRED, human_task, message=expiry.outcome)
    d.emit(e.HumanTaskExpired(action, human_task.task, expiry.outcome, human_task.etag))
    if not expiry.outcome:
        d.emit(e.ActionFailed(action, human_task.task, "TIMEOUT", NOBODY_DECIDED, "EXPIRED"))
        return True
    owner = human_task.owner or human_task.assignee or SYSTEM
    result = result_of(d, human_task, expiry.outcome, NOBODY_DECIDED, SYSTEM, owner)
    d.emit(e.ActionSucceeded(action, human_task.task, result))
    return True
