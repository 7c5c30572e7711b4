"""The one interceptor: callers must be known; refusals become statuses, other errors INTERNAL with an id in the log."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc_status import rpc_status

from tradewind_server.api.access import Access
from tradewind_server.api.caller import admit
from tradewind_server.api.errors import internal, status_of
from tradewind_server.errors import Refusal
from tradewind_server.ids import Ids
from tradewind_server.runtime.committer import Broken

log = logging.getLogger(__name__)

Handler = Any
Context = Any


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of every servicer."""

    def __init__(self, ids: Ids, access: Access) -> None:
        self._ids = ids
        self._access = access

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        """Return the method's handler, wrapped."""
        handler = await continuation(details)
        if handler is None:
            return None
        if handler.unary_unary is not None:
            return handler._replace(unary_unary=self._unary(handler.unary_unary, details.method))
        if handler.unary_stream is not None:
            return handler._replace(unary_stream=self._stream(handler.unary_stream, details.method))
        if handler.stream_stream is not None:
            return handler._replace(stream_stream=self._stream(handler.stream_stream, details.method))
        return handler

    def _unary(self, method: Callable[[Any, Context], Awaitable[Any]], name: str) -> Any:
        async def call(request: Any, context: Context) -> Any:
            try:
                admit(self._access, name, context)
                return await method(request, context)
            except Refusal as refusal:
                status = status_of(refusal)
            except (asyncio.CancelledError, grpc.aio.AbortError):
                raise
            except Exception as error:
                status = self._report(error, name)
            return await context.abort_with_status(rpc_status.to_status(status))

        return call

    def _stream(self, method: Callable[[Any, Context], AsyncIterator[Any]], name: str) -> Any:
        if inspect.iscoroutinefunction(method):
            # it writes to the context instead of yielding, as grpc.health.v1.Health/Watch does
            return self._unary(method, name)

        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                admit(self._access, name, context)
                async for response in method(request, context):
                    yield response
                return
            except Refusal as refusal:
                status = status_of(refusal)
            except (asyncio.CancelledError, grpc.aio.AbortError, GeneratorExit):
                raise
            except Exception as error:
                status = self._report(error, name)
            await context.abort_with_status(rpc_status.to_status(status))

        return call

    def _report(self, error: Exception, method: str) -> Any:
        if isinstance(error, Broken):
            return internal(str(error))
        log_id = self._ids.opaque()[:12]
        log.error("error %s in %s", log_id, method, exc_info=error)
        return internal(log_id)
