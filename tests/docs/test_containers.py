"""The container files say what they should, as far as it can be told without a container engine."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from typer.core import TyperGroup
from typer.main import get_command

from tradewind_server.cli.entry import application
from tradewind_server.settings import Settings, from_environment

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
BUILD, IMAGE = re.split(r"^(?=FROM )", DOCKERFILE, flags=re.M)[1:]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]

#: What may lie about in a clone, and is of no use in an image or must not get there.
LEFT_ABOUT = [
    ".git/config",
    ".venv/bin/python",
    ".tools/bin/buf",
    "tradewind.db",
    "tradewind.db-wal",
    "server/tradewind.db",
    "server/tradewind_server/__pycache__/ids.pyc",
    "server/tradewind.egg-info/PKG-INFO",
    "clients/python/build/lib/tradewind/__init__.py",
    ".env",
    "tokens.yaml",
    "docs/watch.svg",
    "tests/conftest.py",
    "compose.yaml",
]


def copied(stage: str) -> list[str]:
    """Return the sources of a stage's COPYs, in order."""
    lines: list[str] = re.findall(r"^COPY (?!--from)(.*)$", stage, re.M)
    return [source for line in lines for source in line.split()[:-1]]


def pips(stage: str) -> list[str]:
    """Return the calls of pip in a stage."""
    lines: list[str] = re.findall(r"^RUN (.*)$", stage, re.M)
    return [command for line in lines for command in line.split("&&") if command.strip().startswith("pip ")]


def variables(stage: str) -> dict[str, str]:
    """Return the environment that a stage sets."""
    lines: list[str] = re.findall(r"^ENV (.*)$", stage, re.M)
    return dict(pair.split("=", 1) for line in lines for pair in line.split())


def is_sent(path: str) -> bool:
    """Tell whether .dockerignore lets a file through: the last line that names it, or a folder above it, decides."""
    ways = [path, *(str(above) for above in PurePosixPath(path).parents if above.name)]
    sent = True
    for line in (ROOT / ".dockerignore").read_text().split():
        pattern = line.removeprefix("!")
        if any(is_named(way, pattern) for way in ways):
            sent = line.startswith("!")
    return sent


def is_named(path: str, pattern: str) -> bool:
    """Tell whether a pattern names a path; `**/` stands for any folders, and for none."""
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(PurePosixPath(path).name, pattern.removeprefix("**/"))
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


def test_image_copies_what_is_there() -> None:
    """Every source of a COPY exists, and the image itself gets nothing but what was built."""
    assert [name for name in copied(BUILD) if not (ROOT / name).exists()] == []
    assert copied(IMAGE) == []


def test_image_is_made_of_what_is_committed_only() -> None:
    """All that is copied is sent to the builder; databases, keys and environments that lie about are not."""
    tracked = subprocess.run(["git", "ls-files", *copied(BUILD)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [path for path in tracked.stdout.splitlines() if not is_sent(path)] == []
    assert [path for path in LEFT_ABOUT if is_sent(path)] == []


def test_image_has_the_versions_that_are_tested_together() -> None:
    """Each is installed under constraints.txt; what needs no sources comes before they do, so that it is kept."""
    dependencies, project = re.split(r"^(?=COPY README)", BUILD, flags=re.M)
    assert copied(dependencies) == ["pyproject.toml", "constraints.txt"]
    assert [command for command in pips(dependencies) if "-c constraints.txt" not in command] == []
    assert [command for command in pips(project) if "--no-deps" not in command] == []
    assert pips(dependencies)
    assert pips(project)


def test_image_needs_no_build_system_that_is_not_named() -> None:
    """The build does not fetch one by itself, whatever version is new that day: it gets setuptools, and no more."""
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert [re.split(r"\W", name)[0] for name in required] == ["setuptools"]
    assert re.search(r"^setuptools==", (ROOT / "constraints.txt").read_text(), re.M)
    assert "-c constraints.txt setuptools" in BUILD
    assert "pip wheel --no-deps --no-build-isolation" in BUILD


def test_database_of_the_image_is_in_its_volume() -> None:
    """It outlives the container, and the user who serves may write there."""
    (volume,) = re.findall(r"^VOLUME (.*)$", IMAGE, re.M)
    database = PurePosixPath(from_environment(variables(IMAGE)).database)
    assert database == PurePosixPath(volume) / Settings().database
    assert re.search(rf"install -d .*-o tradewind .*{volume}\b", IMAGE)
    assert IMAGE.index("install -d ") < IMAGE.index("VOLUME ")  # what comes later is not kept


def test_server_of_the_image_is_no_user_of_the_host() -> None:
    """It is told by number, without which Kubernetes does not know that it is not root."""
    (user,) = re.findall(r"^USER (.*)$", IMAGE, re.M)
    assert re.fullmatch(r"[1-9]\d{4,}:[1-9]\d{4,}", user)


def test_server_of_the_image_can_be_reached_or_says_why_not() -> None:
    """On the loopback of a container nobody would; elsewhere it refuses to serve without TLS, unless told to."""
    settings = from_environment(variables(IMAGE))
    assert settings.listen == "0.0.0.0:7233"
    assert not settings.insecure
    assert re.findall(r"^EXPOSE (\d+)$", IMAGE, re.M) == ["7233"]


def test_compose_publishes_on_loopback_only() -> None:
    """Inside of its network there is no TLS, so nobody else may reach it."""
    assert SERVICES["tradewind"]["ports"] == ["127.0.0.1:7233:7233"]
    assert "ports" not in SERVICES["postgres"]


def test_compose_serves_with_the_settings_that_there_are() -> None:
    """On its PostgreSQL; what is not a setting would be ignored without a word."""
    service = SERVICES["tradewind"]
    assert from_environment(service["environment"]).database.startswith("postgresql+psycopg://tradewind:")
    assert service["environment"].keys() <= {f"TRADEWIND_{name}".upper() for name in Settings.__slots__}


def test_compose_runs_commands_that_there_are() -> None:
    """The server's, and that of its health check, which docs/containers.md names, too."""
    line = get_command(application())
    assert isinstance(line, TyperGroup)
    for name, *arguments in (SERVICES["tradewind"]["command"], SERVICES["tradewind"]["healthcheck"]["test"][2:]):
        options = {option for parameter in line.commands[name].params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("-")} <= options
    assert SERVICES["tradewind"]["healthcheck"]["test"][:2] == ["CMD", "tradewind"]


def test_compose_waits_for_the_postgresql_that_stays() -> None:
    """The one that makes the database listens on a socket alone, and goes down once more."""
    assert SERVICES["tradewind"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert "pg_isready -h 127.0.0.1 " in SERVICES["postgres"]["healthcheck"]["test"][1]
