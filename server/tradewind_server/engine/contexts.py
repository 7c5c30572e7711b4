"""Branch contexts: which variables a task sees, and where their values are kept.

A context maps a variable to its value, to the revision of the event whose body holds it, and to its version: how
often the variable was published on the way to here. Contexts are shared, never copied value by value; a task that
publishes nothing hands on the very object it got.

At a join the higher version wins, dictionaries are merged key by key, and on equal versions the parent that comes
later in the text wins (R9).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec


class Context(msgspec.Struct, frozen=True, gc=False):
    """Immutable set of variables."""

    values: Mapping[str, object]
    #: variable -> (revision of the event that holds the value, version)
    origins: Mapping[str, tuple[int, int]]

    def published(self, values: Mapping[str, object], revision: int) -> Context:
        """Return the context after *values* were published by the event at *revision*."""
        if not values:
            return self
        origins = dict(self.origins)
        for name in values:
            version = origins[name][1] if name in origins else 0
            origins[name] = (revision, version + 1)
        return Context({**self.values, **values}, origins)

    def replaced(self, merged: Mapping[str, object], versions: Mapping[str, int], revision: int) -> Context:
        """Return the context with values that a join merged, kept in the event at *revision*."""
        if not merged:
            return self
        origins = {**self.origins, **{name: (revision, versions[name]) for name in merged}}
        return Context({**self.values, **merged}, origins)


EMPTY = Context({}, {})


class Merge(msgspec.Struct, frozen=True, gc=False):
    """Outcome of a merge: the context, and what of it exists nowhere else yet."""

    context: Context
    #: Deep-merged dictionaries; the join's event must keep them.
    merged: Mapping[str, object]
    versions: Mapping[str, int]


def merge(contexts: Iterable[Context]) -> Merge:
    """Merge *contexts*, given in the textual order of their tasks."""
    unique = list({id(context): context for context in contexts}.values())
    if len(unique) <= 1:
        return Merge(unique[0] if unique else EMPTY, {}, {})
    values = dict(unique[0].values)
    origins = dict(unique[0].origins)
    merged: dict[str, object] = {}
    for context in unique[1:]:
        for name, origin in context.origins.items():
            if name not in origins:
                values[name], origins[name] = context.values[name], origin
            elif origin != origins[name]:
                _merge_variable(name, context.values[name], origin, values, origins, merged)
    return Merge(Context(values, origins), merged, {name: origins[name][1] for name in merged})


def _merge_variable(
    name: str,
    value: object,
    origin: tuple[int, int],
    values: dict[str, object],
    origins: dict[str, tuple[int, int]],
    merged: dict[str, object],
) -> None:
    mine, theirs = origins[name][1], origin[1]
    if isinstance(value, dict) and isinstance(values[name], dict):
        both = (values[name], value) if theirs >= mine else (value, values[name])
        values[name] = merged[name] = merged_deeply(*both)
        origins[name] = (origin[0], max(mine, theirs))
    elif theirs >= mine:
        values[name], origins[name] = value, origin
        merged.pop(name, None)


def merged_deeply(loser: Mapping[str, object], winner: Mapping[str, object]) -> dict[str, object]:
    """Return both, key by key: of two dictionaries under a key both in turn, else the value of *winner*."""
    result = dict(loser)
    for key, value in winner.items():
        mine = result.get(key)
        result[key] = merged_deeply(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return result
