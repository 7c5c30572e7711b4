"""What has changed in the engine's behaviour changes for new executions alone."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest

from tradewind_server.engine import commands as c
from tradewind_server.engine.semantics import CURRENT
from tradewind_server.runtime import batch
from tradewind_server.store.database import Database
from tradewind_server.testing.world import World

PARENT = """
version: '2.0'
outer:
  output: {fired: <% task(inner).result.fired %>}
  tasks:
    inner: {workflow: pay, wait-before: 60}
pay:
  output: {fired: <% tasks().where($.name = j).len() %>}
  tasks:
    begin: {action: std.noop, on-success: [b, c, e]}
    b: {action: std.noop, on-success: d}
    c: {action: std.async_noop, on-success: d}
    d: {action: std.noop, on-success: j}
    e: {action: std.noop, on-success: j}
    j: {join: all, action: std.noop}
"""


@pytest.mark.parametrize(("version", "fired"), [(1, 2), (CURRENT, 1)])
def test_execution_keeps_the_rules_that_it_was_started_with(
    version: int, fired: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so do its sub-workflows, also if newer ones have come meanwhile."""
    with contextlib.closing(Database("")) as database, contextlib.closing(World(database)) as world:
        world.deploy(PARENT)
        monkeypatch.setattr(batch, "CURRENT", version)
        id_ = world.start("outer")
        monkeypatch.undo()
        world.advance(timedelta(seconds=60))
        [child] = [action.child for action in world.state(id_).actions.values()]
        [waiting] = [a.id for a in world.state(child).actions.values() if a.asynchronous]
        world.answer(child, c.CompleteAction(world.clock.now(), waiting, None))

        assert world.state(id_).output == {"fired": fired}
        assert {world.live(each).envelope.semantics_version for each in (id_, child)} == {version}
