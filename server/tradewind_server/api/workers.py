"""WorkerService: who works here, and who is to stop taking actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tradewind.v1 import worker_pb2
from tradewind.v1 import worker_service_pb2 as pb
from tradewind.v1 import worker_service_pb2_grpc as service
from tradewind_server.api import convert
from tradewind_server.api.caller import namespace_of, provenance
from tradewind_server.api.pages import Pages, fill
from tradewind_server.errors import WorkerNotFound
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.store import workers
from tradewind_server.store.filters import WORKER_FIELDS, parse_filter
from tradewind_server.store.unit_of_work import Transaction
from tradewind_server.store.workers import Drain, Listed


class Workers(service.WorkerServiceServicer):
    """Shows and drains workers."""

    def __init__(self, runtime: Runtime, pages: Pages) -> None:
        self._runtime = runtime
        self._pages = pages

    async def ListWorkers(self, request: pb.ListWorkersRequest, context: Any) -> Any:
        """Return one page of them."""
        namespace = namespace_of(request.namespace)
        size = convert.page_size_of(request.page_size)
        terms = parse_filter(request.filter, WORKER_FIELDS)
        query = ("workers", namespace, request.filter)
        after = self._pages.position(query, request.page_token)
        now = await self._up_to_date()

        def work(connection: Any, _: Any) -> pb.ListWorkersResponse:
            rows = workers.page(connection, namespace, terms, now, size + 1, after)
            found = fill(rows, lambda some: [_message(row) for row in some], size)
            token = self._pages.next(query, rows, len(found), _key)
            return pb.ListWorkersResponse(workers=found, next_page_token=token)

        return await self._runtime.read(work)

    async def GetWorker(self, request: pb.GetWorkerRequest, context: Any) -> Any:
        """Return all connections of one."""
        found = await self._of_worker(request, "")
        return pb.GetWorkerResponse(workers=map(_message, found))

    async def DrainWorker(self, request: pb.DrainWorkerRequest, context: Any) -> Any:
        """Take one out of service."""
        caller = provenance(context, "DrainWorker", "")
        message = convert.reason_of(request.message)
        now = self._runtime.clock.microseconds()

        def change(transaction: Transaction, found: Sequence[Listed]) -> None:
            programs = {each.worker.program: each.worker.namespace for each in found}
            workers.drain(transaction, [Drain(p, ns, caller.actor, now, message) for p, ns in programs.items()])

        return pb.DrainWorkerResponse(workers=await self._changed(request, caller, change))

    async def ResumeWorker(self, request: pb.ResumeWorkerRequest, context: Any) -> Any:
        """Take one into service again."""
        caller = provenance(context, "ResumeWorker", "")

        def change(transaction: Transaction, found: Sequence[Listed]) -> None:
            workers.resume(transaction, [each.worker.program for each in found])

        return pb.ResumeWorkerResponse(workers=await self._changed(request, caller, change))

    async def _changed(
        self, request: Any, caller: Any, change: Callable[[Transaction, Sequence[Listed]], None]
    ) -> list[worker_pb2.Worker]:
        found = await self._of_worker(request, request.instance)
        await self._runtime.ask(r.Tidy(provenance=caller, work=lambda transaction, _: change(transaction, found)))
        await self._runtime.drains_changed()
        return [_message(each) for each in await self._of_worker(request, request.instance)]

    async def _of_worker(self, request: Any, instance: str) -> list[Listed]:
        namespace, worker = namespace_of(request.namespace), convert.required("worker_id", request.worker_id)
        instance = convert.name_of("instance", instance)
        now = await self._up_to_date()
        found = await self._runtime.read(lambda c, _: workers.of_worker(c, namespace, worker, instance, now))
        if not found:
            raise WorkerNotFound(worker=worker, field="worker_id")
        return found

    async def _up_to_date(self) -> int:
        """Have all written down that this server knows; return the time, microseconds."""
        await self._runtime.workers.flush()
        return self._runtime.clock.microseconds()


def _key(row: Listed) -> tuple[str, str, str]:
    return row.worker.worker, row.worker.instance, row.worker.id


def _message(row: Listed) -> worker_pb2.Worker:
    worker, drain = row.worker, row.drain
    message = worker_pb2.Worker(
        namespace=worker.namespace,
        worker_id=worker.worker,
        instance=worker.instance,
        build=worker.build,
        state=worker_pb2.WORKER_STATE_DRAINING if row.is_draining else worker_pb2.WORKER_STATE_ACTIVE,
        connection=worker_pb2.WorkerConnection.Value(f"WORKER_CONNECTION_{worker.connection}"),
        server_id=worker.server,
        in_hand=row.in_hand,
        first_seen_at=convert.timestamp(worker.first_seen),
        last_seen_at=convert.timestamp(worker.last_seen),
    )
    for serves in worker.serves:
        labels = dict(label.split("=", 1) for label in serves.labels)
        message.actions.add(name=serves.name, concurrency=serves.concurrency, labels=labels)
    if drain is not None:
        message.drained_by.CopyFrom(convert.actor(drain.actor))
        message.drained_at.CopyFrom(convert.timestamp(drain.at))
        message.drain_message = drain.message
    return message
