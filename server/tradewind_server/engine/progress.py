"""What of a workflow is still to come: an estimate, as guards are decided only when their task has ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator

from tradewind_server.engine.executions import needed_tasks
from tradewind_server.engine.graph import graph_of
from tradewind_server.lang.graph import clauses
from tradewind_server.lang.specs import TaskSpec, WorkflowSpec


@dataclasses.dataclass(frozen=True, slots=True)
class Left:
    """Tasks of a definition that have not come to be."""

    #: If nothing goes wrong and every branch is taken.
    likely: int
    #: If errors are handled, too.
    at_most: int
    #: A loop may run any of these, or open ones, again.
    is_open_ended: bool


def left(
    spec: WorkflowSpec, goal: str, open_: Collection[str], held: Collection[str], created: Collection[str]
) -> Left:
    """Estimate what is to come.

    Args:
        spec: what runs.
        goal: the task that a reverse workflow runs for; "" for a direct one.
        open_: names of the tasks that have not ended.
        held: names that are due to be started, as soon as a pause is over.
        created: names of all tasks that there are, ended or not.
    """
    if spec.type == "reverse":
        number = len(set(needed_tasks(spec, goal)).difference(created))
        return Left(number, number, is_open_ended=False)
    graph = graph_of(spec)
    origins = [name for name in (*open_, *held) if name in spec.tasks]
    all_ = set(origins).union(*(graph.reach(name) for name in origins))
    likely = _without_errors(spec, origins)
    loops = any(name in graph.reach(name) for name in likely)
    return Left(len(likely.difference(created)), len(all_.difference(created)), loops)


def _without_errors(spec: WorkflowSpec, origins: Collection[str]) -> set[str]:
    found: set[str] = set()
    pending = list(origins)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += [target for target in _after_success(spec.tasks[name]) if target in spec.tasks]
    return found


def _after_success(task: TaskSpec) -> Iterator[str]:
    for keyword, clause in clauses(task):
        if keyword in ("on-success", "on-complete"):
            yield from (transition.target for transition in clause.next if transition.command is None)
