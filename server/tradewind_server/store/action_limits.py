"""Limits of actions: their rows, and who takes part in what they count.

Whoever hands out an action with a limit holds the limit's row until it commits, so that no two do it at once. What is
in hand is counted from `action_slots`: an action gets a row there when it is handed out under a limit, and counts as
long as its row in the queue is leased. So its end, however it comes, need not write anything for the limit, and a row
that is left behind is no more than a row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from tradewind_server.store import schema, worker_schema
from tradewind_server.store.statements import Row, Select, delete, insert, update
from tradewind_server.store.unit_of_work import Transaction

_l, _s, _q = worker_schema.limits, worker_schema.action_slots, schema.queue
_COLUMNS = tuple(column.name for column in _l.columns)
#: Namespace and action.
Name = tuple[str, str]
_lock = Select(_l, ("namespace", "name"), _COLUMNS, lock="FOR UPDATE OF t")
_put = insert(_l, conflict="update", changing=[name for name in _COLUMNS if name not in ("namespace", "name")])
_delete = delete(_l, ("namespace", "name"))
_set_full_at = update(_l, ("full_at",))
_insert_slots = insert(_s, conflict="ignore")
_delete_slots = delete(_s, ("execution_id", "action_id"))


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """One row."""

    namespace: str
    name: str
    #: Most in hand; None: no bound.
    concurrency: int | None
    #: So many in each period; None: no bound.
    rate_count: int | None
    rate_period: int | None
    #: When the bucket of the rate is full again, microseconds.
    full_at: int
    updated_at: int
    actor: str

    def allowed(self, now: int) -> int:
        """Return how many the rate lets go now; only with a rate."""
        assert self.rate_count
        assert self.rate_period
        return (now + self.rate_period - max(self.full_at, now)) * self.rate_count // self.rate_period

    def taken(self, now: int, count: int) -> Limit:
        """Return the limit after *count* have gone."""
        assert self.rate_count
        assert self.rate_period
        # rounded up: never more than the rate
        cost = -(-count * self.rate_period // self.rate_count)
        return dataclasses.replace(self, full_at=max(self.full_at, now) + cost)

    def next_at(self) -> int:
        """Return when the rate lets the next one go, if it lets none go now."""
        assert self.rate_count
        assert self.rate_period
        return self.full_at - self.rate_period - (-self.rate_period // self.rate_count)


# --- changing ------------------------------------------------------------------------------------


def put(transaction: Transaction, limit: Limit) -> Limit:
    """Make or replace a limit; what is in hand counts."""
    _put.run(transaction.connection, transaction.dialect, [dataclasses.astuple(limit)])
    adopt(transaction, [(limit.namespace, limit.name)])
    return limit


def remove(transaction: Transaction, namespace: str, name: str) -> None:
    """Remove a limit, if there is one."""
    _delete.run(transaction.connection, transaction.dialect, [(namespace, name)])
    transaction.connection.execute(sa.delete(_s).where(_s.c.namespace == namespace, _s.c.name == name))
    transaction.has_written = True


def adopt(transaction: Transaction, names: Iterable[Name]) -> None:
    """Let what was handed out before the limit was known take part in it."""
    for namespace, name in sorted(names):
        leased = sa.select(_q.c.execution_id, _q.c.action_id, _q.c.namespace, _q.c.name)
        leased = leased.where(schema.IS_LEASED, _q.c.namespace == namespace, _q.c.name == name)
        rows = [tuple(row) for row in transaction.connection.execute(leased)]
        _insert_slots.run(transaction.connection, transaction.dialect, sorted(rows))
    transaction.has_written = True


# --- handing out ---------------------------------------------------------------------------------


def lock(transaction: Transaction, names: Iterable[Name]) -> dict[Name, Limit]:
    """Return and lock the limits of *names*, in the order of names; those that are gone are left out."""
    rows = _lock.run(transaction.connection, transaction.dialect, sorted(names))
    return {(row[0], row[1]): Limit(*row) for row in rows}


def held(transaction: Transaction, limit: Limit) -> int:
    """Count what is in hand under a locked limit, and forget what is not any more."""
    joined = _s.outerjoin(_q, (_s.c.execution_id == _q.c.execution_id) & (_s.c.action_id == _q.c.action_id))
    query = sa.select(_s.c.execution_id, _s.c.action_id, _q.c.stage).select_from(joined)
    rows = transaction.connection.execute(query.where(_s.c.namespace == limit.namespace, _s.c.name == limit.name)).all()
    past = [(row.execution_id, row.action_id) for row in rows if not row.stage]
    _delete_slots.run(transaction.connection, transaction.dialect, past)
    transaction.has_written = transaction.has_written or bool(past)
    return len(rows) - len(past)


def note(transaction: Transaction, slots: Sequence[Row], rates: Sequence[Limit]) -> None:
    """Write down what was handed out: (execution, action, namespace, name) of each, and what is left of the rates."""
    _insert_slots.run(transaction.connection, transaction.dialect, slots)
    changed = [(limit.full_at, limit.namespace, limit.name) for limit in rates]
    _set_full_at.run(transaction.connection, transaction.dialect, changed)


# --- reading -------------------------------------------------------------------------------------


def names(connection: sa.Connection) -> frozenset[Name]:
    """Return which actions have a limit."""
    return frozenset((namespace, name) for namespace, name in connection.execute(sa.select(_l.c.namespace, _l.c.name)))


def of_namespace(connection: sa.Connection, namespace: str) -> list[tuple[Limit, int]]:
    """Return the limits of a namespace by action, each with what is in hand."""
    rows = connection.execute(sa.select(_l).where(_l.c.namespace == namespace).order_by(_l.c.name)).all()
    return [(limit, in_hand(connection, limit)) for limit in (Limit(*row) for row in rows)]


def get(connection: sa.Connection, namespace: str, name: str) -> Limit | None:
    """Return the limit of an action, or None."""
    row = connection.execute(sa.select(_l).where(_l.c.namespace == namespace, _l.c.name == name)).one_or_none()
    return None if row is None else Limit(*row)


def in_hand(connection: sa.Connection, limit: Limit) -> int:
    """Count what is in hand under a limit."""
    joined = _s.join(_q, (_s.c.execution_id == _q.c.execution_id) & (_s.c.action_id == _q.c.action_id))
    query: Any = sa.select(sa.func.count()).select_from(joined)
    query = query.where(_s.c.namespace == limit.namespace, _s.c.name == limit.name, _q.c.stage > 0)
    return int(connection.execute(query).scalar_one())
