"""Which branch wins at a join: how often a variable is published on each way to it.

Source: docs/language.md#branches-and-joins, which `engine/contexts.py` does.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping

from tradewind_server.lang.analysis.flow import Edge, Flow
from tradewind_server.lang.analysis.subjects import Workflow
from tradewind_server.lang.expressions import Template, is_single_expression

_DEPENDS = "the branch wins that publishes it more often, or else the one later in the text"
#: Edges that are counted along at most, of all variables: work must not grow with the square of the text.
_MOST_STEPS = 200_000


@dataclasses.dataclass(frozen=True, slots=True)
class Count:
    """How often a variable is published on a way; infinity where the way may go round."""

    least: float = 0
    most: float = 0

    def __add__(self, other: Count) -> Count:
        """Return the count of two ways, one after the other."""
        return Count(self.least + other.least, self.most + other.most)


class Winners:
    """Says who wins at the joins of a workflow."""

    def __init__(self, workflow: Workflow, flow: Flow) -> None:
        self._tasks = workflow.spec.tasks
        self._order = {name: number for number, name in enumerate(self._tasks)}
        self._flow = flow
        self._left = _MOST_STEPS
        #: Of each variable, on the ways to each task.
        self._counts: dict[str, dict[str, Count]] = {}

    def told(self, join: str, variable: str, gain: Callable[[Edge], Count], values: Iterable[Template]) -> str:
        """Say what *join* makes of a *variable* that several of its branches publish.

        Args:
            join: the name of the task.
            variable: its name.
            gain: how often an edge publishes it.
            values: all that is published under its name.
        """
        winner = self._winner(join, variable, gain)
        may_be = [_may_be_dictionary(value) for value in values]
        if all(isinstance(value.source, dict) for value in values):
            return f"dictionaries are merged key by key, and for keys in both {winner}"
        return f"{winner}; two dictionaries are merged" if sum(may_be) > 1 else winner

    def _winner(self, join: str, variable: str, gain: Callable[[Edge], Count]) -> str:
        ends = self._ends(join, variable, gain)
        if not ends:
            return _DEPENDS
        name = max(ends, key=lambda end: (ends[end].least, self._order[end]))
        least = ends[name].least
        others = [
            (count.most, self._order[other] < self._order[name]) for other, count in ends.items() if other != name
        ]
        if any(most > least or (most == least and not is_before) for most, is_before in others):
            return _DEPENDS
        if all(most < least for most, _ in others):
            why = f", for it publishes '{variable}' more often"
        else:
            why = ", for it comes later in the text" if all(is_before for _, is_before in others) else ""
        return f"the branch that ends with '{name}' wins{why}"

    def _ends(self, join: str, variable: str, gain: Callable[[Edge], Count]) -> dict[str, Count]:
        """Return how often it was published in each branch when that comes; nothing if that is not known."""
        edges = self._flow.arriving[join]
        if self._tasks[join].join not in ("all", len({edge.source for edge in edges})):
            return {}  # it depends on who comes first
        if variable not in self._counts:
            self._left -= sum(map(len, self._flow.arriving.values()))
            self._counts[variable] = self._counted(gain) if self._left >= 0 else {}
        return self._by_source(edges, self._counts[variable], gain) if self._counts[variable] else {}

    def _counted(self, gain: Callable[[Edge], Count]) -> dict[str, Count]:
        counts: dict[str, Count] = {}
        for circle in self._flow.circles:
            members = set(circle)
            arriving = [edge for name in circle for edge in self._flow.arriving[name]]
            entering = [edge for edge in arriving if edge.source not in members]
            count = self._at(circle[0], self._by_source(entering, counts, gain).values())
            if any(edge.source in members and gain(edge).most for edge in arriving):
                count = Count(count.least, math.inf)
            counts |= dict.fromkeys(circle, count)
        return counts

    def _at(self, name: str, coming: Iterable[Count]) -> Count:
        """Return the count where several ways meet: a join for all has the highest, other tasks one of them."""
        coming = list(coming)
        lowest = max if self._tasks[name].join == "all" else min
        return (
            Count(lowest(count.least for count in coming), max(count.most for count in coming)) if coming else Count()
        )

    def _by_source(
        self, edges: Iterable[Edge], counts: Mapping[str, Count], gain: Callable[[Edge], Count]
    ) -> dict[str, Count]:
        """Return the count at the end of each task that leads somewhere, whichever of its edges is taken."""
        found: dict[str, Count] = {}
        for edge in edges:
            if edge.source in self._flow.reachable:
                count, other = counts[edge.source] + gain(edge), found.get(edge.source)
                found[edge.source] = (
                    count if other is None else Count(min(count.least, other.least), max(count.most, other.most))
                )
        return found


def _may_be_dictionary(value: Template) -> bool:
    source = value.source
    return isinstance(source, dict) or (
        isinstance(source, str) and not value.is_constant and is_single_expression(source)
    )
