"""Joins that cannot happen, and joins whose branches publish the same variable.

Two outcomes of one task exclude each other: success and failure, or a guard and its negation. What a branch needs is
carried along the edges (all of it through a join, what every way needs elsewhere); a join that needs both of a pair
never happens. Tasks that may run several times decide nothing, for each run has its own outcome.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Mapping

from tradewind_server.lang.analysis.flow import Edge, Flow
from tradewind_server.lang.analysis.publishing import Published, branch_publishing
from tradewind_server.lang.analysis.subjects import Workflow, names_in
from tradewind_server.lang.analysis.winners import Count, Winners
from tradewind_server.lang.expressions import Template
from tradewind_server.lang.specs import TaskSpec

#: Publications that are followed at most, and comparisons at one join: work must not grow with the square of the text.
_MOST_SITES = 5_000
_MOST_COMPARISONS = 200_000


def check(workflow: Workflow, flow: Flow) -> None:
    """Report joins that cannot happen or whose result depends on the order of the text."""
    if not any(_waits_for_several(task) for task in workflow.spec.tasks.values()):
        return
    impossible = _check_possible(workflow, flow)
    _check_conflicts(workflow, flow, impossible)


def _waits_for_several(task: TaskSpec) -> bool:
    return task.join is not None and task.join != 1


# --- joins that cannot happen --------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class _Choices:
    """Pairs of outcomes that exclude each other: the bits 2n and 2n+1."""

    #: (task, keyword or guard) -> bit
    bits: dict[tuple[str, str], int]
    #: What each pair is, for people.
    said: list[tuple[str, str, str]]

    def needs(self, edge: Edge) -> int:
        """Return what taking an edge needs."""
        if edge.keyword == "requires":
            return 0
        needed = self.bits.get((edge.source, edge.keyword), 0)
        if edge.guard is not None:
            needed |= self.bits.get((edge.source, f"{edge.keyword} {edge.guard.source}"), 0)
        return needed

    def conflict(self, needed: int) -> tuple[str, str, str] | None:
        """Return a pair of which *needed* has both."""
        both = needed & needed >> 1 & self._first_bits
        return self.said[(both.bit_length() - 1) // 2] if both else None

    @property
    def _first_bits(self) -> int:
        return ((1 << 2 * len(self.said)) - 1) // 3


def _choices(flow: Flow) -> _Choices:
    choices = _Choices({}, [])
    for name, edges in flow.leaving.items():
        if len(edges) < 2:
            continue
        if {"on-success", "on-error"} <= {edge.keyword for edge in edges}:
            _add_pair(choices, name, "on-success", "on-error", ("the success", "the failure"))
        guarded = [edge for edge in edges if edge.guard is not None]
        keys = {(edge.keyword, _inner(str(edge.guard.source))): edge for edge in guarded if edge.guard}
        for edge in guarded:
            negated = _negated(str(edge.guard.source)) if edge.guard else None
            other = keys.get((edge.keyword, negated)) if negated is not None else None
            if other is not None and other.guard is not None and edge.guard is not None:
                this, that = str(edge.guard.source), str(other.guard.source)
                _add_pair(choices, name, f"{edge.keyword} {that}", f"{edge.keyword} {this}", (that, this))
    return choices


def _add_pair(choices: _Choices, task: str, first: str, second: str, said: tuple[str, str]) -> None:
    if (task, first) in choices.bits or (task, second) in choices.bits:
        return
    number = len(choices.said)
    choices.bits[(task, first)] = 1 << 2 * number
    choices.bits[(task, second)] = 2 << 2 * number
    choices.said.append((task, *said))


def _inner(source: str) -> str:
    """Return what stands between the delimiters of an expression."""
    return " ".join(source.strip()[2:-2].split())


def _negated(source: str) -> str | None:
    """Return what a guard denies, if it is `not …` or one `!=`."""
    inner = _inner(source)
    if inner.startswith("not "):
        rest = inner[4:].strip()
        is_wrapped = rest.startswith("(") and rest.endswith(")") and rest.count("(") == 1
        return rest[1:-1].strip() if is_wrapped else rest if " and " not in rest and " or " not in rest else None
    if inner.count(" != ") == 1 and " and " not in inner and " or " not in inner:
        return inner.replace(" != ", " == " if source.lstrip().startswith("{{") else " = ")
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class _Need:
    """What a task needs to run at all, and whether it runs once at most."""

    bits: int
    is_single: bool


def _check_possible(workflow: Workflow, flow: Flow) -> set[str]:
    """Report joins that never happen; returns them."""
    choices = _choices(flow)
    needs: dict[str, _Need] = {}
    impossible: set[str] = set()
    for circle in flow.circles:
        members = set(circle)
        for name in circle:
            task = workflow.spec.tasks[name]
            entering = [edge for edge in flow.arriving[name] if edge.source not in members]
            bits = _needed(task, entering, needs, choices)
            pair = choices.conflict(bits)
            is_once = task.join is not None or len(entering) <= 1
            is_alone = name not in flow.uncertain and not any(edge.source in members for edge in flow.arriving[name])
            is_single = is_alone and is_once and all(needs[edge.source].is_single for edge in entering)
            needs[name] = _Need(bits if pair is None and is_alone else 0, is_single)
            if _waits_for_several(task) and name in flow.reachable and name not in flow.uncertain:
                message, fix = _why_impossible(workflow, flow, task, pair if _waits_for_all(workflow, task) else None)
                if message:
                    path = (*workflow.task_path(name), "join")
                    workflow.reader.report("impossible-join", path, message, fix)
                    impossible.add(name)
    return impossible


def _needed(task: TaskSpec, entering: list[Edge], needs: Mapping[str, _Need], choices: _Choices) -> int:
    """Return what all branches need of a join for all, else what each way needs."""
    sources: dict[str, int] = {}
    for edge in entering:
        before = needs[edge.source]
        needed = before.bits | (choices.needs(edge) if before.is_single else 0)
        sources[edge.source] = sources[edge.source] & needed if edge.source in sources else needed
    is_all = task.join == "all" or task.join == len(sources)
    combine = operator.or_ if is_all else operator.and_
    return functools.reduce(combine, sources.values()) if sources else 0


def _waits_for_all(workflow: Workflow, task: TaskSpec) -> bool:
    return task.join == "all" or (task.join or 1) > 1 and task.join == len(workflow.spec.inbound.get(task.name, ()))


def _why_impossible(
    workflow: Workflow, flow: Flow, task: TaskSpec, pair: tuple[str, str, str] | None
) -> tuple[str, str]:
    """Return a message and a fix; both are empty for a join that can happen."""
    name, inbound = task.name, workflow.spec.inbound.get(task.name, ())
    coming = {edge.source for edge in flow.arriving[name]} & flow.reachable
    missing = [source for source in inbound if source not in coming]
    needed = len(inbound) if task.join == "all" else task.join or 0
    if missing and len(coming) < needed:
        message = f"Expected {needed} branches to come to the join '{name}', but '{missing[0]}' never does."
        return message, f"Remove the transition from '{missing[0]}'."
    if pair is None:
        return "", ""
    both = f"one needs {_of(pair, 1)} and another {_of(pair, 2)}"
    message = f"Expected branches that can all come to the join '{name}', but {both}."
    return message, "Write 'join: one' if one of them is enough."


def _of(pair: tuple[str, str, str], number: int) -> str:
    said = pair[number]
    return f"{said} of '{pair[0]}'" if said.startswith("the ") else f"'{said}' after '{pair[0]}'"


# --- joins whose branches publish the same -------------------------------------------------------


@dataclasses.dataclass(slots=True)
class _Sites:
    """Where variables are published that are published in several tasks: one bit for each task and variable."""

    #: Which task a bit is of, by its number.
    tasks: list[str]
    by_task: dict[str, Published]
    by_variable: dict[str, int]
    #: All that is published under the name of a variable.
    values: dict[str, list[Template]]

    def gain(self, edge: Edge) -> int:
        """Return what the source of an edge publishes on its way."""
        own = self.by_task.get(edge.source)
        return own.after(edge.keyword) if own is not None else 0

    def count(self, variable: str, edge: Edge) -> Count:
        """Return how often the source of an edge publishes a variable on its way: once at most."""
        own, bits = self.by_task.get(edge.source), self.by_variable[variable]
        return (
            Count(bool(own.always_after(edge.keyword) & bits), bool(own.after(edge.keyword) & bits)) if own else Count()
        )


def _sites(workflow: Workflow) -> _Sites:
    values: dict[str, dict[str, list[tuple[str, Template]]]] = {}
    for task in workflow.spec.tasks.values():
        for outcome, template in branch_publishing(task):
            source, parts = template.source, dict(template.parts)
            for name in names_in(template):
                assert isinstance(source, dict)
                value = parts.get(name) or Template.constant(source[name])
                values.setdefault(name, {}).setdefault(task.name, []).append((outcome, value))
    sites = _Sites([], {}, {}, {})
    for variable, tasks in values.items():
        everything = [value for found in tasks.values() for _, value in found]
        if len(tasks) < 2 or _is_same_everywhere(everything):
            continue
        sites.values[variable] = everything
        for name, found in tasks.items():
            bit = 1 << len(sites.tasks)
            sites.tasks.append(name)
            sites.by_variable[variable] = sites.by_variable.get(variable, 0) | bit
            for outcome, _ in found:
                sites.by_task.setdefault(name, Published()).add(outcome, bit)
    return sites


def _is_same_everywhere(values: list[Template]) -> bool:
    """Tell whether all publish one constant: then it does not matter which counts."""
    first = values[0]
    return all(value.is_constant and value == first for value in values)


def _check_conflicts(workflow: Workflow, flow: Flow, impossible: set[str]) -> None:
    sites = _sites(workflow)
    if not sites.by_variable or len(sites.tasks) > _MOST_SITES:
        return
    seen = dict(flow.carried(sites.gain))
    murky = flow.behind({*flow.uncertain, *workflow.gaps.publishes})
    left = _MOST_COMPARISONS
    winners = Winners(workflow, flow)
    for name, task in workflow.spec.tasks.items():
        if not _waits_for_several(task) or name in impossible or name not in flow.reachable or name in murky:
            continue
        by_source: dict[str, int] = {}
        for edge in flow.arriving[name]:
            by_source[edge.source] = by_source.get(edge.source, seen[edge.source]) | sites.gain(edge)
        branches = list(by_source.values())
        left -= len(branches) * len(sites.by_variable)
        if left < 0:
            return
        for variable, bits in sites.by_variable.items():
            pair = _rivals([branch & bits for branch in branches])
            if pair is not None:
                one, other = (sites.tasks[(bits & -bits).bit_length() - 1] for bits in pair)
                told = winners.told(name, variable, functools.partial(sites.count, variable), sites.values[variable])
                _report_conflict(workflow, name, variable, (one, other), told)


def _rivals(branches: list[int]) -> tuple[int, int] | None:
    """Return what only one and only another branch has, if neither has seen all of the other.

    What was published before both of them is in both; a branch that goes on from it has it too.
    """
    distinct = sorted(set(branches), key=int.bit_count)
    for fewer, more in zip(distinct, distinct[1:], strict=False):
        if fewer & ~more:
            return fewer & ~more, more & ~fewer
    return None


def _report_conflict(workflow: Workflow, join: str, variable: str, tasks: tuple[str, str], told: str) -> None:
    one, other = sorted(tasks, key=list(workflow.spec.tasks).index)
    message = f"Expected '{variable}' from one branch of the join '{join}', but '{one}' and '{other}' both publish it."
    fix = f"Publish under different names; here {told}."
    workflow.reader.report("join-conflict", (*workflow.task_path(join), "join"), message, fix)
