"""Commands about stored environments."""

from __future__ import annotations

from typing import Annotated

import typer

from tradewind import values
from tradewind_server.cli import records
from tradewind_server.cli.given import read_object
from tradewind_server.cli.session import Session, on_server

app = typer.Typer(help="Keep named sets of variables to start workflows with.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the environment.")]


@app.command("list")
@on_server
def list_(session: Session) -> None:
    """List environments."""
    with session.client() as client:
        found = list(client.environments())
    session.output.table(
        [records.environment(item) for item in found],
        ("NAME", "DESCRIPTION", "ETAG"),
        [(item.name, item.description, item.etag) for item in found],
    )


@app.command()
@on_server
def show(session: Session, name: Name) -> None:
    """Show an environment with its variables."""
    with session.client() as client:
        found = client.environment(name)
    # what is in it is what people want to see, too
    session.output.record(records.environment(found), values.encode(found.variables).decode())


@app.command("set")
@on_server
def set_(
    session: Session,
    name: Name,
    variables: Annotated[str, typer.Argument(metavar="JSON|@FILE|-", help="A JSON object.")],
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    etag: Annotated[str, typer.Option(help="Only if it still has this etag.")] = "",
) -> None:
    """Make an environment, or replace it; executions that have begun keep what they copied."""
    wanted = read_object(variables, "the variables")
    with session.client() as client:
        found = client.put_environment(name, wanted, description=description, etag=etag)
    session.output.record(records.environment(found), f"{name} is stored, etag {found.etag}.")


@app.command()
@on_server
def delete(session: Session, name: Name) -> None:
    """Remove an environment."""
    with session.client() as client:
        client.delete_environment(name)
    session.output.record({"name": name}, f"{name} is gone.")
