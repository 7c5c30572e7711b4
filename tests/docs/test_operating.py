"""docs/operating.md: what it does on SQLite and on PostgreSQL, its unit of systemd, and the signs it shows."""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path, PurePosixPath

import psycopg
import pytest

from tests.docs.blocks import blocks
from tests.docs.story import Story
from tradewind_server.settings import Settings, from_environment
from tradewind_server.testing.postgres import PrivatePostgres, find_binaries

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "operating.md"
SAVED = {block.value: block.text for block in blocks(PAGE) if block.directive == "save"}
#: Sentences of PostgreSQL, SQLite and gRPC, tried by hand.
OF_OTHERS = [
    "File descriptor limit reached",
    "attempt to write a readonly database",
    "database disk image is malformed",
    "too many connections",
    "too many clients",
    'prepared statement "_pg3_0" already exists',
    "permission denied for schema public",
    "cannot execute … in a read-only transaction",
    "no schema has been selected to create in",
    "database or disk is full",
    "Can't locate revision",
]
#: By section, as systemd.unit(5), systemd.service(5) and systemd.exec(5) have them.
OF_SYSTEMD = {
    "Unit": {"Wants", "After", "StartLimitIntervalSec"},
    "Service": {
        "User", "Environment", "EnvironmentFile", "ExecStart", "StateDirectory", "StateDirectoryMode", "Restart",
        "RestartSec", "TimeoutStopSec", "LimitNOFILE", "NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp",
        "CapabilityBoundingSet",
    },
    "Install": {"WantedBy"},
}  # fmt: skip
#: What commands of the reader begin with.
OF_READERS = ("tradewind ", "ALTER ")


class Unit(configparser.ConfigParser):
    """A unit of systemd, whose names have capitals."""

    def optionxform(self, optionstr: str) -> str:
        """Keep a name as it is."""
        return optionstr


def parsed() -> Unit:
    """Return the page's unit."""
    unit = Unit(interpolation=None, strict=False)
    unit.read_string(SAVED["tradewind.service"])
    return unit


def environment() -> dict[str, str]:
    """Return the variables of the page's unit."""
    return dict(re.findall(r"^Environment=(\w+)=(.*)$", SAVED["tradewind.service"], re.M))


@pytest.mark.slow
def test_live_sqlite_file_is_backed_up_and_restored(tmp_path: Path) -> None:
    """The execution is as it was at the backup, and goes on."""
    with Story(tmp_path) as story:
        assert story.read(PAGE, "SQLite") > 0


@pytest.mark.slow
def test_two_servers_on_postgresql_are_backed_up_and_restored(postgres: PrivatePostgres, tmp_path: Path) -> None:
    """From a PostgreSQL where nobody but its administrator is yet."""
    binaries = find_binaries()
    assert binaries is not None
    with PrivatePostgres(binaries) as server:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("CREATE ROLE postgres SUPERUSER LOGIN")
        with psycopg.connect(server.dsn, user="postgres", autocommit=True) as connection:
            connection.execute("ALTER ROLE tradewind RENAME TO initial")
        variables = {
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(server.port),
            "PGUSER": "postgres",
            "PGDATABASE": "postgres",
        }
        with Story(tmp_path, variables) as story:
            assert story.read(PAGE, "PostgreSQL") > 0


def test_unit_gives_the_server_what_it_needs() -> None:
    """Time to stop, its folder, and settings that there are."""
    service, variables = parsed()["Service"], environment()
    settings = from_environment(variables)
    assert variables
    assert variables.keys() <= {f"TRADEWIND_{name}".upper() for name in Settings.__slots__}
    assert float(service["TimeoutStopSec"]) > 2 * settings.shutdown_grace_seconds
    assert PurePosixPath(settings.database).parent == PurePosixPath("/var/lib", service["StateDirectory"])
    assert service["ProtectSystem"] == "strict"
    assert service["PrivateTmp"] == "yes"


def test_unit_has_settings_of_systemd_in_their_sections() -> None:
    """It leaves out what it does not know, and says so only in its log."""
    assert parsed().sections() == list(OF_SYSTEMD)
    for section, names in OF_SYSTEMD.items():
        assert set(parsed()[section]) <= names


def test_sentences_of_the_page_are_those_of_the_server() -> None:
    """Whoever searches the page for what he sees must find it."""
    sources = "".join(path.read_text() for path in (ROOT / "server" / "tradewind_server").rglob("*.py"))
    sources = re.sub(r'"\s*f?"', "", sources)
    table = PAGE.read_text().partition("## When something is wrong")[2]
    shown = [text for text in re.findall(r"`([^`\n]+)`", table) if " " in text and not text.startswith(OF_READERS)]
    assert shown
    for sentence in set(shown).difference(OF_OTHERS):
        parts = [re.escape(part.strip()) for part in re.split("…|60", sentence)]
        assert re.search("[^\n]*".join(parts), sources), sentence
