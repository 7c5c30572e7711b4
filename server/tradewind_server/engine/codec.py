"""Events to bytes and back. Stored events are for ever: each type counts its versions, and old decoders stay."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec

from tradewind_server.engine import events as e
from tradewind_server.lang.numbers import parse_decimal
from tradewind_server.lang.values import encode

#: Current version of each type; a change of shape raises it and adds a decoder for the old one.
VERSIONS: dict[str, int] = {cls.__name__: 1 for cls in e.Event.__subclasses__()}

TYPES: dict[str, type[e.Event]] = {cls.__name__: cls for cls in e.Event.__subclasses__()}


def encode_event(event: e.Event) -> bytes:
    """Return the body of *event* as JSON with exact numbers."""
    body = encode(event)
    if b"E" in body and (b"E-" in body or b"E+" in body):
        # `encode` rewrites exponents in plain values only; rare
        body = encode(msgspec.to_builtins(event, builtin_types=(Decimal,)))
    return body


def _decoder(cls: type[e.Event]) -> Callable[[bytes], e.Event]:
    return msgspec.json.Decoder(cls, float_hook=parse_decimal).decode


_DECODERS: dict[tuple[str, int], Callable[[bytes], e.Event]] = {(name, 1): _decoder(cls) for name, cls in TYPES.items()}


def decode_event(type_: str, version: int, body: bytes) -> e.Event:
    """Return the event that *body* was made from."""
    return _DECODERS[type_, version](body)
