"""Waiting before something is sent again: for a delay, but no longer than until a broken connection is there again.

gRPC connects again by itself, with bounded delays that it draws at random (`Connection.options`). Whoever waited
besides, without looking, would be back by that much later than the connection. A server that is there and wants nothing
now gets the whole delay.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

import grpc
from grpc import aio

#: gRPC looks every 200 ms whether anybody still wants to know of a connection's state.
_LAST_LOOK_SECONDS = 0.25


async def pause(channel: aio.Channel, seconds: float) -> None:
    """Wait *seconds*, or until a connection that is broken, or breaks meanwhile, is there again."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await _reconnected(channel)


async def _reconnected(channel: aio.Channel) -> None:
    state = channel.get_state(try_to_connect=True)
    while state is not grpc.ChannelConnectivity.SHUTDOWN:
        await channel.wait_for_state_change(state)
        state = channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            return


def pause_sync(channel: grpc.Channel, seconds: float) -> None:
    """Wait like `pause`."""
    again, broken = threading.Event(), threading.Event()

    def changed(state: grpc.ChannelConnectivity) -> None:
        if state is not grpc.ChannelConnectivity.READY:
            broken.set()
        elif broken.is_set():
            again.set()

    channel.subscribe(changed, try_to_connect=True)
    try:
        again.wait(seconds)
    finally:
        channel.unsubscribe(changed)
        # a channel that is closed while gRPC's thread still looks makes that end with a traceback
        time.sleep(_LAST_LOOK_SECONDS)
