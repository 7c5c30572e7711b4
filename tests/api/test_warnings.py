"""What a server says of its settings when it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.harness import serving
from tradewind_server.settings import from_environment


async def test_settings_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    """Or every secret would be missing, and nobody knew why."""
    nothing = str(tmp_path / "nothing")
    async with serving(
        "", secrets_dir=nothing, files_dir=nothing, known_hosts=nothing, insecure_hosts=True, unknown_actions="fail"
    ) as served:
        assert [warning.split()[0] for warning in served.server.warnings] == [
            "secrets_dir", "files_dir", "known_hosts", "insecure_hosts", "unknown_actions",
        ]  # fmt: skip


async def test_settings_that_are_right_are_not_told(tmp_path: Path) -> None:
    """The same rule in the other direction."""
    (tmp_path / "known_hosts").touch()
    folder = str(tmp_path)
    async with serving("", secrets_dir=folder, files_dir=folder, known_hosts=f"{folder}/known_hosts") as served:
        assert served.server.warnings == []


def test_setting_that_is_no_choice_is_refused() -> None:
    """A slip in `wait` must not let every action of a worker fail."""
    with pytest.raises(ValueError, match="TRADEWIND_UNKNOWN_ACTIONS must be wait or fail, but is 'wiat'"):
        from_environment({"TRADEWIND_UNKNOWN_ACTIONS": "wiat"})
    assert from_environment({"TRADEWIND_UNKNOWN_ACTIONS": "fail"}).unknown_actions == "fail"
