"""All methods of all services: callers must be known; refusals become statuses, other errors INTERNAL with a log id."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2
from grpc_status import rpc_status

from tradewind_server.api.access import Access
from tradewind_server.api.caller import admit
from tradewind_server.api.errors import internal, status_of
from tradewind_server.errors import MessageUnreadable, Refusal
from tradewind_server.ids import Ids
from tradewind_server.runtime.committer import Broken
from tradewind_server.runtime.meters import Calls, Meters

log = logging.getLogger(__name__)

_KINDS = {(False, False): "unary", (False, True): "server_stream", (True, True): "bidi_stream"}

Handler = Any
Context = Any
#: Makes a message of bytes.
Reader = Callable[[Any], Any]


class Methods(grpc.GenericRpcHandler):
    """What generated code adds its services to, in the place of the server, which then gets this.

    gRPC's own server is asked for each method that is registered with it: it waits for calls of all of them at once, so
    that one call took a fifth longer with our 84 than with one. A method of a table costs a look into it.
    """

    def __init__(self, ids: Ids, access: Access, meters: Meters) -> None:
        self._ids = ids
        self._access = access
        self._meters = meters
        self._handlers: dict[str, Handler] = {}

    @property
    def services(self) -> list[str]:
        """Return the full names of the services so far."""
        return list(dict.fromkeys(path.split("/")[1] for path in self._handlers))

    @property
    def count(self) -> int:
        """Return how many methods there are."""
        return len(self._handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Add the methods of *service*, by their names, each with what all of them need around it."""
        for name, handler in handlers.items():
            path = f"/{service}/{name}"
            self._handlers[path] = self._wrapped(handler, path)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code adds the same methods in both ways."""

    def service(self, details: grpc.HandlerCallDetails) -> Handler | None:
        """Return the handler of a method, None if there is no such method."""
        return self._handlers.get(details.method)

    def _wrapped(self, handler: Handler, name: str) -> Handler:
        read = _reader(handler.request_deserializer)
        calls = self._meters.of_method(name, _KINDS[handler.request_streaming, handler.response_streaming])
        if handler.stream_stream is not None:
            # what cannot be read is raised where the method waits for a message
            call = self._stream(handler.stream_stream, calls, lambda messages: messages, headers_first=True)
            return handler._replace(request_deserializer=read, stream_stream=call)
        if handler.unary_stream is not None:
            call = self._stream(handler.unary_stream, calls, read)
            return handler._replace(request_deserializer=None, unary_stream=call)
        if handler.unary_unary is not None:
            call = self._unary(handler.unary_unary, calls, read)
            return handler._replace(request_deserializer=None, unary_unary=call)
        raise AssertionError(f"{name} takes a stream for one answer, which none of ours does")

    def _unary(self, method: Callable[[Any, Context], Awaitable[Any]], calls: Calls, read: Reader) -> Any:
        async def call(request: Any, context: Context) -> Any:
            with _Counted(calls) as counted:
                try:
                    admit(self._access, calls.method, context)
                    return await method(read(request), context)
                except Exception as error:
                    status = self._status(error, counted, context)
                return await context.abort_with_status(rpc_status.to_status(status))

        return call

    def _stream(
        self,
        method: Callable[[Any, Context], AsyncIterator[Any]],
        calls: Calls,
        read: Reader,
        *,
        headers_first: bool = False,
    ) -> Any:
        if inspect.iscoroutinefunction(method):
            # it writes to the context instead of yielding, as grpc.health.v1.Health/Watch does
            return self._unary(method, calls, read)

        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            with _Counted(calls) as counted:
                try:
                    admitted = admit(self._access, calls.method, context)
                    if headers_first:
                        # callers in Rust wait for them before they send their first message
                        await context.send_initial_metadata(())
                    async for response in method(read(request), context):
                        if admitted is not None and admitted.is_due:
                            await admitted.check()
                        yield response
                    return
                except Exception as error:
                    status = self._status(error, counted, context)
                await context.abort_with_status(rpc_status.to_status(status))

        return call

    def _status(self, error: Exception, counted: _Counted, context: Context) -> Any:
        """Return how a call ends that has raised *error*, and count it so; what gRPC has ended already goes on."""
        if isinstance(error, grpc.aio.AbortError):
            counted.code = _code_of(context)
            raise error
        status = status_of(error) if isinstance(error, Refusal) else self._report(error, counted.method)
        counted.code = status.code
        return status

    def _report(self, error: Exception, method: str) -> Any:
        if isinstance(error, Broken):
            return internal(str(error))
        log_id = self._ids.opaque()[:12]
        log.error("error %s in %s", log_id, method, exc_info=error)
        return internal(log_id)


def _code_of(context: Context) -> int:
    """Return the code with which gRPC's own servicers, such as that of health, have ended a call."""
    code = context.code()
    return int(code.value[0] if isinstance(code, grpc.StatusCode) else code)


class _Counted:
    """One call, from its beginning to its end."""

    __slots__ = ("_began", "_calls", "_now", "code")

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._now = asyncio.get_running_loop().time
        #: gRPC's, unless the call ends without one of ours: its caller is gone, or it was ended by gRPC itself.
        self.code = code_pb2.OK

    @property
    def method(self) -> str:
        """The path of its method."""
        return self._calls.method

    def __enter__(self) -> _Counted:
        self._calls.started += 1
        self._began = self._now()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        code = code_pb2.CANCELLED if kind is not None and self.code == code_pb2.OK else self.code
        self._calls.end(code_pb2.Code.Name(code), self._now() - self._began)


def _reader(deserialize: Any) -> Reader:
    """Return what reads messages as *deserialize* does, which is the `FromString` of their class.

    gRPC would answer UNKNOWN itself to one request that it cannot read; in a stream it raises what is raised.
    """

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            raise MessageUnreadable(type=deserialize.__self__.DESCRIPTOR.full_name) from None

    return read
