"""The commands watch, a live tree and a bar on a terminal or a line for each event in a pipe, and events."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from tradewind import Client, TradewindError
from tradewind_server.cli import board, records
from tradewind_server.cli.picture import View, event_line, execution_picture, gather, progress_picture
from tradewind_server.cli.session import NOT_DONE, Session, Unusable, on_server

#: Seconds between two pictures while nothing happens, so that durations move.
_TICK = 0.5


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(watch)
    app.command()(events)


@on_server
def watch(
    session: Session,
    execution_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the execution.")] = "",
    after_revision: Annotated[int, typer.Option(help="Only later events; in a pipe or with --json.")] = 0,
    group: Annotated[str, typer.Option(help="All of a filter instead of one, e.g. 'tags : november'.")] = "",
    key: Annotated[str, typer.Option(metavar="PREFIX", help="All whose business key begins like this.")] = "",
) -> None:
    """Follow an execution to its end, or many to the end of all; exit 0 if they succeed, 1 otherwise."""
    if bool(execution_id) == bool(group or key):
        raise Unusable("Expected the id of an execution, or --group or --key for many.")
    with session.client() as client:
        if group or key:
            if board.follow(session, client, group, key).has_failed:
                raise typer.Exit(NOT_DONE)
            return
        if session.output.is_live:
            view = _live(session, client, execution_id)
            state = view.execution.state
        else:
            client.get(execution_id)  # a stream would wait for ever for a server that is not there
            for event in client.watch(execution_id, after_revision=after_revision):
                session.output.record(records.event(event), event_line(event))
            state = client.get(execution_id).state
    if state != "SUCCEEDED":
        raise typer.Exit(NOT_DONE)


@on_server
def events(
    session: Session,
    filter: Annotated[str, typer.Option(help="E.g. 'workflow = salary AND type = ExecutionFailed'.")] = "",
    from_beginning: Annotated[bool, typer.Option(help="Start at the beginning of the log, not now.")] = False,
    cursor: Annotated[str, typer.Option(help="Go on after the event that had this cursor (--json shows them).")] = "",
    until: Annotated[str, typer.Option(help="End after the first event of this type.")] = "",
) -> None:
    """Follow the events of all executions, until interrupted."""
    with session.client() as client:
        client.server_info()  # a stream would wait for ever for a server that is not there
        for update in client.watch_events(filter, cursor=cursor, from_beginning=from_beginning):
            for event in update.events:
                line = Text.assemble(f"{event.execution_id} ", event_line(event))
                session.output.record({**records.event(event), "cursor": update.cursor}, line)
            if until and any(event.type == until for event in update.events):
                return


def _live(session: Session, client: Client, execution_id: str) -> View:
    view = gather(client, execution_id)
    news = _News(client, execution_id, view.execution.revision)
    threading.Thread(target=news.follow, daemon=True).start()
    with Live(console=session.output.console, auto_refresh=False) as live:
        while True:
            # The clock of this machine only moves running durations.
            picture = execution_picture(view, datetime.now(UTC))
            live.update(Group(picture, progress_picture(view)), refresh=True)
            if view.execution.is_final:
                return view
            if news.wait(_TICK) or view.has_open_children:
                view = gather(client, execution_id, news.revision)


class _News:
    """Follows the events in a thread, so that the picture can move while none comes."""

    def __init__(self, client: Client, execution_id: str, revision: int) -> None:
        self.revision = revision
        self._client = client
        self._execution_id = execution_id
        self._something = threading.Event()
        self._error: TradewindError | None = None

    def follow(self) -> None:
        try:
            for update in self._client.updates(self._execution_id, after_revision=self.revision):
                self.revision = update.revision
                self._something.set()
        except TradewindError as error:
            self._error = error
        self._something.set()

    def wait(self, seconds: float) -> bool:
        """Wait for an event; return whether there was one."""
        happened = self._something.wait(seconds)
        self._something.clear()
        if self._error is not None:
            raise self._error
        return happened
