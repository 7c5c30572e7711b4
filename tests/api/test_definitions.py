"""ValidateDefinitions and DeployDefinitions: what they say about definitions beside errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from grpc import StatusCode

from tests.api.harness import Served, refused, serving
from tradewind.v1 import definition_pb2, definition_service_pb2

_CHILD = "version: '2.0'\nchild: {input: [n], tasks: {t: {action: std.noop}}}\n"
_PARENT = "version: '2.0'\nparent: {tasks: {t: {workflow: child n=1, on-error: noop}}}\n"
_WRONG = "version: '2.0'\nwrong: {tasks: {t: {action: std.ehco output=<% $.x %>}}}\n"


async def _problems(served: Served, *texts: str, deploy: bool = False) -> list[tuple[str, str]]:
    """Return (code, severity) of what is told of files."""
    files = [definition_pb2.DefinitionFile(name=f"{n}.yaml", content=text.encode()) for n, text in enumerate(texts)]
    if deploy:
        answer = await served.definitions.DeployDefinitions(
            definition_service_pb2.DeployDefinitionsRequest(files=files)
        )
    else:
        answer = await served.definitions.ValidateDefinitions(
            definition_service_pb2.ValidateDefinitionsRequest(files=files)
        )
    return [
        (problem.code, definition_pb2.ProblemSeverity.Name(problem.severity).removeprefix("PROBLEM_SEVERITY_"))
        for problem in answer.problems
    ]


async def test_warnings_and_hints_come_with_their_severity(served: Served) -> None:
    assert await _problems(served, _WRONG) == [("unknown-action", "WARNING"), ("unknown-variable", "WARNING")]
    assert await _problems(served, _WRONG, deploy=True) == await _problems(served, _WRONG)


async def test_a_sub_workflow_is_known_from_the_other_file_or_when_it_is_deployed(served: Served) -> None:
    alone = await _problems(served, _PARENT)
    together = await _problems(served, _PARENT, _CHILD)
    await served.deploy(_CHILD)
    after = await _problems(served, _PARENT)

    assert alone == [("unknown-workflow", "HINT"), ("hidden-failure", "HINT")]
    assert together == after == [("hidden-failure", "HINT")]


async def test_two_files_with_one_name_are_refused_together(served: Served) -> None:
    assert await _problems(served, _CHILD, _CHILD) == [("duplicate-name", "ERROR")]


async def test_a_flood_of_errors_still_comes_as_a_refusal_with_its_reason(served: Served) -> None:
    """Details travel in trailers, which clients bound; the rest is in ValidateDefinitions."""
    tasks = "".join(f"    task_{n}: {{acton: std.noop, on-success: nowhere_{n}}}\n" for n in range(500))
    text = f"version: '2.0'\nflood:\n  tasks:\n{tasks}"

    with refused(StatusCode.INVALID_ARGUMENT, "DEFINITION_INVALID") as caught:
        await served.deploy(text)

    assert caught.metadata["count"] == "1000"
    assert 10 <= len(caught.violations) < 1000
    assert len(await _problems(served, text)) == 1000


async def test_version_of_a_name_that_stands_elsewhere_now_still_runs(database_url: str, tmp_path: Path) -> None:
    """The start names workflow namespace and version; what else has the name is no matter, also after a restart."""

    async def deploy(served: Served, workflow_namespace: str, output: str) -> None:
        text = f"version: '2.0'\nw: {{output: {{r: {output}}}, tasks: {{t: {{action: shop.do n=1}}}}}}\n"
        file = definition_pb2.DefinitionFile(name="w.yaml", content=text.encode())
        await served.definitions.DeployDefinitions(
            definition_service_pb2.DeployDefinitionsRequest(workflow_namespace=workflow_namespace, files=[file])
        )

    url = database_url or str(tmp_path / "a.db")
    async with serving(url) as served:
        await deploy(served, "x", "old")
        await served.definitions.DeleteDefinition(
            definition_service_pb2.DeleteDefinitionRequest(workflow_namespace="x", name="w")
        )
        await deploy(served, "", "other")
        with refused(StatusCode.NOT_FOUND, "DEFINITION_NOT_FOUND"):
            await served.start("w", {}, workflow_namespace="x")
        id_ = await served.start("w", {}, workflow_namespace="x", definition_version=1)
    async with serving(url) as served, served.worker() as hand:
        await hand.finish((await hand.offer()).token)
        assert await served.ended(id_) == ("SUCCEEDED", {"r": "old"})


def _deployment(text: str, request_id: str) -> definition_service_pb2.DeployDefinitionsRequest:
    files = [definition_pb2.DefinitionFile(name="a.yaml", content=text.encode())]
    return definition_service_pb2.DeployDefinitionsRequest(files=files, request_id=request_id)


def _deletion(name: str, request_id: str) -> definition_service_pb2.DeleteDefinitionRequest:
    return definition_service_pb2.DeleteDefinitionRequest(name=name, request_id=request_id)


async def test_a_deployment_sent_again_later_does_not_bring_the_old_text_back(served: Served) -> None:
    """Its first answer is given again; what was deployed since stays."""
    newer = _CHILD.replace("std.noop", "std.echo output=1")
    first = await served.definitions.DeployDefinitions(_deployment(_CHILD, "d1"))
    later = await served.definitions.DeployDefinitions(_deployment(newer, "d2"))
    again = await served.definitions.DeployDefinitions(_deployment(_CHILD, "d1"))

    assert again.registry_revision == first.registry_revision
    assert [(d.definition.version, d.definition.current, d.created) for d in again.definitions] == [(1, False, True)]
    found = await served.definitions.GetDefinition(definition_service_pb2.GetDefinitionRequest(name="child"))
    assert found.definition.version == later.definitions[0].definition.version == 2


async def test_a_deployment_without_news_sent_again_still_says_so(served: Served) -> None:
    await served.definitions.DeployDefinitions(_deployment(_CHILD, "d1"))
    first = await served.definitions.DeployDefinitions(_deployment(_CHILD, "d2"))
    again = await served.definitions.DeployDefinitions(_deployment(_CHILD, "d2"))

    assert [d.created for d in first.definitions] == [False]
    assert again == first


async def test_a_deletion_sent_again_gets_the_first_answer(served: Served) -> None:
    """Whose first answer was lost is not told that nothing is there, nor removes what has come since."""
    await served.deploy(_CHILD)
    first = await served.definitions.DeleteDefinition(_deletion("child", "x1"))
    await served.deploy(_CHILD)
    again = await served.definitions.DeleteDefinition(_deletion("child", "x1"))

    assert again == first
    await served.definitions.GetDefinition(definition_service_pb2.GetDefinitionRequest(name="child"))


async def test_a_refused_deletion_leaves_its_request_id_free(served: Served) -> None:
    with refused(StatusCode.NOT_FOUND, "DEFINITION_NOT_FOUND"):
        await served.definitions.DeleteDefinition(_deletion("child", "x1"))
    await served.deploy(_CHILD)
    await served.definitions.DeleteDefinition(_deletion("child", "x1"))


async def test_one_request_id_for_two_changes_of_the_registry_is_refused(served: Served) -> None:
    await served.definitions.DeployDefinitions(_deployment(_CHILD, "d1"))
    with refused(StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"):
        await served.definitions.DeployDefinitions(_deployment(_PARENT, "d1"))
    with refused(StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"):
        await served.definitions.DeleteDefinition(_deletion("child", "d1"))


async def test_a_deletion_twice_at_once_on_two_servers_happens_once(postgres_url: Callable[[], str]) -> None:
    """The second waits for the first and gets its answer."""
    url = postgres_url()
    async with serving(url) as a, serving(url) as b:
        for n in range(10):
            await a.deploy(_CHILD)
            answers = await asyncio.gather(
                *(s.definitions.DeleteDefinition(_deletion("child", f"x{n}")) for s in (a, b, a, b))
            )
            assert len({answer.registry_revision for answer in answers}) == 1
