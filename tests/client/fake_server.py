"""A server in this process that plays the streams of the real one from a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.duration_pb2 import Duration
from grpc import aio

from tradewind import Connection
from tradewind.v1 import action_callback_pb2 as work
from tradewind.v1 import execution_service_pb2 as executions
from tradewind.v1.payload_pb2 import Payload

#: Plays one Work stream.
Play = Callable[["Stream"], Awaitable[None]]

#: Seconds after which a test that waits for something has failed.
PATIENCE = 10.0


class Stream:
    """The server's side of one Work stream: what to say, and what was heard."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.hello = work.Hello()
        self.granted = 0

    async def welcome(self, **fields: Any) -> work.Hello:
        """Take Hello, answer Welcome with short intervals, and return the Hello."""
        request = await self._context.read()
        self.hello = request.hello
        lease = Duration(seconds=1)
        beat = Duration(nanos=50_000_000)
        welcome = work.Welcome(delivery_lease=lease, work_lease=lease, beat_interval=beat, **fields)
        await self._context.write(work.WorkResponse(welcome=welcome))
        return self.hello

    async def offer(self, *actions: tuple[bytes, str, bytes]) -> None:
        """Offer actions: token, name and input."""
        offers = [
            work.Offer(token=token, action=name, input=Payload(data=data), attempt=1, execution_id="e1")
            for token, name, data in actions
        ]
        await self._context.write(work.WorkResponse(offers=work.Offers(offers=offers)))

    async def order(self, token: bytes, kind: work.OrderKind.ValueType) -> None:
        """Tell the worker to stop."""
        await self._context.write(work.WorkResponse(orders=work.Orders(orders=[work.Order(token=token, kind=kind)])))

    async def next(self, kind: str) -> Any:
        """Skip to the next message of a kind and return it; None at the end of the worker's side."""
        while isinstance(request := await self._context.read(), work.WorkRequest):
            if request.WhichOneof("message") == "credits":
                self.granted = request.credits.granted
            if request.WhichOneof("message") == kind:
                return getattr(request, kind)
        return None

    async def results(self, count: int, *, receipts: bool = True) -> dict[bytes, work.ActionResult]:
        """Take results until there are *count*, and give receipts."""
        found: dict[bytes, work.ActionResult] = {}
        while len(found) < count:
            batch = await self.next("results")
            found.update({result.token: result for result in batch.results})
            if receipts:
                await self.receipt(*(result.token for result in batch.results))
        return found

    async def receipt(self, *tokens: bytes, **fields: Any) -> None:
        """Tell what became of tokens; recorded, unless *fields* say otherwise."""
        fields.setdefault("status", work.RECEIPT_STATUS_RECORDED)
        receipts = [work.Receipt(token=token, **fields) for token in tokens]
        await self._context.write(work.WorkResponse(receipts=work.Receipts(receipts=receipts)))

    async def go_away(self) -> None:
        """Tell the worker to open another stream."""
        await self._context.write(work.WorkResponse(go_away=work.GoAway(message="bye")))

    async def refuse_worker(self) -> None:
        """Refuse the worker for good."""
        await self._context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such worker")

    async def cut(self) -> None:
        """Break the stream."""
        await self._context.abort(grpc.StatusCode.UNAVAILABLE, "cut")


class FakeServer:
    """Plays one script per Work stream, and one list of responses per watch."""

    def __init__(self, address: str = "127.0.0.1:0") -> None:
        self._address = address
        self.plays: list[Play] = []
        self.watches: list[list[executions.WatchExecutionResponse | grpc.StatusCode]] = []
        self.watch_requests: list[executions.WatchExecutionRequest] = []
        self.logs: list[list[executions.WatchEventsResponse | grpc.StatusCode]] = []
        self.log_requests: list[executions.WatchEventsRequest] = []
        self.lines: list[list[executions.WatchActionLogsResponse | grpc.StatusCode]] = []
        self.line_requests: list[executions.WatchActionLogsRequest] = []
        #: Streams of lines stay open after the last response.
        self.stays = False
        self.execution = executions.GetExecutionResponse()
        #: How many calls break, as the client sees it, before one is answered.
        self.breaks = 0
        self.played = asyncio.Event()
        self.error: BaseException | None = None
        self._server = aio.server()
        self.connection = Connection()

    async def __aenter__(self) -> Self:
        work_stream = grpc.stream_stream_rpc_method_handler(
            self.work, work.WorkRequest.FromString, work.WorkResponse.SerializeToString
        )
        watch = grpc.unary_stream_rpc_method_handler(
            self.watch_execution,
            executions.WatchExecutionRequest.FromString,
            executions.WatchExecutionResponse.SerializeToString,
        )
        get = grpc.unary_unary_rpc_method_handler(
            self.get_execution,
            executions.GetExecutionRequest.FromString,
            executions.GetExecutionResponse.SerializeToString,
        )
        log = grpc.unary_stream_rpc_method_handler(
            self.watch_events,
            executions.WatchEventsRequest.FromString,
            executions.WatchEventsResponse.SerializeToString,
        )
        lines = grpc.unary_stream_rpc_method_handler(
            self.watch_action_logs,
            executions.WatchActionLogsRequest.FromString,
            executions.WatchActionLogsResponse.SerializeToString,
        )
        services: dict[str, dict[str, Any]] = {"ActionCallback": {"Work": work_stream}}
        watches = {"WatchExecution": watch, "WatchEvents": log, "WatchActionLogs": lines}
        services["ExecutionService"] = {**watches, "GetExecution": get}
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(f"tradewind.v1.{name}", items) for name, items in services.items()]
        )
        port = self._server.add_insecure_port(self._address)
        self.connection = Connection((f"127.0.0.1:{port}",))
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._server.stop(0)

    async def until_played(self) -> None:
        """Wait until every script has been played, and raise what went wrong in one."""
        await asyncio.wait_for(self.played.wait(), PATIENCE)
        if self.error is not None:
            raise self.error

    async def work(self, _: object, context: Any) -> None:
        """Play the next script."""
        if not self.plays:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "nothing left to play")
        play = self.plays.pop(0)
        try:
            await asyncio.wait_for(play(Stream(context)), PATIENCE)
        except aio.AbortError:
            raise
        except BaseException as error:
            self.error = error
            self.played.set()
            raise
        if not self.plays:
            self.played.set()

    async def watch_execution(
        self, request: executions.WatchExecutionRequest, context: Any
    ) -> AsyncIterator[executions.WatchExecutionResponse]:
        """Send the next list of responses; a code breaks the stream."""
        self.watch_requests.append(request)
        for response in self.watches.pop(0):
            if isinstance(response, grpc.StatusCode):
                await context.abort(response, "as the test says")
            else:
                yield response

    async def watch_events(
        self, request: executions.WatchEventsRequest, context: Any
    ) -> AsyncIterator[executions.WatchEventsResponse]:
        """Send the next list of responses; a code breaks the stream."""
        self.log_requests.append(request)
        for response in self.logs.pop(0):
            if isinstance(response, grpc.StatusCode):
                await context.abort(response, "as the test says")
            else:
                yield response

    async def watch_action_logs(
        self, request: executions.WatchActionLogsRequest, context: Any
    ) -> AsyncIterator[executions.WatchActionLogsResponse]:
        """Send the next list of responses; a code breaks the stream."""
        self.line_requests.append(request)
        for response in self.lines.pop(0):
            if isinstance(response, grpc.StatusCode):
                await context.abort(response, "as the test says")
            else:
                yield response
        if self.stays:
            self.played.set()
            await asyncio.Event().wait()

    async def get_execution(self, _: object, context: Any) -> executions.GetExecutionResponse:
        """Answer with the one execution."""
        if self.breaks:
            self.breaks -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        return self.execution
