"""Commands about actions: list those that wait for somebody outside, answer them, and read what workers wrote."""

from __future__ import annotations

import re
from typing import Annotated

import typer
from rich.text import Text

from tradewind import Client, values
from tradewind.models import LogLine
from tradewind_server.cli import records
from tradewind_server.cli.executions import Id
from tradewind_server.cli.given import read_value
from tradewind_server.cli.output import state_text
from tradewind_server.cli.session import Session, Unusable, on_server

app = typer.Typer(help="List actions, answer those that wait, and read their logs.", no_args_is_help=True)

ActionId = Annotated[str, typer.Argument(metavar="ACTION", help="Id of the action, or name of its task.")]

_WAITING = "asynchronous = true AND state = RUNNING"


@app.command("list")
@on_server
def list_(
    session: Session,
    execution_id: Annotated[str, typer.Argument(metavar="[ID]", help="Of this execution only.")] = "",
    all_: Annotated[bool, typer.Option("--all", help="Also those of workers, and those that have ended.")] = False,
    filter: Annotated[str, typer.Option(help="E.g. 'name = \"std.http\"'.")] = "",
    limit: Annotated[int, typer.Option(help="Most lines.", min=1)] = 100,
) -> None:
    """List actions that wait for an answer."""
    parts = [part for part in ("" if all_ else _WAITING, filter) if part]
    with session.client() as client:
        listed = client.actions(execution_id, " AND ".join(parts))
        found = [item for item, _ in zip(listed, range(limit), strict=False)]
    session.output.table(
        [records.action(item) for item in found],
        ("EXECUTION", "ACTION", "TASK", "NAME", "STATE", "ATTEMPT", "WORKER"),
        [
            (item.execution_id, item.id, item.task, item.name, state_text(item.state), str(item.attempt), item.worker)
            for item in found
        ],
    )


@app.command()
@on_server
def complete(
    session: Session,
    execution_id: Id,
    action: ActionId,
    result: Annotated[str, typer.Option(metavar="JSON|@FILE|-", help="Default is null.")] = "null",
) -> None:
    """Answer an asynchronous action with a result."""
    value = read_value(result, "--result")
    with session.client() as client:
        action_id = _resolve(client, execution_id, action)
        revision = client.complete_action(execution_id, action_id, value)
    _answered(session, execution_id, action_id, "completed", revision)


@app.command()
@on_server
def fail(
    session: Session,
    execution_id: Id,
    action: ActionId,
    message: Annotated[str, typer.Option(help="One sentence for people.")],
    code: Annotated[str, typer.Option(help="Machine-readable, in UPPER_SNAKE.")] = "FAILED",
    details: Annotated[str, typer.Option(metavar="JSON|@FILE|-")] = "null",
    final: Annotated[bool, typer.Option("--final", help="Trying again cannot help.")] = False,
) -> None:
    """Answer an asynchronous action with a failure."""
    value = read_value(details, "--details")
    with session.client() as client:
        action_id = _resolve(client, execution_id, action)
        revision = client.fail_action(execution_id, action_id, message, code=code, retryable=not final, details=value)
    _answered(session, execution_id, action_id, "failed", revision)


_LEVELS = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "red"}


@app.command()
@on_server
def logs(
    session: Session,
    execution_id: Id,
    action_id: Annotated[str, typer.Argument(metavar="[ACTION]", help="Id of the action, e.g. a7; default: all.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what they write, to the end.")] = False,
) -> None:
    """Show what workers wrote about actions; with --json one line each."""
    with session.client() as client:
        if follow:
            for update in client.watch_action_logs(execution_id, action_id):
                for line in update.lines:
                    _log_line(session, line)
            return
        for line in client.action_logs(execution_id, action_id):
            _log_line(session, line)


def _log_line(session: Session, line: LogLine) -> None:
    at = line.at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    who = line.action_id if line.attempt == 1 else f"{line.action_id} attempt {line.attempt}"
    text = Text.assemble((f"{at}  {who}  ", "dim"), (f"{line.level:7}  ", _LEVELS.get(line.level, "")), line.message)
    session.output.record(records.log_line(line), text)


def _resolve(client: Client, execution_id: str, action: str) -> str:
    if re.fullmatch(r"a[0-9]+", action):
        return action
    filter_ = f"{_WAITING} AND task = {values.encode(action).decode()}"
    found = [item.id for item in client.actions(execution_id, filter_)]
    if not found:
        look = f"See what waits: tradewind actions list {execution_id}"
        raise Unusable(f"Expected an action of task '{action}' that waits, but there is none. {look}")
    if len(found) > 1:
        raise Unusable(f"Expected one action of task '{action}' that waits, but there are several: {', '.join(found)}.")
    return found[0]


def _answered(session: Session, execution_id: str, action_id: str, word: str, revision: int) -> None:
    value = {"execution_id": execution_id, "action_id": action_id, "revision": revision}
    session.output.record(value, f"{word} {action_id} of {execution_id}")
