"""What happens around an execution does not change what becomes of it: a lost cache, a pause, lost workers, a kill.

`make simulate` looks for longer, with another seed each time.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import functools
import tempfile
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.engine.driving import ENDING, STEPS, Step, carry_out, deploy, examples, fresh_world
from tests.engine.generated import Workflow, tasks, without_children
from tradewind_server.engine import commands as c
from tradewind_server.engine.scopes import task_result
from tradewind_server.engine.state import Execution, ExecutionState, Task
from tradewind_server.errors import Refusal
from tradewind_server.runtime import requests as r
from tradewind_server.store.database import Database
from tradewind_server.store.records import Provenance, StoredEvent
from tradewind_server.testing.clock import VirtualClock
from tradewind_server.testing.mocks import Answer, Call, Mocks
from tradewind_server.testing.scenario import Stage
from tradewind_server.testing.world import World

_SOME = examples(25)
#: Batches of the longest run, and more.
_ALWAYS = frozenset(range(10_000))

# --- a lost cache ------------------------------------------------------------------------------------------------


@_SOME
@given(tasks(), tasks(), STEPS, st.frozensets(st.integers(0, 60)))
def test_same_commands_give_the_same_events_whatever_is_cached(
    workflow: Workflow, child: Workflow, steps: list[Step], some: frozenset[int]
) -> None:
    """A state that was loaded from the rows, as after a crash, decides as one that was never lost."""
    child = without_children(child)
    kept = _log(workflow, child, steps, frozenset())
    assert kept == _log(workflow, child, steps, some)
    assert kept == _log(workflow, child, steps, _ALWAYS)


def _log(
    workflow: Workflow, child: Workflow, steps: list[Step], forgetful: frozenset[int]
) -> dict[str, list[StoredEvent]]:
    """Take the steps, forgetting all states before the batches of these numbers, and return all events."""
    with fresh_world() as world:
        deploy(world, workflow, child)
        stage = Stage(world)
        world.between = _numbered(lambda number: _forget(world) if number in forgetful else ())
        stage.step({"start": {"workflow": "wf"}})
        for step in [*steps, *ENDING]:
            carry_out(stage, step)
        return {id_: world.events(id_) for id_ in stage.tree()}


def _numbered(between: Callable[[int], Iterable[r.Request]]) -> Callable[[], Iterable[r.Request]]:
    numbers = iter(range(len(_ALWAYS)))
    return lambda: between(next(numbers))


def _forget(world: World) -> Iterable[r.Request]:
    for id_ in {told.execution_id for outcome in world.outcomes for told in outcome.announcements}:
        world.cache.drop(id_)
    return ()


# --- a pause -----------------------------------------------------------------------------------------------------

#: What workers and people answer, at once or seconds later.
_ANSWER = st.builds(
    lambda answer, seconds: {**answer, "after": f"{seconds}s"},
    st.sampled_from([{"result": 0}, {"result": 1}, {"failure": {"message": "broken"}}]),
    st.integers(0, 2),
)
_ANSWERS = st.fixed_dictionaries({f"t{n}": _ANSWER for n in range(6)})
#: (number of the batch before which the root is paused, batches until it is resumed)
_PAUSES = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 8)), min_size=1, max_size=3)


@_SOME
@given(tasks(timeless=True), tasks(timeless=True), _ANSWERS, _PAUSES)
def test_pause_at_any_moment_changes_nothing_but_the_time(
    workflow: Workflow, child: Workflow, answers: dict[str, Any], pauses: list[tuple[int, int]]
) -> None:
    """Tasks, results, what was published and the output are those of a run without a pause.

    What depends on time is not drawn: timers run on during a pause, so a timeout may come first.
    """
    child = without_children(child)
    plain = _end(workflow, child, answers, {})
    orders: dict[int, list[type[c.PauseExecution | c.ResumeExecution]]] = {}
    for first, length in pauses:
        orders.setdefault(first, []).append(c.PauseExecution)
        orders.setdefault(first + length, []).append(c.ResumeExecution)
    assert _end(workflow, child, answers, orders) == plain


class _Workers(Mocks):
    """Answers by the names of tasks, but sub-workflows run."""

    def answer(self, call: Call) -> Answer | None:
        return None if call.name == "child" else super().answer(call)


def _end(
    workflow: Workflow,
    child: Workflow,
    answers: dict[str, Any],
    orders: dict[int, list[type[c.PauseExecution | c.ResumeExecution]]],
) -> Any:
    """Run to the end, giving *orders* to the root before the batches of these numbers, and tell how it ended."""
    with fresh_world(mocks=_Workers(answers), mocked_names=["work.do"]) as world:
        deploy(world, workflow, child)
        stage = Stage(world)
        root = copy.copy(world.ids).execution(world.clock.now())
        world.between = _numbered(lambda number: [_order(world, root, make) for make in orders.get(number, ())])
        stage.step({"start": {"workflow": "wf"}})
        assert stage.root == root
        world.run_out(lambda: False)
        while stage.states()[0].state is ExecutionState.PAUSED:
            stage.step({"resume": {}})
            world.run_out(lambda: False)
        return _told(stage, stage.states()[0])


def _order(world: World, root: str, make: type[c.PauseExecution | c.ResumeExecution]) -> r.Request:
    request = r.Command(
        provenance=Provenance("anonymous:", make.__name__),
        target=root,
        namespace="default",
        command=make(world.clock.now()),
        task_name="",
    )
    request.reply = lambda _: None  # refused when it has not begun, or has ended
    return request


# --- a kill, and lost workers ------------------------------------------------------------------------------------


class _Killed(Exception):
    """The server ends between two batches."""


@_SOME
@given(
    tasks(timeless=True),
    tasks(timeless=True),
    _ANSWERS,
    st.lists(st.integers(0, 8), max_size=3),
    st.frozensets(st.integers(0, 20), max_size=4),
)
def test_kill_and_lost_workers_change_nothing_but_the_time(
    workflow: Workflow, child: Workflow, answers: dict[str, Any], kills: list[int], losses: frozenset[int]
) -> None:
    """What another server and other workers bring to an end is what it would have been without these losses.

    Args:
        kills: how many batches each server lives; the last one stays.
        losses: numbers of the calls whose worker is lost, each other one after it has accepted the action.
    """
    child = without_children(child)
    plain = _end(workflow, child, answers, {})
    with tempfile.TemporaryDirectory() as folder:
        assert _end_in_spite_of_it(f"{folder}/t.db", workflow, child, _Lossy(answers, losses), kills) == plain


class _Lossy(_Workers):
    """Mocks of workers, of which some are lost with what they were given."""

    def __init__(self, rules: dict[str, Any], losses: frozenset[int]) -> None:
        super().__init__(rules)
        self.rules = rules
        self._losses = losses
        self._count = 0
        #: (execution, task, item) -> how often its worker was lost: thrice would be a reason to give it up.
        self._lost: collections.Counter[tuple[str, str, int]] = collections.Counter()

    def answer(self, call: Call) -> Answer | None:
        if call.name == "child":
            return None
        self._count += 1
        key = (call.execution_id, call.task, call.index)
        if self._count in self._losses and self._lost[key] < 2:
            self._lost[key] += 1
            return Answer(hold=True)
        return super().answer(call)


def _end_in_spite_of_it(file: str, workflow: Workflow, child: Workflow, mocks: _Lossy, kills: list[int]) -> Any:
    root = ""
    now = timedelta(0)
    for number, lifetime in enumerate([*kills, len(_ALWAYS)]):
        database = Database(file)
        world = World(
            database, open_world=True, mocks=mocks, mocked_names=["work.do"], first_id=(number + 1) * 1_000_000
        )
        world.clock.advance(now)
        try:
            if not number:
                deploy(world, workflow, child)
            stage = Stage(world)
            world.between = _numbered(functools.partial(_live, lifetime))
            with contextlib.suppress(_Killed):
                _go_on(stage, root, mocks)
                return _told(stage, stage.states()[0])
        finally:
            root = stage.root
            now = world.clock.now() - VirtualClock().now()
            world.close()
            database.close()
    raise AssertionError("the last server is not killed")


def _live(lifetime: int, batch: int) -> Iterable[r.Request]:
    if batch >= lifetime:
        raise _Killed
    return ()


def _go_on(stage: Stage[World], root: str, mocks: _Lossy) -> None:
    """Bring an execution to its end, which another server may have begun."""
    world = stage.world
    if not root or not world.exists(root):
        stage.root = copy.copy(world.ids).execution(world.clock.now())
        stage.step({"start": {"workflow": "wf"}})
    else:
        stage.root = root
        world.take_over()
    for _ in range(30):
        world.run_out(lambda: False)
        state = stage.states()[0].state
        if stage.states()[0].is_final:
            return
        if state is ExecutionState.PAUSED:
            stage.step({"resume": {}})
            continue
        _answer_from_outside(stage, mocks)
        _accept_some(world)
        world.advance(timedelta(seconds=31))
        world.recover()
    raise AssertionError("it does not come to an end")


def _answer_from_outside(stage: Stage[World], mocks: _Lossy) -> None:
    """Whoever was to answer an asynchronous action does it, or does it again."""
    for state in stage.states():
        for action in [state.actions[id_] for id_ in state.open_actions if state.actions[id_].asynchronous]:
            name = state.tasks[action.task].name
            rule = mocks.rules[name]
            how = {"task": name, "item": action.index}
            with contextlib.suppress(Refusal):  # nothing is recorded while it is ending
                stage.step({"fail": {**how, **rule["failure"]}} if "failure" in rule else {"complete": {**how, **rule}})


def _accept_some(world: World) -> None:
    """Each other lost worker had accepted what it was given."""
    rows = list(world.held.values())[::2]
    world.held.clear()
    held = [
        r.Held(execution_id=row.execution_id, action_id=row.action_id, attempt=row.attempt, epoch=row.epoch)
        for row in rows
    ]
    if held:
        world.ask(r.Renew(provenance=Provenance("worker:lost", "Renew"), session="", worker="lost", held=held))


# --- how it ended ------------------------------------------------------------------------------------------------


def _told(stage: Stage[World], state: Execution) -> Any:
    assert state.is_final, state.state
    tasks_ = sorted((_told_task(stage, state, task) for task in state.tasks.values()), key=repr)
    return str(state.state), _unordered(state.output), tasks_


def _told_task(stage: Stage[World], state: Execution, task: Task) -> Any:
    published = {name: _unordered(task.outbound.values[name]) for name in task.published}
    called = sorted((a.index, a.id, a.child) for a in state.actions.values() if a.task == task.id and a.child)
    children = [_told(stage, stage.world.live(child).state) for _, _, child in called]
    return task.name, str(task.state), task.attempt, _unordered(task_result(state, task)), published, children


def _unordered(value: Any) -> Any:
    """Leave out messages, in which tasks stand in the order in which they began."""
    if isinstance(value, dict):
        return {key: _unordered(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unordered(item) for item in value]
    return "a message" if isinstance(value, str) and value.startswith("Failure caused by") else value
