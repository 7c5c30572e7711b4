"""A business key stands for one open execution, also when an ended one is revived."""

from __future__ import annotations

import asyncio

import pytest
from grpc import StatusCode

from tests.api.harness import Hand, Served, refused
from tradewind.v1 import execution_service_pb2

NESTED = """
version: '2.0'
parent:
  tasks:
    p: {workflow: child}
child:
  tasks:
    c: {action: shop.do n=1}
"""


async def _fail(served: Served, hand: Hand, workflow: str = "one") -> str:
    """Start an execution under the key k, and let it fail."""
    id_ = await served.start(workflow, {} if workflow != "one" else None, business_key="k")
    await hand.fail((await hand.offer()).token, "NO")
    assert (await served.ended(id_))[0] == "FAILED"
    return id_


async def _rerun(served: Served, id_: str, task: str = "t", request_id: str = "") -> None:
    await served.executions.RerunTask(
        execution_service_pb2.RerunTaskRequest(execution_id=id_, task_name=task, reset=True, request_id=request_id)
    )


async def test_revived_execution_has_its_key_again(served: Served) -> None:
    """Until it ends again; a repeat of the old request takes nothing."""
    async with served.worker() as hand:
        id_ = await _fail(served, hand)
        await _rerun(served, id_, request_id="r1")
        with refused(StatusCode.ALREADY_EXISTS, "BUSINESS_KEY_IN_USE") as caught:
            await served.start(business_key="k")
        assert caught.metadata == {"business_key": "k", "execution": id_}
        await hand.finish((await hand.offer()).token)
        await asyncio.wait_for(served.ended(id_), 10)
        await _rerun(served, id_, request_id="r1")
        assert await served.start(business_key="k") != id_


async def test_execution_whose_key_another_has_is_not_revived(served: Served) -> None:
    """Two payments for one invoice must not run beside each other; afterwards it may."""
    async with served.worker() as hand:
        id_ = await _fail(served, hand)
        other = await served.start(business_key="k")
        with refused(StatusCode.ALREADY_EXISTS, "BUSINESS_KEY_IN_USE") as caught:
            await _rerun(served, id_)
        assert caught.metadata == {"business_key": "k", "execution": other}
        await hand.finish((await hand.offer()).token)
        await served.ended(other)
        await _rerun(served, id_)


async def test_refused_rerun_does_not_keep_the_key(served: Served) -> None:
    """Nothing is revived, nothing is held."""
    async with served.worker() as hand:
        id_ = await _fail(served, hand)
        with refused(StatusCode.NOT_FOUND, "TASK_NOT_FOUND"):
            await _rerun(served, id_, "nowhere")
        assert await served.start(business_key="k") != id_


@pytest.mark.parametrize("is_taken", [False, True])
async def test_rerun_in_a_sub_workflow_revives_its_root(served: Served, is_taken: bool) -> None:
    """So it is the root's key that counts."""
    await served.deploy(NESTED)
    async with served.worker() as hand:
        root = await _fail(served, hand, "parent")
        listed = await served.executions.ListExecutions(
            execution_service_pb2.ListExecutionsRequest(filter=f"parent_id = {root}")
        )
        child = listed.executions[0].id
        if is_taken:
            await served.start("parent", {}, business_key="k")
            with refused(StatusCode.ALREADY_EXISTS, "BUSINESS_KEY_IN_USE"):
                await _rerun(served, child, "c")
        else:
            await _rerun(served, child, "c")
            with refused(StatusCode.ALREADY_EXISTS, "BUSINESS_KEY_IN_USE"):
                await served.start("parent", {}, business_key="k")
