"""WatchActionLogs: what workers write about actions, as it comes, at the receiver's own pace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from tradewind.v1 import action_pb2
from tradewind.v1 import execution_service_pb2 as pb
from tradewind_server.api import convert, cursors, views
from tradewind_server.api.caller import namespace_of
from tradewind_server.api.pages import Pages
from tradewind_server.api.sight import Sight
from tradewind_server.errors import ActionNotFound, ExecutionNotFound, ServerDraining
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.runtime.waiting import wait
from tradewind_server.store import action_logs, reads
from tradewind_server.store.action_logs import Place, Stretch

#: A quiet stream says that it is alive, and how far it is, this often.
CHECKPOINT_SECONDS = 15.0
#: Lines read at once.
LINES = 200
_MOST_BYTES = 1024 * 1024
#: What an older transaction holds back is looked for again after this long, and then ever more rarely.
_HELD_SECONDS = 0.005
_HELD_MOST_SECONDS = 0.25


class ActionLogWatching:
    """Follows the logs of actions for callers."""

    def __init__(self, runtime: Runtime, pages: Pages) -> None:
        self._runtime = runtime
        self._pages = pages
        self._sight = Sight(runtime)

    async def watch(self, request: pb.WatchActionLogsRequest) -> AsyncIterator[pb.WatchActionLogsResponse]:
        """Yield what the request asks for, and end when nothing can follow.

        Raises:
            FieldInvalid, ExecutionNotFound, ActionNotFound, CursorInvalid, ServerDraining.
        """
        runtime = self._runtime
        action_id = convert.number_of("action_id", request.action_id, "a") if request.action_id else 0
        of = (await runtime.read(lambda connection, _: _execution(connection, request, action_id)), action_id)
        place = cursors.log_place(self._pages, of, request.cursor)
        clock, due, pause = runtime.clock, runtime.clock.monotonic(), _HELD_SECONDS
        with runtime.log_followers.one_of(of[0]) as woken:
            while True:
                if runtime.is_draining:
                    raise ServerDraining
                woken.clear()
                stretch, lines = await self._next(of, place)
                for message in self._messages(of, stretch, lines):
                    yield message
                    due, pause = clock.monotonic() + CHECKPOINT_SECONDS, _HELD_SECONDS
                place = stretch.end
                if stretch.is_cut:
                    continue
                if stretch.is_over:
                    return
                await wait(woken, min(pause, due - clock.monotonic()) if stretch.is_held else due - clock.monotonic())
                pause = min(2 * pause, _HELD_MOST_SECONDS)
                if clock.monotonic() >= due:
                    at = pb.Checkpoint(at=convert.moment(clock.now()))
                    yield pb.WatchActionLogsResponse(cursor=self._cursor(of, place), checkpoint=at)
                    due = clock.monotonic() + CHECKPOINT_SECONDS

    async def _next(self, of: tuple[str, int], place: Place) -> tuple[Stretch, Sequence[action_pb2.LogLine]]:
        database = self._runtime.database

        def work(connection: sa.Connection, _: Any) -> tuple[Stretch, Sequence[action_pb2.LogLine]]:
            # it may be removed while it is followed: then nothing is as it was
            reads.execution_by_id(connection, of[0])
            stretch = action_logs.read(database, connection, *of, place, LINES)
            return stretch, views.log_lines(self._sight, connection, of[0], stretch.rows)

        return await self._runtime.read(work)

    def _messages(
        self, of: tuple[str, int], stretch: Stretch, lines: Sequence[action_pb2.LogLine]
    ) -> Iterator[pb.WatchActionLogsResponse]:
        """Yield *lines* cut by bytes."""
        message, size = pb.WatchActionLogsResponse(), 0
        for n, line in enumerate(lines):
            if size and size + line.ByteSize() > _MOST_BYTES:
                message.cursor = self._cursor(of, action_logs.place_after(stretch.rows[n - 1]))
                yield message
                message, size = pb.WatchActionLogsResponse(), 0
            message.lines.append(line)
            size += line.ByteSize()
        if lines:
            message.cursor = self._cursor(of, stretch.end)
            yield message

    def _cursor(self, of: tuple[str, int], place: Place) -> str:
        return cursors.log_cursor(self._pages, of, place)


def _execution(connection: sa.Connection, request: pb.WatchActionLogsRequest, action_id: int) -> str:
    """Return the id of the execution.

    Raises:
        ExecutionNotFound, ActionNotFound.
    """
    namespace = namespace_of(request.namespace)
    given = convert.required("execution_id", request.execution_id)
    id_ = reads.resolve_id(connection, namespace, given)
    if not id_:
        raise ExecutionNotFound(execution=given, field="execution_id")
    if action_id and not action_logs.has_action(connection, id_, action_id):
        raise ActionNotFound(action=request.action_id, execution=id_, field="action_id")
    return id_
