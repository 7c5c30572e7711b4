"""What an expression can see: layered variables, and facts about the execution."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Protocol

import msgspec


class Facts(Protocol):
    """What the engine knows beyond the variables. All that is not in the text or the data comes from here."""

    def env(self) -> Mapping[str, object]:
        """Return the environment of the root execution."""

    def execution(self) -> dict[str, object]:
        """Return the fields of the current execution."""

    def executions(
        self,
        execution_id: str | None = None,
        root_execution_id: str | None = None,
        state: str | None = None,
        from_time: str | None = None,
        to_time: str | None = None,
    ) -> list[dict[str, object]]:
        """Return executions that match every given filter."""

    def task(self, name: str | None) -> dict[str, object] | None:
        """Return the task last created under *name*, the current one for None; None if there is none."""

    def task_part(self, name: str | None, part: str) -> object:
        """Return one field of `task(name)`; raise KeyError if there is no such task or field."""

    def tasks(
        self, execution_id: str | None, recursive: bool, state: str | None, flat: bool
    ) -> list[dict[str, object]]:
        """Return the tasks of one execution, or of all for None."""

    def global_variable(self, name: str) -> object:
        """Return a variable of the workflow's own context; raise KeyError if there is none."""

    def uuid(self) -> str:
        """Return the next derived UUID."""

    def now(self) -> datetime.datetime:
        """Return the moment of the command, aware, in UTC."""


#: `$` is the variables.
VARIABLES = object()


class Scope(msgspec.Struct, gc=False):
    """The variables of one evaluation, in lookup order, and the facts."""

    layers: tuple[Mapping[str, object], ...]
    facts: Facts
    #: `$` itself, where it is no set of variables: the result that the output of an ad-hoc action looks at.
    whole: object = VARIABLES

    def lookup(self, name: str) -> object:
        """Return the variable from the first layer that has it; raise KeyError if none has."""
        for layer in self.layers:
            if name in layer:
                return layer[name]
        raise KeyError(name)

    def merged(self) -> dict[str, object]:
        """Return all variables in one new dictionary."""
        merged: dict[str, object] = {}
        for layer in reversed(self.layers):
            merged.update(layer)
        return merged


class Root(Mapping[str, object]):
    """`$` as a whole: reads through the layers, and merges them only when iterated."""

    __slots__ = ("_merged", "_scope")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._merged: dict[str, object] | None = None

    def __getitem__(self, name: str) -> object:
        return self._scope.lookup(name)

    def __contains__(self, name: object) -> bool:
        return any(name in layer for layer in self._scope.layers)

    def __iter__(self) -> Iterator[str]:
        return iter(self.merged())

    def __len__(self) -> int:
        return len(self.merged())

    def merged(self) -> dict[str, object]:
        """Return all variables as a dictionary that is made once."""
        if self._merged is None:
            self._merged = self._scope.merged()
        return self._merged
