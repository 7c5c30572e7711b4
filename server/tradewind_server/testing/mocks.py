"""Answers in place of workers.

mocks:
  accounting.salary:                 # name of an action, or of a task, which wins
    result: {amount: 4250.50}        # or failure: {message, code, details, retryable}
    after: 3s                        # of the virtual clock; without it at once
  bonus.get:
    sequence:                        # one for each call of a task (of an item), in turn; the last one stays
      - failure: {message: busy}
      - result: {amount: 1.00}
  shop.price:                        # the first that fits
    - when: {item: {id: 7}}          # the input has this in it
      result: 5
    - result: 9
  approve:
    hold: true                       # nobody answers but a step, or a timeout
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

from tradewind_server.engine.commands import Failure
from tradewind_server.testing.comparison import includes
from tradewind_server.testing.grammar import seconds


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """An action that somebody must answer."""

    execution_id: str
    task: str
    #: 0-based item of with-items.
    index: int
    name: str
    #: Ad-hoc actions it was called through.
    wrappers: tuple[str, ...]
    input: object


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a mock answers."""

    result: object = None
    failure: Failure | None = None
    #: Nobody answers.
    hold: bool = False
    #: Seconds from the call.
    after: float = 0


class Mocks:
    """The mocks of one case, and how often each was asked."""

    def __init__(self, rules: Mapping[str, Any]) -> None:
        self._rules = {name: rule if isinstance(rule, list) else [rule] for name, rule in rules.items()}
        self._asked: collections.Counter[tuple[str, int, str, str, int]] = collections.Counter()

    def answer(self, call: Call) -> Answer | None:
        """Return the answer to *call*; None when no mock is for it."""
        for name in (call.task, *call.wrappers, call.name):
            for number, rule in enumerate(self._rules.get(name, ())):
                if "when" not in rule or includes(rule["when"], call.input):
                    return _answer(self._turn(name, number, rule, call))
        return None

    def _turn(self, name: str, number: int, rule: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
        if "sequence" not in rule:
            return rule
        key = (name, number, call.execution_id, call.task, call.index)
        turn = min(self._asked[key], len(rule["sequence"]) - 1)
        self._asked[key] += 1
        entry: Mapping[str, Any] = rule["sequence"][turn]
        return entry


def _answer(rule: Mapping[str, Any]) -> Answer:
    after = seconds(rule["after"]) if "after" in rule else 0
    if "failure" in rule:
        return Answer(failure=failure(rule["failure"]), after=after)
    return Answer(rule.get("result"), hold=bool(rule.get("hold")), after=after)


def failure(how: Mapping[str, Any]) -> Failure:
    """Return the failure that a test speaks of."""
    message, code, details = how.get("message", "failed"), how.get("code", ""), how.get("details")
    return Failure("ACTION", message, code, details, how.get("retryable", True))
