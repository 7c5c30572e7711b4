"""Refusals and faults as callers see them, and what a server refuses to be."""

from __future__ import annotations

import logging
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.api.harness import ONE, Served, refused, running, serving
from tradewind.v1 import action_callback_pb2 as v1
from tradewind.v1 import execution_service_pb2, server_service_pb2, server_service_pb2_grpc
from tradewind_server.api.errors import status_of
from tradewind_server.bootstrap import Server, Unbindable
from tradewind_server.errors import (
    ActionFinal,
    BusinessKeyInUse,
    DefinitionNotFound,
    EnvironmentNotFound,
    ExecutionNotFound,
    ExecutionWrongState,
    Kind,
    Refusal,
    SubscriptionExists,
    people,
)
from tradewind_server.settings import Settings
from tradewind_server.store.database import DatabaseInUse

#: A call that is refused -> code and reason.
REFUSALS: Sequence[tuple[str, object, StatusCode, str]] = (
    ("GetExecution", execution_service_pb2.GetExecutionRequest(), StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
    (
        "GetExecution",
        execution_service_pb2.GetExecutionRequest(execution_id="x"),
        StatusCode.NOT_FOUND,
        "EXECUTION_NOT_FOUND",
    ),
    (
        "PauseExecution",
        execution_service_pb2.PauseExecutionRequest(execution_id="x"),
        StatusCode.NOT_FOUND,
        "EXECUTION_NOT_FOUND",
    ),
    (
        "ListExecutions",
        execution_service_pb2.ListExecutionsRequest(page_size=-1),
        StatusCode.INVALID_ARGUMENT,
        "FIELD_INVALID",
    ),
    (
        "ResumeExecution",
        execution_service_pb2.ResumeExecutionRequest(execution_id="ended"),
        StatusCode.FAILED_PRECONDITION,
        "EXECUTION_WRONG_STATE",
    ),
    (
        "RerunTask",
        execution_service_pb2.RerunTaskRequest(execution_id="ended", task_name="no"),
        StatusCode.NOT_FOUND,
        "TASK_NOT_FOUND",
    ),
    (
        "SkipTask",
        execution_service_pb2.SkipTaskRequest(execution_id="ended", task_name="t"),
        StatusCode.FAILED_PRECONDITION,
        "TASK_WRONG_STATE",
    ),
    (
        "GetExecution",
        execution_service_pb2.GetExecutionRequest(execution_id="ended", min_revision=999),
        StatusCode.OUT_OF_RANGE,
        "REVISION_AHEAD",
    ),
)


async def test_every_refusal_is_complete(served: Served) -> None:
    """Code, reason, domain, metadata and a sentence with its facts."""
    await served.start(external_id="ended")
    async with served.worker() as hand:
        await hand.finish((await hand.offer()).token)
        await served.follow("ended")
    for method, request, code, reason in REFUSALS:
        with refused(code, reason) as caught:
            await getattr(served.executions, method)(request)
        assert caught.message.startswith("Expected ")


async def test_worker_action_cannot_be_completed_from_outside(served: Served) -> None:
    """And an action that is not there is not found."""
    id_ = await served.start()
    for action, code, reason in (
        ("a1", StatusCode.FAILED_PRECONDITION, "ACTION_WITH_WORKER"),
        ("a9", StatusCode.NOT_FOUND, "ACTION_NOT_FOUND"),
        ("x", StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
    ):
        reference = v1.ActionReference(execution_id=id_, action_id=action)
        with refused(code, reason):
            await served.callback.CompleteAction(v1.CompleteActionRequest(action=reference))


async def test_namespaces_do_not_see_each_other(served: Served) -> None:
    """Neither definitions nor executions."""
    id_ = await served.start()
    with refused(StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"):
        await served.executions.GetExecution(
            execution_service_pb2.GetExecutionRequest(namespace="other", execution_id=id_)
        )
    with refused(StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"):
        await served.executions.CancelExecution(
            execution_service_pb2.CancelExecutionRequest(namespace="other", execution_id=id_)
        )
    with refused(StatusCode.NOT_FOUND, "DEFINITION_NOT_FOUND"):
        await served.start(namespace="other")
    await served.deploy(ONE, "other")
    assert await served.start(namespace="other")
    listed = await served.executions.ListExecutions(execution_service_pb2.ListExecutionsRequest())
    assert [execution.id for execution in listed.executions] == [id_]


async def test_definition_that_is_not_there_is_told_with_its_workflow_namespace_if_that_has_a_name(
    served: Served,
) -> None:
    """It was sought "in workflow namespace ''"."""
    with refused(StatusCode.NOT_FOUND, "DEFINITION_NOT_FOUND") as caught:
        await served.start("nothing")
    assert caught.message.startswith("Expected to find workflow 'nothing', but there is none. Deploy it first")
    with refused(StatusCode.NOT_FOUND, "DEFINITION_NOT_FOUND") as caught:
        await served.start("nothing", workflow_namespace="north")
    assert caught.message.startswith("Expected to find workflow 'nothing' in workflow namespace 'north', but")


#: What is raised, and what its detail of google.rpc says it is about.
SUBJECTS: Sequence[tuple[Refusal, str, str]] = (
    (DefinitionNotFound(what="workflow", name="salary", workflow_namespace=""), "workflow", "salary"),
    (EnvironmentNotFound(name="test"), "environment", "test"),
    (SubscriptionExists(name="books"), "subscription", "books"),
    (ExecutionNotFound(execution="e1"), "execution", "e1"),
    (BusinessKeyInUse(business_key="k", execution="e1"), "business_key", "k"),
    (ExecutionWrongState(command="pause", execution="e1", state="FAILED"), "EXECUTION_WRONG_STATE", "e1"),
    (ActionFinal(action="a1", state="SUCCEEDED"), "ACTION_FINAL", "a1"),
    (people.HumanTaskTaken(user="u", human_task="h1", assignee="v"), "HUMAN_TASK_TAKEN", "h1"),
    (people.NotificationNotSent(channel="mail", to="x", problem="y"), "NOTIFICATION_NOT_SENT", "mail"),
)


@pytest.mark.parametrize(("refusal", "type_", "name"), SUBJECTS, ids=[type(row[0]).__name__ for row in SUBJECTS])
def test_details_say_what_a_refusal_is_about(refusal: Refusal, type_: str, name: str) -> None:
    """A workflow that is not there was a "what" called "workflow"; the subject of a human task was empty."""
    resource, failure = error_details_pb2.ResourceInfo(), error_details_pb2.PreconditionFailure()
    for detail in status_of(refusal).details:
        detail.Unpack(resource)
        detail.Unpack(failure)
    found = [(v.type, v.subject) for v in failure.violations] or [(resource.resource_type, resource.resource_name)]
    assert found == [(type_, name)]


def test_every_refusal_of_a_state_names_what_is_in_it() -> None:
    """Whichever is added later, too."""
    for kind in Refusal.__subclasses__():
        facts = {name: f"its {name}" for _, name, _, _ in string.Formatter().parse(kind.sentence) if name}
        if kind.kind is Kind.WRONG_STATE:
            failure = error_details_pb2.PreconditionFailure()
            assert any(detail.Unpack(failure) for detail in status_of(kind(**facts)).details)
            assert failure.violations[0].subject


async def test_undeclared_fault_is_internal_without_its_text(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets a number, and the log has the rest under it."""
    async with serving("") as served:

        def broken(*_: object) -> None:
            raise ZeroDivisionError("the secret of the house")

        monkeypatch.setattr("tradewind_server.api.executions.reads.execution", broken)
        with caplog.at_level(logging.ERROR), refused(StatusCode.INTERNAL, "INTERNAL") as caught:
            await served.get("x")
        assert "secret" not in caught.message
        assert list(caught.metadata) == ["log_id"]
        assert caught.metadata["log_id"] in caplog.text
        assert "the secret of the house" in caplog.text


async def test_full_queue_says_when_to_come_back(tmp_path: Path) -> None:
    """What does not fit is refused before anything is done.

    The definition is there before: what the server itself does at its start may fill a queue of one.
    """
    path = str(tmp_path / "tradewind.db")
    async with serving(path):
        pass
    async with running(path, queue_commands=1) as served:
        starts = execution_service_pb2.StartExecutionsRequest(
            requests=[execution_service_pb2.StartExecutionRequest(workflow="one") for _ in range(200)]
        )
        for request in starts.requests:
            request.input.data = b'{"n": 1}'
        answer = await served.executions.StartExecutions(starts)
        refusals = [result.refusal for result in answer.results if result.HasField("refusal")]
        assert {refusal.reason for refusal in refusals} == {"QUEUE_FULL"}
        assert all(refusal.retry_after.seconds for refusal in refusals)


async def test_too_many_streams_are_refused() -> None:
    """And those that are open go on."""
    async with serving("", max_streams=2) as served:
        id_ = await served.start()
        streams = [served.watch(id_) for _ in range(2)]
        for stream in streams:
            await stream.read()
        with refused(StatusCode.RESOURCE_EXHAUSTED, "STREAMS_EXHAUSTED") as caught:
            await served.follow(id_)
        assert caught.metadata["setting"] == "max_streams"
        for stream in streams:
            stream.cancel()


async def test_second_server_on_the_same_file_is_refused(tmp_path: Path) -> None:
    """It would lose what the first one holds in memory; the first goes on."""
    path = str(tmp_path / "tradewind.db")
    async with serving(path) as served:
        with pytest.raises(DatabaseInUse):
            await Server.start(Settings(listen="127.0.0.1:0", database=path))
        assert await served.start()
    async with serving(path):
        pass


async def test_other_addresses_need_tls_or_insecure() -> None:
    """Everybody could steer everything."""
    with pytest.raises(Unbindable, match="--insecure"):
        await Server.start(Settings(listen="0.0.0.0:0", database=""))
    server = await Server.start(Settings(listen="0.0.0.0:0", database="", insecure=True))
    assert len(server.warnings) == 1
    assert "without TLS" in server.warnings[0]
    await server.stop()


async def test_taken_address_is_refused() -> None:
    """With the address in the text."""
    async with serving("") as served:
        with pytest.raises(Unbindable, match=served.address):
            await Server.start(Settings(listen=served.address, database=""))


@pytest.mark.parametrize("listen", ["127.0.0.1", "7233", "127.0.0.1:99999", "127.0.0.1:http", "127.0.0.1:-1", ""])
async def test_address_without_host_or_port_is_refused_as_such(listen: str) -> None:
    """It was said to need TLS; and of a port that is none gRPC made another one."""
    with pytest.raises(Unbindable, match=r"host:port.* such as 127\.0\.0\.1:7233"):
        await Server.start(Settings(listen=listen, database=""))


async def test_unreadable_certificate_is_refused(tmp_path: Path) -> None:
    """Rather than serving in plain text."""
    missing = str(tmp_path / "no.pem")
    with pytest.raises(Unbindable, match=r"no\.pem"):
        await Server.start(Settings(listen="127.0.0.1:0", database="", tls_certificate=missing, tls_key=missing))


async def test_what_grpc_refuses_itself_has_no_details(served: Served) -> None:
    """As docs/errors.md says: a client has to do without them then."""
    large = execution_service_pb2.GetExecutionRequest(execution_id="x" * 4 * 1024 * 1024)
    missing: Any = served.channel.unary_unary("/tradewind.v1.ExecutionService/Nothing")
    calls = [
        (served.executions.GetExecution(large), StatusCode.RESOURCE_EXHAUSTED),
        (missing(b""), StatusCode.UNIMPLEMENTED),
    ]
    for call, code in calls:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        assert raised.value.code() == code
        assert "grpc-status-details-bin" not in dict(raised.value.trailing_metadata())


async def test_health_and_server_info(served: Served) -> None:
    """What a load balancer and a client ask first."""
    stub: Any = health_pb2_grpc.HealthStub(served.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service="tradewind.v1.ExecutionService"))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    info = await server_service_pb2_grpc.ServerServiceStub(served.channel).GetServerInfo(
        server_service_pb2.GetServerInfoRequest()
    )
    limits = {limit.name: limit.value for limit in info.server_info.limits}
    assert limits["max_payload_bytes"] == 1024 * 1024
    assert info.server_info.api_versions == ["tradewind.v1"]
    assert {limit.unit for limit in info.server_info.limits} == {"bytes", "seconds", "commands", "streams"}
    assert list(info.server_info.features) == ["reflection", "start-executions", "watch-execution", "work-stream"]
