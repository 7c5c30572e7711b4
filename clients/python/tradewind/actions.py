"""What a worker's author writes against: the functions' registration, their context, their failures."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from tradewind import values
from tradewind.v1 import action_callback_pb2 as v1
from tradewind.v1 import action_pb2, failure_pb2, payload_pb2
from tradewind.work_session import MAX_BYTES, Held

F = TypeVar("F", bound=Callable[..., Any])

#: Most characters of what people read: the message of a failure, how far an action is.
_LONGEST = 10_000


class ActionFailed(Exception):
    """Raised by an action's function: it has failed, and this is what the process may know.

    Args:
        code: machine-readable, in UPPER_SNAKE, e.g. "ACCOUNT_CLOSED".
        message: one sentence for people.
        retryable: whether trying again can help; False goes past the task's retry policy.
        details: any JSON value.
    """

    def __init__(self, code: str, message: str = "", *, retryable: bool = True, details: values.Value = None) -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message or code
        self.retryable = retryable
        self.details = details


class ActionContext:
    """What an action's function may know about its call, and say while it works.

    A function that has a parameter named `context` gets one. It may be used from any thread.
    """

    def __init__(self, offer: v1.Offer, held: Held) -> None:
        self._offer = offer
        self._held = held
        self._logging = threading.Lock()
        self._cancelled = threading.Event()

    @property
    def execution_id(self) -> str:
        """Id of the execution."""
        return self._offer.execution_id

    @property
    def action_id(self) -> str:
        """Id of the action in its execution."""
        return self._offer.action_id

    @property
    def task(self) -> str:
        """Name of the task."""
        return self._offer.task

    @property
    def workflow(self) -> str:
        """Name of the workflow."""
        return self._offer.workflow

    @property
    def business_key(self) -> str:
        """Business key of the execution; "" if it has none."""
        return self._offer.business_key

    @property
    def attempt(self) -> int:
        """Attempt, from 1."""
        return self._offer.attempt

    @property
    def item_index(self) -> int | None:
        """Index of the item, from 0; None if the task has no items."""
        return self._offer.item_index if self._offer.HasField("item_index") else None

    @property
    def idempotency_key(self) -> str:
        """The same over all attempts; give it to systems that must act once only."""
        return self._offer.idempotency_key

    @property
    def traceparent(self) -> str:
        """W3C trace context of the execution, which calls made in the function carry; "" if it is not traced."""
        return self._offer.traceparent

    @property
    def timeout(self) -> timedelta | None:
        """Time that the attempt had when it was offered; None if it has no timeout."""
        return self._offer.timeout_left.ToTimedelta() if self._offer.HasField("timeout_left") else None

    @property
    def checkpoint(self) -> values.Value:
        """What an earlier attempt stored last; None if none did."""
        return values.from_payload(self._offer.checkpoint) if self._offer.HasField("checkpoint") else None

    @property
    def is_cancelled(self) -> bool:
        """Whether to stop: the action was cancelled, or its lease is lost."""
        return self._cancelled.is_set()

    def wait_cancelled(self, timeout: float) -> bool:
        """Sleep *timeout* seconds, or less if the action is cancelled; return whether it is."""
        return self._cancelled.wait(timeout)

    def heartbeat(self, progress: str = "", checkpoint: values.Value = None) -> None:
        """Say how far it is, with the next beat; *checkpoint* is what the next attempt would begin with.

        The lease is renewed without this.

        Raises:
            NotCarried: the checkpoint is no JSON value, or fits in no message.
        """
        self._held.progress = _sendable(progress) or self._held.progress
        self._held.checkpoint = self._held.checkpoint if checkpoint is None else _fitting(checkpoint, "a checkpoint")

    def log(self, message: str, level: str = "INFO") -> None:
        """Write a line into the action's log, which operators read (`tradewind actions logs`), with the next beat.

        The server keeps the first 1,000 lines of an offer, unless it is set otherwise, and 4,096 characters of each; it
        is for what an operator wants to know, not for a program's whole log.

        Args:
            message: the line.
            level: "DEBUG", "INFO", "WARNING" or "ERROR".

        Raises:
            ValueError: there is no such level.
        """
        line = action_pb2.LogLine(
            level=action_pb2.LogLevel.Value(f"LOG_LEVEL_{level.upper()}"), message=_sendable(message)[:4096]
        )
        line.at.GetCurrentTime()
        with self._logging:
            line.number = len(self._held.logs) + 1
            if line.number <= self._held.max_log_lines:
                self._held.logs.append(line)

    def cancel(self) -> None:
        """Tell the function to stop."""
        self._cancelled.set()


def _fitting(value: values.Value, what: str) -> payload_pb2.Payload:
    payload = values.to_payload(value)
    if len(payload.data) > MAX_BYTES:
        # It would break the stream for all, again and again.
        raise values.NotCarried(f"Expected {what} of at most {MAX_BYTES} bytes, but it has {len(payload.data)}.")
    return payload


def _sendable(words: object) -> str:
    """Return *words* as a message can carry them: names of files, for one, may hold what is no UTF-8."""
    try:
        text = str(words)
    except Exception:
        text = ""
    return text[:_LONGEST].encode(errors="replace").decode()


@dataclass(frozen=True, slots=True)
class Registered:
    """A function that does an action."""

    name: str
    function: Callable[..., Any]
    concurrency: int
    is_async: bool
    #: Whether it runs on the event loop: quick, and never blocking.
    inline: bool
    wants_context: bool


def register(function: Callable[..., Any], name: str, inline: bool, concurrency: int) -> Registered:
    """Look at a function once, so that a call need not."""
    is_async = inspect.iscoroutinefunction(function)
    if inline and is_async:
        raise TypeError("Expected inline only on a plain function, but it is a coroutine function.")
    wants_context = "context" in inspect.signature(function).parameters
    return Registered(name, function, concurrency, is_async, inline, wants_context)


def read_input(offer: v1.Offer) -> Mapping[str, values.Value]:
    """Decode an offer's input, which is an object of keyword arguments."""
    return values.from_payload(offer.input) or {}


def succeeded(token: bytes, value: values.Value) -> v1.ActionResult:
    """Make the result of a function that returned."""
    payload = values.to_payload(value)
    if len(payload.data) > MAX_BYTES:
        # It would break the stream for all; the server's own limit is lower and says so by a receipt.
        raise ActionFailed("PAYLOAD_TOO_LARGE", f"The result has {len(payload.data)} bytes.", retryable=False)
    return v1.ActionResult(token=token, result=payload)


def failed(token: bytes, error: BaseException) -> v1.ActionResult:
    """Make the result of a function that raised. Nothing is refused: an action without a result would never end."""
    if not isinstance(error, ActionFailed):
        name = type(error).__name__
        failure = failure_pb2.Failure(code=_code(name), message=_sendable(error) or name, retryable=True)
        return v1.ActionResult(token=token, failure=failure)
    failure = failure_pb2.Failure(
        code=_sendable(error.code), message=_sendable(error.message), retryable=bool(error.retryable)
    )
    if error.details is not None:
        try:
            failure.details.CopyFrom(_fitting(error.details, "details"))
        except values.NotCarried as problem:
            failure.message += f" (its details are left out: {problem})"
    return v1.ActionResult(token=token, failure=failure)


def cancelled(token: bytes) -> v1.ActionResult:
    """Make the result of a function that was told to stop, and did."""
    failure = failure_pb2.Failure(code="CANCELLED", message="The worker stopped it, as ordered.", retryable=False)
    return v1.ActionResult(token=token, failure=failure)


def _code(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()
