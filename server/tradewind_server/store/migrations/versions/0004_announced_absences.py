"""Substitutes are told when an absence begins.

Those who are absent already, and whom a server of the version before writes down meanwhile, are announced once, too.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Remember who has been told."""
    op.add_column("absences", sa.Column("announced", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index(
        "absences_to_announce",
        "absences",
        ["starts_at"],
        unique=False,
        sqlite_where=sa.text("announced = 0"),
        postgresql_where=sa.text("announced = 0"),
    )
