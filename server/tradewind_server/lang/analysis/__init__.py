"""What is odd about definitions that can be read: static analysis over specs.

Everything here warns or hints and never refuses, for it reasons about runs that may not come: a missed oddity is
better than a false one. It looks at specs, and at the text only for the place of what it tells. Work grows with
the text, hardly faster: what is tracked over tasks is kept as bits of whole numbers (`flow.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tradewind_server.lang.analysis import calls, functions, human_tasks, joins, outcomes, shadows, variables, waits
from tradewind_server.lang.analysis.flow import Flow
from tradewind_server.lang.analysis.subjects import Action, Workflow
from tradewind_server.lang.specs import FormSpec

__all__ = ["Action", "Workflow", "analyse"]


def analyse(
    workflows: Sequence[Workflow],
    actions: Sequence[Action],
    forms: Sequence[FormSpec],
    is_deployed: Callable[[str], bool],
    has_form: Callable[[str], bool],
) -> None:
    """Report what is odd about definitions that stand together, through their readers."""
    known = calls.Known.of(workflows, actions, is_deployed)
    known_forms = human_tasks.Forms(frozenset(form.name for form in forms), has_form)
    for action in actions:
        calls.check_action(action, known)
        shadows.check_action(action)
        functions.check_action(action)
    for workflow in workflows:
        if not workflow.spec.tasks:
            continue
        flow = Flow.of(workflow)
        calls.check_workflow(workflow, known)
        outcomes.check(workflow, flow)
        variables.check(workflow, flow)
        functions.check_workflow(workflow)
        shadows.check_workflow(workflow)
        waits.check(workflow)
        human_tasks.check(workflow, known_forms)
        if not (workflow.gaps.is_opaque or workflow.gaps.leads_anywhere):
            joins.check(workflow, flow)
