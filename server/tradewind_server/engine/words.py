"""The language's words for states (SUCCESS, ERROR ...), which expressions and `state` filters keep."""

from __future__ import annotations

from tradewind_server.engine.state import ActionState, ExecutionState, TaskState

EXECUTION_WORDS: dict[ExecutionState, str] = {
    ExecutionState.RUNNING: "RUNNING",
    ExecutionState.PAUSED: "PAUSED",
    ExecutionState.CANCELLING: "RUNNING",
    ExecutionState.SUCCEEDED: "SUCCESS",
    ExecutionState.FAILED: "ERROR",
    ExecutionState.CANCELLED: "CANCELLED",
}

TASK_WORDS: dict[TaskState, str] = {
    TaskState.WAITING: "WAITING",
    TaskState.DELAYED: "DELAYED",
    TaskState.PAUSED: "PAUSED",
    TaskState.RUNNING: "RUNNING",
    TaskState.SUCCEEDED: "SUCCESS",
    TaskState.FAILED: "ERROR",
    TaskState.CANCELLED: "CANCELLED",
    TaskState.SKIPPED: "SKIPPED",
}

ACTION_WORDS: dict[ActionState, str] = {
    ActionState.OPEN: "RUNNING",
    ActionState.SUCCEEDED: "SUCCESS",
    ActionState.FAILED: "ERROR",
    ActionState.CANCELLED: "CANCELLED",
}
