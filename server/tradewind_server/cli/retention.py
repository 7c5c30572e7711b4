"""Commands about how long executions are kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from tradewind.models import RetentionRule
from tradewind_server.cli import records
from tradewind_server.cli.listing import seconds_of
from tradewind_server.cli.session import Session, Unusable, on_server

app = typer.Typer(help="Say how long executions are kept after their end.", no_args_is_help=True)

Workflow = Annotated[str, typer.Option(help="Of this workflow only; its rule comes before the one of all others.")]
_EVER = "ever"


@app.command("list")
@on_server
def list_(session: Session) -> None:
    """List the rules; what has none is kept for ever."""
    with session.client() as client:
        found = client.retention_rules()
    cells = [(rule.workflow or "(all others)", _text(rule)) for rule in found]
    session.output.table([records.retention(rule) for rule in found], ("WORKFLOW", "KEPT"), cells)


def _text(rule: RetentionRule) -> str:
    return f"for {_EVER}" if rule.keep is None else str(rule.keep)


@app.command("set")
@on_server
def set_(
    session: Session,
    keep: Annotated[str, typer.Argument(metavar="SPAN|ever", help="E.g. 90d or 12h, after the end.")],
    workflow: Workflow = "",
) -> None:
    """Make a rule, or replace it. What is older is removed for good: export it before."""
    seconds = seconds_of(keep)
    if seconds is None and keep != _EVER:
        raise Unusable(f"Expected how long to keep, such as 90d, 12h or 'ever', but got '{keep}'.")
    span = None if seconds is None else timedelta(seconds=seconds)
    with session.client() as client:
        rule = client.put_retention(span, workflow=workflow)
    session.output.record(records.retention(rule), f"{workflow or 'All others'}: kept {_text(rule)}.")


@app.command()
@on_server
def delete(session: Session, workflow: Workflow = "") -> None:
    """Remove a rule."""
    with session.client() as client:
        client.delete_retention(workflow=workflow)
    session.output.record({"workflow": workflow}, "The rule is gone.")
