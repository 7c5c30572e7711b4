"""A load balancer with nobody behind it: it takes connections, and drops them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import tradewind
from tests.client.fake_server import PATIENCE
from tradewind import Connection, aio, errors

#: Seconds for which the clients of these tests repeat a call.
_SECONDS = 0.6
#: Delays of at least 0.05, 0.1 and 0.2 s fit into them, and then two of half of what is left.
_MOST_PAUSES = 5
#: HTTP/2's first frame: settings, and none of them.
_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("speaks", [False, True], ids=["drops at once", "drops what is asked"]),
]


@contextmanager
def dropping(speaks: bool) -> Iterator[Connection]:
    """Take connections and drop them: at once, or only with the first call, so that each of them seems to be good."""

    def take() -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                peer, _ = listener.accept()
                with peer, contextlib.suppress(OSError):
                    peer.settimeout(1.0)  # gRPC may forget a connection that it began as the client closed
                    if speaks:
                        peer.sendall(_SETTINGS)
                        # the client's own settings, and then its request
                        peer.recv(100)
                        peer.recv(100)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=take)
        thread.start()
        host, port = listener.getsockname()
        yield Connection((f"{host}:{port}",), patience=_SECONDS)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)
    assert not thread.is_alive()


async def test_call_holds_its_delays_and_ends_typed_when_its_patience_does(speaks: bool) -> None:
    """A connection that is there again and again is no reason to ask without a pause."""
    with dropping(speaks) as connection:
        async with aio.Client(connection) as client:
            pauses, sleep = [], client._sleep

            async def noted(seconds: float, broken: bool) -> None:
                pauses.append(seconds)
                await sleep(seconds, broken)

            client._sleep = noted
            with pytest.raises(errors.Unavailable):
                await asyncio.wait_for(client.get("e1"), PATIENCE)
    assert 1 <= len(pauses) <= _MOST_PAUSES


async def test_sync_call_holds_its_delays_and_ends_typed_when_its_patience_does(speaks: bool) -> None:
    """Of the other face."""
    with dropping(speaks) as connection, tradewind.Client(connection) as client:
        pauses, sleep = [], client._sleep

        def noted(seconds: float, broken: bool) -> None:
            pauses.append(seconds)
            sleep(seconds, broken)

        client._sleep = noted
        with pytest.raises(errors.Unavailable):
            await asyncio.wait_for(asyncio.to_thread(client.get, "e1"), PATIENCE)
    assert 1 <= len(pauses) <= _MOST_PAUSES
