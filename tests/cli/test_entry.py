"""Which commands there are, and that a process loads only the one it was asked for."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tradewind_server.cli.entry import COMMANDS, GROUPS, application


def names(app: typer.Typer) -> set[str]:
    """Return the commands and groups of a command line."""
    return set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_table_has_every_command_and_its_room() -> None:
    """Each room brings what the table says, and nothing else."""
    assert names(application()) == COMMANDS.keys() | GROUPS.keys()
    for room in set(COMMANDS.values()):
        asked = {name for name, its in COMMANDS.items() if its == room}
        assert names(application([min(asked)])) == asked
    for group in GROUPS:
        assert names(application([group])) == {group}


def test_command_that_speaks_to_a_server_does_not_load_the_language() -> None:
    """With its libraries that takes longer than all else."""
    script = (
        "import sys; from tradewind_server.cli.entry import application; application(['ps']); "
        "print({'yaql', 'jinja2', 're2', 'sqlalchemy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(("pid", "code"), [(1, 128 + signal.SIGTERM), (2, -signal.SIGTERM)])
def test_command_stops_when_told_while_it_starts_as_first_process_of_a_container(pid: int, code: int) -> None:
    """The kernel keeps a signal from process 1 that has no handler for it: `docker stop` then takes ten seconds."""
    script = (
        "import os, signal; from tradewind_server.cli import entry; me = os.getpid(); "
        f"os.getpid = lambda: {pid}; entry.application = lambda _: lambda: os.kill(me, signal.SIGTERM); entry.main()"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == code


def test_server_that_starts_again_loads_no_library_that_it_may_never_use(tmp_path: Path) -> None:
    """They are a third of all that there is to load: for web requests, SSH, PostgreSQL, holidays and migrations."""
    script = """
import asyncio, sys
from tradewind_server.bootstrap import Server
from tradewind_server.settings import Settings
async def once():
    server = await Server.start(Settings(listen="127.0.0.1:0", database=sys.argv[1]))
    await server.stop()
asyncio.run(once())
print(*sorted(sys.modules))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "x.db")]
    rare = {"aiohttp", "alembic", "asyncssh", "holidays", "prometheus_client", "psycopg"}
    first, again = (
        rare & {*subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()} for _ in range(2)
    )
    assert (first, again) == ({"alembic"}, set())


def test_what_is_loaded_is_not_searched_for_garbage() -> None:
    """That takes a fifth of the time in which a server starts."""
    script = """
import gc, sys
from tradewind_server import garbage
from tradewind_server.cli import entry
entry.application = lambda _: lambda: print(gc.get_threshold()[0], gc.get_freeze_count())
entry.main()
garbage.leave_out_what_is_loaded()
print(gc.get_freeze_count() > 10_000)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "50000 0\nTrue\n"
