"""What the tables hold that memory may not: due timers, messages left lying, queued actions; and the time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from tradewind_server.store import absences, schema, worker_schema
from tradewind_server.store.filters import FINAL_STATES

#: Timers due within this are taken into memory.
_AHEAD_US = 10_000_000
_MOST = 5_000


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What one look found."""

    #: (due in microseconds, execution, timer)
    timers: Sequence[tuple[int, str, int]]
    #: Executions with messages older than asked for.
    targets: Sequence[str]
    #: (namespace, action name, target) with queued actions.
    queued: Sequence[tuple[str, str, str]]
    #: Absences have begun of which nobody has been told.
    has_absences: bool


def look(connection: sa.Connection, now: int, overdue: int) -> Found:
    """Look for timers due soon, messages from before *overdue* and queues with something in them."""
    t, m, q = schema.timers.c, schema.messages.c, schema.queue.c
    timers = connection.execute(
        sa.select(t.due_at, t.execution_id, t.timer_id)
        .where(t.due_at < now + _AHEAD_US)
        .order_by(t.due_at)
        .limit(_MOST)
    )
    targets = connection.execute(sa.select(m.target).where(m.created_at <= overdue).distinct().limit(_MOST))
    queued = connection.execute(
        sa.select(q.namespace, q.name, q.target).where(schema.IS_QUEUED, q.ready_at <= overdue).distinct()
    )
    return Found(
        [(row.due_at, row.execution_id, row.timer_id) for row in timers],
        [row.target for row in targets],
        [(row.namespace, row.name, row.target) for row in queued],
        absences.has_begun(connection, now),
    )


def ended(connection: sa.Connection, execution_ids: Sequence[str]) -> list[str]:
    """Return those of the executions that have ended."""
    x = schema.executions.c
    found: list[str] = []
    for start in range(0, len(execution_ids), _MOST):
        chunk = execution_ids[start : start + _MOST]
        found += connection.execute(sa.select(x.id).where(x.id.in_(chunk), x.state.in_(FINAL_STATES))).scalars()
    return found


def revisions(connection: sa.Connection, execution_ids: Sequence[str]) -> dict[str, int]:
    """Return how far the executions are."""
    x = schema.executions.c
    found: dict[str, int] = {}
    for start in range(0, len(execution_ids), _MOST):
        chunk = execution_ids[start : start + _MOST]
        found |= {
            row.id: row.revision for row in connection.execute(sa.select(x.id, x.revision).where(x.id.in_(chunk)))
        }
    return found


def log_marks(connection: sa.Connection, execution_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return how far executions are, and the logs of their actions: revision, and the last transaction with a line."""
    x, lines = schema.executions.c, worker_schema.action_logs.c
    newest = sa.select(sa.func.coalesce(sa.func.max(lines.xid), 0)).where(lines.execution_id == x.id).scalar_subquery()
    found: dict[str, tuple[int, int]] = {}
    for start in range(0, len(execution_ids), _MOST):
        query = sa.select(x.id, x.revision, newest.label("xid")).where(x.id.in_(execution_ids[start : start + _MOST]))
        found |= {row.id: (row.revision, row.xid) for row in connection.execute(query)}
    return found


def database_now(connection: sa.Connection) -> datetime:
    """Return the time of a PostgreSQL server."""
    moment = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
    assert isinstance(moment, datetime)
    return moment.astimezone(UTC)
