"""Page tokens: where a list goes on, and of which query it is. Signed, so that none can be made up."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from tradewind_server.errors import PageTokenInvalid
from tradewind_server.lang.values import ValueProblem, decode, encode


class Pages:
    """Makes and reads page tokens with the installation's secret."""

    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(f"pages {secret}".encode()).digest()

    def token(self, query: Sequence[object], position: Sequence[object]) -> str:
        """Return a token for going on with *query* after *position*."""
        text = encode([self._digest(query), *position])
        return base64.urlsafe_b64encode(self._sign(text) + text).decode()

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
