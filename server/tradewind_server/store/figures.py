"""What the database knows of the work that is open, in numbers: the same at every server.

Nothing here reads what has ended: the time grows with what is open, by indexes that are there for other reasons.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from tradewind_server.store import schema
from tradewind_server.store.filters import OPEN_STATES

_e, _q, _n, _p = schema.executions.c, schema.queue.c, schema.notifications.c, schema.parked.c
_namespaces = schema.registry.c.namespace


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """All of them.

    Attributes:
        executions: how many are open, by namespace and state.
        queued: how many actions wait for a worker, and the seconds for which the oldest has, by namespace and action.
        notifications: how many are to be sent, or were given up, by namespace and state.
        dead_letters: how many executions a webhook could not be told of, by namespace and subscription.
        timer_lag_seconds: for how long the oldest timer is due; 0 if none is.
    """

    executions: Mapping[tuple[str, str], int]
    queued: Mapping[tuple[str, str], tuple[int, float]]
    notifications: Mapping[tuple[str, str], int]
    dead_letters: Mapping[tuple[str, str], int]
    timer_lag_seconds: float


def read(connection: sa.Connection, now: int) -> Figures:
    """Count them, as of *now* in microseconds."""
    if connection.dialect.name == "postgresql":
        # to compile the plan takes longer than to carry it out
        connection.exec_driver_sql("SET LOCAL jit = off")
    first_timer = connection.execute(_FIRST_TIMER).scalar()
    return Figures(
        executions=_counted(connection.execute(_EXECUTIONS)),
        queued={
            (namespace, name): (count, max(0, now - oldest) / 1_000_000)
            for namespace, name, count, oldest in connection.execute(_QUEUED, {"now": now})
        },
        notifications=_counted(connection.execute(_NOTIFICATIONS)),
        dead_letters=_counted(connection.execute(_DEAD_LETTERS)),
        timer_lag_seconds=0.0 if first_timer is None else max(0, now - first_timer) / 1_000_000,
    )


def _counted(rows: Any) -> dict[tuple[str, str], int]:
    return {(namespace, name): count for namespace, name, count in rows}


def _by_state(table: sa.Table, states: Sequence[str]) -> Any:
    """Count the rows of each namespace and of each of *states*: what is in another one is not read."""
    state = sa.union_all(*(sa.select(sa.literal(name, sa.Text).label("state")) for name in states)).subquery()
    count = (
        sa.select(sa.func.count())
        .where(table.c.namespace == _namespaces, table.c.state == state.c.state)
        .scalar_subquery()
    )
    return sa.select(_namespaces, state.c.state, count).select_from(schema.registry.join(state, sa.true()))


_EXECUTIONS = _by_state(schema.executions, OPEN_STATES)
_NOTIFICATIONS = _by_state(schema.notifications, ["PENDING", "DEAD"])
_QUEUED = (
    sa.select(_q.namespace, _q.name, sa.func.count(), sa.func.min(_q.ready_at))
    .where(schema.IS_QUEUED, _q.ready_at <= sa.bindparam("now", type_=sa.BigInteger))
    .group_by(_q.namespace, _q.name)
)
_DEAD_LETTERS = (
    sa.select(_p.namespace, _p.subscription, sa.func.count())
    .where(_p.given_up_at > 0)
    .group_by(_p.namespace, _p.subscription)
)
_FIRST_TIMER = sa.select(sa.func.min(schema.timers.c.due_at))
