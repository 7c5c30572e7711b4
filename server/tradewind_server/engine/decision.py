"""One decision in the making: the events so far, and what is still to be followed up."""

from __future__ import annotations

import collections
import re
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from tradewind_server.engine import events as e
from tradewind_server.engine.codec import encode_event
from tradewind_server.engine.evolve import create, evolve
from tradewind_server.engine.library import Library
from tradewind_server.engine.policies import TaskError
from tradewind_server.engine.state import Execution, Task
from tradewind_server.lang.specs import TaskSpec, WorkflowSpec
from tradewind_server.lang.values import ValueProblem

#: One decision goes on in a next one, through a timer that is due at once, when it has emitted this many events:
#: a row like any other cause, so that a fan-out of 10,000 does not hold up everybody else.
FAN_OUT = 500

#: Events that hold data of the caller or of expressions; one that is too large is refused before it happens.
_HOLDS_DATA = (
    e.ExecutionStarted,
    e.ExecutionSucceeded,
    e.TaskStarted,
    e.ActionScheduled,
    e.ActionSucceeded,
    e.TaskSucceeded,
    e.TaskFailed,
    e.TaskSkipped,
    e.HumanTaskDraftSaved,
)

#: (target, message) of a transition whose guard was true.
Target = tuple[str, str]

#: A NUL in JSON.
_NUL = b"\\u0000"
#: NUL, and halves of characters.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def _storable(event: e.Event) -> e.Event:
    """Return *event* with a message that every database can hold as text; values are stored as bytes."""
    message = getattr(event, "message", None)
    clean = _UNSTORABLE.sub("\ufffd", message or "")
    return event if clean == (message or "") else msgspec.structs.replace(event, message=clean)


def _whole(value: object) -> object:
    """Return *value* with a stand-in for each half of a character, which no JSON in UTF-8 can hold."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {_whole(key): _whole(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_whole, value))
    return value


def _mended(event: e.Event) -> e.Event:
    """Return *event* as it can be written.

    Raises:
        TaskError: it can be refused, and holds what no JSON can.
    """
    event = _storable(event)
    try:
        encode_event(event)
    except ValueProblem as problem:
        if isinstance(event, _HOLDS_DATA):
            raise TaskError(f"{type(event).__name__} cannot be written: {problem}") from None
        fields = {name: _whole(getattr(event, name)) for name in event.__struct_fields__}
        return msgspec.structs.replace(event, **fields)
    return event


class Decision:
    """Collects events; each is applied to the state at once, so that later steps see it."""

    __slots__ = (
        "at", "bodies", "contents", "dropped", "events", "known_actions", "known_tasks", "library", "spec", "state",
        "todo",
    )  # fmt: skip

    #: As evolved by the events so far. Before ExecutionStarted there is none, and nothing may look at it.
    state: Execution

    def __init__(self, spec: WorkflowSpec, state: Execution | None, library: Library, at: datetime) -> None:
        self.spec = spec
        #: The counters before this decision: tasks and actions above them are new.
        self.known_tasks = self.known_actions = 0
        if state is not None:
            self.state = state
            self.known_tasks, self.known_actions = state.last_task, state.last_action
        self.library = library
        # Inside an execution time never goes back.
        self.at = max(at, state.updated_at) if state is not None else at
        self.events: list[e.Event] = []
        #: The events as they are stored.
        self.bodies: list[bytes] = []
        #: Files that came with an event, by its revision: they are stored beside it.
        self.contents: dict[int, bytes] = {}
        #: Revisions of events whose files are kept no more.
        self.dropped: list[int] = []
        #: Transitions still to take: (task id or 0 for the start, targets). A negative id: look again at that join.
        self.todo: collections.deque[tuple[int, list[Target]]] = collections.deque()

    def emit(self, event: e.Event) -> None:
        """Record *event* and apply it.

        Raises:
            TaskError: what it holds of the caller's data is too large, or no JSON; nothing was recorded.
        """
        try:
            body = encode_event(event)
        except ValueProblem:
            event = _mended(event)
            body = encode_event(event)
        if _NUL in body:
            event = _storable(event)
            body = encode_event(event)
        limit = self.library.max_payload_bytes
        if len(body) > limit and isinstance(event, _HOLDS_DATA):
            raise TaskError(f"{type(event).__name__} holds {len(body)} bytes; the limit is {limit} (max_payload_bytes)")
        if isinstance(event, e.ExecutionStarted):
            self.state = create(event, self.at)
        else:
            evolve(self.state, event, self.at)
        self.events.append(event)
        self.bodies.append(body)

    def task_spec(self, task: Task) -> TaskSpec:
        """Return the spec of *task*, with the form that it names."""
        spec = self.spec.tasks[task.name]
        return spec if spec.human is None or not spec.human.form_name else self.library.with_form(self.spec, spec)

    def set_timer(self, purpose: str, seconds: int, task: int = 0) -> None:
        """Let the execution go on by itself in *seconds*."""
        self.set_timer_at(purpose, self.at + timedelta(seconds=seconds), task)

    def set_timer_at(self, purpose: str, due: datetime, task: int) -> None:
        """Let the execution go on by itself at *due*."""
        self.emit(e.TimerSet(self.state.last_timer + 1, purpose, due, task))

    def end_timers(self, task: Task) -> None:
        """Drop the timers of *task*."""
        for timer in list(task.timers.values()):
            self.emit(e.TimerEnded(timer))

    @property
    def is_full(self) -> bool:
        """Tell whether the rest should go into a next decision."""
        return len(self.events) >= FAN_OUT
