"""Who is asked to do a human task, and what they are shown, as its definition says."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence

from tradewind_server.engine.decision import Decision
from tradewind_server.engine.policies import TaskError, dictionary
from tradewind_server.engine.scopes import item_of, task_scope
from tradewind_server.engine.state import HumanTask, Task
from tradewind_server.lang.expressions import Scope, Template
from tradewind_server.lang.specs import HumanSpec, Outcome
from tradewind_server.lang.values import Value, encode, to_text

#: Asked by name; more are a group.
_MOST_NAMES = 200


def shown_of(human: HumanSpec, scope: Scope) -> dict[str, object]:
    """Return everything that the person sees, which is the action's input."""
    return {
        "title": to_text(human.title.evaluate(scope)),
        "description": "" if human.description is None else to_text(human.description.evaluate(scope)),
        "show": dictionary(human.show, scope, "show"),
        "form": human.form,
        "outcomes": [_outcome(human, outcome) for outcome in human.outcomes],
    }


def _outcome(human: HumanSpec, outcome: Outcome) -> dict[str, object]:
    is_veto = human.quorum is not None and outcome.name in human.quorum.veto
    shown: dict[str, object] = {"name": outcome.name, "reason": "required" if outcome.needs_reason else "optional"}
    return {**shown, "veto": True} if is_veto else shown


def digest_of(d: Decision, action: int, shown: Value) -> str:
    """Return what names a part of what the human task of *action* shows.

    Without the library's key nobody can try whether he has guessed what that is, nor by having another human task show
    his guess.
    """
    named = f"{d.state.id}/a{action} ".encode() + encode(shown)
    return hmac.digest(d.library.etag_key, named, "sha256").hex()[:16]


def excluded_of(d: Decision, human: HumanSpec, scope: Scope) -> dict[str, str]:
    """Return who may never do it, whatever happens: user -> why."""
    separate, excluded = human.separate_from, {}
    if separate.initiator and d.state.initiator:
        excluded[d.state.initiator] = "who started the process"
    for template in separate.users:
        excluded.update(dict.fromkeys(names_of(template, scope, "separate_from"), "named in 'separate_from'"))
    return excluded


def asked_of(
    task: Task, human: HumanSpec, scope: Scope, why_not: Callable[[str], str]
) -> tuple[list[str], list[str], bool]:
    """Return users, groups and whether they are the fallback; without those whom *why_not* gives a reason against.

    Raises:
        TaskError: nobody is left.
    """
    users, groups = names_of(human.users, scope, "users"), names_of(human.groups, scope, "groups")
    allowed = [user for user in users if not why_not(user)]
    if allowed or groups:
        return allowed, groups, False
    return *fallback_of(task, human, scope, why_not, users), True


def fallback_of(
    task: Task, human: HumanSpec, scope: Scope, why_not: Callable[[str], str], users: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return users and groups who are asked where none of *users* may do it.

    Raises:
        TaskError: nobody is left.
    """
    fallback = names_of(human.fallback_users, scope, "fallback: users")
    groups = names_of(human.fallback_groups, scope, "fallback: groups")
    allowed = [user for user in fallback if not why_not(user)]
    if allowed or groups:
        return allowed, groups
    named = [*users, *fallback]
    why = "; ".join(f"'{user}' is excluded: {why_not(user)}" for user in named) or "no user and no group is named"
    raise TaskError(f"Nobody may do '{task.name}': {why}.")


def names_of(template: Template | None, scope: Scope, what: str) -> list[str]:
    """Return names in order, each once; nothing for null.

    Raises:
        TaskError: the value is something else.
    """
    value = None if template is None else template.evaluate(scope)
    values = [] if value is None else value if isinstance(value, list) else [value]
    if len(values) > _MOST_NAMES:
        raise TaskError(f"{what} must give at most {_MOST_NAMES} names, but gives {len(values)}")
    for name in values:
        if not isinstance(name, str) or not name or "\0" in name or len(name) > 255:
            raise TaskError(f"{what} must give names, but gives {type(name).__name__} {name!r:.40}")
    return list(dict.fromkeys(values))


def scope_of(d: Decision, human_task: HumanTask) -> Scope:
    """Return what the expressions of a human task see."""
    task, action = d.state.tasks[human_task.task], d.state.actions[human_task.id]
    return task_scope(d.spec, d.state, d.at, task.context, task, item_of(d.task_spec(task), task, action.index))


def id_of(d: Decision, human_task: HumanTask) -> str:
    """Return its id as callers know it."""
    return f"{d.state.id}/a{human_task.id}"


def spec_of(d: Decision, human_task: HumanTask) -> HumanSpec:
    """Return what its definition says."""
    human = d.task_spec(d.state.tasks[human_task.task]).human
    assert human is not None
    return human
