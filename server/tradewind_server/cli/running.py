"""The command run: one workflow from a file to its end, on a private server, as one JSON object."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tradewind import TradewindError, aio, calls, models, values
from tradewind_server import lang
from tradewind_server.cli import records
from tradewind_server.cli.definitions import read_sources
from tradewind_server.cli.given import read_object
from tradewind_server.cli.output import Output, error_console
from tradewind_server.cli.picture import View, execution_picture
from tradewind_server.cli.problems import local_problem, show_problems
from tradewind_server.cli.serving import read_settings
from tradewind_server.cli.session import NOT_DONE, UNUSABLE, Unusable, alone
from tradewind_server.lang.graph import uncalled
from tradewind_server.lang.specs import WorkflowSpec

Json = Annotated[str, typer.Option(metavar="JSON|@FILE|-")]

#: States in which a run is over.
_OVER = models.FINAL_STATES | {"PAUSED"}
#: A socket's path has 103 bytes at most, where 25 are ours.
_LONGEST_FOLDER = 78


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)


@dataclass(frozen=True, slots=True)
class _Start:
    source: lang.Source
    workflow: str
    input: dict[str, values.Value]
    options: calls.StartOptions
    timeout: float


class _Refused(Exception):
    """The file or the input is refused."""

    def __init__(self, problems: list[records.Record]) -> None:
        self.problems = problems
        super().__init__(problems[0]["message"])


@alone
def run(
    output: Output,
    file: Annotated[Path, typer.Argument(help="A workbook, a list of workflows or of actions.")],
    workflow: Annotated[str, typer.Option(help="Name; default is the one that no other calls.")] = "",
    input: Json = "",
    env: Json = "",
    params: Json = "",
    timeout: Annotated[float, typer.Option(help="Seconds until it is left as it is.", min=0)] = 60.0,
) -> None:
    """Run a workflow without a server: exit 0 if it succeeds, 1 if not, 2 if the file or input is refused."""
    from tradewind_server import event_loop

    try:
        start = _read(output, file, workflow, input, env, params, timeout)
        view = event_loop.run(_run(start))
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None
    except Unusable as problem:
        _refuse(output, [_problem("unusable-input", str(problem), str(file))])
    except _Refused as refused:
        _refuse(output, refused.problems)
    output.record(_report(view), execution_picture(view))
    if view.execution.state not in _OVER and not output.as_json:
        error_console().print(f"Not finished within {timeout:g} s; --timeout gives it more.")
    if view.execution.state != "SUCCEEDED":
        raise typer.Exit(NOT_DONE)


def _refuse(output: Output, problems: list[records.Record]) -> None:
    if output.as_json:
        output.json({"problems": problems})
    else:
        for problem in problems:
            place = f"{problem['file']}:{problem['line']}:{problem['column']}: " if problem["line"] else ""
            output.text(f"{place}{problem['severity']}: {problem['message']} {problem['fix']}".rstrip())
    raise typer.Exit(UNUSABLE)


def _problem(code: str, message: str, file: str = "") -> records.Record:
    place = {"file": file, "line": 0, "column": 0, "path": ""}
    return {"severity": "error", "code": code, **place, "message": message, "fix": ""}


# --- reading -------------------------------------------------------------------------------------


def _read(output: Output, file: Path, workflow: str, input_: str, env: str, params: str, timeout: float) -> _Start:
    source = read_sources([file])[0]
    checked = lang.check([source])
    if not checked.is_valid:
        if output.as_json:
            raise _Refused([local_problem(problem) for problem in checked.problems])
        show_problems(output, checked.problems, [source])
        raise typer.Exit(UNUSABLE)
    options: calls.StartOptions = {}
    if env:
        options["env"] = read_object(env, "--env")
    if params:
        options["params"] = read_object(params, "--params")
    name = workflow or choose(checked.workflows, str(file))
    return _Start(source, name, read_object(input_, "--input"), options, timeout)


def choose(workflows: Sequence[WorkflowSpec], file: str) -> str:
    """Return the only workflow, or else the only one that no other calls.

    Raises:
        Unusable: there is none, or there are several.
    """
    names = uncalled(workflows)
    if not names:
        raise Unusable(f"Expected a workflow in '{file}', but there is none.")
    if len(names) > 1:
        raise Unusable(f"Expected one workflow that no other calls, but there are several. Choose: {', '.join(names)}.")
    return names[0]


# --- running -------------------------------------------------------------------------------------


async def _run(start: _Start) -> View:
    # what is private to it is to go with it
    run = asyncio.current_task()
    assert run is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, run.cancel)
    # The server brings the whole house with it; the other commands start without.
    from tradewind_server.bootstrap import Server, Unbindable
    from tradewind_server.store.database import UnusableDatabase

    # nobody else reaches it: what the environment says of access is for servers that others call
    private = {"tls_certificate": "", "tls_key": "", "tls_client_ca": "", "tokens_file": "", "proxy_secret_file": ""}
    with _folder() as folder:
        # no port: whoever is on this machine could reach that, and have actions send the user's secrets to him
        listen = f"unix:{folder}/server"
        settings = read_settings(database="", listen=listen, metrics_listen="", unknown_actions="fail", **private)
        try:
            server = await Server.start(settings)
        except (Unbindable, UnusableDatabase) as problem:
            raise Unusable(str(problem)) from None
        try:
            async with aio.connect(server.address) as client:
                execution_id = await _begin(client, start)
                await _until_over(client, execution_id, start.timeout)
                return await _view(client, execution_id)
        finally:
            await server.stop()


def _folder() -> tempfile.TemporaryDirectory[str]:
    """Make a folder that nobody else may look into, and whose path leaves room for that of a socket in it."""
    usual = tempfile.gettempdir()
    where = usual if len(os.fsencode(usual)) <= _LONGEST_FOLDER else "/tmp"
    return tempfile.TemporaryDirectory(prefix="tradewind-", dir=where)


async def _begin(client: aio.Client, start: _Start) -> str:
    try:
        await client.deploy((start.source.file_name, start.source.text))
        execution = await client.start(start.workflow, start.input, **start.options)
    except TradewindError as error:
        problems = [_problem(error.reason, item.description, item.field) for item in error.violations]
        raise _Refused(problems or [_problem(error.reason, error.message)]) from None
    return execution.id


async def _until_over(client: aio.Client, execution_id: str, timeout: float) -> None:
    end = time.monotonic() + timeout
    try:
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + max(0.0, end - time.monotonic())):
            async for update in client.updates(execution_id):
                states = [event.execution_state for event in update.events]
                states += [update.snapshot.execution.state] if update.snapshot else []
                if any(state in _OVER for state in states) and await _is_over(client, execution_id, update.revision):
                    return
    except TimeoutError:
        return


async def _is_over(client: aio.Client, execution_id: str, revision: int) -> bool:
    return (await client.get(execution_id, min_revision=revision)).state in _OVER


async def _view(client: aio.Client, execution_id: str) -> View:
    execution = await client.get(execution_id)
    tasks = tuple([task async for task in client.tasks(execution_id, min_revision=execution.revision)])
    waits = () if execution.is_final else tuple(await client.explain(execution_id))
    return View(execution, tasks, waits)


# --- reporting -----------------------------------------------------------------------------------


def _report(view: View) -> records.Record:
    execution = view.execution
    return {
        "id": execution.id,
        "workflow": execution.workflow,
        "state": execution.state,
        "state_message": execution.state_message,
        "output": execution.output,
        "error": records.failure(execution.failure),
        "waiting_for": [records.wait(wait) for wait in view.waits],
        "tasks": [_task(task) for task in view.tasks],
    }


def _task(task: models.Task) -> records.Record:
    return {
        "name": task.name,
        "type": task.kind,
        "state": task.state,
        "published": task.published,
        "attempts": task.attempt,
        "error": records.failure(task.failure),
    }
