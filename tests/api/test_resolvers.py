"""Whom an action names: done by a worker, seen by everybody who looks; on both databases."""

from __future__ import annotations

from grpc import StatusCode

from tests.api.harness import PATIENCE, Served, refused
from tradewind import values
from tradewind.v1 import execution_pb2, execution_service_pb2, task_pb2
from tradewind.v1 import human_task_service_pb2 as pb

LEAVE = """
version: '2.0'
leave:
  tasks:
    grant:
      human:
        title: Grant the leave
        users: {action: shop.do, input: {employee: bob}}
"""
ANN = {"metadata": (("x-tradewind-user", "mia"),), "timeout": PATIENCE}


async def test_an_action_is_done_before_people_are_asked(served: Served) -> None:
    """Until then it waits for a worker; then for the person, and the audit trail says who named him."""
    await served.deploy(LEAVE)
    id_ = await served.start("leave", {})
    explain = execution_service_pb2.ExplainExecutionRequest(execution_id=id_)
    [wait] = (await served.executions.ExplainExecution(explain)).waits
    assert wait.kind == execution_service_pb2.WAIT_KIND_WORKER_ABSENT
    with refused(StatusCode.NOT_FOUND, "HUMAN_TASK_NOT_FOUND"):
        await served.people.GetHumanTask(pb.GetHumanTaskRequest(human_task_id=f"{id_}/a1"))
    [offer] = await served.poll()
    assert values.from_payload(offer.input) == {"employee": "bob"}
    await served.complete(offer.token, ["mia"])
    await served.until(id_, "HumanTaskResolved")
    [wait] = (await served.executions.ExplainExecution(explain)).waits
    assert (wait.kind, wait.action_id) == (execution_service_pb2.WAIT_KIND_PERSON, "a2")
    inbox = pb.ListHumanTasksRequest(scope=pb.HUMAN_TASK_SCOPE_INBOX)
    assert [task.id for task in (await served.people.ListHumanTasks(inbox, **ANN)).human_tasks] == [f"{id_}/a2"]
    entries = await served.people.ListHumanTaskEntries(pb.ListHumanTaskEntriesRequest(human_task_id=f"{id_}/a2"))
    assert [(entry.type, entry.text) for entry in entries.entries] == [
        ("HumanTaskOffered", ""),
        ("HumanTaskResolved", "users by 'shop.do' (a1)"),
    ]
    [task] = (await served.executions.ListTasks(execution_service_pb2.ListTasksRequest(execution_id=id_))).tasks
    assert (task.kind, task.callee) == (task_pb2.TASK_KIND_HUMAN, "human")


async def test_a_cancel_ends_it_before_anybody_is_asked(served: Served) -> None:
    """What a worker that has begun says afterwards is not heard."""
    await served.deploy(LEAVE)
    id_ = await served.start("leave", {})
    [offer] = await served.poll()
    await served.executions.CancelExecution(execution_service_pb2.CancelExecutionRequest(execution_id=id_))
    await served.complete(offer.token, ["mia"])
    assert (await served.ended(id_))[0] == "CANCELLED"
    assert not any(event.type.startswith("HumanTask") for event in await served.follow(id_))
    assert (await served.get(id_)).state == execution_pb2.EXECUTION_STATE_CANCELLED
