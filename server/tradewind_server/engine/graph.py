"""Questions about the graph of a direct workflow, answered once per spec."""

from __future__ import annotations

import collections
import functools

from tradewind_server.lang.specs import TaskSpec, WorkflowSpec


class Graph:
    """Successors and reachability of the tasks of one workflow."""

    def __init__(self, spec: WorkflowSpec) -> None:
        self.successors = {name: frozenset(_targets(task)) for name, task in spec.tasks.items()}
        self.order = {name: n for n, name in enumerate(spec.tasks)}
        self._reach: dict[tuple[str, str], frozenset[str]] = {}
        self._repeated: dict[str, frozenset[str]] = {}

    def reach(self, origin: str, avoiding: str = "") -> frozenset[str]:
        """Return the tasks that can follow *origin*, itself not included unless a loop leads to it.

        Paths that go on from *avoiding* are not counted; *avoiding* itself may be reached.
        """
        key = (origin, avoiding)
        if key not in self._reach:
            self._reach[key] = self._walk(origin, avoiding)
        return self._reach[key]

    def repeated(self, avoiding: str) -> frozenset[str]:
        """Return the tasks that a loop leads to again and again, on paths that do not go on from *avoiding*."""
        if avoiding not in self._repeated:
            self._repeated[avoiding] = self._left_over(avoiding)
        return self._repeated[avoiding]

    def _left_over(self, avoiding: str) -> frozenset[str]:
        """Take away whatever nothing leads to, until nothing is left but loops and what follows them."""
        successors = {**self.successors, avoiding: frozenset()}
        inbound = collections.Counter(target for targets in successors.values() for target in targets)
        todo = [name for name in successors if not inbound[name]]
        left = set(successors)
        while todo:
            name = todo.pop()
            left.remove(name)
            for target in successors[name]:
                inbound[target] -= 1
                if not inbound[target]:
                    todo.append(target)
        return frozenset(left)

    def _walk(self, origin: str, avoiding: str) -> frozenset[str]:
        found: set[str] = set()
        todo = [origin]
        while todo:
            for target in self.successors[todo.pop()]:
                if target not in found:
                    found.add(target)
                    if target != avoiding:
                        todo.append(target)
        return frozenset(found)


def _targets(task: TaskSpec) -> list[str]:
    clauses = (task.on_success, task.on_error, task.on_complete, task.on_skip)
    return [t.target for clause in clauses if clause for t in clause.next if t.command is None]


class _ById:
    """Lets an unhashable spec be a cache key by its identity."""

    __slots__ = ("spec",)

    def __init__(self, spec: WorkflowSpec) -> None:
        self.spec = spec

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and other.spec is self.spec

    def __hash__(self) -> int:
        return id(self.spec)


@functools.lru_cache(maxsize=1024)
def _graph(spec: _ById) -> Graph:
    return Graph(spec.spec)


def graph_of(spec: WorkflowSpec) -> Graph:
    """Return the graph of *spec*, computed once as long as it is among the last thousand that were asked for."""
    return _graph(_ById(spec))
