"""Commands about limits of actions."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from tradewind.operating import ActionLimit
from tradewind_server.cli import records
from tradewind_server.cli.listing import seconds_of
from tradewind_server.cli.session import Session, Unusable, on_server

app = typer.Typer(help="Bound how many of an action are done, over all servers and workers.")

Action = Annotated[str, typer.Argument(metavar="ACTION", help="Name of the action, e.g. mail.send.")]


@app.callback(invoke_without_command=True)
@on_server
def list_(session: Session, context: typer.Context) -> None:
    """List the limits of actions, and what is in hand; set and remove them."""
    if context.invoked_subcommand is None:
        _list(session)


@app.command("list")
@on_server
def list_too(session: Session) -> None:
    """List them; the same as without a command."""
    _list(session)


def _list(session: Session) -> None:
    with session.client() as client:
        found = client.limits()
    cells = [(limit.action, _bound(limit), _rate(limit), str(limit.in_hand)) for limit in found]
    session.output.table(
        [records.limit(limit) for limit in found], ("ACTION", "AT THE SAME TIME", "RATE", "IN HAND"), cells
    )


def _bound(limit: ActionLimit) -> str:
    return "" if limit.concurrency is None else str(limit.concurrency)


def _rate(limit: ActionLimit) -> str:
    return "" if limit.rate is None or limit.period is None else f"{limit.rate} in {limit.period}"


@app.command("set")
@on_server
def set_(
    session: Session,
    action: Action,
    concurrency: Annotated[int | None, typer.Option(help="Most in hand at the same time; 0 hands none out.", min=0)] = (
        None
    ),
    rate: Annotated[
        str, typer.Option(metavar="N/SPAN", help="Most that are handed out in a time, e.g. 100/1m or 5/s.")
    ] = "",
) -> None:
    """Make a limit, or replace it. It holds at once; what is in hand is left there, and counts."""
    count, period = _rate_of(rate) if rate else (None, timedelta(seconds=1))
    with session.client() as client:
        limit = client.put_limit(action, concurrency=concurrency, rate=count, period=period)
    said = " and ".join(
        part for part in (f"{_bound(limit)} at the same time" if _bound(limit) else "", _rate(limit)) if part
    )
    session.output.record(records.limit(limit), f"{action}: at most {said}.")


def _rate_of(given: str) -> tuple[int, timedelta]:
    """Return how many, in which time.

    Raises:
        Unusable: it is no rate.
    """
    count, _, span = given.partition("/")
    seconds = seconds_of(span if span[:1].isdigit() else f"1{span}")
    if not (count.isascii() and count.isdigit() and len(count) < 10) or not seconds:
        raise Unusable(f"Expected a rate such as 100/1m or 5/s, but got '{given}'.")
    return int(count), timedelta(seconds=seconds)


@app.command()
@on_server
def remove(session: Session, action: Action) -> None:
    """Remove a limit; what waited for it is handed out."""
    with session.client() as client:
        client.delete_limit(action)
    session.output.record({"action": action}, "The limit is gone.")
