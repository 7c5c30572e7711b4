"""The reference's load: `python -m bench.echo_load PORT SECONDS`; writes calls and stream messages per second as JSON.

Four channels with 16 unary calls outstanding on each; then one stream on each, with 256 messages outstanding.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time

import grpc

_CHANNELS, _CALLS, _MESSAGES = 4, 16, 256
_PAYLOAD = b"x" * 200


class Counter:
    """Counts what came back until the time is over."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end = time.perf_counter() + seconds
        self.count = 0

    @property
    def goes_on(self) -> bool:
        """Whether there is time left."""
        return time.perf_counter() < self.end

    @property
    def rate(self) -> float:
        """Per second."""
        return self.count / self.seconds


async def call(channel: grpc.aio.Channel, counter: Counter) -> None:
    """Make one unary call after the other."""
    echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/bench.Echo/Unary")
    while counter.goes_on:
        await echo(_PAYLOAD)
        counter.count += 1


async def stream(channel: grpc.aio.Channel, counter: Counter) -> None:
    """Send messages on one stream, and count those that come back."""
    method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream("/bench.Echo/Stream")
    echo = method()
    room = asyncio.Semaphore(_MESSAGES)

    async def write() -> None:
        while counter.goes_on:
            await room.acquire()
            await echo.write(_PAYLOAD)
        await echo.done_writing()

    writer = asyncio.create_task(write())
    while await echo.read() is not grpc.aio.EOF:
        room.release()
        counter.count += counter.goes_on
    await writer


async def main(port: int, seconds: float) -> None:
    """Measure both."""
    async with contextlib.AsyncExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]  # else the four would share one connection
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options))
            for _ in range(_CHANNELS)
        ]
        warm = Counter(0.2)
        await asyncio.gather(*(call(channel, warm) for channel in channels))
        unary = Counter(seconds)
        await asyncio.gather(*(call(channel, unary) for channel in channels for _ in range(_CALLS)))
        streamed = Counter(seconds)
        await asyncio.gather(*(stream(channel, streamed) for channel in channels))
    sys.stdout.write(json.dumps({"echo_calls": unary.rate, "stream_messages": streamed.rate}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
