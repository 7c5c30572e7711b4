"""Planted faults: each spoils a copy of the facts in one way that the checker must find."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

from tests.crash.facts import Facts


def drop_event(facts: Facts) -> None:
    """The last event of an execution is gone."""
    last = max(facts.events, key=lambda e: (e.execution_id, e.revision))
    facts.events.remove(last)


def duplicate_transition(facts: Facts) -> None:
    """An action succeeds twice, with a fine revision each time."""
    event = next(e for e in facts.events if e.type == "ActionSucceeded")
    execution = facts.executions[event.execution_id]
    execution.revision += 1
    facts.events.append(dataclasses.replace(event, revision=execution.revision))


def lost_start(facts: Facts) -> None:
    """An acknowledged execution has never been."""
    lost = next(start.execution_id for start in facts.starts.values() if start.execution_id)
    del facts.executions[lost]
    facts.events = [e for e in facts.events if e.execution_id != lost]


def gap(facts: Facts) -> None:
    """A revision is passed over."""
    id_ = facts.events[0].execution_id
    facts.executions[id_].revision += 1
    for event in facts.events:
        if event.execution_id == id_ and event.revision >= 3:
            event.revision += 1


def wrong_output(facts: Facts) -> None:
    """An output is off by one, and the client saw it so."""
    execution = next(x for x in facts.executions.values() if not x.parent_id)
    execution.output = {"total": execution.output["total"] + 1}
    facts.ends[execution.id] = (execution.state, execution.output)


def lost_result(facts: Facts) -> None:
    """An acknowledged result is not the one that is stored."""
    result = next(r for r in facts.results.values() if r.status == "RECORDED")
    result.value = {**result.value, "by": "somebody else"}


def unseen_event(facts: Facts) -> None:
    """A watcher was never told of an event."""
    _longest(facts).pop(2)


def event_seen_twice(facts: Facts) -> None:
    """A watcher was told of an event again."""
    seen = _longest(facts)
    seen.append(seen[2])


def events_seen_in_wrong_order(facts: Facts) -> None:
    """A watcher was told of two events of an execution the wrong way round."""
    seen = _longest(facts)
    first = next(n for n, (id_, _) in enumerate(seen) if id_ == seen[-1][0])
    seen[first], seen[-1] = seen[-1], seen[first]


def _longest(facts: Facts) -> list[tuple[str, int]]:
    return max(facts.seen.values(), key=len)


FAULTS: dict[str, Callable[[Facts], None]] = {
    plant.__name__: plant
    for plant in (
        drop_event,
        duplicate_transition,
        lost_start,
        gap,
        wrong_output,
        lost_result,
        unseen_event,
        event_seen_twice,
        events_seen_in_wrong_order,
    )
}


def planted(facts: Facts, name: str) -> Facts:
    """Return a copy of *facts* with one fault."""
    spoiled = copy.deepcopy(facts)
    FAULTS[name](spoiled)
    return spoiled
