"""A board of many executions, live on a terminal, and a line for each change of state in a pipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from tradewind import Client
from tradewind.models import FINAL_STATES, Event, Execution, LogUpdate
from tradewind_server.cli.output import grid, state_text
from tradewind_server.cli.session import Session

#: Executions that are shown; the rest is counted.
_MOST_ROWS = 30
_OVER = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED"})


@dataclass(slots=True)
class Row:
    """One execution of the board."""

    id: str
    workflow: str
    business_key: str
    state: str
    at: datetime
    #: State of each of its tasks that is known, by its id.
    tasks: dict[str, str]
    #: Name of the task that changed last.
    last_task: str = ""

    @property
    def done(self) -> int:
        """Return how many of its tasks have ended."""
        return sum(state in _OVER for state in self.tasks.values())


class Board:
    """What is known of a group of executions: those that are open when it begins, and those that start after that."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self.rows: dict[str, Row] = {}

    def apply(self, update: LogUpdate) -> list[Row]:
        """Take in what has happened; return the executions whose own state changed, once each."""
        changed = [self._show(each) for each in update.executions if each.business_key.startswith(self._prefix)]
        for event in update.events:
            if event.proto.business_key.startswith(self._prefix) and (row := self._note(event)) is not None:
                changed.append(row)
        return list({row.id: row for row in changed}.values())

    def _show(self, execution: Execution) -> Row:
        row = Row(execution.id, execution.workflow, execution.business_key, execution.state, execution.updated_at, {})
        self.rows[execution.id] = row
        return row

    def _note(self, event: Event) -> Row | None:
        row = self.rows.get(event.execution_id)
        if row is None:
            row = Row(event.execution_id, event.proto.workflow, event.proto.business_key, "RUNNING", event.at, {})
            self.rows[row.id] = row
        row.at = event.at
        if event.task_state:
            row.tasks[event.task_id], row.last_task = event.task_state, event.task
        if not event.execution_state:
            return None
        row.state = event.execution_state
        return row

    @property
    def counts(self) -> Counter[str]:
        """Return how many executions are in which state."""
        return Counter(row.state for row in self.rows.values())

    @property
    def is_over(self) -> bool:
        """Tell whether all of them have ended, and there was one."""
        return bool(self.rows) and all(row.state in FINAL_STATES for row in self.rows.values())

    @property
    def has_failed(self) -> bool:
        """Tell whether one of them ended otherwise than well."""
        return any(row.state in FINAL_STATES and row.state != "SUCCEEDED" for row in self.rows.values())

    def picture(self) -> RenderableType:
        """Return the board: what changed last stands first."""
        cells: list[tuple[Text | str, ...]] = []
        newest = sorted(self.rows.values(), key=lambda row: row.at, reverse=True)
        for row in newest[:_MOST_ROWS]:
            tasks = f"{row.done}/{len(row.tasks)}" if row.tasks else ""
            at = f"{row.at:%H:%M:%S}"
            cells.append((row.id, row.business_key, row.workflow, state_text(row.state), tasks, row.last_task, at))
        table = grid(("ID", "KEY", "WORKFLOW", "STATE", "TASKS", "LAST", "AT"), cells)
        more = len(newest) - _MOST_ROWS
        return Group(table, Text(f"{f'and {more} more; ' if more > 0 else ''}{summary(self)}"))


def summary(board: Board) -> str:
    """Return the counts in words."""
    counts = ", ".join(f"{number} {state}" for state, number in sorted(board.counts.items()))
    return f"{len(board.rows)} executions: {counts}" if board.rows else "no executions yet"


def follow(session: Session, client: Client, filter: str, prefix: str) -> Board:
    """Show a group of executions until all have ended; return what became of them."""
    board = Board(prefix)
    updates = client.watch_events(filter, with_snapshot=True)
    if session.output.is_live:
        with Live(console=session.output.console, auto_refresh=False) as live:
            for _ in _until_over(board, updates):
                live.update(board.picture(), refresh=True)
        return board
    for changed in _until_over(board, updates):
        for row in changed:
            line = Text.assemble(f"{row.at:%H:%M:%S} {row.id} ", state_text(f"{row.state:<10}"))
            line.append(f" {row.workflow} {row.business_key}".rstrip())
            value = {"id": row.id, "workflow": row.workflow, "business_key": row.business_key, "state": row.state}
            session.output.record(value, line)
    if not session.output.as_json:
        session.output.text(summary(board))
    return board


def _until_over(board: Board, updates: Iterator[LogUpdate]) -> Iterator[list[Row]]:
    for update in updates:
        yield board.apply(update)
        if board.is_over:
            return
