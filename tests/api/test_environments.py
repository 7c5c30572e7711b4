"""Stored environments: put, read, list, delete, and start with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from grpc import StatusCode

from tests.api.harness import PATIENCE, Served, refused, serving, start
from tradewind import values
from tradewind.v1 import environment_pb2, environment_service_pb2, environment_service_pb2_grpc, execution_service_pb2

SHOWS = """
version: '2.0'
shows:
  output: {url: <% env().url %>, rate: <% env().rate %>}
  tasks:
    t: {action: std.noop}
"""


class Shelf:
    """The stub, with what the tests need of it."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.stub: Any = environment_service_pb2_grpc.EnvironmentServiceStub(served.channel)

    async def put(self, name: str, variables: object, etag: str = "", description: str = "") -> tuple[str, bool]:
        """Put one; return its etag, and whether it is new."""
        environment = environment_pb2.Environment(
            name=name, variables=values.to_payload(variables), description=description
        )
        request = environment_service_pb2.PutEnvironmentRequest(environment=environment, etag=etag)
        answer = await self.stub.PutEnvironment(request, timeout=PATIENCE)
        return answer.environment.etag, answer.created

    async def get(self, name: str) -> environment_pb2.Environment:
        """Get one."""
        request = environment_service_pb2.GetEnvironmentRequest(name=name)
        found: environment_pb2.Environment = (await self.stub.GetEnvironment(request, timeout=PATIENCE)).environment
        return found

    async def delete(self, name: str, **fields: Any) -> None:
        """Delete one."""
        await self.stub.DeleteEnvironment(environment_service_pb2.DeleteEnvironmentRequest(name=name, **fields))


@pytest_asyncio.fixture
async def shelf(served: Served) -> AsyncIterator[Shelf]:
    """The service of a fresh server."""
    yield Shelf(served)


async def test_execution_has_a_copy_of_the_environment_it_names(shelf: Shelf) -> None:
    """Digits are kept, and a later change does not reach it."""
    await shelf.served.deploy(SHOWS)
    await shelf.put("prod", {"url": "https://a", "rate": 1})
    request = start("shows", {})
    request.env_name = "prod"
    answer = await shelf.served.executions.StartExecution(request)
    await shelf.put("prod", {"url": "https://b", "rate": 2})
    assert await shelf.served.ended(answer.execution.id) == ("SUCCEEDED", {"url": "https://a", "rate": 1})
    assert values.from_payload((await shelf.served.get(answer.execution.id)).env) == {"url": "https://a", "rate": 1}


async def test_unknown_environment_starts_nothing(shelf: Shelf) -> None:
    """And the request id is free again."""
    request = start(request_id="r1")
    request.env_name = "nowhere"
    with refused(StatusCode.NOT_FOUND, "ENVIRONMENT_NOT_FOUND") as caught:
        await shelf.served.executions.StartExecution(request)
    assert caught.metadata == {"name": "nowhere"}
    listed = await shelf.served.executions.ListExecutions(execution_service_pb2.ListExecutionsRequest())
    assert not listed.executions
    await shelf.put("nowhere", {})
    assert not (await shelf.served.executions.StartExecution(request)).existing


async def test_same_content_again_changes_nothing(shelf: Shelf) -> None:
    """So a put can be repeated; other content changes the etag."""
    first = await shelf.put("dev", {"a": 1})
    assert first == ("1", True)
    assert await shelf.put("dev", {"a": 1}) == ("1", False)
    assert await shelf.put("dev", {"a": 2}) == ("2", False)
    assert await shelf.put("dev", {"a": 2}, description="for tests") == ("3", False)
    found = await shelf.get("dev")
    assert (found.etag, found.description, values.from_payload(found.variables)) == ("3", "for tests", {"a": 2})


async def test_change_of_what_another_has_changed_is_refused(shelf: Shelf) -> None:
    """By its etag, also for a deletion and for one that is gone."""
    await shelf.put("dev", {"a": 1})
    await shelf.put("dev", {"a": 2})
    for attempt in (shelf.put("dev", {"a": 3}, etag="1"), shelf.delete("dev", etag="1")):
        with refused(StatusCode.ABORTED, "ETAG_MISMATCH") as caught:
            await attempt
        assert caught.metadata == {"what": "environment 'dev'", "etag": "1", "current": "2"}
    assert await shelf.put("dev", {"a": 3}, etag="2") == ("3", False)
    with refused(StatusCode.ABORTED, "ETAG_MISMATCH"):
        await shelf.put("gone", {}, etag="1")


async def test_deleted_environment_is_gone(shelf: Shelf) -> None:
    """A repeat says so, or is no error if that is asked for."""
    await shelf.put("dev", {})
    await shelf.delete("dev")
    for attempt in (shelf.delete("dev"), shelf.get("dev")):
        with refused(StatusCode.NOT_FOUND, "ENVIRONMENT_NOT_FOUND"):
            await attempt
    await shelf.delete("dev", allow_missing=True)


async def test_environments_are_listed_by_name_and_page(shelf: Shelf) -> None:
    """Without variables."""
    for name in ("c", "a", "b"):
        await shelf.put(name, {"secret": 1})
    request = environment_service_pb2.ListEnvironmentsRequest(page_size=2)
    first = await shelf.stub.ListEnvironments(request)
    request.page_token = first.next_page_token
    second = await shelf.stub.ListEnvironments(request)
    assert [[e.name for e in page.environments] for page in (first, second)] == [["a", "b"], ["c"]]
    assert not second.next_page_token
    assert not first.environments[0].HasField("variables")


@pytest.mark.parametrize(
    ("name", "variables", "field"),
    [("", {}, "environment.name"), ("a\nb", {}, "environment.name"), ("a", [1], "environment.variables")],
)
async def test_wrong_environment_is_refused(shelf: Shelf, name: str, variables: object, field: str) -> None:
    """The violation names the field."""
    reason = "PAYLOAD_INVALID" if field.endswith("variables") else "FIELD_INVALID"
    with refused(StatusCode.INVALID_ARGUMENT, reason) as caught:
        await shelf.put(name, variables)
    assert [violation[0] for violation in caught.violations] == [field]


async def test_two_servers_that_make_the_same_one_make_it_once(postgres_url: Callable[[], str]) -> None:
    """Each change counts."""
    url = postgres_url()
    async with serving(url) as a, serving(url) as b:
        shelves = [Shelf(a), Shelf(b)]
        made = await asyncio.gather(*(shelves[n % 2].put("dev", {"n": n}) for n in range(20)))
    assert sum(created for _, created in made) == 1
    assert sorted(int(etag) for etag, _ in made) == list(range(1, 21))
