"""Sensitive names: what of a workflow's values only those may see who have a right to.

A name is marked where the value has one: by `sensitive` of a workflow, or by `x-sensitive` at a property of a form. It
is marked wherever it stands in what an execution keeps: input, variables, results, what is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tradewind_server.lang.specs import TaskSpec

#: What stands in the place of a value that is not to be seen.
MASK = "***"
#: What marks a property of a form; the second is JSON Schema's own word for what is never given back.
_MARKS = ("x-sensitive", "writeOnly")


def sensitive_names(declared: Iterable[str], tasks: Iterable[TaskSpec]) -> tuple[str, ...]:
    """Return the names that a workflow marks: its own, and those of its forms."""
    found = set(declared)
    for task in tasks:
        if task.human is not None and task.human.form is not None:
            found.update(marked_properties(task.human.form))
    return tuple(sorted(found))


def marked_properties(schema: object) -> Iterator[str]:
    """Give the names of the marked properties of a form, at any depth, in no particular order."""
    if isinstance(schema, list):
        for item in schema:
            yield from marked_properties(item)
    if not isinstance(schema, Mapping):
        return
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        for name, part in properties.items():
            if isinstance(part, Mapping) and any(part.get(mark) is True for mark in _MARKS):
                yield str(name)
    for part in schema.values():
        yield from marked_properties(part)
