"""Lines of the logs of actions in the order in which they were committed.

Those that are there, and those that a server of the version before writes meanwhile, come before all others.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Number the transactions of lines."""
    op.add_column("action_logs", sa.Column("xid", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index(
        "action_logs_in_order", "action_logs", ["execution_id", "xid", "action_id", "epoch", "number"], unique=False
    )
