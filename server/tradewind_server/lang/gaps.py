"""What errors hide of a workflow, so that more is told than the first error, and nothing that only follows from it.

A broken part may do what it names, and nothing else: lead to the tasks that stand in it, set the variables that are
keys in it. So `on-sucess: [b]` may lead to `b`, and a task that nothing names is unreachable all the same. Only a part
that names nothing, such as an empty `on-success:`, may have been meant for anything.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator

from tradewind_server.lang.documents import Path
from tradewind_server.lang.specs import COMMAND_WORDS
from tradewind_server.lang.tasks import DIRECT_TASK, TASK
from tradewind_server.lang.written import keys_within, written_at

_WORD = re.compile(r"[\w.-]+")
_PUBLISHING = frozenset({"publish", "publish-on-error", "publish-on-skip"})
#: Parts of a task that lead nowhere and set nothing; a keyword that does not exist may do both.
_INNER = frozenset({*TASK, "join"} - _PUBLISHING)
#: Parts that only take what names something, so that an expression says nothing of what was meant.
_NAMING = frozenset({*_PUBLISHING, "input", "vars", "on-success", "on-error", "on-complete", "on-skip"})
_EXPRESSION = re.compile(r"<%|\{[{%]")
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
    #: It may have any.
    has_any_variable: bool = False
    #: Tasks that may publish anything, lead to any task, have any loop variable.
    publishes_any: set[str] = dataclasses.field(default_factory=set)
    leads_anywhere: set[str] = dataclasses.field(default_factory=set)
    loops_any: set[str] = dataclasses.field(default_factory=set)

    def __bool__(self) -> bool:
        """Tell whether anything is hidden."""
        return self.is_opaque or self.in_defaults or bool(self.parts) or self.may_have_inputs

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
        return self.is_opaque or self.has_any_variable or bool(self.variables)

    def may_lead_to(self, task: str) -> bool:
        """Tell whether something hidden may lead to a task from another one."""
        return self.is_opaque or task in self.led_to or not self.leads_anywhere <= {task}

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
    result = Gaps(is_opaque=is_lost, has_any_variable=is_lost)
    for path in found:
        _add(result, path, written_at(value, path), tasks)
    return result


def _add(result: Gaps, path: Path, value: object, tasks: Collection[str]) -> None:
    part = str(path[0]) if path else ""
    if part == "tasks":
        if len(path) > 1:
            _add_to_task(result, str(path[1]), path[2:], value, tasks)
    elif part == "task-defaults":
        # Else each task might lead to each other.
        keyword = str(path[1]) if len(path) > 1 else ""
        leads = not set(_words(value)).isdisjoint(tasks) or (keyword not in _INNER and _is_mute(value, keyword))
        result.is_opaque = result.is_opaque or leads
        result.in_defaults = True
    elif part == "type":
        result.is_opaque = True
    elif part not in _SETS_NOTHING:
        result.variables.update(_words([value, *_run_together(part)]))
        result.has_any_variable = result.has_any_variable or _is_mute([value, *_run_together(part)], part)


def _add_to_task(result: Gaps, task: str, inner: Path, value: object, tasks: Collection[str]) -> None:
    """Note what an error at *inner* of a task hides."""
    part, below = (str(inner[0]), inner[1:]) if inner else ("", ())
    # what leads to `b` if its guard were one is at `on-success.b`
    written = [value, *below, *_run_together(part)]
    result.parts.setdefault(task, set()).add(part)
    result.own.setdefault(task, set()).update(_words(written))
    if part == "with-items":
        result.loops_any.add(task)
    if part in _INNER:
        return
    publishes = part in _PUBLISHING or "publish" in below
    variables = {*keys_within(written), *_words([*_run_together(part), value if publishes else None])}
    words = set(_words(written))
    result.publishes.setdefault(task, set()).update(variables)
    if part not in _PUBLISHING:
        targets = {word for word in words if word in tasks}
        result.leads.setdefault(task, set()).update(targets)
        result.led_to |= targets
    is_mute = _is_mute([value, *(key for key in below if key in tasks), *_run_together(part)], part)
    if is_mute and part != "requires":
        _add_anything(result, task, below, publishes)
    if (
        variables
        or is_mute
        or part in DIRECT_TASK
        or not part
        or not words.isdisjoint({*COMMAND_WORDS, *result.leads.get(task, ())})
    ):
        result.acting.add(task)


def _add_anything(result: Gaps, task: str, below: Path, publishes: bool) -> None:
    """Note that a part of a task says nothing of what it was meant for."""
    is_item = any(isinstance(key, int) for key in below)
    if publishes or not (is_item or "next" in below):
        result.publishes_any.add(task)
    if not publishes:
        result.leads_anywhere.add(task)


def _run_together(part: str) -> list[str]:
    """Return a keyword that is more than a word: `publish {p` lacks its colon, and names what follows."""
    return [] if _WORD.fullmatch(part) else [part]


def _is_mute(value: object, part: str) -> bool:
    """Tell whether what is written names nothing."""
    words = list(_words(value))
    return not any(map(_WORD.search, words)) or (part in _NAMING and any(map(_EXPRESSION.search, words)))


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
