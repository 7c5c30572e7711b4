"""What is looked at: a definition with the reader that knows its places."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Literal, TypeAlias

from tradewind_server.lang.documents import Path
from tradewind_server.lang.expressions import Template
from tradewind_server.lang.gaps import Gaps
from tradewind_server.lang.graph import clauses
from tradewind_server.lang.reader import Reader
from tradewind_server.lang.specs import (
    AdhocActionSpec,
    Escalation,
    Expiry,
    HumanSpec,
    Notify,
    OnClause,
    Resolver,
    Retry,
    TaskSpec,
    WorkflowSpec,
)
from tradewind_server.lang.transitions import places

#: When a template of a task is evaluated: with the loop variables, before the task, at its end, or after publishing.
Moment: TypeAlias = Literal["item", "before", "publish", "after"]


@dataclasses.dataclass(frozen=True)
class Workflow:
    """One workflow as far as it could be read."""

    reader: Reader
    path: Path
    spec: WorkflowSpec
    is_valid: bool
    #: What of the text is missing from the spec.
    gaps: Gaps

    def task_path(self, name: str) -> Path:
        """Return where a task stands."""
        return (*self.path, "tasks", name)

    @functools.cached_property
    def uses(self) -> dict[str, tuple[Use, ...]]:
        """Return for each task its templates with an expression."""
        return {
            task.name: tuple(use for use in _uses(self, task) if not use.template.is_constant)
            for task in self.spec.tasks.values()
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Action:
    """One ad-hoc action as far as it could be read."""

    reader: Reader
    path: Path
    spec: AdhocActionSpec
    is_valid: bool
    #: Nothing that was meant is missing from the spec.
    is_whole: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Use:
    """A template of a task: when it is evaluated, and where it stands."""

    moment: Moment
    path: Path
    template: Template
    #: The clause that it belongs to, "" for none.
    clause: str = ""


_BEFORE = (
    "concurrency", "wait_before", "wait_after", "timeout", "pause_before", "target", "keep_result", "safe_rerun",
    "priority",
)  # fmt: skip
_HUMAN = ("title", "description", "show", "users", "groups", "priority", "calendar", "due")
_PUBLISHING = ("publish", "publish_on_error", "publish_on_skip")


def _uses(workflow: Workflow, task: TaskSpec) -> Iterator[Use]:
    """Give every template of a task."""
    path = workflow.task_path(task.name)
    if task.human is not None:
        yield from _uses_of_human((*path, "human"), task.human)
    yield Use("item", (*path, task.kind), task.callee)
    for template in task.parameters.values():
        yield Use("item", (*path, task.kind), template)
    for index, (_, collection) in enumerate(task.with_items):
        yield Use("before", (*path, "with-items", index), collection)
    yield from _uses_of_fields("item", path, task, ("input",))
    yield from _uses_of_fields("before", path, task, _BEFORE)
    yield from _uses_of_fields("publish", path, task, _PUBLISHING)
    yield from _uses_of_fields("after", path, task, ("fail_on",))
    if task.retry is not None:
        yield from _uses_of_fields("before", (*path, "retry"), task.retry, ("count", "delay"))
        yield from _uses_of_fields("after", (*path, "retry"), task.retry, ("break_on", "continue_on"))
    for keyword, clause in clauses(task):
        yield from _uses_of_clause(workflow, path, keyword, clause)


def _uses_of_human(path: Path, human: HumanSpec) -> Iterator[Use]:
    yield from _uses_of_fields("item", path, human, _HUMAN)
    yield from _uses_of_who(path, human)
    for step in human.escalate:
        yield from _uses_of_fields("item", (*path, "escalate"), step, ("after", "users", "groups"))
    for reminder in human.remind:
        for field in ("after", "before_due", "every", "count"):
            template = getattr(reminder, field)
            if template is not None:
                yield Use("item", (*path, "remind"), template)
    if human.notify is not None:
        yield from _uses_of_fields("item", (*path, "notify"), human.notify, ("users", "groups"))
    if human.expire is not None:
        yield from _uses_of_fields("item", (*path, "expire"), human.expire, ("after",))


def _uses_of_who(path: Path, human: HumanSpec) -> Iterator[Use]:
    for field in ("users", "groups"):
        fallback = getattr(human, f"fallback_{field}")
        if fallback is not None:
            yield Use("item", (*path, "fallback", field), fallback)
        resolver = getattr(human, f"{field}_by")
        if resolver is not None:
            yield from _uses_of_fields("item", (*path, field), resolver, ("action", "input"))
    for template in human.separate_from.users:
        yield Use("item", (*path, "separate_from"), template)


def _uses_of_fields(
    moment: Moment,
    path: Path,
    spec: TaskSpec | Retry | HumanSpec | Escalation | Notify | Expiry | Resolver,
    fields: tuple[str, ...],
) -> Iterator[Use]:
    for field in fields:
        template = getattr(spec, field)
        if template is not None:
            yield Use(moment, (*path, field.replace("_", "-")), template)


def _uses_of_clause(workflow: Workflow, path: Path, keyword: str, clause: OnClause) -> Iterator[Use]:
    if clause.publish is not None:
        for scope, publishing in published(clause):
            yield Use("publish", (*path, keyword, "publish", scope), publishing, keyword)
    if any(transition.guard or transition.message for transition in clause.next):
        where = places(workflow.reader, clause, (*path, keyword))
        for transition, place in zip(clause.next, where, strict=True):
            for template in (transition.guard, transition.message):
                if template is not None:
                    yield Use("after", place, template, keyword)


def published(clause: OnClause | None) -> Iterator[tuple[str, Template]]:
    """Give what a clause publishes, by scope."""
    if clause is not None and clause.publish is not None:
        publish = clause.publish
        for scope, template in (("branch", publish.branch), ("global", publish.global_), ("atomic", publish.atomic)):
            if template is not None:
                yield scope, template


def names_in(template: Template | None) -> tuple[str, ...]:
    """Return the variables that a template publishes or sets."""
    return tuple(template.source) if template is not None and isinstance(template.source, dict) else ()
