"""An execution that would go on for ever ends, and says why."""

from __future__ import annotations

import contextlib

import pytest

from tests.engine.driving import fresh_world
from tradewind_server.engine.state import ExecutionState
from tradewind_server.settings import Settings
from tradewind_server.store.database import Database
from tradewind_server.testing import laws
from tradewind_server.testing.scenario import Stage
from tradewind_server.testing.world import World

LOOPS = """
version: '2.0'
failing:
  tasks:
    s: {action: std.noop, on-success: t}
    t: {action: std.echo output=<% $.nowhere %>, on-error: t}
joining:
  tasks:
    a: {action: std.noop, on-success: [b, c]}
    b: {action: std.noop, on-success: j}
    c: {action: std.noop, on-success: j}
    j: {join: all, on-success: [b, c]}
"""


@pytest.mark.parametrize("workflow", ["failing", "joining"])
def test_loop_without_end_fails_at_the_limit(workflow: str) -> None:
    """Not before it, and whatever the loop goes through; the history stays what the rows say."""
    settings = Settings(max_execution_tasks=700, batch_decide_ms=10_000)
    with contextlib.closing(Database("")) as database, contextlib.closing(World(database, settings=settings)) as world:
        world.deploy(LOOPS)
        id_ = world.start(workflow, {})
        world.settle()
        state = world.live(id_).state
        assert state.state is ExecutionState.FAILED
        assert state.message == "The execution has made 700 tasks, which is all that it may (max_execution_tasks)."
        assert state.failure is not None
        assert (state.failure.kind, state.failure.code) == ("LIMIT", "TOO_MANY_TASKS")
        assert state.last_task == 700
        laws.check(world, id_)


MANY_FILES = """
version: '2.0'
w:
  tasks:
    scan:
      with-items: n in <% range(11) %>
      human: {title: Scan, users: ann}
      on-success: check
    check:
      human: {title: Check, users: ann, attachments: {from: scan}}
      on-error: tell
    tell: {action: std.noop}
"""


def test_a_human_task_that_would_begin_with_too_many_files_fails() -> None:
    """What they are is written with each of its steps."""
    with fresh_world() as world:
        world.deploy(MANY_FILES)
        stage = Stage(world)
        stage.step({"start": {"workflow": "w"}})
        for item in range(11):
            of = {"task": "scan", "item": item, "by": "ann"}
            for n in range(19):
                stage.step({"attach": {**of, "name": f"{n}.txt"}})
            stage.step({"submit": {**of, "outcome": "done"}})
        stage.step({"expect": {"tasks": {"check": "FAILED", "tell": "SUCCEEDED"}, "people": {"check": None}}})


def test_workflow_that_calls_itself_without_end_fails() -> None:
    """It made one more execution after the other, for ever."""
    definition = """
version: '2.0'
w:
  tasks:
    a: {workflow: w}
"""
    settings = Settings(max_execution_depth=3, batch_decide_ms=10_000)
    with contextlib.closing(Database("")) as database, contextlib.closing(World(database, settings=settings)) as world:
        world.deploy(definition)
        id_ = world.start("w")
        below = [id_]
        while children := [action.child for action in world.state(below[-1]).actions.values() if action.child]:
            if not world.exists(children[0]):
                break
            below += children
        states = [world.state(each) for each in below]

        assert [(state.depth, str(state.state)) for state in states] == [(n, "FAILED") for n in range(4)]
        told = "Executions are nested 3 deep, which is all that they may be (max_execution_depth)."
        assert told in (states[0].message or "")
        for each in below:
            world.check_replay(each)
