"""Rows to resources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec
import sqlalchemy as sa

from tradewind.v1 import action_pb2, definition_pb2, execution_pb2, failure_pb2, task_pb2
from tradewind_server.api import convert
from tradewind_server.api.sight import Sight
from tradewind_server.engine import events as e
from tradewind_server.engine.state import FINAL_TASK_STATES, Cause
from tradewind_server.engine.tasks import TIMED_OUT
from tradewind_server.lang.values import decode, encode
from tradewind_server.runtime.requests import Snapshot
from tradewind_server.store import action_logs, definitions, loading, reads
from tradewind_server.store.definitions import Definition
from tradewind_server.store.projection import TaskDetail
from tradewind_server.store.records import QUEUED
from tradewind_server.store.statements import Dialect

_detail = msgspec.json.Decoder(TaskDetail).decode
_MOST_CHILDREN = 100
#: A task's result is shown up to here; collected from many items, it can be far larger than a message.
MOST_RESULT_BYTES = 1024 * 1024

Bodies = Mapping[tuple[str, int], e.Event]


# --- executions ----------------------------------------------------------------------------------


def executions(
    sight: Sight, connection: sa.Connection, dialect: Dialect, rows: Sequence[Any], *, full: bool
) -> list[execution_pb2.Execution]:
    """Return executions with their task counts, and with payloads if *full*."""
    counts = reads.task_counts(connection, [row.id for row in rows])
    keys = [
        (row.id, revision)
        for row in rows
        for revision in (1, row.env_revision, row.output_revision)
        if revision and full
    ]
    bodies = reads.events_at(connection, dialect, keys)
    found = [_execution(row, counts.get(row.id, {}), bodies, full=full) for row in rows]
    sight.show(connection, ((message.id, message) for message in found))
    return found


def _execution(row: Any, counts: Mapping[str, int], bodies: Bodies, *, full: bool) -> execution_pb2.Execution:
    message = execution_pb2.Execution(
        id=row.id,
        namespace=row.namespace,
        external_id=row.external_id,
        business_key=row.business_key,
        workflow=row.workflow,
        workflow_namespace=row.workflow_namespace,
        definition_version=row.definition_version,
        registry_revision=row.registry_revision,
        state=convert.execution_state(row.state),
        state_message=row.message or "",
        tags=row.tags.split("\n") if row.tags else [],
        description=row.description,
        root_id=row.root_id,
        revision=row.revision,
        created_at=convert.timestamp(row.created_at),
        updated_at=convert.timestamp(row.updated_at),
        created_by=convert.actor(row.created_by),
        semantics_version=row.semantics_version,
        task_counts=execution_pb2.TaskCounts(**{state.lower(): number for state, number in counts.items()}),
    )
    if row.finished_at is not None:
        message.finished_at.CopyFrom(convert.timestamp(row.finished_at))
    if row.parent_id:
        message.parent.CopyFrom(_parent(row.parent_id, row.parent_task, row.parent_action))
    if row.state == "FAILED":
        message.failure.CopyFrom(_failure(loading.cause_of(row), row.message))
    if full:
        started = cast("e.ExecutionStarted", bodies[row.id, 1])
        message.input.CopyFrom(convert.payload(started.input))
        env = getattr(bodies[row.id, row.env_revision], "env", None)
        message.env.CopyFrom(convert.payload(started.env if env is None else env))
        if row.output_revision:
            message.output.CopyFrom(convert.payload(getattr(bodies[row.id, row.output_revision], "output", None)))
    return message


def _failure(cause: Cause | None, message: str | None) -> failure_pb2.Failure:
    assert cause is not None, "whatever has failed has a cause"
    failure = convert.failure(cause.kind, message or "", cause.code)
    failure.origin.task, failure.origin.attempt = cause.task, cause.attempt
    return failure


def _parent(id_: str, task: int, action: int) -> execution_pb2.ParentReference:
    return execution_pb2.ParentReference(execution_id=id_, task_id=f"t{task}", action_id=f"a{action}")


def ended(found: Snapshot) -> execution_pb2.Execution:
    """Return an ended execution from memory, with payloads."""
    message = snapshot(found)
    counts = {state.lower(): number for state, number in found.task_counts.items()}
    message.task_counts.CopyFrom(execution_pb2.TaskCounts(**counts))
    message.input.CopyFrom(convert.payload(found.input))
    message.env.CopyFrom(convert.payload(found.env))
    message.output.CopyFrom(convert.payload(found.output))
    return message


def snapshot(found: Snapshot) -> execution_pb2.Execution:
    """Return what a mutation answers: the execution at the revision that it made, without payloads."""
    envelope = found.envelope
    message = execution_pb2.Execution(
        id=envelope.id,
        namespace=envelope.namespace,
        external_id=envelope.external_id,
        business_key=envelope.business_key,
        workflow=envelope.workflow,
        workflow_namespace=envelope.workflow_namespace,
        definition_version=envelope.definition_version,
        registry_revision=envelope.registry_revision,
        state=convert.execution_state(found.state.value),
        state_message=found.message or "",
        tags=envelope.tags,
        description=envelope.description,
        root_id=envelope.root_id,
        revision=found.revision,
        created_at=convert.moment(envelope.created_at),
        updated_at=convert.moment(found.updated_at),
        created_by=convert.actor(envelope.created_by),
        semantics_version=envelope.semantics_version,
    )
    if found.finished_at is not None:
        message.finished_at.CopyFrom(convert.moment(found.finished_at))
    if found.state.value == "FAILED":
        message.failure.CopyFrom(_failure(found.failure, found.message))
    if envelope.parent_id:
        message.parent.CopyFrom(_parent(envelope.parent_id, envelope.parent_task, envelope.parent_action))
    return message


# --- tasks ---------------------------------------------------------------------------------------


def tasks(
    sight: Sight, connection: sa.Connection, dialect: Dialect, execution_id: str, rows: Sequence[Any], *, full: bool
) -> list[task_pb2.Task]:
    """Return tasks with what their actions tell, and with payloads if *full*."""
    actions: dict[int, list[Any]] = {}
    for action in reads.actions_of(connection, execution_id, [row.task_id for row in rows]):
        actions.setdefault(action.task_id, []).append(action)
    timers = {timer.task_id: timer.due_at for timer in reads.timers_of(connection, execution_id)}
    details = {row.task_id: detail_of(row) for row in rows}
    wanted = {detail.items_revision for detail in details.values()}
    for row in rows:
        wanted.update(
            action.result_revision for action in actions.get(row.task_id, ()) if full or row.state == "FAILED"
        )
        wanted.add(row.published_revision if full else 0)
    bodies = reads.events_at(connection, dialect, [(execution_id, revision) for revision in wanted if revision])
    found = [_task(row, details[row.task_id], actions.get(row.task_id, []), timers, bodies, full=full) for row in rows]
    sight.show(connection, ((execution_id, message) for message in found))
    return found


def detail_of(row: Any) -> TaskDetail:
    """Return the engine's part of a task's row."""
    return _detail(bytes(row.detail))


def _task(
    row: Any, detail: TaskDetail, actions: list[Any], timers: Mapping[int, int], bodies: Bodies, *, full: bool
) -> task_pb2.Task:
    message = task_pb2.Task(
        id=f"t{row.task_id}",
        execution_id=row.execution_id,
        name=row.name,
        state=convert.task_state(row.state),
        state_message=row.message,
        attempt=row.attempt,
        parent_task_ids=[f"t{parent}" for parent in detail.parents],
        created_at=convert.timestamp(row.created_at),
        updated_at=convert.timestamp(row.updated_at),
    )
    if actions:
        own = next((action for action in actions if action.kind != "resolver"), None)
        kind = "human" if own is None else own.kind
        message.kind = task_pb2.TaskKind.Value(f"TASK_KIND_{kind.upper()}")
        wrappers = "" if own is None else own.wrappers
        message.callee = wrappers.split("\n")[0] if wrappers else kind if own is None else own.name
        message.started_at.CopyFrom(convert.timestamp(min(action.created_at for action in actions)))
        children = [a.child_id for a in actions if a.child_id and a.task_attempt == row.attempt]
        message.child_execution_ids.extend(children[:_MOST_CHILDREN])
    if row.state in FINAL_TASK_STATES:
        message.finished_at.CopyFrom(convert.timestamp(row.updated_at))
    elif row.state == "DELAYED" and row.task_id in timers:
        message.delayed_until.CopyFrom(convert.timestamp(timers[row.task_id]))
    accepted = _accepted(row, detail, actions)
    if detail.items_revision:
        started = cast("e.TaskStarted", bodies[row.execution_id, detail.items_revision])
        message.items_total = len(started.items or [])
        message.items_done = sum(a.state != "OPEN" for a in accepted)
    if row.state == "FAILED":
        message.failure.CopyFrom(_task_failure(row, accepted, bodies))
    if full:
        _fill_task(message, row, detail, accepted, bodies)
    return message


def _accepted(row: Any, detail: TaskDetail, actions: Iterable[Any]) -> list[Any]:
    found: dict[int, Any] = {}
    for action in actions:
        is_result = action.state == "SUCCEEDED" and action.kind != "resolver"
        kept = action.task_attempt >= detail.base_attempt and is_result
        if action.task_attempt == row.attempt or kept:
            found[action.item_index] = action
    return [found[index] for index in sorted(found)]


def _task_failure(row: Any, accepted: Sequence[Any], bodies: Bodies) -> Any:
    for action in accepted:
        if action.state == "FAILED":
            event = bodies[row.execution_id, action.result_revision]
            if isinstance(event, e.ActionFailed):
                failure = convert.failure(event.kind, row.message, event.code, event.details, retryable=event.retryable)
                failure.origin.task, failure.origin.attempt = row.name, row.attempt
                failure.origin.worker = action.worker
                return failure
    failure = convert.failure("TIMEOUT" if row.message == TIMED_OUT else "DEFINITION", row.message)
    failure.origin.task, failure.origin.attempt = row.name, row.attempt
    return failure


def _fill_task(message: task_pb2.Task, row: Any, detail: TaskDetail, accepted: Sequence[Any], bodies: Bodies) -> None:
    if row.published_revision:
        event = bodies[row.execution_id, row.published_revision]
        message.published.CopyFrom(convert.payload(getattr(event, "published", {})))
    if row.state != "SUCCEEDED" or not detail.keep_result:
        return
    results = [getattr(bodies[row.execution_id, a.result_revision], "result", None) for a in accepted]
    if not detail.items_revision and not results:
        return
    data = encode(results if detail.items_revision else results[0])
    message.result_bytes = len(data)
    if len(data) <= MOST_RESULT_BYTES:
        convert.set_payload(message.result, data)


# --- actions -------------------------------------------------------------------------------------

_ENDED = {
    "SUCCEEDED": action_pb2.ACTION_STATE_SUCCEEDED,
    "FAILED": action_pb2.ACTION_STATE_FAILED,
    "CANCELLED": action_pb2.ACTION_STATE_CANCELLED,
}


def actions(
    sight: Sight, connection: sa.Connection, dialect: Dialect, rows: Sequence[Any], *, full: bool
) -> list[action_pb2.Action]:
    """Return actions, with payloads if *full*."""
    keys = [
        (row.execution_id, revision)
        for row in rows
        for revision in (row.scheduled_revision, row.result_revision)
        if revision and (full or row.state == "FAILED")
    ]
    bodies = reads.events_at(connection, dialect, keys)
    held = [(row.execution_id, row.action_id) for row in rows if full and row.queue_stage is not None]
    checkpoints = reads.checkpoints(connection, dialect, held)
    newest = action_logs.newest(connection, held)
    messages = [_action(row, bodies, full=full) for row in rows]
    for row, message in zip(rows, messages, strict=True):
        checkpoint = checkpoints.get((row.execution_id, row.action_id))
        if checkpoint is not None:
            convert.set_payload(message.checkpoint, checkpoint)
        if (line := newest.get((row.execution_id, row.action_id))) is not None:
            message.last_log.CopyFrom(_log_line(line))
    sight.show(connection, ((message.execution_id, message) for message in messages))
    return messages


def _action(row: Any, bodies: Bodies, *, full: bool) -> action_pb2.Action:
    is_queued = row.queue_stage == QUEUED
    state = action_pb2.ACTION_STATE_QUEUED if is_queued else action_pb2.ACTION_STATE_RUNNING
    message = action_pb2.Action(
        id=f"a{row.action_id}",
        execution_id=row.execution_id,
        task_id=f"t{row.task_id}",
        task=row.task,
        name=row.name,
        attempt=row.queue_attempt or row.attempt,
        task_attempt=row.task_attempt,
        state=_ENDED.get(row.state, state),
        worker=row.queue_worker or row.worker,
        worker_build=row.queue_worker_build or row.worker_build,
        child_execution_id=row.child_id,
        asynchronous=bool(row.asynchronous),
        deliveries=row.queue_deliveries or 0,
        idempotency_key=f"{row.execution_id}/a{row.action_id}",
        progress_message=row.queue_progress or "",
        created_at=convert.timestamp(row.created_at),
        workflow=row.workflow,
        business_key=row.business_key,
    )
    if row.is_item:
        message.item_index = row.item_index
    if row.queue_lease_until and not is_queued:
        message.lease_expires_at.CopyFrom(convert.timestamp(row.queue_lease_until))
    started_at = row.started_at or (0 if is_queued else row.queue_offered_at)
    if started_at:
        message.started_at.CopyFrom(convert.timestamp(started_at))
    if row.state != "OPEN":
        message.finished_at.CopyFrom(convert.timestamp(row.updated_at))
    result = bodies.get((row.execution_id, row.result_revision))
    if isinstance(result, e.ActionFailed):
        details = result.details if full else None
        message.failure.CopyFrom(
            convert.failure(result.kind, result.message, result.code, details, retryable=result.retryable)
        )
    if full:
        scheduled = cast("e.ActionScheduled", bodies[row.execution_id, row.scheduled_revision])
        message.input.CopyFrom(convert.payload(scheduled.input))
        if isinstance(result, e.ActionSucceeded):
            message.result.CopyFrom(convert.payload(result.result))
    return message


def log_lines(
    sight: Sight, connection: sa.Connection, execution_id: str, rows: Sequence[Any]
) -> list[action_pb2.LogLine]:
    """Return lines of the logs of actions of one execution."""
    found = [_log_line(row) for row in rows]
    sight.show(connection, ((execution_id, line) for line in found))
    return found


def _log_line(row: Any) -> action_pb2.LogLine:
    return action_pb2.LogLine(
        number=row.number,
        at=convert.timestamp(row.at),
        level=cast("action_pb2.LogLevel.ValueType", row.level),
        message=row.message,
        action_id=f"a{row.action_id}",
        attempt=row.attempt,
    )


# --- definitions ---------------------------------------------------------------------------------

KINDS = {
    "workflow": definition_pb2.DEFINITION_KIND_WORKFLOW,
    "action": definition_pb2.DEFINITION_KIND_ACTION,
    "form": definition_pb2.DEFINITION_KIND_FORM,
}


def definition(found: Definition, *, with_source: bool) -> definition_pb2.Definition:
    """Return one version of a definition."""
    message = definition_pb2.Definition(
        namespace=found.namespace,
        workflow_namespace=found.workflow_namespace,
        name=found.name,
        kind=KINDS[found.kind],
        version=found.version,
        content_hash=found.content_hash,
        registry_revision=found.registry_revision,
        description=found.description,
        tags=found.tags,
        file=found.file,
        source=found.source if with_source else b"",
        deployed_at=convert.timestamp(found.deployed_at),
        deployed_by=convert.actor(found.actor),
        current=found.retired_revision is None,
    )
    if found.kind == definitions.FORM and with_source:
        message.form.CopyFrom(convert.payload(definitions.form_of(found)))
    for name, is_required, default in cast("list[tuple[str, bool, object]]", decode(found.inputs)):
        parameter = message.inputs.add(name=name)
        if not is_required:
            parameter.default_value.CopyFrom(convert.payload(default))
    return message
