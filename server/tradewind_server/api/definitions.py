"""DefinitionService."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tradewind.v1 import definition_pb2
from tradewind.v1 import definition_service_pb2 as pb
from tradewind.v1 import definition_service_pb2_grpc as service
from tradewind_server.api import convert, views
from tradewind_server.api.caller import namespace_of, provenance
from tradewind_server.api.errors import DefinitionProblems
from tradewind_server.api.pages import Pages
from tradewind_server.errors import DefinitionNotFound, FieldInvalid, PayloadTooLarge
from tradewind_server.lang import Checked, Problem, Source, check
from tradewind_server.lang.named_forms import parts_of
from tradewind_server.lang.specs import Spec
from tradewind_server.runtime import requests as r
from tradewind_server.runtime.runtime import Runtime
from tradewind_server.store import definitions, reads
from tradewind_server.store.filters import DEFINITION_FIELDS, parse_filter

_KINDS = {
    definition_pb2.DEFINITION_KIND_UNSPECIFIED: definitions.WORKFLOW,
    definition_pb2.DEFINITION_KIND_WORKFLOW: definitions.WORKFLOW,
    definition_pb2.DEFINITION_KIND_ACTION: definitions.ACTION,
    definition_pb2.DEFINITION_KIND_FORM: definitions.FORM,
}
_SEVERITIES = {
    "error": definition_pb2.PROBLEM_SEVERITY_ERROR,
    "warning": definition_pb2.PROBLEM_SEVERITY_WARNING,
    "hint": definition_pb2.PROBLEM_SEVERITY_HINT,
}
_MOST_FILES = 100

Specs = Sequence[Spec]


class Definitions(service.DefinitionServiceServicer):
    """Checks, stores and shows definitions."""

    def __init__(self, runtime: Runtime, pages: Pages) -> None:
        self._runtime = runtime
        self._pages = pages

    async def ValidateDefinitions(self, request: pb.ValidateDefinitionsRequest, context: Any) -> Any:
        """Report every problem."""
        namespace = namespace_of(request.namespace)
        workflow_namespace = convert.name_of("workflow_namespace", request.workflow_namespace)
        sources, problems = await self._check(request.files, namespace, workflow_namespace)
        found = [
            definition_pb2.Definition(
                namespace=namespace,
                workflow_namespace=request.workflow_namespace,
                name=spec.name,
                kind=views.KINDS[definitions.kind_of(spec)],
                description=spec.description,
                tags=spec.tags,
                file=source.file_name,
            )
            for source, specs in sources
            for spec in specs
        ]
        return pb.ValidateDefinitionsResponse(problems=[_problem(p) for p in problems], definitions=found)

    async def DeployDefinitions(self, request: pb.DeployDefinitionsRequest, context: Any) -> Any:
        """Store definitions, all or none."""
        namespace = namespace_of(request.namespace)
        workflow_namespace = convert.name_of("workflow_namespace", request.workflow_namespace)
        sources, problems = await self._check(request.files, namespace, workflow_namespace)
        errors = [p for p in problems if p.severity == "error"]
        if errors:
            raise DefinitionProblems(errors)
        if not any(specs for _, specs in sources):
            raise FieldInvalid(name="files", expected="at least one definition", problem="there is none")
        deployed = await self._runtime.ask(
            r.Deploy(
                provenance=provenance(context, "DeployDefinitions", request.request_id),
                namespace=namespace,
                workflow_namespace=workflow_namespace,
                digest=convert.digest_of(request),
                ticket=self._runtime.ids.opaque(),
                sources=sources,
                at=self._runtime.clock.now(),
                size_bytes=500 + request.ByteSize(),
            )
        )
        assert isinstance(deployed, definitions.Deployed)
        return pb.DeployDefinitionsResponse(
            registry_revision=deployed.revision,
            definitions=[
                pb.DeployedDefinition(definition=views.definition(d, with_source=False), created=is_new)
                for d, is_new in deployed.definitions
            ],
            problems=[_problem(p) for p in problems],
        )

    async def _check(
        self, files: Sequence[definition_pb2.DefinitionFile], namespace: str, workflow_namespace: str
    ) -> tuple[list[tuple[Source, Specs]], Sequence[Problem]]:
        """Check the files together, off the loop; what is deployed counts as known.

        Raises:
            FieldInvalid, PayloadTooLarge: the files cannot be read at all.
        """
        if not 1 <= len(files) <= _MOST_FILES:
            expected = f"1 to {_MOST_FILES} files"
            raise FieldInvalid(name="files", expected=expected, problem=f"there are {len(files)}")
        sources = [self._source(file, n) for n, file in enumerate(files)]

        def work(connection: Any, _: Any) -> Checked:
            def is_there(kind: str, name: str, version: int) -> bool:
                places = dict.fromkeys([workflow_namespace, ""])
                return any(definitions.get(connection, namespace, place, kind, name, version) for place in places)

            return check(
                sources,
                is_deployed=lambda name: is_there(definitions.WORKFLOW, name, 0),
                has_form=lambda reference: is_there(definitions.FORM, *parts_of(reference)),
            )

        checked = await self._runtime.read(work)
        return list(zip(sources, checked.by_source, strict=True)), checked.problems

    def _source(self, file: definition_pb2.DefinitionFile, n: int) -> Source:
        limit = self._runtime.settings.max_payload_bytes
        what = f"files[{n}].content"
        if len(file.content) > limit:
            raise PayloadTooLarge(
                what=what, limit=limit, setting="max_payload_bytes", size=len(file.content), field=what
            )
        try:
            text = file.content.decode()
        except UnicodeDecodeError as error:
            problem = f"byte {error.start} is not"
            raise FieldInvalid(name=what, expected="UTF-8", problem=problem) from None
        return Source(file.name or f"file{n + 1}.yaml", text)

    async def GetDefinition(self, request: pb.GetDefinitionRequest, context: Any) -> Any:
        """Return one version, with its source."""
        kind, name = _kind(request.kind), convert.required("name", request.name)
        namespace = namespace_of(request.namespace)
        workflow_namespace = convert.name_of("workflow_namespace", request.workflow_namespace)
        found = await self._runtime.read(
            lambda connection, _: definitions.get(
                connection, namespace, workflow_namespace, kind, name, request.version
            )
        )
        if found is None:
            raise DefinitionNotFound(what=kind, name=name, workflow_namespace=workflow_namespace, field="name")
        return pb.GetDefinitionResponse(definition=views.definition(found, with_source=True))

    async def ListDefinitions(self, request: pb.ListDefinitionsRequest, context: Any) -> Any:
        """Return definitions by name."""
        terms = parse_filter(request.filter, DEFINITION_FIELDS)
        namespace = namespace_of(request.namespace)
        size = convert.page_size_of(request.page_size)
        query = ("definitions", namespace, request.filter, request.all_versions)
        after = self._pages.position(query, request.page_token)

        def work(connection: Any, _: Any) -> tuple[list[definitions.Definition], int]:
            rows = reads.definitions(connection, namespace, terms, request.all_versions, size + 1, after)
            found = [definitions.definition_of(row._mapping) for row in rows]
            return found, definitions.registry_revision(connection, namespace)

        found, revision = await self._runtime.read(work)
        taken = min(len(found), size)
        token = self._pages.next(query, found, taken, lambda d: (d.workflow_namespace, d.kind, d.name, d.version))
        return pb.ListDefinitionsResponse(
            definitions=[views.definition(d, with_source=False) for d in found[:taken]],
            next_page_token=token,
            registry_revision=revision,
        )

    async def DeleteDefinition(self, request: pb.DeleteDefinitionRequest, context: Any) -> Any:
        """Retire a definition: new executions do not find it; those that run keep it."""
        revision = await self._runtime.ask(
            r.DeleteDefinition(
                provenance=provenance(context, "DeleteDefinition", request.request_id),
                namespace=namespace_of(request.namespace),
                workflow_namespace=convert.name_of("workflow_namespace", request.workflow_namespace),
                digest=convert.digest_of(request),
                ticket=self._runtime.ids.opaque(),
                kind=_kind(request.kind),
                name=convert.required("name", request.name),
            )
        )
        assert isinstance(revision, int)
        return pb.DeleteDefinitionResponse(registry_revision=revision)


def _kind(given: definition_pb2.DefinitionKind.ValueType) -> str:
    """Return which kind of definition is meant.

    Raises:
        FieldInvalid: this server does not know it.
    """
    if given not in _KINDS:
        raise FieldInvalid(name="kind", expected="a DefinitionKind", problem=f"it is {given}")
    return _KINDS[given]


def _problem(problem: Problem) -> definition_pb2.Problem:
    return definition_pb2.Problem(
        severity=_SEVERITIES[problem.severity],
        code=problem.code,
        file=problem.file,
        line=problem.line,
        column=problem.column,
        path=problem.path,
        message=problem.message,
        fix=problem.fix,
    )
