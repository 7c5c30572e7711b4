"""Wires: connections that go through here, and can be cut, or swallow everything without a word."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

_CHUNK = 65_536


class Wire:
    """A port of this machine that leads to another one."""

    def __init__(self, wires: Wires, target: int) -> None:
        self._wires = wires
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._flows_back = asyncio.Event()
        self._flows_back.set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Listen no more, and reset what is connected."""
        if self._server is not None:
            self._server.close()
        self._cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # cancelled: all wires end, and this connection with them
        with contextlib.suppress(OSError, asyncio.CancelledError):
            onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", self._target)
            with self._connected(writer), self._connected(onward_writer):
                there = asyncio.create_task(self._pump(reader, onward_writer, self._flows))
                back = asyncio.create_task(self._pump(onward_reader, writer, self._flows_back))
                await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
                there.cancel()
                back.cancel()
        writer.transport.abort()

    @contextlib.contextmanager
    def _connected(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        self._writers.add(writer)
        try:
            yield
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                # whoever sent this has been told by its own kernel that it arrived
                await flows.wait()
                writer.write(data)
                await writer.drain()

    def hold(self) -> None:
        """Swallow everything, in both directions, while the connections stay open."""
        self._wires.call(self._flows.clear)
        self._wires.call(self._flows_back.clear)

    def hold_replies(self) -> None:
        """Swallow what comes back, while what is sent arrives."""
        self._wires.call(self._flows_back.clear)

    def cut(self) -> int:
        """Reset all connections; new ones work. Return how many there were."""
        return asyncio.run_coroutine_threadsafe(self._cut_now(), self._wires.loop).result(10)

    async def _cut_now(self) -> int:
        # each has a writer in either direction
        count = len(self._writers) // 2
        self._cut()
        return count

    def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()
        self._flows.set()
        self._flows_back.set()


class Wires:
    """A thread with a loop of its own, in which wires run. Use as a context manager."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="wires", daemon=True)
        self._wires: list[Wire] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for wire in self._wires:
            self.call(wire.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    def _run(self) -> None:
        self.loop.run_forever()
        self.loop.run_until_complete(self._end())
        self.loop.close()

    async def _end(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def to(self, target: int) -> Wire:
        """Open a wire to a port."""
        wire = Wire(self, target)
        self._wires.append(wire)
        asyncio.run_coroutine_threadsafe(wire.open(), self.loop).result(10)
        return wire

    def call(self, work: object) -> None:
        """Run *work* in the loop."""
        assert callable(work)
        self.loop.call_soon_threadsafe(work)
