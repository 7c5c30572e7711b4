"""Why does it not move? What an open execution waits for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from tradewind.v1 import actor_pb2
from tradewind.v1 import execution_service_pb2 as pb
from tradewind_server.api import convert, deciders, views
from tradewind_server.lang.specs import WorkflowSpec
from tradewind_server.runtime.desk import Desk, QueueName, Staff
from tradewind_server.store import action_limits, definitions, human_tasks, reads, workers
from tradewind_server.store.projection import TaskDetail
from tradewind_server.store.records import QUEUED
from tradewind_server.store.statements import Dialect
from tradewind_server.store.workers import Listed

_MOST = 1000
_TIMERS = {
    "start": "The delay before it starts is running.",
    "end": "The delay after it ended is running.",
    "escalate": "More people are asked if nobody has decided by then.",
    "remind": "People are reminded if nobody has decided by then.",
    "expire": "It ends by itself if nobody has decided by then.",
    "timeout": "It fails when this time is over.",
    "cancel-grace": "Running work has until then to answer the cancellation.",
}
#: Who a message is from, by its kind; the other kinds are of children.
_OF_PARENT = frozenset({"start", "pause", "resume", "cancel"})


def waits(connection: sa.Connection, dialect: Dialect, row: Any, desk: Desk, now: int) -> list[pb.Wait]:
    """Return what keeps the execution in *row* open, what can be acted on first."""
    if row.finished_at is not None:
        return []
    found = [_pause(connection, row)] if row.state == "PAUSED" else []
    open_ = reads.waits(connection, row.namespace, row.id, _MOST)
    people = _people(connection, row, open_.actions)
    staff = _Staff(connection, desk, now)
    found += [_action(action, open_.children, people, staff) for action in open_.actions]
    tasks = {task.task_id: task for task in reads.open_tasks(connection, row.id)}
    found += [_timer(timer, tasks) for timer in open_.timers]
    found += _tasks(connection, dialect, row, tasks)
    found += [_message(message) for message in open_.messages]
    return found


def _pause(connection: sa.Connection, row: Any) -> pb.Wait:
    event = reads.newest_event(connection, row.id, "ExecutionPaused")
    detail = "It is paused. Resume it."
    if event is not None and event.actor.startswith("parent:"):  # which is to be resumed instead
        detail = f"It was paused by {_name(event.actor)}."
    elif event is not None:
        detail = f"It was paused by {_name(event.actor)}{f': {row.message}' if row.message else ''}. Resume it."
    return pb.Wait(
        kind=pb.WAIT_KIND_PAUSE, since=convert.timestamp(event.at if event else row.updated_at), detail=detail
    )


def _name(stored: str) -> str:
    """Return an actor for people."""
    actor = convert.actor(stored)
    kind = actor_pb2.ActorKind.Name(actor.kind).removeprefix("ACTOR_KIND_").lower()
    if actor.kind == actor_pb2.ACTOR_KIND_ANONYMOUS:
        return "somebody unnamed"
    if actor.kind in (actor_pb2.ACTOR_KIND_PARENT, actor_pb2.ACTOR_KIND_CHILD):
        return f"its {kind} execution {actor.name}"
    return f"{kind} '{actor.name}'"


# --- actions -------------------------------------------------------------------------------------


def _people(connection: sa.Connection, row: Any, actions: Sequence[Any]) -> dict[int, str]:
    """Tell for each action that people do who is asked, or has it."""
    keys = [(row.id, action.action_id) for action in actions if action.kind == "human"]
    found = human_tasks.get_many(connection, row.namespace, keys) if keys else ()
    return {task.action_id: _who(task) for task in found}


def _who(task: Any) -> str:
    if task.assignee:
        return f"'{task.title}' is with '{task.assignee}'{f' for {task.owner!r}' if task.owner else ''}."
    state = deciders.state_of(task)
    asked = [f"'{user}'" for user in state.asked] + [f"the group '{group}'" for group in state.groups]
    if not state.quorum:
        return f"'{task.title}' is for {', '.join(asked)}; nobody has claimed it."
    held = [f"'{claim.by}', who has it{f' for {claim.owner!r}' if claim.owner else ''}" for claim in state.claims]
    how = f"it takes {state.quorum} votes for one outcome, and has {len(state.votes)} so far"
    return f"'{task.title}' is for {', '.join([*asked, *held])}; {how}."


def _action(row: Any, children: Mapping[str, str], people: Mapping[int, str], staff: _Staff) -> pb.Wait:
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
        state = children.get(row.child_id)
        wait.detail = f"Its sub-workflow '{row.name}' is {state or 'about to start'}."
    elif row.action_id in people:
        wait.kind, wait.detail = pb.WAIT_KIND_PERSON, people[row.action_id]
    elif row.queue_stage == QUEUED:
        wait.kind, wait.detail = _queued(row, staff)
    elif row.asynchronous:
        wait.detail = "Its result comes from outside: complete or fail the action."
    else:
        wait.detail = f"Worker '{row.queue_worker}' works on it."
        if row.queue_progress:
            wait.detail += f" It says: {row.queue_progress}"
    if row.cancelling:
        wait.detail += " It has been told to stop."
    return wait


class _Staff:
    """Who serves which queue, on all servers; each queue is looked up once."""

    def __init__(self, connection: sa.Connection, desk: Desk, now: int) -> None:
        self._connection = connection
        self._desk = desk
        self._now = now
        self._found: dict[QueueName, tuple[Staff, Sequence[Listed]]] = {}
        #: Of the one namespace, by action.
        self._limits: dict[str, str] = {}

    def of(self, queue: QueueName) -> tuple[Staff, Sequence[Listed]]:
        """Return the sessions of this server, which are up to date, and all workers, as they were written down."""
        if queue not in self._found:
            self._found[queue] = self._desk.staff(queue), workers.serving(self._connection, *queue, self._now)
        return self._found[queue]

    def limit_of(self, row: Any) -> str:
        """Tell which limit keeps an action back; "" if none does."""
        if row.name not in self._limits:
            self._limits[row.name] = self._said_of_limit(row.namespace, row.name)
        return self._limits[row.name]

    def _said_of_limit(self, namespace: str, name: str) -> str:
        limit = action_limits.get(self._connection, namespace, name)
        if limit is None:
            return ""
        if limit.concurrency is not None and action_limits.in_hand(self._connection, limit) >= limit.concurrency:
            return f"It waits for the limit of '{name}': at most {limit.concurrency} at the same time."
        if limit.rate_count is not None and limit.rate_period is not None and not limit.allowed(self._now):
            period = f"{limit.rate_period / 1_000_000:g} s"
            return f"It waits for the limit of '{name}': at most {limit.rate_count} in {period}."
        return ""


def _queued(row: Any, staff: _Staff) -> tuple[pb.WaitKind.ValueType, str]:
    """Tell why a queued action is not with a worker."""
    here, listed = staff.of((row.namespace, row.name, row.queue_target))
    meant = f" for the target '{row.queue_target}'" if row.queue_target else ""
    draining = max(here.leaving, sum(each.is_draining for each in listed))
    serving = max(here.serving, sum(not each.is_draining for each in listed))
    if serving and (limited := staff.limit_of(row)):
        return pb.WAIT_KIND_LIMIT, limited
    if here.free:
        return pb.WAIT_KIND_ACTION, "It is queued, and a worker has room: it is about to be handed out."
    if not serving and draining:
        detail = f"The only workers that serve '{row.name}'{meant} are draining ({draining}). Start or resume one."
        return pb.WAIT_KIND_WORKER_ABSENT, detail
    if not serving:
        return pb.WAIT_KIND_WORKER_ABSENT, f"No worker serves '{row.name}'{meant}. Start one."
    also = f", and {draining} {'is' if draining == 1 else 'are'} draining" if draining else ""
    return pb.WAIT_KIND_ACTION, f"It is queued; the workers that serve '{row.name}'{meant} are busy ({serving}{also})."


# --- tasks, timers, messages ---------------------------------------------------------------------


def _tasks(connection: sa.Connection, dialect: Dialect, row: Any, tasks: Mapping[int, Any]) -> Iterator[pb.Wait]:
    """Give the tasks that wait for something else than an action or a moment."""
    is_joining = any(task.state == "WAITING" for task in tasks.values())
    spec = definitions.workflow_of(connection, row) if is_joining else None
    arrived = reads.arrived(connection, row.id) if is_joining else {}
    details = {id_: views.detail_of(task) for id_, task in tasks.items()}
    limited = {id_: d for id_, d in details.items() if d.concurrency and tasks[id_].state == "RUNNING"}
    wanted = {id_: (tasks[id_].attempt, d.base_attempt, d.items_revision) for id_, d in limited.items()}
    counts = reads.item_counts(connection, dialect, row.id, wanted)
    for id_, task in tasks.items():
        if task.state == "WAITING":
            yield _join(task, spec, arrived.get(id_, set()))
        elif task.state == "PAUSED":
            yield _of_task(task, task.message or "It is held; resume the execution.")
        elif id_ in counts and counts[id_].begun < counts[id_].total:
            yield _items(task, counts[id_], details[id_])


def _of_task(task: Any, detail: str) -> pb.Wait:
    since = convert.timestamp(task.updated_at)
    return pb.Wait(kind=pb.WAIT_KIND_TASK, task_id=f"t{task.task_id}", task=task.name, since=since, detail=detail)


def _join(task: Any, spec: WorkflowSpec | None, arrived: set[str]) -> pb.Wait:
    if spec is None or task.name not in spec.tasks:
        return _of_task(task, "It waits for its other branches.")
    wanted = spec.tasks[task.name]
    missing = [name for name in spec.inbound[task.name] if name not in arrived]
    names = ", ".join(f"'{name}'" for name in missing)
    if isinstance(wanted.join, int):
        detail = f"It waits for {wanted.join - len(arrived)} more of the branches from {names}."
    else:
        detail = f"It waits for the {'branch' if len(missing) == 1 else 'branches'} from {names}."
    wait = _of_task(task, detail)
    wait.missing_tasks.extend(missing)
    return wait


def _items(task: Any, counts: reads.ItemCounts, detail: TaskDetail) -> pb.Wait:
    left = counts.total - counts.begun
    return _of_task(
        task,
        f"{counts.done} of its {counts.total} items have ended; at most {detail.concurrency} run at once, "
        f"and {left} {'has' if left == 1 else 'have'} not begun.",
    )


def _timer(row: Any, tasks: Mapping[int, Any]) -> pb.Wait:
    task = tasks.get(row.task_id)
    # a task that is delayed says itself what for: wait-before, wait-after, another attempt
    own = task.message if task is not None and row.purpose in ("start", "end") else ""
    return pb.Wait(
        kind=pb.WAIT_KIND_TIMER,
        task_id=f"t{row.task_id}" if row.task_id else "",
        task=task.name if task is not None else "",
        until=convert.timestamp(row.due_at),
        detail=own or _TIMERS.get(row.purpose.partition(":")[0], "It goes on by itself."),
    )


def _message(row: Any) -> pb.Wait:
    whose = "its parent" if row.kind in _OF_PARENT else f"its child execution {row.source}"
    return pb.Wait(
        kind=pb.WAIT_KIND_MESSAGE,
        since=convert.timestamp(row.created_at),
        child_execution_id="" if row.kind in _OF_PARENT else row.source,
        detail=f"A message of {whose} is about to be taken: {row.kind}.",
    )
