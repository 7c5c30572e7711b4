"""Legal state changes of execution, task, action and human task.

Rule 1: every one of them is a row here. Rule 2: nothing else is.

`evolve` does not check these tables, since it must be total; the tests check them after every scenario, and
`docs/state_machine.md` is made from them.
"""

from __future__ import annotations

from tradewind_server.engine.state import ActionState, ExecutionState, HumanTaskState, TaskState

EXECUTION: dict[ExecutionState, frozenset[ExecutionState]] = {
    ExecutionState.RUNNING: frozenset(ExecutionState) - {ExecutionState.RUNNING},
    ExecutionState.PAUSED: frozenset(ExecutionState) - {ExecutionState.PAUSED},
    ExecutionState.CANCELLING: frozenset({ExecutionState.CANCELLED}),
    ExecutionState.SUCCEEDED: frozenset(),
    # rerun and skip revive an execution
    ExecutionState.FAILED: frozenset({ExecutionState.RUNNING}),
    ExecutionState.CANCELLED: frozenset({ExecutionState.RUNNING}),
}

TASK: dict[TaskState, frozenset[TaskState]] = {
    TaskState.WAITING: frozenset(
        {TaskState.RUNNING, TaskState.DELAYED, TaskState.PAUSED, TaskState.FAILED, TaskState.CANCELLED}
    ),
    TaskState.DELAYED: frozenset(
        {TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.PAUSED}
    ),
    TaskState.PAUSED: frozenset({TaskState.RUNNING, TaskState.DELAYED, TaskState.FAILED, TaskState.CANCELLED}),
    # paused: its sub-workflow is
    TaskState.RUNNING: frozenset(
        {TaskState.DELAYED, TaskState.PAUSED, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED}
    ),
    TaskState.SUCCEEDED: frozenset(),
    # rerun, skip, and a join that another branch reaches after it was found impossible
    TaskState.FAILED: frozenset(
        {TaskState.RUNNING, TaskState.DELAYED, TaskState.PAUSED, TaskState.SKIPPED, TaskState.WAITING}
    ),
    TaskState.CANCELLED: frozenset({TaskState.RUNNING, TaskState.DELAYED, TaskState.PAUSED}),
    TaskState.SKIPPED: frozenset(),
}

ACTION: dict[ActionState, frozenset[ActionState]] = {
    ActionState.OPEN: frozenset({ActionState.SUCCEEDED, ActionState.FAILED, ActionState.CANCELLED}),
    ActionState.SUCCEEDED: frozenset(),
    # a sub-workflow that had ended was revived
    ActionState.FAILED: frozenset({ActionState.OPEN}),
    ActionState.CANCELLED: frozenset({ActionState.OPEN}),
}

HUMAN_TASK: dict[HumanTaskState, frozenset[HumanTaskState]] = {
    # completed at once: it expired, and the system decided
    HumanTaskState.OFFERED: frozenset({HumanTaskState.CLAIMED, HumanTaskState.COMPLETED, HumanTaskState.CLOSED}),
    # offered again: who had it gave it back
    HumanTaskState.CLAIMED: frozenset({HumanTaskState.OFFERED, HumanTaskState.COMPLETED, HumanTaskState.CLOSED}),
    HumanTaskState.COMPLETED: frozenset(),
    HumanTaskState.CLOSED: frozenset(),
}
