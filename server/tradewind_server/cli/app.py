"""The command line's entry: all commands, and what is common before any of them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tradewind_server import __version__
from tradewind_server.cli import (
    actions,
    definitions,
    environments,
    executions,
    graph,
    limits,
    listing,
    notify,
    people,
    replaying,
    retention,
    running,
    serving,
    subscriptions,
    testing,
    tokens,
    watching,
    workers,
)

app = typer.Typer(
    name="tradewind",
    help="Run, steer and watch business processes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"tradewind {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Run, steer and watch business processes."""


ROOMS = (serving, definitions, testing, graph, running, executions, listing, watching, people, replaying, tokens)
for room in ROOMS:
    room.add_to(app)
app.add_typer(actions.app, name="actions")
app.add_typer(environments.app, name="env")
app.add_typer(subscriptions.app, name="subscriptions")
app.add_typer(notify.app, name="notify")
app.add_typer(retention.app, name="retention")
app.add_typer(workers.app, name="workers")
app.add_typer(limits.app, name="limits")


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    app()
