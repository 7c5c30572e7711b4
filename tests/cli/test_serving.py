"""What the command server says when it begins."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.cli.command_line import SECONDS, Started
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
