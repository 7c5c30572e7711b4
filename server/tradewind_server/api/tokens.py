"""Who may call: static bearer tokens from a file, which holds their digests only.

    tokens:
    - name: payroll
      sha256: 6ad1…
      namespaces: [default, hr]
      groups: [clerks]                # optional: human tasks for these groups are for this caller, too
      rights: [manage-human-tasks]    # optional: see `api/access.py`
      calls: [read, start]            # optional: all that this caller may call, see `api/calls.py`

`namespaces: ["*"]` means all. The file is read again when it has changed, so that a token is withdrawn without a
restart; one that cannot be read any more lets nobody in.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import Any

import yaml

from tradewind_server.api.access import RIGHTS, Identity
from tradewind_server.api.calls import CALLS
from tradewind_server.errors import Unauthenticated
from tradewind_server.lang.stamps import stamp_of

log = logging.getLogger(__name__)


class UnusableTokens(ValueError):
    """The file of tokens cannot be used; the text says why."""


class Tokens:
    """The tokens of one file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp = stamp_of(path)
        self._identities: Mapping[str, Identity] = _read(path)

    def identity(self, metadata: Mapping[str, Any]) -> Identity:
        """Return who calls.

        Raises:
            Unauthenticated: there is no token, or an unknown one.
        """
        given = metadata.get("authorization")
        if given is None:
            raise Unauthenticated(problem="there is none")
        scheme, _, token = str(given).partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated(problem="it is of another kind")
        found = self._current().get(digest(token.strip()))
        if found is None:
            raise Unauthenticated(problem="the server does not know it")
        return found

    def _current(self) -> Mapping[str, Identity]:
        stamp = stamp_of(self._path)
        if stamp != self._stamp:
            # first, so that nothing that goes wrong leaves a withdrawn token in
            self._stamp, self._identities = stamp, {}
            try:
                self._identities = _read(self._path)
                log.info("tokens were read again: %d", len(self._identities))
            except UnusableTokens as problem:
                log.error("nobody can call until this is mended: %s", problem)
        return self._identities


def digest(token: str) -> str:
    """Return what the file holds of *token*."""
    return hashlib.sha256(token.encode()).hexdigest()


def _read(path: str) -> dict[str, Identity]:
    try:
        with open(path, encoding="utf-8") as file:
            # texts only: names and digests that look like a date or a number are not taken for one
            content = yaml.load(file, yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UnusableTokens(f"Expected tokens in '{path}', but {error}.") from None
    entries = content.get("tokens") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise UnusableTokens(f"Expected '{path}' to hold a list 'tokens', but it does not.")
    found: dict[str, Identity] = {}
    for n, entry in enumerate(entries, 1):
        sha256, identity = _entry(path, n, entry)
        if sha256 in found:
            raise UnusableTokens(f"Expected each token once in '{path}', but entry {n} repeats that of another.")
        found[sha256] = identity
    return found


def _entry(path: str, n: int, entry: object) -> tuple[str, Identity]:
    fields = entry if isinstance(entry, dict) else {}
    name, sha256, namespaces = fields.get("name"), fields.get("sha256"), fields.get("namespaces")
    groups, rights, calls = fields.get("groups", []), fields.get("rights", []), fields.get("calls", [*CALLS])
    is_digest = isinstance(sha256, str) and len(sha256) == 64 and set(sha256) <= set("0123456789abcdef")
    is_usable = isinstance(name, str) and name and is_digest and namespaces and fields.keys() <= _FIELDS
    if not is_usable or not all(map(_is_texts, (namespaces, groups, rights, calls))):
        raise UnusableTokens(
            f"Expected entry {n} of '{path}' to have a name, the token's sha256 in 64 hexadecimal digits, a list of "
            "namespaces, perhaps lists of groups, rights, calls, and nothing else. `tradewind token NAME` writes one."
        )
    for key, given, known in (("rights", rights, RIGHTS), ("calls", calls, CALLS)):
        if unknown := set(given) - known:
            expected = f"{key} of {', '.join(sorted(known))} in entry {n} of '{path}'"
            raise UnusableTokens(f"Expected {expected}, but '{min(unknown)}' is none.")
    return str(sha256), Identity(str(name), *map(frozenset, (namespaces, groups, rights, calls)))


_FIELDS = frozenset({"name", "sha256", "namespaces", "groups", "rights", "calls"})


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)
