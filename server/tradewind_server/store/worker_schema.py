"""The tables about workers beside the queue: who is connected, bounds of actions, what workers write.

They are made of the same pieces as those of `schema.py`, and belong to its `metadata`.
"""

from __future__ import annotations

import sqlalchemy as sa

from tradewind_server.store.schema import metadata

_text = sa.Text
_id = sa.String(64)
_int = sa.BigInteger
_bytes = sa.LargeBinary

#: Connections of workers, one row each, written by their servers.
workers = sa.Table(
    "workers",
    metadata,
    sa.Column("id", _text, primary_key=True),
    #: Digest of namespace, worker and instance.
    sa.Column("program", _text, nullable=False),
    sa.Column("namespace", _text, nullable=False),
    sa.Column("worker", _text, nullable=False),
    sa.Column("instance", _text, nullable=False),
    sa.Column("server", _text, nullable=False),
    sa.Column("connection", _text, nullable=False),
    sa.Column("build", _text, nullable=False),
    sa.Column("is_going", _int, nullable=False),
    #: Names, concurrency and labels, as JSON; and the names once more, each between two line feeds.
    sa.Column("serves", _bytes, nullable=False),
    sa.Column("names", _text, nullable=False),
    sa.Column("first_seen", _int, nullable=False),
    sa.Column("last_seen", _int, nullable=False),
    sa.Column("expires_at", _int, nullable=False),
    sa.Index("workers_by_name", "namespace", "worker"),
    sqlite_with_rowid=False,
)

#: Workers that operators have taken out of service.
worker_drains = sa.Table(
    "worker_drains",
    metadata,
    sa.Column("program", _text, primary_key=True),
    sa.Column("namespace", _text, nullable=False),
    sa.Column("actor", _text, nullable=False),
    sa.Column("at", _int, nullable=False),
    sa.Column("message", _text, nullable=False),
    sqlite_with_rowid=False,
)

#: Bounds of actions.
limits = sa.Table(
    "limits",
    metadata,
    sa.Column("namespace", _text, primary_key=True),
    sa.Column("name", _text, primary_key=True),
    #: NULL: no bound of that kind.
    sa.Column("concurrency", _int),
    sa.Column("rate_count", _int),
    sa.Column("rate_period", _int),
    #: When the bucket of the rate is full again.
    sa.Column("full_at", _int, nullable=False),
    sa.Column("updated_at", _int, nullable=False),
    sa.Column("actor", _text, nullable=False),
    sqlite_with_rowid=False,
)

#: Actions that were handed out under a limit; they count while their row in the queue is leased.
action_slots = sa.Table(
    "action_slots",
    metadata,
    sa.Column("execution_id", _id, primary_key=True),
    sa.Column("action_id", _int, primary_key=True),
    sa.Column("namespace", _text, nullable=False),
    sa.Column("name", _text, nullable=False),
    sa.Index("action_slots_by_name", "namespace", "name"),
    sqlite_with_rowid=False,
)

#: What workers write about their actions, for people. Nothing is decided by it.
action_logs = sa.Table(
    "action_logs",
    metadata,
    sa.Column("execution_id", _id, primary_key=True),
    sa.Column("action_id", _int, primary_key=True),
    #: Of the offer: the numbers of its lines are its own.
    sa.Column("epoch", _int, primary_key=True),
    sa.Column("number", _int, primary_key=True),
    sa.Column("attempt", _int, nullable=False),
    sa.Column("at", _int, nullable=False),
    sa.Column("level", _int, nullable=False),
    sa.Column("message", _text, nullable=False),
    #: Number of the transaction that wrote it: the order in which they are followed (`action_logs.py`).
    sa.Column("xid", _int, nullable=False, server_default="0"),
    sa.Index("action_logs_in_order", "execution_id", "xid", "action_id", "epoch", "number"),
    sqlite_with_rowid=False,
)
