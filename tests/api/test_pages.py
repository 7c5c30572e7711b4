"""A page is cut by what it weighs, not only by what was asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from tests.api.harness import Served, refused, start
from tradewind.v1 import execution_pb2, execution_service_pb2

#: Of 900 kB each: three fit into a page.
_COUNT = 7
FULL = execution_pb2.EXECUTION_VIEW_FULL

HEAVY = """
version: '2.0'
heavy:
  input: [text]
  tasks:
    t:
      with-items: i in <% range(7) %>
      action: std.echo output=<% $.text %>
"""


async def _pages(call: Callable[[Any], Any], request: Any, field: str) -> AsyncIterator[list[Any]]:
    while True:
        answer = await call(request)
        assert answer.ByteSize() < 4 * 1024 * 1024
        yield list(getattr(answer, field))
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


@pytest.mark.parametrize("kind", ["executions", "actions", "events"])
async def test_heavy_list_is_cut_into_pages_that_a_client_can_take(served: Served, kind: str) -> None:
    """Nothing is left out, nothing comes twice."""
    await served.deploy(HEAVY)
    text = "x" * 900_000
    requests = [start("heavy", {"text": text}) for _ in range(_COUNT if kind == "executions" else 1)]
    ids = [(await served.executions.StartExecution(request)).execution.id for request in requests]
    for id_ in ids:
        await served.ended(id_)
    pb = execution_service_pb2
    calls: dict[str, tuple[Any, Any, Callable[[Any], Any]]] = {
        "executions": (
            served.executions.ListExecutions,
            pb.ListExecutionsRequest(page_size=100, view=FULL),
            lambda message: message.id,
        ),
        "actions": (
            served.executions.ListActions,
            pb.ListActionsRequest(execution_id=ids[0], page_size=100, view=FULL),
            lambda message: message.id,
        ),
        "events": (
            served.executions.ListEvents,
            pb.ListEventsRequest(execution_id=ids[0], page_size=100),
            lambda message: message.revision,
        ),
    }
    call, request, key = calls[kind]
    pages = [page async for page in _pages(call, request, kind)]
    found = [key(message) for page in pages for message in page]
    assert len(pages) > 1
    assert len(set(found)) == len(found)
    if kind == "executions":
        assert set(found) == set(ids)
    elif kind == "actions":
        assert len(found) == _COUNT
    else:
        assert found == list(range(1, (await served.get(ids[0])).revision + 1))


async def test_result_too_large_for_a_message_does_not_break_what_shows_the_task(served: Served) -> None:
    """Lists and watches go on; its size is told, and its items are there one by one."""
    await served.deploy(HEAVY)
    id_ = await served.start("heavy", {"text": "x" * 900_000})
    await served.ended(id_)
    listed = await served.executions.ListTasks(execution_service_pb2.ListTasksRequest(execution_id=id_, view=FULL))
    [task] = listed.tasks
    assert not task.HasField("result")
    assert task.result_bytes == 7 * 900_002 + 8
    stream = served.executions.WatchExecution(
        execution_service_pb2.WatchExecutionRequest(execution_id=id_, with_snapshot=True), timeout=30
    )
    tasks = [task async for message in stream for task in message.snapshot.tasks]
    assert [task.result_bytes for task in tasks] == [7 * 900_002 + 8]


ITEMS = """
version: '2.0'
items:
  tasks:
    each: {with-items: "i in <% [7, 8] %>", action: std.noop, on-success: one}
    one: {action: std.noop}
"""


async def test_actions_of_items_have_their_index_and_no_other(served: Served) -> None:
    """The first item has the index 0, which is not the same as none."""
    await served.deploy(ITEMS)
    id_ = await served.start("items", {})
    await served.ended(id_)
    request = execution_service_pb2.ListActionsRequest(execution_id=id_)
    actions = (await served.executions.ListActions(request)).actions
    found = [(a.task, a.item_index if a.HasField("item_index") else None) for a in actions]
    assert found == [("each", 0), ("each", 1), ("one", None)]


async def test_list_by_end_goes_on_from_page_to_page(served: Served) -> None:
    """Those that ended last come first, whatever order they started in; and the error says what to filter by."""
    await served.deploy(FAILS)
    ids = [await served.start("fails", {}) for _ in range(5)]
    for id_ in ids:
        await served.ended(id_)
    ends = {id_: (await served.get(id_)).finished_at.ToNanoseconds() for id_ in ids}
    filter_ = 'error_kind = ACTION AND error_code = FAIL AND finished_at > "2020-01-01T00:00:00+00:00"'
    request = execution_service_pb2.ListExecutionsRequest(page_size=2, filter=filter_)
    pages = [page async for page in _pages(served.executions.ListExecutions, request, "executions")]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [e.id for page in pages for e in page] == sorted(ids, key=lambda id_: (ends[id_], id_), reverse=True)
    counted = execution_service_pb2.CountExecutionsRequest(group_by=["error_kind", "error_code"], filter=filter_)
    answer = await served.executions.CountExecutions(counted)
    assert [(list(group.values), group.count) for group in answer.groups] == [(["ACTION", "FAIL"], 5)]
    assert (answer.total, answer.groups_cut) == (5, False)


async def test_large_execution_is_exported_whole(served: Served) -> None:
    """In messages that a client can take, none of them twice; the cursor comes with the last."""
    await served.deploy(HEAVY)
    id_ = await served.start("heavy", {"text": "x" * 900_000})
    await served.ended(id_)
    found = execution_service_pb2.ExportExecutionsResponse()
    async for message in served.executions.ExportExecutions(execution_service_pb2.ExportExecutionsRequest()):
        assert message.ByteSize() < 4 * 1024 * 1024
        assert not found.cursor
        found.MergeFrom(message)
    assert found.cursor
    assert found.execution == await served.get(id_)
    assert [event.revision for event in found.events] == list(range(1, found.execution.revision + 1))
    assert [action.id for action in found.actions] == [f"a{n}" for n in range(1, 8)]
    assert [task.name for task in found.tasks] == ["t"]
    assert all(len(action.result.data) > 900_000 for action in found.actions)


FAILS = """
version: '2.0'
fails:
  tasks:
    t: {action: std.fail error_data="x"}
"""


@pytest.mark.parametrize(
    ("by", "problem"),
    [(["colour"], "it is colour"), (["state", "state"], "it is state, state"), (["state"] * 9, "it is state, state")],
)
async def test_group_that_there_is_not_is_refused(served: Served, by: list[str], problem: str) -> None:
    """The refusal says which there are."""
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID") as caught:
        await served.executions.CountExecutions(execution_service_pb2.CountExecutionsRequest(group_by=by))
    assert problem in caught.message
    assert "definition_version" in caught.message
