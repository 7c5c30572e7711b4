"""The server's event loop: uvloop, with names resolved in threads of its own, and with a finer clock.

uvloop itself resolves names, and also addresses that it connects to, in two threads for all, of a pool in which what
has been given up stays: two lookups that a name server does not answer would hold up every connection, and the end of
the server.

This is so for `getaddrinfo` and `sock_connect`, through which goes all that the server connects to: where it may
connect is judged between the two. What is given a name to connect to, as `create_connection` is, would ask uvloop's own
threads.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import ipaddress
import socket
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")

#: Lookups at a time. A name server that does not answer takes some ten seconds of one.
_LOOKUPS = 32


class EventLoop(uvloop.Loop):
    """The loop."""

    def __init__(self) -> None:
        super().__init__()
        self._resolvers = concurrent.futures.ThreadPoolExecutor(_LOOKUPS, "lookup")

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
        return await self.run_in_executor(self._resolvers, socket.getaddrinfo, host, port, family, type, proto, flags)

    def close(self) -> None:
        """Close it; lookups that have not begun never do."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)
        super().close()


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
