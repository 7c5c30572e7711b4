"""Which tasks a set of executions never started, and which of their transitions were never taken.

An event names the tasks that follow, but not the commands (fail, noop …), nor which of two entries led to a task. So
the guards are asked again, in the state that the log gives just before the event: the engine is pure, so the answer is
the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from tradewind_server.clock import from_microseconds
from tradewind_server.engine import events as e
from tradewind_server.engine.codec import decode_event
from tradewind_server.engine.evolve import create, evolve
from tradewind_server.engine.policies import TASK_ERRORS
from tradewind_server.engine.scopes import task_scope
from tradewind_server.engine.state import Execution, TaskState
from tradewind_server.lang.expressions import Scope, Template
from tradewind_server.lang.graph import clauses
from tradewind_server.lang.specs import TaskSpec, WorkflowSpec
from tradewind_server.lang.values import is_truthy
from tradewind_server.store.records import StoredEvent

#: Clauses that are asked when a task ends; of each group the first that gives something.
_ASKED = {
    TaskState.SUCCEEDED: (("on-success",), ("on-complete",)),
    TaskState.FAILED: (("on-error",), ("on-complete",)),
    TaskState.SKIPPED: (("on-skip", "on-success"),),
}
_OUTCOMES = {
    e.TaskSucceeded: TaskState.SUCCEEDED,
    e.TaskFailed: TaskState.FAILED,
    e.TaskSkipped: TaskState.SKIPPED,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Branch:
    """One transition of one task."""

    task: str
    clause: str
    #: 0-based position in the clause.
    number: int
    target: str
    #: As written; "" without one.
    guard: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Covered:
    """What was seen of one workflow."""

    workflow: str
    tasks: int
    branches: int
    never_started: tuple[str, ...]
    never_taken: tuple[Branch, ...]

    @property
    def is_complete(self) -> bool:
        """Tell whether every task was started and every transition taken."""
        return not self.never_started and not self.never_taken


class Coverage:
    """What has been seen so far."""

    def __init__(self) -> None:
        self._started: set[tuple[str, str]] = set()
        self._taken: set[tuple[str, Branch]] = set()

    def note(self, spec: WorkflowSpec, log: Sequence[StoredEvent]) -> None:
        """Add what an execution of *spec* did."""
        self._started |= {(spec.name, stored.task) for stored in log if stored.type == "TaskStarted"}
        self._taken |= {(spec.name, branch) for _, branches in taken(spec, log) for branch in branches}

    def of(self, spec: WorkflowSpec) -> Covered:
        """Return what is missing of *spec*."""
        all_branches = [branch for task in spec.tasks.values() for branch in branches(task)]
        return Covered(
            spec.name,
            len(spec.tasks),
            len(all_branches),
            tuple(name for name in spec.tasks if (spec.name, name) not in self._started),
            tuple(branch for branch in all_branches if (spec.name, branch) not in self._taken),
        )


def branches(
    task: TaskSpec, only: Iterable[str] = ("on-success", "on-error", "on-complete", "on-skip")
) -> list[Branch]:
    """Return the transitions of a task, in textual order."""
    return [
        Branch(task.name, name, number, step.target, "" if step.guard is None else str(step.guard.source))
        for name, clause in clauses(task)
        if name in only
        for number, step in enumerate(clause.next)
    ]


def taken(spec: WorkflowSpec, log: Sequence[StoredEvent]) -> Iterator[tuple[e.Event, list[Branch]]]:
    """Give each end of a task in an execution of *spec*, with the transitions taken then, in order."""
    state: Execution | None = None
    for stored in log:
        event = decode_event(stored.type, stored.type_version, stored.body)
        at = from_microseconds(stored.at)
        if state is None:
            assert isinstance(event, e.ExecutionStarted)
            state = create(event, at)
            continue
        if isinstance(event, e.TaskSucceeded | e.TaskFailed | e.TaskSkipped):
            task, outcome = state.tasks[event.task], _OUTCOMES[type(event)]
            seen = {**event.globals, **event.published}
            reason = event.message if isinstance(event, e.TaskFailed) else ""
            scope = task_scope(spec, state, at, task.context, task, seen, outcome, reason)
            asked = [_first(spec.tasks[task.name], group, scope) for group in _ASKED[outcome]]
            yield event, [branch for found in asked for branch in found]
        evolve(state, event, at)


def _first(task: TaskSpec, group: tuple[str, ...], scope: Scope) -> list[Branch]:
    specs = dict(clauses(task))
    for name in group:
        found = [b for b in branches(task, (name,)) if _is_open(specs[name].next[b.number].guard, scope)]
        if found:
            return found
    return []


def _is_open(guard: Template | None, scope: Scope) -> bool:
    if guard is None:
        return True
    try:
        return is_truthy(guard.evaluate(scope))
    except TASK_ERRORS:  # then the task has failed by it
        return False
