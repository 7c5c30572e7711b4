"""Commands about definitions: check, schema, deploy, workflows."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tradewind import Client, Execution, TradewindError, models
from tradewind_server import lang
from tradewind_server.cli import records, sarif
from tradewind_server.cli.output import Output, error_console
from tradewind_server.cli.problems import show_problems
from tradewind_server.cli.session import NOT_DONE, Session, Unusable, alone, on_server
from tradewind_server.lang.specs import WorkflowSpec

Files = Annotated[list[Path], typer.Argument(help="YAML files: workbooks, lists of workflows or of actions.")]
WorkflowNamespace = Annotated[str, typer.Option(help="Workflow namespace inside the tenant.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(check)
    app.command()(schema)
    app.command()(deploy)
    app.command()(workflows)


class Format(enum.Enum):
    """How problems are written."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


@alone
def check(
    output: Output,
    files: Files,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors.")] = False,
    format: Annotated[Format, typer.Option(help="SARIF is for code hosts and editors.")] = Format.TEXT,
) -> None:
    """Check definitions without a server: exit 0 clean or warnings, 1 errors, 2 unusable."""
    sources = read_sources(files)
    problems = lang.check(sources).problems
    if strict:
        problems = tuple(_as_error(problem) for problem in problems)
    if format is Format.SARIF:
        output.json(sarif.log(problems))
    else:
        show_problems(Output(output.as_json or format is Format.JSON), problems, sources)
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(NOT_DONE)


def _as_error(problem: lang.Problem) -> lang.Problem:
    return dataclasses.replace(problem, severity="error") if problem.severity == "warning" else problem


@alone
def schema(output: Output) -> None:
    """Write the JSON Schema of the language, which gives completion in editors."""
    output.json(lang.schema())


def read_sources(files: Sequence[Path]) -> list[lang.Source]:
    """Read the files, but for tests among them: `*.yaml` means those, too.

    Raises:
        Unusable: one cannot be read, or is not UTF-8, or all are tests.
    """
    tests = [path for path in files if path.name.endswith(lang.TEST_SUFFIX)]
    for path in tests:
        if len(tests) == len(files):
            raise Unusable(f"Expected a definition, but '{path}' is a file of tests: run it with 'tradewind test'.")
        error_console().print(Text(f"{path} is a file of tests and left out: run it with 'tradewind test'."))
    sources = []
    for path in files:
        if path in tests:
            continue
        try:
            sources.append(lang.Source(str(path), path.read_text(encoding="utf-8")))
        except OSError as problem:
            raise Unusable(f"Expected a file at '{path}', but it cannot be read: {problem.strerror}.") from None
        except UnicodeDecodeError as problem:
            raise Unusable(f"Expected '{path}' to be UTF-8, but byte {problem.start} is not.") from None
    return sources


@on_server
def deploy(session: Session, files: Files, workflow_namespace: WorkflowNamespace = "") -> None:
    """Store definitions on the server, all or none."""
    sources = read_sources(files)
    with session.client() as client:
        try:
            deployed = client.deploy(
                *((source.file_name, source.text) for source in sources), workflow_namespace=workflow_namespace
            )
        except TradewindError as error:
            if error.reason != "DEFINITION_INVALID":
                raise
            _show_refused(session.output, sources, error)
            raise typer.Exit(NOT_DONE) from None
    value = {
        "registry_revision": deployed.registry_revision,
        "created": list(deployed.created),
        "definitions": [records.definition(item) for item in deployed.definitions],
        "problems": [records.problem(item) for item in deployed.problems],
    }
    session.output.record(value, _deployed_text(deployed))


def _show_refused(output: Output, sources: Sequence[lang.Source], error: TradewindError) -> None:
    checked = lang.check(sources)
    if checked.is_valid:  # the server knows more, or is of another version: its words then
        raise error
    show_problems(output, checked.problems, sources)


def _deployed_text(deployed: models.Deployment) -> Text:
    lines = []
    for item in deployed.definitions:
        news = "new" if item.name in deployed.created else "unchanged"
        lines.append(f"{item.kind.lower()} {item.name} version {item.version} ({news})")
    lines += [
        f"{item.file}:{item.line}:{item.column}: {item.severity.lower()}: {item.message}" for item in deployed.problems
    ]
    return Text("\n".join(lines))


@on_server
def workflows(
    session: Session,
    filter: Annotated[str, typer.Option(help="E.g. 'name = \"salary\"'.")] = "",
    all_versions: Annotated[bool, typer.Option(help="Superseded versions too.")] = False,
) -> None:
    """List what is deployed, ad-hoc actions included."""
    with session.client() as client:
        found = list(client.definitions(filter, all_versions=all_versions))
    session.output.table(
        [records.definition(item) for item in found],
        ("NAME", "KIND", "VERSION", "INPUTS", "FILE"),
        [(item.name, item.kind.lower(), str(item.version), ", ".join(item.inputs), item.file) for item in found],
    )


def executed_workflow(client: Client, execution: Execution) -> WorkflowSpec:
    """Return the workflow that an execution runs, in its version.

    Raises:
        Unusable: the definition was deleted meanwhile, or this version cannot read it.
    """
    try:
        definition = client.definition(
            execution.workflow,
            version=execution.proto.definition_version,
            workflow_namespace=execution.proto.workflow_namespace,
        )
    except TradewindError as error:
        if error.reason != "DEFINITION_NOT_FOUND":
            raise
        raise Unusable(f"Expected the definition of '{execution.workflow}', but it was deleted.") from None
    checked = lang.read([lang.Source(definition.file, definition.proto.source.decode())])
    for spec in checked.workflows:
        if spec.name == execution.workflow:
            return spec
    raise Unusable(f"Expected to understand '{execution.workflow}', but the server is of another version.")
