"""Waits that a timeout does not leave room for."""

from __future__ import annotations

from tradewind_server.lang.analysis.subjects import Workflow
from tradewind_server.lang.expressions import Template


def check(workflow: Workflow) -> None:
    """Report timeouts that are over before the waits of their task are. What is computed is not looked at."""
    for task in workflow.spec.tasks.values():
        timeout, before, after = (_seconds(each) for each in (task.timeout, task.wait_before, task.wait_after))
        if not 0 < timeout <= before + after:
            continue
        what = "its action does not begin" if timeout <= before else "it does not succeed"
        path, defaults = workflow.task_path(task.name), (*workflow.path, "task-defaults")
        places = [(*path, keyword) for keyword in ("timeout", "wait-before", "wait-after")]
        place = next((each for each in places if workflow.reader.has(each)), (*defaults, "timeout"))
        message = f"Expected a timeout of more than the {before + after} s of its waits, but it is {timeout} s: {what}."
        workflow.reader.report("short-timeout", place, message)


def _seconds(template: Template | None) -> int:
    value = template.source if template is not None and template.is_constant else 0
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
