"""The command graph: a picture of a definition, or of an execution with the states of its tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tradewind_server import lang
from tradewind_server.cli import records
from tradewind_server.cli.definitions import executed_workflow, read_sources
from tradewind_server.cli.output import Output
from tradewind_server.cli.problems import show_problems
from tradewind_server.cli.running import choose
from tradewind_server.cli.session import UNUSABLE, Session, Unusable, on_server
from tradewind_server.lang.chart import Chart, draw
from tradewind_server.lang.specs import WorkflowSpec
from tradewind_server.pictures import Format, render


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(graph)


@on_server
def graph(
    session: Session,
    subject: Annotated[str, typer.Argument(metavar="FILE|ID", help="A definition file, or the id of an execution.")],
    format: Annotated[Format, typer.Option(help="How it is drawn.")] = Format.TEXT,
    workflow: Annotated[str, typer.Option(help="Which of a file; default is the one that no other calls.")] = "",
) -> None:
    """Draw a workflow; of an execution also how far it is."""
    states: dict[str, str] = {}
    if _is_file(subject):
        spec = _from_file(session.output, Path(subject), workflow)
    elif workflow:
        raise Unusable("Expected --workflow with a file only: an execution has one workflow.")
    else:
        with session.client() as client:
            execution = client.get(subject)
            spec = executed_workflow(client, execution)
            # of a task that a loop started again the latest counts
            states = {task.name: task.state for task in client.tasks(execution.id, min_revision=execution.revision)}
    chart = draw(spec)
    if session.output.as_json:
        session.output.json(_record(chart, states))
    else:
        session.output.raw(render(chart, format, states))


def _is_file(subject: str) -> bool:
    return Path(subject).is_file() or "/" in subject or subject.endswith((".yaml", ".yml"))


def _from_file(output: Output, path: Path, name: str) -> WorkflowSpec:
    sources = read_sources([path])
    checked = lang.check(sources)
    if not checked.is_valid:
        show_problems(output, checked.problems, sources)
        raise typer.Exit(UNUSABLE)
    wanted = name or choose(checked.workflows, str(path))
    for spec in checked.workflows:
        if spec.name == wanted:
            return spec
    names = ", ".join(spec.name for spec in checked.workflows)
    raise Unusable(f"Expected a workflow called '{wanted}' in '{path}', but there is none. Choose: {names}.")


def _record(chart: Chart, states: dict[str, str]) -> records.Record:
    return {
        "workflow": chart.workflow,
        "nodes": [
            {
                "id": node.id,
                "kind": node.kind,
                "label": node.label,
                "callee": node.callee,
                "calls_workflow": node.calls_workflow,
                "join": node.join,
                "has_items": node.has_items,
                "message": node.message,
                "state": states.get(node.label, "") if node.kind == "task" else "",
            }
            for node in chart.nodes
        ],
        "edges": [
            {
                "source": edge.source,
                "target": edge.target,
                "kind": edge.kind,
                "guard": edge.guard,
                "is_back": edge.is_back,
            }
            for edge in chart.edges
        ],
    }
