"""What a task publishes to its branch after which outcome, as bits of whole numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from tradewind_server.lang.analysis.subjects import published
from tradewind_server.lang.expressions import Template
from tradewind_server.lang.graph import clauses
from tradewind_server.lang.specs import TaskSpec


@dataclasses.dataclass(slots=True)
class Published:
    """What one task publishes after a success, a failure, a skip."""

    success: int = 0
    error: int = 0
    skip: int = 0

    def add(self, outcome: str, bit: int) -> None:
        """Note something that is published after an outcome; `complete` is any."""
        self.success |= bit if outcome in ("success", "complete") else 0
        self.error |= bit if outcome in ("error", "complete") else 0
        self.skip |= bit if outcome in ("skip", "complete") else 0

    def after(self, keyword: str) -> int:
        """Return what a clause of the task may see."""
        # A task that is skipped and has no on-skip takes its on-success.
        parts = {
            "on-success": self.success | self.skip,
            "on-error": self.error,
            "on-skip": self.skip,
            "requires": self.success,
        }
        return parts.get(keyword, self.success | self.error | self.skip)

    def always_after(self, keyword: str) -> int:
        """Return what a clause of the task sees at any rate, unless somebody skipped the task."""
        parts = {"on-success": self.success, "on-error": self.error, "on-skip": self.skip, "requires": self.success}
        return parts.get(keyword, self.success & self.error)


def branch_publishing(task: TaskSpec) -> Iterator[tuple[str, Template]]:
    """Give what a task publishes to its branch, with the outcome: success, error, skip or complete."""
    own = (("success", task.publish), ("error", task.publish_on_error), ("skip", task.publish_on_skip))
    for outcome, template in own:
        if template is not None:
            yield outcome, template
    for keyword, clause in clauses(task):
        for scope, template in published(clause):
            if scope == "branch":
                yield keyword.removeprefix("on-"), template
