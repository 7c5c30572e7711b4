"""Variables that are read: whether anything sets them on some way to the reader."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator

from tradewind_server.lang.analysis.flow import Edge, Flow
from tradewind_server.lang.analysis.publishing import Published, branch_publishing
from tradewind_server.lang.analysis.subjects import Use, Workflow, names_in, published
from tradewind_server.lang.documents import Path
from tradewind_server.lang.expressions import Template
from tradewind_server.lang.gaps import Gaps
from tradewind_server.lang.graph import clauses
from tradewind_server.lang.specs import TaskSpec
from tradewind_server.lang.tasks import TASK
from tradewind_server.lang.written import keys_within

#: The server's own, beside all that begin with "__".
_SYSTEM = frozenset({"openstack"})


#: Parts of a task that cannot make a failure of its success.
_NEVER_FAIL = frozenset({*TASK} - {"fail-on", "retry", "timeout", "wait-after"})


@dataclasses.dataclass(slots=True)
class _Variables:
    """Which variables a workflow has."""

    #: Visible everywhere: inputs, variables of the workflow, what is published globally.
    everywhere: frozenset[str]
    #: Of each variable published to a branch: its bit, and the tasks that publish it.
    bits: dict[str, int]
    publishers: dict[str, list[str]]
    published: dict[str, Published]
    #: If something could not be read: every key of the text, for any may have been meant to set a variable.
    maybe: frozenset[str]
    #: All that are set anywhere.
    known: frozenset[str]
    #: Something may set any variable that can be thought of.
    maybe_any: bool
    #: Tasks that any variable may have come to, and variables that may have come to any task.
    maybe_there: frozenset[str]
    maybe_anywhere: frozenset[str]


def check(workflow: Workflow, flow: Flow) -> None:
    """Report variables that are read where they cannot be there."""
    spec = workflow.spec
    variables = _collect(workflow, flow)
    inputs = frozenset(item.name for item in spec.input)
    # Variables of the workflow are set together, so none sees another.
    _check_reads(workflow, variables, (*workflow.path, "vars"), spec.vars, inputs)
    for keyword, template in (("output", spec.output), ("output-on-error", spec.output_on_error)):
        _check_reads(workflow, variables, (*workflow.path, keyword), template, variables.known)
    for name, incoming in flow.carried(lambda edge: _gain(edge, variables)):
        for use in workflow.uses[name]:
            _check_use(workflow, flow, variables, spec.tasks[name], use, incoming)


def _gain(edge: Edge, variables: _Variables) -> int:
    return variables.published[edge.source].after(edge.keyword)


def _collect(workflow: Workflow, flow: Flow) -> _Variables:
    spec = workflow.spec
    everywhere = {item.name for item in spec.input} | {*names_in(spec.vars)}
    maybe = frozenset(keys_within(workflow.reader.value(workflow.path))) if workflow.gaps.is_opaque else frozenset()
    maybe |= workflow.gaps.may_be_set
    bits: dict[str, int] = {}
    publishers: dict[str, list[str]] = {}
    found: dict[str, Published] = {}
    for task in spec.tasks.values():
        own = found[task.name] = Published()
        for outcome, template in branch_publishing(task):
            for name in names_in(template):
                own.add(outcome, bits.setdefault(name, 1 << len(bits)))
                if task.name not in publishers.setdefault(name, [])[-1:]:
                    publishers[name].append(task.name)
        for name in workflow.gaps.publishes.get(task.name, ()):
            own.add("complete", bits.get(name, 0))
        if _may_fail_after_publishing(task) or _hides_failure(workflow.gaps, task.name):
            own.error |= own.success
        everywhere.update(_global_names(task))
    known = frozenset(everywhere | bits.keys())
    maybe_any = workflow.gaps.has_any_variable or bool(workflow.gaps.publishes_any)
    there = _maybe_there(workflow, flow)
    before = flow.before(workflow.gaps.leads_anywhere)
    anywhere = frozenset(name for name, tasks in publishers.items() if not before.isdisjoint(tasks))
    return _Variables(frozenset(everywhere), bits, publishers, found, maybe, known, maybe_any, there, anywhere)


def _maybe_there(workflow: Workflow, flow: Flow) -> frozenset[str]:
    """Return the tasks that any variable may have come to."""
    gaps = workflow.gaps
    behind = flow.behind(gaps.publishes_any)
    is_everywhere = gaps.has_any_variable or not gaps.leads_anywhere.isdisjoint(behind)
    return frozenset(workflow.spec.tasks) if is_everywhere else behind


def _hides_failure(gaps: Gaps, task: str) -> bool:
    return gaps.in_defaults or not gaps.has_only(task, _NEVER_FAIL)


def _global_names(task: TaskSpec) -> Iterator[str]:
    for _, clause in clauses(task):
        for scope, template in published(clause):
            if scope != "branch":
                yield from names_in(template)


def _may_fail_after_publishing(task: TaskSpec) -> bool:
    """Tell whether a success may still turn into a failure: by fail-on, a retry, a timeout, a guard that fails."""
    following = (entry for clause in (task.on_success, task.on_complete) if clause for entry in clause.next)
    policies = (task.fail_on, task.retry, task.timeout, task.wait_after)
    return any(policies) or any(entry.guard or entry.message for entry in following)


def _check_use(workflow: Workflow, flow: Flow, variables: _Variables, task: TaskSpec, use: Use, incoming: int) -> None:
    own = variables.published[task.name]
    seen = incoming | (own.after(use.clause) if use.moment == "after" else 0)
    loop = {name for name, _ in task.with_items} if use.moment == "item" else set()
    hidden = workflow.gaps.own.get(task.name, set())
    is_any_loop = use.moment == "item" and task.name in workflow.gaps.loops_any
    for path, text in use.template.texts(use.path):
        read, bare = _names(text)
        read = set() if is_any_loop else read
        for name in sorted(read - variables.everywhere - loop - hidden):
            bit = variables.bits.get(name, 0)
            if not bit:
                _report_unknown(workflow, variables, path, name, variables.known)
            elif not bit & seen and task.name in flow.reachable and not _is_excused(workflow, variables, task, name):
                _report_unpublished(workflow, flow, variables, path, name, task)
        for name in sorted(bare):
            _check_bare(workflow, variables, path, text, name, loop, hidden)


def _is_excused(workflow: Workflow, variables: _Variables, task: TaskSpec, name: str) -> bool:
    """Tell whether a variable may come to a task by something that is hidden."""
    is_there = task.name in variables.maybe_there or name in variables.maybe_anywhere
    return is_there or workflow.gaps.is_opaque


def _names(text: Template) -> tuple[set[str], set[str]]:
    """Return the variables that a text reads, and its bare words."""
    names = [expression.names() for expression in text.expressions]
    return set().union(*(found.variables for found in names)), set().union(*(found.bare for found in names))


def _check_reads(
    workflow: Workflow, variables: _Variables, path: Path, template: Template | None, known: frozenset[str]
) -> None:
    """Check a template of the workflow itself, which sees *known*."""
    if template is None or template.is_constant:
        return
    for place, text in template.texts(path):
        read, bare = _names(text)
        for name in sorted(read - known):
            _report_unknown(workflow, variables, place, name, known)
        for name in sorted(bare):
            _check_bare(workflow, variables, place, text, name)


def _report_unknown(workflow: Workflow, variables: _Variables, path: Path, name: str, known: frozenset[str]) -> None:
    if name.startswith("__") or name in _SYSTEM or name in variables.maybe or variables.maybe_any:
        return
    message = f"Expected a variable that something sets, but nothing here sets '{name}'."
    near = workflow.reader.problems.near(name, known, cutoff=0.6)
    fix = f"Did you mean '{near}'?" if near else "Declare it as an input, or publish it before."
    workflow.reader.report_name("unknown-variable", path, name, message, fix)


def _report_unpublished(
    workflow: Workflow, flow: Flow, variables: _Variables, path: Path, name: str, task: TaskSpec
) -> None:
    publishers = variables.publishers[name]
    before = next((other for other in publishers if flow.leads(other, task.name)), None)
    after = next((other for other in publishers if other == task.name or flow.leads(task.name, other)), None)
    if before is not None:
        message = f"Expected '{name}' to be there, but '{before}' does not publish it on its way to '{task.name}'."
        fix = "Publish it after that outcome too, e.g. with 'publish-on-error'."
    elif after is not None:
        message = f"Expected '{name}' to be there, but '{after}' publishes it only later."
        fix = "Publish it before, or set it in 'vars'."
    else:
        message = f"Expected '{name}' to be there, but '{publishers[0]}' publishes it in another branch."
        fix = "Join the branches first, or publish it with the scope 'global'."
        workflow.reader.report_name("other-branch-variable", path, name, message, fix)
        return
    workflow.reader.report_name("unpublished-variable", path, name, message, fix)


def _check_bare(
    workflow: Workflow,
    variables: _Variables,
    path: Path,
    text: Template,
    name: str,
    loop: Collection[str] = (),
    hidden: Collection[str] = (),
) -> None:
    """Report `x` where `$.x` is meant. In YAQL it is a text, so only names of variables are told.

    What is *hidden* may be a text that is meant, such as an outcome.
    """
    is_yaql = "<%" in str(text.source)
    is_variable = name in variables.known or name in loop
    if is_yaql and (not is_variable or name in hidden):
        return
    sign = "$" if is_yaql else "_"
    what = f"the text '{name}' itself" if is_yaql else "nothing"
    fix = f"Write '{sign}.{name}'." if is_variable else f"Write '{sign}.…' to read a variable."
    message = f"Expected '{sign}.' before the name of a variable; '{name}' alone is {what}."
    workflow.reader.report_within("bare-name", path, str(text.source), name, message, fix)
