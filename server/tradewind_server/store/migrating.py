"""Bringing a schema to this version with Alembic, which a database that is there already does not need."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError

__all__ = ["CommandError", "upgrade"]


def upgrade(connection: sa.Connection, scripts: Path) -> None:
    """Run the migrations in the folder *scripts* that are not done yet, in the transaction of *connection*.

    Raises:
        CommandError: a newer version has made the schema.
    """
    config = Config()
    config.set_main_option("script_location", str(scripts))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
