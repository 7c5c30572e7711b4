"""What an action may answer."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class After:
    """The result is due in some seconds; nothing happens until then."""

    seconds: float
    result: object


class ActionError(Exception):
    """The action failed; *details* is what `task().result` shows."""

    def __init__(self, message: str, *, details: object = None, code: str = "", retryable: bool = True) -> None:
        super().__init__(message)
        self.message = readable(message)
        self.details = details
        self.code = code
        self.retryable = retryable


def readable(text: str) -> str:
    """Return a text from outside as JSON can carry it: libraries keep bytes that are not UTF-8 as lone surrogates."""
    return text.encode("utf-8", "replace").decode()


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Which action of which execution is done."""

    workflow: str
    execution_id: str
    #: Such as t2.
    task: str
    #: Such as a3.
    action_id: str
