"""Commands about messages to people."""

from __future__ import annotations

from typing import Annotated

import typer

from tradewind_server.cli import records
from tradewind_server.cli.session import Session, Unusable, on_server

app = typer.Typer(help="See which messages to people wait or failed, and try channels.", no_args_is_help=True)

_STATES = ("PENDING", "SENT", "DEAD")


@app.command("list")
@on_server
def list_(
    session: Session,
    state: Annotated[
        list[str] | None, typer.Option(help="PENDING, SENT or DEAD. May repeat; default PENDING and DEAD.")
    ] = None,
) -> None:
    """List messages that wait, and those that were given up."""
    wanted = [each.upper() for each in state or ("PENDING", "DEAD")]
    if unknown := [each for each in wanted if each not in _STATES]:
        raise Unusable(f"Expected --state to be one of {', '.join(_STATES)}, but got '{unknown[0]}'.")
    with session.client() as client:
        found = list(client.notifications(*wanted))
    session.output.table(
        [records.notification(item) for item in found],
        ("ID", "KIND", "TO", "STATE", "CHANNEL", "ATTEMPTS", "MESSAGE"),
        [(i.id, i.kind, i.recipient, i.state, i.channel, str(i.attempts), i.message or i.provider_id) for i in found],
    )


@app.command()
@on_server
def retry(
    session: Session,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Only these; default all.")] = None,
) -> None:
    """Send messages again that were given up, over the first channel of their recipients."""
    with session.client() as client:
        count = client.retry_notifications(*(ids or ()))
    session.output.record({"count": count}, f"{count} are sent again.")


@app.command()
@on_server
def test(
    session: Session,
    channel: Annotated[str, typer.Option(help="Name of a channel of the server.")],
    to: Annotated[str, typer.Option(help="A user or group:NAME of the server's contacts, or else an address.")],
) -> None:
    """Send a message now, and say what the provider answered."""
    with session.client() as client:
        provider_id = client.send_test_notification(channel, to)
    called = f" It calls it {provider_id}." if provider_id else ""
    session.output.record({"channel": channel, "to": to, "provider_id": provider_id}, f"{channel} took it.{called}")
