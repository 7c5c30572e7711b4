"""The secrets of a server: put in where an action is handed out, and masked where an answer comes back.

Nothing here is stored or logged. A value is read anew each time, so that a changed file counts at once; those that are
known are kept in memory only to recognize them in what comes back.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path

import msgspec

from tradewind_server.engine import commands as c
from tradewind_server.lang import references
from tradewind_server.lang.sensitive import MASK
from tradewind_server.lang.values import Value, encode, to_text
from tradewind_server.settings import Settings

#: Longest value, bytes.
MAX_VALUE_BYTES = 64 * 1024
#: Shorter values stand in results by chance; they are not masked.
MIN_MASKED_CHARACTERS = 6


class Unresolved(Exception):
    """An action cannot be handed out; *failure* says why, and names no value."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.failure = c.Failure("NOT_DELIVERABLE", message, code, retryable=False)


class Secrets:
    """Secrets from files `secrets_dir/<name>` and from environment variables. For the event loop."""

    def __init__(self, settings: Settings, environment: Mapping[str, str] | None = None) -> None:
        self._prefix = settings.secrets_prefix
        self._folder = Path(settings.secrets_dir) if settings.secrets_dir else None
        self._environment = os.environ if environment is None else environment
        #: JSON of each value without its quotes -> value, the longest first.
        self._known: dict[bytes, str] = {}
        self._learn(*self._configured())

    def _configured(self) -> list[str]:
        """Return all values, so that this server masks also what another one has handed out."""
        found = [value for name, value in self._environment.items() if self._prefix and name.startswith(self._prefix)]
        if self._folder is not None and self._folder.is_dir():
            found += [_read(path) for path in self._folder.iterdir()]
        return found

    def _learn(self, *values: str) -> None:
        new = {encode(value)[1:-1]: value for value in map(_carried, values) if len(value) >= MIN_MASKED_CHARACTERS}
        if not new.keys() <= self._known.keys():
            known = {**self._known, **new}
            self._known = dict(sorted(known.items(), key=lambda item: -len(item[0])))

    # --- out -------------------------------------------------------------------------------------

    def resolved(self, data: bytes) -> bytes:
        """Return the input of an action with its secrets in it.

        Raises:
            Unresolved: there is no such secret, or a reference was cut.
        """
        try:
            return references.resolved(data, self._value)
        except ValueError as problem:
            raise Unresolved("SECRET_CUT", f"Expected whole references to secrets, but {problem}.") from None

    def _value(self, name: str) -> str:
        value = _read(self._folder / name) if self._folder is not None else ""
        value = value or _carried(self._environment.get(self._variable(name), ""))
        if not value:
            raise Unresolved("SECRET_NOT_FOUND", f"There is no secret '{name}' on this server.")
        self._learn(value)
        return value

    def _variable(self, name: str) -> str:
        return self._prefix + name.upper().replace("-", "_").replace(".", "_") if self._prefix else ""

    # --- back ------------------------------------------------------------------------------------

    def masked(self, value: Value) -> Value:
        """Return *value* with *** for every known secret that stands in it."""
        if not self._known:
            return value
        data = encode(value)
        found = [secret for written, secret in self._known.items() if written in data]
        return _masked(value, found) if found else value

    def masked_text(self, text: str) -> str:
        """Return *text* with *** for every known secret that stands in it."""
        return _masked_text(text, self._known.values())

    def masked_json(self, data: bytes) -> bytes:
        """Return JSON, as a worker wrote it, with *** for every known secret that stands in it."""
        for written in self._known:
            data = data.replace(written, MASK.encode())
        return data

    def masked_answer(self, answer: c.Answer) -> c.Answer:
        """Return what a worker answered, fit to be stored."""
        if not self._known:
            return answer
        if isinstance(answer, c.CompleteAction):
            return msgspec.structs.replace(answer, result=self.masked(answer.result))
        if isinstance(answer, c.CancelAction):
            return msgspec.structs.replace(answer, message=self.masked_text(answer.message))
        failure = answer.failure
        safe = msgspec.structs.replace(
            failure,
            message=self.masked_text(failure.message),
            code=self.masked_text(failure.code),
            details=self.masked(failure.details),
        )
        return msgspec.structs.replace(answer, failure=safe)


def _carried(value: str) -> str:
    """Return *value*; "" if it is not UTF-8, which Python shows by lone surrogates."""
    return value if value.encode("utf-8", "replace").decode() == value else ""


def _read(path: Path) -> str:
    """Return the text of a file without the newline at its end; "" if it is no file that holds a secret."""
    if not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_VALUE_BYTES + 1)
        return data.decode().removesuffix("\n").removesuffix("\r") if len(data) <= MAX_VALUE_BYTES else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _masked(value: Value, found: list[str]) -> Value:
    if isinstance(value, dict):
        return {_masked_text(key, found): _masked(item, found) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item, found) for item in value]
    if isinstance(value, str):
        return _masked_text(value, found)
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        # a PIN comes back as a number from who reads it so
        text = to_text(value)
        return MASK if _masked_text(text, found) != text else value
    return value


def _masked_text(text: str, found: Iterable[str]) -> str:
    for secret in found:
        text = text.replace(secret, MASK)
    return text
