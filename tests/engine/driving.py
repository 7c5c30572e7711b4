"""Random steps that workers, people and operators take, and a world in which to take them."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.engine.generated import Workflow
from tradewind_server.engine import commands as c
from tradewind_server.engine.state import ExecutionState, TaskState
from tradewind_server.errors import Refusal
from tradewind_server.store.database import Database
from tradewind_server.testing.scenario import Stage
from tradewind_server.testing.world import World

Step = tuple[str, int]

_KINDS = ["complete", "complete", "complete", "fail", "cancel-action", "take", "advance", "advance", "pause", "resume",
          "resume", "cancel", "stop", "rerun", "skip"]  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from(_KINDS), st.integers(0, 5)), max_size=16)
#: In the end everything is let go on for a while.
ENDING: list[Step] = [("resume", 0), ("complete", 0), ("advance", 5), ("complete", 0), ("complete", 0), ("resume", 0)]


def examples(count: int) -> settings:
    """Try *count* examples, the same each time; or, as `make simulate` says, so many others each time."""
    asked = int(os.environ.get("TRADEWIND_RANDOM_EXAMPLES", "0"))
    return settings(max_examples=asked or count, derandomize=not asked, suppress_health_check=list(HealthCheck))


@contextlib.contextmanager
def fresh_world(**how: Any) -> Iterator[World]:
    """Give an open world on an empty database."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(_empty_file(), f"{folder}/test.db")
        database = Database(f"{folder}/test.db")
        world = World(database, open_world=True, **how)
        try:
            yield world
        finally:
            world.close()
            database.close()


@functools.cache
def _empty_file() -> Path:
    folder = tempfile.mkdtemp(prefix="tradewind-random-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "empty.db"
    Database(str(path)).close()
    return path


def deploy(world: World, workflow: Workflow, child: Workflow) -> None:
    """Deploy *workflow* as `wf`, and the *child* that it calls."""
    world.deploy(json.dumps({"version": "2.0", "wf": {"tasks": workflow}, "child": {"tasks": child}}))


def carry_out(stage: Stage[World], step: Step) -> None:
    """Take a step, as far as it is allowed."""
    kind, number = step
    with contextlib.suppress(Refusal):
        _DO[kind](stage, number)


def _answer(kind: str) -> Callable[[Stage[World], int], None]:
    def act(stage: Stage[World], number: int) -> None:
        opened = [
            ((state.tasks[action.task].name, action.index), action.asynchronous)
            for state in (stage.world.live(id_).state for id_ in stage.tree())
            for action in map(state.actions.__getitem__, state.open_actions)
            if not action.child
        ]
        # no worker takes an asynchronous action; one of a sub-workflow may have the same name
        untaken = {name for name, is_asynchronous in opened if is_asynchronous and kind == "take"}
        names = [name for name, _ in opened if name not in untaken]
        if names:
            name, item = names[number % len(names)]
            stage.step({kind: {"task": name, "item": item, "result": number}})

    return act


def _execution(stage: Stage[World], number: int) -> str:
    tree = stage.tree()
    return tree[number % len(tree)]


def _command(make: Callable[[Any], c.Command]) -> Callable[[Stage[World], int], None]:
    def act(stage: Stage[World], number: int) -> None:
        stage.world.command(_execution(stage, number), make(stage.world.clock.now()))

    return act


def _again(make: Callable[[Any, int, int], c.Command]) -> Callable[[Stage[World], int], None]:
    def act(stage: Stage[World], number: int) -> None:
        id_ = _execution(stage, number)
        state = stage.world.live(id_).state
        failed = [t.id for t in state.tasks.values() if t.state in (TaskState.FAILED, TaskState.CANCELLED)]
        if failed:
            stage.world.command(id_, make(stage.world.clock.now(), failed[number % len(failed)], number))

    return act


_DO: dict[str, Callable[[Stage[World], int], None]] = {
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
