"""The filters of lists: what their comments name can be asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from grpc import StatusCode

from tests.api.harness import ONE, Served, refused
from tradewind.v1 import definition_service_pb2, execution_service_pb2
from tradewind_server.store import filters

PROTOS = Path(__file__).resolve().parents[2] / "protos/tradewind/v1"

TWO = """
version: '2.0'
two:
  tasks:
    a: {action: shop.do}
    b: {action: std.async_noop}
"""


@pytest.mark.parametrize(
    ("file", "message", "fields"),
    [
        ("execution_service", "ListTasksRequest", filters.TASK_FIELDS),
        ("execution_service", "ListActionsRequest", filters.ACTION_FIELDS),
        ("execution_service", "ListExecutionsRequest", filters.EXECUTION_FIELDS),
        ("definition_service", "ListDefinitionsRequest", filters.DEFINITION_FIELDS),
    ],
)
def test_comment_names_every_field_and_its_example_is_taken(
    file: str, message: str, fields: Mapping[str, filters.Field]
) -> None:
    """Four fields were named that there were not, and an example that was refused."""
    text = (PROTOS / f"{file}.proto").read_text().split(f"message {message} {{", 1)[1]
    found = re.search(r"((?:  // .*\n)+)  string filter = ", text)
    assert found is not None
    comment = found[1].replace("\n  //", "")
    assert [name for name in fields if not re.search(rf"\b{name}\b", comment)] == []
    for example in re.findall(r"`(.*?)`", comment):
        assert filters.parse_filter(example, fields)


async def test_actions_are_found_by_task_worker_and_workflow(served: Served) -> None:
    """Who has an action counts, and who had it once it has ended."""
    await served.deploy(TWO)
    one, two = await served.start(), await served.start("two", {})

    async def found(filter_: str, id_: str = "") -> set[tuple[str, str]]:
        request = execution_service_pb2.ListActionsRequest(filter=filter_, execution_id=id_)
        return {(a.execution_id, a.id) for a in (await served.executions.ListActions(request)).actions}

    assert await found('workflow = "two"') == {(two, "a1"), (two, "a2")}
    assert await found("workflow != two") == {(one, "a1")}
    assert await found("task_id = t2", two) == {(two, "a2")}
    async with served.worker() as hand:
        tokens = [(await hand.offer()).token for _ in range(2)]
        await hand.accept(*tokens)
        await hand.finish(tokens[0])
        await hand.receipt()
        mine = await found(f'worker = "{hand.worker_id}"')
        assert mine == {(one, "a1"), (two, "a1")}
        assert await found(f'worker != "{hand.worker_id}"') == {(two, "a2")}


async def test_task_is_found_by_its_id(served: Served) -> None:
    """As it stands in an answer."""
    await served.deploy(TWO)
    id_ = await served.start("two", {})
    for filter_, names in (("id = t2", ["b"]), ("id != t2", ["a"])):
        request = execution_service_pb2.ListTasksRequest(execution_id=id_, filter=filter_)
        assert [task.name for task in (await served.executions.ListTasks(request)).tasks] == names
    with refused(StatusCode.INVALID_ARGUMENT, "FILTER_INVALID"):
        await served.executions.ListTasks(execution_service_pb2.ListTasksRequest(execution_id=id_, filter="id = x"))


async def test_definitions_are_found_by_kind_and_whether_they_are_current(served: Served) -> None:
    """The kind as in the comment, or in small letters as before."""
    await served.deploy(ONE.replace("one:", "one:\n  description: again"))

    async def found(filter_: str, *, all_versions: bool = False) -> list[int]:
        request = definition_service_pb2.ListDefinitionsRequest(filter=filter_, all_versions=all_versions)
        return [each.version for each in (await served.definitions.ListDefinitions(request)).definitions]

    assert await found("kind = WORKFLOW") == await found("kind = workflow") == [2]
    assert await found("kind = FORM") == []
    assert await found("current = true", all_versions=True) == [2]
    assert await found("current = false", all_versions=True) == [1]


async def test_refusal_of_a_filter_names_no_field_that_is_refused_too(served: Served) -> None:
    """It showed a filter of executions, whatever was listed."""
    with refused(StatusCode.INVALID_ARGUMENT, "FILTER_INVALID") as caught:
        await served.executions.ListActions(execution_service_pb2.ListActionsRequest(filter="colour = red"))
    assert caught.message == (
        "Expected comparisons like FIELD = \"VALUE\", joined by AND, but there is no field 'colour'. "
        f"Fields: {', '.join(filters.ACTION_FIELDS)}."
    )
