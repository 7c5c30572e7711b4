"""The asyncio face: `Client` sends the calls of `calls.py` over an asyncio gRPC channel.

A client belongs to the event loop in which it was made.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc
from grpc import aio

from tradewind import calls, errors, notifying, operating, subscribing, values
from tradewind.calls import Call, Source, StartOptions
from tradewind.connection import DEFAULT_ADDRESS, Connection, Tls
from tradewind.models import (
    Action,
    ActionLogUpdate,
    DeadLetter,
    Definition,
    Deployment,
    Environment,
    Event,
    Execution,
    Exported,
    Groups,
    LogLine,
    LogUpdate,
    Page,
    Problem,
    Progress,
    RetentionRule,
    ServerInfo,
    Subscription,
    Task,
    Update,
    Wait,
    Webhook,
)
from tradewind.notifying import Notification
from tradewind.operating import ActionLimit, WorkerInfo
from tradewind.people_faces import AioPeople
from tradewind.reconnecting import pause
from tradewind.retry import Backoff, delay_before_retry, in_hand, is_broken
from tradewind.stubs import stubs
from tradewind.subscribing import Consumption, SubscriptionOptions
from tradewind.watching import ActionLogWatch, Export, Following, GapFound, LogOptions, LogWatch, Watch

T = TypeVar("T")

#: How many items a page has.
PAGE = 100


def connect(
    address: str | Sequence[str] = DEFAULT_ADDRESS,
    *,
    tls: Tls | bool | None = None,
    token: str | None = None,
    namespace: str = "default",
    patience: float = 30.0,
    user: str = "",
    groups: Sequence[str] = (),
) -> Client:
    """Make an asyncio client of the server at *address*, or of several equal servers. Nothing is sent yet.

    A call that finds no server is repeated for *patience* seconds. *user* and *groups* say who calls where the server
    asks for no token.
    """
    connection = Connection.of(
        address, tls=tls, token=token, namespace=namespace, patience=patience, user=user, groups=groups
    )
    return Client(connection)


class Client:
    """Calls the server. Close it, or use it as an asynchronous context manager.

    Every method raises `TradewindError`; a call that finds no server is repeated, with the same request id, for as
    long as the connection's patience.

    Args:
        connection: how to reach the server; default is the local one.
        channel: an open channel to use instead, for tests.
    """

    def __init__(self, connection: Connection | None = None, channel: aio.Channel | None = None) -> None:
        self.connection = connection or Connection()
        self._channel = channel or open_channel(self.connection)
        self._stubs = stubs(self._channel)
        self._is_closed = False
        self._sleep: Callable[[float, bool], Awaitable[None]] = functools.partial(pause, self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; calls in flight, and later ones, end with `Closed`."""
        self._is_closed = True
        await self._channel.close()

    @property
    def namespace(self) -> str:
        """The tenant of all calls."""
        return self.connection.namespace

    async def server_info(self) -> ServerInfo:
        """Ask what the server is and can do."""
        return await self._send(calls.server_info())

    # --- definitions

    async def check(self, *sources: Source, workflow_namespace: str = "") -> list[Problem]:
        """Check definitions (paths, or name and text) and return all problems; nothing is stored."""
        return await self._send(calls.check(self.namespace, sources, workflow_namespace))

    async def deploy(self, *sources: Source, workflow_namespace: str = "") -> Deployment:
        """Store definitions (paths, or name and text), all or none. The same content again changes nothing.

        Raises:
            InvalidRequest: DEFINITION_INVALID; `violations` holds each problem.
        """
        return await self._send(calls.deploy(self.namespace, sources, workflow_namespace))

    async def definition(
        self, name: str, *, kind: str = "WORKFLOW", version: int = 0, workflow_namespace: str = ""
    ) -> Definition:
        """Get a definition, with its text in `proto.source`; version 0 is the current one."""
        return await self._send(calls.definition(self.namespace, name, kind, version, workflow_namespace))

    def definitions(self, filter: str = "", *, all_versions: bool = False) -> AsyncIterator[Definition]:
        """List definitions, page by page as they are read."""
        return self._pages(lambda token: calls.definitions(self.namespace, filter, all_versions, PAGE, token))

    async def delete_definition(self, name: str, *, kind: str = "WORKFLOW", workflow_namespace: str = "") -> int:
        """Take a name out of the registry, and return the registry's revision."""
        return await self._send(calls.delete_definition(self.namespace, name, kind, workflow_namespace))

    # --- environments

    async def put_environment(
        self, name: str, variables: Mapping[str, values.Value], *, description: str = "", etag: str = ""
    ) -> Environment:
        """Make or replace a stored environment; with *etag* only if it is still the one that was seen."""
        return await self._send(calls.put_environment(self.namespace, name, variables, description, etag))

    async def environment(self, name: str) -> Environment:
        """Get a stored environment with its variables."""
        return await self._send(calls.environment(self.namespace, name))

    def environments(self) -> AsyncIterator[Environment]:
        """List stored environments without variables, page by page as they are read."""
        return self._pages(lambda token: calls.environments(self.namespace, PAGE, token))

    async def delete_environment(self, name: str, *, etag: str = "") -> None:
        """Remove a stored environment; what was started with it keeps its copy."""
        await self._send(calls.delete_environment(self.namespace, name, etag))

    # --- people

    @property
    def people(self) -> AioPeople:
        """Human tasks, as the user whom the connection stands for."""
        return AioPeople(self.namespace, self._send, self._pages, self._follow)

    # --- notifications

    def notifications(self, *states: str) -> AsyncIterator[Notification]:
        """List messages to people, of some states (PENDING, SENT, DEAD) or all, page by page as it is read."""
        return self._pages(lambda token: notifying.notifications(self.namespace, states, PAGE, token))

    async def retry_notifications(self, *ids: str) -> int:
        """Have messages that were given up sent again, by default all. Return how many."""
        return await self._send(notifying.retry_notifications(self.namespace, ids))

    async def send_test_notification(self, channel: str, to: str) -> str:
        """Send a test over a channel of the server to a user, "group:NAME" or an address; return the provider's id."""
        return await self._send(notifying.send_test_notification(channel, to))

    # --- retention

    async def put_retention(self, keep: timedelta | None, *, workflow: str = "") -> RetentionRule:
        """Say how long executions are kept after their end (None: for ever), of one workflow or of all others."""
        return await self._send(calls.put_retention(self.namespace, keep, workflow))

    async def retention_rules(self) -> list[RetentionRule]:
        """List the rules of how long executions are kept; without any they are kept for ever."""
        return await self._send(calls.retention_rules(self.namespace))

    async def delete_retention(self, *, workflow: str = "") -> None:
        """Remove a rule."""
        await self._send(calls.delete_retention(self.namespace, workflow))

    # --- workers

    def workers(self, filter: str = "") -> AsyncIterator[WorkerInfo]:
        """List who works for the namespace, on all servers, page by page as they are read."""
        return self._pages(lambda token: operating.workers(self.namespace, filter, PAGE, token))

    async def worker(self, worker_id: str) -> list[WorkerInfo]:
        """Get all connections of a worker: of each instance, to each server that it polls."""
        return await self._send(operating.worker(self.namespace, worker_id))

    async def drain_worker(self, worker_id: str, *, instance: str = "", message: str = "") -> list[WorkerInfo]:
        """Let a worker finish what it has and give it nothing new, until `resume_worker` or a new start of it."""
        return await self._send(operating.drain_worker(self.namespace, worker_id, instance, message))

    async def resume_worker(self, worker_id: str, *, instance: str = "") -> list[WorkerInfo]:
        """Give a worker actions again that `drain_worker` took out of service."""
        return await self._send(operating.resume_worker(self.namespace, worker_id, instance))

    # --- limits

    async def put_limit(
        self,
        action: str,
        *,
        concurrency: int | None = None,
        rate: int | None = None,
        period: timedelta = timedelta(seconds=1),
    ) -> ActionLimit:
        """Bound an action: at most *concurrency* in hand, and *rate* handed out in each *period*, over all workers."""
        return await self._send(operating.put_limit(self.namespace, action, concurrency, rate, period))

    async def limits(self) -> list[ActionLimit]:
        """List the limits, each with what is in hand."""
        return await self._send(operating.limits(self.namespace))

    async def delete_limit(self, action: str) -> None:
        """Remove the limit of an action; what waited for it is handed out."""
        await self._send(operating.delete_limit(self.namespace, action))

    # --- executions

    async def start(self, workflow: str, input: values.Value = None, **options: Unpack[StartOptions]) -> Execution:
        """Start a workflow; decimals in *input* keep their digits."""
        return await self._send(calls.start(self.namespace, workflow, input, options))

    async def start_many(
        self, starts: Iterable[tuple[str, values.Value, StartOptions]]
    ) -> list[Execution | errors.TradewindError]:
        """Start up to 256 workflows in one call, each for itself: an item is an execution, or why it did not start."""
        return await self._send(calls.start_many(self.namespace, starts))

    async def start_and_wait(
        self,
        workflow: str,
        input: values.Value = None,
        *,
        timeout: float = 30.0,
        **options: Unpack[StartOptions],
    ) -> Execution:
        """Start a workflow and return it when it has ended, or as it is after *timeout* seconds (at most 300)."""
        return await self._send(calls.start_and_wait(self.namespace, workflow, input, options, timeout))

    async def get(self, execution_id: str, *, min_revision: int = 0) -> Execution:
        """Get an execution with its payloads, not older than *min_revision*."""
        return await self._send(calls.get(self.namespace, execution_id, min_revision))

    async def wait(self, execution_id: str, *, timeout: float | None = None) -> Execution:
        """Wait until an execution has ended, over restarts of the server, and return it.

        Raises:
            TimeoutError: it has not ended after *timeout* seconds. It goes on.
        """
        end = None if timeout is None else time.monotonic() + timeout
        execution = await self.get(execution_id)
        while not execution.is_final:
            watch = Watch(self.namespace, execution_id, execution.revision)
            async for _ in self._follow(watch, end):
                pass
            execution = await self.get(execution_id, min_revision=watch.revision)
        return execution

    async def watch(self, execution_id: str, *, after_revision: int = 0) -> AsyncIterator[Event]:
        """Follow the events of an execution to its end, without gaps or repetitions, over restarts of the server."""
        async for update in self._follow(Watch(self.namespace, execution_id, after_revision), None):
            for event in update.events:
                yield event

    def updates(self, execution_id: str, *, after_revision: int | None = None) -> AsyncIterator[Update]:
        """Follow an execution command by command; without *after_revision* the first update is a snapshot."""
        snapshot = after_revision is None
        return self._follow(Watch(self.namespace, execution_id, after_revision or 0, snapshot), None)

    def watch_events(self, filter: str = "", **options: Unpack[LogOptions]) -> AsyncIterator[LogUpdate]:
        """Follow all executions of the namespace, without gaps or repetitions, over restarts of the server.

        *filter* says which events, e.g. 'workflow = "salary" AND type = "ExecutionFailed"'; see docs/watching.md.

        Raises:
            OutOfRange: the log does not have the cursor's event any more: start again with a snapshot.
        """
        return self._follow(LogWatch(self.namespace, filter, options), None)

    def executions(self, filter: str = "", *, full: bool = False) -> AsyncIterator[Execution]:
        """List executions, newest first, page by page as they are read; *full* adds their payloads."""
        return self._pages(lambda token: calls.executions(self.namespace, filter, full, PAGE, token))

    def export(self, filter: str = "", *, cursor: str = "") -> AsyncIterator[Exported]:
        """Give whole executions with tasks, actions and events, in the order of lists, over restarts of the server.

        *cursor* is that of the last one that was kept: it goes on after that, with the same filter.
        """
        return self._follow(Export(self.namespace, filter, cursor), None)

    async def count(self, filter: str = "") -> dict[str, int]:
        """Count executions by state."""
        return await self._send(calls.count(self.namespace, filter))

    async def count_by(self, *by: str, filter: str = "") -> Groups:
        """Count executions by state, workflow, definition_version, error_kind, error_code or tags, three at most."""
        return await self._send(calls.count_by(self.namespace, by, filter))

    def tasks(self, execution_id: str, filter: str = "", *, min_revision: int = 0) -> AsyncIterator[Task]:
        """List the tasks of an execution in the order in which they came to be."""
        return self._pages(lambda token: calls.tasks(self.namespace, execution_id, filter, min_revision, PAGE, token))

    def actions(self, execution_id: str = "", filter: str = "") -> AsyncIterator[Action]:
        """List the actions of an execution or, without id, of all."""
        return self._pages(lambda token: calls.actions(self.namespace, execution_id, filter, PAGE, token))

    def action_logs(self, execution_id: str, action_id: str = "") -> AsyncIterator[LogLine]:
        """List what workers wrote about an action or, without its id, about all of the execution."""
        return self._pages(lambda token: calls.action_logs(self.namespace, execution_id, action_id, PAGE, token))

    def watch_action_logs(
        self, execution_id: str, action_id: str = "", *, cursor: str = ""
    ) -> AsyncIterator[ActionLogUpdate]:
        """Follow what workers write about an action, or about all of the execution, to its end, each line once.

        It begins with the first line, or after *cursor*, and goes on over restarts of the server.
        """
        return self._follow(ActionLogWatch(self.namespace, execution_id, action_id, cursor), None)

    def history(self, execution_id: str, *, after_revision: int = 0) -> AsyncIterator[Event]:
        """List what happened so far."""
        return self._pages(lambda token: calls.history(self.namespace, execution_id, after_revision, PAGE, token))

    async def explain(self, execution_id: str) -> list[Wait]:
        """Ask what an execution waits for."""
        return await self._send(calls.explain(self.namespace, execution_id))

    async def progress(self, execution_id: str) -> Progress:
        """Ask how far an execution is, and how long it may take."""
        return await self._send(calls.progress(self.namespace, execution_id))

    async def pause(self, execution_id: str, message: str = "") -> Execution:
        """Let an execution start nothing new."""
        return await self._send(calls.pause(self.namespace, execution_id, message))

    async def resume(self, execution_id: str, env: Mapping[str, values.Value] | None = None) -> Execution:
        """Let a paused execution go on; *env* is merged into its environment."""
        return await self._send(calls.resume(self.namespace, execution_id, env))

    async def cancel(self, execution_id: str, message: str = "") -> Execution:
        """End an execution early."""
        return await self._send(calls.cancel(self.namespace, execution_id, message))

    async def rerun(
        self,
        execution_id: str,
        task: str | None = None,
        *,
        task_id: str | None = None,
        reset: bool = False,
        env: Mapping[str, values.Value] | None = None,
    ) -> Execution:
        """Run a failed task again, by name or id; *reset* runs all its items, not only those that failed."""
        return await self._send(calls.rerun(self.namespace, execution_id, task, task_id, reset, env))

    async def skip(self, execution_id: str, task: str | None = None, *, task_id: str | None = None) -> Execution:
        """Go on as if a failed task had succeeded."""
        return await self._send(calls.skip(self.namespace, execution_id, task, task_id))

    # --- asynchronous actions

    async def complete_action(self, execution_id: str, action_id: str, result: values.Value = None) -> int:
        """Answer an asynchronous action, and return the execution's revision."""
        return await self._send(calls.complete_action(self.namespace, execution_id, action_id, result))

    async def fail_action(
        self,
        execution_id: str,
        action_id: str,
        message: str,
        *,
        code: str = "FAILED",
        retryable: bool = True,
        details: values.Value = None,
    ) -> int:
        """Answer an asynchronous action with a failure, and return the execution's revision."""
        return await self._send(
            calls.fail_action(self.namespace, execution_id, action_id, code, message, retryable, details)
        )

    # --- subscriptions

    async def create_subscription(
        self, name: str, filter: str = "", **options: Unpack[SubscriptionOptions]
    ) -> Subscription:
        """Make a named reader of the log whose place the server keeps. The same again returns the one that is there."""
        return await self._send(subscribing.create(self.namespace, name, filter, options))

    async def subscription(self, name: str) -> Subscription:
        """Get a subscription, with how far it is behind."""
        return await self._send(subscribing.get(self.namespace, name))

    def subscriptions(self) -> AsyncIterator[Subscription]:
        """List subscriptions by name, page by page as they are read."""
        return self._pages(lambda token: subscribing.page(self.namespace, PAGE, token))

    async def update_subscription(
        self,
        seen: Subscription,
        *,
        filter: str | None = None,
        description: str | None = None,
        webhook: Webhook | None = None,
    ) -> Subscription:
        """Change a subscription, unless somebody has changed it since it was *seen*; None leaves a part as it is."""
        return await self._send(subscribing.update(self.namespace, seen, filter, description, webhook))

    async def delete_subscription(self, name: str) -> None:
        """Remove a subscription."""
        await self._send(subscribing.delete(self.namespace, name))

    async def enable_subscription(self, name: str) -> Subscription:
        """Let the events of a subscription be handed out again."""
        return await self._send(subscribing.enable(self.namespace, name))

    async def disable_subscription(self, name: str, message: str = "") -> Subscription:
        """Let nothing be handed out; the place in the log stays."""
        return await self._send(subscribing.disable(self.namespace, name, message))

    async def rewind_subscription(
        self, name: str, *, cursor: str = "", time: datetime | None = None, from_beginning: bool = False
    ) -> Subscription:
        """Move a subscription: after a cursor, before a moment with time zone, to the beginning, or else the end."""
        return await self._send(subscribing.rewind(self.namespace, name, cursor, time, from_beginning))

    def dead_letters(self, name: str) -> AsyncIterator[DeadLetter]:
        """List what the webhook of a subscription refused too often, page by page as it is read."""
        return self._pages(lambda token: subscribing.dead_letters(self.namespace, name, PAGE, token))

    async def retry_dead_letters(self, name: str, *execution_ids: str) -> int:
        """Have dead letters sent again, by default all; what waits behind each follows. Return how many."""
        return await self._send(subscribing.retry_dead_letters(self.namespace, name, execution_ids))

    async def discard_dead_letters(self, name: str, *execution_ids: str) -> int:
        """Give dead letters up, by default all; what waits behind each is sent. Return how many."""
        return await self._send(subscribing.discard_dead_letters(self.namespace, name, execution_ids))

    async def consume(
        self, name: str, *, consumer: str = "", credit: int = 0, cursor: str | None = None
    ) -> AsyncIterator[LogUpdate]:
        """Take the events of a subscription. What was yielded is acknowledged when the next update is asked for.

        Each event comes at least once, over restarts of the server and of this program. For exactly once keep the
        update's cursor together with what you did about its events, and give the last one (at first "") as *cursor*.
        *credit* is the most events on their way, default 1,000; *consumer* is what people see.

        Raises:
            Conflict: SUBSCRIPTION_TAKEN_OVER, there is a newer consumer.
            OutOfRange: CURSOR_LOST; rewind the subscription.
        """
        position, backoff = Consumption(self.namespace, name, consumer, credit, cursor), Backoff()
        with self._told_if_closed():
            while True:
                stream = self._stubs["SubscriptionService"].Consume(metadata=self.connection.metadata)
                # Read ahead, which the credit bounds: of a write to a stream that the server has just ended, gRPC says
                # INTERNAL instead of why it did.
                arrived: asyncio.Queue[LogUpdate | None] = asyncio.Queue()
                reader = asyncio.create_task(_read_ahead(stream, position, arrived, backoff))
                try:
                    await _write(stream, position.request())
                    while (update := await arrived.get()) is not None:
                        yield update
                        acknowledgement = position.acknowledge(update)
                        if not reader.done():
                            await _write(stream, acknowledgement)
                    await reader
                    await self._sleep(backoff.delay(), False)
                except grpc.RpcError as broken:
                    error = errors.from_rpc_error(broken)
                    if isinstance(error, errors.ServerFailed) and not error.metadata:
                        error = position.ended(await self.subscription(name))
                    position.note(error)
                    await self._wait_to_repeat(error, backoff, None)
                finally:
                    stream.cancel()
                    reader.cancel()
                    await asyncio.gather(reader, return_exceptions=True)

    # --- sending

    @contextlib.contextmanager
    def _told_if_closed(self) -> Iterator[None]:
        """Raise `Closed` where gRPC has words of its own for a call of a closed channel."""
        try:
            yield
        except aio.UsageError:
            if not self._is_closed:
                raise
            raise errors.Closed from None
        except asyncio.CancelledError:
            # gRPC's, unless somebody cancels the task in which this is
            task = asyncio.current_task()
            if not self._is_closed or task is None or task.cancelling():
                raise
            raise errors.Closed from None

    async def _send(self, call: Call[T]) -> T:
        method = getattr(self._stubs[call.service], call.method)
        now = time.monotonic()
        end, give_up = now + call.deadline, now + min(call.deadline, self.connection.patience)
        backoff = Backoff()
        with self._told_if_closed():
            while True:
                began = time.monotonic()
                try:
                    left = max(0.001, end - began)
                    return call.read(await method(call.request, timeout=left, metadata=self.connection.metadata))
                except grpc.RpcError as error:
                    give_up += in_hand(time.monotonic() - began)
                    await self._wait_to_repeat(errors.from_rpc_error(error), backoff, min(end, give_up))

    async def _wait_to_repeat(self, error: errors.TradewindError, backoff: Backoff, end: float | None) -> None:
        if self._is_closed:
            raise errors.Closed from None
        left = math.inf if end is None else end - time.monotonic()
        delay = delay_before_retry(error, backoff, left)
        if delay is None:
            raise error from None
        if end is None:
            backoff.tell(error)
        await self._sleep(delay, is_broken(error))

    async def _pages(self, call: Callable[[str], Call[Page[T]]]) -> AsyncIterator[T]:
        token = ""
        while True:
            page = await self._send(call(token))
            for item in page.items:
                yield item
            token = page.next_token
            if not token:
                return

    async def _follow(self, watch: Following[T], end: float | None) -> AsyncIterator[T]:
        backoff = Backoff()
        with self._told_if_closed():
            while True:
                left = None if end is None else max(0.001, end - time.monotonic())
                method = getattr(self._stubs[watch.service], watch.method)
                stream = method(watch.request(), timeout=left, metadata=self.connection.metadata)
                try:
                    async for response in stream:
                        backoff.reset()
                        update = watch.receive(response)
                        if update is not None:
                            yield update
                    if watch.ends:
                        return
                    await self._sleep(backoff.delay(), False)
                except GapFound:
                    await self._sleep(backoff.delay(), False)
                except grpc.RpcError as broken:
                    error = errors.from_rpc_error(broken)
                    if isinstance(error, errors.DeadlineExceeded) and end is not None:
                        raise TimeoutError("The execution has not ended in time; it goes on.") from None
                    await self._wait_to_repeat(error, backoff, None)
                finally:
                    stream.cancel()


async def _write(stream: Any, message: Any) -> None:
    """Send on a stream that may have ended at this very moment: who reads it learns why."""
    with contextlib.suppress(asyncio.InvalidStateError):
        await stream.write(message)


async def _read_ahead(
    stream: Any, position: Consumption, arrived: asyncio.Queue[LogUpdate | None], backoff: Backoff
) -> None:
    """Put what comes into *arrived*, and None at the end."""
    try:
        async for response in stream:
            backoff.reset()
            update = position.receive(response)
            if update is not None:
                arrived.put_nowait(update)
    finally:
        arrived.put_nowait(None)


def open_channel(connection: Connection) -> aio.Channel:
    """Open the channel that *connection* describes, on the running event loop."""
    if connection.tls:
        return aio.secure_channel(connection.target, connection.tls.credentials(), connection.options)
    return aio.insecure_channel(connection.target, connection.options)
