"""ExecutionService, but for watching."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from tradewind.v1 import execution_pb2
from tradewind.v1 import execution_service_pb2 as pb
from tradewind.v1 import execution_service_pb2_grpc as service
from tradewind_server.api import (
    action_log_watching,
    convert,
    explain,
    export,
    log_watching,
    progress,
    views,
    watching,
)
from tradewind_server.api.caller import client, namespace_of, provenance
from tradewind_server.api.errors import refusal_message
from tradewind_server.api.pages import Pages, fill
from tradewind_server.api.sight import Sight, terms_of
from tradewind_server.api.webhooks import count_notified
from tradewind_server.engine import commands as c
from tradewind_server.engine.state import ExecutionState
from tradewind_server.errors import ExecutionNotFound, FieldInvalid, Refusal, RevisionAhead
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.store import action_logs, listing, loading, reads
from tradewind_server.store.filters import ACTION_FIELDS, TASK_FIELDS, parse_filter

_MOST_STARTS = 1000
_MOST_GROUPED = 3


class Executions(service.ExecutionServiceServicer):
    """Starts, steers and shows executions."""

    def __init__(self, runtime: Runtime, pages: Pages) -> None:
        self._runtime = runtime
        self._pages = pages
        self._limit = runtime.settings.max_payload_bytes
        self._sight = Sight(runtime)
        self._watching = watching.Watching(runtime)
        self._log_watching = log_watching.LogWatching(runtime, pages)
        self._action_log_watching = action_log_watching.ActionLogWatching(runtime, pages)

    # --- starting --------------------------------------------------------------------------------

    async def StartExecution(self, request: pb.StartExecutionRequest, context: Any) -> Any:
        """Start one."""
        started = await self._start(request, context)
        return pb.StartExecutionResponse(execution=await self._started(started), existing=started.existing)

    async def StartExecutions(self, request: pb.StartExecutionsRequest, context: Any) -> Any:
        """Start many, each for itself."""
        if len(request.requests) > _MOST_STARTS:
            problem = f"there are {len(request.requests)}"
            expected = f"at most {_MOST_STARTS} items"
            raise FieldInvalid(name="requests", expected=expected, problem=problem)

        async def one(item: pb.StartExecutionRequest) -> pb.StartResult:
            item.namespace = item.namespace or request.namespace
            try:
                started = await self._start(item, context)
                execution = await self._started(started)
            except Refusal as refusal:
                # the one place where a refusal is data: the other items have started
                return pb.StartResult(refusal=refusal_message(refusal))
            answer = pb.StartExecutionResponse(execution=execution, existing=started.existing)
            return pb.StartResult(started=answer)

        return pb.StartExecutionsResponse(results=await asyncio.gather(*map(one, request.requests)))

    async def StartAndWait(self, request: pb.StartAndWaitRequest, context: Any) -> Any:
        """Start one and wait for its end."""
        request.start.namespace = request.start.namespace or request.namespace
        seconds = request.timeout.seconds + request.timeout.nanos / 1e9 if request.HasField("timeout") else 60.0
        remaining = context.time_remaining()
        if remaining is not None:
            # answer before the caller stops listening
            seconds = min(seconds, max(0.0, remaining * 0.9))
        id_ = self._runtime.ids.execution(self._runtime.clock.now())
        subscription = self._watching.follow(id_)
        try:
            started = await self._start(request.start, context, id_)
            if started.execution_id != id_:
                subscription.close()
                subscription = self._watching.follow(started.execution_id)
            execution = await self._watching.wait(subscription, seconds, is_new=started.execution_id == id_)
        finally:
            subscription.close()
        finished = execution.state in watching.FINAL
        return pb.StartAndWaitResponse(execution=execution, finished=finished, existing=started.existing)

    async def _start(self, request: pb.StartExecutionRequest, context: Any, id_: str = "") -> r.Started:
        namespace = namespace_of(request.namespace)
        at = self._runtime.clock.now()
        params = convert.dictionary_of(request.params, "params", self._limit)
        notified = count_notified(params)
        answer = await self._runtime.ask(
            r.Start(
                provenance=provenance(context, "StartExecution", request.request_id),
                target=id_ or self._runtime.ids.execution(at),
                at=at,
                namespace=namespace,
                workflow=convert.required("workflow", request.workflow),
                workflow_namespace=convert.name_of("workflow_namespace", request.workflow_namespace),
                definition_version=request.definition_version,
                input=convert.dictionary_of(request.input, "input", self._limit),
                env=convert.dictionary_of(request.env, "env", self._limit),
                env_name=convert.name_of("env_name", request.env_name),
                params=params,
                notified=notified,
                external_id=convert.name_of("external_id", request.external_id),
                business_key=convert.name_of("business_key", request.business_key),
                use_existing=request.business_key_policy == pb.BUSINESS_KEY_POLICY_USE_EXISTING,
                tags=convert.tags_of(request.tags),
                description=convert.name_of("description", request.description),
                digest=convert.digest_of(request),
                size_bytes=500 + request.ByteSize(),
            )
        )
        assert isinstance(answer, r.Started)
        if notified:
            self._runtime.webhooks_changed.set()
        return answer

    async def _started(self, started: r.Started) -> execution_pb2.Execution:
        if started.snapshot is not None:
            return await self._sight.snapshot(started.snapshot, views.snapshot(started.snapshot))
        return await self._runtime.read(
            lambda connection, dialect: views.executions(
                self._sight, connection, dialect, [reads.execution_by_id(connection, started.execution_id)], full=False
            )[0]
        )

    # --- reading ---------------------------------------------------------------------------------

    async def GetExecution(self, request: pb.GetExecutionRequest, context: Any) -> Any:
        """Return one."""
        full = request.view != execution_pb2.EXECUTION_VIEW_BASIC

        def work(connection: Any, dialect: Any) -> pb.GetExecutionResponse:
            row = self._row(connection, request)
            [execution] = views.executions(self._sight, connection, dialect, [row], full=full)
            how_far = progress.progress(connection, dialect, row) if request.with_progress else None
            return pb.GetExecutionResponse(execution=execution, progress=how_far)

        return await self._runtime.read(work)

    def _row(self, connection: Any, request: Any) -> Any:
        """Return the row that a request is about, at the revision that it asks for.

        Raises:
            ExecutionNotFound, RevisionAhead: it is not there, or not yet.
        """
        namespace = namespace_of(request.namespace)
        given = convert.required("execution_id", request.execution_id)
        row = reads.execution(connection, namespace, reads.resolve_id(connection, namespace, given))
        if row is None:
            raise ExecutionNotFound(execution=given, field="execution_id")
        wanted = getattr(request, "min_revision", 0)
        if wanted > row.revision:
            raise RevisionAhead(execution=row.id, revision=wanted, newest=row.revision, field="min_revision")
        return row

    async def ListExecutions(self, request: pb.ListExecutionsRequest, context: Any) -> Any:
        """Return executions, newest first."""
        namespace = namespace_of(request.namespace)
        terms = terms_of(request.filter)
        size = convert.page_size_of(request.page_size)
        query = ("executions", namespace, request.filter)
        after = self._pages.position(query, request.page_token)
        order = listing.order_of(terms)
        full = request.view == execution_pb2.EXECUTION_VIEW_FULL

        def work(connection: Any, dialect: Any) -> pb.ListExecutionsResponse:
            rows = listing.executions(connection, namespace, terms, size + 1, after)
            found = fill(rows, lambda some: views.executions(self._sight, connection, dialect, some, full=full), size)
            token = self._pages.next(query, rows, len(found), lambda row: [getattr(row, name) for name in order])
            return pb.ListExecutionsResponse(executions=found, next_page_token=token)

        return await self._runtime.read(work)

    async def CountExecutions(self, request: pb.CountExecutionsRequest, context: Any) -> Any:
        """Count executions by state, or by what the request says."""
        namespace = namespace_of(request.namespace)
        terms = terms_of(request.filter)
        by = _groups(request.group_by)
        found = await self._runtime.read(lambda connection, _: listing.count(connection, namespace, terms, by))
        if request.group_by:
            groups = [pb.ExecutionGroup(values=values, count=number) for values, number in found.groups]
            return pb.CountExecutionsResponse(total=found.total, groups=groups, groups_cut=found.is_cut)
        states = sorted(found.groups)
        counts = [pb.ExecutionStateCount(state=convert.execution_state(name), count=n) for (name,), n in states]
        return pb.CountExecutionsResponse(total=found.total, counts=counts)

    async def ListTasks(self, request: pb.ListTasksRequest, context: Any) -> Any:
        """Return the tasks of an execution."""
        terms = parse_filter(request.filter, TASK_FIELDS)
        size = convert.page_size_of(request.page_size)
        query = ("tasks", request.namespace, request.execution_id, request.filter)
        position = self._pages.position(query, request.page_token)
        after = int(str(position[0])) if position else 0
        full = request.view != execution_pb2.EXECUTION_VIEW_BASIC

        def work(connection: Any, dialect: Any) -> pb.ListTasksResponse:
            id_ = self._row(connection, request).id
            rows = reads.tasks(connection, id_, terms, size + 1, after)
            found = fill(rows, lambda some: views.tasks(self._sight, connection, dialect, id_, some, full=full), size)
            token = self._pages.next(query, rows, len(found), lambda row: (row.task_id,))
            return pb.ListTasksResponse(tasks=found, next_page_token=token)

        return await self._runtime.read(work)

    async def ListActions(self, request: pb.ListActionsRequest, context: Any) -> Any:
        """Return actions of an execution or of the namespace."""
        namespace = namespace_of(request.namespace)
        terms = parse_filter(request.filter, ACTION_FIELDS)
        size = convert.page_size_of(request.page_size)
        query = ("actions", namespace, request.execution_id, request.filter)
        position = self._pages.position(query, request.page_token)
        after = (str(position[0]), int(str(position[1]))) if position else ("", 0)
        full = request.view != execution_pb2.EXECUTION_VIEW_BASIC

        def work(connection: Any, dialect: Any) -> pb.ListActionsResponse:
            id_ = self._row(connection, request).id if request.execution_id else ""
            rows = reads.actions(connection, namespace, id_, terms, size + 1, after)
            found = fill(rows, lambda some: views.actions(self._sight, connection, dialect, some, full=full), size)
            token = self._pages.next(query, rows, len(found), lambda row: (row.execution_id, row.action_id))
            return pb.ListActionsResponse(actions=found, next_page_token=token)

        return await self._runtime.read(work)

    async def ListActionLogs(self, request: pb.ListActionLogsRequest, context: Any) -> Any:
        """Return what workers wrote about actions."""
        size = convert.page_size_of(request.page_size)
        action_id = convert.number_of("action_id", request.action_id, "a") if request.action_id else 0
        query = ("action logs", request.namespace, request.execution_id, action_id)
        after = self._pages.position(query, request.page_token)

        def work(connection: Any, _: Any) -> pb.ListActionLogsResponse:
            row = self._row(connection, request)
            rows = action_logs.page(connection, row.id, action_id, size + 1, after)
            found = fill(rows, lambda some: views.log_lines(self._sight, connection, row.id, some), size)
            token = self._pages.next(query, rows, len(found), lambda line: (line.action_id, line.epoch, line.number))
            return pb.ListActionLogsResponse(lines=found, next_page_token=token)

        return await self._runtime.read(work)

    async def ListEvents(self, request: pb.ListEventsRequest, context: Any) -> Any:
        """Return the history of an execution."""
        size = convert.page_size_of(request.page_size)
        query = ("events", request.namespace, request.execution_id, request.after_revision)
        position = self._pages.position(query, request.page_token)
        after = int(str(position[0])) if position else max(0, request.after_revision)

        def work(connection: Any, _: Any) -> pb.ListEventsResponse:
            row = self._row(connection, request)
            if request.after_revision > row.revision:
                raise RevisionAhead(
                    execution=row.id, revision=request.after_revision, newest=row.revision, field="after_revision"
                )
            # revisions have no gap, so that what is to be read need not be looked up first
            revisions = range(after + 1, row.revision + 1)

            def events(some: Sequence[int]) -> Sequence[Any]:
                found = loading.read_events(connection, row.id, some[0] - 1, len(some))
                return [convert.event(stored) for stored in self._sight.events(connection, found)]

            found = fill(revisions, events, size)
            token = self._pages.next(query, revisions, len(found), lambda revision: (revision,))
            return pb.ListEventsResponse(events=found, next_page_token=token, revision=row.revision)

        return await self._runtime.read(work)

    async def ExplainExecution(self, request: pb.ExplainExecutionRequest, context: Any) -> Any:
        """Say what an execution waits for."""
        now = self._runtime.clock.microseconds()
        # what the other servers know of their workers is a little old, but not what this one does
        await self._runtime.workers.flush()

        def work(connection: Any, dialect: Any) -> pb.ExplainExecutionResponse:
            row = self._row(connection, request)
            execution = views.executions(self._sight, connection, dialect, [row], full=False)[0]
            waits = explain.waits(connection, dialect, row, self._runtime.desk, now)
            self._sight.show(connection, ((row.id, wait) for wait in waits[:100]))
            return pb.ExplainExecutionResponse(execution=execution, waits=waits[:100], waits_total=len(waits))

        return await self._runtime.read(work)

    async def WatchExecution(self, request: pb.WatchExecutionRequest, context: Any) -> Any:
        """Follow one."""
        with self._runtime.streams.one_of(client()):
            async for message in self._watching.watch(request):
                yield message

    async def WatchEvents(self, request: pb.WatchEventsRequest, context: Any) -> Any:
        """Follow many."""
        with self._runtime.streams.one_of(client()):
            async for message in self._log_watching.watch(request):
                yield message

    async def WatchActionLogs(self, request: pb.WatchActionLogsRequest, context: Any) -> Any:
        """Follow what workers write."""
        with self._runtime.streams.one_of(client()):
            async for message in self._action_log_watching.watch(request):
                yield message

    async def ExportExecutions(self, request: pb.ExportExecutionsRequest, context: Any) -> Any:
        """Give whole ones."""
        async for message in export.export(self._runtime, self._pages, request):
            yield message

    # --- steering --------------------------------------------------------------------------------

    async def PauseExecution(self, request: pb.PauseExecutionRequest, context: Any) -> Any:
        """Stop starting tasks."""
        command = c.PauseExecution(self._runtime.clock.now(), convert.reason_of(request.message))
        return pb.PauseExecutionResponse(execution=await self._steered(request, context, command))

    async def ResumeExecution(self, request: pb.ResumeExecutionRequest, context: Any) -> Any:
        """Go on."""
        command = c.ResumeExecution(self._runtime.clock.now(), self._env(request))
        return pb.ResumeExecutionResponse(execution=await self._steered(request, context, command))

    async def CancelExecution(self, request: pb.CancelExecutionRequest, context: Any) -> Any:
        """Stop for good."""
        grace = self._runtime.settings.cancel_grace_seconds
        command = c.StopExecution(
            self._runtime.clock.now(), ExecutionState.CANCELLED, convert.reason_of(request.message), grace_seconds=grace
        )
        return pb.CancelExecutionResponse(execution=await self._steered(request, context, command))

    async def RerunTask(self, request: pb.RerunTaskRequest, context: Any) -> Any:
        """Run a failed task again."""
        number, name = _task_reference(request)
        command = c.RerunTask(self._runtime.clock.now(), number, request.reset, self._env(request))
        snapshot = await self._steer(request, context, command, name)
        execution = await self._sight.snapshot(snapshot, views.snapshot(snapshot))
        return pb.RerunTaskResponse(execution=execution, task=await self._task(snapshot))

    async def SkipTask(self, request: pb.SkipTaskRequest, context: Any) -> Any:
        """Skip a failed task."""
        number, name = _task_reference(request)
        snapshot = await self._steer(request, context, c.SkipTask(self._runtime.clock.now(), number), name)
        execution = await self._sight.snapshot(snapshot, views.snapshot(snapshot))
        return pb.SkipTaskResponse(execution=execution, task=await self._task(snapshot))

    def _env(self, request: Any) -> dict[str, object] | None:
        return convert.dictionary_of(request.env, "env", self._limit) if request.HasField("env") else None

    async def _steered(self, request: Any, context: Any, command: c.Command) -> execution_pb2.Execution:
        snapshot = await self._steer(request, context, command)
        return await self._sight.snapshot(snapshot, views.snapshot(snapshot))

    async def _steer(self, request: Any, context: Any, command: c.Command, task_name: str = "") -> r.Snapshot:
        namespace = namespace_of(request.namespace)
        given = convert.required("execution_id", request.execution_id)
        id_ = await self._runtime.read(lambda connection, _: reads.resolve_id(connection, namespace, given))
        if not id_:
            raise ExecutionNotFound(execution=given, field="execution_id")
        answer = await self._runtime.ask(
            r.Command(
                provenance=provenance(context, type(command).__name__, request.request_id),
                target=id_,
                namespace=namespace,
                command=command,
                digest=convert.digest_of(request),
                task_name=task_name,
                size_bytes=500 + request.ByteSize(),
            )
        )
        assert isinstance(answer, r.Snapshot)
        return answer

    async def _task(self, snapshot: r.Snapshot) -> Any:
        def work(connection: Any, dialect: Any) -> Any:
            id_ = snapshot.envelope.id
            rows = reads.tasks(connection, id_, [], 1, snapshot.task_id - 1)
            return views.tasks(self._sight, connection, dialect, id_, rows, full=False)[0]

        return await self._runtime.read(work) if snapshot.task_id else None


def _task_reference(request: Any) -> tuple[int, str]:
    which = request.WhichOneof("task")
    if which == "task_id":
        return convert.number_of("task_id", request.task_id, "t"), ""
    return 0, convert.required("task_name", request.task_name)


def _groups(given: Sequence[str]) -> Sequence[str]:
    """Return what to group by.

    Raises:
        FieldInvalid: it is too much, or not what executions are grouped by.
    """
    wrong = [name for name in given if name not in listing.GROUPS] or list(given[_MOST_GROUPED:])
    if wrong or len(set(given)) < len(given):
        expected = f"at most {_MOST_GROUPED} of {', '.join(listing.GROUPS)}, each once"
        raise FieldInvalid(name="group_by", expected=expected, problem=f"it is {', '.join(given)}")
    return given or ("state",)
