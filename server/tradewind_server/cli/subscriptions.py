"""Commands about subscriptions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from tradewind.models import Subscription, Webhook
from tradewind.subscribing import SubscriptionOptions
from tradewind_server.cli import records
from tradewind_server.cli.session import Session, Unusable, on_server

app = typer.Typer(help="Keep named readers of the log of all executions.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the subscription.")]
Cursor = Annotated[str, typer.Option(help="After the event that had this cursor (`events --json` shows them).")]
FromBeginning = Annotated[bool, typer.Option(help="At the beginning of the log.")]
Executions = Annotated[list[str] | None, typer.Argument(metavar="EXECUTION", help="Only of these executions.")]


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
    webhook: Annotated[str, typer.Option(metavar="URL", help="Where events are sent; without, consumers come.")] = "",
    header: Annotated[list[str] | None, typer.Option(metavar="NAME:VALUE", help="Sent along. May repeat.")] = None,
    secret: Annotated[str, typer.Option(metavar="NAME", help="The server's secret to sign with.")] = "",
) -> None:
    """Make a subscription; without a start it begins now."""
    options = SubscriptionOptions(description=description, cursor=cursor, from_beginning=from_beginning)
    if webhook:
        options["webhook"] = Webhook(webhook, dict(map(_header, header or ())), secret)
    elif header or secret:
        raise Unusable("Expected --webhook beside --header and --secret.")
    with session.client() as client:
        found = client.create_subscription(name, filter, **options)
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


@app.command("dead-letters")
@on_server
def dead_letters(session: Session, name: Name) -> None:
    """List what its webhook refused too often."""
    with session.client() as client:
        found = list(client.dead_letters(name))
    session.output.table(
        [records.dead_letter(item) for item in found],
        ("EXECUTION", "REVISION", "WAITING", "ATTEMPTS", "MESSAGE"),
        [
            (i.execution_id, str(i.revision), str(i.last_revision - i.revision), str(i.attempts), i.message)
            for i in found
        ],
    )


@app.command()
@on_server
def retry(session: Session, name: Name, executions: Executions = None) -> None:
    """Send dead letters again, and what waits behind them."""
    with session.client() as client:
        count = client.retry_dead_letters(name, *(executions or ()))
    session.output.record({"count": count}, f"{count} are sent again.")


@app.command()
@on_server
def discard(session: Session, name: Name, executions: Executions = None) -> None:
    """Give dead letters up for good; what waits behind them is sent."""
    with session.client() as client:
        count = client.discard_dead_letters(name, *(executions or ()))
    session.output.record({"count": count}, f"{count} are given up.")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise Unusable(f"Expected a header like 'X-Team: payroll', but got '{text}'.")
    return name.strip(), value.strip()


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
    by = f", consumed by {item.consumer}" if item.consumer and not item.webhook else ""
    to = f", sent to {item.webhook.url}" if item.webhook else ""
    parked = f"\nwaiting {item.waiting_executions}, dead letters {item.dead_letters}" if item.webhook else ""
    return f"{item.name}  {item.state}{why}  {behind}{by}{to}{parked}"
