"""Forms with names: deployed, listed, pinned by the processes that run; on both databases."""

from __future__ import annotations

from typing import Any

from grpc import StatusCode

from tests.api.harness import PATIENCE, Served, refused
from tradewind import values
from tradewind.v1 import definition_pb2, execution_service_pb2
from tradewind.v1 import definition_service_pb2 as pb
from tradewind.v1 import human_task_service_pb2 as people_pb

FORMS = """
version: '2.0'
forms:
  leave:
    description: How long somebody is away.
    type: object
    properties: {days: {type: integer, maximum: %s}}
"""
ABSENCE = """
version: '2.0'
%s:
  tasks:
    ask: {human: {title: Leave, users: ann, form: %s}}
"""


async def form_of(served: Served, workflow: str) -> Any:
    """Start a workflow, and return the form that it asks for."""
    id_ = await served.start(workflow, {})
    request = people_pb.GetHumanTaskRequest(human_task_id=f"{id_}/a1")
    answer = await served.people.GetHumanTask(request, timeout=PATIENCE)
    return values.from_payload(answer.human_task.form)


async def get(served: Served, **fields: Any) -> definition_pb2.Definition:
    """Return the form `leave`."""
    request = pb.GetDefinitionRequest(name="leave", kind=definition_pb2.DEFINITION_KIND_FORM, **fields)
    found: definition_pb2.Definition = (await served.definitions.GetDefinition(request)).definition
    return found


async def test_a_form_is_a_definition_with_versions(served: Served) -> None:
    """It is shown with its schema; what has not changed is not deployed anew."""
    await served.deploy(FORMS % 5)
    await served.deploy(FORMS % 5)
    await served.deploy(FORMS % 9)
    newest, first = await get(served), await get(served, version=1)
    assert (newest.version, newest.current, first.current) == (2, True, False)
    assert newest.description == "How long somebody is away."
    assert values.from_payload(first.form) == {
        "description": "How long somebody is away.",
        "type": "object",
        "properties": {"days": {"type": "integer", "maximum": 5}},
    }
    listed = await served.definitions.ListDefinitions(pb.ListDefinitionsRequest(filter='name = "leave"'))
    assert [(d.kind, d.version) for d in listed.definitions] == [(definition_pb2.DEFINITION_KIND_FORM, 2)]


async def test_a_human_task_has_the_form_of_when_its_process_started(served: Served) -> None:
    """A version that is pinned stays; one that is not follows deployments, but not under a process that runs."""
    await served.deploy(FORMS % 5)
    await served.deploy(ABSENCE % ("newest", "leave"))
    await served.deploy(ABSENCE % ("pinned", "leave@1"))
    assert (await form_of(served, "newest"))["x-form"] == "leave@1"
    running = await served.start("newest", {})
    await served.deploy(FORMS % 9)
    found = {name: await form_of(served, name) for name in ("newest", "pinned")}
    assert [form["properties"]["days"]["maximum"] for form in found.values()] == [9, 5]
    assert [form["x-form"] for form in found.values()] == ["leave@2", "leave@1"]
    person = {"metadata": (("x-tradewind-user", "ann"),), "timeout": PATIENCE}
    asked = await served.people.GetHumanTask(people_pb.GetHumanTaskRequest(human_task_id=f"{running}/a1"), **person)
    data = values.to_payload({"days": 7})
    decided = people_pb.SubmitHumanTaskRequest(
        human_task_id=f"{running}/a1", outcome="done", etag=asked.human_task.etag, data=data
    )
    with refused(StatusCode.INVALID_ARGUMENT, "DECISION_INVALID"):
        await served.people.SubmitHumanTask(decided, **person)


async def test_a_form_that_is_deleted_is_not_found_any_more(served: Served) -> None:
    """By what starts from then on; but a version of it is."""
    await served.deploy(FORMS % 5)
    await served.deploy(ABSENCE % ("newest", "leave"))
    await served.deploy(ABSENCE % ("pinned", "leave@1"))
    form = definition_pb2.DEFINITION_KIND_FORM
    await served.definitions.DeleteDefinition(pb.DeleteDefinitionRequest(name="leave", kind=form))
    assert (await form_of(served, "pinned"))["x-form"] == "leave@1"
    id_ = await served.start("newest", {})
    assert (await served.ended(id_))[0] == "FAILED"
    tasks = await served.executions.ListTasks(execution_service_pb2.ListTasksRequest(execution_id=id_))
    assert [task.state_message for task in tasks.tasks] == ["there is no form 'leave'"]


async def test_a_form_is_known_from_the_other_file_or_when_it_is_deployed(served: Served) -> None:
    """Else a hint says that it is not there."""

    async def codes(*texts: str) -> list[str]:
        files = [definition_pb2.DefinitionFile(name=f"{n}.yaml", content=t.encode()) for n, t in enumerate(texts)]
        answer = await served.definitions.ValidateDefinitions(pb.ValidateDefinitionsRequest(files=files))
        return [problem.code for problem in answer.problems]

    one, pinned = ABSENCE % ("one", "leave"), ABSENCE % ("one", "leave@1")
    assert await codes(one) == ["unknown-form"]
    assert await codes(one, FORMS % 5) == []
    assert await codes(pinned, FORMS % 5) == ["unknown-form"]
    await served.deploy(FORMS % 5)
    assert await codes(one) == await codes(pinned) == []
    assert await codes(ABSENCE % ("one", "leave@2")) == ["unknown-form"]
