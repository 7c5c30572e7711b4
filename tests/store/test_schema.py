"""The schema that the migrations make is the one that the code speaks of."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tradewind_server.store import schema
from tradewind_server.store.database import Database, DatabaseInUse


def test_migrations_make_the_schema(database_url: str) -> None:
    """Nothing is missing, nothing is left over."""
    database = Database(database_url)
    try:
        with database.connect_reader() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": False})
            differences = compare_metadata(context, schema.metadata)
    finally:
        database.close()
    assert differences == []


def test_second_server_on_a_file_is_refused(tmp_path: Path) -> None:
    """The refusal names the process that holds the file, and says what to do."""
    path = f"{tmp_path}/a.db"
    first = Database(path)
    try:
        with pytest.raises(DatabaseInUse, match=r"pid \d+.*use another file"):
            Database(path)
    finally:
        first.close()
    Database(path).close()


def test_durability_is_full(database_url: str) -> None:
    """What is acknowledged survives a power cut; read back from the database itself."""
    database = Database(database_url)
    try:
        assert database.durability() in ("journal_mode=wal synchronous=FULL", "synchronous_commit=on")
    finally:
        database.close()
