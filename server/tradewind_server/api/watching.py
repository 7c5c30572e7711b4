"""WatchExecution: snapshot, then everything after it, from memory where it can and from the table where it must."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Sequence
from typing import Any

from tradewind.v1 import execution_pb2
from tradewind.v1 import execution_service_pb2 as pb
from tradewind_server.api import convert, views
from tradewind_server.api.caller import namespace_of
from tradewind_server.api.sight import Sight
from tradewind_server.errors import ExecutionNotFound, RevisionAhead, ServerDraining
from tradewind_server.runtime.hub import Follower
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.store import loading, reads
from tradewind_server.store.filters import FINAL_STATES
from tradewind_server.store.records import StoredEvent

_FINAL = frozenset({"ExecutionSucceeded", "ExecutionFailed", "ExecutionCancelled"})
FINAL = frozenset(
    {
        execution_pb2.EXECUTION_STATE_SUCCEEDED,
        execution_pb2.EXECUTION_STATE_FAILED,
        execution_pb2.EXECUTION_STATE_CANCELLED,
    }
)
#: A quiet stream says that it is alive, and how far it is, this often.
_CHECKPOINT_SECONDS = 15.0
_PAGE = 500
_MOST_BYTES = 1024 * 1024
#: Larger ones are made for each watcher: hundreds of them would fill the memory.
_MOST_SHARED_BYTES = 64 * 1024


class Watching:
    """Follows executions for callers."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._sight = Sight(runtime)

    async def watch(self, request: pb.WatchExecutionRequest) -> AsyncIterator[pb.WatchExecutionResponse]:
        """Yield what the request asks for, and end after the event that ended the execution.

        Raises:
            ExecutionNotFound, RevisionAhead, ServerDraining.
        """
        namespace = namespace_of(request.namespace)
        given = convert.required("execution_id", request.execution_id)
        id_ = await self._runtime.read(lambda connection, _: reads.resolve_id(connection, namespace, given))
        if not id_:
            raise ExecutionNotFound(execution=given, field="execution_id")
        follower = self._runtime.hub.follow(id_)
        try:
            revision = request.after_revision
            if request.with_snapshot:
                messages, revision = await self._runtime.read(lambda c, d: _snapshot(self._sight, c, d, id_))
                for message in messages:
                    yield message
            if await self._is_over(id_, revision, request):
                return
            async for message in self._follow(follower, revision, is_silent=not request.with_snapshot):
                yield message
        finally:
            follower.close()

    async def _is_over(self, id_: str, revision: int, request: pb.WatchExecutionRequest) -> bool:
        row = await self._runtime.read(lambda connection, _: reads.execution_by_id(connection, id_))
        if revision > row.revision:
            raise RevisionAhead(execution=id_, revision=revision, newest=row.revision, field="after_revision")
        return row.state in FINAL_STATES and revision == row.revision

    async def _follow(
        self, follower: Follower, revision: int, *, is_silent: bool
    ) -> AsyncIterator[pb.WatchExecutionResponse]:
        id_, follower.revision = follower.execution_id, revision
        must_look = True
        # who opens a stream that has nothing to show learns at once that somebody is there
        patience = 0.0 if is_silent else _CHECKPOINT_SECONDS
        while True:
            events = follower.take()
            if not events and (must_look or follower.has_missed):
                follower.take_unseen()
                events = await self._page(id_, follower.revision)
                must_look = bool(events)
                if not events and await self._ended(id_, follower.revision):
                    return
            for message in _messages(await self._sight.seen(events)):
                yield message
            if events:
                follower.revision, patience = events[-1].revision, _CHECKPOINT_SECONDS
                if any(event.type in _FINAL for event in events) and await self._ended(id_, follower.revision):
                    return
            elif not await follower.wait(patience):
                patience = _CHECKPOINT_SECONDS
                now = convert.moment(self._runtime.clock.now())
                yield pb.WatchExecutionResponse(revision=follower.revision, checkpoint=pb.Checkpoint(at=now))
            elif self._runtime.is_draining:
                raise ServerDraining

    async def _ended(self, id_: str, revision: int) -> bool:
        row = await self._runtime.read(lambda connection, _: reads.execution_by_id(connection, id_))
        # late results may follow an end; a rerun may have revived it
        return row.state in FINAL_STATES and (row.revision == revision or row.output_revision <= revision)

    async def _page(self, id_: str, after: int) -> Sequence[StoredEvent]:
        return await self._runtime.read(lambda connection, _: loading.read_events(connection, id_, after, _PAGE))

    def follow(self, id_: str) -> Follower:
        """Wait for the end of an execution from now on; close it when that is over."""
        return self._runtime.hub.follow(id_, end_only=True)

    async def wait(self, follower: Follower, seconds: float, *, is_new: bool) -> execution_pb2.Execution:
        """Return the execution, with payloads, when it has ended or *seconds* are over.

        One that *is_new* has been followed since before it was started, so that the table need not be asked.

        Raises:
            ServerDraining: the server goes down first; the same request waits for the same execution at another one.
        """
        id_ = follower.execution_id
        end = self._runtime.clock.monotonic() + seconds
        if not is_new and (execution := await self._execution(id_)).state in FINAL:
            return execution
        while (left := end - self._runtime.clock.monotonic()) > 0:
            await follower.wait(left)
            ended = follower.take_end()
            if ended is not None:
                return await self._sight.snapshot(ended, views.ended(ended))
            if self._runtime.is_draining:
                raise ServerDraining
            if follower.take_unseen() and (execution := await self._execution(id_)).state in FINAL:
                return execution
        return await self._execution(id_)

    async def _execution(self, id_: str) -> execution_pb2.Execution:
        return await self._runtime.read(
            lambda c, d: views.executions(self._sight, c, d, [reads.execution_by_id(c, id_)], full=True)[0]
        )


def _messages(events: Sequence[StoredEvent]) -> Sequence[pb.WatchExecutionResponse]:
    """Return the events in messages that nobody changes: many who watch the same execution share them if small."""
    size = sum(len(event.body) for event in events)
    return _shared(tuple(events)) if size <= _MOST_SHARED_BYTES else _cut(events)


def _cut(events: Sequence[StoredEvent]) -> Sequence[pb.WatchExecutionResponse]:
    """Return the events cut by bytes; those of one command stay together where they fit."""
    messages: list[pb.WatchExecutionResponse] = []
    size = 0
    for event in events:
        if not messages or size + len(event.body) > _MOST_BYTES:
            if messages:
                messages[-1].continued = True
            messages.append(pb.WatchExecutionResponse())
            size = 0
        messages[-1].events.append(convert.shared_event(event))
        messages[-1].revision = event.revision
        size += len(event.body) + 200
    return messages


_shared = functools.lru_cache(256)(_cut)


def _snapshot(sight: Sight, connection: Any, dialect: Any, id_: str) -> tuple[list[pb.WatchExecutionResponse], int]:
    row = reads.execution_by_id(connection, id_)
    execution = views.executions(sight, connection, dialect, [row], full=True)[0]
    message = pb.WatchExecutionResponse(revision=row.revision, snapshot=pb.Snapshot(execution=execution))
    messages = [message]
    after = 0
    while rows := reads.tasks(connection, id_, [], _PAGE, after):
        for task in views.tasks(sight, connection, dialect, id_, rows, full=True):
            if messages[-1].ByteSize() + task.ByteSize() > _MOST_BYTES:
                messages[-1].continued = True
                messages.append(pb.WatchExecutionResponse(revision=row.revision, snapshot=pb.Snapshot()))
            messages[-1].snapshot.tasks.append(task)
        after = rows[-1].task_id
    return messages, row.revision
