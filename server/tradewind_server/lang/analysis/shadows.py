"""Names that hide others."""

from __future__ import annotations

from collections.abc import Iterator

from tradewind_server.lang.analysis.subjects import Action, Workflow, names_in, published
from tradewind_server.lang.documents import Path
from tradewind_server.lang.expressions import Template
from tradewind_server.lang.graph import clauses
from tradewind_server.lang.specs import TaskSpec
from tradewind_server.lang.standard_actions import SIGNATURES


def check_action(action: Action) -> None:
    """Report an ad-hoc action that hides a standard one."""
    if action.spec.name in SIGNATURES:
        message = (
            f"Expected a name of its own: every use of the standard action '{action.spec.name}' now means this one."
        )
        action.reader.report("shadowed-name", action.path, message, "Rename it.", at_value=False)


def check_workflow(workflow: Workflow) -> None:
    """Report variables that hide inputs; replacing a variable of `vars` is what these are for."""
    spec = workflow.spec
    inputs = {item.name for item in spec.input}
    for name in names_in(spec.vars):
        if name in inputs:
            message = f"Expected a name of its own: the variable '{name}' hides the input '{name}'."
            path = (*workflow.path, "vars", name)
            workflow.reader.report("shadowed-name", path, message, "Rename one.", at_value=False)
    for task in spec.tasks.values() if inputs else ():
        path = workflow.task_path(task.name)
        for index, (name, _) in enumerate(task.with_items):
            if name in inputs:
                message = f"Expected a name of its own: the loop variable '{name}' hides the input '{name}'."
                place = (*path, "with-items", index)
                workflow.reader.report("shadowed-name", place, message, "Rename it.", words=(name,))
        for place, template in _publishing(task, path):
            for name in inputs.intersection(names_in(template)):
                # A task that reads what it replaces goes on with the same thing: n: <% $.n + 1 %>.
                if not _reads(workflow, task, name):
                    message = f"Expected a name of its own: after this task '{name}' is no more the input."
                    workflow.reader.report("shadowed-name", (*place, name), message, "Rename it.", at_value=False)


def _publishing(task: TaskSpec, path: Path) -> Iterator[tuple[Path, Template]]:
    fields = (("publish", task.publish), ("publish-on-error", task.publish_on_error))
    for keyword, template in fields:
        if template is not None:
            yield (*path, keyword), template
    for keyword, clause in clauses(task):
        for scope, template in published(clause):
            if scope == "branch":
                yield (*path, keyword, "publish", scope), template


def _reads(workflow: Workflow, task: TaskSpec, name: str) -> bool:
    texts = (text for use in workflow.uses[task.name] for _, text in use.template.texts())
    return any(
        not text.expressions or any(name in each.names().variables for each in text.expressions) for text in texts
    )
