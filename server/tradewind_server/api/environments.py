"""EnvironmentService."""

from __future__ import annotations

from typing import Any

from tradewind.v1 import environment_pb2
from tradewind.v1 import environment_service_pb2 as pb
from tradewind.v1 import environment_service_pb2_grpc as service
from tradewind_server.api import convert
from tradewind_server.api.caller import namespace_of, provenance
from tradewind_server.api.pages import Pages, fill
from tradewind_server.errors import EnvironmentNotFound, FieldInvalid
from tradewind_server.lang.values import encode
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.store import environments
from tradewind_server.store.environments import Environment

_MOST_DESCRIPTION = 1000


class Environments(service.EnvironmentServiceServicer):
    """Keeps named environments."""

    def __init__(self, runtime: Runtime, pages: Pages) -> None:
        self._runtime = runtime
        self._pages = pages

    async def PutEnvironment(self, request: pb.PutEnvironmentRequest, context: Any) -> Any:
        """Make or replace one."""
        given, runtime = request.environment, self._runtime
        if len(given.description) > _MOST_DESCRIPTION:
            expected, problem = f"at most {_MOST_DESCRIPTION} characters", f"there are {len(given.description)}"
            raise FieldInvalid(name="description", expected=expected, problem=problem, field="environment.description")
        limit = runtime.settings.max_payload_bytes
        now = runtime.clock.microseconds()
        caller = provenance(context, "PutEnvironment", "")
        wanted = Environment(
            namespace_of(request.namespace),
            convert.required("environment.name", given.name),
            convert.text_of(given.description, _MOST_DESCRIPTION),
            encode(convert.dictionary_of(given.variables, "environment.variables", limit)),
            1,
            now,
            now,
            caller.actor,
        )
        size = 500 + request.ByteSize()
        answer = await runtime.ask(
            r.PutEnvironment(provenance=caller, wanted=wanted, etag=request.etag, size_bytes=size)
        )
        assert isinstance(answer, tuple)
        environment, created = answer
        return pb.PutEnvironmentResponse(environment=_message(environment), created=created)

    async def GetEnvironment(self, request: pb.GetEnvironmentRequest, context: Any) -> Any:
        """Return one with its variables."""
        namespace, name = namespace_of(request.namespace), convert.required("name", request.name)
        found = await self._runtime.read(lambda connection, _: environments.get(connection, namespace, name))
        if found is None:
            raise EnvironmentNotFound(name=name, field="name")
        message = _message(found)
        convert.set_payload(message.variables, found.variables)
        return pb.GetEnvironmentResponse(environment=message)

    async def ListEnvironments(self, request: pb.ListEnvironmentsRequest, context: Any) -> Any:
        """Return one page of them."""
        namespace = namespace_of(request.namespace)
        size = convert.page_size_of(request.page_size)
        query = ("environments", namespace)
        position = self._pages.position(query, request.page_token)
        after = str(position[0]) if position else ""

        def work(connection: Any, _: Any) -> pb.ListEnvironmentsResponse:
            rows = environments.page(connection, namespace, after, size + 1)
            found = fill(rows, lambda some: [_message(row) for row in some], size)
            token = self._pages.next(query, rows, len(found), lambda row: (row.name,))
            return pb.ListEnvironmentsResponse(environments=found, next_page_token=token)

        return await self._runtime.read(work)

    async def DeleteEnvironment(self, request: pb.DeleteEnvironmentRequest, context: Any) -> Any:
        """Remove one."""
        try:
            await self._runtime.ask(
                r.DeleteEnvironment(
                    provenance=provenance(context, "DeleteEnvironment", ""),
                    namespace=namespace_of(request.namespace),
                    name=convert.required("name", request.name),
                    etag=request.etag,
                )
            )
        except EnvironmentNotFound:
            if not request.allow_missing:
                raise
        return pb.DeleteEnvironmentResponse()


def _message(row: Environment) -> environment_pb2.Environment:
    return environment_pb2.Environment(
        namespace=row.namespace,
        name=row.name,
        description=row.description,
        etag=str(row.revision),
        created_at=convert.timestamp(row.created_at),
        updated_at=convert.timestamp(row.updated_at),
        updated_by=convert.actor(row.actor),
    )
