"""A failed execution says what made it fail: kind, code, and the task where it happened."""

from __future__ import annotations

import pytest

from tests.api.harness import PATIENCE, Served, start
from tradewind.v1 import execution_pb2, execution_service_pb2, failure_pb2

FAILING = """
version: '2.0'
command:
  tasks:
    t: {action: std.noop, on-success: [{fail: <% true %>}]}
definition:
  tasks:
    t: {action: std.echo output=<% $.nowhere %>}
output:
  output: {r: <% $.nowhere %>}
  tasks:
    t: {action: std.noop}
on-error:
  tasks:
    t: {action: std.fail, on-error: [{u: <% $.nowhere %>}]}
    u: {action: std.noop}
timeout:
  tasks:
    t: {action: std.async_noop, timeout: 1}
child:
  tasks:
    t: {workflow: command}
"""


async def _failure(served: Served, id_: str) -> failure_pb2.Failure:
    """Return the failure, which is the same wherever it is asked for."""
    got = (await served.get(id_)).failure
    listed = await served.executions.ListExecutions(execution_service_pb2.ListExecutionsRequest())
    assert [e.failure for e in listed.executions if e.id == id_] == [got]
    return got


async def test_failure_of_an_action_is_the_failure_of_its_execution(served: Served) -> None:
    """With the code that the worker chose."""
    async with served.worker() as hand:
        id_ = await served.start()
        offer = await hand.offer()
        await hand.fail(offer.token, "ACCOUNT_CLOSED", "No such account.")
        await served.ended(id_)
    failure = await _failure(served, id_)
    assert failure.kind == failure_pb2.FAILURE_KIND_ACTION
    assert (failure.code, failure.origin.task, failure.origin.attempt) == ("ACCOUNT_CLOSED", "t", 1)
    assert "No such account." in failure.message


@pytest.mark.parametrize(
    ("workflow", "kind", "task"),
    [
        ("command", failure_pb2.FAILURE_KIND_COMMAND, "t"),
        ("definition", failure_pb2.FAILURE_KIND_DEFINITION, "t"),
        ("output", failure_pb2.FAILURE_KIND_DEFINITION, ""),
        ("on-error", failure_pb2.FAILURE_KIND_DEFINITION, "t"),
        ("timeout", failure_pb2.FAILURE_KIND_TIMEOUT, "t"),
        ("child", failure_pb2.FAILURE_KIND_CHILD, "t"),
    ],
)
async def test_kind_of_a_failure(served: Served, workflow: str, kind: int, task: str) -> None:
    """The answer of a call that waited for the end says the same as a later look."""
    await served.deploy(FAILING)
    answer = await served.executions.StartAndWait(
        execution_service_pb2.StartAndWaitRequest(start=start(workflow, {})), timeout=PATIENCE
    )
    assert answer.execution.state == execution_pb2.EXECUTION_STATE_FAILED
    failure = await _failure(served, answer.execution.id)
    assert (failure.kind, failure.origin.task) == (kind, task)
    assert answer.execution.failure == failure
