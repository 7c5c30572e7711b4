"""Calls about the workers and limits of a namespace, and what they give. No I/O lives here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tradewind.calls import Call
from tradewind.models import Page
from tradewind.v1 import action_limit_pb2, action_limit_service_pb2, worker_pb2, worker_service_pb2


@dataclass(frozen=True, slots=True)
class WorkerAction:
    """An action that a worker can do."""

    name: str
    #: How many at the same time; 0: no bound of its own.
    concurrency: int
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One connection of a worker, as its server wrote it down last."""

    worker_id: str
    #: Id of its process; "" if it says none.
    instance: str
    build: str
    #: "ACTIVE" or "DRAINING".
    state: str
    #: "STREAM" or "POLL".
    connection: str
    server_id: str
    actions: tuple[WorkerAction, ...]
    #: How many actions the workers of this worker_id have.
    in_hand: int
    first_seen_at: datetime
    last_seen_at: datetime
    #: Why an operator drained it, as was said then.
    drain_message: str
    proto: worker_pb2.Worker = field(repr=False, compare=False)

    @classmethod
    def read(cls, proto: worker_pb2.Worker) -> WorkerInfo:
        """Read the message."""
        return cls(
            proto.worker_id,
            proto.instance,
            proto.build,
            worker_pb2.WorkerState.Name(proto.state).removeprefix("WORKER_STATE_"),
            worker_pb2.WorkerConnection.Name(proto.connection).removeprefix("WORKER_CONNECTION_"),
            proto.server_id,
            tuple(WorkerAction(item.name, item.concurrency, dict(item.labels)) for item in proto.actions),
            proto.in_hand,
            proto.first_seen_at.ToDatetime(tzinfo=UTC),
            proto.last_seen_at.ToDatetime(tzinfo=UTC),
            proto.drain_message,
            proto,
        )


@dataclass(frozen=True, slots=True)
class ActionLimit:
    """How many of an action may be in hand at the same time, and how many are handed out in a time."""

    action: str
    #: None: no bound.
    concurrency: int | None
    #: So many in each period; None: no bound.
    rate: int | None
    period: timedelta | None
    in_hand: int
    proto: action_limit_pb2.ActionLimit = field(repr=False, compare=False)

    @classmethod
    def read(cls, proto: action_limit_pb2.ActionLimit) -> ActionLimit:
        """Read the message."""
        has_rate = proto.HasField("rate")
        return cls(
            proto.action,
            proto.concurrency if proto.HasField("concurrency") else None,
            proto.rate.count if has_rate else None,
            proto.rate.period.ToTimedelta() if has_rate else None,
            proto.in_hand,
            proto,
        )


def _all(protos: Sequence[worker_pb2.Worker]) -> list[WorkerInfo]:
    return [WorkerInfo.read(proto) for proto in protos]


def workers(namespace: str, filter: str, size: int, token: str) -> Call[Page[WorkerInfo]]:
    """List one page of workers."""
    request = worker_service_pb2.ListWorkersRequest(
        namespace=namespace, filter=filter, page_size=size, page_token=token
    )

    def read(response: worker_service_pb2.ListWorkersResponse) -> Page[WorkerInfo]:
        return Page(_all(response.workers), response.next_page_token)

    return Call("WorkerService", "ListWorkers", request, read)


def worker(namespace: str, worker_id: str) -> Call[list[WorkerInfo]]:
    """Get all connections of a worker."""
    request = worker_service_pb2.GetWorkerRequest(namespace=namespace, worker_id=worker_id)
    return Call("WorkerService", "GetWorker", request, lambda response: _all(response.workers))


def drain_worker(namespace: str, worker_id: str, instance: str, message: str) -> Call[list[WorkerInfo]]:
    """Take a worker out of service."""
    request = worker_service_pb2.DrainWorkerRequest(
        namespace=namespace, worker_id=worker_id, instance=instance, message=message
    )
    return Call("WorkerService", "DrainWorker", request, lambda response: _all(response.workers))


def resume_worker(namespace: str, worker_id: str, instance: str) -> Call[list[WorkerInfo]]:
    """Take a worker into service again."""
    request = worker_service_pb2.ResumeWorkerRequest(namespace=namespace, worker_id=worker_id, instance=instance)
    return Call("WorkerService", "ResumeWorker", request, lambda response: _all(response.workers))


def put_limit(
    namespace: str, action: str, concurrency: int | None, rate: int | None, period: timedelta
) -> Call[ActionLimit]:
    """Make or replace the limit of an action."""
    limit = action_limit_pb2.ActionLimit(action=action, concurrency=concurrency)
    if rate is not None:
        limit.rate.count = rate
        limit.rate.period.FromTimedelta(period)
    request = action_limit_service_pb2.PutActionLimitRequest(namespace=namespace, limit=limit)
    return Call("ActionLimitService", "PutActionLimit", request, lambda response: ActionLimit.read(response.limit))


def limits(namespace: str) -> Call[list[ActionLimit]]:
    """List the limits."""
    request = action_limit_service_pb2.ListActionLimitsRequest(namespace=namespace)

    def read(response: action_limit_service_pb2.ListActionLimitsResponse) -> list[ActionLimit]:
        return [ActionLimit.read(limit) for limit in response.limits]

    return Call("ActionLimitService", "ListActionLimits", request, read)


def delete_limit(namespace: str, action: str) -> Call[None]:
    """Remove the limit of an action."""
    request = action_limit_service_pb2.DeleteActionLimitRequest(namespace=namespace, action=action)
    return Call("ActionLimitService", "DeleteActionLimit", request, lambda response: None)
