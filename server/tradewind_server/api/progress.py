"""How far is it, and how long may it take? Read only for those who ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from tradewind.v1 import execution_pb2
from tradewind_server.api import convert, views
from tradewind_server.engine import events as e
from tradewind_server.engine.progress import Left, left
from tradewind_server.store import definitions, listing, reads
from tradewind_server.store.projection import ExecutionDetail
from tradewind_server.store.statements import Dialect

_detail = msgspec.json.Decoder(ExecutionDetail).decode
#: Executions that a duration is expected from: as many at most, as few at least.
_MOST_SAMPLES, _LEAST_SAMPLES = 200, 5


def progress(connection: sa.Connection, dialect: Dialect, row: Any) -> execution_pb2.Progress:
    """Return how far the execution in *row* is."""
    open_ = reads.open_tasks(connection, row.id)
    counts = reads.task_counts(connection, [row.id]).get(row.id, {})
    skipped = counts.get("SKIPPED", 0)
    at_work = reads.tasks_at_work(connection, row.id)
    running = sum(task.task_id in at_work for task in open_)
    found = execution_pb2.Progress(
        done=sum(counts.values()) - len(open_) - skipped,
        running=running,
        waiting=len(open_) - running,
        skipped=skipped,
    )
    to_come = _left(connection, dialect, row, open_)
    if to_come is not None:
        found.left, found.left_at_most, found.open_ended = to_come.likely, to_come.at_most, to_come.is_open_ended
    _count_items(connection, dialect, row, open_, found)
    _expect(connection, row, found)
    return found


def _left(connection: sa.Connection, dialect: Dialect, row: Any, open_: Sequence[Any]) -> Left | None:
    """Estimate what is to come; None if the definition is gone."""
    if row.finished_at is not None:
        return Left(0, 0, is_open_ended=False)
    spec = definitions.workflow_of(connection, row)
    if spec is None:
        return None
    goal = ""
    if spec.type == "reverse":
        started = reads.events_at(connection, dialect, [(row.id, 1)])[row.id, 1]
        assert isinstance(started, e.ExecutionStarted)
        goal = str(started.params["task_name"])
    held = [target for _, targets in _detail(bytes(row.detail)).backlog for target, _ in targets]
    return left(spec, goal, [task.name for task in open_], held, reads.task_names(connection, row.id))


def _count_items(
    connection: sa.Connection, dialect: Dialect, row: Any, open_: Sequence[Any], found: execution_pb2.Progress
) -> None:
    details = {task.task_id: (task, views.detail_of(task)) for task in open_}
    wanted = {
        id_: (task.attempt, detail.base_attempt, detail.items_revision)
        for id_, (task, detail) in details.items()
        if detail.items_revision
    }
    for counts in reads.item_counts(connection, dialect, row.id, wanted).values():
        found.items_total += counts.total
        found.items_done += counts.done


def _expect(connection: sa.Connection, row: Any, found: execution_pb2.Progress) -> None:
    durations = sorted(listing.durations(connection, row, _MOST_SAMPLES))
    if len(durations) < _LEAST_SAMPLES:
        return
    expected = found.expected
    expected.sample_count = len(durations)
    for name, percent in (("p50", 50), ("p90", 90)):
        # the nearest rank: one that there was
        took = durations[-(-len(durations) * percent // 100) - 1]
        getattr(expected, name).CopyFrom(convert.duration(took))
        if row.finished_at is None:
            getattr(expected, f"finish_{name}").CopyFrom(convert.timestamp(row.created_at + took))
