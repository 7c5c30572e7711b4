"""docs/operating.md: what it does on SQLite and on PostgreSQL, its unit of systemd, and the signs it shows."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
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
#: What commands of the reader begin with.
OF_READERS = ("tradewind ", "ALTER ")


def unit() -> configparser.SectionProxy:
    """Return the service of the page's unit."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read_string(SAVED["tradewind.service"])
    return parser["Service"]


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
    service, variables = unit(), environment()
    settings = from_environment(variables)
    assert variables
    assert variables.keys() <= {f"TRADEWIND_{name}".upper() for name in Settings.__slots__}
    assert float(service["TimeoutStopSec"]) > 2 * settings.shutdown_grace_seconds
    assert PurePosixPath(settings.database).parent == PurePosixPath("/var/lib", service["StateDirectory"])
    assert service["ProtectSystem"] == "strict"
    assert service["PrivateTmp"] == "yes"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_unit_is_one_for_systemd(tmp_path: Path) -> None:
    """No setting of it is unknown to it, or in the wrong section."""
    file = tmp_path / "tradewind.service"
    file.write_text(SAVED["tradewind.service"].replace("/opt/tradewind/bin/tradewind", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True)
    told = [line for line in done.stderr.splitlines() if file.name in line]
    assert (told, done.returncode) == ([], 0)


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
