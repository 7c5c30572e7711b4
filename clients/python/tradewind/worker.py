"""A worker: takes actions from the server over one stream, runs functions, sends back what came out.

The rules of the stream live in `work_session.py`; here is the I/O: one reader and one writer on an event loop, threads
for plain functions, tasks for coroutine functions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import grpc
from grpc import aio

from tradewind import aio as tradewind_aio
from tradewind import errors
from tradewind.actions import (
    ActionContext,
    ActionFailed,
    F,
    Registered,
    cancelled,
    failed,
    read_input,
    register,
    succeeded,
)
from tradewind.connection import Connection
from tradewind.reconnecting import pause
from tradewind.retry import Backoff, is_broken
from tradewind.tracing import traced
from tradewind.v1 import action_callback_pb2 as v1
from tradewind.v1 import action_callback_pb2_grpc
from tradewind.work_session import Held, WorkSession

log = logging.getLogger("tradewind.worker")

#: Codes after which another try cannot help.
_HOPELESS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
)

Stream = aio.StreamStreamCall[v1.WorkRequest, v1.WorkResponse]


class HasConnection(Protocol):
    """A client of either face, or anything else that knows how to reach the server."""

    @property
    def connection(self) -> Connection:
        """How to reach the server."""


class Worker:
    """Does actions until it is told to stop.

    Register functions with `action`, then call `run` (blocks, stops at SIGTERM or Ctrl-C) or await `serve`. When the
    stream breaks it reconnects and goes on with what it has in hand.

    Args:
        client: says where the server is; the worker opens a channel of its own.
        worker_id: stable name; default is the host's name and the process id.
        concurrency: most actions at the same time.
        threads: most plain functions at the same time; default 32.
        build: version of your program, shown to operators.
        drain_timeout: seconds that a stop waits for what is at work; the rest is given back.
    """

    def __init__(
        self,
        client: HasConnection,
        *,
        worker_id: str = "",
        concurrency: int = 256,
        threads: int = 32,
        build: str = "",
        labels: Mapping[str, str] | None = None,
        drain_timeout: float = 30.0,
    ) -> None:
        if isinstance(client, str):
            raise TypeError(f"Expected a client, as tradewind.connect({client!r}) makes one, but got an address.")
        self._connection = client.connection
        self._id = worker_id or f"{socket.gethostname()}-{os.getpid()}"
        self._concurrency = concurrency
        self._threads = threads
        self._build = build
        self._labels = dict(labels or {})
        self._drain_timeout = drain_timeout
        self._actions: dict[str, Registered] = {}
        self._run: _Run | None = None
        self._stop_asked = False
        self._connected = threading.Event()

    def action(self, name: str, *, inline: bool = False, concurrency: int = 0) -> Callable[[F], F]:
        """Register the decorated function for an action; its parameters are the action's input.

        A coroutine function runs as a task, a plain one in a thread; *inline* runs a plain one on the event loop, which
        is ten times cheaper but lets everything wait: for functions that take microseconds and never block. A
        parameter named `context` gets an `ActionContext`. Raise `ActionFailed` to fail with a code of your own.
        """

        def add(function: F) -> F:
            self._actions[name] = register(function, name, inline, concurrency)
            return function

        return add

    def run(self) -> None:
        """Work until `stop`, SIGTERM or Ctrl-C, then drain. Call it in the main thread."""
        asyncio.run(self._run_with_signals())

    async def _run_with_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            # Outside the main thread there are no signals to catch; `stop` remains.
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                loop.add_signal_handler(number, self.stop)
        await self.serve()

    def stop(self) -> None:
        """Take no more actions, finish what is at work, and let `run` or `serve` return. Safe from any thread."""
        self._stop_asked = True
        run = self._run
        if run is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                run.loop.call_soon_threadsafe(run.drain)

    def wait_connected(self, timeout: float | None = None) -> bool:
        """Block until the server has welcomed the worker; return whether it has."""
        return self._connected.wait(timeout)

    @property
    def is_drained(self) -> bool:
        """Whether an operator has taken it out of service: it finishes what it has, and gets no more."""
        return self._run is not None and self._run.is_drained

    async def serve(self) -> None:
        """Work until `stop` is called or the awaiting task is cancelled.

        Raises:
            TradewindError: the server refuses the worker for good.
        """
        if not self._actions:
            raise ValueError("Expected at least one registered action, but there is none.")
        session = WorkSession(self._hello(), self._concurrency)
        run = self._run = _Run(self._connection, session, self._actions, self._threads, self._drain_timeout)
        run.on_welcome = self._connected.set
        if self._stop_asked:
            run.drain()
        try:
            await run.until_drained()
        finally:
            self._run = None

    def _hello(self) -> v1.Hello:
        capabilities = [
            v1.ActionCapability(name=item.name, concurrency=self._limit(item), labels=self._labels)
            for item in self._actions.values()
        ]
        return v1.Hello(
            namespace=self._connection.namespace,
            worker_id=self._id,
            instance=str(uuid.uuid4()),
            build=self._build,
            actions=capabilities,
        )

    def _limit(self, item: Registered) -> int:
        return item.concurrency or (0 if item.inline or item.is_async else self._threads)


class _Run:
    """One life of a worker on one event loop."""

    def __init__(
        self,
        connection: Connection,
        session: WorkSession,
        actions: Mapping[str, Registered],
        threads: int,
        drain_timeout: float,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.on_welcome: Callable[[], None] = lambda: None
        self.is_drained = False
        self._connection = connection
        self._session = session
        self._actions = actions
        self._drain_timeout = drain_timeout
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tradewind-action")
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._stops: dict[bytes, Callable[[], object]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._finished: deque[v1.ActionResult] = deque()  # by threads
        self._told = False
        self._has_broken = False
        self._backoff = Backoff()

    async def until_drained(self) -> None:
        """Keep a stream open until the worker has drained."""
        channel = tradewind_aio.open_channel(self._connection)
        streams = asyncio.ensure_future(self._streams(channel))
        drained = asyncio.ensure_future(self._idle.wait())
        try:
            await asyncio.wait((streams, drained), return_when=asyncio.FIRST_COMPLETED)
            if streams.done():
                streams.result()
        finally:
            for task in (streams, drained, *self._tasks):
                task.cancel()
            await asyncio.gather(streams, drained, *self._tasks, return_exceptions=True)
            await channel.close()
            self._pool.shutdown(wait=False, cancel_futures=True)

    def drain(self) -> None:
        """Take no more offers, and give back after the timeout what is still at work."""
        if not self._session.draining:
            self._session.drain()
            self.loop.call_later(self._drain_timeout, self._give_up)
            self._wake.set()
            self._end_if_idle()

    def _end_if_idle(self) -> None:
        """Without a server there is nobody to take leave of."""
        if self._session.draining and self._session.is_idle and not self._session.welcomed:
            self._idle.set()

    def _give_up(self) -> None:
        for token in list(self._session.held):
            self._session.release(token, "The worker shuts down.")
            # Without its entry here, what still comes out of it is ignored.
            self._stops.pop(token, lambda: None)()
        self._wake.set()
        # Whatever the server says or does not say to that, do not stay.
        self.loop.call_later(1.0, self._idle.set)

    async def _streams(self, channel: aio.Channel) -> None:
        stub = action_callback_pb2_grpc.ActionCallbackStub(channel)
        while True:
            try:
                await self._stream(stub.Work(metadata=self._connection.metadata))
                delay, lost = self._backoff.delay(), False
            except grpc.RpcError as broken:
                error = errors.from_rpc_error(broken)
                if error.code in _HOPELESS:
                    raise error from None
                asked = error.retry_after.total_seconds() if error.retry_after else 0.0
                delay, lost = max(asked, self._backoff.delay()), is_broken(error)
                self._has_broken = True
                log.warning("the stream broke, next try in %.1f s: %s", delay, error.message)
            self._session.lose()
            self._end_if_idle()
            await pause(channel, delay, lost)

    async def _stream(self, stream: Stream) -> None:
        await stream.write(self._session.open())
        reader = asyncio.ensure_future(self._read(stream))
        writer = asyncio.ensure_future(self._write(stream))
        ticker = asyncio.ensure_future(self._tick())
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            if writer.done() and not isinstance(writer.exception(), grpc.RpcError | asyncio.InvalidStateError):
                writer.result()
            # A broken stream fails the writer too, but the reader knows why.
            await reader
        finally:
            for task in (reader, writer, ticker):
                task.cancel()
            await asyncio.gather(reader, writer, ticker, return_exceptions=True)
            stream.cancel()

    async def _read(self, stream: Stream) -> None:
        # Not an `async for`, which cannot be mixed with write().
        while isinstance(response := await stream.read(), v1.WorkResponse):
            if not self._take(response):
                return
        if self._session.draining:
            self._idle.set()

    def _take(self, response: v1.WorkResponse) -> bool:
        """Take one message; return whether the stream goes on."""
        now = time.monotonic()
        kind = response.WhichOneof("message")
        if kind == "offers":
            self._take_offers(response.offers, now)
        elif kind == "receipts":
            for receipt in response.receipts.receipts:
                self._session.receive(receipt, now)
        elif kind == "orders":
            for order in response.orders.orders:
                self._session.obey(order)
                self._stop(order.token)
        elif kind == "standby":
            self._stand_by(response.standby)
        elif kind == "welcome":
            self.is_drained = False  # one that still is hears so right after
            for token in self._session.welcome(response.welcome, now):
                self._stop(token)
            self._backoff.reset()
            # who has read of a break reads of its end
            level, self._has_broken = (logging.WARNING if self._has_broken else logging.INFO), False
            log.log(level, "connected, and ready to do %s", ", ".join(self._actions))
            self.on_welcome()
        self._wake.set()
        return kind != "go_away"

    def _stand_by(self, standby: v1.Standby) -> None:
        self.is_drained = standby.is_draining
        if standby.is_draining:
            said = f": {standby.message}" if standby.message else ""
            log.warning("an operator has taken this worker out of service; it stays connected%s", said)
        else:
            log.warning("this worker is in service again")

    def _take_offers(self, offers: v1.Offers, now: float) -> None:
        for offer in offers.offers:
            action = self._actions.get(offer.action)
            if action is None or self._session.draining:
                self._session.hold(offer, now)
                self._session.release(offer.token, "The worker shuts down." if action else "The worker cannot do it.")
            elif action.inline:
                self._do_inline(action, offer)
            elif action.is_async:
                self._start_task(action, offer, now)
            else:
                self._start_thread(action, offer, now)

    def _do_inline(self, action: Registered, offer: v1.Offer) -> None:
        held = Held(offer, 0.0, max_log_lines=self._session.max_log_lines)
        result = _perform(action, offer, ActionContext(offer, held) if action.wants_context else None)
        result.logs.extend(held.unsaid_logs())
        self._session.finish(result)

    def _start_task(self, action: Registered, offer: v1.Offer, now: float) -> None:
        context = ActionContext(offer, self._session.hold(offer, now))
        task = self.loop.create_task(self._perform_async(action, offer, context))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def stop() -> None:
            context.cancel()
            task.cancel()

        self._stops[offer.token] = stop

    async def _perform_async(self, action: Registered, offer: v1.Offer, context: ActionContext) -> None:
        try:
            with traced(offer.traceparent):
                value = await action.function(**_arguments(action, offer, context))
            result = succeeded(offer.token, value)
        except asyncio.CancelledError as error:
            # a task of its own may have been cancelled, too, which is a failure like others
            result = cancelled(offer.token) if context.is_cancelled else _failed(offer, error)
        except (Exception, SystemExit) as error:
            result = _failed(offer, error)
        self._finish(result)

    def _start_thread(self, action: Registered, offer: v1.Offer, now: float) -> None:
        context = ActionContext(offer, self._session.hold(offer, now))
        self._stops[offer.token] = context.cancel

        def work() -> None:
            self._finished.append(_perform(action, offer, context))
            if not self._told:
                self._told = True
                with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
                    self.loop.call_soon_threadsafe(self._collect)

        self._pool.submit(work)

    def _collect(self) -> None:
        # First the flag: a thread that finishes from here on tells again.
        self._told = False
        while self._finished:
            self._finish(self._finished.popleft())

    def _finish(self, result: v1.ActionResult) -> None:
        if self._stops.pop(result.token, None):
            self._session.finish(result)
        self._wake.set()

    def _stop(self, token: bytes) -> None:
        if stop := self._stops.get(token):
            stop()

    async def _write(self, stream: Stream) -> None:
        # While one write is under way more comes together, so the batches form by themselves.
        while True:
            for request in self._session.outgoing(time.monotonic()):
                await stream.write(request)
            if self._session.draining and self._session.is_idle:
                await stream.done_writing()
                # The server ends the stream now; do not wait long for that.
                self.loop.call_later(1.0, self._idle.set)
                return
            await self._wake.wait()
            self._wake.clear()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._session.tick_interval)
            if self._session.tick(time.monotonic()):
                self._wake.set()


def _perform(action: Registered, offer: v1.Offer, context: ActionContext | None) -> v1.ActionResult:
    try:
        arguments = _arguments(action, offer, context)
        if not offer.traceparent:
            return succeeded(offer.token, action.function(**arguments))
        with traced(offer.traceparent):
            return succeeded(offer.token, action.function(**arguments))
    except BaseException as error:  # of sys.exit(), too: an action without a result would be at work for ever
        if context is not None and context.is_cancelled:
            return cancelled(offer.token)
        return _failed(offer, error)


def _arguments(action: Registered, offer: v1.Offer, context: ActionContext | None) -> Mapping[str, Any]:
    arguments = read_input(offer)
    if action.wants_context:
        return {**arguments, "context": context}
    return arguments


def _failed(offer: v1.Offer, error: BaseException) -> v1.ActionResult:
    if not isinstance(error, ActionFailed):
        log.error("action %s of execution %s failed", offer.action, offer.execution_id, exc_info=error)
    return failed(offer.token, error)
