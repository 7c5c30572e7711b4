"""Explain answers for each kind of waiting: what, for whom, since when, and what to do."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tests.api.harness import PATIENCE, Served
from tradewind.v1 import action_callback_pb2
from tradewind.v1 import execution_service_pb2 as pb
from tradewind_server.store import schema

TEXT = """
version: '2.0'
branches:
  tasks:
    a: {action: std.noop, on-success: join}
    b: {action: std.async_noop, on-success: join}
    c: {action: std.async_noop, on-success: join}
    join: {join: all}
two_of_three:
  tasks:
    a: {action: std.noop, on-success: join}
    b: {action: std.async_noop, on-success: join}
    c: {action: std.async_noop, on-success: join}
    join: {join: 2}
late:
  tasks:
    t: {action: std.noop, wait-before: 3600}
lingering:
  tasks:
    t: {action: std.noop, wait-after: 3600}
again:
  tasks:
    t: {action: std.fail, retry: {count: 3, delay: 3600}}
limited:
  tasks:
    t: {action: std.async_noop, timeout: 3600}
parent:
  tasks:
    t: {workflow: late}
items:
  tasks:
    t:
      with-items: i in <% range(5) %>
      concurrency: 2
      action: std.async_noop
held:
  tasks:
    t: {action: std.noop, pause-before: true}
from_inside:
  tasks:
    t: {action: std.noop, on-success: pause}
"""


async def explained(served: Served, id_: str) -> list[tuple[str, str, str]]:
    """Return kind, task and detail of what an execution waits for."""
    return [(kind_of(wait), wait.task, wait.detail) for wait in await waits(served, id_)]


async def waits(served: Served, id_: str) -> list[pb.Wait]:
    """Return what an execution waits for."""
    return list((await served.executions.ExplainExecution(pb.ExplainExecutionRequest(execution_id=id_))).waits)


def kind_of(wait: pb.Wait) -> str:
    """Name the kind of a wait."""
    return pb.WaitKind.Name(wait.kind).removeprefix("WAIT_KIND_")


async def _started(served: Served, workflow: str, event: str = "") -> str:
    """Start a workflow, and wait for the first event of a type."""
    await served.deploy(TEXT)
    id_ = await served.start(workflow, {})
    if event:
        await served.until(id_, event)
    return id_


async def _child(served: Served, id_: str) -> str:
    """Return the execution below another that has set a timer."""
    request = pb.WatchEventsRequest(filter=f"root_id = {id_} AND type = TimerSet", from_beginning=True)
    stream = served.executions.WatchEvents(request, timeout=PATIENCE)
    try:
        async for message in stream:
            for event in message.events:
                return str(event.execution_id)
    finally:
        stream.cancel()
    raise AssertionError("the stream ended")


OUTSIDE = "Its result comes from outside: complete or fail the action."


async def test_join_names_the_branches_that_are_missing(served: Served) -> None:
    """One that has arrived is missed no more."""
    id_ = await _started(served, "branches", "BranchArrived")

    assert await explained(served, id_) == [
        ("ACTION", "b", OUTSIDE),
        ("ACTION", "c", OUTSIDE),
        ("TASK", "join", "It waits for the branches from 'b', 'c'."),
    ]
    assert list((await waits(served, id_))[-1].missing_tasks) == ["b", "c"]


async def test_join_of_some_says_how_many_more(served: Served) -> None:
    """Any of those that are missing will do."""
    id_ = await _started(served, "two_of_three", "BranchArrived")

    assert (await explained(served, id_))[-1] == ("TASK", "join", "It waits for 1 more of the branches from 'b', 'c'.")


async def test_delays_say_what_they_are_for(served: Served) -> None:
    """wait-before, wait-after and another attempt are told apart, each with its moment."""
    for workflow, detail in (
        ("late", "Delayed by wait-before for 3600 s."),
        ("lingering", "Delayed by wait-after for 3600 s."),
        ("again", "Attempt 2 in 3600 s."),
    ):
        id_ = await _started(served, workflow, "TimerSet")
        assert await explained(served, id_) == [("TIMER", "t", detail)]
        assert (await waits(served, id_))[0].until.seconds - (await served.get(id_)).created_at.seconds in (3600, 3601)


async def test_timeout_is_told_beside_what_it_is_of(served: Served) -> None:
    """Until then the answer is awaited."""
    id_ = await _started(served, "limited")

    assert await explained(served, id_) == [
        ("ACTION", "t", OUTSIDE),
        ("TIMER", "t", "It fails when this time is over."),
    ]


async def test_sub_workflow_is_told_with_its_state(served: Served) -> None:
    """What it waits for itself is asked of it."""
    id_ = await _started(served, "parent")
    child = await _child(served, id_)

    assert (await waits(served, id_))[0].child_execution_id == child
    assert await explained(served, id_) == [("CHILD", "t", "Its sub-workflow 'late' is RUNNING.")]


async def test_items_that_must_wait_for_others_are_told(served: Served) -> None:
    """Beside those that are at work."""
    id_ = await _started(served, "items")
    [first, *_] = (await served.executions.ListActions(pb.ListActionsRequest(execution_id=id_))).actions
    await served.callback.CompleteAction(_completion(id_, first.id))

    assert await explained(served, id_) == [
        ("ACTION", "t", OUTSIDE),
        ("ACTION", "t", OUTSIDE),
        ("TASK", "t", "1 of its 5 items have ended; at most 2 run at once, and 2 have not begun."),
    ]


def _completion(execution: str, action: str) -> Any:
    reference = action_callback_pb2.ActionReference(execution_id=execution, action_id=action)
    return action_callback_pb2.CompleteActionRequest(action=reference)


async def test_pause_says_who_and_why(served: Served) -> None:
    """A caller, the process itself, or the parent; a held task is told, too."""
    id_ = await _started(served, "late", "TimerSet")
    await served.executions.PauseExecution(pb.PauseExecutionRequest(execution_id=id_, message="lunch"))
    assert (await explained(served, id_))[0] == ("PAUSE", "", "It was paused by somebody unnamed: lunch. Resume it.")

    id_ = await _started(served, "from_inside", "ExecutionPaused")
    [(kind, task, detail)] = await explained(served, id_)
    assert (kind, task) == ("PAUSE", "")
    assert detail.startswith("It was paused by worker '")

    id_ = await _started(served, "held", "ExecutionPaused")
    assert [kind for kind, _, _ in await explained(served, id_)] == ["PAUSE", "TASK"]

    id_ = await _started(served, "parent")
    child = await _child(served, id_)
    await served.executions.PauseExecution(pb.PauseExecutionRequest(execution_id=id_))
    await served.until(child, "ExecutionPaused")
    assert (await explained(served, child))[0][2] == f"It was paused by its parent execution {id_}."


async def test_queued_action_says_whether_anybody_takes_it(served: Served) -> None:
    """No worker at all, one at its limit, one at work, and one that takes nothing new."""
    async with served.worker(credits_=1) as hand:
        first = await served.start()
        offer = await hand.offer()
        second = await served.start()
        assert await explained(served, second) == [
            ("ACTION", "t", "It is queued; the workers that serve 'shop.do' are busy (1).")
        ]
        await hand.accept(offer.token)
        await hand.send(drain=action_callback_pb2.Drain())
        await hand.finish(offer.token, 1)
        await served.ended(first)  # so that the server has read what was sent before
        assert await explained(served, second) == [
            ("WORKER_ABSENT", "t", "The only workers that serve 'shop.do' are draining (1). Start or resume one.")
        ]
    async with served.worker("shop.other"):
        id_ = await served.start("one", {"n": 2}, business_key="k")
        assert await explained(served, id_) == [("WORKER_ABSENT", "t", "No worker serves 'shop.do'. Start one.")]


async def test_worker_is_named_with_what_it_says(served: Served) -> None:
    """Its last words are there; so is an order to stop."""
    async with served.worker() as hand:
        id_ = await served.start()
        offer = await hand.offer()
        await hand.accept(offer.token)
        request = action_callback_pb2.HeartbeatActionsRequest(
            worker_id=hand.worker_id,
            actions=[action_callback_pb2.ActionBeat(token=offer.token, progress_message="half way")],
        )
        await served.callback.HeartbeatActions(request)
        said = f"Worker '{hand.worker_id}' works on it. It says: half way"
        assert await explained(served, id_) == [("ACTION", "t", said)]

        await served.executions.CancelExecution(pb.CancelExecutionRequest(execution_id=id_))
        assert await explained(served, id_) == [
            ("ACTION", "t", f"{said} It has been told to stop."),
            ("TIMER", "", "Running work has until then to answer the cancellation."),
        ]


async def test_message_that_is_written_and_not_taken_is_told(served: Served) -> None:
    """One of a child, say, whose target is busy on another server."""
    id_ = await _started(served, "limited")
    far = 10**16
    row = {
        "target": id_, "source": "00000000-0000-7000-8000-000000000000", "source_revision": 1, "kind": "succeeded",
        "namespace": "default", "created_at": far, "body": b"null",
    }  # fmt: skip
    with served.server.runtime.database.connect_reader() as connection:
        connection.execute(sa.insert(schema.messages).values(row))

    assert (await explained(served, id_))[-1] == (
        "MESSAGE",
        "",
        "A message of its child execution 00000000-0000-7000-8000-000000000000 is about to be taken: succeeded.",
    )


async def test_ended_execution_waits_for_nothing(served: Served) -> None:
    """Whatever it once waited for."""
    id_ = await _started(served, "late", "TimerSet")
    await served.executions.CancelExecution(pb.CancelExecutionRequest(execution_id=id_))

    assert await explained(served, id_) == []
