"""Joins: when a task that waits for several branches starts.

A join collects arrivals by the name of the task that chose it. It fires once per generation (R6). A new generation
begins when an arrival comes round again: from a task that itself descends from the firing or, where a loop leads to the
join without passing through it, from a name that has arrived already. A branch that is merely late is noted in its own
generation and changes nothing. In a new generation, a branch that cannot come again counts as it did before, so that a
loop through one branch does not wait for the others for ever.

A branch is impossible when neither it nor anything on a way to it is open. `all` fails on the first impossible branch,
`one` and N when too few are left. Source: `mistral/workflow/direct_workflow.py`.
"""

from __future__ import annotations

from tradewind_server.engine import events as e
from tradewind_server.engine import tasks
from tradewind_server.engine.contexts import merge
from tradewind_server.engine.decision import Decision, Target
from tradewind_server.engine.graph import graph_of
from tradewind_server.engine.semantics import knows_rounds_by_descent
from tradewind_server.engine.state import Task, TaskState
from tradewind_server.lang.specs import COMMAND_WORDS


def arrive(d: Decision, name: str, parent: int) -> None:
    """A branch that ended in the task *parent* chose the join *name*."""
    join, is_new = _current(d, name, d.state.tasks[parent])
    if parent in join.arrived.values():
        return
    d.emit(e.BranchArrived(join.id, parent))
    if join.fired:
        if (latest := d.state.latest[name]) != join.id:
            # a later round may have waited for this branch, which counts there as it did before
            d.todo.append((-latest, []))
        return
    if len(join.arrived) >= _needed(d, join):
        if join.state is TaskState.FAILED:
            # it was found impossible, and a rerun made it possible after all
            d.emit(e.TaskWaiting(join.id, name, join.rounds[name]))
        _fire(d, join)
    elif is_new:
        # only after the other transitions of this decision have been taken: they may lead here too
        d.todo.append((-join.id, []))


def require(d: Decision, name: str, parents: list[int]) -> None:
    """Reverse workflow: start *name*, whose requirements are the ended tasks *parents*."""
    join = _open(d, name, 1)
    for parent in parents:
        d.emit(e.BranchArrived(join.id, parent))
    _fire(d, join)


def _current(d: Decision, name: str, parent: Task) -> tuple[Task, bool]:
    """Return the join's task of the arriving branch's generation, made now if there is none."""
    known = d.state.latest.get(name)
    if known is None:
        return _open(d, name, 1), True
    join = d.state.tasks[known]
    generation, passed = join.rounds[name], parent.rounds.get(name, 0)
    comes_round = join.fired and (passed >= generation or _comes_again(d, join, parent))
    if comes_round:
        return _open(d, name, generation + 1), True
    if passed + 1 < generation and not _loops_past(d, join, parent):
        return _earlier(d, name, passed + 1), False
    return join, False


def _comes_again(d: Decision, join: Task, parent: Task) -> bool:
    return join.arrived.get(parent.name, parent.id) != parent.id and _loops_past(d, join, parent)


def _loops_past(d: Decision, join: Task, parent: Task) -> bool:
    """Tell whether a loop leads to the branch without passing through the join: of which round it is does not show."""
    return not knows_rounds_by_descent(d.state) or parent.name in graph_of(d.spec).repeated(join.name)


def _earlier(d: Decision, name: str, generation: int) -> Task:
    """Return the join's task of a generation that has fired."""
    tasks_ = reversed(d.state.tasks.values())
    return next(task for task in tasks_ if task.name == name and task.rounds[name] == generation)


def _open(d: Decision, name: str, generation: int) -> Task:
    id_ = d.state.last_task + 1
    d.emit(e.TaskWaiting(id_, name, generation))
    return d.state.tasks[id_]


def note_end(d: Decision, task: Task, targets: list[Target]) -> None:
    """A task ended: joins that counted on a way it did not take may have become impossible."""
    graph = graph_of(d.spec)
    dropped = graph.successors[task.name].difference(target for target, _ in targets)
    if not dropped:
        return
    lost = set(dropped).union(*(graph.reach(name) for name in dropped))
    for id_ in d.state.open_tasks:
        join = d.state.tasks[id_]
        if join.state is TaskState.WAITING and (
            join.name in lost or not lost.isdisjoint(d.spec.inbound.get(join.name, ()))
        ):
            d.todo.append((-id_, []))


def resolve_standstill(d: Decision) -> bool:
    """Decide the first waiting join when nothing but waiting joins is open: they wait for each other."""
    tasks_ = d.state.tasks
    for id_ in d.state.open_tasks:
        if tasks_[id_].state is not TaskState.WAITING:
            return False
    waiting = [tasks_[id_] for id_ in d.state.open_tasks]
    if not waiting:
        return False
    order = graph_of(d.spec).order
    _give_up(d, min(waiting, key=lambda task: order[task.name]), "its branches wait for each other")
    return True


def review(d: Decision, join: Task) -> None:
    """Look again at a waiting join whose branches may have become impossible."""
    if join.state is not TaskState.WAITING:
        return
    inbound = d.spec.inbound[join.name]
    possible = _possible(d, join)
    lost = [name for name in inbound if name not in join.arrived and name not in possible]
    if join.rounds[join.name] > 1:
        for name in lost:
            if parent := _remembered(d, join, name):
                d.emit(e.BranchArrived(join.id, parent))
        lost = [name for name in lost if name not in join.arrived]
    needed = _needed(d, join)
    if len(join.arrived) >= needed:
        _fire(d, join)
    elif len(inbound) - len(lost) < needed:
        _give_up(d, join, f"its branch from '{lost[0]}' cannot come")


def _needed(d: Decision, join: Task) -> int:
    wanted = d.task_spec(join).join
    return len(d.spec.inbound[join.name]) if wanted == "all" else int(wanted or 0)


def _possible(d: Decision, join: Task) -> set[str]:
    """Return the tasks that may still end: open ones, and all that can follow without the join itself."""
    graph = graph_of(d.spec)
    state = d.state
    origins = {state.tasks[id_].name for id_ in state.open_tasks if id_ != join.id}
    origins.update(target for entry in state.backlog for target, _ in entry.targets)
    origins.update(target for _, targets in d.todo for target, _ in targets)
    origins -= COMMAND_WORDS | {join.name}
    return origins.union(*(graph.reach(name, avoiding=join.name) for name in origins))


def _remembered(d: Decision, join: Task, name: str) -> int:
    """Return the task by which *name* reached an earlier generation of the join, or 0."""
    for task in reversed(d.state.tasks.values()):
        if task.name == join.name and task.id != join.id and name in task.arrived:
            return task.arrived[name]
    return 0


def _give_up(d: Decision, join: Task, why: str) -> None:
    tasks.fail_at_once(d, join, f"The join can never be complete: {why}.")


def _fire(d: Decision, join: Task) -> None:
    order = graph_of(d.spec).order
    arrived = [d.state.tasks[id_] for id_ in join.arrived.values()]
    parents = sorted(arrived, key=lambda task: (order[task.name], task.id))
    merged = merge(parent.outbound for parent in parents)
    d.emit(e.JoinFired(join.id, [parent.id for parent in parents], dict(merged.merged), dict(merged.versions)))
    tasks.begin(d, join)
