"""Pages: how much of a list goes into one answer, and tokens that say where it goes on, and of which query.

Tokens are signed, so that none can be made up.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tradewind_server.errors import PageTokenInvalid
from tradewind_server.lang.values import ValueProblem, decode, encode

#: A page ends before it has more bytes than this; gRPC clients take 4 MiB by default.
PAGE_BYTES = 3 * 1024 * 1024
#: Rows whose payloads are in memory at once.
_STEP = 50

T = TypeVar("T")


def fill(rows: Sequence[T], make: Callable[[Sequence[T]], Sequence[Any]], size: int) -> list[Any]:
    """Return messages of *rows*: *size* at most, and no more bytes than a page may have, but one at least."""
    messages: list[Any] = []
    total = 0
    for start in range(0, min(size, len(rows)), _STEP):
        for message in make(rows[start : min(start + _STEP, size)]):
            total += message.ByteSize()
            if messages and total > PAGE_BYTES:
                return messages
            messages.append(message)
    return messages


class Pages:
    """Makes and reads page tokens with the installation's secret."""

    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(f"pages {secret}".encode()).digest()

    def token(self, query: Sequence[object], position: Sequence[object]) -> str:
        """Return a token for going on with *query* after *position*."""
        text = encode([self._digest(query), *position])
        return base64.urlsafe_b64encode(self._sign(text) + text).decode()

    def next(self, query: Sequence[object], rows: Sequence[T], taken: int, key: Callable[[T], Sequence[object]]) -> str:
        """Return a token for going on after the first *taken* of *rows*; "" if that was the last page."""
        return self.token(query, key(rows[taken - 1])) if len(rows) > taken > 0 else ""

    def position(self, query: Sequence[object], token: str) -> list[object]:
        """Return where *query* goes on; nothing for the first page.

        Raises:
            PageTokenInvalid: the token is of another query, or no token.
        """
        if not token:
            return []
        try:
            data = base64.urlsafe_b64decode(token.encode())
            signature, text = data[:12], data[12:]
            found = decode(text)
        except (ValueError, ValueProblem):
            raise PageTokenInvalid(field="page_token") from None
        if not hmac.compare_digest(signature, self._sign(text)):
            raise PageTokenInvalid(field="page_token")
        assert isinstance(found, list), "we signed it"
        if found[0] != self._digest(query):
            raise PageTokenInvalid(field="page_token")
        return found[1:]

    def _digest(self, query: Sequence[object]) -> str:
        return hashlib.sha256(encode([str(part) for part in query])).hexdigest()[:16]

    def _sign(self, text: bytes) -> bytes:
        return hashlib.blake2b(text, digest_size=12, key=self._key[:64]).digest()
