"""Files of human tasks.

What the version before writes has none, and it never reads them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make room for what is in them."""
    op.create_table(
        "attachments",
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("execution_id", "revision"),
    )
