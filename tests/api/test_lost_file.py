"""SQLite's file is removed or replaced while a server runs: nothing is acknowledged that would be lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from grpc import StatusCode

from tests.api.harness import refused, serving
from tradewind_server.errors import DatabaseUnavailable


async def test_start_is_not_acknowledged_when_the_file_of_the_database_has_been_removed(tmp_path: Path) -> None:
    """It was written into the file that had no name any more, and was lost when the server ended."""
    path = tmp_path / "tradewind.db"
    async with serving(str(path)) as served:
        await served.start()
        path.unlink()
        with refused(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE") as caught:
            await served.start()
        assert "removed or replaced" in caught.message
        with pytest.raises(DatabaseUnavailable, match="removed or replaced"):
            await served.server.runtime.read(lambda connection, _: connection.exec_driver_sql("SELECT 1").scalar())
        assert not path.exists()


async def test_start_is_not_acknowledged_when_a_backup_was_copied_over_the_file(tmp_path: Path) -> None:
    """The old file's log would have been applied to the new one."""
    path, backup = tmp_path / "tradewind.db", tmp_path / "backup.db"
    async with serving(str(path)) as served:
        await served.start()
        backup.write_bytes(path.read_bytes())
        backup.replace(path)
        with refused(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE") as caught:
            await served.start()
        assert "removed or replaced" in caught.message


async def test_file_that_is_moved_back_is_written_again(tmp_path: Path) -> None:
    """Whoever sees his mistake in time loses nothing."""
    path, aside = tmp_path / "tradewind.db", tmp_path / "aside.db"
    async with serving(str(path)) as served:
        path.replace(aside)
        with refused(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE"):
            await served.start()
        aside.replace(path)
        await served.start()
