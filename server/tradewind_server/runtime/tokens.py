"""Action tokens: what a worker sends back to answer an offer. Signed, so that none can be made up."""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from tradewind_server.errors import TokenInvalid

_SIGNATURE_BYTES = 12


class Token(msgspec.Struct, frozen=True, gc=False):
    """What a token says."""

    namespace: str
    execution_id: str
    action_id: int
    attempt: int
    epoch: int


class Signer:
    """Makes and reads tokens with the installation's secret."""

    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(secret.encode()).digest()

    def sign(self, token: Token) -> bytes:
        """Return the token as opaque bytes."""
        text = f"{token.execution_id}|{token.action_id}|{token.attempt}|{token.epoch}|{token.namespace}".encode()
        return self._signature(text) + text

    def read(self, data: bytes, namespace: str) -> Token:
        """Return what *data* says.

        Raises:
            TokenInvalid: it was not made here, or for another namespace.
        """
        signature, text = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(text)):
            raise TokenInvalid(field="token")
        execution_id, action, attempt, epoch, owner = text.decode().split("|", 4)
        if owner != namespace:
            raise TokenInvalid(field="token")
        return Token(owner, execution_id, int(action), int(attempt), int(epoch))

    def _signature(self, text: bytes) -> bytes:
        return hashlib.blake2b(text, digest_size=_SIGNATURE_BYTES, key=self._key).digest()
