"""Commands about workers: list them, and take them out of service."""

from __future__ import annotations

from typing import Annotated

import typer

from tradewind.operating import WorkerInfo
from tradewind_server.cli import records
from tradewind_server.cli.output import state_text
from tradewind_server.cli.session import Session, on_server

app = typer.Typer(help="List workers, and take them out of service.")

WorkerId = Annotated[str, typer.Argument(metavar="ID", help="Name of the worker.")]
Instance = Annotated[str, typer.Option(help="Only this process of it.")]
Action = Annotated[str, typer.Option(help="Only those that serve this action.")]
Filter = Annotated[str, typer.Option(help="E.g. 'state = DRAINING AND build = \"1.4\"'.")]


@app.callback(invoke_without_command=True)
@on_server
def list_(session: Session, context: typer.Context, action: Action = "", filter: Filter = "") -> None:
    """List the workers that are connected to any server, or poll."""
    if context.invoked_subcommand is not None:
        return
    text = " AND ".join(part for part in (f'action = "{action}"' if action else "", filter) if part)
    with session.client() as client:
        _write(session, list(client.workers(text)))


@app.command()
@on_server
def drain(
    session: Session,
    worker_id: WorkerId,
    instance: Instance = "",
    message: Annotated[str, typer.Option(help="Why; the worker is told.")] = "",
) -> None:
    """Let a worker finish what it has, and give it nothing new until it is resumed or started anew."""
    with session.client() as client:
        _write(session, client.drain_worker(worker_id, instance=instance, message=message))


@app.command()
@on_server
def resume(session: Session, worker_id: WorkerId, instance: Instance = "") -> None:
    """Give a worker actions again that was drained."""
    with session.client() as client:
        _write(session, client.resume_worker(worker_id, instance=instance))


def _write(session: Session, found: list[WorkerInfo]) -> None:
    cells = [
        (
            item.worker_id,
            state_text(item.state),
            str(item.in_hand),
            ", ".join(_capability(action.name, action.concurrency) for action in item.actions),
            item.build,
            item.connection.lower(),
            item.server_id,
            item.instance,
        )
        for item in found
    ]
    columns = ("ID", "STATE", "IN HAND", "ACTIONS", "BUILD", "BY", "SERVER", "INSTANCE")
    session.output.table([records.worker(item) for item in found], columns, cells)


def _capability(name: str, concurrency: int) -> str:
    return f"{name} ({concurrency})" if concurrency else name
