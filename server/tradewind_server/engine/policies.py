"""Evaluating what a task's definition asks for: a value of the wrong type is that task's error (R12)."""

from __future__ import annotations

from tradewind_server.engine.semantics import conditions_are_booleans
from tradewind_server.engine.state import Execution
from tradewind_server.lang.expressions import ExpressionError, Scope, Template
from tradewind_server.lang.values import is_truthy


class TaskError(Exception):
    """A task cannot do what its definition says; its on-error may answer that."""


#: Longest wait, and most of anything that is counted: a hundred years of seconds.
MOST_SECONDS = 100 * 366 * 24 * 3600

#: What a task may do wrong at run time.
TASK_ERRORS = (ExpressionError, TaskError)


def whole_number(template: Template | None, scope: Scope, what: str) -> int:
    """Return a whole number of at least 0; 0 when *template* is None.

    Raises:
        TaskError: the value is something else.
    """
    if template is None:
        return 0
    value = template.evaluate(scope)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TaskError(f"{what} must be a whole number of at least 0, but is {type(value).__name__} {value!r:.40}")
    if value > MOST_SECONDS:
        raise TaskError(f"{what} must be at most {MOST_SECONDS}, but is {value}")
    return value


def truth(template: Template | None, scope: Scope, what: str) -> bool:
    """Return a boolean; False when *template* is None.

    Raises:
        TaskError: the value is something else.
    """
    if template is None:
        return False
    value = template.evaluate(scope)
    if not isinstance(value, bool):
        raise TaskError(f"{what} must be true or false, but is {type(value).__name__} {value!r:.40}")
    return value


def holds(template: Template | None, scope: Scope, what: str, state: Execution, *, default: bool) -> bool:
    """Return whether a condition holds; *default* when *template* is None.

    Raises:
        TaskError: its value is neither true nor false.
    """
    if template is None:
        return default
    if conditions_are_booleans(state):
        return truth(template, scope, what)
    return is_truthy(template.evaluate(scope))


def dictionary(template: Template | None, scope: Scope, what: str) -> dict[str, object]:
    """Return a dictionary with text keys; empty when *template* is None.

    Raises:
        TaskError: the value is something else.
    """
    if template is None:
        return {}
    value = template.evaluate(scope)
    if not isinstance(value, dict):
        raise TaskError(f"{what} must give a dictionary, but gives {type(value).__name__}")
    return {key if isinstance(key, str) else _key_text(key): item for key, item in value.items()}


def _key_text(key: object) -> str:
    # R31: as JSON writes them
    if key is None:
        return "null"
    return str(key).lower() if isinstance(key, bool) else str(key)
