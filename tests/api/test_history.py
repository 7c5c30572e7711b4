"""What is known of an ended execution: every action with its attempt, worker, build, input, output and times."""

from __future__ import annotations

from decimal import Decimal

from tests.api.harness import Served, serving
from tradewind import values
from tradewind.v1 import action_pb2
from tradewind.v1 import execution_service_pb2 as pb

TEXT = """
version: '2.0'
twice:
  input: [n]
  tasks:
    t: {action: shop.do n=<% $.n %>, retry: {count: 1, delay: 0}, on-success: u}
    u: {action: std.echo output=3.50}
"""


async def _actions(served: Served, id_: str) -> list[action_pb2.Action]:
    return list((await served.executions.ListActions(pb.ListActionsRequest(execution_id=id_))).actions)


async def test_ended_actions_keep_who_did_them_and_when(database_url: str) -> None:
    """Each attempt of a task has its own; a lost worker raises the action's attempt, which stays known."""
    async with serving(database_url, work_lease_seconds=2) as served:
        await _keeps_who_and_when(served)


async def _keeps_who_and_when(served: Served) -> None:
    await served.deploy(TEXT)
    async with served.worker() as lost:
        id_ = await served.start("twice", {"n": Decimal("1.50")})
        await lost.accept((await lost.offer()).token)
        await served.until(id_, "ActionScheduled")
    async with served.worker() as hand:
        again = await hand.offer()
        await hand.accept(again.token)
        [running] = await _actions(served, id_)
        await hand.fail(again.token, "BUSY", "later")
        await hand.finish((await hand.offer()).token, {"r": 2})
        await served.ended(id_)
    failed, done, echoed = await _actions(served, id_)

    assert (failed.worker, failed.worker_build, failed.attempt, failed.task_attempt) == (
        hand.worker_id, "b7", again.attempt, 1,
    )  # fmt: skip
    assert running.started_at == failed.started_at
    assert (failed.failure.code, failed.failure.message) == ("BUSY", "later")
    assert (done.worker, done.worker_build, done.attempt, done.task_attempt) == (hand.worker_id, "b7", 1, 2)
    assert (values.from_payload(done.input), values.from_payload(done.result)) == ({"n": Decimal("1.50")}, {"r": 2})
    assert b"1.50" in done.input.data
    assert echoed.worker.startswith("built-in@")
    assert echoed.worker_build
    for action in (failed, done, echoed):
        times = [m.ToNanoseconds() for m in (action.created_at, action.started_at, action.finished_at)]
        assert times == sorted(times)
        assert all(times)
