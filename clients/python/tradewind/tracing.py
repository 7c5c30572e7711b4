"""The trace that calls belong to: a W3C trace context, kept for the current thread or task."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

_current: contextvars.ContextVar[str] = contextvars.ContextVar("traceparent", default="")


def traceparent() -> str:
    """Return the trace context that calls carry now; "" for none. An action's function has that of its execution."""
    return _current.get()


@contextlib.contextmanager
def traced(traceparent: str) -> Iterator[None]:
    """Let the calls inside carry a W3C trace context, e.g. "00-…-…-01".

    An execution that is started so hands it on: to its events, its sub-workflows, and the workers of its actions.
    """
    before = _current.set(traceparent)
    try:
        yield
    finally:
        _current.reset(before)
