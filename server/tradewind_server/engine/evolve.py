"""`evolve`: the only writer of engine state. Total: never refuses, never looks anything up outside the state."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec

from tradewind_server.engine import events as e
from tradewind_server.engine.attachment import Attachment
from tradewind_server.engine.contexts import EMPTY, merge
from tradewind_server.engine.state import (
    MOST_SEEN,
    Action,
    ActionState,
    Backlog,
    Cause,
    Claim,
    Execution,
    ExecutionState,
    HumanTask,
    HumanTaskState,
    Items,
    Task,
    TaskState,
    Timer,
    Vote,
)


def create(event: e.ExecutionStarted, at: datetime) -> Execution:
    """Return the state after the first event of an execution."""
    return Execution(
        id=event.execution_id,
        namespace=event.namespace,
        workflow=event.workflow,
        workflow_namespace=event.workflow_namespace,
        root_id=event.root_id,
        parent_id=event.parent_id,
        parent_action=event.parent_action,
        semantics_version=event.semantics_version,
        state=ExecutionState.RUNNING,
        revision=1,
        input=event.input,
        env=event.env,
        params=event.params,
        variables=EMPTY.published(event.variables, 1),
        created_at=at,
        updated_at=at,
        initiator=event.initiator,
        priority=event.priority,
        sensitive=event.sensitive,
        depth=event.depth,
    )


def evolve(state: Execution, event: e.Event, at: datetime) -> None:
    """Apply *event*, which becomes the next revision, to *state* in place."""
    state.revision += 1
    state.updated_at = at
    _APPLY[type(event)](state, event, at)


def replay(log: Iterable[tuple[e.Event, datetime]]) -> Execution:
    """Return the state that a log gives: all events of an execution, each with its moment.

    Raises:
        ValueError: it is empty, or does not begin with ExecutionStarted.
    """
    state: Execution | None = None
    for event, at in log:
        if state is not None:
            evolve(state, event, at)
        elif isinstance(event, e.ExecutionStarted):
            state = create(event, at)
        else:
            raise ValueError(f"the log begins with {type(event).__name__} instead of ExecutionStarted")
    if state is None:
        raise ValueError("the log is empty")
    return state


# --- execution -----------------------------------------------------------------------------------


def _paused(state: Execution, event: e.ExecutionPaused, at: datetime) -> None:
    state.state, state.message = ExecutionState.PAUSED, event.message or None


def _resumed(state: Execution, event: e.ExecutionResumed, at: datetime) -> None:
    state.state, state.message = ExecutionState.RUNNING, None
    _set_env(state, event.env)


def _reopened(state: Execution, event: e.ExecutionReopened, at: datetime) -> None:
    state.state, state.message = ExecutionState.RUNNING, None
    state.output, state.output_revision, state.finished_at, state.failure = None, 0, None, None
    _set_env(state, event.env)


def _set_env(state: Execution, env: dict[str, Any] | None) -> None:
    if env is not None:
        state.env, state.env_revision = env, state.revision


def _cancelling(state: Execution, event: e.ExecutionCancelling, at: datetime) -> None:
    state.state, state.message = ExecutionState.CANCELLING, event.message or None
    state.backlog.clear()


def _ended(outcome: ExecutionState) -> Callable[[Execution, Any, datetime], None]:
    def apply(
        state: Execution, event: e.ExecutionSucceeded | e.ExecutionFailed | e.ExecutionCancelled, at: datetime
    ) -> None:
        state.state, state.message = outcome, event.message
        state.output, state.output_revision = event.output, state.revision
        state.finished_at = at
        if isinstance(event, e.ExecutionFailed):
            state.failure = Cause(event.kind, event.code, event.task_name, event.attempt)
        state.backlog.clear()

    return apply


def _held_back(state: Execution, event: e.TransitionsHeld, at: datetime) -> None:
    state.backlog.append(Backlog(event.task, list(event.targets)))


def _released(state: Execution, event: e.TransitionsReleased, at: datetime) -> None:
    state.backlog.pop(0)


# --- tasks ---------------------------------------------------------------------------------------


def _add_task(state: Execution, id_: int, name: str, parents: tuple[int, ...], at: datetime) -> Task:
    task = Task(id_, name, TaskState.WAITING, at, at, parents=parents)
    _inherit(state, task)
    state.tasks[id_] = task
    state.latest[name] = id_
    state.last_task = id_
    return task


def _inherit(state: Execution, task: Task) -> None:
    if len(task.parents) == 1:
        parent = state.tasks[task.parents[0]]
        task.context, task.rounds = parent.outbound, parent.rounds


def _enter(state: Execution, task: Task, into: TaskState, at: datetime, message: str = "") -> None:
    task.state, task.updated_at, task.message = into, at, message
    if task.is_final:
        state.open_tasks.pop(task.id, None)
    else:
        state.open_tasks[task.id] = None
        task.outbound, task.published, task.published_revision = EMPTY, (), 0


def _waiting(state: Execution, event: e.TaskWaiting, at: datetime) -> None:
    task = state.tasks.get(event.task) or _add_task(state, event.task, event.name, (), at)
    task.rounds = {task.name: event.generation}
    _enter(state, task, TaskState.WAITING, at)


def _branch_arrived(state: Execution, event: e.BranchArrived, at: datetime) -> None:
    task = state.tasks[event.task]
    parent = state.tasks[event.parent]
    task.arrived[parent.name] = parent.id


def _join_fired(state: Execution, event: e.JoinFired, at: datetime) -> None:
    task = state.tasks[event.task]
    parents = [state.tasks[id_] for id_ in event.parents]
    merged = merge(parent.outbound for parent in parents)
    task.context = merged.context.replaced(event.merged, event.versions, state.revision)
    task.parents = tuple(event.parents)
    task.fired = True
    rounds = dict(task.rounds)
    for parent in parents:
        rounds.update({name: n for name, n in parent.rounds.items() if n > rounds.get(name, 0)})
    task.rounds = rounds


def _created(state: Execution, event: e.TaskCreated, at: datetime) -> None:
    task = _add_task(state, event.task, event.name, tuple(event.parents), at)
    _enter(state, task, TaskState(event.state), at, event.message)


def _held(state: Execution, event: e.TaskHeld, at: datetime) -> None:
    task = state.tasks[event.task]
    _enter(state, task, TaskState(event.state), at, event.message)
    task.pending_outcome, task.pending_reason = event.outcome, event.reason
    task.waited_after = task.waited_after or bool(event.outcome)


def _continued(state: Execution, event: e.TaskContinued, at: datetime) -> None:
    _enter(state, state.tasks[event.task], TaskState.RUNNING, at)


def _started(state: Execution, event: e.TaskStarted, at: datetime) -> None:
    if event.parents is not None:
        task = _add_task(state, event.task, event.name, tuple(event.parents), at)
    else:
        task = state.tasks[event.task]
    task.attempt = event.attempt
    if event.rerun or event.attempt == 1:
        task.first_attempt = event.attempt
        task.waited_after = False
    task.open_actions = task.failed_actions = task.cancelled_actions = 0
    task.handled = task.has_next = False
    if event.keep_accepted:
        _keep_succeeded(state, task)
    else:
        task.accepted = {}
        task.base_attempt = event.attempt
    if event.items is not None:
        task.items = Items(event.items, state.revision, event.concurrency)
    elif task.items is not None:
        # items whose result is kept are passed over when the next one is looked for
        task.items.next_index = 0
    _enter(state, task, TaskState.RUNNING, at)


def is_kept(action: Action) -> bool:
    """Tell whether the result of an item stays when failed items run again; who was asked is not yet one."""
    return action.state is ActionState.SUCCEEDED and action.kind != "resolver"


def _keep_succeeded(state: Execution, task: Task) -> None:
    task.accepted = {i: a for i, a in task.accepted.items() if is_kept(state.actions[a])}


def _end_task(into: TaskState) -> Callable[[Execution, Any, datetime], None]:
    def apply(state: Execution, event: e.TaskSucceeded | e.TaskFailed | e.TaskSkipped, at: datetime) -> None:
        task = state.tasks[event.task]
        task.outbound = task.context.published(event.published, state.revision)
        task.published, task.published_revision = tuple(event.published), state.revision
        task.has_next = bool(event.next)
        task.pending_outcome = task.pending_reason = ""
        state.variables = state.variables.published(event.globals, state.revision)
        if isinstance(event, e.TaskFailed):
            task.handled = event.handled
        if not isinstance(event, e.TaskSkipped) and event.drop_result:
            task.keep_result = False
        _enter(state, task, into, at, event.message if isinstance(event, e.TaskFailed) else "")

    return apply


def _task_cancelled(state: Execution, event: e.TaskCancelled, at: datetime) -> None:
    task = state.tasks[event.task]
    task.outbound = task.context
    _enter(state, task, TaskState.CANCELLED, at, event.message)


# --- actions and timers --------------------------------------------------------------------------


def _scheduled(state: Execution, event: e.ActionScheduled, at: datetime) -> None:
    task = state.tasks[event.task]
    state.actions[event.action] = Action(
        event.action,
        event.task,
        event.index,
        event.name,
        event.kind,
        tuple(event.wrappers),
        event.asynchronous,
        event.child,
        task_attempt=task.attempt,
        created_at=at,
        updated_at=at,
        scheduled_revision=state.revision,
    )
    state.open_actions[event.action] = None
    state.last_action = event.action
    task.accepted[event.index] = event.action
    task.open_actions += 1
    task.action_count += 1
    if task.items is not None:
        task.items.next_index = max(task.items.next_index, event.index + 1)


def _end_action(into: ActionState) -> Callable[[Execution, Any, datetime], None]:
    def apply(state: Execution, event: e.ActionSucceeded | e.ActionFailed | e.ActionCancelled, at: datetime) -> None:
        action = state.actions[event.action]
        action.state, action.result_revision, action.updated_at = into, state.revision, at
        if isinstance(event, e.ActionSucceeded):
            action.result = event.result
        elif isinstance(event, e.ActionFailed):
            action.result = event.details if event.details is not None else event.message
            action.failure = Cause(event.kind, event.code, retryable=event.retryable)
        state.open_actions.pop(action.id, None)
        task = state.tasks[action.task]
        if task.accepted.get(action.index) == action.id:
            task.open_actions -= 1
            task.failed_actions += into is ActionState.FAILED
            task.cancelled_actions += into is ActionState.CANCELLED

    return apply


def _reopened_action(state: Execution, event: e.ActionReopened, at: datetime) -> None:
    action = state.actions[event.action]
    task = state.tasks[action.task]
    task.failed_actions -= action.state is ActionState.FAILED
    task.cancelled_actions -= action.state is ActionState.CANCELLED
    task.open_actions += 1
    action.state, action.result, action.result_revision = ActionState.OPEN, None, 0
    action.failure = None
    state.open_actions[action.id] = None
    task.handled = task.has_next = False
    _enter(state, task, TaskState.RUNNING, at)


def _no_change(
    state: Execution, event: e.ChildOrdered | e.HumanTaskResolved | e.NotificationRequested, at: datetime
) -> None:
    """Only a message to the child, a line in the audit trail, or a row of the outbox."""


def _cancel_requested(state: Execution, event: e.ActionCancelRequested, at: datetime) -> None:
    state.actions[event.action].cancelling = True


def _timer_set(state: Execution, event: e.TimerSet, at: datetime) -> None:
    state.timers[event.timer] = Timer(event.timer, event.task, event.purpose, event.due)
    state.last_timer = event.timer
    if event.task:
        state.tasks[event.task].timers[event.purpose] = event.timer


def _timer_ended(state: Execution, event: e.TimerEnded, at: datetime) -> None:
    timer = state.timers.pop(event.timer)
    if timer.task:
        state.tasks[timer.task].timers.pop(timer.purpose, None)


# --- human tasks ---------------------------------------------------------------------------------


def _touch(state: Execution, human_task: HumanTask, into: HumanTaskState, at: datetime) -> None:
    human_task.state, human_task.updated_at, human_task.revision = into, at, state.revision


def _offered(state: Execution, event: e.HumanTaskOffered, at: datetime) -> None:
    human_task = HumanTask(
        event.action,
        event.task,
        HumanTaskState.OFFERED,
        tuple(event.users),
        tuple(event.groups),
        event.excluded,
        event.etag,
        event.priority,
        due=event.due,
        reminders=tuple(event.reminders),
        expires=event.expires,
        quorum=event.quorum,
        order=tuple(event.order),
        attachments=tuple(event.attachments),
        last_attachment=len(event.attachments),
        shown_revision=state.actions[event.action].scheduled_revision,
    )
    state.human_tasks[event.action] = human_task
    _touch(state, human_task, HumanTaskState.OFFERED, at)


def _shown_anew(state: Execution, event: e.HumanTaskChanged, at: datetime) -> None:
    human_task = state.human_tasks[event.action]
    human_task.etag, human_task.shown_revision = event.etag, state.revision
    _drop_votes(human_task)
    _touch(state, human_task, human_task.state, at)


def _drop_votes(human_task: HumanTask) -> None:
    """Let no vote count any more; who is not asked has again what he was given, or nobody could vote instead."""
    if not human_task.order:
        given = (v for v in human_task.votes if v.was_claimed and (v.owner or v.by) not in human_task.users)
        human_task.claims = (*human_task.claims, *(Claim(vote.by, vote.owner) for vote in given))
    human_task.votes = ()


def _claimed(state: Execution, event: e.HumanTaskClaimed, at: datetime) -> None:
    human_task = state.human_tasks[event.action]
    _give(state, human_task, Claim(event.by, event.stands_for), at)


def _give(state: Execution, human_task: HumanTask, claim: Claim, at: datetime, of: str = "") -> None:
    """Let one have it: with a quorum beside the others, instead of *of*; else instead of whoever had it."""
    if human_task.quorum:
        before = human_task.claim_of(of) or human_task.claim_of(claim.by)
        kept = msgspec.structs.replace(claim, draft_revision=before.draft_revision if before else 0)
        human_task.claims = (*_without(human_task, of, claim.by), kept)
        _touch(state, human_task, human_task.state, at)
    else:
        human_task.claims = (claim,)
        _touch(state, human_task, HumanTaskState.CLAIMED, at)


def _without(human_task: HumanTask, *users: str) -> tuple[Claim, ...]:
    return tuple(claim for claim in human_task.claims if claim.by not in users)


def _released_human_task(state: Execution, event: e.HumanTaskReleased, at: datetime) -> None:
    human_task = state.human_tasks[event.action]
    if event.back_to:
        _give(state, human_task, Claim(event.back_to), at, event.of)
    else:
        human_task.claims = _without(human_task, event.of) if human_task.quorum else ()
        _touch(state, human_task, HumanTaskState.OFFERED, at)


def _assigned(state: Execution, event: e.HumanTaskAssigned, at: datetime) -> None:
    human_task = state.human_tasks[event.action]
    _give(state, human_task, Claim(event.to), at)


def _delegated(state: Execution, event: e.HumanTaskDelegated, at: datetime) -> None:
    human_task = state.human_tasks[event.action]
    _give(state, human_task, Claim(event.to, event.owner), at, event.by)


def _draft_saved(state: Execution, event: e.HumanTaskDraftSaved, at: datetime) -> None:
    human_task = state.human_tasks[event.action]
    claim = human_task.claim_of(event.by)
    if human_task.quorum and claim is not None:
        kept = msgspec.structs.replace(claim, draft_revision=state.revision)
        human_task.claims = tuple(kept if each is claim else each for each in human_task.claims)
    else:
        human_task.draft_revision = state.revision
    _touch(state, human_task, human_task.state, at)


def _seen(state: Execution, event: e.HumanTaskSeen, at: datetime) -> None:
    # nothing of it has changed: neither its revision nor its time do
    human_task = state.human_tasks[event.action]
    others = [(user, etag) for user, etag in human_task.seen.items() if user != event.by]
    human_task.seen = dict([*others, (event.by, event.etag)][-MOST_SEEN:])


def _commented(state: Execution, event: e.HumanTaskCommented, at: datetime) -> None:
    human_task = state.human_tasks[event.action]
    human_task.comment_count += 1
    _touch(state, human_task, human_task.state, at)


def _attached(state: Execution, event: e.HumanTaskAttachmentAdded, at: datetime) -> None:
    human_task = state.human_tasks[event.action]
    human_task.last_attachment = event.attachment.id
    _have_files(state, human_task, (*human_task.attachments, event.attachment), event.etag, at)


def _have_files(
    state: Execution, human_task: HumanTask, attachments: tuple[Attachment, ...], etag: str, at: datetime
) -> None:
    human_task.attachments, human_task.etag = attachments, etag
    _drop_votes(human_task)
    _touch(state, human_task, human_task.state, at)


def _withdrawn(state: Execution, event: e.HumanTaskAttachmentWithdrawn, at: datetime) -> None:
    human_task = state.human_tasks[event.action]
    left = tuple(each for each in human_task.attachments if each.id != event.attachment.id)
    _have_files(state, human_task, left, event.etag, at)


def _voted(state: Execution, event: e.HumanTaskVoted, at: datetime) -> None:
    human_task = state.human_tasks[event.action]
    was_claimed = human_task.claim_of(event.by) is not None
    vote = Vote(event.by, event.outcome, event.owner, event.turn, state.revision, event.reason, event.data, was_claimed)
    human_task.votes = (*human_task.votes, vote)
    # in a sequence it is somebody else's turn now
    human_task.claims = () if human_task.order else _without(human_task, event.by)
    _touch(state, human_task, human_task.state, at)


def _escalated(state: Execution, event: e.HumanTaskEscalated, at: datetime) -> None:
    human_task = state.human_tasks[event.action]
    human_task.level = event.level
    human_task.users = tuple(dict.fromkeys([*human_task.users, *event.users]))
    human_task.groups = tuple(dict.fromkeys([*human_task.groups, *event.groups]))
    if event.users or event.groups:
        human_task.claims = ()
        _touch(state, human_task, HumanTaskState.OFFERED, at)
    else:
        _touch(state, human_task, human_task.state, at)


def _reminded(state: Execution, event: e.HumanTaskReminded, at: datetime) -> None:
    human_task = state.human_tasks[event.action]
    human_task.reminders = human_task.reminders[event.passed :]
    _touch(state, human_task, human_task.state, at)


def _expired(state: Execution, event: e.HumanTaskExpired, at: datetime) -> None:
    human_task = state.human_tasks[event.action]
    human_task.outcome = event.outcome
    human_task.done_by = "system" if event.outcome else ""
    _end_human_task(state, human_task, HumanTaskState.COMPLETED if event.outcome else HumanTaskState.CLOSED, at)


def _end_human_task(state: Execution, human_task: HumanTask, into: HumanTaskState, at: datetime) -> None:
    if human_task.quorum:
        # whose vote is not wanted any more has nothing in hand
        human_task.claims = ()
    _touch(state, human_task, into, at)


def _closed(state: Execution, event: e.HumanTaskClosed, at: datetime) -> None:
    _end_human_task(state, state.human_tasks[event.action], HumanTaskState.CLOSED, at)


def _decided(state: Execution, event: e.HumanTaskCompleted, at: datetime) -> None:
    human_task = state.human_tasks[event.action]
    human_task.done_by, human_task.outcome = event.by, event.outcome
    _end_human_task(state, human_task, HumanTaskState.COMPLETED, at)


_APPLY: dict[type[e.Event], Callable[[Execution, Any, datetime], None]] = {
    e.ExecutionPaused: _paused,
    e.ExecutionResumed: _resumed,
    e.ExecutionReopened: _reopened,
    e.ExecutionCancelling: _cancelling,
    e.ExecutionSucceeded: _ended(ExecutionState.SUCCEEDED),
    e.ExecutionFailed: _ended(ExecutionState.FAILED),
    e.ExecutionCancelled: _ended(ExecutionState.CANCELLED),
    e.TransitionsHeld: _held_back,
    e.TransitionsReleased: _released,
    e.TaskWaiting: _waiting,
    e.BranchArrived: _branch_arrived,
    e.JoinFired: _join_fired,
    e.TaskCreated: _created,
    e.TaskHeld: _held,
    e.TaskContinued: _continued,
    e.TaskStarted: _started,
    e.TaskSucceeded: _end_task(TaskState.SUCCEEDED),
    e.TaskFailed: _end_task(TaskState.FAILED),
    e.TaskSkipped: _end_task(TaskState.SKIPPED),
    e.TaskCancelled: _task_cancelled,
    e.ActionScheduled: _scheduled,
    e.ActionSucceeded: _end_action(ActionState.SUCCEEDED),
    e.ActionFailed: _end_action(ActionState.FAILED),
    e.ActionCancelled: _end_action(ActionState.CANCELLED),
    e.ActionCancelRequested: _cancel_requested,
    e.ActionReopened: _reopened_action,
    e.ChildOrdered: _no_change,
    e.TimerSet: _timer_set,
    e.TimerEnded: _timer_ended,
    e.HumanTaskOffered: _offered,
    e.HumanTaskResolved: _no_change,
    e.HumanTaskChanged: _shown_anew,
    e.HumanTaskClaimed: _claimed,
    e.HumanTaskReleased: _released_human_task,
    e.HumanTaskAssigned: _assigned,
    e.HumanTaskDelegated: _delegated,
    e.HumanTaskDraftSaved: _draft_saved,
    e.HumanTaskSeen: _seen,
    e.HumanTaskCommented: _commented,
    e.HumanTaskCompleted: _decided,
    e.HumanTaskClosed: _closed,
    e.HumanTaskAttachmentAdded: _attached,
    e.HumanTaskAttachmentWithdrawn: _withdrawn,
    e.HumanTaskVoted: _voted,
    e.HumanTaskEscalated: _escalated,
    e.HumanTaskReminded: _reminded,
    e.HumanTaskExpired: _expired,
    e.NotificationRequested: _no_change,
}
