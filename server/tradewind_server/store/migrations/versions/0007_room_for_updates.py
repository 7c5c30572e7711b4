"""On PostgreSQL, room in each page for the new versions of its rows: then no index has to be written with them.

Holds for pages that are filled from now on; SQLite changes a row where it stands.
"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Fill pages of what is changed again and again to the half."""
    if op.get_bind().dialect.name == "postgresql":
        for table in ("executions", "tasks"):
            op.execute(f"ALTER TABLE {table} SET (fillfactor = 50)")
