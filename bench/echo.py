"""The reference's process: a bare grpc.aio server that sends back what it gets: `python -m bench.echo`.

No protobuf, no interceptor, nothing to decide: what the gRPC library itself costs. It writes its port and serves.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc


async def unary(request: bytes, _: Any) -> bytes:
    """Send one message back."""
    return request


async def stream(requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
    """Send each message back."""
    async for request in requests:
        yield request


async def main() -> None:
    """Serve until killed."""
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.stream_stream_rpc_method_handler(stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
