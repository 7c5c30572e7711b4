"""The checker: facts in, faults out. It knows what the process should give by arithmetic of its own."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any

from tests.crash.facts import Event, Facts

_ENDS = {"ExecutionSucceeded", "ExecutionFailed", "ExecutionCancelled"}
#: Transition -> what happens once at most: nothing is retried, paused or rerun in this load.
_ONCE_EACH = {
    "ExecutionStarted": "execution", "JoinFired": "task", "TaskCreated": "task", "TaskWaiting": "task",
    "TaskStarted": "task", "TaskSucceeded": "task", "ActionScheduled": "action",
}  # fmt: skip
_ACTION_ENDS = {"ActionSucceeded", "ActionFailed", "ActionCancelled"}


def check(facts: Facts) -> list[str]:
    """Return every fault, in words; an empty list is what a run should give."""
    by_execution: dict[str, list[Event]] = collections.defaultdict(list)
    for event in facts.events:
        by_execution[event.execution_id].append(event)
    return [
        *_starts(facts),
        *_results(facts),
        *_revisions(facts, by_execution),
        *_transitions(by_execution),
        *_endings(facts, by_execution),
        *watches(facts),
        *(f"replay of {id_} differs: {found}" for id_, found in facts.replays.items() if found),
    ]


def _starts(facts: Facts) -> Iterator[str]:
    """Every acknowledged start is there, with its input; no request started twice."""
    started = collections.Counter(e.request_id for e in facts.events if e.type == "ExecutionStarted" and e.request_id)
    for request_id, start in facts.starts.items():
        if start.execution_id and start.execution_id not in facts.executions:
            yield f"start {request_id} was acknowledged as {start.execution_id}, which is not there"
        elif start.execution_id and facts.executions[start.execution_id].input != {"n": start.n}:
            yield f"start {request_id} has another input"
        if started[request_id] > 1 or (start.execution_id and not started[request_id]):
            yield f"start {request_id} happened {started[request_id]} times"


def _results(facts: Facts) -> Iterator[str]:
    """Every acknowledged result is the one that is stored."""
    stored = {
        f"{e.execution_id}/a{e.action_id}": e.body.get("result") for e in facts.events if e.type == "ActionSucceeded"
    }
    for token, result in facts.results.items():
        recorded = result.status in ("RECORDED", "ALREADY_RECORDED")
        if recorded and stored.get(result.key, "nothing") != result.value:
            yield f"result of {result.key} ({token[:8]}) was acknowledged, but {stored.get(result.key)} is stored"
        if result.status not in ("", "RECORDED", "ALREADY_RECORDED", "STALE", "STALE_ATTEMPT", "LEASE_LOST"):
            yield f"result of {result.key} was answered {result.status}"


def _revisions(facts: Facts, by_execution: dict[str, list[Event]]) -> Iterator[str]:
    """Revisions run from 1 to the execution's own, each once."""
    for id_, execution in facts.executions.items():
        found = sorted(e.revision for e in by_execution[id_])
        if found != list(range(1, execution.revision + 1)):
            yield f"revisions of {id_} are not 1 to {execution.revision}: {found}"
    for id_ in by_execution.keys() - facts.executions.keys():
        yield f"events of {id_}, which is not there"


def _transitions(by_execution: dict[str, list[Event]]) -> Iterator[str]:
    """No transition happened twice."""
    for id_, events in by_execution.items():
        count: collections.Counter[tuple[str, str, int]] = collections.Counter()
        for event in events:
            if event.type in _ACTION_ENDS:
                count["end of", "action", event.action_id] += 1
            elif event.type in _ENDS:
                count["end of", "execution", 0] += 1
            elif event.type in _ONCE_EACH:
                what = _ONCE_EACH[event.type]
                number = {"execution": 0, "task": event.task_id, "action": event.action_id}[what]
                count[event.type, what, number] += 1
        for (type_, what, number), times in count.items():
            if times > 1:
                yield f"{type_} {what} {number} happened {times} times in {id_}"


def _endings(facts: Facts, by_execution: dict[str, list[Event]]) -> Iterator[str]:
    """Every execution succeeded, with the right output, and the client saw the same."""
    for id_, execution in facts.executions.items():
        if execution.state != "SUCCEEDED" or not any(e.type == "ExecutionSucceeded" for e in by_execution[id_]):
            yield f"{id_} is {execution.state}"
        elif not execution.parent_id and execution.output != expected(execution.input):
            yield f"output of {id_} is {execution.output}"
        seen = facts.ends.get(id_)
        if seen and seen != (execution.state, execution.output):
            yield f"a client saw {seen} as the end of {id_}"


def watches(facts: Facts) -> Iterator[str]:
    """Every watcher saw every revision of what it followed exactly once, and in order."""
    for watcher, events in facts.seen.items():
        seen: dict[str, list[int]] = collections.defaultdict(list)
        for id_, revision in events:
            seen[id_].append(revision)
        _, _, only = watcher.partition("/")
        for id_ in [only] if only else facts.executions.keys() | seen.keys():
            last = facts.executions[id_].revision if id_ in facts.executions else 0
            if seen[id_] != list(range(1, last + 1)):
                yield f"{watcher} saw revisions {seen[id_]} of {id_} instead of 1 to {last}"


def expected(given: Any) -> Any:
    """Return the output of `crash.order`: n + 1, then + 10 beside three items, then the sum of both, then + 100.

    `crash.last` has neither input nor output.
    """
    if not given:
        return {}
    one = given["n"] + 1
    return {"total": (one + 10) + (one + 1 + one + 2 + one + 3) + 100}
