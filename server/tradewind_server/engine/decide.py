"""`decide`: one command, one decision. The table at the end says which function answers which command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tradewind_server.engine import attaching, calls, deadlines, executions, human_tasks, joins, tasks
from tradewind_server.engine import commands as c
from tradewind_server.engine import events as e
from tradewind_server.engine.decision import Decision
from tradewind_server.engine.library import Library
from tradewind_server.engine.policies import TASK_ERRORS
from tradewind_server.engine.state import Action, ActionState, Execution, ExecutionState, TaskState
from tradewind_server.errors import ActionFinal, ActionNotFound, ExecutionWrongState
from tradewind_server.errors.people import ActionIsHuman
from tradewind_server.lang.specs import WorkflowSpec


def decide(spec: WorkflowSpec, state: Execution | None, command: c.Command, library: Library) -> Decision:
    """Answer *command*: the events are in the decision, and *state* has been evolved by them.

    Raises:
        Refusal: the command cannot be carried out; nothing has changed.
    """
    decision = Decision(spec, state, library, command.at)
    if state is None and not isinstance(command, c.StartExecution):
        raise ExecutionWrongState(command="address", execution="", state="not started")
    _DECIDE[type(command)](decision, command)
    executions.follow_up(decision)
    if decision.state.human_tasks:
        human_tasks.follow_up(decision)
    return decision


def _open_action(d: Decision, id_: int) -> Action:
    action = d.state.actions.get(id_)
    if action is None:
        raise ActionNotFound(action=f"a{id_}", execution=d.state.id)
    if action.state is not ActionState.OPEN:
        raise ActionFinal(action=f"a{id_}", state=action.state)
    return action


def _workers_action(d: Decision, id_: int) -> Action:
    action = _open_action(d, id_)
    if id_ in d.state.human_tasks:
        raise ActionIsHuman(action=f"a{id_}")
    return action


def _complete(d: Decision, command: c.CompleteAction) -> None:
    action = _workers_action(d, command.action)
    task = d.state.tasks[action.task]
    try:
        result = calls.unwrap_result(d, task, action.wrappers, command.result) if action.wrappers else command.result
        d.emit(e.ActionSucceeded(action.id, task.id, result))
    except TASK_ERRORS as error:
        d.emit(e.ActionFailed(action.id, task.id, "DEFINITION", f"Its result cannot be used: {error}"))
    _after_action(d, action)


def _fail(d: Decision, command: c.FailAction) -> None:
    action = _workers_action(d, command.action)
    f = command.failure
    d.emit(e.ActionFailed(action.id, action.task, f.kind, f.message, f.code, f.details, f.retryable))
    _after_action(d, action)


def _cancel(d: Decision, command: c.CancelAction) -> None:
    action = _open_action(d, command.action)
    d.emit(e.ActionCancelled(action.id, action.task, command.message))
    _after_action(d, action)


def _submit(d: Decision, command: c.SubmitHumanTask) -> None:
    human_tasks.submit(d, command)
    _after_people(d, command.action)


def _release(d: Decision, command: c.ReleaseHumanTask) -> None:
    human_tasks.release(d, command)
    _after_people(d, command.action)


def _after_people(d: Decision, id_: int) -> None:
    """Go on if people have ended an action; after a vote that did not decide it is still open."""
    for ended in (id_, *human_tasks.ask_fallbacks(d)):
        action = d.state.actions[ended]
        if action.state is not ActionState.OPEN:
            _after_action(d, action)


def _after_action(d: Decision, action: Action) -> None:
    """Go on after an action ended: the next items, then the task."""
    task = d.state.tasks[action.task]
    if task.accepted.get(action.index) != action.id or task.is_final:
        return
    if d.state.state is ExecutionState.CANCELLING:
        if not task.open_actions:
            d.end_timers(task)
            d.emit(e.TaskCancelled(task.id, d.state.message or ""))
        return
    if calls.is_resolver(d, task, action):
        tasks.ask(d, task, action)
    elif task.items is not None and task.state is TaskState.RUNNING and calls.has_more(task):
        tasks.schedule(d, task)
    else:
        tasks.settle(d, task)


def _fire(d: Decision, command: c.FireTimer) -> None:
    timer = d.state.timers.get(command.timer)
    if timer is None or timer.due > d.at:
        return
    d.emit(e.TimerEnded(timer.id))
    purpose, _, action = timer.purpose.partition(":")
    _TIMERS[purpose](d, int(action) if action else timer.task)


def _start_due(d: Decision, id_: int) -> None:
    task = d.state.tasks[id_]
    if task.state is not TaskState.DELAYED:
        return
    if d.state.state is ExecutionState.PAUSED or d.state.is_final:
        # it goes on when the execution is resumed or revived
        d.emit(e.TaskHeld(id_, TaskState.PAUSED, f"Its delay is over; the execution is {d.state.state}."))
    else:
        tasks.attempt(d, id_, task.name, task.attempt + 1, None)


def _end_due(d: Decision, id_: int) -> None:
    task = d.state.tasks[id_]
    if task.state is TaskState.DELAYED and task.pending_outcome:
        tasks.conclude(d, task, TaskState(task.pending_outcome), task.pending_reason)


def _timeout_due(d: Decision, id_: int) -> None:
    task = d.state.tasks[id_]
    if not task.is_final:
        tasks.time_out(d, task)


def _fan_out_due(d: Decision, id_: int) -> None:
    task = d.state.tasks[id_]
    if task.state is TaskState.RUNNING:
        tasks.schedule(d, task)


def _review_due(d: Decision, id_: int) -> None:
    joins.review(d, d.state.tasks[id_])


def _continue_due(d: Decision, _: int) -> None:
    if d.state.state is ExecutionState.RUNNING:
        executions.release_backlog(d)


def _expiry_due(d: Decision, action: int) -> None:
    if deadlines.expire(d, action):
        _after_people(d, action)


def _escalation_due(d: Decision, action: int) -> None:
    if d.state.actions[action].state is ActionState.OPEN:
        deadlines.escalate(d, action)
        _after_people(d, action)


def _grace_due(d: Decision, _: int) -> None:
    executions.give_up_cancelling(d)


#: Purpose -> what happens to the action that the purpose names after a colon, or else to the timer's task.
_TIMERS: dict[str, Callable[[Decision, int], None]] = {
    deadlines.ESCALATE: _escalation_due,
    deadlines.REMIND: deadlines.remind,
    deadlines.EXPIRE: _expiry_due,
    "start": _start_due,
    "end": _end_due,
    "timeout": _timeout_due,
    "fan-out": _fan_out_due,
    "review": _review_due,
    "continue": _continue_due,
    "cancel-grace": _grace_due,
}

_DECIDE: dict[type, Callable[[Decision, Any], None]] = {
    c.StartExecution: executions.start,
    c.PauseExecution: executions.pause,
    c.ResumeExecution: executions.resume,
    c.StopExecution: executions.stop,
    c.RerunTask: executions.rerun,
    c.SkipTask: executions.skip,
    c.CompleteAction: _complete,
    c.FailAction: _fail,
    c.CancelAction: _cancel,
    c.FireTimer: _fire,
    c.NoteChild: executions.note_child,
    c.ClaimHumanTask: human_tasks.claim,
    c.ReleaseHumanTask: _release,
    c.AssignHumanTask: human_tasks.assign,
    c.DelegateHumanTask: human_tasks.delegate,
    c.SaveHumanTaskDraft: human_tasks.save_draft,
    c.CommentHumanTask: human_tasks.comment,
    c.SeeHumanTask: human_tasks.see,
    c.AddAttachment: attaching.add,
    c.WithdrawAttachment: attaching.withdraw,
    c.SubmitHumanTask: _submit,
}
