"""What tasks and ad-hoc actions call: standard actions, actions and workflows of the files, names that nearly fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set

from tradewind_server.lang.analysis.subjects import Action, Workflow
from tradewind_server.lang.documents import Path
from tradewind_server.lang.reader import Reader
from tradewind_server.lang.specs import InputSpec, Resolver, TaskSpec
from tradewind_server.lang.standard_actions import SIGNATURES
from tradewind_server.lang.tasks import DIRECT_TASK, REVERSE_TASK

#: What a start takes beside inputs; a call of a workflow may give it among them.
_PARAMETERS = frozenset({"env", "evaluate_env", "notify", "priority", "task_name"})


#: Parts of a task that give its call nothing.
_BESIDE_INPUT = frozenset({*DIRECT_TASK, *REVERSE_TASK} - {"action", "workflow", "human", "input"})


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """What can be called by name."""

    #: Of the files, with their inputs; None if those cannot be read.
    actions: Mapping[str, tuple[InputSpec, ...] | None]
    #: The names of these, and of the standard actions.
    action_names: frozenset[str]
    workflows: Mapping[str, tuple[InputSpec, ...] | None]
    is_deployed: Callable[[str], bool]
    #: What has been found out about names: one action is called in many places.
    slips: dict[str, str] = dataclasses.field(default_factory=dict)

    def slip_of(self, name: str, reader: Reader) -> str:
        """Return the action that *name* is nearly, or ""."""
        if name not in self.slips:
            self.slips[name] = reader.problems.near(name, self.action_names)
        return self.slips[name]

    @classmethod
    def of(cls, workflows: Sequence[Workflow], actions: Sequence[Action], is_deployed: Callable[[str], bool]) -> Known:
        """Take what stands in the files, also what has errors."""
        own = {action.spec.name: action.spec.input if action.is_whole else None for action in actions}
        return cls(
            own,
            frozenset(own.keys() | SIGNATURES.keys()),
            {each.spec.name: None if each.gaps.may_have_inputs else each.spec.input for each in workflows},
            is_deployed,
        )


def check_action(action: Action, known: Known) -> None:
    """Report a base that does not exist."""
    spec = action.spec
    given = spec.base_input if action.is_whole else None
    _check_action_name(action.reader, (*action.path, "base"), spec.base, spec.workbook, known, given)


def check_workflow(workflow: Workflow, known: Known) -> None:
    """Report calls and asked-for tasks that do not exist."""
    for task in workflow.spec.tasks.values():
        path = workflow.task_path(task.name)
        callee = task.callee.source
        is_read = workflow.reader.has((*path, task.kind)) and not workflow.gaps.has_in(task.name, task.kind)
        if task.callee.is_constant and isinstance(callee, str) and is_read:
            if task.kind == "action":
                given = _given(workflow, task)
                place = (*path, "action")
                _check_action_name(workflow.reader, place, callee, workflow.spec.workbook, known, given)
            elif task.kind == "workflow":
                _check_workflow_name(workflow, task, callee, known)
        for field, resolver in task.human.resolvers if task.human is not None else ():
            _check_resolver(workflow, (*path, "human", field, "action"), resolver, known)
        _check_asked_tasks(workflow, task)


def _check_resolver(workflow: Workflow, path: Path, resolver: Resolver, known: Known) -> None:
    name, given = resolver.action.source, resolver.input.source if resolver.input is not None else {}
    if isinstance(name, str) and isinstance(given, dict) and resolver.action.is_constant:
        _check_action_name(workflow.reader, path, name, workflow.spec.workbook, known, given)


def _given(workflow: Workflow, task: TaskSpec) -> set[str] | None:
    """Return the names of a call's input; None if an expression gives them, or some cannot be read."""
    if workflow.gaps.has_in(task.name) and not workflow.gaps.has_only(task.name, _BESIDE_INPUT):
        return None
    own = task.input.source if task.input is not None else {}
    return {*task.parameters, *own} if isinstance(own, dict) else None


def _check_action_name(
    reader: Reader, path: Path, name: str, workbook: str, known: Known, given: Collection[str] | None
) -> None:
    full_name = next((each for each in (f"{workbook}.{name}", name) if each in known.actions), "")
    signature = SIGNATURES.get(name)
    if full_name:
        declared = known.actions[full_name]
        if declared is not None and given is not None:
            required = {item.name for item in declared if item.required}
            _check_parameters(reader, path, name, given, required, {item.name for item in declared})
    elif signature is not None:
        if given is not None:
            known_names = None if signature.optional is None else signature.required | signature.optional
            _check_parameters(reader, path, name, given, signature.required, known_names)
    elif name.startswith("std."):
        message = f"Expected a standard action, but there is no '{name}'."
        reader.report_name("unknown-action", path, name, message, reader.problems.suggest(name, SIGNATURES.keys()))
    elif near := known.slip_of(name, reader):
        message = f"Expected an action that is known or served by a worker; '{name}' is nearly '{near}'."
        reader.report_name("unknown-action", path, name, message, f"Did you mean '{near}'?")


def _check_parameters(
    reader: Reader, path: Path, name: str, given: Collection[str], required: Set[str], declared: Set[str] | None
) -> None:
    """Report what an action does not take, and what it lacks; *declared* None: it takes anything."""
    missing = {key for key in required if key not in given}
    for key in given:
        if declared is not None and key not in declared:
            missing.discard(reader.problems.near(key, missing, cutoff=0.6) if missing else "")
            message = f"Expected an input of '{name}', but it does not take '{key}': the call fails."
            fix = reader.problems.suggest(key, declared)
            _report_parameter(reader, path, key, message, fix)
    if missing:
        listed = _listed(sorted(missing))
        message = (
            f"Expected input {listed} of '{name}', but it is not given: the call fails unless an environment gives it."
        )
        reader.report_name("missing-parameter", path, name, message, f"Add '{min(missing)}: …' to its input.")


def _check_workflow_name(workflow: Workflow, task: TaskSpec, name: str, known: Known) -> None:
    reader, path = workflow.reader, (*workflow.task_path(task.name), "workflow")
    member = f"{workflow.spec.workbook}.{name}"
    full_name = next((each for each in (member, name) if each in known.workflows), "")
    declared = known.workflows.get(full_name)
    if declared is not None:
        given = _given(workflow, task)
        missing = [item.name for item in declared if item.required and given is not None and item.name not in given]
        if missing:
            message = f"Expected input {_listed(missing)} of workflow '{name}', but it is not given: the call fails."
            fix = f"Add '{missing[0]}: …' to 'input'."
            reader.report_name("wrong-parameters", path, name, message, fix)
        _check_slips(reader, path, name, given or (), {item.name for item in declared})
    elif not full_name and not known.is_deployed(name) and not (workflow.spec.workbook and known.is_deployed(member)):
        message = f"Expected workflow '{name}' in the files or deployed already, but it is not found."
        near = reader.problems.near(name, known.workflows.keys())
        fix = f"Did you mean '{near}'?" if near else "Deploy it before this one runs."
        reader.report_name("unknown-workflow", path, name, message, fix)


def _check_slips(reader: Reader, path: Path, workflow: str, given: Iterable[str], declared: Set[str]) -> None:
    """Report what is nearly an input of a workflow: it becomes a parameter of its start, and the input is not given."""
    for key in sorted(set(given) - declared - _PARAMETERS):
        near = reader.problems.near(key, declared - set(given), cutoff=0.75)
        if near:
            message = f"Expected an input of workflow '{workflow}', but it does not take '{key}', which gets lost."
            _report_parameter(reader, path, key, message, f"Did you mean '{near}'?")


def _report_parameter(reader: Reader, path: Path, key: str, message: str, fix: str) -> None:
    """Report a parameter of the call at *path*, which stands in 'input' or in the call itself."""
    place = (*path[:-1], "input", key)
    if reader.has(place):
        reader.report("wrong-parameters", place, message, fix, at_value=False)
    else:
        reader.report_parameter("wrong-parameters", path, key, message, fix)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _check_asked_tasks(workflow: Workflow, task: TaskSpec) -> None:
    tasks = workflow.spec.tasks
    for use in workflow.uses[task.name]:
        if use.template.task_names == frozenset():
            continue
        for path, text in use.template.texts(use.path):
            for name in sorted(name for name in text.task_names or () if name not in tasks):
                message = f"Expected task '{name}' in the workflow, but there is none: its result is null."
                fix = workflow.reader.problems.suggest(name, tasks.keys())
                workflow.reader.report_name("unknown-task-result", path, name, message, fix)
