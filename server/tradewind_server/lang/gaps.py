"""What errors hide of a workflow, so that more is told than the first error, and nothing that only follows from it.

A broken part may do what it names, and nothing else: lead to the tasks that stand in it, set the variables that are
keys in it. So `on-sucess: [b]` may lead to `b`, and a task that nothing names is unreachable all the same.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from tradewind_server.lang.documents import Path
from tradewind_server.lang.tasks import COMMAND_WORDS, DIRECT_TASK, TASK

_WORD = re.compile(r"[\w.-]+")
_PUBLISHING = frozenset({"publish", "publish-on-error", "publish-on-skip"})
#: Parts of a task that lead nowhere and set nothing; a keyword that does not exist may do both.
_INNER = frozenset({*TASK, "join"} - _PUBLISHING)
#: Parts of a workflow that set nothing.
_SETS_NOTHING = frozenset({"description", "tags", "sensitive", "output", "output-on-error"})


@dataclasses.dataclass(slots=True)
class Gaps:
    """What the errors of one workflow may hide."""

    #: Nobody can say what they hide.
    is_opaque: bool = False
    #: They are in task-defaults, and so in all tasks.
    in_defaults: bool = False
    #: For each task with one in it its parts that have one; "" for the task itself.
    parts: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    #: Where such a task may lead to.
    leads: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    led_to: set[str] = dataclasses.field(default_factory=set)
    #: The variables that such a task may publish, and those that only itself may have.
    publishes: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    own: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    #: Tasks that something hidden may follow, or publish after.
    acting: set[str] = dataclasses.field(default_factory=set)
    #: What may be an input or a variable of the workflow.
    variables: set[str] = dataclasses.field(default_factory=set)

    def __bool__(self) -> bool:
        """Tell whether anything is hidden."""
        return self.is_opaque or self.in_defaults or bool(self.parts) or bool(self.variables)

    def has_in(self, task: str, *parts: str) -> bool:
        """Tell whether something of a task itself is hidden: in one of *parts*, or anywhere if there are none."""
        found = self.parts.get(task)
        return self.is_opaque or found is not None and (not parts or not found.isdisjoint(parts))

    def has_only(self, task: str, parts: Collection[str]) -> bool:
        """Tell whether all that is hidden of a task is in *parts* of it."""
        return not self.is_opaque and all(part in parts for part in self.parts.get(task, ()))

    def may_act(self, task: str) -> bool:
        """Tell whether something hidden may follow a task, or publish after it."""
        return self.is_opaque or self.in_defaults or task in self.acting

    @property
    def may_have_inputs(self) -> bool:
        """Tell whether the workflow may have more inputs than can be read."""
        return self.is_opaque or bool(self.variables)

    @property
    def may_be_set(self) -> set[str]:
        """Return the variables that something hidden may set."""
        return self.variables.union(*self.publishes.values())


def gaps(value: object, found: Iterable[Path], is_lost: bool, tasks: Collection[str]) -> Gaps:
    """Return what is hidden of a workflow.

    Args:
        value: what is written for the workflow.
        found: where in it the errors are.
        is_lost: something was written that is not in *value*.
        tasks: its tasks.
    """
    result = Gaps(is_opaque=is_lost)
    for path in found:
        _add(result, path, _at(value, path), tasks)
    return result


def _add(result: Gaps, path: Path, value: object, tasks: Collection[str]) -> None:
    part = str(path[0]) if path else ""
    if part == "tasks":
        if len(path) > 1:
            # what leads to `b` if its guard were one is at `on-success.b`
            written = [value, *path[3:]]
            _add_to_task(result, str(path[1]), str(path[2]) if len(path) > 2 else "", written, tasks)
    elif part == "task-defaults":
        # Else each task might lead to each other.
        result.is_opaque = result.is_opaque or not set(_words(value)).isdisjoint(tasks)
        result.in_defaults = True
    elif part == "type":
        result.is_opaque = True
    elif part not in _SETS_NOTHING:
        result.variables.update(_words(value))


def _add_to_task(result: Gaps, task: str, part: str, value: object, tasks: Collection[str]) -> None:
    result.parts.setdefault(task, set()).add(part)
    result.own.setdefault(task, set()).update(_words(value))
    if part in _INNER:
        return
    variables, words = set(_keys(value)), set(_words(value))
    result.publishes.setdefault(task, set()).update(variables)
    if part not in _PUBLISHING:
        targets = {word for word in words if word in tasks}
        result.leads.setdefault(task, set()).update(targets)
        result.led_to |= targets
    if (
        variables
        or part in DIRECT_TASK
        or not part
        or not words.isdisjoint({*COMMAND_WORDS, *result.leads.get(task, ())})
    ):
        result.acting.add(task)


def _at(value: Any, path: Path) -> object:
    for part in path:
        try:
            value = value[part]
        except (TypeError, LookupError):
            return None
    return value


def _words(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        yield from _WORD.findall(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _words(key)
            yield from _words(item)
    elif isinstance(value, list):
        for item in value:
            yield from _words(item)


def _keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for item in value.values():
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)
