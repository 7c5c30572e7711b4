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
        if broken and state is grpc.ChannelConnectivity.READY:
            return
        await channel.wait_for_state_change(state)
        # whatever it is by the time that this looks: one that was there was not for a moment
        broken = True
        state = channel.get_state(try_to_connect=True)


class SyncPause:
    """Waits like `pause`, for a channel of the other face, which it also closes. Thread-safe."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._is_closed = threading.Event()
        #: What ends the pauses that are under way.
        self._ends: set[threading.Event] = set()
        #: Until when gRPC's thread may still look, on the monotonic clock.
        self._looks_until = 0.0

    @property
    def is_closed(self) -> bool:
        """Tell whether the channel is closed, or about to be."""
        return self._is_closed.is_set()

    def __call__(self, seconds: float, broken: bool) -> None:
        """Wait *seconds*, or until a connection that is *broken*, or breaks meanwhile, is there again.

        Once it is closed nobody waits: the next call is told so.
        """
        least = time.monotonic() + min(seconds, _LEAST_SECONDS)
        again = threading.Event()
        self._ends.add(again)
        try:
            if not self._is_closed.is_set():
                self._look(again, seconds, broken)
        finally:
            self._ends.discard(again)
        if (left := least - time.monotonic()) > 0:
            self._is_closed.wait(left)

    def _look(self, again: threading.Event, seconds: float, broken: bool) -> None:
        was_broken = threading.Event()
        if broken:
            was_broken.set()

        def changed(state: grpc.ChannelConnectivity) -> None:
            if state is not grpc.ChannelConnectivity.READY:
                was_broken.set()
            elif was_broken.is_set():
                again.set()

        self._channel.subscribe(changed, try_to_connect=True)
        try:
            again.wait(seconds)
        finally:
            self._channel.unsubscribe(changed)
            self._looks_until = time.monotonic() + _LAST_LOOK_SECONDS

    def close(self) -> None:
        """End the pauses and close the channel, but not while gRPC's thread looks at it: that would leave a traceback.

        There is no way to learn that it has ended, so whoever closes during a pause, or right after one, waits for its
        last look.
        """
        self._is_closed.set()
        if ends := list(self._ends):
            self._looks_until = time.monotonic() + _LAST_LOOK_SECONDS
        for again in ends:
            again.set()
        if (left := self._looks_until - time.monotonic()) > 0:
            time.sleep(left)
        self._channel.close()
