"""Runs one case through store, runtime and engine, on a virtual clock."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from tradewind_server.engine import commands as c
from tradewind_server.engine.scopes import task_result, task_word
from tradewind_server.engine.state import ActionState, Execution, ExecutionState, Task, TaskState
from tradewind_server.engine.words import ACTION_WORDS, EXECUTION_WORDS, TASK_WORDS
from tradewind_server.errors import DefinitionInvalid, Refusal
from tradewind_server.lang.values import decode
from tradewind_server.store.database import Database
from tradewind_server.testing.world import World

#: How far a run may go into the future when the case sets no bound, and when it does not end by itself.
_LIMIT = timedelta(hours=1)

_ENDS = ("ExecutionSucceeded", "ExecutionFailed", "ExecutionCancelled")
STOPS = {"SUCCESS": ExecutionState.SUCCEEDED, "ERROR": ExecutionState.FAILED, "CANCELLED": ExecutionState.CANCELLED}


class Case:
    """One case: its text, how to run it, what came out."""

    def __init__(self, text_file: Path) -> None:
        self.name = text_file.stem
        self.text = text_file.read_text(encoding="utf-8")
        self.how = self._json(text_file.with_suffix(".json"))
        found = self._json(text_file.with_suffix(".expected.json"))
        self.expected: dict[str, Any] = found["expected"]
        self.unstable: list[str] = found.get("unstable", [])

    @staticmethod
    def _json(path: Path) -> Any:
        return decode(path.read_bytes())


def load_cases(folder: Path) -> list[Case]:
    """Return the cases of *folder*, sorted by name."""
    return [Case(path) for path in sorted(folder.glob("*.yaml"))]


def run(case: Case) -> dict[str, Any]:
    """Run *case* and return what came out, in the form of an expected result."""
    with contextlib.closing(Database("")) as database, contextlib.closing(World(database)) as world:
        return _Run(case, world).result()


def run_open(case: Case) -> tuple[dict[str, Any], timedelta, bool]:
    """Run *case* where unknown actions wait for a worker.

    Returns:
        What came out, how long it took on the virtual clock, and whether the end was the last thing to happen.
    """
    with contextlib.closing(Database("")) as database, contextlib.closing(World(database, open_world=True)) as world:
        run_, began = _Run(case, world), world.clock.now()
        found = run_.result()
        ends = [event.type in _ENDS for event in world.events(run_.id)] if run_.id else []
        return found, world.clock.now() - began, not any(ends[:-1])


class _Run:
    def __init__(self, case: Case, world: World) -> None:
        self.case = case
        self.world = world
        self.id = ""

    def result(self) -> dict[str, Any]:
        how = self.case.how
        try:
            self.world.deploy(*self.documents(), kind=how.get("kind"))
        except DefinitionInvalid as refusal:
            return {"accepted": False, "why": str(refusal)}
        if not how.get("workflow"):
            return {"accepted": True}
        try:
            self.id = self.world.start(
                how["workflow"], how.get("input") or {}, env=how.get("env") or {}, params=how.get("params") or {}
            )
        except Refusal as refusal:
            return {"accepted": True, "start_error": str(refusal)}
        for step in how.get("script") or ():
            if not self.step(step):
                break
        else:
            self.world.run_out(lambda: False, _LIMIT)
        self.world.check_replay(self.id)
        return {"accepted": True, **self.tree(self.id)}

    def documents(self) -> list[str]:
        """Return the case's YAML documents; each is one upload."""
        text = self.case.text
        return [text]

    @property
    def state(self) -> Execution:
        return self.world.live(self.id).state

    # --- the script ------------------------------------------------------------------------------

    def step(self, step: dict[str, Any]) -> bool:
        """Carry out one step as soon as it is possible; return False when it never becomes so."""
        kind = next(k for k in step if k in _STEPS)
        return _STEPS[kind](self, step)

    def until(self, condition: Callable[[], bool]) -> bool:
        return self.world.run_out(condition, _LIMIT)

    def wait_state(self, step: dict[str, Any]) -> bool:
        return self.until(lambda: EXECUTION_WORDS[self.state.state] == step["wait_state"])

    def wait_task(self, step: dict[str, Any]) -> bool:
        return self.until(
            lambda: any(TASK_WORDS[t.state] == step["state"] for t, _ in self.all_tasks(step["wait_task"]))
        )

    def sleep(self, step: dict[str, Any]) -> bool:
        self.world.advance(timedelta(seconds=float(step["sleep"])))
        return True

    def complete(self, step: dict[str, Any]) -> bool:
        def possible() -> bool:
            return self.asynchronous(step) is not None

        if not self.until(possible):
            return self.was_given_up(step)
        found = self.asynchronous(step)
        assert found is not None
        execution_id, action = found
        at = self.world.clock.now()
        if step.get("cancel"):
            self.world.answer(execution_id, c.CancelAction(at, action))
        elif "error" in step:
            failure = c.Failure("ACTION", str(step["error"]), details=step["error"])
            self.world.answer(execution_id, c.FailAction(at, action, failure))
        else:
            self.world.answer(execution_id, c.CompleteAction(at, action, step.get("data")))
        return True

    def was_given_up(self, step: dict[str, Any]) -> bool:
        """A result that comes after the action was withdrawn is refused, and the script goes on (R29)."""
        for task, state in self.all_tasks(step["complete"]):
            for action in state.actions.values():
                if action.task == task.id and action.asynchronous and action.state is ActionState.CANCELLED:
                    return True
        return False

    def asynchronous(self, step: dict[str, Any]) -> tuple[str, int] | None:
        for task, state in self.all_tasks(step["complete"]):
            for id_ in state.open_actions:
                action = state.actions[id_]
                if action.task == task.id and action.asynchronous and step.get("item", action.index) == action.index:
                    return state.id, id_
        return None

    def all_tasks(self, name: str) -> list[tuple[Task, Execution]]:
        """Return the tasks called *name* in the execution and its sub-workflows."""
        found: list[tuple[Task, Execution]] = []
        todo = [self.id]
        while todo:
            state = self.world.live(todo.pop(0)).state
            found += [(task, state) for task in state.tasks.values() if task.name == name]
            todo += [a.child for a in state.actions.values() if a.child and self.world.exists(a.child)]
        return found

    def pause(self, step: dict[str, Any]) -> bool:
        self.world.command(self.id, c.PauseExecution(self.world.clock.now()))
        return True

    def resume(self, step: dict[str, Any]) -> bool:
        if not self.until(lambda: self.state.state is ExecutionState.PAUSED):
            return False
        how = step["resume"]
        env = how.get("env") if isinstance(how, dict) else None
        self.world.command(self.id, c.ResumeExecution(self.world.clock.now(), env))
        return True

    def stop(self, step: dict[str, Any]) -> bool:
        command = c.StopExecution(self.world.clock.now(), STOPS[step["stop"]], step.get("msg") or "")
        self.world.command(self.id, command)
        return True

    def rerun(self, step: dict[str, Any]) -> bool:
        failed = self.failed(step["rerun"])
        if not self.until(lambda: self.failed(step["rerun"]) is not None):
            return False
        failed = self.failed(step["rerun"])
        assert failed is not None
        task, state = failed
        command = c.RerunTask(self.world.clock.now(), task.id, step.get("reset", True), step.get("env"))
        self.world.command(state.id, command)
        return True

    def skip(self, step: dict[str, Any]) -> bool:
        if not self.until(lambda: self.failed(step["skip"]) is not None):
            return False
        failed = self.failed(step["skip"])
        assert failed is not None
        task, state = failed
        self.world.command(state.id, c.SkipTask(self.world.clock.now(), task.id))
        return True

    def failed(self, name: str) -> tuple[Task, Execution] | None:
        found = [(t, s) for t, s in self.all_tasks(name) if t.state is TaskState.FAILED and s.is_final]
        return found[-1] if found else None

    # --- the result ------------------------------------------------------------------------------

    def tree(self, id_: str) -> dict[str, Any]:
        state = self.world.live(id_).state
        globals_ = {
            name: value for name, value in state.variables.values.items() if state.variables.origins[name][0] > 1
        }
        return {
            "workflow": state.workflow,
            "state": EXECUTION_WORDS[state.state],
            "state_info": state.message,
            "output": state.output,
            "published_global": globals_,
            "tasks": [self.task(state, task) for task in state.tasks.values()],
        }

    def task(self, state: Execution, task: Task) -> dict[str, Any]:
        actions = [a for a in state.actions.values() if a.task == task.id]
        is_workflow = self.is_workflow(state, task)
        children = [self.tree(a.child) for a in actions if a.child and self.world.exists(a.child)]
        return {
            "name": task.name,
            "type": "WORKFLOW" if is_workflow else "ACTION",
            "state": task_word(task, task.state),
            "state_info": task.message,
            "published": {name: task.outbound.values[name] for name in task.published},
            "n_action_executions": task.action_count,
            "action_states": sorted(ACTION_WORDS[a.state] for a in actions),
            "result": task_result(state, task),
            "subworkflows": children,
        }

    def is_workflow(self, state: Execution, task: Task) -> bool:
        spec = self.world.spec(state.id)
        return spec.tasks[task.name].kind == "workflow"


_STEPS: dict[str, Callable[[_Run, dict[str, Any]], bool]] = {
    "complete": _Run.complete,
    "wait_state": _Run.wait_state,
    "wait_task": _Run.wait_task,
    "sleep": _Run.sleep,
    "pause": _Run.pause,
    "resume": _Run.resume,
    "stop": _Run.stop,
    "rerun": _Run.rerun,
    "skip": _Run.skip,
}
