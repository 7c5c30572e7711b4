"""Human tasks: who is asked, who may do what, and what a decision is.

A human task is an action that no worker serves: it is scheduled, withdrawn and cancelled as one, and a decision is its
result. Who may do what is a matter of `eligibility.py`; whatever a client shows, these two decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from tradewind_server.engine import attachments, deadlines, notices, quorum
from tradewind_server.engine import commands as c
from tradewind_server.engine import events as e
from tradewind_server.engine.asked import (
    asked_of,
    digest_of,
    excluded_of,
    fallback_of,
    id_of,
    scope_of,
    shown_of,
    spec_of,
)
from tradewind_server.engine.codec import encode_event
from tradewind_server.engine.decision import Decision
from tradewind_server.engine.eligibility import (
    check_concerned,
    check_excluded,
    claim_of,
    claim_or_seat,
    open_task,
    why_kept_away,
)
from tradewind_server.engine.four_eyes import did_other, kept_away, separate_from, who_did_others
from tradewind_server.engine.policies import TASK_ERRORS, TaskError, whole_number
from tradewind_server.engine.state import ActionState, Claim, HumanTask, HumanTaskState, Task
from tradewind_server.errors import PayloadTooLarge
from tradewind_server.errors.people import (
    DecisionInvalid,
    HumanTaskChanged,
    OutcomeUnknown,
    PersonNotManager,
    ReasonMissing,
)
from tradewind_server.lang.expressions import Scope
from tradewind_server.lang.forms import faults_of
from tradewind_server.lang.human_tasks import MAX_PRIORITY
from tradewind_server.lang.specs import HumanSpec, TaskSpec

#: Name of the action.
NAME = "human"
#: Code of the failure of an action that was for somebody and is for nobody any more.
NOBODY_LEFT = "NOBODY_ELIGIBLE"
#: A form that was not given takes nothing.
_NO_FORM: Mapping[str, object] = {"type": "object", "additionalProperties": False}


# --- asking --------------------------------------------------------------------------------------


def offer(d: Decision, task: Task, spec: TaskSpec, index: int, scope: Scope) -> None:
    """Ask people to do item *index* of *task*.

    Raises:
        TaskError: the definition asks for something impossible, or nobody may do it.
    """
    human = spec.human
    assert human is not None
    shown = shown_of(human, scope)
    excluded = excluded_of(d, human, scope)
    users, groups, is_fallback = asked_of(
        task, human, scope, lambda user: excluded.get(user) or did_other(d.spec, d.state, task.id, user, is_done=True)
    )
    priority = whole_number(human.priority, scope, "priority")
    if priority > MAX_PRIORITY:
        raise TaskError(f"priority must be at most {MAX_PRIORITY}, but is {priority}")
    timeout = whole_number(spec.timeout, scope, "timeout")
    action = d.state.last_action + 1
    plan = deadlines.plan(d, human, scope)
    votes = quorum.size_of(human, scope, users, groups)
    order = users if human.quorum is not None and human.quorum.is_sequential else []
    told = notices.told_of_offer(d, human, scope, order[:1] or users, groups)
    files = attachments.brought(d, task.id, index, human)
    d.emit(e.ActionScheduled(action, task.id, NAME, shown, index, NAME, asynchronous=True, timeout_seconds=timeout))
    etag = attachments.with_files(d, action, digest_of(d, action, shown), files)
    offered = e.HumanTaskOffered(
        action, task.id, users, groups, etag, excluded, priority, is_fallback, plan.due, plan.reminders,
        plan.expires, votes, order, files,
    )  # fmt: skip
    d.emit(offered)
    human_task = d.state.human_tasks[action]
    deadlines.begin(d, human_task, plan)
    notices.request(d, notices.OFFERED, human_task, told.users, told.groups, told.channels)


def follow_up(d: Decision) -> None:
    """Close the human tasks whose actions have ended otherwise, and show the others what has changed."""
    for event in list(d.events):
        if isinstance(event, e.ActionCancelled | e.ActionFailed):
            human_task = d.state.human_tasks.get(event.action)
            if human_task is not None and human_task.is_open:
                holders = human_task.holders
                d.emit(e.HumanTaskClosed(human_task.id, human_task.task, event.message))
                notices.tell_holder(d, human_task, holders, event.message)
        if isinstance(event, e.HumanTaskCompleted | e.HumanTaskExpired | e.ActionCancelled | e.ActionFailed):
            deadlines.end(d, event.action, event.task)
    if any(getattr(event, "globals", None) for event in d.events):
        _review(d)


def ask_fallbacks(d: Decision) -> list[int]:
    """See to human tasks that nobody is left for, since whoever was asked has done another one meanwhile.

    Their fallback is asked now; where there is none their actions end, and are returned. So do those with a quorum for
    which too few are left, also since a vote that was to come was taken back.
    """
    ended = []
    for human_task in _abandoned(d):
        # where several decide somebody may be left, who is too few
        if kept_away(d.spec, d.state, human_task).issuperset(human_task.users):
            _ask_fallback(d, human_task)
        quorum.end_if_undecidable(d, human_task)
        if d.state.actions[human_task.id].state is not ActionState.OPEN:
            ended.append(human_task.id)
    return ended


def _ask_fallback(d: Decision, human_task: HumanTask) -> None:
    task, human, why_not = d.state.tasks[human_task.task], spec_of(d, human_task), partial(why_kept_away, d, human_task)
    try:
        users, groups = fallback_of(task, human, scope_of(d, human_task), why_not, human_task.users)
    except TASK_ERRORS as error:
        if not human_task.quorum:
            d.emit(e.ActionFailed(human_task.id, task.id, "ACTION", str(error), NOBODY_LEFT, retryable=False))
        return
    d.emit(e.HumanTaskEscalated(human_task.id, task.id, human_task.level, users, groups))
    channels = human.notify.channels if human.notify is not None else ()
    notices.request(d, notices.ESCALATED, human_task, users, groups, channels)


def _abandoned(d: Decision) -> list[HumanTask]:
    """Return the open human tasks for which only people are asked who did one that it is to be separate from.

    One that is still to escalate waits for that, unless several decide: a vote ends as early as it can.
    """
    affected, did_others, found = _affected(d), dict[int, frozenset[str]](), list[HumanTask]()
    for human_task in d.state.human_tasks.values() if affected else ():
        task = d.state.tasks[human_task.task]
        if human_task.state is not HumanTaskState.OFFERED or task.name not in affected:
            continue
        if human_task.quorum:
            is_left = not quorum.is_undecidable(d, human_task)
        else:
            if task.id not in did_others:
                did_others[task.id] = who_did_others(d.spec, d.state, task.id)
            is_left = not did_others[task.id].union(human_task.excluded).issuperset(human_task.users)
            is_left |= bool(human_task.groups) or f"{deadlines.ESCALATE}:{human_task.id}" in task.timers
        if not is_left:
            found.append(human_task)
    return found


def _affected(d: Decision) -> set[str]:
    """Return the names of tasks for whose human tasks there may be fewer people by what has happened."""
    affected: set[str] = set()
    for event in d.events:
        if isinstance(event, e.HumanTaskCompleted | e.HumanTaskVoted | e.HumanTaskExpired):
            affected |= separate_from(d.spec, d.state.tasks[event.task].name)
        elif isinstance(event, e.HumanTaskEscalated | e.HumanTaskReleased):
            affected.add(d.state.tasks[event.task].name)
    return affected


def _review(d: Decision) -> None:
    """See whether what open human tasks show has changed by a global variable: who has seen it must look again.

    Votes on what it showed before count no more: those who gave them are asked again.
    """
    for human_task in [h for h in d.state.human_tasks.values() if h.is_open]:
        try:
            shown = shown_of(spec_of(d, human_task), scope_of(d, human_task))
        except TASK_ERRORS:
            # what was shown when it was offered still stands
            continue
        id_ = human_task.id
        etag = attachments.with_files(d, id_, digest_of(d, id_, shown), human_task.attachments)
        if etag != human_task.etag:
            again = quorum.to_ask_again(human_task)
            d.emit(e.HumanTaskChanged(human_task.id, human_task.task, shown, etag))
            quorum.ask_again(d, human_task, again)


# --- what people do ------------------------------------------------------------------------------


def claim(d: Decision, command: c.ClaimHumanTask) -> None:
    """Take it; who has it already keeps it."""
    human_task, person = open_task(d, command.action), command.person
    if human_task.claim_of(person.user) is not None:
        return
    claim = claim_or_seat(d, human_task, person)
    d.emit(e.HumanTaskClaimed(human_task.id, human_task.task, claim.by, claim.owner))


def release(d: Decision, command: c.ReleaseHumanTask) -> None:
    """Give it back: to who delegated it, else to all who may do it. Who manages takes back what others have."""
    human_task, person = open_task(d, command.action), command.person
    mine = human_task.claim_of(person.user)
    if mine is None and human_task.state is HumanTaskState.CLAIMED and not person.may_manage:
        claim_of(d, human_task, person)
    for claim in (mine,) if mine is not None else human_task.claims if person.may_manage else ():
        back_to = claim.owner if claim is mine else ""
        d.emit(e.HumanTaskReleased(human_task.id, human_task.task, person.user, command.note, back_to, of=claim.by))


def assign(d: Decision, command: c.AssignHumanTask) -> None:
    """Give it to somebody, also to one who was not asked; never to one who is excluded."""
    human_task, person = open_task(d, command.action), command.person
    if not person.may_manage:
        raise PersonNotManager(user=person.user)
    check_excluded(d, human_task, command.to)
    claim = human_task.claim_of(command.to)
    if claim is not None and not claim.owner:
        return
    if human_task.quorum:
        quorum.check_can_take(d, human_task, command.to)
    d.emit(e.HumanTaskAssigned(human_task.id, human_task.task, person.user, command.to, command.note))
    _tell_given(d, human_task, person.user, command.to, command.note)


def _tell_given(d: Decision, human_task: HumanTask, by: str, to: str, note: str) -> None:
    """Tell who has been given it, as those who are asked are told."""
    if to != by:
        notices.tell_asked(d, human_task, [to], note)


def delegate(d: Decision, command: c.DelegateHumanTask) -> None:
    """Let somebody else do it; who delegates first stays accountable."""
    human_task, person = open_task(d, command.action), command.person
    claim = claim_or_seat(d, human_task, person)
    check_excluded(d, human_task, command.to)
    if command.to == person.user:
        return
    owner = claim.owner or person.user
    if human_task.quorum and command.to != owner:
        quorum.check_can_take(d, human_task, command.to, of=owner)
    d.emit(
        e.HumanTaskDelegated(
            human_task.id, human_task.task, person.user, command.to, "" if owner == command.to else owner, command.note
        )
    )
    _tell_given(d, human_task, person.user, command.to, command.note)


def save_draft(d: Decision, command: c.SaveHumanTaskDraft) -> None:
    """Keep what has been filled in; whether it is complete is looked at when it is submitted."""
    human_task = open_task(d, command.action)
    claim_of(d, human_task, command.person)
    draft = e.HumanTaskDraftSaved(human_task.id, human_task.task, command.person.user, command.data)
    _check_size(d, draft)
    d.emit(draft)


def comment(d: Decision, command: c.CommentHumanTask) -> None:
    """Say something; who is concerned may, also if he may not decide."""
    human_task, person = open_task(d, command.action), command.person
    check_concerned(d, human_task, person)
    d.emit(e.HumanTaskCommented(human_task.id, human_task.task, person.user, command.text))


def see(d: Decision, command: c.SeeHumanTask) -> None:
    """Note who has been shown what, once for each that he was shown; what is over is not noted any more."""
    human_task, user = d.state.human_tasks.get(command.action), command.person.user
    if human_task is not None and human_task.is_open and human_task.seen.get(user) != command.etag:
        d.emit(e.HumanTaskSeen(human_task.id, human_task.task, user, command.etag))


def submit(d: Decision, command: c.SubmitHumanTask) -> None:
    """Decide, or vote: the events say who, how and on what; the result of the action is the decision."""
    human_task, person = open_task(d, command.action), command.person
    claim = claim_or_seat(d, human_task, person)
    check_excluded(d, human_task, person.user)
    if command.etag != human_task.etag:
        raise HumanTaskChanged(
            human_task=id_of(d, human_task), etag=command.etag, current=human_task.etag, field="etag"
        )
    _check_decision(d, human_task, spec_of(d, human_task), command)
    attachments.check_complete(d, human_task, spec_of(d, human_task))
    if human_task.quorum:
        quorum.vote(d, human_task, command, claim.owner)
    else:
        _decide(d, human_task, command, claim)


def _decide(d: Decision, human_task: HumanTask, command: c.SubmitHumanTask, claim: Claim) -> None:
    user = command.person.user
    said = quorum.result_of(d, human_task, command.outcome, command.reason, user, claim.owner or user)
    data = {} if command.data is None else command.data
    succeeded = e.ActionSucceeded(human_task.id, human_task.task, {**said, "data": data})
    _check_size(d, succeeded)
    if not human_task.assignee:
        d.emit(e.HumanTaskClaimed(human_task.id, human_task.task, user, claim.owner))
    done = e.HumanTaskCompleted(
        human_task.id, human_task.task, user, command.outcome, command.etag, command.reason, human_task.owner
    )
    d.emit(done)
    d.emit(succeeded)


def _check_decision(d: Decision, human_task: HumanTask, human: HumanSpec, command: c.SubmitHumanTask) -> None:
    outcome = next((each for each in human.outcomes if each.name == command.outcome), None)
    if outcome is None:
        raise OutcomeUnknown(outcome=command.outcome, known=", ".join(o.name for o in human.outcomes), field="outcome")
    if outcome.needs_reason and not command.reason.strip():
        raise ReasonMissing(outcome=command.outcome, field="reason")
    faults = faults_of(human.form or _NO_FORM, {} if command.data is None else command.data)
    if faults:
        raise DecisionInvalid(faults, human_task=id_of(d, human_task))


def _check_size(d: Decision, event: e.Event) -> None:
    limit, size = d.library.max_payload_bytes, len(encode_event(event))
    if size > limit:
        raise PayloadTooLarge(what="data", limit=limit, setting="max_payload_bytes", size=size, field="data")
