"""The container files say what they should, as far as it can be told without a container engine."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tradewind_server.settings import Settings, from_environment

ROOT = Path(__file__).resolve().parents[2]


def test_image_copies_what_is_there() -> None:
    """Every source of a COPY exists."""
    for line in re.findall(r"^COPY (?!--from)(.*)$", (ROOT / "Dockerfile").read_text(), re.M):
        *sources, _ = line.split()
        assert [name for name in sources if not (ROOT / name).exists()] == []


def test_compose_publishes_on_loopback_only() -> None:
    """Inside of its network there is no TLS, so nobody else may reach it."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert services["tradewind"]["ports"] == ["127.0.0.1:7233:7233"]
    settings = from_environment(services["tradewind"]["environment"])
    assert settings.database.startswith("postgresql")
    assert settings.listen == Settings().listen  # the address is an option of its command
