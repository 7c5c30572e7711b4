"""What follows a task: guards that are none, entries never reached, tasks without a way, failures without a trace."""

from __future__ import annotations

from collections.abc import Iterator

from tradewind_server.lang.analysis.flow import Flow, constant, ends
from tradewind_server.lang.analysis.subjects import Workflow, published
from tradewind_server.lang.documents import Path
from tradewind_server.lang.graph import clauses
from tradewind_server.lang.specs import COMMAND_WORDS, EngineCommand, OnClause, TaskSpec
from tradewind_server.lang.transitions import places

_SILENT = frozenset({EngineCommand.NOOP, EngineCommand.SUCCEED})


def check(workflow: Workflow, flow: Flow) -> None:
    """Report what is odd about the outcomes of tasks."""
    for task in workflow.spec.tasks.values():
        path = workflow.task_path(task.name)
        for keyword, clause in clauses(task):
            if workflow.reader.has((*path, keyword)):
                _check_clause(workflow, path, keyword, clause)
    _check_reachable(workflow, flow)
    _check_hidden(workflow)
    _check_unhandled(workflow)
    _check_default_publish(workflow)


def _check_clause(workflow: Workflow, path: Path, keyword: str, clause: OnClause) -> None:
    if not any(transition.guard or transition.command for transition in clause.next):
        return
    is_over = False
    for transition, place in zip(clause.next, places(workflow.reader, clause, (*path, keyword)), strict=True):
        value = constant(transition.guard)
        if is_over:
            message = f"Expected '{transition.target}' before the command that ends the workflow: it never happens."
            workflow.reader.report("dead-transition", place, message, "Remove it, or put it first.", at_value=False)
        elif value is not None:
            what = "always" if value else "never"
            message = f"Expected a guard that can be true and false, but it {what} lets '{transition.target}' pass."
            fix = "Remove the guard." if value else "Remove the transition, or mend the guard."
            workflow.reader.report("dead-guard", place, message, fix)
        is_over = is_over or ends(transition)


def _check_reachable(workflow: Workflow, flow: Flow) -> None:
    gaps = workflow.gaps
    if not workflow.spec.start_tasks or gaps.is_opaque or not gaps.leads_anywhere.isdisjoint(flow.reachable):
        return
    for name in workflow.spec.tasks:
        if name not in flow.reachable and name not in COMMAND_WORDS:
            message = f"Expected a way from the first tasks to '{name}', but there is none: it never runs."
            workflow.reader.report(
                "unreachable-task",
                workflow.task_path(name),
                message,
                "Add a transition to it, or remove it.",
                at_value=False,
            )


def _check_hidden(workflow: Workflow) -> None:
    defaults = (*workflow.path, "task-defaults", "on-error")
    if any(_is_silent(task) and not workflow.gaps.may_act(task.name) for task in _with_default_clause(workflow)):
        message = "Expected failures to be handled, but task-defaults drop every one of them: the workflow succeeds."
        fix = "Name a task that tells somebody, or only drop failures of tasks that may fail."
        workflow.reader.report("all-failures-hidden", defaults, message, fix, at_value=False)
    for task in workflow.spec.tasks.values():
        path = (*workflow.task_path(task.name), "on-error")
        if workflow.reader.has(path) and _is_silent(task) and not workflow.gaps.may_act(task.name):
            message = (
                f"Expected the failure of '{task.name}' to leave a trace, but nothing runs and nothing is published."
            )
            fix = "Publish something with 'publish-on-error', or lead to a task."
            workflow.reader.report("hidden-failure", path, message, fix, at_value=False)


def _check_unhandled(workflow: Workflow) -> None:
    """Report what publishes after a failure as if that was handled; `output-on-error` may read what it publishes."""
    if workflow.spec.output_on_error is not None:
        return
    for task in workflow.spec.tasks.values():
        path, clause = (*workflow.task_path(task.name), "on-error"), task.on_error
        is_written = workflow.reader.has(path) and not workflow.gaps.may_act(task.name)
        if is_written and clause is not None and not clause.next and list(published(clause)):
            message = (
                f"Expected 'on-error' of '{task.name}' to lead somewhere, but it only publishes: the workflow fails."
            )
            workflow.reader.report("unhandled-failure", path, message, "Add 'next: noop', or a task.", at_value=False)


def _with_default_clause(workflow: Workflow) -> Iterator[TaskSpec]:
    if workflow.reader.has((*workflow.path, "task-defaults", "on-error")):
        for task in workflow.spec.tasks.values():
            if not workflow.reader.has((*workflow.task_path(task.name), "on-error")):
                yield task


def _is_silent(task: TaskSpec) -> bool:
    """Tell whether a failure is counted as handled though nothing is done about it."""
    clause = task.on_error
    if clause is None or not clause.next or task.publish_on_error is not None or task.on_complete is not None:
        return False
    is_quiet = all(entry.command in _SILENT and entry.message is None for entry in clause.next)
    return is_quiet and any(entry.guard is None for entry in clause.next) and not list(published(clause))


def _check_default_publish(workflow: Workflow) -> None:
    for keyword in ("on-success", "on-error", "on-complete", "on-skip"):
        path = (*workflow.path, "task-defaults", keyword, "publish")
        if workflow.reader.has(path):
            message = f"Expected no 'publish' in '{keyword}' of task-defaults: it is not used."
            workflow.reader.report("unused-publish", path, message, "Publish in the tasks themselves.", at_value=False)
