"""The command line's entry: which room has which command, and what is common before any of them.

A process runs one command, so only its room is loaded: all of them take three times as long to start.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, Any

import typer

from tradewind_server import __version__, garbage

#: Command -> its room.
COMMANDS = {
    "server": "serving", "dev": "serving", "check": "definitions", "schema": "definitions", "deploy": "definitions",
    "workflows": "definitions", "test": "testing", "graph": "graph", "run": "running", "start": "executions",
    "show": "executions", "history": "executions", "pause": "executions", "resume": "executions",
    "cancel": "executions", "rerun": "executions", "skip": "executions", "ps": "listing", "count": "listing",
    "export": "listing", "watch": "watching", "events": "watching", "inbox": "people", "task": "people",
    "replay": "replaying", "token": "tokens", "health": "health",
}  # fmt: skip
#: Group of commands -> its room, which has an `app` for it.
GROUPS = {
    "actions": "actions", "env": "environments", "subscriptions": "subscriptions", "notify": "notify",
    "retention": "retention", "workers": "workers", "limits": "limits",
}  # fmt: skip


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    garbage.search_rarely()
    if os.getpid() == 1:
        # In a container: the kernel keeps from process 1 what it has no handler for. `server` has its own, but takes
        # seconds to load.
        signal.signal(signal.SIGTERM, _end)
    if sys.argv[1:2] not in (["server"], ["dev"]):
        # gRPC writes to the terminal what a command says in its own words
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    application(sys.argv[1:])()


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def application(arguments: Sequence[str] = ()) -> typer.Typer:
    """Make the command line: with what *arguments* ask for, or with everything if that is not known."""
    app = typer.Typer(
        name="tradewind",
        help="Run, steer and watch business processes.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    wanted = arguments[0] if arguments else ""
    is_known = wanted in COMMANDS or wanted in GROUPS or wanted == "--version"
    for room in dict.fromkeys(room for name, room in COMMANDS.items() if not is_known or COMMANDS.get(wanted) == room):
        _load(room).add_to(app)
    for name, room in GROUPS.items():
        if not is_known or name == wanted:
            app.add_typer(_load(room).app, name=name)
    return app


def _load(room: str) -> Any:
    return importlib.import_module(f"tradewind_server.cli.{room}")


def _show_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"tradewind {__version__}\n")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Run, steer and watch business processes."""
