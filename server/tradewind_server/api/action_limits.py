"""ActionLimitService."""

from __future__ import annotations

from typing import Any

from tradewind.v1 import action_limit_pb2
from tradewind.v1 import action_limit_service_pb2 as pb
from tradewind.v1 import action_limit_service_pb2_grpc as service
from tradewind_server.api import convert
from tradewind_server.api.caller import namespace_of, provenance
from tradewind_server.errors import FieldInvalid
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.store import action_limits as limits
from tradewind_server.store.action_limits import Limit

_MOST = 1_000_000
_LEAST_PERIOD_US, _MOST_PERIOD_US = 1_000, 30 * 86_400 * 1_000_000


class ActionLimits(service.ActionLimitServiceServicer):
    """Bounds actions."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def PutActionLimit(self, request: pb.PutActionLimitRequest, context: Any) -> Any:
        """Make or replace one."""
        caller, given = provenance(context, "PutActionLimit", ""), request.limit
        count, period = _rate(given) if given.HasField("rate") else (None, None)
        concurrency = _concurrency(given) if given.HasField("concurrency") else None
        if count is None and concurrency is None:
            expected = "a concurrency or a rate"
            raise FieldInvalid(name="limit", expected=expected, problem="neither is given")
        namespace, name = namespace_of(request.namespace), convert.required("limit.action", given.action)
        now = self._runtime.clock.microseconds()
        limit = Limit(namespace, name, concurrency, count, period, 0, now, caller.actor)
        await self._runtime.ask(
            r.Tidy(provenance=caller, limits=[(namespace, name)], work=lambda tx, _: limits.put(tx, limit))
        )
        await self._runtime.limits_changed()
        held = await self._runtime.read(lambda connection, _: limits.in_hand(connection, limit))
        return pb.PutActionLimitResponse(limit=_message(limit, held))

    async def ListActionLimits(self, request: pb.ListActionLimitsRequest, context: Any) -> Any:
        """Return all of a namespace."""
        namespace = namespace_of(request.namespace)
        found = await self._runtime.read(lambda connection, _: limits.of_namespace(connection, namespace))
        return pb.ListActionLimitsResponse(limits=[_message(limit, held) for limit, held in found])

    async def DeleteActionLimit(self, request: pb.DeleteActionLimitRequest, context: Any) -> Any:
        """Remove one."""
        namespace, name = namespace_of(request.namespace), convert.required("action", request.action)
        caller = provenance(context, "DeleteActionLimit", "")
        await self._runtime.ask(
            r.Tidy(provenance=caller, limits=[(namespace, name)], work=lambda tx, _: limits.remove(tx, namespace, name))
        )
        await self._runtime.limits_changed()
        return pb.DeleteActionLimitResponse()


def _concurrency(given: action_limit_pb2.ActionLimit) -> int:
    if given.concurrency > _MOST:
        problem = f"it is {given.concurrency}"
        raise FieldInvalid(name="concurrency", expected=f"0 to {_MOST}", problem=problem, field="limit.concurrency")
    return given.concurrency


def _rate(given: action_limit_pb2.ActionLimit) -> tuple[int, int]:
    """Return how many, and in how many microseconds.

    Raises:
        FieldInvalid: it is out of range.
    """
    count, period = given.rate.count, given.rate.period.seconds * 1_000_000 + given.rate.period.nanos // 1000
    if not 1 <= count <= _MOST:
        raise FieldInvalid(
            name="rate.count", expected=f"1 to {_MOST}", problem=f"it is {count}", field="limit.rate.count"
        )
    if not _LEAST_PERIOD_US <= period <= _MOST_PERIOD_US:
        problem = f"it is {period} µs"
        raise FieldInvalid(name="rate.period", expected="1 ms to 30 days", problem=problem, field="limit.rate.period")
    return count, period


def _message(limit: Limit, held: int) -> action_limit_pb2.ActionLimit:
    message = action_limit_pb2.ActionLimit(
        namespace=limit.namespace,
        action=limit.name,
        concurrency=limit.concurrency,
        in_hand=held,
        updated_at=convert.timestamp(limit.updated_at),
        updated_by=convert.actor(limit.actor),
    )
    if limit.rate_count is not None and limit.rate_period is not None:
        message.rate.count = limit.rate_count
        message.rate.period.CopyFrom(convert.duration(limit.rate_period))
    return message
