"""What a check says of runs is true of every run: no false alarms, also where a slip hides a part of the workflow.

`make simulate` looks for longer, with another seed each time.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.engine.driving import carry_out, examples, fresh_world
from tests.engine.generated import Workflow
from tradewind_server.engine.state import TaskState
from tradewind_server.lang import Source, check
from tradewind_server.testing.scenario import Stage
from tradewind_server.testing.world import World

_CLAUSES = ["on-success", "on-error", "on-complete"]
_PUBLISHING = ["publish", "publish-on-error"]
_VARIABLES = ["a", "b", "c"]
_STEPS = st.lists(
    st.tuples(st.sampled_from(["complete", "complete", "fail"]), st.integers(0, 5)), min_size=14, max_size=14
)
_NEVER_READ = {"unknown-variable", "unpublished-variable", "other-branch-variable"}


@st.composite
def _workflows(draw: st.DrawFn) -> Workflow:
    """Tasks that publish and read, with guards, joins and ways back."""
    names = [f"t{n}" for n in range(draw(st.integers(2, 7)))]
    made: Workflow = {}
    for position, name in enumerate(names):
        read = draw(st.sampled_from([None, None, *_VARIABLES]))
        task: dict[str, Any] = {"action": "work.do" if read is None else f"work.do x=<% $.{read} %>"}
        for keyword in draw(st.lists(st.sampled_from(_PUBLISHING), max_size=2, unique=True)):
            task[keyword] = {draw(st.sampled_from(_VARIABLES)): draw(st.integers(0, 1))}
        # what comes back must pass a worker, which a task that cannot read its variable does not
        back = names[1:][: draw(st.integers(0, 1))] if read is None else []
        targets = [*names[position + 1 :], *back, "noop"]
        for keyword in draw(st.lists(st.sampled_from(_CLAUSES), max_size=2, unique=True)):
            chosen = draw(st.lists(st.sampled_from(targets), min_size=1, max_size=3, unique=True))
            task[keyword] = [_entry(draw, target) for target in chosen]
        made[name] = task
    for name in names:
        sources = [each for each in names if _leads_to(made[each], name)]
        if len(sources) > 1 and draw(st.integers(0, 2)):
            made[name]["join"] = draw(st.sampled_from(["all", "all", "one", 2]))
    return made


def _entry(draw: st.DrawFn, target: str) -> Any:
    guards = ["<% task().result > 2 %>", "<% not task().result > 2 %>", "<% not (task().result > 2) %>", "<% false %>"]
    guard = draw(st.sampled_from([None, None, None, *guards]))
    return target if guard is None else {target: guard}


def _leads_to(task: dict[str, Any], name: str) -> bool:
    return any(name in entry for keyword in _CLAUSES for entry in task.get(keyword, ()))


def _damaged(workflow: Workflow, task: int, kind: int) -> Workflow:
    """Return what somebody wrote who meant *workflow*."""
    broken = copy.deepcopy(workflow)
    name = sorted(broken)[task % len(broken)]
    keyword = sorted(broken[name])[kind % len(broken[name])]
    value = broken[name][keyword]
    if keyword in _CLAUSES and kind % 3 == 0:
        value[0] = {next(iter(value[0])) if isinstance(value[0], dict) else value[0]: "no guard"}
    elif keyword == "join":
        broken[name][keyword] = "every"
    else:
        broken[name][f"{keyword}s"] = broken[name].pop(keyword)
    return broken


def _alarms(workflow: Workflow) -> set[tuple[str, str]]:
    text = json.dumps({"version": "2.0", "wf": {"tasks": workflow}})
    return {
        (each.code, each.path.split(".")[2]) for each in check([Source("f.yaml", text)]).problems if "." in each.path
    }


def _assert_true(alarms: set[tuple[str, str]], stage: Stage[World]) -> None:
    (state,) = stage.states()
    ran = {state.tasks[action.task].name for action in state.actions.values()}
    begun = {task.name for task in state.tasks.values()}
    succeeded = {task.name for task in state.tasks.values() if task.state is TaskState.SUCCEEDED}
    for code, name in alarms:
        if code == "unreachable-task":
            assert name not in begun
        elif code == "impossible-join":
            assert name not in ran | succeeded
        elif code in _NEVER_READ:
            assert name not in ran


@examples(50)
@given(_workflows(), _STEPS, st.integers(0, 6), st.integers(0, 5))
def test_what_is_said_never_to_happen_does_not(
    workflow: Workflow, steps: list[tuple[str, int]], task: int, kind: int
) -> None:
    alarms = _alarms(workflow)
    if "no-start-task" in {code for code, _ in alarms} or "join-cardinality" in {code for code, _ in alarms}:
        return
    with fresh_world() as world:
        world.deploy(json.dumps({"version": "2.0", "wf": {"tasks": workflow}}))
        stage = Stage(world)
        stage.step({"start": {"workflow": "wf"}})
        for step in steps:
            carry_out(stage, step)
        _assert_true(alarms, stage)
        _assert_true(_alarms(_damaged(workflow, task, kind)), stage)
