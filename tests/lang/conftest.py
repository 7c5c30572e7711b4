"""What the tests of the language share: facts that never change, and a scope over them."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping

import pytest

from tradewind_server.lang.expressions import Scope, compile_template


class FixedFacts:
    """Facts of an execution 'w' with one task 't'."""

    def __init__(self) -> None:
        self.uuids_drawn = 0

    def env(self) -> Mapping[str, object]:
        return {"k": "v"}

    def execution(self) -> dict[str, object]:
        return {"id": "e1", "name": "w"}

    def executions(
        self,
        execution_id: str | None = None,
        root_execution_id: str | None = None,
        state: str | None = None,
        from_time: str | None = None,
        to_time: str | None = None,
    ) -> list[dict[str, object]]:
        return [{"id": "e1", "state": state}]

    def task(self, name: str | None) -> dict[str, object] | None:
        if name not in (None, "t"):
            return None
        return {"name": "t", "state": "SUCCESS", "result": {"n": 1, "list": [1, 2]}}

    def task_part(self, name: str | None, part: str) -> object:
        return (self.task(name) or {})[part]

    def tasks(
        self, execution_id: str | None, recursive: bool, state: str | None, flat: bool
    ) -> list[dict[str, object]]:
        return [{"name": "t", "state": state or "SUCCESS"}]

    def global_variable(self, name: str) -> object:
        return {"g": 5}[name]

    def uuid(self) -> str:
        self.uuids_drawn += 1
        return f"00000000-0000-0000-0000-{self.uuids_drawn:012x}"

    def now(self) -> datetime.datetime:
        return datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


Evaluate = Callable[..., object]


@pytest.fixture
def make_scope() -> Callable[..., Scope]:
    def make(*layers: Mapping[str, object]) -> Scope:
        return Scope(layers, FixedFacts())

    return make


@pytest.fixture
def evaluate(make_scope: Callable[..., Scope]) -> Evaluate:
    """Evaluate a raw value where variables are given by name."""

    def run(raw: object, /, **variables: object) -> object:
        return compile_template(raw).evaluate(make_scope(variables))

    return run
