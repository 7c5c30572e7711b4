"""Commands about subscriptions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from tradewind.models import Subscription
from tradewind_server.cli import records
from tradewind_server.cli.session import Session, Unusable, on_server

app = typer.Typer(help="Keep named readers of the log of all executions.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the subscription.")]
Cursor = Annotated[str, typer.Option(help="After the event that had this cursor (`events --json` shows them).")]
FromBeginning = Annotated[bool, typer.Option(help="At the beginning of the log.")]


@app.command("list")
@on_server
def list_(session: Session) -> None:
    """List subscriptions, and how far behind they are."""
    with session.client() as client:
        found = list(client.subscriptions())
    session.output.table(
        [records.subscription(item) for item in found],
        ("NAME", "STATE", "LAG", "CONSUMER", "FILTER"),
        [(item.name, item.state, _lag(item), item.consumer, item.filter) for item in found],
    )


@app.command()
@on_server
def create(
    session: Session,
    name: Name,
    filter: Annotated[str, typer.Option(help="E.g. 'workflow = salary AND type = ExecutionFailed'.")] = "",
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    cursor: Cursor = "",
    from_beginning: FromBeginning = False,
) -> None:
    """Make a subscription; without a start it begins now."""
    with session.client() as client:
        found = client.create_subscription(
            name, filter, description=description, cursor=cursor, from_beginning=from_beginning
        )
    session.output.record(records.subscription(found), f"{name} is there, etag {found.etag}.")


@app.command()
@on_server
def show(session: Session, name: Name) -> None:
    """Show a subscription."""
    with session.client() as client:
        found = client.subscription(name)
    session.output.record(records.subscription(found), _story(found))


@app.command()
@on_server
def delete(session: Session, name: Name) -> None:
    """Remove a subscription."""
    with session.client() as client:
        client.delete_subscription(name)
    session.output.record({"name": name}, f"{name} is gone.")


@app.command()
@on_server
def enable(session: Session, name: Name) -> None:
    """Let its events be handed out again."""
    with session.client() as client:
        found = client.enable_subscription(name)
    session.output.record(records.subscription(found), _story(found))


@app.command()
@on_server
def disable(session: Session, name: Name, message: Annotated[str, typer.Option(help="Why.")] = "") -> None:
    """Let nothing be handed out; it keeps its place."""
    with session.client() as client:
        found = client.disable_subscription(name, message)
    session.output.record(records.subscription(found), _story(found))


@app.command()
@on_server
def rewind(
    session: Session,
    name: Name,
    cursor: Cursor = "",
    time: Annotated[str, typer.Option(help="To this moment, e.g. 2026-11-24T08:00:00Z.")] = "",
    from_beginning: FromBeginning = False,
    now: Annotated[bool, typer.Option(help="To the end: what has happened so far is left out.")] = False,
) -> None:
    """Move its place, back or forth: what follows is handed out again."""
    if sum(map(bool, (cursor, time, from_beginning, now))) != 1:
        raise Unusable("Expected one of --cursor, --time, --from-beginning and --now.")
    moment = _moment(time) if time else None
    with session.client() as client:
        found = client.rewind_subscription(name, cursor=cursor, time=moment, from_beginning=from_beginning)
    session.output.record(records.subscription(found), f"{name} goes on from there.")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Unusable(f"Expected a moment like 2026-11-24T08:00:00Z, but got '{text}'.") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _lag(item: Subscription) -> str:
    return "-" if item.lag is None else f"{item.lag:.0f} s"


def _story(item: Subscription) -> str:
    behind = f"{item.pending_events} events behind, {_lag(item)}" if item.lag is not None else "not behind"
    why = f" ({item.state_message})" if item.state_message else ""
    by = f", consumed by {item.consumer}" if item.consumer else ""
    return f"{item.name}  {item.state}{why}  {behind}{by}"
