"""What expressions call: functions, methods, filters and tests that do not exist."""

from __future__ import annotations

from collections.abc import Iterator

from tradewind_server.lang.analysis.subjects import Action, Workflow
from tradewind_server.lang.documents import Path
from tradewind_server.lang.expressions import Template
from tradewind_server.lang.expressions.callables import YAQL, Callee, Kind, known
from tradewind_server.lang.reader import Reader


def check_workflow(workflow: Workflow) -> None:
    """Report what the expressions of a workflow and its tasks call that does not exist."""
    spec = workflow.spec
    for keyword, template in (("vars", spec.vars), ("output", spec.output), ("output-on-error", spec.output_on_error)):
        _check(workflow.reader, (*workflow.path, keyword), template)
    for uses in workflow.uses.values():
        for use in uses:
            _check(workflow.reader, use.path, use.template)


def check_action(action: Action) -> None:
    """Report what the expressions of an ad-hoc action call that does not exist."""
    for name, template in action.spec.base_input.items():
        own = (*action.path, "base-input", name)
        _check(action.reader, own if action.reader.has(own) else (*action.path, "base"), template)
    _check(action.reader, (*action.path, "output"), action.spec.output)


def _check(reader: Reader, path: Path, template: Template | None) -> None:
    for place, text in template.texts(path) if template is not None else ():
        for kind, name in sorted(_unknown(text)):
            message = f"Expected a {kind} that exists, but there is no '{name}': the expression fails."
            reader.report_call("unknown-function", place, name, message, _fix(reader, text, kind, name))


def _unknown(text: Template) -> Iterator[Callee]:
    for expression in text.expressions:
        yield from expression.names().unknown


def _fix(reader: Reader, text: Template, kind: Kind, name: str) -> str:
    is_yaql = "<%" in str(text.source)
    if is_yaql and kind == "function" and name in YAQL["method"]:
        return f"It is a method: write 'x.{name}()'."
    if is_yaql and kind == "method" and name in YAQL["function"]:
        return f"It is no method: write '{name}(x)'."
    near = reader.problems.near(name, known(kind, is_yaql), cutoff=0.6)
    return f"Did you mean '{near}'?" if near else ""
