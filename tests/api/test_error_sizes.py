"""What a refusal takes of the headers in which it travels: Java's clients take 8 KiB, or drop their connection."""

from __future__ import annotations

import base64
import string
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.harness import PATIENCE, Served, refused
from tradewind.v1 import execution_service_pb2, human_task_service_pb2
from tradewind_server import errors
from tradewind_server.api.errors import DefinitionProblems, internal, refusal_message, size_as_sent, status_of
from tradewind_server.errors import people
from tradewind_server.lang import Problem

#: What clients take by default, less what gRPC itself sends along.
ROOM = 7 * 1024

ASKED = """
version: '2.0'
asked:
  tasks:
    t:
      human:
        title: Look
        users: <% list(range(100)).select('user.with.a.long.name.' + str($) + '@accounting.example') %>
        outcomes: [done]
"""

plain = sorted(
    (
        each
        for each in errors.Refusal.__subclasses__()
        if each not in (people.DecisionInvalid, errors.DefinitionInvalid)
    ),
    key=lambda each: each.reason,
)
#: Texts of up to some thousand characters, of all sorts; their parts repeat, so that they are made quickly.
texts = st.builds(
    lambda part, times: part * times, st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 500)
)


@st.composite
def refusals(draw: st.DrawFn) -> errors.Refusal:
    """Any refusal, with anything in it."""
    kind = draw(st.sampled_from(plain))
    names = {name for _, name, _, _ in string.Formatter().parse(kind.sentence) if name}
    facts = {name: draw(texts) for name in sorted(names)}
    return kind(field=draw(st.one_of(st.just(""), st.just("filter"), texts)), **facts)


@st.composite
def lists(draw: st.DrawFn) -> errors.Refusal:
    """Any refusal that tells of many problems."""
    found = draw(st.lists(st.tuples(texts, texts), min_size=1, max_size=300))
    if draw(st.booleans()):
        return people.DecisionInvalid(found, human_task=draw(texts))
    return DefinitionProblems([Problem("bad-type", "error", file, 1, 2, "", what, what) for file, what in found])


def as_sent(status: status_pb2.Status) -> int:
    """Count what HTTP/2 counts, in another way than the server does."""
    message = sum(1 if 0x20 <= byte < 0x7F and byte != 0x25 else 3 for byte in status.message.encode())
    details = len(base64.b64encode(status.SerializeToString()).rstrip(b"="))
    names = ("grpc-status", "grpc-message", "grpc-status-details-bin")
    return sum(len(name) + 32 for name in names) + len(str(status.code)) + message + details


def hold(refusal: errors.Refusal) -> None:
    """Hold the status of *refusal* to what every one has."""
    status = status_of(refusal)
    assert as_sent(status) <= size_as_sent(status) <= ROOM
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    assert (info.reason, info.domain, set(info.metadata)) == (refusal.reason, "tradewind", set(refusal.facts))
    assert all(value in status.message for value in info.metadata.values())
    if refusal.field:
        bad = error_details_pb2.BadRequest()
        status.details[1].Unpack(bad)
        assert bad.field_violations
        assert all(each.reason for each in bad.field_violations)


@settings(deadline=None)
@given(refusals())
def test_status_fits_whatever_is_in_it(refusal: errors.Refusal) -> None:
    """It keeps reason, domain and code, and its facts are those of its sentence."""
    hold(refusal)


@settings(deadline=None)
@given(lists())
def test_status_of_many_problems_fits_whatever_is_in_it(refusal: errors.Refusal) -> None:
    """And tells the first of them."""
    hold(refusal)


@settings(deadline=None)
@given(refusals())
def test_refusal_inside_an_answer_is_bounded_too(refusal: errors.Refusal) -> None:
    """A thousand of them have to fit into a message."""
    message = refusal_message(refusal)
    assert all(len(value) <= 512 and value in message.message for value in message.metadata.values())


def test_status_that_fits_is_whole() -> None:
    """Nothing is cut that has room."""
    refusal = errors.InputUnexpected(workflow="noop", declared="none", names="x" * 1000, field="input")
    assert status_of(refusal).message == str(refusal)
    assert as_sent(internal("1234567890ab")) < 512


def test_long_fact_is_told_without_its_middle() -> None:
    """Its beginning and its end say which one it is."""
    refusal = errors.ExecutionNotFound(execution="begin" + "x" * 100_000 + "end", field="execution_id")
    message = status_of(refusal).message
    assert message.startswith("Expected to find execution 'beginxxx")
    assert " … " in message
    assert message.endswith("xxxend', but there is none in this namespace.")


def test_as_many_problems_are_told_as_have_room() -> None:
    """They were cut at four fifths of the room, or not at all."""
    short = people.DecisionInvalid([(f"f{n}", "Too long.") for n in range(150)], human_task="h1")
    long = people.DecisionInvalid([("é" * 200, "é" * 200)] * 150, human_task="h1")
    told = []
    for refusal in (short, long):
        bad = error_details_pb2.BadRequest()
        status_of(refusal).details[1].Unpack(bad)
        told.append(len(bad.field_violations))
    assert told[0] > 60
    assert told[1] >= 1
    assert size_as_sent(status_of(short)) > ROOM - 512


def taken(error: Any) -> int:
    """Return the bytes of the trailers that a call ended with."""
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    return as_sent(status_pb2.Status.FromString(details))


@pytest.mark.parametrize("count", [60, 1000, 30_000])
async def test_start_with_many_unexpected_inputs_is_answered(served: Served, count: int) -> None:
    """Java dropped the connection, and Node's call never ended."""
    request = execution_service_pb2.StartExecutionRequest(workflow="one")
    names = ", ".join(f'"customer_address_line_{n}": 1' for n in range(count))
    request.input.data = f'{{"n": 1, {names}}}'.encode()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.executions.StartExecution(request, timeout=PATIENCE)
    assert "customer_address_line_0" in (raised.value.details() or "")
    assert taken(raised.value) <= ROOM
    answer = await served.executions.StartExecutions(
        execution_service_pb2.StartExecutionsRequest(requests=[request]), timeout=PATIENCE
    )
    assert answer.results[0].refusal.reason == "INPUT_UNEXPECTED"
    assert answer.ByteSize() < 4096


async def test_taken_external_id_of_emoji_is_answered(served: Served) -> None:
    """Each of its characters takes twelve bytes in the message."""
    await served.start(external_id="😀" * 255)
    with refused(StatusCode.ALREADY_EXISTS, "EXECUTION_EXISTS") as caught:
        await served.start(external_id="😀" * 255, description="other")
    assert "😀 … 😀" in caught.message


async def test_claim_by_somebody_else_than_a_hundred_users_is_answered(served: Served) -> None:
    """All of them were named, three times."""
    await served.deploy(ASKED)
    id_ = await served.start("asked", {})
    await served.until(id_, "HumanTaskOffered")
    [task] = (await served.people.ListHumanTasks(human_task_service_pb2.ListHumanTasksRequest())).human_tasks
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.people.ClaimHumanTask(
            human_task_service_pb2.ClaimHumanTaskRequest(human_task_id=task.id),
            metadata=[("x-tradewind-user", "mallory")],
        )
    assert raised.value.code() == StatusCode.PERMISSION_DENIED
    assert taken(raised.value) <= ROOM
