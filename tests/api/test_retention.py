"""What is no longer kept is removed whole, and nothing else; whoever may have missed something is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration

from tests.api.harness import PATIENCE, Served, refused, serving, start
from tradewind.v1 import (
    action_limit_pb2,
    action_limit_service_pb2,
    action_pb2,
    retention_pb2,
    retention_service_pb2,
    retention_service_pb2_grpc,
)
from tradewind.v1 import execution_service_pb2 as pb
from tradewind.v1 import human_task_service_pb2 as people_pb
from tradewind_server.runtime import requests as r
from tradewind_server.store import retention, schema
from tradewind_server.store.records import Provenance

TEXT = """
version: '2.0'
quick:
  input: [n: 0]
  tasks:
    t: {action: std.noop, on-success: u}
    u: {action: std.noop}
parent:
  tasks:
    t: {workflow: quick}
long:
  tasks:
    t: {action: std.async_noop}
told:
  tasks:
    t: {human: {title: T, users: alice, notify: true, expire: {after: 0, outcome: done}}}
late_child:
  tasks:
    t: {workflow: long, on-error: fail}
"""
HOUR = 3_600_000_000
TABLES = (
    "executions",
    "execution_tags",
    "events",
    "tasks",
    "actions",
    "arrivals",
    "action_queue",
    "action_slots",
    "action_logs",
    "timers",
    "human_tasks",
    "inbox",
    "notifications",
    "attachments",
    "removals",
)


def _stub(served: Served) -> Any:
    return retention_service_pb2_grpc.RetentionServiceStub(served.channel)


async def _keep(served: Served, seconds: int | None, workflow: str = "") -> None:
    rule = retention_pb2.RetentionRule(workflow=workflow)
    if seconds is not None:
        rule.keep.CopyFrom(Duration(seconds=seconds))
    await _stub(served).PutRetentionRule(retention_service_pb2.PutRetentionRuleRequest(rule=rule))


def _age(served: Served, *ids: str) -> None:
    """Let executions, and those below them, have ended an hour ago."""
    x = schema.executions
    with served.server.runtime.database.connect_reader() as connection:
        connection.execute(
            sa.update(x)
            .where(x.c.root_id.in_(ids), x.c.finished_at.is_not(None))
            .values(finished_at=x.c.finished_at - HOUR)
        )


def _rows(served: Served) -> dict[str, int]:
    """Count the rows of all tables that have any."""
    with served.server.runtime.database.connect_reader() as connection:
        counts = {
            name: connection.execute(sa.select(sa.func.count()).select_from(schema.metadata.tables[name])).scalar_one()
            for name in TABLES
        }
    return {name: count for name, count in counts.items() if count}


async def _ended(served: Served, workflow: str, count: int = 1, **fields: Any) -> list[str]:
    """Start executions, wait for their ends, and let these be an hour ago."""
    ids = [await served.start(workflow, {}, **fields) for _ in range(count)]
    for id_ in ids:
        await served.ended(id_)
    _age(served, *ids)
    return ids


async def _listed(served: Served) -> set[str]:
    answer = await served.executions.ListExecutions(pb.ListExecutionsRequest(filter='parent_id = ""'))
    return {execution.id for execution in answer.executions}


async def test_whole_trees_are_removed_with_all_that_they_left(served: Served) -> None:
    """Children, events, tasks, actions, tags, notifications: nothing is left of them."""
    await served.deploy(TEXT)
    await _ended(served, "parent", 3, tags=["red"])
    await _ended(served, "told")
    assert _rows(served)["executions"] == 7
    assert _rows(served)["notifications"] == 2

    await _keep(served, 60)
    await served.server.runtime.pruner.run()

    assert _rows(served) == {}
    assert await _listed(served) == set()


async def test_files_go_with_their_execution(served: Served) -> None:
    await served.deploy("{version: '2.0', filed: {tasks: {t: {human: {title: T, users: ann}}}}}")
    id_ = await served.start("filed", {})
    name, ann = f"{id_}/a1", {"metadata": (("x-tradewind-user", "ann"),)}
    added = await served.people.AddAttachment(
        people_pb.AddAttachmentRequest(human_task_id=name, file_name="a", content=b"x"), **ann
    )
    decided = people_pb.SubmitHumanTaskRequest(human_task_id=name, outcome="done", etag=added.human_task.etag)
    await served.people.SubmitHumanTask(decided, **ann)
    await served.ended(id_)
    assert _rows(served)["attachments"] == 1

    _age(served, id_)
    await _keep(served, 60)
    await served.server.runtime.pruner.run()

    assert _rows(served) == {}


async def test_logs_and_slots_of_actions_go_with_their_execution(served: Served) -> None:
    """They are of use to nobody without it."""
    limit = action_limit_pb2.ActionLimit(action="shop.do", concurrency=1)
    await served.limits.PutActionLimit(action_limit_service_pb2.PutActionLimitRequest(limit=limit))
    id_ = await served.start()
    [offer] = await served.poll()
    lines = [action_pb2.LogLine(number=n, message="said") for n in range(1, 4)]
    await served.complete(offer.token, 1, logs=lines)
    await served.ended(id_)
    assert _rows(served)["action_logs"] == 3
    assert _rows(served)["action_slots"] == 1

    _age(served, id_)
    await _keep(served, 60)
    await served.server.runtime.pruner.run()

    assert _rows(served) == {}


async def test_nothing_else_is_removed(served: Served) -> None:
    """Neither what ended lately, nor what is open, nor what its own rule keeps."""
    await served.deploy(TEXT)
    [old] = await _ended(served, "quick")
    [kept] = await _ended(served, "parent")
    fresh = await served.start("quick", {})
    await served.ended(fresh)
    open_ = await served.start("long", {})
    _age(served, open_)
    await _keep(served, 600)
    await _keep(served, None, "parent")
    await served.server.runtime.pruner.run()
    assert await _listed(served) == {kept, fresh, open_}
    assert (await served.ended(kept))[0] == "SUCCEEDED"
    with refused(grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"):
        await served.get(old)

    await _keep(served, 60, "parent")
    await _stub(served).DeleteRetentionRule(retention_service_pb2.DeleteRetentionRuleRequest())
    _age(served, fresh)
    await served.server.runtime.pruner.run()
    assert await _listed(served) == {fresh, open_}


async def test_tree_with_something_open_in_it_is_kept(served: Served) -> None:
    """Also if its root has ended long ago."""
    await served.deploy(TEXT)
    id_ = await served.start("late_child", {})
    children = pb.ListExecutionsRequest(filter=f"parent_id = {id_}")
    async with asyncio.timeout(PATIENCE):
        await served.until(id_, "ActionScheduled")
        while not (await served.executions.ListExecutions(children)).executions:
            await asyncio.sleep(0)
    x = schema.executions
    with served.server.runtime.database.connect_reader() as connection:
        connection.execute(sa.update(x).where(x.c.id == id_).values(state="FAILED", finished_at=1))
    before = _rows(served)
    await _keep(served, 60)
    await served.server.runtime.pruner.run()

    assert _rows(served) == before


async def test_rows_are_removed_in_bounded_steps(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, each step leaves room for others."""
    steps: list[int] = []
    real = retention.remove

    def remove(transaction: Any, limit: int) -> int:
        steps.append(real(transaction, limit))
        return steps[-1]

    monkeypatch.setattr(retention, "remove", remove)
    async with serving(database_url, retention_rows=5) as served:
        await served.deploy(TEXT)
        await _ended(served, "quick", 4)
        await _keep(served, 60)
        await served.server.runtime.pruner.run()
        assert _rows(served) == {}
    assert sum(steps) > 40
    assert max(steps) <= 5


async def test_what_is_in_use_in_the_same_batch_is_left_alone(served: Served) -> None:
    """A command and the removal of its execution can meet in one transaction; the command wins."""
    await served.deploy(TEXT)
    [id_] = await _ended(served, "quick")
    provenance = Provenance("system:test", "Test")

    def work(transaction: Any, in_use: Any) -> int:
        return retention.take_out(transaction, [id_], {*in_use, id_})

    assert await served.server.runtime.ask(r.Tidy(provenance=provenance, work=work)) == 0
    assert await _listed(served) == {id_}


async def _end_of_log(served: Served) -> str:
    """Return the cursor after all that there is."""
    now = served.executions.WatchEvents(pb.WatchEventsRequest(), timeout=PATIENCE)
    try:
        return str((await now.read()).cursor)
    finally:
        now.cancel()


async def _first(served: Served, **fields: Any) -> Any:
    stream = served.executions.WatchEvents(pb.WatchEventsRequest(**fields), timeout=PATIENCE)
    try:
        async for message in stream:
            if message.events:
                return message
    finally:
        stream.cancel()


async def test_cursor_before_what_is_removed_is_lost(served: Served) -> None:
    """It may have missed something, and is told; one that has seen all of that goes on, and so does who begins anew."""
    await served.deploy(TEXT)
    kept = await served.start("long", {})
    early = await _end_of_log(served)
    await _ended(served, "quick")
    last = await _end_of_log(served)
    newer = await served.start("long", {})
    await _keep(served, 60)
    await served.server.runtime.pruner.run()

    assert (await _first(served, cursor=last)).events[0].execution_id == newer
    assert (await _first(served, from_beginning=True)).events[0].execution_id == kept
    with refused(grpc.StatusCode.OUT_OF_RANGE, "CURSOR_LOST") as caught:
        await _first(served, cursor=early)
    assert caught.metadata["execution"] == kept


async def test_log_goes_on_after_everything_was_removed(tmp_path: Path) -> None:
    """Also over a restart: its numbers are not given again."""
    path = str(tmp_path / "t.db")
    async with serving(path) as served:
        await served.deploy(TEXT)
        await _ended(served, "quick", 2)
        await _keep(served, 60)
        end = await _end_of_log(served)
        await served.server.runtime.pruner.run()
        assert _rows(served) == {}
    async with serving(path) as served:
        id_ = await served.start("long", {})
        assert (await _first(served, cursor=end)).events[0].execution_id == id_


async def test_repeated_start_of_what_is_gone_is_told_so(served: Served) -> None:
    """An own id stays taken: a second run by mistake would be worse."""
    await served.deploy(TEXT)
    await _ended(served, "quick", external_id="mine")
    await _keep(served, 60)
    await served.server.runtime.pruner.run()

    with refused(grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"):
        await served.executions.StartExecution(start("quick", {}, external_id="mine"))


async def test_servers_share_the_removal(postgres_url: Callable[[], str]) -> None:
    """Whichever comes first; none stumbles over the other."""
    url = postgres_url()
    async with serving(url, retention_rows=7) as one, serving(url, retention_rows=7) as two:
        await one.deploy(TEXT)
        await _ended(one, "parent", 30)
        await _keep(two, 60)
        await asyncio.gather(*(served.server.runtime.pruner.run() for served in (one, two)))
        # what one had to leave to the other, it looks at again an hour later; a newer rule is reason enough
        await _keep(one, 61)
        await one.server.runtime.pruner.run()
        assert _rows(one) == {}


@pytest.mark.parametrize("keep", [Duration(seconds=59), Duration(seconds=-1), Duration(seconds=60, nanos=1)])
async def test_rule_that_makes_no_sense_is_refused(served: Served, keep: Duration) -> None:
    """A watcher could not follow so fast."""
    rule = retention_pb2.RetentionRule(keep=keep)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        await _stub(served).PutRetentionRule(retention_service_pb2.PutRetentionRuleRequest(rule=rule))


async def test_rules_are_listed_with_who_put_them(served: Served) -> None:
    """The namespace's own first; a second put replaces the first."""
    await _keep(served, None, "b")
    await _keep(served, 60)
    await _keep(served, 120)
    answer = await _stub(served).ListRetentionRules(retention_service_pb2.ListRetentionRulesRequest())
    assert [(rule.workflow, rule.HasField("keep"), rule.keep.seconds) for rule in answer.rules] == [
        ("", True, 120),
        ("b", False, 0),
    ]
    assert answer.rules[0].HasField("updated_by")
