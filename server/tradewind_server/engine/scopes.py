"""What an expression of a process sees: the layers of `$`, and the facts behind task(), env(), uuid() ...

Source: lookup orders of `mistral/workflow/data_flow.py` and `mistral/engine/tasks.py`.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from datetime import datetime

from tradewind_server.engine.contexts import Context
from tradewind_server.engine.policies import TaskError
from tradewind_server.engine.semantics import tasks_show_the_own_end
from tradewind_server.engine.state import Execution, Task, TaskState
from tradewind_server.engine.words import EXECUTION_WORDS, TASK_WORDS
from tradewind_server.lang.expressions import Scope
from tradewind_server.lang.specs import TaskSpec, WorkflowSpec


class StateFacts:
    """The facts of one execution at one moment, for the expressions of one task or of the execution itself."""

    __slots__ = ("at", "counter", "current", "outcome", "reason", "spec", "state")

    def __init__(self, spec: WorkflowSpec, state: Execution, at: datetime, current: Task | None) -> None:
        self.spec = spec
        self.state = state
        self.at = at
        self.current = current
        self.counter = 0
        #: How the current task is about to end; what it publishes and its guards see that already.
        self.outcome: TaskState | None = None
        #: Why it ends so, if it fails.
        self.reason = ""

    def env(self) -> Mapping[str, object]:
        """Return the environment the root execution was started with."""
        return self.state.env

    def execution(self) -> dict[str, object]:
        """Return what `execution()` shows."""
        state = self.state
        return {
            "id": state.id,
            "name": state.workflow,
            "spec": {"name": self.spec.name, "type": self.spec.type, "tasks": list(self.spec.tasks)},
            "input": state.input,
            "params": state.params,
            "created_at": _moment(state.created_at),
            "updated_at": _moment(state.updated_at),
            "root_execution_id": state.root_id,
        }

    def task(self, name: str | None) -> dict[str, object] | None:
        """Return the latest task called *name*, the current one without a name, or None."""
        current = self.current
        if current is not None and (name is None or name == current.name):
            return task_fact(self.state, current, self.outcome, self.reason)
        latest = self.state.latest.get(name) if name is not None else None
        return task_fact(self.state, self.state.tasks[latest]) if latest else None

    def task_part(self, name: str | None, part: str) -> object:
        """Return one field of what `task(name)` shows, without making the others.

        Raises:
            KeyError: there is no such task or field.
        """
        current = self.current
        outcome, reason = None, ""
        if current is not None and (name is None or name == current.name):
            task, outcome, reason = current, self.outcome, self.reason
        else:
            task = self.state.tasks[self.state.latest[name or ""]]
        if part == "result":
            return task_result(self.state, task)
        return task_fact(self.state, task, outcome, reason)[part]

    def tasks(
        self, execution_id: str | None, recursive: bool, state: str | None, flat: bool
    ) -> list[dict[str, object]]:
        """Return the tasks of this execution, in the order of their creation.

        Raises:
            TaskError: another execution is asked for; decisions never look at two executions.
        """
        if execution_id is not None and execution_id != self.state.id:
            raise TaskError("tasks() can only read the tasks of its own execution")
        found = map(self._fact, self.state.tasks.values())
        return [fact for fact in found if state is None or fact["state"] == state]

    def _fact(self, task: Task) -> dict[str, object]:
        if task is self.current and tasks_show_the_own_end(self.state):
            return task_fact(self.state, task, self.outcome, self.reason)
        return task_fact(self.state, task)

    def executions(
        self,
        execution_id: str | None = None,
        root_execution_id: str | None = None,
        state: str | None = None,
        from_time: str | None = None,
        to_time: str | None = None,
    ) -> list[dict[str, object]]:
        """Return this execution when it matches.

        Raises:
            TaskError: other executions are asked for; decisions never look at two executions.
        """
        if execution_id not in (None, self.state.id) or root_execution_id not in (None, self.state.root_id):
            raise TaskError("executions() can only read its own execution")
        return [self.execution()] if state in (None, EXECUTION_WORDS[self.state.state]) else []

    def global_variable(self, name: str) -> object:
        """Return the value published with the scope global, or a var.

        Raises:
            KeyError: there is none of that name.
        """
        return self.state.variables.values[name]

    def uuid(self) -> str:
        """Return a UUID that depends only on execution, revision and how many were asked for before."""
        self.counter += 1
        seed = f"{self.state.id}/{self.state.revision}/{self.counter}"
        return str(uuid.UUID(bytes=hashlib.sha256(seed.encode()).digest()[:16], version=4))

    def now(self) -> datetime:
        """Return the moment of the command."""
        return self.at


def task_word(task: Task, state: TaskState) -> str:
    """Return the language's word; a task held by pause-before is IDLE, one whose sub-workflow is paused PAUSED."""
    return "IDLE" if state is TaskState.PAUSED and not task.open_actions else TASK_WORDS[state]


def task_fact(state: Execution, task: Task, outcome: TaskState | None = None, reason: str = "") -> dict[str, object]:
    """Return what `task(name)` shows; of one that is about to end, with that *outcome* and *reason*."""
    return {
        "id": str(task.id),
        "name": task.name,
        "spec": {"name": task.name},
        "state": task_word(task, outcome or task.state),
        "state_info": reason or task.message or None,
        "result": task_result(state, task),
        "published": {name: task.outbound.values[name] for name in task.published},
        "type": _kind(state, task).upper(),
        "workflow_execution_id": state.id,
        "created_at": _moment(task.created_at),
        "updated_at": _moment(task.updated_at),
    }


def task_result(state: Execution, task: Task) -> object:
    """Return the accepted result; for with-items a list in the order of the items, failures included."""
    if not task.keep_result:
        return None
    if task.items is not None:
        return [state.actions[action].result for _, action in sorted(task.accepted.items())]
    action = task.accepted.get(0)
    return state.actions[action].result if action is not None else None


def _kind(state: Execution, task: Task) -> str:
    action = next(iter(task.accepted.values()), None)
    kind = "action" if action is None else state.actions[action].kind
    return "human" if kind == "resolver" else kind


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")


def task_scope(
    spec: WorkflowSpec,
    state: Execution,
    at: datetime,
    context: Context,
    task: Task | None,
    extra: Mapping[str, object],
    outcome: TaskState | None = None,
    reason: str = "",
) -> Scope:
    """Return what input, with-items, policies, publish and guards of a task see; *extra* comes first (R18)."""
    system: dict[str, object] = {"__env": state.env, "__execution": {"id": state.id}}
    if task is not None:
        system["__task_execution"] = {"id": str(task.id), "name": task.name}
    layers = (context.values, system, state.variables.values, state.input)
    facts = StateFacts(spec, state, at, task)
    facts.outcome = outcome
    facts.reason = reason
    return Scope((extra, *layers) if extra else layers, facts)


def item_of(spec: TaskSpec, task: Task, index: int) -> dict[str, object]:
    """Return the loop variables of with-items for item *index* of *task*; none for a plain task."""
    if task.items is None:
        return {}
    names = (variable for variable, _ in spec.with_items)
    return dict(zip(names, task.items.values[index], strict=True))


def output_scope(spec: WorkflowSpec, state: Execution, at: datetime, final: Context) -> Scope:
    """Return what output and output-on-error see."""
    return task_scope(spec, state, at, final, None, {})
