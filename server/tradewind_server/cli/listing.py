"""The commands ps, count and export: which executions there are."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from tradewind_server.cli import records
from tradewind_server.cli.output import state_text
from tradewind_server.cli.session import Session, on_server

State = Annotated[str, typer.Option(help="E.g. RUNNING.")]
Workflow = Annotated[str, typer.Option(help="Name of the workflow.")]
Error = Annotated[str, typer.Option(metavar="CODE", help="Code of the failure, e.g. ACCOUNT_CLOSED.")]
Since = Annotated[str, typer.Option(metavar="AGO|INSTANT", help="Started not before: 90s, 15m, 2h, 7d, or an instant.")]
Until = Annotated[str, typer.Option(metavar="AGO|INSTANT", help="Started not after.")]
Search = Annotated[
    str, typer.Option(metavar="TEXT", help="In keys, descriptions, messages and tags; of the last day without --since.")
]
Filter = Annotated[str, typer.Option(help="Further comparisons, e.g. 'parent_id = \"...\"'.")]

#: Seconds of a unit.
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (ps, count, export):
        app.command()(command)


@on_server
def ps(
    session: Session,
    state: State = "",
    workflow: Workflow = "",
    business_key: str = "",
    tag: str = "",
    error: Error = "",
    since: Since = "",
    until: Until = "",
    search: Search = "",
    filter: Filter = "",
    limit: Annotated[int, typer.Option(help="Most lines.", min=1)] = 50,
) -> None:
    """List executions, newest first."""
    text = _filter(state, workflow, business_key, tag, error, since, until, search, filter)
    with session.client() as client:
        found = [item for item, _ in zip(client.executions(text), range(limit), strict=False)]
    cells = []
    for item in found:
        done = sum(item.task_counts.get(name, 0) for name in ("succeeded", "failed", "cancelled", "skipped"))
        started = item.created_at.strftime("%Y-%m-%d %H:%M:%S")
        tasks = f"{done}/{sum(item.task_counts.values())}"
        cells.append((item.id, item.workflow, state_text(item.state), item.business_key, tasks, started))
    session.output.table(
        [records.execution(item) for item in found], ("ID", "WORKFLOW", "STATE", "KEY", "TASKS", "STARTED (UTC)"), cells
    )


def _filter(
    state: str, workflow: str, key: str, tag: str, error: str, since: str, until: str, search: str, further: str
) -> str:
    now = datetime.now(UTC)
    parts = [f"state = {state.upper()}"] if state else []
    matches = {"workflow =": workflow, "business_key =": key, "tags:": tag, "error_code =": error, "text:": search}
    parts += [f"{comparison} {_quoted(value)}" for comparison, value in matches.items() if value]
    if search:  # which needs both bounds
        since, until = since or "24h", until or "0s"
    parts += [f"created_at >= {_moment(since, now)}"] if since else []
    parts += [f"created_at <= {_moment(until, now)}"] if until else []
    return " AND ".join([*parts, further] if further else parts)


def _moment(given: str, now: datetime) -> str:
    """Return an instant as the API takes it; *given* is one, or how long ago it was."""
    ago = seconds_of(given)
    return given if ago is None else (now - timedelta(seconds=ago)).isoformat()


def seconds_of(given: str) -> int | None:
    """Return the seconds of a span such as 15m; None if it is none."""
    span = re.fullmatch(r"(\d{1,5})([smhd])", given)
    return None if span is None else int(span[1]) * _UNITS[span[2]]


@on_server
def export(
    session: Session,
    cursor: Annotated[str, typer.Option(help="Go on after the execution that had this cursor; same filter.")] = "",
    state: State = "",
    workflow: Workflow = "",
    business_key: str = "",
    tag: str = "",
    error: Error = "",
    filter: Filter = "",
) -> None:
    """Write whole executions as JSON lines, each with its tasks, actions, events, and the cursor to go on after it."""
    text = _filter(state, workflow, business_key, tag, error, "", "", "", filter)
    with session.client() as client:
        for item in client.export(text, cursor=cursor):
            session.output.json(records.exported(item))


@on_server
def count(
    session: Session,
    by: Annotated[
        list[str] | None,
        typer.Option(help="state, workflow, definition_version, error_kind, error_code or tags; up to three."),
    ] = None,
    state: State = "",
    workflow: Workflow = "",
    business_key: str = "",
    tag: str = "",
    error: Error = "",
    since: Since = "",
    until: Until = "",
    search: Search = "",
    filter: Filter = "",
) -> None:
    """Count executions by state, or by what --by says."""
    text = _filter(state, workflow, business_key, tag, error, since, until, search, filter)
    names = [name for given in by or ["state"] for name in given.split(",")]
    with session.client() as client:
        found = client.count_by(*names, filter=text)
    rows = [(*values, str(number)) for values, number in found.groups]
    groups = [{"values": dict(zip(names, values, strict=True)), "count": number} for values, number in found.groups]
    if session.output.as_json:
        record: records.Record = {"total": found.total, "groups": list(groups), "groups_cut": found.is_cut}
        session.output.record(record, "")
        return
    session.output.table(groups, (*(name.upper() for name in names), "COUNT"), rows)
    session.output.text(f"{found.total} in all" + (", in more groups than these" if found.is_cut else ""))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
