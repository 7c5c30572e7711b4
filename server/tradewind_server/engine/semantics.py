"""Versions of the engine's behaviour. An execution keeps the one it was started with, and so do its sub-workflows.

What has changed is asked here by its name, so that it can be found, and removed when no execution is left that needs
the old way.
"""

from __future__ import annotations

from tradewind_server.engine.state import Execution

#: Of new executions.
#:
#: 2: a join knows by a branch's descent of which round it is; in 1, also by whether its task has come before. What a
#: task publishes and its guards see it as it ends by `tasks()`, too; in 1 they see it run. A failure by fail-on
#: publishes what failures publish. fail-on, keep-result and safe-rerun are true or false; in 1 anything may be true.
CURRENT = 2


def knows_rounds_by_descent(state: Execution) -> bool:
    """Tell whether a branch that comes to a join twice, without a loop, is of one round."""
    return state.semantics_version >= 2


def tasks_show_the_own_end(state: Execution) -> bool:
    """Tell whether `tasks()` has the task that asks as `task()` has it while it ends."""
    return state.semantics_version >= 2


def fail_on_is_a_failure(state: Execution) -> bool:
    """Tell whether a failure by fail-on publishes what other failures publish."""
    return state.semantics_version >= 2


def conditions_are_booleans(state: Execution) -> bool:
    """Tell whether a policy that is a condition fails its task with a value that is neither true nor false."""
    return state.semantics_version >= 2
