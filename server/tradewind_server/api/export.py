"""ExportExecutions: whole executions, one after the other, each in pieces that fit into messages."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Sequence
from typing import Any

import sqlalchemy as sa

from tradewind.v1 import execution_service_pb2 as pb
from tradewind_server.api import convert, views
from tradewind_server.api.caller import namespace_of
from tradewind_server.api.pages import Pages, fill
from tradewind_server.api.sight import Sight, terms_of
from tradewind_server.errors import CursorInvalid, PageTokenInvalid, ServerDraining
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.store import listing, loading, reads
from tradewind_server.store.statements import Dialect

#: Executions looked up at once, and most tasks, actions or events in one message.
_EXECUTIONS, _PARTS = 100, 500


async def export(
    runtime: Runtime, pages: Pages, request: pb.ExportExecutionsRequest
) -> AsyncIterator[pb.ExportExecutionsResponse]:
    """Yield what the request asks for.

    Raises:
        FilterInvalid, SearchUnbounded, CursorInvalid, ServerDraining.
    """
    namespace = namespace_of(request.namespace)
    terms = terms_of(request.filter)
    sight = Sight(runtime)
    query, order = ("export", namespace, request.filter), listing.order_of(terms)
    try:
        after: Sequence[object] = pages.position(query, request.cursor)
    except PageTokenInvalid:
        raise CursorInvalid(field="cursor") from None
    while True:
        rows = await runtime.read(functools.partial(_page, namespace, terms, after))
        for row in rows:
            if runtime.is_draining:
                raise ServerDraining
            after = [getattr(row, name) for name in order]
            async for message in _whole(runtime, sight, row.id, pages.token(query, after)):
                yield message
        if len(rows) < _EXECUTIONS:
            return


def _page(
    namespace: str, terms: Sequence[Any], after: Sequence[object], connection: sa.Connection, _: Dialect
) -> Sequence[Any]:
    return listing.executions(connection, namespace, terms, _EXECUTIONS, after)


async def _whole(runtime: Runtime, sight: Sight, id_: str, cursor: str) -> AsyncIterator[pb.ExportExecutionsResponse]:
    """Yield one execution; nothing if it is no longer kept."""
    begun = await runtime.read(functools.partial(_begin, sight, id_))
    if not begun:
        return
    for message in begun:
        yield message
    for kind in _KINDS:
        # what was small came as of one moment; the rest of what is large comes piece by piece
        part = getattr(next((m for m in begun if getattr(m, kind)), None), kind, ())
        while part:
            message = await runtime.read(functools.partial(_part, sight, id_, kind, _number(part[-1])))
            part = getattr(message, kind)
            if part:
                yield message
    yield pb.ExportExecutionsResponse(cursor=cursor)


def _begin(sight: Sight, id_: str, connection: sa.Connection, dialect: Dialect) -> list[pb.ExportExecutionsResponse]:
    """Return the execution, and the first of its tasks, actions and events."""
    rows = reads.executions_by_ids(connection, [id_])
    if not rows:
        return []
    [execution] = views.executions(sight, connection, dialect, rows, full=True)
    first = [_part(sight, id_, kind, 0, connection, dialect) for kind in _KINDS]
    return [pb.ExportExecutionsResponse(execution=execution), *(m for m in first if m.ByteSize())]


def _part(
    sight: Sight, id_: str, kind: str, after: int, connection: sa.Connection, dialect: Dialect
) -> pb.ExportExecutionsResponse:
    rows = _KINDS[kind](connection, id_, after)

    def make(some: Sequence[Any]) -> Sequence[Any]:
        if kind == "tasks":
            return views.tasks(sight, connection, dialect, id_, some, full=True)
        if kind == "actions":
            return views.actions(sight, connection, dialect, some, full=True)
        return _events(sight, connection, some)

    message = pb.ExportExecutionsResponse()
    getattr(message, kind).extend(fill(rows, make, _PARTS))
    return message


def _events(sight: Sight, connection: sa.Connection, some: Sequence[Any]) -> list[Any]:
    first = some[0]
    events = loading.read_events(connection, first.execution_id, first.revision - 1, len(some))
    return [convert.event(event) for event in sight.events(connection, events)]


#: What is read of an execution, after a number.
_KINDS = {
    "tasks": lambda connection, id_, after: reads.tasks(connection, id_, [], _PARTS, after),
    "actions": lambda connection, id_, after: reads.actions_after(connection, id_, after, _PARTS),
    "events": lambda connection, id_, after: reads.revisions(connection, id_, after, _PARTS),
}


def _number(message: Any) -> int:
    """Return what a task, action or event is counted by in its execution."""
    return int(getattr(message, "revision", 0) or message.id[1:])
