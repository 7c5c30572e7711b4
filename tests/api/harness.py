"""A server in this process, bare stubs to it, and a worker that does nothing by itself."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Self

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tradewind import values
from tradewind.v1 import (
    action_callback_pb2,
    action_callback_pb2_grpc,
    action_limit_service_pb2_grpc,
    definition_pb2,
    definition_service_pb2,
    definition_service_pb2_grpc,
    event_pb2,
    execution_pb2,
    execution_service_pb2,
    execution_service_pb2_grpc,
    failure_pb2,
    human_task_service_pb2_grpc,
    worker_service_pb2_grpc,
)
from tradewind_server.bootstrap import Server
from tradewind_server.clock import SystemClock
from tradewind_server.settings import Settings

#: Nothing here takes this long, unless it is broken.
PATIENCE = 10.0

ONE = """
version: '2.0'
one:
  input: [n]
  output: {r: <% $.r %>}
  tasks:
    t:
      action: shop.do n=<% $.n %>
      publish: {r: <% task().result %>}
"""

_numbers = itertools.count(1)


class Served:
    """One server and the stubs to it."""

    def __init__(self, server: Server, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.address = server.address
        self.channel = channel
        self.executions: Any = execution_service_pb2_grpc.ExecutionServiceStub(channel)
        self.people: Any = human_task_service_pb2_grpc.HumanTaskServiceStub(channel)
        self.definitions: Any = definition_service_pb2_grpc.DefinitionServiceStub(channel)
        self.limits: Any = action_limit_service_pb2_grpc.ActionLimitServiceStub(channel)
        self.workers: Any = worker_service_pb2_grpc.WorkerServiceStub(channel)
        self.callback: Any = action_callback_pb2_grpc.ActionCallbackStub(channel)

    async def deploy(self, text: str, namespace: str = "") -> None:
        """Deploy one file."""
        file = definition_pb2.DefinitionFile(name="file.yaml", content=text.encode())
        await self.definitions.DeployDefinitions(
            definition_service_pb2.DeployDefinitionsRequest(namespace=namespace, files=[file])
        )

    async def start(self, workflow: str = "one", given: object = None, **fields: Any) -> str:
        """Start a workflow and return the id."""
        answer = await self.executions.StartExecution(start(workflow, given, **fields), timeout=PATIENCE)
        return str(answer.execution.id)

    async def get(self, id_: str) -> execution_pb2.Execution:
        """Return an execution with its payloads."""
        answer = await self.executions.GetExecution(
            execution_service_pb2.GetExecutionRequest(execution_id=id_), timeout=PATIENCE
        )
        found: execution_pb2.Execution = answer.execution
        return found

    def watch(self, id_: str, after: int = 0) -> Any:
        """Open a watch."""
        request = execution_service_pb2.WatchExecutionRequest(execution_id=id_, after_revision=after)
        return self.executions.WatchExecution(request, timeout=3 * PATIENCE)

    async def follow(self, id_: str, after: int = 0) -> list[event_pb2.Event]:
        """Return the events after a revision up to the end of the execution."""
        return [event async for message in self.watch(id_, after) for event in message.events]

    async def until(self, id_: str, type_: str) -> event_pb2.Event:
        """Return the first event of a type."""
        stream = self.watch(id_)
        try:
            async for message in stream:
                for event in message.events:
                    if event.type == type_:
                        found: event_pb2.Event = event
                        return found
        finally:
            stream.cancel()
        raise AssertionError(f"{id_} ended without {type_}")

    async def ended(self, id_: str) -> tuple[str, Any]:
        """Wait for the end of an execution and return its state and output."""
        await self.follow(id_)
        execution = await self.get(id_)
        state = execution_pb2.ExecutionState.Name(execution.state).removeprefix("EXECUTION_STATE_")
        return state, values.from_payload(execution.output)

    @contextlib.asynccontextmanager
    async def worker(
        self, *names: str, credits_: int = 100, in_flight: Sequence[bytes] = (), concurrency: int = 0
    ) -> AsyncIterator[Hand]:
        """Open a Work stream that serves *names* (default: shop.do)."""
        hand = Hand(self.callback.Work())
        try:
            await hand.open(names or ("shop.do",), in_flight, concurrency=concurrency)
            if credits_:
                await hand.grant(credits_)
            yield hand
        finally:
            await hand.close()

    async def poll(self, name: str = "shop.do", most: int = 1) -> list[action_callback_pb2.Offer]:
        """Poll for actions."""
        request = action_callback_pb2.PollActionsRequest(
            worker_id="poller",
            actions=[action_callback_pb2.ActionCapability(name=name)],
            max_actions=most,
            wait=Duration(seconds=int(PATIENCE)),
        )
        return list((await self.callback.PollActions(request)).offers)

    async def complete(self, token: bytes, result: object = None, **fields: Any) -> str:
        """Complete an action by its token and return the receipt's status."""
        request = action_callback_pb2.CompleteActionRequest(token=token, result=values.to_payload(result), **fields)
        answer = await self.callback.CompleteAction(request, timeout=PATIENCE)
        return action_callback_pb2.ReceiptStatus.Name(answer.status).removeprefix("RECEIPT_STATUS_")


class Hand:
    """A worker's end of a Work stream: it sends what the test says, and keeps what comes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._granted = 0
        self._queues: dict[str, asyncio.Queue[Any]] = {
            kind: asyncio.Queue() for kind in ("welcome", "offers", "orders", "receipts", "go_away", "standby", "ended")
        }
        self._reader: asyncio.Task[None] | None = None
        #: Of what kind the messages were, in their order.
        self.came: list[str] = []
        self.welcome = action_callback_pb2.Welcome()
        self.worker_id = f"hand{next(_numbers)}"

    async def open(
        self, names: Sequence[str], in_flight: Sequence[bytes], namespace: str = "", concurrency: int = 0
    ) -> None:
        """Say Hello, and wait for Welcome."""
        hello = action_callback_pb2.Hello(
            namespace=namespace, worker_id=self.worker_id, build="b7", in_flight=in_flight
        )
        for name in names:
            hello.actions.add(name=name, concurrency=concurrency)
        await self.send(hello=hello)
        self._reader = asyncio.create_task(self._read())
        self.welcome = await self._next("welcome")

    async def _read(self) -> None:
        try:
            while isinstance(message := await self._stream.read(), action_callback_pb2.WorkResponse):
                kind = message.WhichOneof("message") or ""
                self.came.append(kind)
                body = getattr(message, kind)
                for item in getattr(body, kind, [body]):
                    self._queues[kind].put_nowait(item)
            self._queues["ended"].put_nowait(None)
        except grpc.aio.AioRpcError as error:
            self._queues["ended"].put_nowait(error)

    async def send(self, **message: Any) -> None:
        """Send one message."""
        await self._stream.write(action_callback_pb2.WorkRequest(**message))

    async def grant(self, more: int) -> None:
        """Give the server room for more offers."""
        self._granted += more
        await self.send(credits=action_callback_pb2.Credits(granted=self._granted))

    async def accept(self, *tokens: bytes) -> None:
        """Accept offers."""
        await self.send(accept=action_callback_pb2.Accept(tokens=tokens))

    async def beat(self, *tokens: bytes) -> None:
        """Say that actions are still at work."""
        beats = [action_callback_pb2.ActionBeat(token=token) for token in tokens]
        await self.send(beat=action_callback_pb2.Beat(actions=beats))

    async def finish(self, token: bytes, result: object = None) -> None:
        """Send a result."""
        await self.answer(token, result=values.to_payload(result))

    async def fail(self, token: bytes, code: str, message: str = "") -> None:
        """Send a failure."""
        await self.answer(token, failure=failure_pb2.Failure(code=code, message=message))

    async def answer(self, token: bytes, **outcome: Any) -> None:
        """Send how it went."""
        answer = action_callback_pb2.ActionResult(token=token, **outcome)
        await self.send(results=action_callback_pb2.Results(results=[answer]))

    async def offer(self) -> action_callback_pb2.Offer:
        """Return the next offer."""
        found: action_callback_pb2.Offer = await self._next("offers")
        return found

    async def receipt(self) -> tuple[str, str]:
        """Return status and reason of the next receipt."""
        found = await self.whole_receipt()
        status = action_callback_pb2.ReceiptStatus.Name(found.status).removeprefix("RECEIPT_STATUS_")
        return status, found.refusal.reason

    async def whole_receipt(self) -> action_callback_pb2.Receipt:
        """Return the next receipt."""
        found: action_callback_pb2.Receipt = await self._next("receipts")
        return found

    async def order(self) -> tuple[bytes, str]:
        """Return token and kind of the next order, which has a sentence for people."""
        found = await self._next("orders")
        assert found.message.endswith(".")
        return found.token, action_callback_pb2.OrderKind.Name(found.kind).removeprefix("ORDER_KIND_")

    async def standby(self) -> tuple[bool, str]:
        """Return whether the worker is taken out of service, and why."""
        found = await self._next("standby")
        return found.is_draining, found.message

    async def ended(self) -> grpc.aio.AioRpcError | None:
        """Wait for the end of the stream; return why, or None for a fine one."""
        found: grpc.aio.AioRpcError | None = await self._next("ended")
        return found

    def is_quiet(self) -> bool:
        """Tell whether no offer has come that was not asked for."""
        return self._queues["offers"].empty()

    async def done_writing(self) -> None:
        """Close this side."""
        await self._stream.done_writing()

    async def _next(self, kind: str) -> Any:
        async with asyncio.timeout(PATIENCE):
            return await self._queues[kind].get()

    async def close(self) -> None:
        """Vanish."""
        self._stream.cancel()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self


class LateClock(SystemClock):
    """Of which some time has passed more than has."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


def start(workflow: str = "one", given: object = None, **fields: Any) -> execution_service_pb2.StartExecutionRequest:
    """Make a request to start; *given* is the input."""
    payload = values.to_payload({"n": 1} if given is None else given)
    return execution_service_pb2.StartExecutionRequest(workflow=workflow, input=payload, **fields)


@contextlib.asynccontextmanager
async def serving(database: str, **settings: Any) -> AsyncIterator[Served]:
    """Run a server, with the workflow `one`."""
    async with running(database, **settings) as served:
        await served.deploy(ONE)
        yield served


@contextlib.asynccontextmanager
async def running(database: str, **settings: Any) -> AsyncIterator[Served]:
    """Run a server with what its database holds."""
    server = await Server.start(Settings(listen="127.0.0.1:0", database=database, shutdown_grace_seconds=0, **settings))
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield Served(server, channel)
    finally:
        await server.stop()


class Caught:
    """The refusal that a call ended with."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    violations: list[tuple[str, str]]


@contextlib.contextmanager
def refused(code: grpc.StatusCode, reason: str) -> Iterator[Caught]:
    """Expect a refusal that is complete: code, ErrorInfo with reason, domain and metadata, and a sentence."""
    caught = Caught()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        yield caught
    read_refusal(raised.value, caught)
    assert (caught.code, caught.reason) == (code, reason), caught.message


def read_refusal(error: grpc.aio.AioRpcError, into: Caught | None = None) -> Caught:
    """Read what stands in an error, and hold it to what every refusal has."""
    caught = into or Caught()
    call: Any = error  # its stubs know only the synchronous calls
    status = rpc_status.from_call(call)
    assert status is not None, error
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        for kind in (info, bad):
            if detail.Is(kind.DESCRIPTOR):
                detail.Unpack(kind)
    caught.code, caught.message = error.code(), error.details() or ""
    caught.reason, caught.metadata = info.reason, dict(info.metadata)
    caught.violations = [(v.field, v.description) for v in bad.field_violations]
    assert info.domain == "tradewind"
    assert caught.message
    assert all(value in caught.message for value in caught.metadata.values()), "metadata holds the sentence's parts"
    return caught
