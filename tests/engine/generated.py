"""Random small workflows: what hypothesis draws for the tests of the engine's laws."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Workflow = dict[str, Any]

WORK = {"action": "work.do"}
_CALLS: list[dict[str, Any]] = [
    WORK,
    WORK,
    {"action": "std.noop"},
    {"action": "std.fail"},
    {"action": "std.echo output=<% $.no_such_name.deeper %>"},
    {"action": "std.async_noop"},
    {"workflow": "child"},
    {"workflow": "child", "with-items": "x in <% [1, 2] %>"},
    {**WORK, "with-items": "x in <% [1, 2, 3] %>", "concurrency": 2},
    {**WORK, "with-items": "x in <% [] %>"},
]
_POLICIES: list[dict[str, Any]] = [
    {},
    {},
    {"retry": {"count": 1, "delay": 0}},
    {"retry": {"count": 2, "delay": 2}, "timeout": 3},
    {"wait-before": 2},
    {"wait-after": 2},
    {"timeout": 2},
    {"pause-before": True},
    {"fail-on": "<% task().result = 0 %>"},
    {"keep-result": False, "publish": {"x": "<% task().result %>"}},
    {"publish": {"d": {"two": "<% task().result %>", "one": 1}}, "publish-on-error": {"x": "<% task().result %>"}},
]
_COMMANDS = ["noop", "fail", "succeed", "pause"]
_CLAUSES = ["on-success", "on-error", "on-complete"]


@st.composite
def tasks(draw: st.DrawFn, *, timeless: bool = False) -> Workflow:
    """A direct workflow of a few tasks; edges lead on, or back from a task that waits for a worker.

    Args:
        draw: given by hypothesis.
        timeless: nothing whose outcome depends on when something else happens: no timeouts, loops, ends by command,
            joins of the first few, and tasks that run twice.
    """
    names = [f"t{n}" for n in range(draw(st.integers(1, 6)))]
    policies = [policy for policy in _POLICIES if not timeless or "timeout" not in policy]
    commands = ["noop", "pause"] if timeless else _COMMANDS
    made: Workflow = {name: {**draw(st.sampled_from(_CALLS)), **draw(st.sampled_from(policies))} for name in names}
    for position, name in enumerate(names):
        # what comes back must pass a worker, or the loop would never come to rest
        waits = made[name].get("action") == "work.do" and "with-items" not in made[name]
        back = names[1:] if waits and not timeless else []
        targets = sorted({*names[position + 1 :], *back, *commands})
        for clause in draw(st.lists(st.sampled_from(_CLAUSES), max_size=2, unique=True)):
            chosen = draw(st.lists(st.sampled_from(targets), min_size=1, max_size=3, unique=True))
            made[name][clause] = [_guarded(draw, target) for target in chosen]
    for name in names:
        inbound = [other for other in names if _leads_to(made[other], name)]
        if len(inbound) > 1 and (timeless or draw(st.booleans())):
            made[name]["join"] = "all" if timeless else draw(st.sampled_from(["all", "one", 2]))
    return made


def _guarded(draw: st.DrawFn, target: str) -> Any:
    guard = draw(st.sampled_from([None, None, "<% true %>", "<% false %>"]))
    return target if guard is None or target in _COMMANDS else {target: guard}


def _leads_to(task: dict[str, Any], name: str) -> bool:
    return any(name in entry for clause in _CLAUSES for entry in task.get(clause, ()))


def without_children(child: Workflow) -> Workflow:
    """A child that calls itself would never come to rest; it waits for a worker instead."""
    for task in child.values():
        if task.pop("workflow", None):
            task.update(WORK)
    return child
