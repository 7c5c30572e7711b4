"""Rounds: what was done before a return for correction, and has been done anew since, counts no more."""

from __future__ import annotations

from tradewind_server.engine.state import Execution, HumanTask


def is_superseded(state: Execution, other: HumanTask, seen_from: int) -> bool:
    """Tell whether *other* was done again on the way from it to the task *seen_from*.

    What runs beside is no round: it counts, however new the rest is.
    """
    name, before = state.tasks[other.task].name, _before(state, seen_from)
    if other.task not in before:
        return False
    return any(
        newer.done_by
        and newer.task != other.task
        and newer.task in before
        and state.tasks[newer.task].name == name
        and other.task in _before(state, newer.task)
        for newer in state.human_tasks.values()
    )


def _before(state: Execution, task: int) -> set[int]:
    """Return the tasks that led to *task*."""
    found: set[int] = set()
    todo = [task]
    while todo:
        for parent in state.tasks[todo.pop()].parents:
            if parent not in found:
                found.add(parent)
                todo.append(parent)
    return found
