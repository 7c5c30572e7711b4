"""The server's event loop: uvloop, with names resolved in threads of Python's, and with a finer clock.

uvloop itself resolves names, and also addresses that it connects to, in two threads for all, of a pool in which what
has been given up stays: two lookups that a name server does not answer would hold up every connection, and the end of
the server.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")


class EventLoop(uvloop.Loop):
    """The loop."""

    def time(self) -> float:
        """Return the moment in seconds: uvloop's own has whole milliseconds."""
        return time.monotonic()

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[Any, ...]]:
        """Return what `socket.getaddrinfo` returns; of an address that is written out, at once."""
        if _is_address(host):
            return socket.getaddrinfo(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
        return await self.run_in_executor(None, socket.getaddrinfo, host, port, family, type, proto, flags)


def _is_address(host: str | bytes | None) -> bool:
    try:
        ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host))
    except ValueError:
        return False
    return True


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* to its end on a loop of its own, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=EventLoop) as runner:
        return runner.run(main)
