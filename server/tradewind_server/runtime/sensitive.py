"""Sensitive values: masked for whoever has no right to see them. What is stored, and what workers get, stays exact.

A definition marks names. Under such a name a value is hidden whatever it is. Under another name, or within a text, it
is found by itself, if it is long enough not to stand there by chance: an execution's values are those that stand under
sensitive names anywhere in its tree.
"""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

import sqlalchemy as sa

from tradewind_server.lang.sensitive import MASK
from tradewind_server.lang.values import Value, decode, encode, to_text
from tradewind_server.store import loading, reads
from tradewind_server.store.records import MARKED, StoredEvent

#: Marked under this name, files of human tasks are known by nothing.
ATTACHMENTS = "attachments"
#: In an event; the digest tells what is in a short file to whoever tries.
_OF_FILES = ("name", "uri", "digest")
#: A shorter value is hidden under its names only.
MIN_CHARACTERS = 6
#: Of a tree with more values or executions than this all texts are hidden that may hold one.
_MOST_VALUES, _MOST_EXECUTIONS = 2000, 200
_PAGE = 500
_MOST_TREES, _MOST_KNOWN = 256, 20_000


@dataclasses.dataclass(frozen=True, slots=True)
class Marks:
    """What is sensitive in one execution."""

    root_id: str
    names: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Mask:
    """Hides the sensitive values of one execution."""

    names: frozenset[str]
    #: Finds values in texts; None: there are none.
    pattern: re.Pattern[str] | None
    #: There are too many to look for.
    hides_texts: bool = False

    def text(self, text: str) -> str:
        """Return *text* without sensitive values."""
        if self.hides_texts and len(text) >= MIN_CHARACTERS:
            return MASK
        return text if self.pattern is None else self.pattern.sub(MASK, text)

    def value(self, value: Value) -> Value:
        """Return *value* without those under sensitive names, and without sensitive values under others."""
        if isinstance(value, dict):
            return {
                name if self.hides_texts else self.text(name): MASK if name in self.names else self.value(item)
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            return MASK if self.text(to_text(value)) != to_text(value) else value
        return value

    def body(self, data: bytes) -> bytes:
        """Return the body of an event without sensitive values; its own fields keep their names and numbers."""
        body = decode(data)
        assert isinstance(body, dict)
        return encode({field: self._field(body, field, item) for field, item in body.items()})

    def _field(self, body: Mapping[str, Value], field: str, item: Value) -> Value:
        if field == "input" and body.get("kind") == "human" and isinstance(item, dict):
            # a form is of the definition: it names what is sensitive, and holds none of it
            masked = self.value({name: part for name, part in item.items() if name != "form"})
            return {**masked, "form": item["form"]} if isinstance(masked, dict) and "form" in item else masked
        if field == "attachment" and isinstance(item, dict):
            return self._file(item)
        if field == ATTACHMENTS and isinstance(item, list):
            return [self._file(each) for each in item if isinstance(each, dict)]
        return self.value(item) if isinstance(item, dict | list | str) else item

    def _file(self, item: Mapping[str, Value]) -> Value:
        """Return what is told of a file; only its texts hold something that others have chosen."""
        if ATTACHMENTS in self.names:
            return {**item, **{name: MASK for name in _OF_FILES if name in item}}
        return {
            name: self.text(part) if name in _OF_FILES and isinstance(part, str) else part
            for name, part in item.items()
        }


class Sensitive:
    """What is sensitive in the executions of a database. For all threads."""

    def __init__(self) -> None:
        #: By execution; it never changes.
        self._marks: dict[str, Marks | None] = {}
        self._trees: dict[str, _Tree] = {}
        self._lock = threading.Lock()

    def marks(self, connection: sa.Connection, execution_ids: Iterable[str]) -> dict[str, Marks]:
        """Return those of *execution_ids* of which something is sensitive, and what."""
        wanted, known = set(execution_ids), self._marks
        found = {id_: known[id_] for id_ in wanted if id_ in known}
        unknown = [id_ for id_ in wanted if id_ not in found]
        for row in reads.sensitive(connection, unknown) if unknown else ():
            names = frozenset(row.sensitive.split("\n")) if row.sensitive else None
            found[row.id] = Marks(row.root_id, names) if names else None
        # others look meanwhile: what they have in hand is never emptied
        self._marks = known if len(known) < _MOST_KNOWN else {}
        self._marks.update((id_, found[id_]) for id_ in unknown if id_ in found)
        return {id_: marks for id_, marks in found.items() if marks is not None}

    def masks(self, connection: sa.Connection, execution_ids: Iterable[str]) -> dict[str, Mask]:
        """Return a mask for each of *execution_ids* of which something is sensitive, with its values up to now."""
        trees: dict[str, tuple[re.Pattern[str] | None, bool]] = {}
        masks: dict[str, Mask] = {}
        for id_, marks in self.marks(connection, execution_ids).items():
            if marks.root_id not in trees:
                trees[marks.root_id] = self._tree(marks.root_id).look(connection)
            masks[id_] = Mask(marks.names, *trees[marks.root_id])
        return masks

    def _tree(self, root_id: str) -> _Tree:
        with self._lock:
            if root_id not in self._trees and len(self._trees) >= _MOST_TREES:
                self._trees.pop(next(iter(self._trees)))
            return self._trees.setdefault(root_id, _Tree(root_id))

    def masked(self, connection: sa.Connection, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        """Return *events* as those see them who may not see sensitive values; the same, if there are none."""
        marked = {event.execution_id for event in events if event.codec == MARKED}
        if not marked:
            return events
        masks = self.masks(connection, marked)
        return [
            event._replace(body=masks[event.execution_id].body(event.body)) if event.execution_id in masks else event
            for event in events
        ]


class _Tree:
    """The sensitive values of one root execution and all below it, as far as they have been read."""

    def __init__(self, root_id: str) -> None:
        self._root_id = root_id
        #: What was read of each execution: up to this revision.
        self._read: dict[str, int] = {}
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._is_full = False
        self._lock = threading.Lock()

    def look(self, connection: sa.Connection) -> tuple[re.Pattern[str] | None, bool]:
        """Read on; return what finds the values in a text, and whether they are too many for that."""
        with self._lock:
            if not self._is_full:
                self._read_on(connection)
            return self._pattern, self._is_full

    def _read_on(self, connection: sa.Connection) -> None:
        rows = reads.sensitive_tree(connection, self._root_id, _MOST_EXECUTIONS + 1)
        before = len(self._values)
        for row in rows:
            if row.sensitive and row.revision > self._read.get(row.id, 0):
                self._read_execution(connection, row)
        if len(rows) > _MOST_EXECUTIONS or len(self._values) > _MOST_VALUES:
            self._is_full, self._pattern, self._values = True, None, set()
        elif len(self._values) > before:
            # the longest first: one may begin with another
            parts = sorted(self._values, key=lambda value: (-len(value), value))
            self._pattern = re.compile("|".join(map(re.escape, parts)))

    def _read_execution(self, connection: sa.Connection, row: sa.Row[tuple[str, int, str]]) -> None:
        names, after = frozenset(row.sensitive.split("\n")), self._read.get(row.id, 0)
        while after < row.revision and len(self._values) <= _MOST_VALUES:
            events = loading.read_events(connection, row.id, after, _PAGE)
            if not events:
                break
            for event in events:
                body = decode(event.body)
                assert isinstance(body, dict)
                for item in body.values():
                    self._values.update(_forms(_under(names, item)))
            after = self._read[row.id] = events[-1].revision


def _under(names: frozenset[str], value: Value, *, is_marked: bool = False) -> Iterator[str]:
    """Give the text of every value that stands under one of *names*."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name == ATTACHMENTS and name in names and isinstance(item, list):
                item = [_known_by(each) for each in item]
            yield from _under(names, item, is_marked=is_marked or name in names)
    elif isinstance(value, list):
        for item in value:
            yield from _under(names, item, is_marked=is_marked)
    elif is_marked and value is not None and not isinstance(value, bool):
        yield to_text(value)


def _known_by(file: Value) -> Value:
    """Return what a file is known by; who added it, say, is no secret elsewhere."""
    if not isinstance(file, dict):
        return file
    return {name: part for name, part in file.items() if name in _OF_FILES}


def _forms(values: Iterable[str]) -> Iterator[str]:
    """Give the ways in which a value stands in a text: as it is, and as JSON and Python write it."""
    for value in values:
        if len(value) >= MIN_CHARACTERS and value != MASK:
            yield value
            yield encode(value)[1:-1].decode()
            yield repr(value)[1:-1]
