"""Who may do a human task: who is asked, whom he stands for, and whom four eyes keep away (`four_eyes.py`)."""

from __future__ import annotations

from tradewind_server.engine import commands as c
from tradewind_server.engine import quorum
from tradewind_server.engine.asked import id_of
from tradewind_server.engine.decision import Decision
from tradewind_server.engine.four_eyes import did_other
from tradewind_server.engine.state import Claim, HumanTask, HumanTaskState
from tradewind_server.errors.people import (
    HumanTaskClosed,
    HumanTaskNotFound,
    HumanTaskTaken,
    PersonExcluded,
    PersonNotEligible,
)


def open_task(d: Decision, action: int) -> HumanTask:
    """Return a human task that is open.

    Raises:
        HumanTaskNotFound, HumanTaskClosed: there is none, or it is over.
    """
    human_task = d.state.human_tasks.get(action)
    if human_task is None:
        raise HumanTaskNotFound(human_task=f"{d.state.id}/a{action}")
    if not human_task.is_open:
        how = f"{human_task.outcome} by {human_task.done_by}" if human_task.done_by else "without a decision"
        raise HumanTaskClosed(human_task=id_of(d, human_task), state=human_task.state, how=how)
    return human_task


def check_excluded(d: Decision, human_task: HumanTask, user: str) -> None:
    """Four eyes: see that *user* may do it at all, whoever offers it to him.

    Raises:
        PersonExcluded: he may not.
    """
    why = human_task.excluded.get(user) or did_other(d.spec, d.state, human_task.task, user)
    if why:
        raise PersonExcluded(user=user, human_task=id_of(d, human_task), why=why)


def why_kept_away(d: Decision, human_task: HumanTask, user: str) -> str:
    """Return why *user* is not to be asked, "" if he may do it; what he has in hand he may give back."""
    return human_task.excluded.get(user) or did_other(d.spec, d.state, human_task.task, user, is_done=True)


def check_eligible(d: Decision, human_task: HumanTask, person: c.Person) -> str:
    """See that *person* is asked; return whom he stands for, "" for himself.

    Raises:
        PersonExcluded, PersonNotEligible: he may not do it.
        OneVoteEach: he has voted.
    """
    check_excluded(d, human_task, person.user)
    quorum.check_has_vote(d, human_task, person.user)
    if person.user in human_task.asked:
        return ""
    waits = person.user in human_task.waiting
    if not waits and not person.groups.isdisjoint(human_task.groups):
        return ""
    for absent in () if waits else sorted(person.stands_for):
        # he would be accountable for what he must not do
        if absent in human_task.asked and not did_other(d.spec, d.state, human_task.task, absent):
            return absent
    raise PersonNotEligible(user=person.user, human_task=id_of(d, human_task), asked=_asked_in_words(human_task))


def _asked_in_words(human_task: HumanTask) -> str:
    users = [f"user {name}" for name in human_task.asked]
    return ", ".join([*users, *(f"group {name}" for name in human_task.groups)])


def claim_of(d: Decision, human_task: HumanTask, person: c.Person) -> Claim:
    """Return what *person* has.

    Raises:
        HumanTaskTaken: he has it not.
    """
    claim = human_task.claim_of(person.user)
    if claim is None:
        raise HumanTaskTaken(
            human_task=id_of(d, human_task), assignee=human_task.assignee or "nobody", user=person.user
        )
    return claim


def claim_or_seat(d: Decision, human_task: HumanTask, person: c.Person) -> Claim:
    """Return what *person* has, or could take."""
    if human_task.state is HumanTaskState.CLAIMED or human_task.claim_of(person.user) is not None:
        return claim_of(d, human_task, person)
    return Claim(person.user, check_eligible(d, human_task, person))


def check_concerned(d: Decision, human_task: HumanTask, person: c.Person) -> None:
    """See that *person* may say something about it: also who may not do it, such as who started the process.

    Raises:
        PersonNotEligible: it is none of his business.
    """
    named = {*human_task.users, *human_task.spoken_for, d.state.initiator}
    by_group = not person.groups.isdisjoint(human_task.groups)
    if not (person.may_manage or by_group or person.user in named or not person.stands_for.isdisjoint(named)):
        raise PersonNotEligible(user=person.user, human_task=id_of(d, human_task), asked=_asked_in_words(human_task))
