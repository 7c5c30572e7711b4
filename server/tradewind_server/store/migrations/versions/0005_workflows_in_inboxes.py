"""Entries of inboxes say of which workflow they are.

A server of the version before goes on writing some that do not: while they are there, whoever filters by it looks up
all of them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_KEY = ("namespace", "principal", "rank", "execution_id", "action_id", "revision")


def upgrade() -> None:
    """Add it to what is there, and to the key: an index then answers without the table."""
    if op.get_bind().dialect.name == "postgresql":
        op.add_column("inbox", sa.Column("workflow", sa.Text(), nullable=False, server_default=""))
        op.execute(
            "UPDATE inbox i SET workflow = h.workflow FROM human_tasks h"
            " WHERE h.execution_id = i.execution_id AND h.action_id = i.action_id"
        )
        op.drop_constraint("inbox_pkey", "inbox", type_="primary")
        op.create_primary_key("inbox_pkey", "inbox", [*_KEY, "workflow"])
    else:
        _make_anew()
    where = sa.text("workflow = ''")
    op.create_index("inbox_of_before", "inbox", ["namespace"], unique=False, sqlite_where=where, postgresql_where=where)


def _make_anew() -> None:
    """SQLite adds nothing to a key."""
    op.rename_table("inbox", "inbox_before")
    op.drop_index("inbox_by_human_task", "inbox_before")
    op.create_table(
        "inbox",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("action_id", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint(*_KEY, "workflow"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO inbox SELECT i.*, h.workflow FROM inbox_before i"
        " JOIN human_tasks h ON h.execution_id = i.execution_id AND h.action_id = i.action_id"
    )
    op.drop_table("inbox_before")
    op.create_index("inbox_by_human_task", "inbox", ["execution_id", "action_id"], unique=False)
