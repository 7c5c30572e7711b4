"""Runs one case against a server over gRPC: the Python client asks, a worker does the work, the clock is real."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import tradewind
from tests.conformance.runner import Case
from tradewind import Execution, Task, errors, values
from tradewind.aio import Client
from tradewind.models import Action
from tradewind_server import lang
from tradewind_server.engine.state import ExecutionState, TaskState
from tradewind_server.engine.words import EXECUTION_WORDS, TASK_WORDS

#: Seconds; nothing here takes this long, unless it is broken.
PATIENCE = 20.0
#: They are about what std.echo takes, which nobody knows of a worker's action.
_ABOUT_PARAMETERS = ("269-action-unexpected-param",)
#: What the worker does in place of the server.
_MOCKED = re.compile(r"\bstd\.(noop|echo|fail)\b")


@contextlib.asynccontextmanager
async def mocked(client: Client) -> AsyncIterator[None]:
    """Run the worker of the cases' actions."""
    worker = tradewind.Worker(client, worker_id="conformance")

    @worker.action("mock.noop", inline=True)
    def noop() -> None:
        return None

    @worker.action("mock.echo", inline=True)
    def echo(output: values.Value, delay: int = 0) -> values.Value:
        return output

    @worker.action("mock.fail", inline=True)
    def fail(error_data: values.Value = None) -> None:
        raise tradewind.ActionFailed("FAIL", "It fails.", details=error_data)

    serving = asyncio.ensure_future(worker.serve())
    try:
        yield
    finally:
        worker.stop()
        await serving


def is_possible(case: Case) -> bool:
    """Tell whether the API and the worker have everything that the case asks for."""
    steps: list[dict[str, Any]] = case.how.get("script") or []
    if "kind" in case.how or case.name in _ABOUT_PARAMETERS:
        return False
    return all(step.keys() & _STEPS.keys() and step.get("stop") in (None, "CANCELLED") for step in steps)


async def run_served(case: Case, client: Client) -> dict[str, Any]:
    """Run *case* among definitions of its own and return what came out, in the form of an expected result."""
    text = _MOCKED.sub(r"mock.\1", case.text)
    try:
        await client.deploy(("case.yaml", text), workflow_namespace=case.name)
    except errors.InvalidRequest as refusal:
        return {"accepted": False, "why": str(refusal)}
    how = case.how
    if not how.get("workflow"):
        return {"accepted": True}
    try:
        started = await client.start(
            how["workflow"],
            how.get("input") or {},
            env=how.get("env") or {},
            params=how.get("params") or {},
            workflow_namespace=case.name,
        )
    except errors.TradewindError as refusal:
        return {"accepted": True, "start_error": str(refusal)}
    run = _Run(client, started.id, _kinds(text))
    for step in how.get("script") or ():
        await _STEPS[next(kind for kind in step if kind in _STEPS)](run, step)
    if case.expected.get("state") == "PAUSED":
        await run.wait_state({"wait_state": "PAUSED"})
    else:
        await client.wait(started.id, timeout=PATIENCE)
    return {"accepted": True, **await run.tree(started.id)}


class _Run:
    def __init__(self, client: Client, id_: str, kinds: Mapping[tuple[str, str], str]) -> None:
        self.client = client
        self.id = id_
        #: (workflow, task) -> "ACTION" or "WORKFLOW"; the API knows it only of tasks that have called something.
        self.kinds = kinds

    # --- the script ------------------------------------------------------------------------------

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Look again whenever something happens in the root execution."""
        async with asyncio.timeout(PATIENCE):
            async for _ in self.client.updates(self.id):
                if await condition():
                    return
        raise AssertionError("the execution ended before a step of the script was possible")

    async def wait_state(self, step: dict[str, Any]) -> None:
        async def reached() -> bool:
            wanted: str = step["wait_state"]
            return _execution_word(await self.client.get(self.id)) == wanted

        await self.until(reached)

    async def wait_task(self, step: dict[str, Any]) -> None:
        async def reached() -> bool:
            return any(_task_word(task, []) == step["state"] for task in await self.tasks(step["wait_task"]))

        await self.until(reached)

    async def complete(self, step: dict[str, Any]) -> None:
        found: list[Action] = []

        async def possible() -> bool:
            for task in await self.tasks(step["complete"]):
                async for action in self.client.actions(task.proto.execution_id):
                    is_open = action.asynchronous and action.finished_at is None and action.proto.task_id == task.id
                    if is_open and step.get("item") in (None, action.item_index):
                        found.append(action)
            return bool(found)

        await self.until(possible)
        action = found[0]
        if "error" in step:
            details = step["error"]
            await self.client.fail_action(action.execution_id, action.id, str(details), details=details)
        else:
            await self.client.complete_action(action.execution_id, action.id, step.get("data"))

    async def pause(self, step: dict[str, Any]) -> None:
        await self.client.pause(self.id)

    async def resume(self, step: dict[str, Any]) -> None:
        await self.wait_state({"wait_state": "PAUSED"})
        how = step["resume"]
        await self.client.resume(self.id, how.get("env") if isinstance(how, dict) else None)

    async def stop(self, step: dict[str, Any]) -> None:
        await self.client.cancel(self.id, step.get("msg") or "")

    async def rerun(self, step: dict[str, Any]) -> None:
        task = await self.failed(step["rerun"])
        execution = task.proto.execution_id
        reset = step.get("reset", True)
        await self.client.rerun(execution, task_id=task.id, reset=reset, env=step.get("env"))

    async def skip(self, step: dict[str, Any]) -> None:
        task = await self.failed(step["skip"])
        await self.client.skip(task.proto.execution_id, task_id=task.id)

    async def failed(self, name: str) -> Task:
        """Return the last failed task of this name, once the execution has ended."""
        await self.client.wait(self.id, timeout=PATIENCE)
        return [task for task in await self.tasks(name) if task.state == "FAILED"][-1]

    async def tasks(self, name: str) -> list[Task]:
        """Return the tasks called *name* in the execution and its sub-workflows."""
        found, todo = [], [self.id]
        while todo:
            async for task in self.client.tasks(todo.pop(0)):
                found += [task] if task.name == name else []
                todo += task.child_execution_ids
        return found

    # --- the result ------------------------------------------------------------------------------

    async def tree(self, id_: str) -> dict[str, Any]:
        execution = await self.client.get(id_)
        actions = [action async for action in self.client.actions(id_)]
        globals_: dict[str, Any] = {}
        async for event in self.client.history(id_):
            body: Any = event.body or {}
            globals_.update(body.get("globals") or {})
        return {
            "workflow": execution.workflow,
            "state": _execution_word(execution),
            "state_info": execution.state_message,
            "output": execution.output,
            "published_global": globals_,
            "tasks": [await self.task(execution.workflow, task, actions) async for task in self.client.tasks(id_)],
        }

    async def task(self, workflow: str, task: Task, actions: list[Action]) -> dict[str, Any]:
        mine = [action for action in actions if action.proto.task_id == task.id]
        return {
            "name": task.name,
            "type": self.kinds[workflow, task.name] if task.kind == "UNSPECIFIED" else task.kind,
            "state": _task_word(task, mine),
            "state_info": task.state_message,
            "published": task.published,
            "n_action_executions": len(mine),
            "subworkflows": [await self.tree(child) for child in task.child_execution_ids],
        }


def _kinds(text: str) -> dict[tuple[str, str], str]:
    specs = lang.read([lang.Source("case.yaml", text)]).workflows
    return {(spec.name, task.name): task.kind.upper() for spec in specs for task in spec.tasks.values()}


def _execution_word(execution: Execution) -> str:
    return EXECUTION_WORDS[ExecutionState(execution.state)]


def _task_word(task: Task, actions: list[Action]) -> str:
    is_held = task.state == "PAUSED" and not any(action.finished_at is None for action in actions)
    return "IDLE" if is_held else TASK_WORDS[TaskState(task.state)]


_STEPS: dict[str, Callable[[_Run, dict[str, Any]], Awaitable[None]]] = {
    "complete": _Run.complete,
    "wait_state": _Run.wait_state,
    "wait_task": _Run.wait_task,
    "pause": _Run.pause,
    "resume": _Run.resume,
    "stop": _Run.stop,
    "rerun": _Run.rerun,
    "skip": _Run.skip,
}
