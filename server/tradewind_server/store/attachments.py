"""What is in the files of human tasks. All that is said of them stands in events and in the rows of human tasks."""

from __future__ import annotations

import sqlalchemy as sa

from tradewind_server.store import schema

_t = schema.attachments


def content(connection: sa.Connection, execution_id: str, revision: int) -> bytes | None:
    """Return what is in the file that the event at *revision* added; None if it is not kept here."""
    query = sa.select(_t.c.content).where(_t.c.execution_id == execution_id, _t.c.revision == revision)
    found = connection.execute(query).scalar()
    return None if found is None else bytes(found)
