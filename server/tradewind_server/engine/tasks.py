"""The life of a task: created, held or delayed, attempted, concluded, followed.

Order of policies, from `mistral/engine/policies.py`: pause-before and wait-before before the first attempt; wait-after,
fail-on and retry after one. A run-time error of a task (a bad expression, an unknown action, a wrong parameter) makes
the task FAILED and takes its on-error (R12).
"""

from __future__ import annotations

import contextlib

import msgspec

from tradewind_server.engine import calls
from tradewind_server.engine import events as e
from tradewind_server.engine.decision import Decision, Target
from tradewind_server.engine.policies import TASK_ERRORS, dictionary, holds, truth, whole_number
from tradewind_server.engine.scopes import task_scope
from tradewind_server.engine.semantics import fail_on_is_a_failure
from tradewind_server.engine.state import Action, ActionState, ExecutionState, Task, TaskState
from tradewind_server.lang.expressions import Scope
from tradewind_server.lang.specs import COMMAND_WORDS, OnClause, TaskSpec
from tradewind_server.lang.values import is_truthy, to_text

#: Longest message of a failure, characters; a longer one is cut, or it could not be recorded.
MAX_MESSAGE = 50_000
#: Message of a task that did not end within its timeout.
TIMED_OUT = "Task timed out."


def start(d: Decision, name: str, parent: int) -> None:
    """Take a transition to the task *name*; *parent* is 0 for a start task."""
    spec = d.spec.tasks[name]
    parents = [parent] if parent else []
    id_ = d.state.last_task + 1
    if spec.pause_before is None and spec.wait_before is None:
        attempt(d, id_, name, 1, parents)
        return
    d.emit(e.TaskCreated(id_, name, TaskState.DELAYED, parents))
    begin(d, d.state.tasks[id_])


def begin(d: Decision, task: Task) -> None:
    """Let an existing task begin: hold it, delay it, or attempt it."""
    spec = d.task_spec(task)
    scope = task_scope(d.spec, d.state, d.at, task.context, task, {})
    try:
        hold = truth(spec.pause_before, scope, "pause-before")
        delay = whole_number(spec.wait_before, scope, "wait-before")
    except TASK_ERRORS as error:
        fail_at_once(d, task, str(error))
        return
    if hold:
        d.emit(e.TaskHeld(task.id, TaskState.PAUSED, "Held by pause-before."))
        if d.state.state is ExecutionState.RUNNING:
            d.emit(e.ExecutionPaused(f"Paused before task '{task.name}'.", tell_parent=bool(d.state.parent_id)))
    elif delay:
        d.emit(e.TaskHeld(task.id, TaskState.DELAYED, f"Delayed by wait-before for {delay} s."))
        d.set_timer("start", delay, task.id)
        _set_timeout(d, task, spec, scope)
    else:
        attempt(d, task.id, task.name, task.attempt + 1, None)


def attempt(
    d: Decision,
    id_: int,
    name: str,
    number: int,
    parents: list[int] | None,
    *,
    rerun: bool = False,
    failed_only: bool = False,
) -> None:
    """Begin attempt *number*; *parents* is given when this also creates the task."""
    spec = d.spec.tasks[name]
    if not spec.with_items:
        d.emit(e.TaskStarted(id_, name, number, parents, rerun=rerun))
    elif failed_only:
        task = d.state.tasks[id_]
        items = task.items
        assert items is not None
        d.emit(e.TaskStarted(id_, name, number, None, None, items.concurrency, keep_accepted=True, rerun=rerun))
    elif not _start_items(d, id_, name, number, parents, rerun):
        return
    task = d.state.tasks[id_]
    if spec.timeout is not None or spec.retry is not None:
        scope = task_scope(d.spec, d.state, d.at, task.context, task, {})
        try:
            _check_retry(spec, scope)
            if "timeout" not in task.timers:
                _set_timeout(d, task, spec, scope)
        except TASK_ERRORS as error:
            fail_at_once(d, task, str(error))
            return
    schedule(d, task)


def _check_retry(spec: TaskSpec, scope: Scope) -> None:
    """A retry that cannot be meant shows before the first attempt, not after it."""
    if spec.retry is not None:
        whole_number(spec.retry.count, scope, "retry count")
        whole_number(spec.retry.delay, scope, "retry delay")


def _start_items(d: Decision, id_: int, name: str, number: int, parents: list[int] | None, rerun: bool) -> bool:
    spec = d.spec.tasks[name]
    known = d.state.tasks.get(id_)
    context = known.context if known else calls.inherited(d.state, parents or [])
    scope = task_scope(d.spec, d.state, d.at, context, known, {})
    try:
        items = calls.collect_items(spec, scope)
        concurrency = whole_number(spec.concurrency, scope, "concurrency")
        d.emit(e.TaskStarted(id_, name, number, parents, items, concurrency, rerun=rerun))
    except TASK_ERRORS as error:
        d.emit(e.TaskStarted(id_, name, number, parents, rerun=rerun))
        fail_at_once(d, d.state.tasks[id_], str(error))
        return False
    return True


def _set_timeout(d: Decision, task: Task, spec: TaskSpec, scope: Scope) -> None:
    seconds = whole_number(spec.timeout, scope, "timeout")
    if seconds:
        d.set_timer("timeout", seconds, task.id)


def schedule(d: Decision, task: Task) -> None:
    """Schedule the actions of the current attempt, as many as concurrency and the size of a decision allow."""
    try:
        complete = calls.schedule(d, task)
    except TASK_ERRORS as error:
        _withdraw(d, task)
        fail_at_once(d, task, str(error))
        return
    if not complete and "fan-out" not in task.timers:
        d.set_timer("fan-out", 0, task.id)
    settle(d, task)


def ask(d: Decision, task: Task, action: Action) -> None:
    """A resolver has said who is asked."""
    if d.state.is_final:
        fail_at_once(d, task, "The execution had ended before anybody was asked.")
        return
    try:
        calls.go_on(d, task, action)
    except TASK_ERRORS as error:
        _withdraw(d, task)
        fail_at_once(d, task, str(error))
        return
    if task.items is not None and calls.has_more(task):
        schedule(d, task)


def settle(d: Decision, task: Task) -> None:
    """See whether the current attempt is over."""
    if task.state not in (TaskState.RUNNING, TaskState.PAUSED):
        return
    if task.cancelled_actions:
        # an item that is cancelled cancels the task; other items keep running
        message = "Cancelled."
        d.end_timers(task)
        d.emit(e.TaskCancelled(task.id, message))
        return
    if task.open_actions or (task.items is not None and calls.has_more(task)):
        return
    if task.failed_actions:
        failed = next(a for a in task.accepted.values() if d.state.actions[a].state is ActionState.FAILED)
        reason = "One or more actions had failed." if task.items is not None else _reason(d, failed)
        end(d, task, TaskState.FAILED, reason)
    else:
        end(d, task, TaskState.SUCCEEDED, "")


def _reason(d: Decision, action: int) -> str:
    for event in reversed(d.events):
        if isinstance(event, e.ActionFailed) and event.action == action:
            return event.message
    return to_text(d.state.actions[action].result)


def end(d: Decision, task: Task, outcome: TaskState, reason: str) -> None:
    """End the attempt, after wait-after if the task has it."""
    spec = d.task_spec(task)
    if spec.wait_after is not None and not task.waited_after:
        scope = task_scope(d.spec, d.state, d.at, task.context, task, {})
        try:
            delay = whole_number(spec.wait_after, scope, "wait-after")
        except TASK_ERRORS as error:
            fail_at_once(d, task, str(error))
            return
        if delay:
            d.emit(e.TaskHeld(task.id, TaskState.DELAYED, f"Delayed by wait-after for {delay} s.", outcome, reason))
            d.set_timer("end", delay, task.id)
            return
    conclude(d, task, outcome, reason)


class _Plan(msgspec.Struct, gc=False):
    """How a task ends: what it publishes and what follows."""

    published: dict[str, object]
    globals: dict[str, object]
    targets: list[Target]
    #: on-error gave at least one entry.
    handled: bool = False
    #: Its result is not kept.
    drop: bool = False


def conclude(d: Decision, task: Task, outcome: TaskState, reason: str, may_retry: bool = True) -> None:
    """Publish, apply fail-on and retry, and end the task or begin its next attempt."""
    reason = reason[:MAX_MESSAGE]
    spec = d.task_spec(task)
    try:
        scope = task_scope(d.spec, d.state, d.at, task.context, task, {}, outcome, reason)
        published, globals_ = _publish(spec, outcome, scope)
        after = _outbound_scope(scope, published, globals_)
        if outcome is TaskState.SUCCEEDED and holds(spec.fail_on, after, "fail-on", d.state, default=False):
            outcome, reason = TaskState.FAILED, "Failed by fail-on."
            scope = task_scope(d.spec, d.state, d.at, task.context, task, {}, outcome, reason)
            after = _outbound_scope(scope, published, globals_)
            if fail_on_is_a_failure(d.state):
                # what it has published stays, as in Mistral, and what failures publish comes on top
                also, also_globals = _publish(spec, outcome, after)
                published, globals_ = {**published, **also}, {**globals_, **also_globals}
                after = _outbound_scope(scope, published, globals_)
        if may_retry and spec.retry is not None and _retry(d, task, spec, outcome, after):
            return
        targets, handled = _targets(spec, outcome, after)
        drop = _drops_result(d, task, spec, after)
        _emit_end(d, task, outcome, reason, _Plan(published, globals_, targets, handled, drop))
    except TASK_ERRORS as error:
        why = reason if str(error) in reason else f"{reason} {error}".strip()
        if outcome is TaskState.SUCCEEDED or may_retry:
            conclude(d, task, TaskState.FAILED, why, may_retry=False)
        else:
            _fail_by_on_error(d, task, why)


def _fail_by_on_error(d: Decision, task: Task, reason: str) -> None:
    """Take on-error without those parts of publish-on-error and on-complete that are wrong themselves (R12)."""
    spec = d.task_spec(task)
    try:
        scope = task_scope(d.spec, d.state, d.at, task.context, task, {}, TaskState.FAILED, reason)
        branch: dict[str, object] = {}
        globals_: dict[str, object] = {}
        _publish_clause(spec.on_error, scope, branch, globals_)
        hidden = {} if globals_ else globals_
        with contextlib.suppress(*TASK_ERRORS):
            branch.update(dictionary(spec.publish_on_error, scope, "publish"))
        with contextlib.suppress(*TASK_ERRORS):
            _publish_clause(spec.on_complete, scope, branch, hidden)
        after = _outbound_scope(scope, branch, globals_)
        targets = _entries(spec.on_error, after)
        plan = _Plan(branch, globals_, targets, handled=bool(targets))
        with contextlib.suppress(*TASK_ERRORS):
            plan.targets = targets + _entries(spec.on_complete, after)
        with contextlib.suppress(*TASK_ERRORS):
            plan.drop = _drops_result(d, task, spec, after)
        _emit_end(d, task, TaskState.FAILED, reason[:MAX_MESSAGE], plan)
    except TASK_ERRORS as error:
        _fail_execution(d, task, f"{reason} Then its on-error failed: {error}")


def fail_at_once(d: Decision, task: Task, reason: str) -> None:
    """End the task by an error of its definition; another attempt would fail alike."""
    conclude(d, task, TaskState.FAILED, reason, may_retry=False)


def _fail_execution(d: Decision, task: Task, reason: str) -> None:
    reason = reason[:MAX_MESSAGE]
    d.end_timers(task)
    d.emit(e.TaskFailed(task.id, reason))
    # R12: only an error in on-error itself fails the execution directly
    d.todo.append((task.id, [("fail", f"Task '{task.name}': {reason}")]))


def _drops_result(d: Decision, task: Task, spec: TaskSpec, scope: Scope) -> bool:
    """Tell whether keep-result says so; what a sub-workflow gave stays with it in any case."""
    if holds(spec.keep_result, scope, "keep-result", d.state, default=True):
        return False
    return not any(d.state.actions[a].kind == "workflow" for a in task.accepted.values())


def _emit_end(d: Decision, task: Task, outcome: TaskState, reason: str, plan: _Plan) -> None:
    following = [target for target, _ in plan.targets if target not in COMMAND_WORDS]
    if outcome is TaskState.SUCCEEDED:
        d.emit(e.TaskSucceeded(task.id, plan.published, plan.globals, following, plan.drop))
    elif outcome is TaskState.FAILED:
        d.emit(e.TaskFailed(task.id, reason, plan.published, plan.globals, following, plan.handled, plan.drop))
    else:
        d.emit(e.TaskSkipped(task.id, plan.published, plan.globals, following))
    d.end_timers(task)
    d.todo.append((task.id, plan.targets))


def skip(d: Decision, task: Task) -> None:
    """End a failed task as SKIPPED; on-skip follows, or on-success when on-skip gives nothing."""
    spec = d.task_spec(task)
    try:
        scope = task_scope(d.spec, d.state, d.at, task.context, task, {}, TaskState.SKIPPED)
        published, globals_ = _publish(spec, TaskState.SKIPPED, scope)
        after = _outbound_scope(scope, published, globals_)
        targets = _entries(spec.on_skip, after) or _entries(spec.on_success, after)
        _emit_end(d, task, TaskState.SKIPPED, "", _Plan(published, globals_, targets))
    except TASK_ERRORS as error:
        # it has failed before; what is new is that the operator's answer does not work either
        d.todo.append((task.id, [("fail", f"Skipping task '{task.name}': {error}")]))


def _publish(spec: TaskSpec, outcome: TaskState, scope: Scope) -> tuple[dict[str, object], dict[str, object]]:
    """Return what the task publishes, (branch, global). on-complete beats the task, the task beats the clause (R3)."""
    if outcome is TaskState.SUCCEEDED:
        own, clause = spec.publish, spec.on_success
    elif outcome is TaskState.FAILED:
        own, clause = spec.publish_on_error, spec.on_error
    else:
        own, clause = spec.publish_on_skip, spec.on_skip
    branch: dict[str, object] = {}
    globals_: dict[str, object] = {}
    _publish_clause(clause, scope, branch, globals_)
    has_globals = bool(globals_)
    if own is not None:
        branch.update(dictionary(own, scope, "publish"))
    # the globals of on-complete count only where the other clause has none, as in Mistral
    _publish_clause(spec.on_complete, scope, branch, {} if has_globals else globals_)
    return branch, globals_


def _publish_clause(
    clause: OnClause | None, scope: Scope, branch: dict[str, object], globals_: dict[str, object]
) -> None:
    if clause is not None and clause.publish is not None:
        branch.update(dictionary(clause.publish.branch, scope, "publish: branch"))
        globals_.update(dictionary(clause.publish.global_, scope, "publish: global"))
        # R13: every decision is atomic within the execution, which is what `atomic` asks for
        globals_.update(dictionary(clause.publish.atomic, scope, "publish: atomic"))


def _outbound_scope(scope: Scope, published: dict[str, object], globals_: dict[str, object]) -> Scope:
    # successors see what was just published
    extra = {**globals_, **published} if globals_ else published
    return Scope((extra, *scope.layers), scope.facts) if extra else scope


def _retry(d: Decision, task: Task, spec: TaskSpec, outcome: TaskState, scope: Scope) -> bool:
    """Begin another attempt if the policy asks for one."""
    retry = spec.retry
    assert retry is not None
    count = whole_number(retry.count, scope, "retry count")
    delay = whole_number(retry.delay, scope, "retry delay")
    if not count or (outcome is TaskState.FAILED and _is_hopeless(d, task)):
        return False
    go_on = retry.continue_on is None or is_truthy(retry.continue_on.evaluate(scope))
    stop = retry.break_on is not None and is_truthy(retry.break_on.evaluate(scope))
    succeeded = outcome is TaskState.SUCCEEDED
    again = go_on and (retry.continue_on is not None if succeeded else not stop)
    if not again or task.attempt - task.first_attempt >= count:
        return False
    d.end_timers(task)
    if delay:
        d.emit(e.TaskHeld(task.id, TaskState.DELAYED, f"Attempt {task.attempt + 1} in {delay} s."))
        d.set_timer("start", delay, task.id)
    else:
        attempt(d, task.id, task.name, task.attempt + 1, None)
    return True


def _is_hopeless(d: Decision, task: Task) -> bool:
    """Tell whether who failed says that another attempt would fail alike."""
    failures = [d.state.actions[id_].failure for id_ in task.accepted.values()]
    return any(failure is not None and not failure.retryable for failure in failures)


def _targets(spec: TaskSpec, outcome: TaskState, scope: Scope) -> tuple[list[Target], bool]:
    """Return the transitions to take, in textual order, and whether on-error answered."""
    first = _entries(spec.on_success if outcome is TaskState.SUCCEEDED else spec.on_error, scope)
    return first + _entries(spec.on_complete, scope), outcome is TaskState.FAILED and bool(first)


def _entries(clause: OnClause | None, scope: Scope) -> list[Target]:
    if clause is None:
        return []
    found: list[Target] = []
    for transition in clause.next:
        if transition.guard is None or is_truthy(transition.guard.evaluate(scope)):
            message = "" if transition.message is None else to_text(transition.message.evaluate(scope))
            found.append((transition.command.value if transition.command else transition.target, message))
    return found


def rerun(d: Decision, task: Task, failed_only: bool) -> None:
    """Run an ended task again, at once: an operator said so."""
    attempt(d, task.id, task.name, task.attempt + 1, None, rerun=True, failed_only=failed_only)


def time_out(d: Decision, task: Task) -> None:
    """The timeout of the current attempt is due."""
    _withdraw(d, task)
    d.end_timers(task)
    conclude(d, task, TaskState.FAILED, TIMED_OUT)


def _withdraw(d: Decision, task: Task) -> None:
    """End the open actions of the task; a late result is stale (R29)."""
    for id_ in [a for a in task.accepted.values() if d.state.actions[a].state is ActionState.OPEN]:
        action = d.state.actions[id_]
        if action.child:
            d.emit(e.ChildOrdered(id_, action.child, "cancel"))
        d.emit(e.ActionCancelled(id_, task.id, "Withdrawn."))
