"""Why does it not move? What an open execution waits for."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tradewind.v1 import execution_service_pb2 as pb
from tradewind_server.api import convert
from tradewind_server.runtime.desk import Desk
from tradewind_server.store import reads
from tradewind_server.store.records import QUEUED

_MOST = 1000
_TIMERS = {
    "start": "The delay before it starts is running.",
    "end": "The delay after it ended is running.",
    "timeout": "It fails when this time is over.",
    "cancel-grace": "Running work has until then to answer the cancellation.",
}


def waits(connection: sa.Connection, row: Any, desk: Desk) -> list[pb.Wait]:
    """Return what keeps the execution in *row* open, what can be acted on first."""
    if row.finished_at is not None:
        return []
    found = [_pause(row)] if row.state == "PAUSED" else []
    open_ = reads.waits(connection, row.namespace, row.id, _MOST)
    found += [_action(action, desk) for action in open_.actions]
    names = {task.task_id: task for task in reads.open_tasks(connection, row.id)}
    found += [_timer(timer, names) for timer in open_.timers]
    found += [_task(task) for task in names.values() if task.state in ("WAITING", "PAUSED")]
    return found


def _pause(row: Any) -> pb.Wait:
    detail = row.message or "It is paused; resume it."
    return pb.Wait(kind=pb.WAIT_KIND_PAUSE, since=convert.timestamp(row.updated_at), detail=detail)


def _action(row: Any, desk: Desk) -> pb.Wait:
    wait = pb.Wait(
        kind=pb.WAIT_KIND_ACTION,
        task_id=f"t{row.task_id}",
        task=row.task,
        action_id=f"a{row.action_id}",
        action=row.name,
        since=convert.timestamp(row.created_at),
    )
    if row.child_id:
        wait.kind, wait.child_execution_id = pb.WAIT_KIND_CHILD, row.child_id
        wait.detail = f"Its sub-workflow '{row.name}' is open."
    elif row.asynchronous:
        wait.detail = "Its result comes from outside: complete or fail the action."
    elif row.queue_stage == QUEUED and not desk.serves((row.namespace, row.name, row.queue_target)):
        wait.kind = pb.WAIT_KIND_WORKER_ABSENT
        meant = f" for the target '{row.queue_target}'" if row.queue_target else ""
        wait.detail = f"No worker of this server serves '{row.name}'{meant}. Start one."
    elif row.queue_stage == QUEUED:
        wait.detail = "It is queued; the workers are busy."
    else:
        wait.detail = f"Worker '{row.queue_worker}' works on it."
    return wait


def _timer(row: Any, tasks: dict[int, Any]) -> pb.Wait:
    task = tasks.get(row.task_id)
    return pb.Wait(
        kind=pb.WAIT_KIND_TIMER,
        task_id=f"t{row.task_id}" if row.task_id else "",
        task=task.name if task is not None else "",
        until=convert.timestamp(row.due_at),
        detail=_TIMERS.get(row.purpose, "It goes on by itself."),
    )


def _task(row: Any) -> pb.Wait:
    what = "It waits for its other branches." if row.state == "WAITING" else row.message or "It is held; resume."
    since = convert.timestamp(row.updated_at)
    return pb.Wait(kind=pb.WAIT_KIND_TASK, task_id=f"t{row.task_id}", task=row.name, since=since, detail=what)
