"""Four eyes between human tasks: who is kept from one, since he has done another one or has it in hand."""

from __future__ import annotations

from collections.abc import Iterator

from tradewind_server.engine.rounds import is_superseded
from tradewind_server.engine.state import Execution, HumanTask, HumanTaskState
from tradewind_server.lang.specs import TaskSpec, WorkflowSpec


def did_other(spec: WorkflowSpec, state: Execution, task: int, user: str, *, is_done: bool = False) -> str:
    """Return why *user* is kept from *task*, "" if he is not: "who did task 'approve'", or "who has task 'approve'".

    With *is_done* only what he did counts: what he has in hand he may give back. Separation holds in both directions,
    whichever of the two tasks is done first.
    """
    for other in _others(spec, state, task):
        name, has_done = state.tasks[other.task].name, user in _who_did(other)
        concerns = has_done or (not is_done and user in _who_has(other))
        if concerns and not is_superseded(state, other, task):
            return f"who {'did' if has_done else 'has'} task '{name}'"
    return ""


def who_did_others(spec: WorkflowSpec, state: Execution, task: int) -> frozenset[str]:
    """Return whom *task* is separate from, since they have done another one."""
    found: set[str] = set()
    for other in _others(spec, state, task):
        did = _who_did(other)
        if not found.issuperset(did) and not is_superseded(state, other, task):
            found |= did
    return frozenset(found)


def kept_away(spec: WorkflowSpec, state: Execution, human_task: HumanTask) -> frozenset[str]:
    """Return who is not to be asked, whatever the reason; what somebody has in hand he may give back."""
    return who_did_others(spec, state, human_task.task).union(human_task.excluded)


def _others(spec: WorkflowSpec, state: Execution, task: int) -> Iterator[HumanTask]:
    separate = separate_from(spec, state.tasks[task].name)
    for other in state.human_tasks.values() if separate else ():
        if state.tasks[other.task].name in separate:
            yield other


def _who_did(other: HumanTask) -> frozenset[str]:
    """Return who has done it, also together with others. Who had it when the system decided is accountable for that."""
    if not other.done_by:
        return other.voters
    return other.voters | _who_has(other) | {other.done_by}


def _who_has(other: HumanTask) -> frozenset[str]:
    """Return who has it in hand, or lets another do it; what ended without a decision nobody has done."""
    return frozenset(() if other.state is HumanTaskState.CLOSED else other.holders)


def separate_from(spec: WorkflowSpec, mine: str) -> frozenset[str]:
    """Return the tasks that task *mine* is to be separate from, whichever of the two says so."""
    named = _named_separate(spec.tasks[mine])
    return frozenset(
        name for name, task in spec.tasks.items() if name != mine and (name in named or mine in _named_separate(task))
    )


def _named_separate(task: TaskSpec) -> tuple[str, ...]:
    return task.human.separate_from.tasks if task.human is not None else ()
