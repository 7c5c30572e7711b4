"""Whom to reach where: the file of contacts, which is read again when it changes.

users:
  alice: [{mail: alice@example.org}, {sms: "+49 170 1234567"}]    # tried in this order
groups:
  heads: [{mail: "heads@example.org, board@example.org"}]
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from tradewind_server.lang.configuration import Unusable, read_file
from tradewind_server.lang.documents import Path
from tradewind_server.lang.reader import Keyword, Reader, Shape
from tradewind_server.lang.stamps import stamp_of

log = logging.getLogger(__name__)

#: (channel, address), in the order in which they are tried.
Ways = Sequence[tuple[str, str]]


class Contacts:
    """The file of contacts.

    Raises:
        Unusable: it cannot be used. Later on a file that cannot be used leaves what was there before.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp: tuple[int, ...] = ()
        self._ways: Mapping[str, Ways] = {}
        if path:
            self._stamp = stamp_of(path)
            self._ways = _read(path)

    def ways(self, recipient: str, wanted: Sequence[str] = ()) -> Ways:
        """Return how to reach "user:NAME" or "group:NAME": over the *wanted* channels in their order, or over all."""
        found = self._current().get(recipient, ())
        if not wanted:
            return found
        return [way for channel in wanted for way in found if way[0] == channel]

    def _current(self) -> Mapping[str, Ways]:
        stamp = stamp_of(self._path) if self._path else ()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._ways = _read(self._path)
                log.info("contacts were read again: %d", len(self._ways))
            except Unusable as problem:
                log.error("the contacts that were read before count until this is mended: %s", problem)
        return self._ways


def _read(path: str) -> dict[str, Ways]:
    found = read_file(path, _FILE, "contacts")
    return {
        f"{kind}:{name}": ways
        for kind, table in (("user", "users"), ("group", "groups"))
        for name, ways in found.get(table, {}).items()
    }


def _read_people(reader: Reader, value: object, path: Path) -> object:
    if not isinstance(value, dict):
        return reader.wrong(path, value, "a mapping of names to lists of addresses")
    return {name: _read_ways(reader, ways, (*path, name)) for name, ways in value.items()}


def _read_ways(reader: Reader, value: object, path: Path) -> Ways:
    found = []
    for n, entry in enumerate(value if isinstance(value, list) else [value]):
        pairs = list(entry.items()) if isinstance(entry, dict) else []
        if len(pairs) == 1 and isinstance(pairs[0][1], str) and pairs[0][1].isprintable() and pairs[0][1]:
            found.append(pairs[0])
        else:
            reader.wrong((*path, n), entry, "one pair of a channel and an address in quotation marks")
    return found


_PEOPLE = Keyword(Shape("a mapping of names to lists of addresses", _read_people))
_FILE = {"users": _PEOPLE, "groups": _PEOPLE}
