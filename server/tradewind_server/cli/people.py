"""Commands for people: what they are asked to do, and how they answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tradewind import Client, TradewindError, values
from tradewind.people import HumanTask, InboxUpdate
from tradewind_server.cli import attachments, form_asking, records
from tradewind_server.cli.given import read_object
from tradewind_server.cli.output import Output, grid
from tradewind_server.cli.session import NOT_DONE, Session, Unusable, on_server
from tradewind_server.clock import SystemClock

app = typer.Typer(help="Do what you are asked to do.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the human task, as the inbox shows it.")]
Note = Annotated[str, typer.Option(help="Why.")]
_NEVER = datetime.max.replace(tzinfo=UTC)
_COLUMNS = ("ID", "PRIORITY", "TITLE", "WORKFLOW", "STATE", "WHO", "SINCE", "DUE")


def add_to(main: typer.Typer) -> None:
    """Add the commands."""
    main.command()(inbox)
    attachments.add_to(app)
    main.add_typer(app, name="task")


# --- lists ---------------------------------------------------------------------------------------


@on_server
def inbox(
    session: Session,
    scope: Annotated[str, typer.Option(help="inbox, mine, delegated, or all of the namespace.")] = "inbox",
    filter: Annotated[str, typer.Option(help="E.g. 'workflow = salary AND priority >= 5'.")] = "",
    follow: Annotated[bool, typer.Option(help="Go on and show what comes and goes, until interrupted.")] = False,
) -> None:
    """List what you are asked to do."""
    if scope not in ("inbox", "mine", "delegated", "all"):
        raise Unusable(f"Expected --scope to be inbox, mine, delegated or all, but got '{scope}'.")
    with session.client() as client:
        if follow:
            _follow(session.output, client, scope, filter)
            return
        found = list(client.people.list(scope, filter))
    session.output.table([records.human_task(item) for item in found], _COLUMNS, [_cells(item) for item in found])


def _cells(item: HumanTask) -> tuple[str, ...]:
    who = item.done_by or item.assignee or ", ".join([*item.asked, *item.claims, *item.groups])
    since = item.created_at.strftime("%Y-%m-%d %H:%M")
    due = "" if item.due_at is None else item.due_at.strftime("%Y-%m-%d %H:%M")
    return (item.id, str(item.priority), item.title, item.workflow, item.state, who, since, due)


def _follow(output: Output, client: Client, scope: str, filter: str) -> None:
    updates = client.people.watch(scope, filter)
    if output.is_live:
        _live(output, updates)
        return
    for update in updates:
        for item in update.human_tasks:
            output.record(records.human_task(item), f"+ {item.id} {item.state} {item.title}")
        for id_ in update.removed:
            output.record({"id": id_, "removed": True}, f"- {id_}")


def _live(output: Output, updates: Any) -> None:
    there: dict[str, HumanTask] = {}
    with Live(console=output.console, auto_refresh=False) as live:
        for update in updates:
            _apply(there, update)
            live.update(_picture(list(there.values())), refresh=True)


def _apply(there: dict[str, HumanTask], update: InboxUpdate) -> None:
    there.update({item.id: item for item in update.human_tasks})
    for id_ in update.removed:
        there.pop(id_, None)


def _picture(items: list[HumanTask]) -> Table | Text:
    if not items:
        return Text("Nothing to do.")
    in_order = sorted(items, key=lambda each: (-each.priority, each.due_at or _NEVER, each.id))
    return grid(_COLUMNS, (_cells(item) for item in in_order))


# --- one -----------------------------------------------------------------------------------------


@app.command()
@on_server
def show(session: Session, id: Id) -> None:
    """Show a human task with all that there is to decide on, and what happened to it."""
    with session.client() as client:
        item, entries = client.people.get(id), list(client.people.entries(id))
    lines = [
        f"{each.at:%Y-%m-%d %H:%M:%S}  {_words(each.type)}"
        f"{f' by {each.by}' if each.by else ''}{f' to {each.to}' if each.to else ''}"
        f"{f' for {each.owner}' if each.owner not in ('', each.by) else ''}"
        f"{f': {each.attachment.id} {each.attachment.name}' if each.attachment else ''}"
        f"{f': {each.outcome}' if each.outcome else ''}{f'  ({each.text})' if each.text else ''}"
        for each in entries
    ]
    record = {**records.human_task(item), "entries": [records.human_task_entry(each) for each in entries]}
    session.output.record(record, Group(_shown(item), "", *lines))


def _words(type_: str) -> str:
    """Return the type of an event about a human task in words: HumanTaskDraftSaved -> draft saved."""
    return " ".join(re.findall("[A-Z][a-z]*", type_.removeprefix("HumanTask"))).lower()


def _shown(item: HumanTask) -> Group:
    lines: list[RenderableType] = [Text(item.title, "bold"), f"{item.id}  {item.state}  {item.workflow}/{item.task}"]
    lines += [item.description] if item.description else []
    for name, value in item.show.items() if isinstance(item.show, dict) else ():
        lines.append(f"  {name}: {value if isinstance(value, str) else values.encode(value).decode()}")
    lines.append(f"Outcomes: {', '.join(_way(item, name) for name in item.outcomes)}")
    if isinstance(item.form, dict) and item.form.get("properties"):
        lines.append(f"Form: {', '.join(_fields(item.form))}")
    if item.attachments:
        lines.append(f"Files: {', '.join(f'{each.id} {each.name}' for each in item.attachments)}")
    if item.draft is not None:
        lines.append(f"Draft: {values.encode(item.draft).decode()}")
    lines += _votes(item)
    lines.append(_who(item))
    for what, moment in (("Due", item.due_at), ("Expires", item.expires_at)):
        lines += [] if moment is None else [f"{what}: {moment:%Y-%m-%d %H:%M} UTC"]
    return Group(*lines)


def _way(item: HumanTask, name: str) -> str:
    details = ["with a reason"] if item.outcomes[name] else []
    details += ["decides with one vote"] if name in item.vetoes else []
    return f"{name} ({', '.join(details)})" if details else name


def _votes(item: HumanTask) -> list[str]:
    """Return what has been voted, and what is still needed."""
    if not item.quorum:
        return []
    missing = f"{item.votes_missing} more" if item.votes_missing else "none more"
    lines = [f"Votes: {len(item.votes)}; {item.quorum} for one outcome decide, {missing} needed"]
    for vote in item.votes:
        data = f"  {values.encode(vote.data).decode()}" if vote.data else ""
        reason = f"  ({vote.reason})" if vote.reason else ""
        lines.append(f"  {vote.by}{f' for {vote.owner}' if vote.owner else ''}: {vote.outcome}{reason}{data}")
    return lines


def _fields(form: Mapping[str, Any]) -> list[str]:
    """Return what a form asks for in words: `amount (number)`, `comment (string, optional)`."""
    found = []
    for name, schema in form["properties"].items():
        type_ = schema.get("type") if isinstance(schema, dict) else None
        words = [type_] if isinstance(type_, str) else []
        words += [] if name in form.get("required", ()) else ["optional"]
        found.append(f"{name} ({', '.join(words)})" if words else str(name))
    return found


def _who(item: HumanTask) -> str:
    if item.done_by:
        return f"Decided: {item.outcome} by {item.done_by}"
    if item.assignee:
        return f"With: {item.assignee}{f', for {item.owner}' if item.owner not in ('', item.assignee) else ''}"
    held = (f"{user} (has it{f' for {owner}' if owner else ''})" for user, owner in item.claims.items())
    return f"Asked: {', '.join([*item.asked, *held, *(f'group {name}' for name in item.groups)])}"


def _does(session: Session, call: Callable[[Client], HumanTask], said: str, to: str = "") -> None:
    with session.client() as client:
        item = call(client)
    session.output.record(records.human_task(item), said.format(item=item, to=to))


@app.command()
@on_server
def claim(session: Session, id: Id) -> None:
    """Take a human task, so that nobody else works on it."""
    _does(session, lambda client: client.people.claim(id), "It is yours now: {item.title}")


@app.command()
@on_server
def release(session: Session, id: Id, note: Note = "") -> None:
    """Give a human task back."""
    _does(session, lambda client: client.people.release(id, note), "It is {item.state} now: {item.title}")


@app.command()
@on_server
def assign(
    session: Session,
    id: Id,
    to: Annotated[str, typer.Argument(metavar="USER", help="Who is to do it.")],
    note: Note = "",
) -> None:
    """Give a human task to a user; for those who may manage human tasks."""
    _does(session, lambda client: client.people.assign(id, to, note), "{to} has it now: {item.title}", to)


@app.command()
@on_server
def delegate(
    session: Session,
    id: Id,
    to: Annotated[str, typer.Argument(metavar="USER", help="Who is to do it.")],
    note: Note = "",
) -> None:
    """Let another user do it; you stay accountable."""
    _does(session, lambda client: client.people.delegate(id, to, note), "{to} has it now: {item.title}", to)


@app.command()
@on_server
def comment(session: Session, id: Id, text: Annotated[str, typer.Argument(help="What you have to say.")]) -> None:
    """Say something about a human task."""
    _does(session, lambda client: client.people.comment(id, text), "It is said: {item.title}")


@app.command()
@on_server
def draft(
    session: Session, id: Id, data: Annotated[str, typer.Argument(metavar="JSON|@FILE|-", help="A JSON object.")]
) -> None:
    """Keep what you have filled in so far."""
    given = read_object(data, "the draft")
    _does(session, lambda client: client.people.save_draft(id, given), "It is kept: {item.title}")


@app.command()
@on_server
def submit(
    session: Session,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of human tasks; several need no form.")],
    outcome: Annotated[str, typer.Option(help="The decision; on a terminal it is asked for.")] = "",
    reason: Annotated[str, typer.Option(help="Why; some outcomes need it.")] = "",
    data: Annotated[
        str, typer.Option(metavar="JSON|@FILE|-", help="What the form asks for; on a terminal it is asked for.")
    ] = "",
) -> None:
    """Decide human tasks."""
    given = read_object(data, "--data") if data else None
    with session.client() as client:
        if len(ids) == 1:
            _submit(session, client, client.people.get(ids[0]), outcome, reason, given)
            return
        if data or not outcome:
            raise Unusable("Expected --outcome and no --data for several human tasks: each form is its own.")
        _submit_many(session, client, ids, outcome, reason)


@app.command()
@on_server
def absent(
    session: Session,
    substitute: Annotated[str, typer.Argument(metavar="USER", help="Who stands in.")],
    until: Annotated[datetime, typer.Option(help="The end, in the time of this machine.")],
    since: Annotated[datetime | None, typer.Option("--from", help="The begin; default now.")] = None,
    who: Annotated[str, typer.Option(help="Who is absent; default you.")] = "",
    note: Note = "",
) -> None:
    """Say who stands in while you are away."""
    begin = since.astimezone() if since is not None else SystemClock().now()
    with session.client() as client:
        item = client.people.add_absence(substitute, begin, until.astimezone(), user=who, note=note)
    session.output.record(records.absence(item), f"{item.substitute} stands in for {item.user} until {item.ends_at}.")


@app.command()
@on_server
def absences(session: Session, who: Annotated[str, typer.Option(help="Only of this user.")] = "") -> None:
    """List who stands in for whom."""
    with session.client() as client:
        found = list(client.people.absences(who))
    session.output.table(
        [records.absence(item) for item in found],
        ("ID", "USER", "SUBSTITUTE", "FROM", "UNTIL", "NOTE"),
        [(i.id, i.user, i.substitute, f"{i.starts_at:%Y-%m-%d %H:%M}", f"{i.ends_at:%Y-%m-%d %H:%M}", i.note)
         for i in found],
    )  # fmt: skip


@app.command()
@on_server
def back(session: Session, id: Annotated[str, typer.Argument(metavar="ID", help="Id of the absence.")]) -> None:
    """End an absence."""
    with session.client() as client:
        client.people.remove_absence(id)
    session.output.record({"id": id}, "The absence is over.")


@app.command("return")
@on_server
def return_(
    session: Session, id: Id, reason: Annotated[str, typer.Option(help="What is to be corrected.")] = ""
) -> None:
    """Send it back for correction: decide 'return', where that is an outcome."""
    with session.client() as client:
        _submit(session, client, client.people.get(id), "return", reason, None)


def _submit(session: Session, client: Client, seen: HumanTask, outcome: str, reason: str, data: values.Value) -> None:
    output = session.output
    if output.is_live:
        output.text(_shown(seen))
        outcome = outcome or form_asking.choose(seen.outcomes)
        if data is None and isinstance(seen.form, dict):
            data = form_asking.fill_in(seen.form, seen.draft)
        if not reason and seen.outcomes.get(outcome):
            reason = typer.prompt("Reason")
    if not outcome:
        raise Unusable(f"Expected --outcome: {', '.join(seen.outcomes)}.")
    done = client.people.submit(seen, outcome, reason=reason, data=data)
    output.record(records.human_task(done), _said(done, outcome))


def _said(done: HumanTask, outcome: str) -> str:
    """Return what became of a decision: with a quorum votes may be missing."""
    if done.outcome:
        return f"{done.outcome}: {done.title}"
    return f"voted {outcome}: {done.title} ({done.votes_missing} more needed)"


def _submit_many(session: Session, client: Client, ids: list[str], outcome: str, reason: str) -> None:
    """Decide each for itself: one that cannot be decided, or is not there, keeps none of the others from it."""
    seen = {id_: _got(client, id_) for id_ in dict.fromkeys(ids)}
    there = [item for item in seen.values() if isinstance(item, HumanTask)]
    results = client.people.submit_many(there, outcome, reason=reason) if there else []
    done: dict[str, HumanTask | TradewindError] = {item.id: each for item, each in zip(there, results, strict=True)}
    for id_, item in seen.items():
        result = done.get(id_, item)
        if isinstance(result, TradewindError):
            refusal: records.Record = {"id": id_, "reason": result.reason, "message": str(result)}
            what = item.title if isinstance(item, HumanTask) else id_
            session.output.record(refusal, Text(f"refused: {what}: {result}", "red"))
        else:
            session.output.record(records.human_task(result), _said(result, outcome))
    if any(isinstance(done.get(id_, item), TradewindError) for id_, item in seen.items()):
        raise typer.Exit(NOT_DONE)


def _got(client: Client, id_: str) -> HumanTask | TradewindError:
    """Return a human task, or why there is none.

    Raises:
        TradewindError: the server cannot be asked.
    """
    try:
        return client.people.get(id_)
    except TradewindError as error:
        if error.reason in ("HUMAN_TASK_NOT_FOUND", "FIELD_INVALID"):
            return error
        raise
