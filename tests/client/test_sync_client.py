"""The sync client sends what it says, repeats what is safe and raises typed errors.

gRPC's own test channel plays the server, so each test says what the server answers to which request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import grpc_testing
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import ServiceDescriptor
from google.rpc import error_details_pb2, status_pb2

import tradewind
from tests.certificates import Authority
from tradewind import Tls, client, errors
from tradewind.connection import Connection
from tradewind.v1 import (
    action_callback_pb2,
    definition_service_pb2,
    execution_pb2,
    execution_service_pb2,
    failure_pb2,
    server_service_pb2,
)

v1 = execution_service_pb2
EXECUTIONS = v1.DESCRIPTOR.services_by_name["ExecutionService"]
RUNNING = execution_pb2.Execution(id="e1", workflow="pay", state=execution_pb2.EXECUTION_STATE_RUNNING, revision=2)
DONE = execution_pb2.Execution(id="e1", workflow="pay", state=execution_pb2.EXECUTION_STATE_SUCCEEDED, revision=9)


class Server:
    """The server's side of gRPC's test channel."""

    def __init__(self) -> None:
        modules = (action_callback_pb2, definition_service_pb2, v1, server_service_pb2)
        services = [service for module in modules for service in module.DESCRIPTOR.services_by_name.values()]
        self.channel = grpc_testing.channel(services, grpc_testing.strict_real_time())
        self.client = tradewind.Client(channel=self.channel)
        self.client._sleep = lambda *_: None
        self._pool = ThreadPoolExecutor(1)

    def when(self, call: Callable[[], Any]) -> Future[Any]:
        """Let the client call, in its own thread."""
        return self._pool.submit(call)

    def answer(self, method: str, response: Any, service: ServiceDescriptor = EXECUTIONS) -> Any:
        """Take the next request of *method*, answer it, and return it."""
        _, request, rpc = self.channel.take_unary_unary(service.methods_by_name[method])
        rpc.terminate(response, (), grpc.StatusCode.OK, "")
        return request

    def refuse(self, method: str, code: grpc.StatusCode, message: str, *details: Any) -> Any:
        """Take the next request of *method*, refuse it, and return it."""
        _, request, rpc = self.channel.take_unary_unary(EXECUTIONS.methods_by_name[method])
        status = status_pb2.Status(code=code.value[0], message=message)
        for detail in details:
            packed = AnyMessage()
            packed.Pack(detail)
            status.details.append(packed)
        rpc.terminate(None, (("grpc-status-details-bin", status.SerializeToString()),), code, message)
        return request

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def test_call_that_a_server_has_had_for_long_is_repeated(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server went down after more than the patience: the call failed, and was not made again at another one."""
    now = [0.0]
    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=lambda: now[0]))
    waiting = server.when(lambda: server.client.start_and_wait("pay", timeout=60))
    _, first, rpc = server.channel.take_unary_unary(EXECUTIONS.methods_by_name["StartAndWait"])
    now[0] = 40.0
    rpc.terminate(None, (), grpc.StatusCode.UNAVAILABLE, "it goes down")
    second = server.answer("StartAndWait", v1.StartAndWaitResponse(execution=DONE))

    assert waiting.result(10).id == "e1"
    assert second.start.request_id == first.start.request_id


def test_start_sends_exact_digits(server: Server) -> None:
    """A decimal goes out as the number it is."""
    future = server.when(lambda: server.client.start("pay", {"amount": Decimal("0.10")}, tags=["a"], env="prod"))

    request = server.answer("StartExecution", v1.StartExecutionResponse(execution=RUNNING))

    assert request.input.data == b'{"amount":0.10}'
    assert (request.namespace, request.workflow, request.env_name, request.tags) == ("default", "pay", "prod", ["a"])
    assert future.result(5).state == "RUNNING"


def test_a_call_without_server_is_repeated_with_the_same_request_id(server: Server) -> None:
    """UNAVAILABLE is not shown as long as there is time; the repeat cannot start a second execution."""
    future = server.when(lambda: server.client.start("pay"))

    first = server.refuse("StartExecution", grpc.StatusCode.UNAVAILABLE, "no connection")
    second = server.answer("StartExecution", v1.StartExecutionResponse(execution=RUNNING))

    assert first == second
    assert first.request_id
    assert future.result(5).id == "e1"


def test_a_refusal_is_a_typed_error(server: Server) -> None:
    """Reason, metadata, violations and hint come out of the status details."""
    future = server.when(lambda: server.client.cancel("e1"))

    server.refuse(
        "CancelExecution",
        grpc.StatusCode.FAILED_PRECONDITION,
        "Expected to cancel execution 'e1', but it is FAILED. Rerun or leave it.",
        error_details_pb2.ErrorInfo(reason="EXECUTION_WRONG_STATE", metadata={"state": "FAILED"}),
        error_details_pb2.BadRequest(field_violations=[{"field": "execution_id", "description": "no"}]),
    )

    error = future.exception(5)
    assert isinstance(error, errors.WrongState)
    assert (error.reason, error.metadata) == ("EXECUTION_WRONG_STATE", {"state": "FAILED"})
    assert error.hint == "Rerun or leave it."
    assert error.violations == (errors.Violation("execution_id", "no"),)


def test_a_refusal_that_does_not_say_what_to_do_has_the_hint_of_its_reason() -> None:
    """Messages leave out what is the same each time; docs/errors.md has it."""
    message = "Expected to find execution 'e1', but there is none in this namespace."
    error = errors.NotFound("EXECUTION_NOT_FOUND", message, code=grpc.StatusCode.NOT_FOUND)

    assert error.hint == "Check the id and the namespace. Executions past their retention are gone."
    assert errors.NotFound("MADE_UP_LATER", message, code=grpc.StatusCode.NOT_FOUND).hint == ""


def test_a_refusal_is_not_repeated(server: Server) -> None:
    """What the server has decided is decided."""
    future = server.when(lambda: server.client.get("e2"))

    server.refuse("GetExecution", grpc.StatusCode.NOT_FOUND, "no", error_details_pb2.ErrorInfo(reason="X"))

    assert isinstance(future.exception(5), errors.NotFound)


def test_lists_read_page_by_page(server: Server) -> None:
    """The second page is asked for with the token of the first, and then there is no third."""
    future = server.when(lambda: [item.id for item in server.client.executions("state = RUNNING")])

    server.answer("ListExecutions", v1.ListExecutionsResponse(executions=[RUNNING], next_page_token="t"))
    request = server.answer("ListExecutions", v1.ListExecutionsResponse(executions=[DONE]))

    assert (request.page_token, request.filter) == ("t", "state = RUNNING")
    assert future.result(5) == ["e1", "e1"]


def test_many_starts_are_judged_one_by_one(server: Server) -> None:
    """An item is an execution, or the error it would have had alone."""
    future = server.when(lambda: server.client.start_many([("pay", {}, {}), ("no", {}, {})]))

    response = v1.StartExecutionsResponse(
        results=[
            v1.StartResult(started=v1.StartExecutionResponse(execution=RUNNING)),
            v1.StartResult(refusal=failure_pb2.Refusal(code=5, reason="DEFINITION_NOT_FOUND", message="no")),
        ]
    )
    server.answer("StartExecutions", response)

    started, refused = future.result(5)
    assert started.id == "e1"
    assert isinstance(refused, errors.NotFound)


def test_complete_action_names_it_by_its_ids(server: Server) -> None:
    """An asynchronous action is answered without a token."""
    service = action_callback_pb2.DESCRIPTOR.services_by_name["ActionCallback"]
    future = server.when(lambda: server.client.complete_action("e1", "a7", {"approved": True}))

    response = action_callback_pb2.CompleteActionResponse(revision=12)
    request = server.answer("CompleteAction", response, service)

    assert (request.action.execution_id, request.action.action_id) == ("e1", "a7")
    assert request.result.data == b'{"approved":true}'
    assert future.result(5) == 12


def test_rerun_wants_one_name_for_the_task(server: Server) -> None:
    """Neither or both of name and id is a mistake of the caller, found before anything is sent."""
    with pytest.raises(TypeError, match="task"):
        server.client.rerun("e1")
    with pytest.raises(TypeError, match="task"):
        server.client.skip("e1", "t", task_id="t1")


@pytest.mark.parametrize("address", ["a:1,b:2", "a:1, b:2,", ["a:1", "b:2"]])
def test_addresses_are_taken_as_a_list_or_with_commas(address: str | list[str]) -> None:
    """As the command line takes them from TRADEWIND_ADDRESS."""
    assert Connection.of(address).addresses == ("a:1", "b:2")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("tradewind.example.com", "tradewind.example.com:7233"),
        ("127.0.0.1", "127.0.0.1:7233"),
        ("::1", "[::1]:7233"),
        ("[::1]", "[::1]:7233"),
        ("[::1]:80", "[::1]:80"),
        ("unix:/run/it", "unix:/run/it"),
        ("dns:///a:1", "dns:///a:1"),
    ],
)
def test_address_without_a_port_means_the_one_that_servers_have(given: str, meant: str) -> None:
    """gRPC took 443, where nobody listens; what it looks up itself is passed on."""
    assert Connection.of(given).addresses == (meant,)


@pytest.mark.parametrize("port", ["0", "65536", "", "abc", "1/path", "9" * 5000])
def test_port_that_no_server_can_have_is_refused(port: str) -> None:
    """Of one that is too large gRPC takes the lower 16 bits."""
    with pytest.raises(ValueError, match="Expected a port from 1 to 65535, but got"):
        Connection.of(f"a:1,b:{port}")


def test_address_without_a_host_is_refused() -> None:
    """Of a server that listens everywhere it is not one to call."""
    with pytest.raises(ValueError, match="but got no host in :7233"):
        Connection.of(":7233")


def test_address_that_cannot_be_looked_up_is_left_out_if_there_are_others() -> None:
    """A call goes to a server that answers; if none can be looked up gRPC says so."""
    long = "a" * 64
    assert Connection.of(f"{long}:1,127.0.0.1:2,a..b:3").target == "ipv4:127.0.0.1:2"
    assert Connection.of(f"{long}:1,a..b:3").target == f"{long}:1"


@pytest.mark.parametrize("address", ["http://a:1", "https://a", "a:1,grpc+tls://b:2"])
def test_url_is_no_address(address: str) -> None:
    """It was looked up as the name of a host, for as long as the caller's patience."""
    with pytest.raises(ValueError, match=r"Expected host:port, but got '[\w+]+://.*'. Leave out '[\w+]+://'"):
        Connection.of(address)


def test_files_of_tls_are_looked_at_before_anybody_is_called(tmp_path: Path) -> None:
    """gRPC says of each mistake that no server answers, after the caller's patience."""
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    (certificate, key), (_, strange) = ours.issue("me"), others.issue("stranger")

    assert Tls(ours.path, certificate, key).credentials()
    for wrong, said in [
        (Tls(ca=key), "Expected certificates of authorities as PEM"),
        (Tls(certificate=certificate), "only one of the two"),
        (Tls(key=key), "only one of the two"),
        (Tls(certificate=certificate, key=strange), "KEY_VALUES_MISMATCH"),
        (Tls(certificate=key, key=key), "cannot be used"),
    ]:
        with pytest.raises(ValueError, match=said):
            wrong.credentials()
    for nowhere in (Tls(ca=tmp_path / "none"), Tls(certificate=tmp_path / "none", key=key)):
        with pytest.raises(FileNotFoundError, match="/none"):
            nowhere.credentials()
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(ours.path.read_bytes() + b"-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n")
    assert Tls(ca=bundle).credentials(), "gRPC takes those that are whole"


def test_a_moment_without_a_time_zone_is_refused(server: Server) -> None:
    """It was taken for UTC: somebody in Berlin was absent two hours late."""
    noon = datetime.fromisoformat("2026-07-01T12:00:00")
    with pytest.raises(ValueError, match=r"with a time zone, but got 2026-07-01T12:00:00 without"):
        server.client.rewind_subscription("crm", time=noon)
    with pytest.raises(ValueError, match="with a time zone"):
        server.client.people.add_absence("eve", noon.replace(tzinfo=UTC), noon)
