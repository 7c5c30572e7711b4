"""Which workers are connected, as each server writes down its own, and which of them an operator has drained.

Rows of `workers` are written by their own server alone, and rows of `worker_drains` by operators alone, so that a beat
and a drain never wait for each other.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from tradewind_server.lang.values import encode
from tradewind_server.store import schema, worker_schema
from tradewind_server.store.filters import Term, filtered
from tradewind_server.store.statements import Row, delete, insert, update
from tradewind_server.store.unit_of_work import Transaction

_w, _d = worker_schema.workers, worker_schema.worker_drains
#: Rows of vanished workers that are removed at once.
_MOST_EXPIRED = 500
#: A drain outlives its worker for as long: it may only have lost its connection.
_DRAIN_MEMORY_US = 24 * 3600 * 1_000_000
_COLUMNS = tuple(column.name for column in _w.columns)
_put = insert(_w, conflict="update", changing=[name for name in _COLUMNS if name != "id"])
_touch = update(_w, ("last_seen", "expires_at"))
_remove = delete(_w, ("id",))
_insert_drains = insert(_d, conflict="ignore")
_delete_drains = delete(_d, ("program",))


class Serves(msgspec.Struct, frozen=True, omit_defaults=True):
    """An action that a worker can do."""

    name: str
    concurrency: int = 0
    #: What it answers to beside its own id, each as key=value.
    labels: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Worker:
    """One row: one connection of a worker."""

    id: str
    #: Stands for namespace, worker and instance.
    program: str
    namespace: str
    worker: str
    instance: str
    server: str
    #: STREAM or POLL.
    connection: str
    build: str
    #: It has said itself that it drains.
    is_going: bool
    serves: Sequence[Serves]
    first_seen: int
    last_seen: int
    #: Without another sign of life it is gone then.
    expires_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class Drain:
    """An operator's word that a worker is to take nothing new."""

    program: str
    namespace: str
    actor: str
    at: int
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """A worker, the drain that holds it, and what it has in hand."""

    worker: Worker
    drain: Drain | None
    in_hand: int

    @property
    def is_draining(self) -> bool:
        """Tell whether it takes nothing new."""
        return self.worker.is_going or self.drain is not None


def program_of(namespace: str, worker: str, instance: str) -> str:
    """Return what stands for an instance of a worker."""
    return hashlib.sha256(encode([namespace, worker, instance])).hexdigest()[:32]


# --- written by the worker's server --------------------------------------------------------------


def write(transaction: Transaction, rows: Sequence[Worker], gone: Sequence[str]) -> None:
    """Write down who is new or has changed, and who has left."""
    _put.run(transaction.connection, transaction.dialect, [_row(worker) for worker in rows])
    _remove.run(transaction.connection, transaction.dialect, [(id_,) for id_ in sorted(gone)])
    transaction.has_written = transaction.has_written or bool(rows or gone)


def touch(transaction: Transaction, seen: Sequence[tuple[int, int, str]]) -> None:
    """Note signs of life: (last seen, expires at, id) of each."""
    _touch.run(transaction.connection, transaction.dialect, seen)
    transaction.has_written = transaction.has_written or bool(seen)


def expire(transaction: Transaction, now: int) -> None:
    """Forget workers whose server says nothing of them any more, and old drains of such; others' rows are skipped."""
    expired = sa.select(_w.c.id).where(_w.c.expires_at < now).limit(_MOST_EXPIRED)
    old = sa.select(_d.c.program).where(_d.c.at < now - _DRAIN_MEMORY_US)
    old = old.where(_d.c.program.not_in(sa.select(_w.c.program))).limit(_MOST_EXPIRED)
    if transaction.dialect.is_postgresql:
        expired, old = expired.with_for_update(skip_locked=True), old.with_for_update(skip_locked=True)
    ids = [tuple(row) for row in transaction.connection.execute(expired)]
    programs = [tuple(row) for row in transaction.connection.execute(old)]
    _remove.run(transaction.connection, transaction.dialect, ids)
    _delete_drains.run(transaction.connection, transaction.dialect, programs)
    transaction.has_written = transaction.has_written or bool(ids or programs)


def _row(worker: Worker) -> Row:
    names = "".join(f"\n{item.name}" for item in worker.serves) + "\n"
    return (
        worker.id, worker.program, worker.namespace, worker.worker, worker.instance, worker.server, worker.connection,
        worker.build, int(worker.is_going), msgspec.json.encode(worker.serves), names, worker.first_seen,
        worker.last_seen, worker.expires_at,
    )  # fmt: skip


# --- written for operators -----------------------------------------------------------------------


def drain(transaction: Transaction, drains: Sequence[Drain]) -> None:
    """Take programs out of service; one that is out already keeps what was said of it first."""
    rows = sorted(dataclasses.astuple(drain) for drain in drains)
    _insert_drains.run(transaction.connection, transaction.dialect, rows)
    transaction.has_written = True


def resume(transaction: Transaction, programs: Sequence[str]) -> None:
    """Take programs into service again."""
    _delete_drains.run(transaction.connection, transaction.dialect, [(program,) for program in sorted(set(programs))])
    transaction.has_written = True


# --- reading -------------------------------------------------------------------------------------


def drains(connection: sa.Connection) -> dict[str, Drain]:
    """Return all drains by program; operators make few."""
    return {row.program: Drain(*row) for row in connection.execute(sa.select(_d))}


def page(
    connection: sa.Connection, namespace: str, terms: Sequence[Term], now: int, limit: int, after: Sequence[Any]
) -> list[Listed]:
    """Return workers by their name, instance and id."""
    key = (_w.c.worker, _w.c.instance, _w.c.id)
    query = _listing(namespace, now)
    for term in terms:
        if term.column == "state":
            is_draining = (_w.c.is_going == 1) | _d.c.program.is_not(None)
            query = query.where(is_draining if (term.value == "DRAINING") == (term.operator == "=") else ~is_draining)
        elif term.column == "action":
            query = query.where(_names_hold(connection, str(term.value)))
    query = filtered(query, _w, [term for term in terms if term.column not in ("state", "action")])
    if after:
        query = query.where(sa.tuple_(*key) > sa.tuple_(*map(sa.literal, after)))
    return _listed(connection, namespace, connection.execute(query.order_by(*key).limit(limit)).all())


def of_worker(connection: sa.Connection, namespace: str, worker: str, instance: str, now: int) -> list[Listed]:
    """Return the connections of a worker, of all its instances for ""."""
    query = _listing(namespace, now).where(_w.c.worker == worker)
    if instance:
        query = query.where(_w.c.instance == instance)
    return _listed(connection, namespace, connection.execute(query.order_by(_w.c.instance, _w.c.id)).all())


def serving(connection: sa.Connection, namespace: str, name: str, target: str, now: int) -> list[Listed]:
    """Return who serves an action for a target, or "" for any; without what they have in hand."""
    rows = connection.execute(_listing(namespace, now).where(_names_hold(connection, name))).all()
    found = [_from(row, 0) for row in rows]
    return [each for each in found if not target or _answers(each.worker, name, target)]


def _answers(worker: Worker, name: str, target: str) -> bool:
    return worker.worker == target or any(s.name == name and target in s.labels for s in worker.serves)


def _names_hold(connection: sa.Connection, name: str) -> sa.ColumnElement[bool]:
    """Tell whether a worker serves *name*; not by LIKE, which is blind to case on SQLite."""
    find = sa.func.instr if connection.dialect.name == "sqlite" else sa.func.strpos
    return find(_w.c.names, f"\n{name}\n") > 0


def _listing(namespace: str, now: int) -> Any:
    joined = _w.outerjoin(_d, _w.c.program == _d.c.program)
    drained = [_d.c[name].label(f"drain_{name}") for name in ("program", "actor", "at", "message")]
    return sa.select(_w, *drained).select_from(joined).where(_w.c.namespace == namespace, _w.c.expires_at >= now)


def _listed(connection: sa.Connection, namespace: str, rows: Sequence[Any]) -> list[Listed]:
    # the rows of leased actions alone, by their partial index: as many as all workers have in hand
    q = schema.queue.c
    query = sa.select(q.worker, sa.func.count()).where(schema.IS_LEASED, q.namespace == namespace)
    names = {row.worker for row in rows}
    counted = connection.execute(query.where(q.worker.in_(names)).group_by(q.worker)) if names else ()
    held = {worker: count for worker, count in counted}
    return [_from(row, held.get(row.worker, 0)) for row in rows]


def _from(row: Any, in_hand: int) -> Listed:
    worker = Worker(
        row.id, row.program, row.namespace, row.worker, row.instance, row.server, row.connection, row.build,
        bool(row.is_going), msgspec.json.decode(bytes(row.serves), type=list[Serves]), row.first_seen, row.last_seen,
        row.expires_at,
    )  # fmt: skip
    drained = row.drain_program is not None
    found = Drain(row.program, row.namespace, row.drain_actor, row.drain_at, row.drain_message) if drained else None
    return Listed(worker, found, in_hand)
