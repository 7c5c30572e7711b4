"""One file of tests with what it tests, and whether the two fit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from functools import cached_property

from tradewind_server import lang
from tradewind_server.lang.expressions import Template
from tradewind_server.lang.graph import uncalled
from tradewind_server.lang.problems import Problem, did_you_mean
from tradewind_server.lang.specs import TaskSpec, WorkflowSpec
from tradewind_server.testing.grammar import TestFile


@dataclasses.dataclass(frozen=True)
class Subject:
    """One file of tests with what it tests."""

    tests: TestFile
    sources: tuple[lang.Source, ...]
    checked: lang.Checked
    #: The workflows with the files that they stand in.
    homes: tuple[tuple[str, WorkflowSpec], ...]

    @cached_property
    def only(self) -> str:
        """The workflow that no other calls; "" if there are several."""
        names = uncalled(self.checked.workflows)
        return names[0] if len(names) == 1 else ""

    def called(self) -> frozenset[str]:
        """Return all names of actions that the definitions call, as far as they are written there."""
        names = {str(task.callee.source) for _, task in self._tasks("action") if task.callee.is_constant}
        names |= {str(template.source) for template in self._resolvers() if template.is_constant}
        for action in self.checked.actions:
            names |= {action.base, action.name}
        return frozenset(names)

    @cached_property
    def called_workflows(self) -> frozenset[str]:
        """All names of workflows that the definitions call, as far as they are written there."""
        tasks = [(workflow, task.callee) for workflow, task in self._tasks("workflow") if task.callee.is_constant]
        calls = [(workflow, str(callee.source)) for workflow, callee in tasks]
        members = {workflow.name for workflow in self.checked.workflows if workflow.workbook}
        qualified = [(f"{workflow.workbook}.{name}", name) for workflow, name in calls]
        return frozenset(member if member in members else name for member, name in qualified)

    @cached_property
    def absent(self) -> frozenset[str]:
        """Workflows that stand in no file, only in mocks."""
        mocked, names = self.tests.mocked.keys(), set(self.called_workflows & self.tests.mocked.keys())
        names |= {str(task.callee.source) for _, task in self._tasks("workflow") if task.name in mocked}
        if self._computes("workflow"):
            names |= mocked - self.asked()
        names -= {workflow.name for workflow in self.checked.workflows}
        return frozenset(name for name in names if lang.read([_placeholder(name)]).is_valid)

    def placeholders(self) -> tuple[str, ...]:
        """Return a definition for each absent workflow: it never starts, but is found."""
        return tuple(_placeholder(name).text for name in sorted(self.absent))

    def asked(self) -> frozenset[str]:
        """Return all names that a mock may have; more, if a name is computed."""
        tasks = [task.name for kind in ("action", "workflow") for _, task in self._tasks(kind)]
        return self.called() | self.called_workflows | frozenset(tasks)

    def is_open(self) -> bool:
        """Tell whether the name of something called is computed."""
        computed = any(not template.is_constant for template in self._resolvers())
        return computed or self._computes("action") or self._computes("workflow")

    def answers_children(self, mock: str) -> bool:
        """Tell whether a mock of this name stands for nothing but sub-workflows."""
        by_task = {kind: {task.name for _, task in self._tasks(kind)} for kind in ("action", "workflow")}
        actions = self.called() | by_task["action"]
        return mock in self.called_workflows | by_task["workflow"] and mock not in actions

    def _computes(self, kind: str) -> bool:
        return any(not task.callee.is_constant for _, task in self._tasks(kind))

    def _resolvers(self) -> list[Template]:
        """Return the names of the actions that say who is asked."""
        human = [task.human for _, task in self._tasks("human") if task.human is not None]
        return [resolver.action for each in human for _, resolver in each.resolvers]

    def _tasks(self, kind: str) -> list[tuple[WorkflowSpec, TaskSpec]]:
        workflows = self.checked.workflows
        return [(flow, task) for flow in workflows for task in flow.tasks.values() if task.kind == kind]


def _placeholder(name: str) -> lang.Source:
    workflow = {"tasks": {"nothing": {"action": "std.noop"}}}
    return lang.Source("", json.dumps({"version": "2.0", name: workflow}))


def misfits(subject: Subject) -> list[Problem]:
    """Return mocks that nothing would ever ask or that answer what cannot be, and workflows that are not there."""
    return [*_misnamed_mocks(subject), *_impossible_answers(subject), *_missing_workflows(subject)]


def _misnamed_mocks(subject: Subject) -> Iterator[Problem]:
    known = subject.asked()
    for name, path in subject.tests.mocked.items():
        if name not in known and not subject.is_open():
            message = f"Expected a mock of an action, a sub-workflow or a task, but '{name}' is none."
            yield subject.tests.reader.problem("unknown-mock", path, message, did_you_mean(name, known))


def _impossible_answers(subject: Subject) -> Iterator[Problem]:
    """A sub-workflow's result is its output, and its failure has a message and its output, nothing else."""
    reader = subject.tests.reader
    for name, path, answer in subject.tests.answers:
        if not subject.answers_children(name):
            continue
        if not isinstance(answer.get("result", {}), dict):
            message = "Expected a mapping, for the result of a sub-workflow is its output."
            yield reader.problem("mock", (*path, "result"), message, "")
        for field in sorted({"code", "retryable"} & answer.get("failure", {}).keys()):
            message = f"Expected no '{field}', for the failure of a sub-workflow has none of its own."
            yield reader.problem("mock", (*path, "failure", field), message, "Leave it out.")


def _missing_workflows(subject: Subject) -> Iterator[Problem]:
    names = [workflow.name for workflow in subject.checked.workflows]
    for case in subject.tests.cases:
        if (case.workflow or subject.only) not in names:
            what = f"'{case.workflow}' is not there" if case.workflow else "there are several to choose from"
            message = f"Expected a workflow for the case '{case.name}', but {what}."
            fix = did_you_mean(case.workflow, names) or "Say 'workflow: …'."
            yield subject.tests.reader.problem("workflow", ("cases", case.name), message, fix)
