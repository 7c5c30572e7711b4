"""The numbers of transactions only ever grow, also when a dump is restored into a PostgreSQL that counts anew."""

from __future__ import annotations

import sqlalchemy as sa

from tradewind_server.store import schema

_NAME = "xid_offset"


def newest(connection: sa.Connection) -> int:
    """Return the largest number that the log has or had; 0 if it was always empty."""
    e, namespace = schema.events.c, schema.registry.c.namespace
    largest = sa.select(sa.func.max(e.xid)).where(e.namespace == namespace, schema.IS_FIRST).scalar_subquery()
    there = int(connection.execute(sa.select(sa.func.max(largest))).scalar() or 0)
    gone = int(connection.execute(sa.select(sa.func.max(schema.log_floors.c.xid))).scalar() or 0)
    return max(there, gone)


def offset(connection: sa.Connection) -> int:
    """Return what is to be added to PostgreSQL's own numbers, so that the next one is larger than all in the log."""
    table = schema.installation
    stored = connection.execute(sa.select(table.c.value).where(table.c.name == _NAME)).scalar()
    found = int(stored or 0)
    # the log first: what other servers write meanwhile has to be below what follows, or they and we would count apart
    largest = newest(connection)
    query = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
    following = int(connection.exec_driver_sql(query).scalar_one())
    needed = largest + 1 - following
    if needed <= found:
        return found
    written = sa.update(table).where(table.c.name == _NAME).values(value=str(needed))
    if not connection.execute(written).rowcount:
        connection.execute(sa.insert(table).values(name=_NAME, value=str(needed)))
    return needed
