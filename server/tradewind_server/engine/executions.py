"""The life of an execution: started, paused, resumed, stopped, revived, finished."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tradewind_server.engine import commands as c
from tradewind_server.engine import events as e
from tradewind_server.engine import joins, tasks
from tradewind_server.engine.contexts import EMPTY, Context, merge, merged_deeply
from tradewind_server.engine.decision import Decision, Target
from tradewind_server.engine.graph import graph_of
from tradewind_server.engine.policies import TASK_ERRORS, dictionary
from tradewind_server.engine.scopes import StateFacts, output_scope
from tradewind_server.engine.state import Cause, Execution, ExecutionState, Task, TaskState
from tradewind_server.errors import (
    ExecutionWrongState,
    InputMissing,
    InputUnexpected,
    ParameterInvalid,
    StartFailed,
    TaskNotFound,
    TaskWrongState,
)
from tradewind_server.lang.expressions import Scope, compile_template
from tradewind_server.lang.shapes import MOST_PRIORITY, is_priority
from tradewind_server.lang.specs import WorkflowSpec


def start(d: Decision, command: c.StartExecution) -> None:
    """Create the execution and take its start."""
    spec = d.spec
    input_, params = _split_input(spec, command)
    env = _evaluated_env(d, command, params)
    started = e.ExecutionStarted(
        command.execution_id,
        command.namespace,
        command.workflow,
        command.workflow_namespace,
        command.root_id or command.execution_id,
        command.semantics_version,
        input_,
        env,
        params,
        {},
        command.parent_id,
        command.parent_action,
        command.initiator,
        _priority(command, params),
        _sensitive(d, command),
        command.depth,
    )
    _check_params(spec, params)
    if spec.vars is not None:
        probe = Decision(spec, None, d.library, d.at)
        probe.emit(started)
        scope = output_scope(spec, probe.state, d.at, EMPTY)
        try:
            started = msgspec.structs.replace(started, variables=dictionary(spec.vars, scope, "vars"))
        except TASK_ERRORS as error:
            raise StartFailed(workflow=spec.name, what="vars", problem=error) from None
    try:
        d.emit(started)
    except TASK_ERRORS as error:
        raise StartFailed(workflow=spec.name, what="input and vars", problem=error) from None
    if command.paused:
        d.emit(e.ExecutionPaused("Started while its parent was paused."))
    d.todo.append((0, [(name, "") for name in _first_tasks(spec, params)]))


def _sensitive(d: Decision, command: c.StartExecution) -> list[str]:
    """Return what is sensitive in it: what its definitions mark, and what its parent handed down."""
    own = d.library.sensitive(d.spec)
    return sorted({*own, *command.sensitive}) if own or command.sensitive else []


def _priority(command: c.StartExecution, params: dict[str, object]) -> int:
    """Return the priority of the execution: its own start parameter, or that of the task which starts it.

    Raises:
        ParameterInvalid: the parameter is no priority.
    """
    given = params.get("priority")
    if is_priority(given):
        assert isinstance(given, int)
        return given
    if given is None or command.spill_input:
        # an undeclared input of a sub-workflow may have this name, too, and means nothing then
        return command.priority
    expected, problem = f"a whole number from -{MOST_PRIORITY} to {MOST_PRIORITY}", f"it is {given!r:.40}"
    raise ParameterInvalid(name="priority", expected=expected, problem=problem, field="params")


def _split_input(spec: WorkflowSpec, command: c.StartExecution) -> tuple[dict[str, object], dict[str, object]]:
    declared = {i.name: i for i in spec.input}
    given = dict(command.input)
    missing = [name for name, i in declared.items() if i.required and name not in given]
    if missing:
        raise InputMissing(names=", ".join(missing), workflow=spec.name, field="input")
    params = dict(command.params)
    extra = {name: given.pop(name) for name in list(given) if name not in declared}
    if extra and not command.spill_input:
        known = ", ".join(declared) or "none"
        raise InputUnexpected(names=", ".join(sorted(extra)), workflow=spec.name, declared=known, field="input")
    params.update(extra)
    return {name: given.get(name, i.default) for name, i in declared.items()}, params


def _evaluated_env(d: Decision, command: c.StartExecution, params: dict[str, object]) -> dict[str, object]:
    env = dict(command.env)
    if command.parent_id or params.get("evaluate_env") is False or not env:
        # a sub-workflow sees the root's environment, which has been evaluated
        return env
    scope = Scope(({"__env": env},), _EnvFacts(env))
    # what cannot be parsed fails as it is evaluated
    template = compile_template(env, report=lambda path, problem: None)
    try:
        return dictionary(template, scope, "env")
    except TASK_ERRORS as error:
        raise StartFailed(workflow=d.spec.name, what="env", problem=error) from None


class _EnvFacts(StateFacts):
    """The facts while the environment itself is evaluated: there is no execution yet."""

    __slots__ = ("_env",)

    def __init__(self, env: dict[str, object]) -> None:
        self._env = env

    def env(self) -> dict[str, object]:
        return self._env


def _check_params(spec: WorkflowSpec, params: dict[str, object]) -> None:
    if spec.type != "reverse":
        return
    wanted = params.get("task_name")
    if wanted not in spec.tasks:
        known = ", ".join(spec.tasks)
        problem = "it is missing" if wanted is None else f"there is no task '{wanted}'"
        raise ParameterInvalid(name="task_name", expected=f"one of {known}", problem=problem, field="params")


def _first_tasks(spec: WorkflowSpec, params: dict[str, object]) -> list[str]:
    if spec.type == "direct":
        return list(spec.start_tasks)
    return [name for name in needed_tasks(spec, str(params["task_name"])) if not spec.tasks[name].requires]


def needed_tasks(spec: WorkflowSpec, goal: str) -> list[str]:
    """Return what a reverse workflow runs for *goal*, in textual order."""
    needed: set[str] = set()
    todo = [goal]
    while todo:
        name = todo.pop()
        if name not in needed:
            needed.add(name)
            todo.extend(spec.tasks[name].requires)
    return [name for name in spec.tasks if name in needed]


# --- following transitions -----------------------------------------------------------------------


def follow_up(d: Decision) -> None:
    """Take all transitions that are due, then see whether the execution is over."""
    while True:
        while d.todo:
            if d.is_full:
                _put_off(d)
                return
            task, targets = d.todo.popleft()
            if task < 0:
                joins.review(d, d.state.tasks[-task])
                continue
            _follow(d, task, targets)
            if task and d.spec.type == "direct":
                joins.note_end(d, d.state.tasks[task], targets)
        if d.state.state is ExecutionState.RUNNING and not d.state.backlog and joins.resolve_standstill(d):
            continue
        break
    _finish_if_over(d)


def _put_off(d: Decision) -> None:
    """Keep the rest of an over-long decision for the next one."""
    for task, targets in d.todo:
        if task < 0:
            d.set_timer("review", 0, -task)
        elif targets:
            d.emit(e.TransitionsHeld(task, targets))
    d.todo.clear()
    if d.state.state is not ExecutionState.PAUSED:
        d.set_timer("continue", 0)


def _follow(d: Decision, task: int, targets: list[Target]) -> None:
    state = d.state
    for n, (target, message) in enumerate(targets):
        if state.is_final or state.state is ExecutionState.CANCELLING:
            return
        if state.state is ExecutionState.PAUSED:
            _hold(d, task, targets[n:], drop_pauses=n == 0)
            return
        if not task:
            # a start task may be called like a command
            _take(d, target, task)
        elif target == "pause":
            d.emit(e.ExecutionPaused(message, tell_parent=bool(state.parent_id)))
        elif target == "fail":
            ended = state.tasks.get(task)
            meant = ended is None or ended.handled or ended.state is not TaskState.FAILED
            finish(d, ExecutionState.FAILED, message or None, None if meant else Cause("DEFINITION"), ended)
        elif target == "succeed":
            finish(d, ExecutionState.SUCCEEDED, message or None)
        elif target != "noop":
            if d.is_full:
                d.emit(e.TransitionsHeld(task, targets[n:]))
                d.set_timer("continue", 0)
                return
            _take(d, target, task)


def _hold(d: Decision, task: int, targets: list[Target], *, drop_pauses: bool) -> None:
    # a pause that comes from a task finished while paused adds nothing
    held = [t for t in targets if t[0] != "pause"] if drop_pauses else targets
    if held:
        d.emit(e.TransitionsHeld(task, held))


def _take(d: Decision, target: str, parent: int) -> None:
    limit = d.library.max_tasks
    if d.state.last_task >= limit:
        message = f"The execution has made {limit} tasks, which is all that it may (max_execution_tasks)."
        finish(d, ExecutionState.FAILED, message, Cause("LIMIT", "TOO_MANY_TASKS"), d.state.tasks.get(parent))
        return
    if d.spec.tasks[target].join:
        joins.arrive(d, target, parent)
    else:
        tasks.start(d, target, parent)


def release_backlog(d: Decision) -> None:
    """Take the transitions that were held back, oldest first."""
    while d.state.backlog and d.state.state is ExecutionState.RUNNING and not d.is_full:
        entry = d.state.backlog[0]
        d.emit(e.TransitionsReleased())
        _follow(d, entry.task, entry.targets)
    if d.state.backlog and d.state.state is ExecutionState.RUNNING:
        d.set_timer("continue", 0)


def advance_reverse(d: Decision) -> None:
    """Reverse workflow: start every needed task whose requirements have all succeeded."""
    state = d.state
    if d.spec.type != "reverse" or state.state is not ExecutionState.RUNNING:
        return
    for name in needed_tasks(d.spec, str(state.params["task_name"])):
        if name in state.latest:
            continue
        required = [state.latest.get(other) for other in d.spec.tasks[name].requires]
        if all(id_ and state.tasks[id_].state is TaskState.SUCCEEDED for id_ in required):
            joins.require(d, name, [id_ for id_ in required if id_])


# --- the end -------------------------------------------------------------------------------------


def _finish_if_over(d: Decision) -> None:
    state = d.state
    advance_reverse(d)
    if d.todo:
        follow_up(d)
        return
    if state.state is ExecutionState.CANCELLING and not state.open_actions:
        finish_cancelled(d)
    elif state.state is ExecutionState.RUNNING and not state.open_tasks and not state.backlog:
        _finish(d)


def _finish(d: Decision) -> None:
    state = d.state
    cancelled = [t.name for t in state.tasks.values() if t.state is TaskState.CANCELLED]
    if cancelled:
        message = f"Cancelled tasks: {', '.join(dict.fromkeys(cancelled))}"
        d.emit(e.ExecutionCancelled(message, {"result": message}))
        return
    failed = [t for t in state.tasks.values() if t.state is TaskState.FAILED]
    if d.spec.type == "direct":
        failed = [t for t in failed if not t.handled]
    if failed:
        names = ", ".join(dict.fromkeys(t.name for t in failed))
        details = "".join(f"\n  {t.name}: {t.message}" for t in failed)
        message = f"Failure caused by error in tasks: {names}{details}"
        finish(d, ExecutionState.FAILED, message, _cause(state, failed[0]), failed[0])
    else:
        finish(d, ExecutionState.SUCCEEDED, None)


def _cause(state: Execution, task: Task) -> Cause:
    """Return what made *task* fail."""
    for id_ in task.accepted.values():
        if (failure := state.actions[id_].failure) is not None:
            return failure
    return Cause("TIMEOUT" if task.message == tasks.TIMED_OUT else "DEFINITION")


def finish(
    d: Decision, outcome: ExecutionState, message: str | None, cause: Cause | None = None, task: Task | None = None
) -> None:
    """End the execution now; tasks that still run go on, but nothing follows them.

    Args:
        d: the decision.
        outcome: the state it ends in.
        message: why, for people.
        cause: what made it fail; by default the definition's own command.
        task: where that happened.
    """
    message = message[: tasks.MAX_MESSAGE] if message else message
    for timer in [t for t in d.state.timers.values() if not t.task]:
        d.emit(e.TimerEnded(timer.id))
    final = final_context(d)
    scope = output_scope(d.spec, d.state, d.at, final)
    if outcome is ExecutionState.SUCCEEDED:
        try:
            if d.spec.output is None:
                output: object = dict(final.values)
            else:
                output = d.spec.output.evaluate(scope)
            d.emit(e.ExecutionSucceeded(output, message))
            return
        except TASK_ERRORS as error:
            message, cause, task = f"Failed to evaluate the output: {error}", Cause("DEFINITION"), None
    d.emit(_failed(d, message, final, scope, cause or Cause("COMMAND"), task))


def _failed(
    d: Decision, message: str | None, final: Context, scope: Scope, cause: Cause, task: Task | None
) -> e.ExecutionFailed:
    # R11: the message, and output-on-error or the whole final context over it
    output: dict[str, object] = {"result": message}
    try:
        if d.spec.output_on_error is not None:
            output.update(dictionary(d.spec.output_on_error, scope, "output-on-error"))
        else:
            output.update(final.values)
    except TASK_ERRORS as error:
        message = f"{message} Then output-on-error failed: {error}"
        output = {"result": message}
    name, attempt = (task.name, task.attempt) if task is not None else ("", 0)
    return e.ExecutionFailed(message, output, cause.kind, cause.code, name, attempt)


def finish_cancelled(d: Decision) -> None:
    """All running work has answered, or the grace is over."""
    for timer in list(d.state.timers.values()):
        d.emit(e.TimerEnded(timer.id))
    message = d.state.message
    d.emit(e.ExecutionCancelled(message, {"result": message}))


def final_context(d: Decision) -> Context:
    """Return the merged contexts of the tasks after which nothing came, in textual order."""
    state = d.state
    if d.spec.type == "reverse":
        goal = state.latest.get(str(state.params["task_name"]))
        return state.tasks[goal].outbound if goal else EMPTY
    order = graph_of(d.spec).order
    ends = [t for t in state.tasks.values() if t.is_final and not t.has_next]
    return merge(t.outbound for t in sorted(ends, key=lambda t: (order[t.name], t.id))).context


# --- operators -----------------------------------------------------------------------------------


def _refuse(d: Decision, verb: str) -> ExecutionWrongState:
    return ExecutionWrongState(command=verb, execution=d.state.id, state=d.state.state)


def pause(d: Decision, command: c.PauseExecution) -> None:
    """Stop starting tasks; the children are paused too."""
    state = d.state
    if state.state is ExecutionState.PAUSED or (command.from_parent and state.state is not ExecutionState.RUNNING):
        return
    if state.state is not ExecutionState.RUNNING:
        raise _refuse(d, "pause")
    d.emit(e.ExecutionPaused(command.message, tell_parent=bool(state.parent_id) and not command.from_parent))
    _order_children(d, "pause")


def _order_children(d: Decision, order: str) -> None:
    for id_ in list(d.state.open_actions):
        action = d.state.actions[id_]
        if action.child:
            d.emit(e.ChildOrdered(id_, action.child, order))


def resume(d: Decision, command: c.ResumeExecution) -> None:
    """Go on: children first, then held tasks, then transitions held back."""
    state = d.state
    if command.from_parent and state.state is not ExecutionState.PAUSED:
        return
    if state.state is ExecutionState.RUNNING and command.env is None:
        return
    if state.state is not ExecutionState.PAUSED:
        raise _refuse(d, "resume")
    env = None if command.env is None else merged_deeply(state.env, command.env)
    d.emit(e.ExecutionResumed(env, tell_parent=bool(state.parent_id) and not command.from_parent))
    _order_children(d, "resume")
    _continue_held(d)
    release_backlog(d)


def _continue_held(d: Decision) -> None:
    for id_ in list(d.state.open_tasks):
        task = d.state.tasks[id_]
        if task.state is TaskState.PAUSED and task.open_actions:
            d.emit(e.TaskContinued(id_))
            tasks.settle(d, task)
        elif task.state is TaskState.PAUSED:
            tasks.attempt(d, task.id, task.name, task.attempt + 1, None)


def stop(d: Decision, command: c.StopExecution) -> None:
    """End the execution as the operator says; cancelling tells everybody who works for it."""
    state = d.state
    if command.outcome is not ExecutionState.CANCELLED:
        if state.is_final or state.state is ExecutionState.CANCELLING:
            raise _refuse(d, "stop")
        finish(d, command.outcome, command.message or None)
        return
    if state.state in (ExecutionState.CANCELLED, ExecutionState.CANCELLING):
        return
    if state.is_final:
        raise _refuse(d, "cancel")
    _cancel(d, command)


def _cancel(d: Decision, command: c.StopExecution) -> None:
    state = d.state
    d.emit(e.ExecutionCancelling(command.message))
    for timer in list(state.timers.values()):
        d.emit(e.TimerEnded(timer.id))
    for id_ in list(state.open_actions):
        action = state.actions[id_]
        if action.child:
            d.emit(e.ChildOrdered(id_, action.child, "cancel"))
        elif action.asynchronous or id_ in command.undelivered:
            d.emit(e.ActionCancelled(id_, action.task, command.message))
        else:
            d.emit(e.ActionCancelRequested(id_, action.task))
    for id_ in list(state.open_tasks):
        if not state.tasks[id_].open_actions:
            d.emit(e.TaskCancelled(id_, command.message))
    if state.open_actions:
        d.set_timer("cancel-grace", command.grace_seconds)


def give_up_cancelling(d: Decision) -> None:
    """The grace is over: what has not answered is not waited for."""
    state = d.state
    for id_ in list(state.open_actions):
        d.emit(e.ActionCancelled(id_, state.actions[id_].task, "Did not answer the cancellation in time."))
    for id_ in list(state.open_tasks):
        d.emit(e.TaskCancelled(id_, "Did not answer the cancellation in time."))


def _failed_task(d: Decision, id_: int, verb: str) -> Task:
    task = d.state.tasks.get(id_)
    if task is None:
        raise TaskNotFound(task=id_, execution=d.state.id)
    rerunnable = task.state is TaskState.FAILED or (verb == "rerun" and task.state is TaskState.CANCELLED)
    if not rerunnable or d.state.latest[task.name] != id_:
        raise TaskWrongState(command=verb, task=task.name, state=task.state)
    if d.state.state not in (ExecutionState.FAILED, ExecutionState.CANCELLED, ExecutionState.RUNNING):
        raise _refuse(d, f"{verb} a task of")
    return task


def rerun(d: Decision, command: c.RerunTask) -> None:
    """Run a failed task again; an ended execution is revived, and so are its parents."""
    task = _failed_task(d, command.task, "rerun")
    _revive(d, command.env)
    failed_only = not command.reset and task.items is not None
    tasks.rerun(d, task, failed_only)


def skip(d: Decision, command: c.SkipTask) -> None:
    """Take a failed task as skipped and go on after it."""
    task = _failed_task(d, command.task, "skip")
    _revive(d, None)
    tasks.skip(d, task)


def _revive(d: Decision, patch: Mapping[str, object] | None) -> None:
    env = None if patch is None else merged_deeply(d.state.env, patch)
    if d.state.is_final:
        d.emit(e.ExecutionReopened(env, tell_parent=bool(d.state.parent_id)))
        # what was held when the execution ended goes on with it
        _continue_held(d)
    elif env is not None:
        d.emit(e.ExecutionResumed(env))


def note_child(d: Decision, command: c.NoteChild) -> None:
    """A sub-workflow paused, resumed or was revived."""
    state = d.state
    action = state.actions.get(command.action)
    if action is None:
        return
    task = state.tasks[action.task]
    if command.change == "reopened":
        _reopen_child(d, command.action, task)
    elif command.change == "paused" and task.state is TaskState.RUNNING:
        d.emit(e.TaskHeld(task.id, TaskState.PAUSED, "Its sub-workflow is paused."))
        if state.state is ExecutionState.RUNNING:
            why = f"The sub-workflow of task '{task.name}' is paused."
            d.emit(e.ExecutionPaused(why, tell_parent=bool(state.parent_id)))
    elif command.change == "resumed" and task.state is TaskState.PAUSED:
        d.emit(e.TaskContinued(task.id))
        still = any(state.tasks[id_].state is TaskState.PAUSED for id_ in state.open_tasks)
        if state.state is ExecutionState.PAUSED and not still:
            resume(d, c.ResumeExecution(d.at))


def _reopen_child(d: Decision, action: int, task: Task) -> None:
    if action in d.state.open_actions or task.accepted.get(d.state.actions[action].index) != action:
        return
    if d.state.state is ExecutionState.SUCCEEDED:
        # it got on without the sub-workflow; a success is never taken back
        return
    _revive(d, None)
    d.emit(e.ActionReopened(action, task.id))
