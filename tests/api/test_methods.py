"""The table of all methods."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from tests.api.harness import serving
from tradewind.v1 import execution_service_pb2, execution_service_pb2_grpc
from tradewind_server.api.access import Access
from tradewind_server.api.methods import Methods
from tradewind_server.clock import SystemClock
from tradewind_server.runtime.meters import Meters
from tradewind_server.testing.clock import CountedIds


class Echo:
    """A servicer whose methods answer with what they are asked."""

    def __getattr__(self, name: str) -> Any:
        method = execution_service_pb2.DESCRIPTOR.services_by_name["ExecutionService"].methods_by_name[name]

        async def unary(request: Any, context: Any) -> Any:
            return request

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            yield request

        return stream if method.server_streaming else unary


@pytest.fixture
def methods() -> Methods:
    """A table with one service."""
    table: Any = Methods(CountedIds(), Access(None, None, SystemClock()), Meters())
    servicer: Any = Echo()
    execution_service_pb2_grpc.add_ExecutionServiceServicer_to_server(servicer, table)
    found: Methods = table
    return found


def _details(method: str) -> Any:
    return SimpleNamespace(method=method, invocation_metadata=())


async def test_every_method_of_a_service_is_found(methods: Methods) -> None:
    """By its full name. It reads its request itself; gRPC writes what it answers."""
    context: Any = SimpleNamespace(invocation_metadata=tuple, peer=lambda: "ipv4:127.0.0.1:5000")
    service = execution_service_pb2.DESCRIPTOR.services_by_name["ExecutionService"]
    for method in service.methods:
        handler = methods.service(_details(f"/tradewind.v1.ExecutionService/{method.name}"))
        assert handler is not None
        assert handler.response_streaming == method.server_streaming
        assert handler.request_deserializer is None
        assert handler.response_serializer(GetMessageClass(method.output_type)()) == b""
        if method.server_streaming:
            [request] = [message async for message in handler.unary_stream(b"", context)]
        else:
            request = await handler.unary_unary(b"", context)
        assert isinstance(request, GetMessageClass(method.input_type))


@pytest.mark.parametrize("name", ["/tradewind.v1.ExecutionService/Nothing", "StartExecution", "", "/a/StartExecution"])
def test_unknown_method_is_not_found(methods: Methods, name: str) -> None:
    """GRPC answers UNIMPLEMENTED then."""
    assert methods.service(_details(name)) is None


async def test_calls_of_several_methods_at_once_are_not_cancelled() -> None:
    """GRPC does so, without a word, to those that wait beyond a bound: it is one for all methods together."""
    async with serving("", queue_commands=100) as served:
        methods = ["/tradewind.v1.ServerService/GetServerInfo", "/tradewind.v1.DefinitionService/ListDefinitions"]
        channel: Any = served.channel
        calls = [channel.unary_unary(method)(b"") for _ in range(90) for method in methods]
        codes = {await call.code() for call in calls}
    assert codes == {grpc.StatusCode.OK}
