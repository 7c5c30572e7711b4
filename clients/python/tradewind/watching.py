"""Where a watcher stands: what to ask for, what it has seen, whether something is missing. No I/O.

Revisions have no gaps, so loss and repetition are seen by arithmetic. A face opens a stream with `request()`, feeds
every response to `receive()`, and opens the next one the same way when a stream breaks.
"""

from __future__ import annotations

from typing import Any, Protocol, TypedDict, TypeVar

from tradewind.models import (
    Action,
    ActionLogUpdate,
    Event,
    Execution,
    Exported,
    LogLine,
    LogUpdate,
    Snapshot,
    Task,
    Update,
)
from tradewind.v1 import event_pb2, execution_service_pb2

T_co = TypeVar("T_co", covariant=True)


class Following(Protocol[T_co]):
    """What a face needs of a position, to follow it."""

    #: Name of the service, and of the method.
    service: str
    method: str
    #: Whether a stream that ends well is the end.
    ends: bool

    def request(self) -> Any:
        """Build the request that continues exactly after what was passed on."""

    def receive(self, response: Any) -> T_co | None:
        """Take one response; return what is new in it, or None."""


class GapFound(Exception):
    """The stream left events out; open it again."""


class Watch:
    """The position of one watcher of an execution.

    Attributes:
        revision: the last revision that was passed on; 0 before the first.
    """

    service = "ExecutionService"
    method = "WatchExecution"
    #: A stream that ends well is the end of the watch.
    ends = True

    def __init__(self, namespace: str, execution_id: str, after_revision: int = 0, with_snapshot: bool = False) -> None:
        self._namespace = namespace
        self._execution_id = execution_id
        self._wants_snapshot = with_snapshot
        self._execution: Execution | None = None
        self._tasks: list[Task] = []
        self.revision = after_revision

    def request(self) -> execution_service_pb2.WatchExecutionRequest:
        """Build the request that continues exactly after what was passed on, and forget half a snapshot."""
        self._execution, self._tasks = None, []
        request = execution_service_pb2.WatchExecutionRequest(
            namespace=self._namespace, execution_id=self._execution_id
        )
        if self._wants_snapshot:
            request.with_snapshot = True
        else:
            request.after_revision = self.revision
        return request

    def receive(self, response: execution_service_pb2.WatchExecutionResponse) -> Update | None:
        """Take one response; return what is new in it, or None.

        Raises:
            GapFound: events are missing before it.
        """
        if response.HasField("snapshot"):
            return self._receive_snapshot(response)
        events = tuple(Event.read(event) for event in response.events if event.revision > self.revision)
        if not events:
            return None
        if [event.revision for event in events] != list(range(self.revision + 1, self.revision + 1 + len(events))):
            raise GapFound(f"expected revision {self.revision + 1}, got {events[0].revision}")
        self.revision = events[-1].revision
        return Update(self.revision, events)

    def _receive_snapshot(self, response: execution_service_pb2.WatchExecutionResponse) -> Update | None:
        if response.snapshot.HasField("execution"):
            self._execution = Execution.read(response.snapshot.execution)
        self._tasks.extend(Task.read(task) for task in response.snapshot.tasks)
        if response.continued or self._execution is None:
            return None
        self._wants_snapshot = False
        self.revision = response.revision
        return Update(self.revision, snapshot=Snapshot(self._execution, tuple(self._tasks)))


class LogOptions(TypedDict, total=False):
    """Where a watch of a namespace starts, and what it leaves out; without a start it begins now."""

    #: Go on after the update that had this cursor.
    cursor: str
    #: Start at the beginning of the log.
    from_beginning: bool
    #: Start with the open executions, then everything after that.
    with_snapshot: bool
    #: When behind, only the newest state of each execution and task.
    coalesce: bool


class LogWatch:
    """The position of one watcher of a namespace.

    Attributes:
        cursor: where to resume; "" before the first response.
    """

    service = "ExecutionService"
    method = "WatchEvents"
    #: A log has no end: whoever ends the stream means another to be opened.
    ends = False

    def __init__(self, namespace: str, filter: str, options: LogOptions) -> None:
        self._request = execution_service_pb2.WatchEventsRequest(
            namespace=namespace, filter=filter, coalesce=options.get("coalesce", False)
        )
        if options.get("from_beginning"):
            self._request.from_beginning = True
        elif options.get("with_snapshot"):
            self._request.with_snapshot = True
        self._snapshot: list[Execution] = []
        #: Revisions that the snapshot showed: after a reconnect the events up to there may come as well.
        self._shown: dict[str, int] = {}
        self.cursor = options.get("cursor", "")

    def request(self) -> execution_service_pb2.WatchEventsRequest:
        """Build the request that continues exactly after what was passed on, and forget half a snapshot."""
        if self.cursor:
            self._request.cursor = self.cursor
        else:
            self._snapshot.clear()
            self._shown.clear()
        return self._request

    def receive(self, response: execution_service_pb2.WatchEventsResponse) -> LogUpdate | None:
        """Take one response; return what is new in it, or None.

        A snapshot is passed on when it is whole: of one that broke off, some executions may have ended before the next.
        """
        self._snapshot.extend(map(Execution.read, response.snapshot))
        self._shown.update({execution.id: execution.revision for execution in response.snapshot})
        if response.continued:
            return None
        events = tuple(Event.read(event) for event in response.events if self._is_new(event))
        executions, self._snapshot = tuple(self._snapshot), []
        self.cursor = response.cursor
        return LogUpdate(
            response.cursor,
            events,
            executions,
            response.coalesced,
            response.checkpoint.lag.ToTimedelta().total_seconds(),
            response.checkpoint.held_by,
        )

    def _is_new(self, event: event_pb2.Event) -> bool:
        shown = self._shown.get(event.execution_id, 0)
        if shown and event.revision >= shown:
            del self._shown[event.execution_id]
        return event.revision > shown


class ActionLogWatch:
    """The position of one who follows the logs of an execution's actions.

    Attributes:
        cursor: where to resume; "" before the first line.
    """

    service = "ExecutionService"
    method = "WatchActionLogs"
    #: A stream that ends well has sent everything, and nothing follows.
    ends = True

    def __init__(self, namespace: str, execution_id: str, action_id: str, cursor: str) -> None:
        self._request = execution_service_pb2.WatchActionLogsRequest(
            namespace=namespace, execution_id=execution_id, action_id=action_id
        )
        self.cursor = cursor

    def request(self) -> execution_service_pb2.WatchActionLogsRequest:
        """Build the request that continues exactly after what was passed on."""
        self._request.cursor = self.cursor
        return self._request

    def receive(self, response: execution_service_pb2.WatchActionLogsResponse) -> ActionLogUpdate | None:
        """Take one response; return what is new in it, or None."""
        self.cursor = response.cursor
        return ActionLogUpdate(response.cursor, tuple(map(LogLine.read, response.lines))) if response.lines else None


class Export:
    """How far an export has come.

    Attributes:
        cursor: where to resume; "" before the first execution is whole.
    """

    service = "ExecutionService"
    method = "ExportExecutions"
    #: A stream that ends well has sent all.
    ends = True

    def __init__(self, namespace: str, filter: str, cursor: str) -> None:
        self._request = execution_service_pb2.ExportExecutionsRequest(namespace=namespace, filter=filter)
        self._whole = execution_service_pb2.ExportExecutionsResponse()
        self.cursor = cursor

    def request(self) -> execution_service_pb2.ExportExecutionsRequest:
        """Build the request that continues after the last whole execution, and forget half of one."""
        self._whole.Clear()
        self._request.cursor = self.cursor
        return self._request

    def receive(self, response: execution_service_pb2.ExportExecutionsResponse) -> Exported | None:
        """Take one response; return an execution when it is whole."""
        whole = self._whole
        whole.MergeFrom(response)
        if not response.cursor:
            return None
        self.cursor = response.cursor
        exported = Exported(
            Execution.read(whole.execution),
            tuple(map(Task.read, whole.tasks)),
            tuple(map(Action.read, whole.actions)),
            tuple(map(Event.read, whole.events)),
            self.cursor,
        )
        self._whole = execution_service_pb2.ExportExecutionsResponse()
        return exported
