"""What a task calls: which action or sub-workflow, with which input, for which item."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from datetime import datetime

import msgspec

from tradewind_server.engine import events as e
from tradewind_server.engine import human_tasks, resolvers
from tradewind_server.engine.contexts import EMPTY, Context
from tradewind_server.engine.decision import Decision
from tradewind_server.engine.library import Library
from tradewind_server.engine.policies import TaskError, dictionary, holds, whole_number
from tradewind_server.engine.scopes import item_of, task_scope
from tradewind_server.engine.state import Action, ActionState, Execution, Task, TaskState
from tradewind_server.lang.expressions import Scope
from tradewind_server.lang.shapes import MOST_PRIORITY, is_priority
from tradewind_server.lang.specs import AdhocActionSpec, HumanSpec, InputSpec, TaskSpec, WorkflowSpec
from tradewind_server.lang.standard_actions import Signature
from tradewind_server.lang.values import to_text

#: Longest chain of ad-hoc actions; a cycle ends here as the task's error.
MAX_WRAPPERS = 20


class Call(msgspec.Struct, gc=False):
    """One action or sub-workflow, ready to be scheduled."""

    name: str
    kind: str
    input: dict[str, object]
    wrappers: list[str] = []
    asynchronous: bool = False
    posted: bool = False


def inherited(state: Execution, parents: list[int]) -> Context:
    """Return the context that a task chosen by *parents* will see."""
    return state.tasks[parents[0]].outbound if parents else EMPTY


def collect_items(spec: TaskSpec, scope: Scope) -> list[list[object]]:
    """Return one list of values per item.

    Raises:
        TaskError: a collection is not one, or they differ in length.
    """
    columns = []
    for variable, template in spec.with_items:
        value = template.evaluate(scope)
        if isinstance(value, dict | str):
            value = list(value)
        if not isinstance(value, list):
            raise TaskError(f"with-items: '{variable}' must be a list, but is {type(value).__name__}")
        columns.append(value)
    if len({len(column) for column in columns}) > 1:
        sizes = ", ".join(f"{v} has {len(c)}" for (v, _), c in zip(spec.with_items, columns, strict=True))
        raise TaskError(f"with-items: the collections must be equally long, but {sizes}")
    return [list(row) for row in zip(*columns, strict=True)]


def has_more(task: Task) -> bool:
    """Tell whether items are still to be scheduled."""
    items = task.items
    return items is not None and _next_index(task) is not None


def _next_index(task: Task) -> int | None:
    items = task.items
    assert items is not None
    index = items.next_index
    while index < len(items.values) and index in task.accepted:
        index += 1
    return index if index < len(items.values) else None


def schedule(d: Decision, task: Task) -> bool:
    """Emit ActionScheduled for what may run now; return False when the decision is full before that.

    Raises:
        TaskError: an input, a name or a parameter is wrong.
    """
    spec = d.task_spec(task)
    items = task.items
    if not spec.with_items or items is None:
        _schedule_one(d, task, spec, 0, {})
        return True
    names = [variable for variable, _ in spec.with_items]
    while (index := _next_index(task)) is not None:
        if items.concurrency and task.open_actions >= items.concurrency:
            return True
        if d.is_full:
            return False
        _schedule_one(d, task, spec, index, dict(zip(names, items.values[index], strict=True)))
    return True


def is_resolver(d: Decision, task: Task, action: Action) -> bool:
    """Tell whether *action* has just said who is asked, so that they are to be asked now."""
    return action.kind == resolvers.KIND and action.state is ActionState.SUCCEEDED and task.state is TaskState.RUNNING


def go_on(d: Decision, task: Task, action: Action) -> None:
    """Go on with an item after a resolver: with the next one, or by asking.

    Raises:
        TaskError: what it said are no names, or nobody of them may do it.
    """
    spec = d.task_spec(task)
    _schedule_one(d, task, spec, action.index, item_of(spec, task, action.index), action)


def _schedule_one(
    d: Decision, task: Task, spec: TaskSpec, index: int, extra: Mapping[str, object], last: Action | None = None
) -> None:
    scope = task_scope(d.spec, d.state, d.at, task.context, task, extra)
    kind = ""
    if spec.human is not None:
        actions = resolvers.said(d, task, spec.human, index, last)
        to_come = spec.human.resolvers[len(actions) :]
        if not to_come:
            _ask(d, task, spec, spec.human, index, scope, actions)
            return
        spec, kind = resolvers.call_of(spec, to_come[0][1]), resolvers.KIND
    call = resolve(d, spec, scope)
    action = d.state.last_action + 1
    d.emit(
        e.ActionScheduled(
            action,
            task.id,
            call.name,
            call.input,
            index,
            kind or call.kind,
            call.wrappers,
            call.asynchronous,
            holds(spec.safe_rerun, scope, "safe-rerun", d.state, default=True),
            _target(d, spec, call, scope),
            whole_number(spec.timeout, scope, "timeout"),
            child_id(d.state.id, action, d.at) if call.kind == "workflow" else "",
            call.posted,
            _priority(d, spec, scope),
        )
    )


def _ask(
    d: Decision, task: Task, spec: TaskSpec, human: HumanSpec, index: int, scope: Scope, actions: list[Action]
) -> None:
    if human.form_name and human.form is None:
        raise TaskError(f"there is no form '{human.form_name}'")
    human_tasks.offer(d, task, resolvers.with_names(spec, human, actions), index, scope)
    resolvers.tell(d, task, human, actions)


def _target(d: Decision, spec: TaskSpec, call: Call, scope: Scope) -> str:
    """Return which worker is meant (R14), "" for any.

    Raises:
        TaskError: it cannot be stored.
    """
    if spec.target is None:
        return ""
    target = to_text(spec.target.evaluate(scope))
    if "\0" in target:
        raise TaskError("target: it holds the character NUL, which no worker's name has")
    # what is built in runs in the server, whoever is meant
    return "" if d.library.signature(call.name) is not None else target


def _priority(d: Decision, spec: TaskSpec, scope: Scope) -> int:
    """Return how urgent the action is; higher is earlier.

    Raises:
        TaskError: it is no priority.
    """
    if spec.priority is None:
        return d.state.priority
    value = spec.priority.evaluate(scope)
    if not is_priority(value):
        expected = f"a whole number from -{MOST_PRIORITY} to {MOST_PRIORITY}"
        raise TaskError(f"priority must be {expected}, but is {type(value).__name__} {value!r:.40}")
    assert isinstance(value, int)
    return value


def child_id(parent: str, action: int, at: datetime) -> str:
    """Return the id of a sub-workflow: a UUIDv7 that depends only on its parent, the action and the moment."""
    milliseconds = int(at.timestamp() * 1000)
    digest = hashlib.sha256(f"{parent}/{action}".encode()).digest()
    number = milliseconds << 80 | int.from_bytes(digest[:10], "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=number))


def resolve(d: Decision, spec: TaskSpec, scope: Scope) -> Call:
    """Return what the task calls.

    Raises:
        TaskError: there is no such thing, or it does not take these parameters.
    """
    given = dictionary(spec.input, scope, "input")
    given.update({name: template.evaluate(scope) for name, template in spec.parameters.items()})
    value = spec.callee.evaluate(scope)
    if isinstance(value, str) and "\0" in value:
        raise TaskError(f"there is no {spec.kind} '{value}': its name holds the character NUL")
    if spec.kind == "workflow":
        return _resolve_workflow(d, to_text(value), given)
    return _resolve_action(d, to_text(value) if value else "std.noop", given, scope)


def _resolve_workflow(d: Decision, name: str, given: dict[str, object]) -> Call:
    qualified = f"{d.spec.workbook}.{name}" if d.spec.workbook else name
    found = d.library.workflow(qualified) or d.library.workflow(name)
    if found is None:
        raise TaskError(f"there is no workflow '{name}'")
    missing = [i.name for i in found.input if i.required and i.name not in given]
    if missing:
        raise TaskError(f"workflow '{found.name}' lacks its input {', '.join(missing)}")
    return Call(found.name, "workflow", given)


def _resolve_action(d: Decision, name: str, given: dict[str, object], scope: Scope) -> Call:
    defaults = _action_defaults(d.state, name)
    call = Call(name, "action", {**defaults, **given})
    for _ in range(MAX_WRAPPERS):
        adhoc = _find_adhoc(d.library, d.spec, call.name)
        if adhoc is None:
            return _checked(d.library, call)
        call = _unwrap(d, adhoc, call, scope)
    raise TaskError(f"action '{name}' is built over itself")


def _action_defaults(state: Execution, name: str) -> dict[str, object]:
    defaults = state.env.get("__actions")
    found = defaults.get(name) if isinstance(defaults, dict) else None
    return dict(found) if isinstance(found, dict) else {}


def _find_adhoc(library: Library, spec: WorkflowSpec, name: str) -> AdhocActionSpec | None:
    if spec.workbook and (found := library.adhoc_action(f"{spec.workbook}.{name}")):
        return found
    return library.adhoc_action(name)


def _unwrap(d: Decision, adhoc: AdhocActionSpec, call: Call, scope: Scope) -> Call:
    values = _declared(adhoc.name, adhoc.input, call.input)
    inner = Scope((values, *scope.layers), scope.facts)
    base = {name: template.evaluate(inner) for name, template in adhoc.base_input.items()}
    defaults = _action_defaults(d.state, adhoc.base)
    return Call(adhoc.base, "action", {**defaults, **base}, [*call.wrappers, adhoc.name])


def _declared(name: str, declared: tuple[InputSpec, ...], given: Mapping[str, object]) -> dict[str, object]:
    missing = [i.name for i in declared if i.required and i.name not in given]
    unexpected = sorted(set(given) - {i.name for i in declared})
    if missing or unexpected:
        raise TaskError(_mismatch(name, missing, unexpected))
    return {i.name: given.get(i.name, i.default) for i in declared}


def _checked(library: Library, call: Call) -> Call:
    signature = library.signature(call.name)
    if signature is None:
        is_standard = call.name.startswith("std.")
        if library.open_world and not is_standard:
            return call
        why = "" if is_standard else ", and no worker is waited for (unknown_actions is 'fail', as in `tradewind run`)"
        raise TaskError(f"there is no action '{call.name}'{why}")
    missing, unexpected = _unfit(signature, call.input)
    if missing or unexpected:
        raise TaskError(_mismatch(call.name, missing, unexpected))
    call.asynchronous, call.posted = signature.asynchronous, signature.posted
    return call


def _unfit(signature: Signature, given: Mapping[str, object]) -> tuple[list[str], list[str]]:
    missing = sorted(signature.required - given.keys())
    if signature.optional is None:
        return missing, []
    return missing, sorted(given.keys() - signature.required - signature.optional)


def _mismatch(name: str, missing: list[str], unexpected: list[str]) -> str:
    parts = [f"lacks {', '.join(missing)}"] if missing else []
    parts += [f"does not take {', '.join(unexpected)}"] if unexpected else []
    return f"action '{name}' {' and '.join(parts)}"


def unwrap_result(d: Decision, task: Task, wrappers: tuple[str, ...], result: object) -> object:
    """Apply the `output` of the ad-hoc actions that an action was called through, innermost first.

    Raises:
        TaskError: an output expression fails.
    """
    for name in reversed(wrappers):
        adhoc = _find_adhoc(d.library, d.spec, name)
        if adhoc is not None and adhoc.output is not None:
            facts = task_scope(d.spec, d.state, d.at, task.context, task, {}).facts
            scope = Scope((result,), facts) if isinstance(result, dict) else Scope((), facts, result)
            result = adhoc.output.evaluate(scope)
    return result
