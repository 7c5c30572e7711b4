"""What the command server says when it begins."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.cli.command_line import SECONDS, Started
from tradewind_server.store.database import _MIGRATION_LOCK
from tradewind_server.testing.ports import free_port, wait_until_it_listens
from tradewind_server.testing.postgres import PrivatePostgres


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://tradewind:secret@127.0.0.1:{port}/{name}", "postgresql://tradewind:***@127.0.0.1:{port}/{name}"),
        (
            "postgresql://tradewind@/{name}?host=127.0.0.1&password=secret&port={port}",
            "postgresql://tradewind@/{name}?host=127.0.0.1&password=***&port={port}",
        ),
        (
            "postgresql://tradewind@/{name}?host=127.0.0.1&pass%77ord=secret&port={port}",
            "postgresql://tradewind@/{name}?host=127.0.0.1&pass%77ord=***&port={port}",
        ),
    ],
)
def test_server_begins_without_showing_its_password(
    postgres: PrivatePostgres, tmp_path: Path, url: str, shown: str
) -> None:
    """Wherever it stands in the URL of the database: the line goes into the log."""
    # given
    name, address = f"shown_{len(url)}", f"127.0.0.1:{free_port()}"
    postgres.create(name)
    words = {"port": postgres.port, "name": name}
    arguments = ("server", "--listen", address, "--database", url.format(**words))

    # when
    with open(tmp_path / "out", "w+b") as out, Started(arguments, out, out, out) as command:
        assert wait_until_it_listens(address, command, SECONDS)
        command.send_signal(signal.SIGTERM)
        code = command.wait(SECONDS)

    # then
    told = (tmp_path / "out").read_text()
    assert (code, "secret" in told) == (0, False)
    assert f"database {shown.format(**words)}\n" in told


@pytest.mark.slow
def test_server_that_waits_for_its_database_when_it_starts_ends_at_sigterm(postgres: PrivatePostgres) -> None:
    """It waited, without a word, for whoever held the lock of migrations, until it was killed."""
    # given
    url = postgres.create("held")
    command = [sys.executable, "-m", "tradewind_server.cli", "server", "--listen", "127.0.0.1:0", "--database", url]
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(f"SELECT pg_advisory_lock({_MIGRATION_LOCK})".encode())

        # when
        environment = {**os.environ, "TRADEWIND_SHUTDOWN_GRACE_SECONDS": "0"}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
            try:
                while not _waits_for_a_lock(other):
                    assert server.poll() is None
                server.send_signal(signal.SIGTERM)
                _, told = server.communicate(timeout=SECONDS)
            finally:
                server.kill()

    # then
    assert server.returncode == 0
    assert "another server looks at the tables" in told
    assert "told to stop while it starts" in told


def _waits_for_a_lock(connection: psycopg.Connection[tuple[int]]) -> bool:
    query = b"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    row = connection.execute(query).fetchone()
    return row is not None and row[0] > 0


def test_server_that_waits_for_its_database_when_it_ends_does_not_do_so_for_ever() -> None:
    """A PostgreSQL whose disk hangs, say, takes connections and answers nothing."""
    code = "import asyncio; from tradewind_server.cli import serving; "
    code += "asyncio.run(serving._ended(asyncio.Event().wait(), 0.01)); print('ended in order')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "it ends at once" in ended.stderr


@pytest.mark.slow
def test_server_ends_in_order_when_its_terminal_is_closed() -> None:
    """SIGHUP ended it like kill -9."""
    with _hanging_up(signal.SIG_DFL), _server() as (_, server):
        server.send_signal(signal.SIGHUP)
        _, told = server.communicate(timeout=SECONDS)
    assert (server.returncode, told) == (0, "")


@pytest.mark.slow
def test_server_under_nohup_outlives_its_terminal() -> None:
    """And ends at SIGTERM."""
    with _hanging_up(signal.SIG_IGN), _server() as (address, server):
        server.send_signal(signal.SIGHUP)
        assert wait_until_it_listens(address, server, SECONDS)
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=SECONDS)
    assert server.returncode == 0


@contextlib.contextmanager
def _hanging_up(what: signal.Handlers) -> Iterator[None]:
    """Say what a new process does when its terminal is closed; nohup says nothing, for the tests, too, that it runs."""
    before = signal.signal(signal.SIGHUP, what)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@contextlib.contextmanager
def _server() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a server; give its address and its process once it serves."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "tradewind_server.cli", "server", "--listen", address, "--database", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert wait_until_it_listens(address, server, SECONDS)
            yield address, server
        finally:
            server.kill()
