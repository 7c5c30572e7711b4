"""Random small workflows, driven by random results, pauses and cancellations: the laws hold after every step.

TRADEWIND_RANDOM_EXAMPLES=1000 looks for longer, with another seed each time.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradewind_server.engine import commands as c
from tradewind_server.engine.state import ExecutionState, TaskState
from tradewind_server.errors import Refusal
from tradewind_server.runtime.committer import Broken
from tradewind_server.store.database import Database
from tradewind_server.testing import laws
from tradewind_server.testing.scenario import Stage
from tradewind_server.testing.world import World

EXAMPLES = int(os.environ.get("TRADEWIND_RANDOM_EXAMPLES", "0"))

Workflow = dict[str, Any]
Step = tuple[str, int]

_WORK = {"action": "work.do"}
_CALLS: list[dict[str, Any]] = [
    _WORK,
    _WORK,
    {"action": "std.noop"},
    {"action": "std.fail"},
    {"action": "std.echo output=<% $.no_such_name.deeper %>"},
    {"action": "std.async_noop"},
    {"workflow": "child"},
    {"workflow": "child", "with-items": "x in <% [1, 2] %>"},
    {**_WORK, "with-items": "x in <% [1, 2, 3] %>", "concurrency": 2},
    {**_WORK, "with-items": "x in <% [] %>"},
]
_POLICIES: list[dict[str, Any]] = [
    {},
    {},
    {"retry": {"count": 1, "delay": 0}},
    {"retry": {"count": 2, "delay": 2}, "timeout": 3},
    {"wait-before": 2},
    {"wait-after": 2},
    {"timeout": 2},
    {"pause-before": True},
    {"fail-on": "<% task().result = 0 %>"},
    {"keep-result": False, "publish": {"x": "<% task().result %>"}},
]
_COMMANDS = ["noop", "fail", "succeed", "pause"]
_CLAUSES = ["on-success", "on-error", "on-complete"]


@st.composite
def tasks(draw: st.DrawFn) -> Workflow:
    """A direct workflow of a few tasks; edges lead on, or back from a task that waits for a worker."""
    names = [f"t{n}" for n in range(draw(st.integers(1, 6)))]
    made: Workflow = {name: {**draw(st.sampled_from(_CALLS)), **draw(st.sampled_from(_POLICIES))} for name in names}
    for position, name in enumerate(names):
        # what comes back must pass a worker, or the loop would never come to rest
        back = names[1:] if made[name].get("action") == "work.do" and "with-items" not in made[name] else []
        targets = sorted({*names[position + 1 :], *back, *_COMMANDS})
        for clause in draw(st.lists(st.sampled_from(_CLAUSES), max_size=2, unique=True)):
            chosen = draw(st.lists(st.sampled_from(targets), min_size=1, max_size=3, unique=True))
            made[name][clause] = [_guarded(draw, target) for target in chosen]
    for name in names:
        inbound = [other for other in names if _leads_to(made[other], name)]
        if len(inbound) > 1 and draw(st.booleans()):
            made[name]["join"] = draw(st.sampled_from(["all", "one", 2]))
    return made


def _guarded(draw: st.DrawFn, target: str) -> Any:
    guard = draw(st.sampled_from([None, None, "<% true %>", "<% false %>"]))
    return target if guard is None or target in _COMMANDS else {target: guard}


def _leads_to(task: dict[str, Any], name: str) -> bool:
    return any(name in entry for clause in _CLAUSES for entry in task.get(clause, ()))


_KINDS = ["complete", "complete", "complete", "fail", "cancel-action", "take", "advance", "advance", "pause", "resume",
          "resume", "cancel", "stop", "rerun", "skip"]  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from(_KINDS), st.integers(0, 5)), max_size=16)


@functools.cache
def _empty_file() -> Path:
    folder = tempfile.mkdtemp(prefix="tradewind-random-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "empty.db"
    Database(str(path)).close()
    return path


@settings(max_examples=EXAMPLES or 60, deadline=None, derandomize=not EXAMPLES, suppress_health_check=list(HealthCheck))
@given(tasks(), tasks(), STEPS)
def test_random_workflow_always_ends_or_has_a_next_cause(
    workflow: Workflow, child: Workflow, steps: list[Step]
) -> None:
    """Whatever happens, replay gives the rows, changes of state are legal, and what is open is moved by something."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(_empty_file(), f"{folder}/test.db")
        database = Database(f"{folder}/test.db")
        world = World(database, open_world=True)
        try:
            _play(world, workflow, _without_children(child), steps)
        finally:
            world.close()
            database.close()


def _without_children(child: Workflow) -> Workflow:
    """A child that calls itself would never come to rest; it waits for a worker instead."""
    for task in child.values():
        if task.pop("workflow", None):
            task.update(_WORK)
    return child


def _play(world: World, workflow: Workflow, child: Workflow, steps: list[Step]) -> None:
    world.deploy(json.dumps({"version": "2.0", "wf": {"tasks": workflow}, "child": {"tasks": child}}))
    stage = Stage(world)
    stage.step({"start": {"workflow": "wf"}})
    for kind, number in [*steps, *_ENDING]:
        with contextlib.suppress(Refusal):
            _DO[kind](stage, number)
        for id_ in stage.tree():
            laws.check(world, id_)
        assert not [a for o in world.outcomes for _, a in o.answers if isinstance(a, Broken)], "the batch broke"


#: In the end everything is let go on for a while.
_ENDING: list[Step] = [("resume", 0), ("complete", 0), ("advance", 5), ("complete", 0), ("complete", 0), ("resume", 0)]


def _answer(kind: str) -> Callable[[Stage, int], None]:
    def act(stage: Stage, number: int) -> None:
        names = [
            (state.tasks[state.actions[a].task].name, state.actions[a].index)
            for state in (stage.world.live(id_).state for id_ in stage.tree())
            for a in state.open_actions
            if not state.actions[a].child and (kind != "take" or not state.actions[a].asynchronous)
        ]
        if names:
            name, item = names[number % len(names)]
            stage.step({kind: {"task": name, "item": item, "result": number}})

    return act


def _execution(stage: Stage, number: int) -> str:
    tree = stage.tree()
    return tree[number % len(tree)]


def _command(make: Callable[[Any], c.Command]) -> Callable[[Stage, int], None]:
    def act(stage: Stage, number: int) -> None:
        stage.world.command(_execution(stage, number), make(stage.world.clock.now()))

    return act


def _again(make: Callable[[Any, int, int], c.Command]) -> Callable[[Stage, int], None]:
    def act(stage: Stage, number: int) -> None:
        id_ = _execution(stage, number)
        state = stage.world.live(id_).state
        failed = [t.id for t in state.tasks.values() if t.state in (TaskState.FAILED, TaskState.CANCELLED)]
        if failed:
            stage.world.command(id_, make(stage.world.clock.now(), failed[number % len(failed)], number))

    return act


_DO: dict[str, Callable[[Stage, int], None]] = {
    "complete": _answer("complete"),
    "fail": _answer("fail"),
    "cancel-action": _answer("cancel-action"),
    "take": _answer("take"),
    "advance": lambda stage, number: stage.world.advance(timedelta(seconds=number)),
    "pause": _command(lambda at: c.PauseExecution(at)),
    "resume": _command(lambda at: c.ResumeExecution(at)),
    "cancel": _command(lambda at: c.StopExecution(at, ExecutionState.CANCELLED, grace_seconds=3)),
    "stop": _command(lambda at: c.StopExecution(at, ExecutionState.FAILED)),
    "rerun": _again(lambda at, task, number: c.RerunTask(at, task, number % 2 == 0)),
    "skip": _again(lambda at, task, _: c.SkipTask(at, task)),
}
