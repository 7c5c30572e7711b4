"""Commands about executions: start, ps, show, history, and those that steer one."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from tradewind import Client, Execution, calls, values
from tradewind_server.cli import records
from tradewind_server.cli.given import read_object
from tradewind_server.cli.output import Output, error_console, state_text
from tradewind_server.cli.picture import event_line, execution_picture, gather, progress_text
from tradewind_server.cli.session import NOT_DONE, Session, Unusable, on_server
from tradewind_server.clock import SystemClock

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the execution.")]
Message = Annotated[str, typer.Option(help="Why, for those who look later.")]
Json = Annotated[str, typer.Option(metavar="JSON|@FILE|-")]
TaskName = Annotated[str, typer.Argument(metavar="[TASK]", help="Name of the task; without it, the one that failed.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (start, show, history, pause, resume, cancel, rerun, skip):
        app.command()(command)


@on_server
def start(
    session: Session,
    workflow: Annotated[str, typer.Argument(help="Name of the workflow.")],
    input: Json = "",
    env: Annotated[str, typer.Option(metavar="JSON|@FILE|-|NAME", help="Variables, or a stored environment.")] = "",
    params: Json = "",
    business_key: Annotated[str, typer.Option(help="What it is about; at most one open execution holds it.")] = "",
    use_existing: Annotated[bool, typer.Option(help="If the business key is held: show that execution.")] = False,
    external_id: Annotated[str, typer.Option(help="Your own id: a repeated start gets the same execution.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    description: str = "",
    workflow_namespace: str = "",
    definition_version: Annotated[int, typer.Option(help="0 is the current one.")] = 0,
    request_id: Annotated[str, typer.Option(help="Makes a repeat of this command harmless.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end; exit 1 unless it succeeds.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait.")] = None,
) -> None:
    """Start a workflow and print its id."""
    options: calls.StartOptions = {
        "workflow_namespace": workflow_namespace,
        "version": definition_version,
        "external_id": external_id,
        "business_key": business_key,
        "use_existing": use_existing,
        "tags": tag or (),
        "description": description,
        "request_id": request_id,
    }
    if env:
        is_given = env.lstrip().startswith("{") or env.startswith("@") or env == "-"
        options["env"] = read_object(env, "--env") if is_given else env
    if params:
        options["params"] = read_object(params, "--params")
    given = read_object(input, "--input")
    with session.client() as client:
        execution = client.start(workflow, given, **options)
        if wait:
            execution = _wait(session.output, client, execution, timeout)
    if wait or session.output.as_json:
        session.output.record(records.execution(execution), _line(execution))
    else:
        session.output.text(execution.id)
    if wait and execution.state != "SUCCEEDED":
        raise typer.Exit(NOT_DONE)


def _wait(output: Output, client: Client, execution: Execution, timeout: float | None) -> Execution:
    try:
        return client.wait(execution.id, timeout=timeout)
    except TimeoutError:
        if not output.as_json:
            error_console().print(f"Not finished within {timeout:g} s; it goes on.")
        return client.get(execution.id)


def _line(execution: Execution) -> Text:
    reason = execution.failure.message if execution.failure else execution.state_message
    text = Text.assemble(f"{execution.id} ", state_text(execution.state), f" {reason}" if reason else "")
    if execution.output is not None:
        text.append("\n" + values.encode(execution.output).decode())
    return text


@on_server
def show(session: Session, execution_id: Id) -> None:
    """Show an execution with its tasks, child executions and what it waits for."""
    with session.client() as client:
        view = gather(client, execution_id)
    picture = execution_picture(view, SystemClock().now())
    if view.progress and not view.execution.is_final:
        picture = Group(picture, Text(progress_text(view.progress), "dim"))
    session.output.record(view.record(), picture)


@on_server
def history(
    session: Session, execution_id: Id, after_revision: Annotated[int, typer.Option(help="Only later ones.")] = 0
) -> None:
    """List what happened; with --json one event a line."""
    with session.client() as client:
        for event in client.history(execution_id, after_revision=after_revision):
            session.output.record(records.event(event), event_line(event))


@on_server
def pause(session: Session, execution_id: Id, message: Message = "") -> None:
    """Let an execution start nothing new."""
    with session.client() as client:
        _show(session, client.pause(execution_id, message))


@on_server
def resume(session: Session, execution_id: Id, env: Json = "") -> None:
    """Let a paused execution go on; --env is merged into its environment."""
    with session.client() as client:
        _show(session, client.resume(execution_id, read_object(env, "--env") if env else None))


@on_server
def cancel(session: Session, execution_id: Id, message: Message = "") -> None:
    """End an execution early, and its child executions."""
    with session.client() as client:
        _show(session, client.cancel(execution_id, message))


@on_server
def rerun(
    session: Session,
    execution_id: Id,
    task: TaskName = "",
    task_id: Annotated[str, typer.Option(help="Id of the task, if its name is not enough.")] = "",
    reset: Annotated[bool, typer.Option(help="All its items, not only those that failed.")] = False,
    env: Json = "",
) -> None:
    """Run a failed task again."""
    environment = read_object(env, "--env") if env else None
    with session.client() as client:
        which = _which(client, execution_id, task, task_id)
        _show(session, client.rerun(execution_id, reset=reset, env=environment, **which))


@on_server
def skip(
    session: Session,
    execution_id: Id,
    task: TaskName = "",
    task_id: Annotated[str, typer.Option(help="Id of the task, if its name is not enough.")] = "",
) -> None:
    """Go on as if a failed task had succeeded."""
    with session.client() as client:
        _show(session, client.skip(execution_id, **_which(client, execution_id, task, task_id)))


def _which(client: Client, execution_id: str, task: str, task_id: str) -> dict[str, Any]:
    if task_id:
        return {"task_id": task_id}
    if task:
        return {"task": task}
    failed = [item for item in client.tasks(execution_id, "state = FAILED")]
    if len(failed) != 1:
        names = ", ".join(item.name for item in failed) or "nothing to choose from"
        raise Unusable(f"Expected one failed task, but there are {len(failed)}. Name one: {names}.")
    return {"task_id": failed[0].id}


def _show(session: Session, execution: Execution) -> None:
    session.output.record(records.execution(execution), _line(execution))
