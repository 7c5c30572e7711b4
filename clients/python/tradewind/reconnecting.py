"""Waiting before something is sent again: for a delay, but no longer than until a broken connection is there again.

gRPC connects again by itself, with bounded delays that it draws at random (`Connection.options`). Whoever waited
besides, without looking, would be back by that much later than the connection. A server that is there and wants nothing
now gets the whole delay. What lies between may connect and break again and again, as a load balancer with nobody behind
it does: therefore the first second of a delay is waited in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

import grpc
from grpc import aio

#: What is waited of a delay whatever the connection does: as long as gRPC takes for its next try to connect, so that
#: nobody is later for it.
_LEAST_SECONDS = 1.0
#: gRPC looks every 200 ms whether anybody still wants to know of a connection's state.
_LAST_LOOK_SECONDS = 0.25


async def pause(channel: aio.Channel, seconds: float, broken: bool) -> None:
    """Wait *seconds*, or until a connection that is broken, or breaks meanwhile, is there again.

    Args:
        channel: the connection.
        seconds: the whole delay.
        broken: whether the connection failed just now. It may be there again by the time that this looks.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(asyncio.sleep(_LEAST_SECONDS), _connected(channel, broken))


async def _connected(channel: aio.Channel, broken: bool) -> None:
    state = channel.get_state(try_to_connect=True)
    while state is not grpc.ChannelConnectivity.SHUTDOWN:
        if state is not grpc.ChannelConnectivity.READY:
            broken = True
        elif broken:
            return
        await channel.wait_for_state_change(state)
        state = channel.get_state(try_to_connect=True)


class SyncPause:
    """Waits like `pause`, for a channel of the other face, which it also closes. Thread-safe."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        #: Until when gRPC's thread may still look, on the monotonic clock.
        self._looks_until = 0.0

    def __call__(self, seconds: float, broken: bool) -> None:
        """Wait *seconds*, or until a connection that is *broken*, or breaks meanwhile, is there again."""
        again, was_broken = threading.Event(), threading.Event()
        if broken:
            was_broken.set()

        def changed(state: grpc.ChannelConnectivity) -> None:
            if state is not grpc.ChannelConnectivity.READY:
                was_broken.set()
            elif was_broken.is_set():
                again.set()

        least = time.monotonic() + min(seconds, _LEAST_SECONDS)
        self._channel.subscribe(changed, try_to_connect=True)
        try:
            again.wait(seconds)
        finally:
            self._channel.unsubscribe(changed)
            self._looks_until = time.monotonic() + _LAST_LOOK_SECONDS
        if (left := least - time.monotonic()) > 0:
            time.sleep(left)

    def close(self) -> None:
        """Close the channel, but not while gRPC's thread looks at it: that would end with a traceback.

        There is no way to learn that it has ended, so whoever closes right after a pause waits for its last look.
        """
        if (left := self._looks_until - time.monotonic()) > 0:
            time.sleep(left)
        self._channel.close()
