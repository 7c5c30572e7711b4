"""What a server says of its settings when it starts."""

from __future__ import annotations

from pathlib import Path

from tests.api.harness import serving


async def test_settings_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    """Or every secret would be missing, and nobody knew why."""
    nothing = str(tmp_path / "nothing")
    async with serving("", secrets_dir=nothing, files_dir=nothing, known_hosts=nothing, insecure_hosts=True) as served:
        assert [warning.split()[0] for warning in served.server.warnings] == [
            "secrets_dir", "files_dir", "known_hosts", "insecure_hosts",
        ]  # fmt: skip


async def test_settings_that_are_right_are_not_told(tmp_path: Path) -> None:
    """The same rule in the other direction."""
    (tmp_path / "known_hosts").touch()
    folder = str(tmp_path)
    async with serving("", secrets_dir=folder, files_dir=folder, known_hosts=f"{folder}/known_hosts") as served:
        assert served.server.warnings == []
