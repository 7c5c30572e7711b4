"""A server that no longer knows the database's time hands out nothing, and says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.api.harness import PATIENCE, LateClock, serving
from tradewind.v1 import execution_service_pb2


async def test_server_without_the_time_is_unfit_until_it_has_it_again(postgres_url: Callable[[], str]) -> None:
    """What it starts meanwhile waits in the queue, and then goes to the worker that was there all along."""
    async with serving(postgres_url()) as served, served.worker() as hand:
        runtime = served.server.runtime
        clock = LateClock()
        stub: Any = health_pb2_grpc.HealthStub(served.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING

        runtime.clock = clock
        clock.ahead = 61.0
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING

        id_ = await served.start()
        request = execution_service_pb2.ListActionsRequest(execution_id=id_, filter="state = QUEUED")
        assert len((await served.executions.ListActions(request, timeout=PATIENCE)).actions) == 1

        await runtime.correct_clock()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        assert (await hand.offer()).execution_id == id_


async def test_server_whose_database_hangs_is_unfit_after_a_minute(
    postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stayed SERVING for as long as PostgreSQL took what it was sent, and did not answer."""
    async with serving(postgres_url()) as served:
        runtime = served.server.runtime
        stub: Any = health_pb2_grpc.HealthStub(served.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        waits = asyncio.Event()

        async def hang(*_: Any, **__: Any) -> None:
            waits.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as hanging:
            hanging.setattr(runtime, "read", hang)
            hanging.setattr(runtime, "ask", hang)
            async with asyncio.timeout(PATIENCE):
                await waits.wait()
            clock = LateClock()
            hanging.setattr(runtime, "clock", clock)
            clock.ahead = 61.0
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
