"""The only user of uuid and random: ids of executions, servers and batches."""

from __future__ import annotations

import os
import secrets
import uuid
from datetime import datetime
from typing import Protocol


class Ids(Protocol):
    """Where new ids come from."""

    def execution(self, at: datetime) -> str:
        """Return a new UUIDv7 for the moment *at*, as text."""

    def opaque(self) -> str:
        """Return a new id without meaning, as text."""


class SystemIds:
    """Random ids of this machine."""

    def execution(self, at: datetime) -> str:
        """Return a new UUIDv7; ids of later milliseconds sort later."""
        number = int(at.timestamp() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
        number = number & ~(0xF << 76) | 0x7 << 76
        number = number & ~(0x3 << 62) | 0x2 << 62
        return str(uuid.UUID(int=number))

    def opaque(self) -> str:
        """Return 16 random bytes in hexadecimal."""
        return secrets.token_hex(16)


def draw(below: int) -> int:
    """Return a number by chance, from 0 on."""
    return secrets.randbelow(below)
