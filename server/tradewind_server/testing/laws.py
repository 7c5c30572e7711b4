"""The laws that hold for every execution at every moment of rest, whatever happened to it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from tradewind_server.clock import from_microseconds
from tradewind_server.engine import events as e
from tradewind_server.engine import transitions
from tradewind_server.engine.codec import decode_event
from tradewind_server.engine.evolve import create, evolve
from tradewind_server.engine.four_eyes import who_did_others
from tradewind_server.engine.state import (
    Action,
    ActionState,
    Execution,
    ExecutionState,
    HumanTaskState,
    Task,
    TaskState,
)
from tradewind_server.lang.specs import WorkflowSpec
from tradewind_server.store import human_task_rows, schema
from tradewind_server.store.records import Live
from tradewind_server.testing.world import World


def check(world: World, execution_id: str) -> None:
    """Check all laws.

    Raises:
        AssertionError: one is broken; the text says which and where.
    """
    # loaded once: that takes longer than all that is compared
    live = world.live(execution_id)
    world.check_replay(execution_id, live)
    check_transitions(world, execution_id)
    check_next_cause(world, live)


def check_transitions(world: World, execution_id: str) -> None:
    """Check that every state change in the log is a row of `engine/transitions.py`."""
    state: Execution | None = None
    for stored in world.events(execution_id):
        event = decode_event(stored.type, stored.type_version, stored.body)
        at = from_microseconds(stored.at)
        if state is None:
            assert isinstance(event, e.ExecutionStarted)
            state = create(event, at)
            continue
        before = _states(state, event)
        evolve(state, event, at)
        for name, now in _states(state, event).items():
            was = before.get(name)
            legal = was is None or was == now or now in _table(now)[was]
            assert legal, f"{stored.type} (revision {stored.revision}) takes {name} from {was} to {now}"


def _states(state: Execution, event: e.Event) -> dict[str, StrEnum]:
    found: dict[str, StrEnum] = {"the execution": state.state}
    task: Task | None = state.tasks.get(getattr(event, "task", 0))
    action: Action | None = state.actions.get(getattr(event, "action", 0))
    if task is not None:
        found[f"task '{task.name}'"] = task.state
    if action is not None:
        found[f"action a{action.id}"] = action.state
        if action.id in state.human_tasks:
            found[f"human task a{action.id}"] = state.human_tasks[action.id].state
    return found


def _table(state: StrEnum) -> dict[Any, frozenset[Any]]:
    return dict(_TABLES[type(state)])


_TABLES: dict[type[StrEnum], Mapping[Any, frozenset[Any]]] = {
    ExecutionState: transitions.EXECUTION,
    TaskState: transitions.TASK,
    ActionState: transitions.ACTION,
    HumanTaskState: transitions.HUMAN_TASK,
}


def check_next_cause(world: World, live: Live) -> None:
    """Check that what is open has something that will move it, and that nothing else is left behind.

    Source: an open execution always has a next cause: an action, a timer, a sub-workflow, a pause.
    """
    state = live.state
    if state.human_tasks:
        _check_inboxes(world, state, world.spec_of(live.envelope))
    queued = _queued(world, state.id)
    assert queued <= set(state.open_actions), f"actions {queued - set(state.open_actions)} have ended, but are queued"
    if state.is_final:
        left = [timer.purpose for timer in state.timers.values() if timer.task == 0]
        assert not left, f"the execution has ended, but has timers: {left}"
        return
    for id_ in state.open_actions:
        _check_action(world, state, state.actions[id_], queued)
    if state.timers:
        assert world.next_due() is not None, "there are timers, but nothing is due"
    if state.state is ExecutionState.PAUSED:
        return
    assert state.open_actions or state.timers, f"the execution is {state.state}, but nothing will ever move it"
    if state.state is ExecutionState.RUNNING:
        for id_ in state.open_tasks:
            _check_task(state, state.tasks[id_])


def _queued(world: World, execution_id: str) -> set[int]:
    table = schema.queue
    with world.database.reading() as (connection, _):
        query = sa.select(table.c.action_id).where(table.c.execution_id == execution_id)
        return set(connection.execute(query).scalars())


def _check_action(world: World, state: Execution, action: Action, queued: set[int]) -> None:
    where = f"action a{action.id} of task '{state.tasks[action.task].name}'"
    if action.child:
        assert world.exists(action.child), f"{where} waits for a sub-workflow that was never started"
        assert not world.live(action.child).state.is_final, f"{where} waits for a sub-workflow that has ended"
    elif action.kind == "human":
        assert state.human_tasks[action.id].is_open, f"{where} is open, but its human task is not"
    elif not action.asynchronous:
        assert action.id in queued, f"{where} is open, but no worker will ever get it"


def _entries(world: World, execution_id: str, action_id: int) -> list[str]:
    table = schema.inbox
    with world.database.reading() as (connection, _):
        query = sa.select(table.c.principal).where(table.c.execution_id == execution_id, table.c.action_id == action_id)
        return list(connection.execute(query).scalars())


def _check_inboxes(world: World, state: Execution, spec: WorkflowSpec) -> None:
    for human_task in state.human_tasks.values():
        found = sorted(_entries(world, state.id, human_task.id))
        did_others = who_did_others(spec, state, human_task.task)
        expected = sorted(human_task_rows.principals(human_task, did_others))
        where = f"human task a{human_task.id} is {human_task.state}"
        assert bool(found) == human_task.is_open, f"{where}, but is {'' if found else 'not '}in inboxes"
        assert found == expected, f"{where} and is in the inboxes of {found}, but should be in those of {expected}"
        escalates = f"escalate:{human_task.id}" in state.tasks[human_task.task].timers
        if human_task.state is HumanTaskState.OFFERED and not (human_task.groups or human_task.quorum or escalates):
            left = set(human_task.users).difference(human_task.excluded, did_others)
            assert left, f"{where}, but nobody is left who may do it"


def _check_task(state: Execution, task: Task) -> None:
    open_actions = [a for a in state.open_actions if state.actions[a].task == task.id]
    where = f"task '{task.name}' is {task.state}"
    if task.state is TaskState.RUNNING:
        assert open_actions or "fan-out" in task.timers, f"{where}, but has neither an open action nor a timer"
    elif task.state is TaskState.DELAYED:
        assert task.timers.keys() & {"start", "end"}, f"{where}, but has no timer"
    elif task.state is TaskState.PAUSED:
        assert open_actions, f"{where}, but the execution is not"
