"""One row of each server, for its newest commit, instead of one of each commit, which were to be deleted again.

A server of the version before goes on writing those.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make its table."""
    op.create_table(
        "last_batches",
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("server"),
        sqlite_with_rowid=False,
    )
