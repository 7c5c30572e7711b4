"""What is sent twice happens once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from grpc import StatusCode

from tests.api.harness import Served, refused, serving, start
from tradewind import values
from tradewind.v1 import action_callback_pb2, execution_pb2, execution_service_pb2

KEY = execution_service_pb2.BusinessKeyPolicy.BUSINESS_KEY_POLICY_USE_EXISTING


async def test_request_id_twice_gives_first_answer(served: Served) -> None:
    """That it was there before is said of neither: a caller whose first answer was lost has made it."""
    first = await served.executions.StartExecution(start(request_id="r1"))
    second = await served.executions.StartExecution(start(request_id="r1"))
    assert (first.existing, second.existing) == (False, False)
    assert second.execution.id == first.execution.id


async def test_request_id_with_other_content_is_refused(served: Served) -> None:
    """It would hide a start that never happened."""
    await served.start(request_id="r1")
    with refused(StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED") as caught:
        await served.start(given={"n": 2}, request_id="r1")
    assert caught.metadata == {"request_id": "r1"}


async def test_request_id_twice_at_once_starts_once(served: Served) -> None:
    """Also within one batch."""
    requests = [start(request_id="r1") for _ in range(20)]
    answer = await served.executions.StartExecutions(execution_service_pb2.StartExecutionsRequest(requests=requests))
    assert len({result.started.execution.id for result in answer.results}) == 1
    assert not any(result.started.existing for result in answer.results)


async def test_refused_request_id_twice_at_once_is_refused_twice(served: Served) -> None:
    """A refusal leaves no claim, so the repeat in the same batch gets the same answer."""
    requests = [start("nothing", request_id="r1") for _ in range(5)]
    answer = await served.executions.StartExecutions(execution_service_pb2.StartExecutionsRequest(requests=requests))
    assert {result.refusal.reason for result in answer.results} == {"DEFINITION_NOT_FOUND"}
    assert await served.start(request_id="r1")


async def test_request_id_on_two_servers_starts_once(postgres_url: Callable[[], str]) -> None:
    """Whichever server is asked first."""
    url = postgres_url()
    async with serving(url) as a, serving(url) as b:
        calls = [s.executions.StartExecution(start(request_id=f"r{n}")) for n in range(20) for s in (a, b)]
        answers = await asyncio.gather(*calls)
        assert len({answer.execution.id for answer in answers}) == 20
        assert not any(answer.existing for answer in answers)


async def test_many_starts_beyond_one_batch_keep_their_claims(served: Served) -> None:
    """A start that is put off to the next batch is there when its repeat is answered."""
    requests = [start(request_id=f"r{n % 300}") for n in range(600)]
    answer = await served.executions.StartExecutions(execution_service_pb2.StartExecutionsRequest(requests=requests))
    ids = {result.started.execution.id for result in answer.results}
    assert len(ids) == 300
    assert "" not in ids


async def test_external_id_is_the_execution_for_ever(served: Served) -> None:
    """The same content gets it, other content is refused, and it can be asked for by that id."""
    id_ = await served.start(external_id="order-1")
    assert await served.start(external_id="order-1") == id_
    with refused(StatusCode.ALREADY_EXISTS, "EXECUTION_EXISTS") as caught:
        await served.start(given={"n": 2}, external_id="order-1")
    assert caught.metadata == {"external_id": "order-1", "execution": id_}
    assert (await served.get("order-1")).id == id_


async def test_request_id_answered_by_external_id_repeats_that_answer(served: Served) -> None:
    """The request id belongs to the execution that answered, not to one that was never started."""
    id_ = await served.start(external_id="order-1")
    for _ in range(2):
        answer = await served.executions.StartExecution(start(external_id="order-1", request_id="r1"))
        assert (answer.execution.id, answer.existing) == (id_, True)


async def test_business_key_in_use_is_refused_each_time(served: Served) -> None:
    """A refusal is not kept: the same request id succeeds once the key is free."""
    id_ = await served.start(business_key="k1")
    for _ in range(2):
        with refused(StatusCode.ALREADY_EXISTS, "BUSINESS_KEY_IN_USE") as caught:
            await served.start(business_key="k1", request_id="r1")
        assert caught.metadata == {"business_key": "k1", "execution": id_}
    async with served.worker() as hand:
        await hand.finish((await hand.offer()).token)
        await served.ended(id_)
    assert await served.start(business_key="k1", request_id="r1") != id_


async def test_business_key_in_use_gives_the_holder_if_asked(served: Served) -> None:
    """And a repeat gets it again, also when the key is free by then."""
    id_ = await served.start(business_key="k1")
    assert await served.start(business_key="k1", business_key_policy=KEY, request_id="r1") == id_
    async with served.worker() as hand:
        await hand.finish((await hand.offer()).token)
        await served.ended(id_)
    assert await served.start(business_key="k1", business_key_policy=KEY, request_id="r1") == id_
    assert await served.start(business_key="k1", business_key_policy=KEY, request_id="r2") != id_


async def test_result_twice_is_already_recorded(served: Served) -> None:
    """By stream and by unary call; another answer after the end has lost its lease."""
    id_ = await served.start()
    async with served.worker() as hand:
        token = (await hand.offer()).token
        await hand.finish(token, 7)
        assert await hand.receipt() == ("RECORDED", "")
        await hand.finish(token, 7)
        assert await hand.receipt() == ("ALREADY_RECORDED", "")
    assert await served.ended(id_) == ("SUCCEEDED", {"r": 7})
    assert await served.complete(token, 7) == "ALREADY_RECORDED"
    with refused(StatusCode.ABORTED, "LEASE_LOST"):
        await served.complete(token, 8)
    assert await served.ended(id_) == ("SUCCEEDED", {"r": 7})


async def test_cancel_twice_with_one_request_id_answers_twice(served: Served) -> None:
    """The repeat of a command is no second command."""
    id_ = await served.start()
    request = execution_service_pb2.CancelExecutionRequest(execution_id=id_, request_id="c1")
    first = await served.executions.CancelExecution(request)
    again = await served.executions.CancelExecution(request)
    assert first.execution.id == again.execution.id == id_
    assert sum(event.type == "ExecutionCancelled" for event in await served.follow(id_)) == 1


async def test_pause_repeated_after_a_resume_shows_the_execution_as_it_is_now(served: Served) -> None:
    """And pauses nothing."""
    id_ = await served.start()
    request = execution_service_pb2.PauseExecutionRequest(execution_id=id_, request_id="p1")
    first = (await served.executions.PauseExecution(request)).execution
    await served.executions.ResumeExecution(execution_service_pb2.ResumeExecutionRequest(execution_id=id_))
    again = (await served.executions.PauseExecution(request)).execution
    now = await served.get(id_)
    assert again.id == first.id
    assert first.state == execution_pb2.EXECUTION_STATE_PAUSED
    assert (again.state, again.revision) == (execution_pb2.EXECUTION_STATE_RUNNING, now.revision)


@pytest.mark.parametrize("which", [{"task_id": "t1"}, {"task_name": "t"}])
@pytest.mark.parametrize("method", ["RerunTask", "SkipTask"])
async def test_repeated_rerun_or_skip_names_its_task_too(served: Served, method: str, which: dict[str, str]) -> None:
    """It was missing in the second answer."""
    id_ = await served.start()
    async with served.worker() as hand:
        await hand.fail((await hand.offer()).token, "X")
        await served.follow(id_)
    request = getattr(execution_service_pb2, f"{method}Request")(execution_id=id_, request_id="r1", **which)
    call = getattr(served.executions, method)
    first, again = await call(request), await call(request)
    assert (first.task.id, again.task.id) == ("t1", "t1")
    assert again.task.attempt == first.task.attempt


async def test_start_and_wait_repeated_waits_for_the_same_execution(served: Served) -> None:
    """Also when it has ended meanwhile."""
    request = execution_service_pb2.StartAndWaitRequest(start=start(request_id="r1"))
    async with served.worker() as hand:
        call = asyncio.ensure_future(served.executions.StartAndWait(request))
        await hand.finish((await hand.offer()).token)
        first = await call
    again = await served.executions.StartAndWait(request)
    assert (again.execution.id, again.finished, again.existing) == (first.execution.id, True, False)


async def test_asynchronous_action_completed_twice_is_already_recorded(served: Served) -> None:
    """By reference, without token."""
    await served.deploy("version: '2.0'\nask:\n  tasks:\n    t: {action: std.async_noop}\n")
    id_ = await served.start("ask", {})
    action = action_callback_pb2.ActionReference(execution_id=id_, action_id="a1")
    request = action_callback_pb2.CompleteActionRequest(action=action, result=values.to_payload(1))
    answers = [(await served.callback.CompleteAction(request)).status for _ in range(2)]
    assert answers == [
        action_callback_pb2.RECEIPT_STATUS_RECORDED,
        action_callback_pb2.RECEIPT_STATUS_ALREADY_RECORDED,
    ]
    request.result.CopyFrom(values.to_payload(2))
    with refused(StatusCode.FAILED_PRECONDITION, "ACTION_FINAL"):
        await served.callback.CompleteAction(request)
