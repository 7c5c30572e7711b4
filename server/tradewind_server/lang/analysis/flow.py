"""How runs may go through the tasks of a workflow: edges, their conditions, and facts carried along them.

Facts are bits of whole numbers, so that 5,000 tasks with 5,000 variables stay a matter of milliseconds.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NoReturn

from tradewind_server.lang.analysis.subjects import Workflow
from tradewind_server.lang.expressions import ExpressionError, Scope, Template
from tradewind_server.lang.gaps import Gaps
from tradewind_server.lang.graph import clauses
from tradewind_server.lang.specs import EngineCommand, OnClause, TaskSpec, Transition
from tradewind_server.lang.values import is_truthy

_ENDING = (EngineCommand.FAIL, EngineCommand.SUCCEED)
#: The keyword of a way that there may be, in a part that cannot be read.
HIDDEN = "?"
_CONTEXT = re.compile(r"\$|\b_\b")


@dataclasses.dataclass(frozen=True, slots=True)
class Edge:
    """One way from a task to another."""

    source: str
    target: str
    #: `on-success` and the like; `requires` in a reverse workflow; HIDDEN.
    keyword: str
    guard: Template | None = None


@dataclasses.dataclass(slots=True)
class Flow:
    """The ways through a workflow that a run can take."""

    leaving: Mapping[str, list[Edge]]
    arriving: Mapping[str, list[Edge]]
    #: Tasks in the order in which a run meets them; those of one circle together.
    circles: list[list[str]]
    reachable: frozenset[str]
    #: Tasks that something leads to which cannot be read.
    uncertain: frozenset[str]

    @classmethod
    def of(cls, workflow: Workflow) -> Flow:
        """Find the ways."""
        tasks, gaps = workflow.spec.tasks, workflow.gaps
        leaving: dict[str, list[Edge]] = {name: [] for name in tasks}
        arriving: dict[str, list[Edge]] = {name: [] for name in tasks}
        for task in tasks.values():
            for edge in _edges(task):
                if edge.source in leaving and edge.target in arriving:
                    leaving[edge.source].append(edge)
                    arriving[edge.target].append(edge)
        direct = workflow.spec.type == "direct"
        hidden = [Edge(*pair, HIDDEN) for pair in _hidden(gaps, direct)]
        for edge in hidden:
            leaving[edge.source].append(edge)
            arriving[edge.target].append(edge)
        starts = workflow.spec.start_tasks if direct else tuple(tasks)
        return cls(
            leaving, arriving, _circles(leaving), _reachable(starts, leaving), frozenset(edge.target for edge in hidden)
        )

    def carried(self, gains: Callable[[Edge], int]) -> Iterator[tuple[str, int]]:
        """Give each task with all facts that some way to it brings; *gains* says what an edge adds."""
        waiting: dict[str, int] = {}
        for circle in self.circles:
            members = set(circle)
            facts = 0
            for name in circle:
                facts |= waiting.pop(name, 0)
                if len(circle) > 1 or any(edge.target == name for edge in self.leaving[name]):
                    for edge in self.leaving[name]:
                        facts |= gains(edge) if edge.target in members else 0
            for name in circle:
                yield name, facts
                for edge in self.leaving[name]:
                    if edge.target not in members:
                        known = waiting.get(edge.target, 0)
                        waiting[edge.target] = known | facts | gains(edge)

    def behind(self, names: Collection[str]) -> frozenset[str]:
        """Return these tasks and all that they may lead to."""
        return _reachable(tuple(names), self.leaving)

    def before(self, names: Collection[str]) -> frozenset[str]:
        """Return these tasks and all that may lead to them."""
        found, pending = set(names), list(names)
        while pending:
            for edge in self.arriving[pending.pop()]:
                if edge.source not in found:
                    found.add(edge.source)
                    pending.append(edge.source)
        return frozenset(found)

    def leads(self, start: str, goal: str, steps: int = 10_000) -> bool:
        """Tell whether a way leads from one task to another; false if it is not found in so many steps."""
        seen = {start}
        pending = [start]
        while pending and steps > 0:
            steps -= 1
            for edge in self.leaving[pending.pop()]:
                if edge.target == goal:
                    return True
                if edge.target not in seen:
                    seen.add(edge.target)
                    pending.append(edge.target)
        return False


def _hidden(gaps: Gaps, direct: bool) -> Iterator[tuple[str, str]]:
    for name, targets in gaps.leads.items():
        for target in sorted(targets):
            yield (name, target) if direct else (target, name)


def _edges(task: TaskSpec) -> Iterator[Edge]:
    for required in task.requires:
        yield Edge(required, task.name, "requires")
    for keyword, clause in clauses(task):
        for transition in live(clause):
            if transition.command is None:
                yield Edge(task.name, transition.target, keyword, transition.guard)


def live(clause: OnClause) -> tuple[Transition, ...]:
    """Return the transitions that may happen: not those with a false guard, nor those after an end."""
    found = []
    for transition in clause.next:
        if constant(transition.guard) is False:
            continue
        found.append(transition)
        if ends(transition):
            break
    return tuple(found)


def ends(transition: Transition) -> bool:
    """Tell whether a transition ends the workflow whenever it is looked at, so that none after it happens."""
    return transition.command in _ENDING and (transition.guard is None or constant(transition.guard) is True)


def constant(guard: Template | None) -> bool | None:
    """Return what a guard always is; None if it depends on anything."""
    if guard is None or _CONTEXT.search(str(guard.source)):
        return None
    return _constant(guard)


@functools.lru_cache(maxsize=1_000)
def _constant(guard: Template) -> bool | None:
    try:
        return is_truthy(guard.evaluate(Scope((), _NoFacts())))
    except ExpressionError:
        return None


class _NoFacts:
    """Facts of no execution: an expression that asks for one fails, so it is no constant."""

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise LookupError

    env = execution = executions = task = task_part = tasks = global_variable = uuid = now = _refuse


def _reachable(starts: tuple[str, ...], leaving: Mapping[str, list[Edge]]) -> frozenset[str]:
    found = set(starts)
    pending = list(starts)
    while pending:
        for edge in leaving[pending.pop()]:
            if edge.target not in found:
                found.add(edge.target)
                pending.append(edge.target)
    return frozenset(found)


def _circles(leaving: Mapping[str, list[Edge]]) -> list[list[str]]:
    """Return the strongly connected components, those first that lead to others (Tarjan, without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    open_: set[str] = set()
    found: list[list[str]] = []
    for root in leaving:
        if root in index:
            continue
        index[root] = low[root] = len(index)
        stack.append(root)
        open_.add(root)
        trail = [(root, iter(leaving[root]))]
        while trail:
            name, edges = trail[-1]
            edge = next(edges, None)
            if edge is None:
                trail.pop()
                if trail:
                    low[trail[-1][0]] = min(low[trail[-1][0]], low[name])
                if low[name] == index[name]:
                    found.append(_closed(name, stack, open_))
            elif edge.target not in index:
                index[edge.target] = low[edge.target] = len(index)
                stack.append(edge.target)
                open_.add(edge.target)
                trail.append((edge.target, iter(leaving[edge.target])))
            elif edge.target in open_:
                low[name] = min(low[name], index[edge.target])
    return found[::-1]


def _closed(name: str, stack: list[str], open_: set[str]) -> list[str]:
    circle = []
    while True:
        circle.append(stack.pop())
        open_.discard(circle[-1])
        if circle[-1] == name:
            return circle[::-1]
