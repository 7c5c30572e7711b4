"""Versions of the engine's behaviour. An execution keeps the one it was started with, and so do its sub-workflows.

What has changed is asked here by its name, so that it can be found, and removed when no execution is left that needs
the old way.
"""

from __future__ import annotations

from tradewind_server.engine.state import Execution

#: Of new executions.
#:
#: 2: a join knows by a branch's descent of which round it is; in 1, also by whether its task has come before.
CURRENT = 2


def knows_rounds_by_descent(state: Execution) -> bool:
    """Tell whether a branch that comes to a join twice, without a loop, is of one round."""
    return state.semantics_version >= 2
