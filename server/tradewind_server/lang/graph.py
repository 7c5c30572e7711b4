"""How the tasks of a workflow hang together: start tasks, joins, requirements.

Source: `mistral/lang/v2/workflows.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tradewind_server.lang.specs import OnClause, TaskSpec, Transition, WorkflowSpec


def clauses(task: TaskSpec) -> Iterator[tuple[str, OnClause]]:
    """Give a task's clauses with their keywords."""
    if task.on_success is not None:
        yield "on-success", task.on_success
    if task.on_error is not None:
        yield "on-error", task.on_error
    if task.on_complete is not None:
        yield "on-complete", task.on_complete
    if task.on_skip is not None:
        yield "on-skip", task.on_skip


def transitions(task: TaskSpec) -> Iterator[Transition]:
    """Give all transitions of a task."""
    for _, clause in clauses(task):
        yield from clause.next


def inbound(tasks: Mapping[str, TaskSpec]) -> dict[str, tuple[str, ...]]:
    """Return for each task those with a transition to it, itself included; in textual order.

    A transition to a command's word counts for a task of that name too, though the command wins: such a
    task never starts.
    """
    sources: dict[str, dict[str, None]] = {name: {} for name in tasks}
    for task in tasks.values():
        for transition in transitions(task):
            if transition.target in sources:
                sources[transition.target][task.name] = None
    return {name: tuple(found) for name, found in sources.items()}


def start_tasks(sources: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the tasks without a transition to them; one to itself counts."""
    return tuple(name for name, found in sources.items() if not found)


def requirement_cycle(tasks: Mapping[str, TaskSpec]) -> tuple[str, ...]:
    """Return the tasks of one cycle of requirements, or nothing."""
    done: set[str] = set()
    for start in tasks:
        trail: dict[str, Iterator[str]] = {}
        pending = [start]
        while pending:
            name = pending[-1]
            if name in done or name not in tasks:
                pending.pop()
                continue
            following = trail.setdefault(name, iter(tasks[name].requires))
            required = next(following, None)
            if required is None:
                done.add(name)
                del trail[name]
                pending.pop()
            elif required in trail:
                path = list(trail)
                return (*path[path.index(required) :], required)
            else:
                pending.append(required)
    return ()


def uncalled(workflows: Sequence[WorkflowSpec]) -> list[str]:
    """Return the names of the workflows that no other of them calls; all of them if each is called."""
    names = [workflow.name for workflow in workflows]
    called = {name for workflow in workflows for name in _called(workflow)}
    return [name for name in names if name not in called] or names


def _called(workflow: WorkflowSpec) -> set[str]:
    called = {str(task.callee.source) for task in workflow.tasks.values() if task.kind == "workflow"}
    if workflow.workbook:  # names inside of a workbook may be short
        called |= {f"{workflow.workbook}.{name}" for name in called}
    return called - {workflow.name}  # a recursive workflow can still be the first one
