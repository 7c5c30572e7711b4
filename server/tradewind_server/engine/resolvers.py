"""Who is asked, by the word of an action: it runs first, as an ordinary action of the task, and its result are names.

Retries, timeouts and failures hold for it as for any action. People are asked in the decision that takes its result.
"""

from __future__ import annotations

import dataclasses

from tradewind_server.engine import events as e
from tradewind_server.engine.decision import Decision
from tradewind_server.engine.state import Action, ActionState, Task
from tradewind_server.lang.expressions import Template
from tradewind_server.lang.specs import HumanSpec, Resolver, TaskSpec

#: Kind of its actions.
KIND = "resolver"


def said(d: Decision, task: Task, human: HumanSpec, index: int, last: Action | None) -> list[Action]:
    """Return the actions that have said who does item *index*, in that order; *last* is the newest of them."""
    if last is None or len(human.resolvers) == 1:
        return [] if last is None else [last]
    # few human tasks have two
    return [
        action
        for action in d.state.actions.values()
        if (action.task, action.index, action.kind) == (task.id, index, KIND)
        and action.task_attempt == task.attempt
        and action.state is ActionState.SUCCEEDED
    ]


def call_of(spec: TaskSpec, resolver: Resolver) -> TaskSpec:
    """Return what is called to hear who is asked by the human task *spec*."""
    return TaskSpec(spec.name, spec.line, callee=resolver.action, input=resolver.input, timeout=spec.timeout)


def with_names(spec: TaskSpec, human: HumanSpec, actions: list[Action]) -> TaskSpec:
    """Return *spec* with the names that *actions* gave."""
    for (field, _), action in zip(human.resolvers, actions, strict=True):
        names = Template.constant(action.result)
        is_users = field == "users"
        human = dataclasses.replace(human, users=names) if is_users else dataclasses.replace(human, groups=names)
    return dataclasses.replace(spec, human=human) if actions else spec


def tell(d: Decision, task: Task, human: HumanSpec, actions: list[Action]) -> None:
    """Write down who said who is asked to do the human task that was offered last."""
    words = [
        f"{field} by '{action.name}' (a{action.id})"
        for (field, _), action in zip(human.resolvers, actions, strict=True)
    ]
    if words:
        d.emit(e.HumanTaskResolved(d.state.last_action, task.id, ", ".join(words)))
