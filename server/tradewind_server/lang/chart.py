"""A workflow as a picture needs it: nodes and edges, with everything that decides which way it goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, TypeAlias

from tradewind_server.lang.graph import clauses
from tradewind_server.lang.specs import HumanSpec, TaskSpec, WorkflowSpec

NodeKind: TypeAlias = Literal["start", "task", "command"]
EdgeKind: TypeAlias = Literal["start", "on-success", "on-error", "on-complete", "on-skip", "requires"]


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """A task, the end that a command makes, or where the workflow starts."""

    #: Unique in the chart.
    id: str
    kind: NodeKind
    #: Name of the task, word of the command, "start".
    label: str
    #: Task: what it calls, as written.
    callee: str = ""
    calls_workflow: bool = False
    #: Task: "all", "one", how many, or "".
    join: str = ""
    has_items: bool = False
    #: Command: its message, as written.
    message: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Edge:
    """One transition or requirement, in the direction of time."""

    source: str
    target: str
    kind: EdgeKind
    #: As written; "" without one.
    guard: str = ""
    #: It leads back to where it may have come from.
    is_back: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Chart:
    """One workflow. The start comes first, tasks in textual order, each command after its task."""

    workflow: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def outgoing(self) -> dict[str, list[Edge]]:
        """Return the edges of each node, in order."""
        found: dict[str, list[Edge]] = {node.id: [] for node in self.nodes}
        for edge in self.edges:
            found[edge.source].append(edge)
        return found


START = Node("start", "start", "start")


def draw(spec: WorkflowSpec) -> Chart:
    """Return the chart of a workflow."""
    nodes, edges = [START], []
    if spec.type == "reverse":
        first = [name for name, task in spec.tasks.items() if not task.requires]
    else:
        first = list(spec.start_tasks)
    edges += [Edge(START.id, _id(name), "start") for name in first]
    for task in spec.tasks.values():
        nodes.append(_task(task))
        edges += [Edge(_id(name), _id(task.name), "requires") for name in task.requires if name in spec.tasks]
        for node, edge in _transitions(task, spec.tasks):
            nodes += [node] if node else []
            edges.append(edge)
    back = _back_edges([node.id for node in nodes], edges)
    return Chart(
        spec.name, tuple(nodes), tuple(dataclasses.replace(edge, is_back=n in back) for n, edge in enumerate(edges))
    )


def _id(task: str) -> str:
    return f"task {task}"


def _task(task: TaskSpec) -> Node:
    join = "" if task.join is None else "one" if task.join == 1 else str(task.join)
    callee = str(task.callee.source) if task.human is None else _asked(task.human)
    return Node(
        _id(task.name), "task", task.name, callee, task.kind == "workflow", join, has_items=bool(task.with_items)
    )


def _transitions(task: TaskSpec, tasks: Mapping[str, TaskSpec]) -> Iterator[tuple[Node | None, Edge]]:
    kinds: dict[str, EdgeKind] = {kind: kind for kind in ("on-success", "on-error", "on-complete", "on-skip")}
    for clause_name, clause in clauses(task):
        for number, step in enumerate(clause.next):
            guard = "" if step.guard is None else str(step.guard.source)
            node = None
            if step.command is not None:  # wins over a task of its name (R2)
                message = "" if step.message is None else str(step.message.source)
                id_ = f"{clause_name} {number} {task.name}"
                node = Node(id_, "command", step.command.value, message=message)
            elif step.target not in tasks:
                continue
            target = node.id if node else _id(step.target)
            yield node, Edge(_id(task.name), target, kinds[clause_name], guard)


def _back_edges(nodes: Iterable[str], edges: list[Edge]) -> set[int]:
    """Return the numbers of the edges that close a loop, when the graph is walked depth first in textual order."""
    outgoing: dict[str, list[int]] = {id_: [] for id_ in nodes}
    for number, edge in enumerate(edges):
        outgoing[edge.source].append(number)
    back: set[int] = set()
    done: set[str] = set()
    for root in outgoing:
        trail = {root: iter(outgoing[root])} if root not in done else {}
        while trail:
            node = next(reversed(trail))
            following = next(trail[node], None)
            if following is None:
                done.add(node)
                del trail[node]
                continue
            target = edges[following].target
            if target in trail:
                back.add(following)
            elif target not in done:
                trail[target] = iter(outgoing[target])
    return back


def _asked(human: HumanSpec) -> str:
    """Return whom a human task asks, as it is written."""
    who = [template.source for template in (human.users, human.groups) if template is not None]
    names = [str(name) for source in who for name in (source if isinstance(source, list) else [source])]
    names += [f"whom {each.action.source} names" for _, each in human.resolvers]
    return f"asks {', '.join(names)}"
