"""Who may call: tokens of namespaces, and certificates of clients."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import pkgutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.api.harness import ONE, PATIENCE, refused, start
from tests.certificates import Authority
from tradewind import LogUpdate, Tls, Worker, aio, errors, v1
from tradewind.v1 import action_callback_pb2, action_callback_pb2_grpc, execution_service_pb2_grpc
from tradewind.v1 import execution_service_pb2 as pb
from tradewind_server.api import caller
from tradewind_server.api.access import Access
from tradewind_server.api.calls import CALLS, words_for
from tradewind_server.api.tokens import Tokens, digest
from tradewind_server.bootstrap import Server, Unbindable
from tradewind_server.clock import SystemClock
from tradewind_server.errors import Unauthenticated
from tradewind_server.settings import Settings

HR = "token-of-hr"
ADMIN = "token-of-admin"


def write(path: Path, **namespaces: list[str]) -> None:
    """Write a file of the tokens of *namespaces*: name -> what it is for."""
    entries = [
        {"name": name, "sha256": digest(f"token-of-{name}"), "namespaces": names} for name, names in namespaces.items()
    ]
    path.write_text(yaml.safe_dump({"tokens": entries}))


@contextlib.asynccontextmanager
async def guarded(tmp_path: Path) -> AsyncIterator[Server]:
    """Run a server that wants tokens, with the workflow `one` in the namespace hr."""
    write(tmp_path / "tokens.yaml", hr=["hr"], admin=["*"])
    settings = Settings(
        listen="127.0.0.1:0", database="", tokens_file=str(tmp_path / "tokens.yaml"), shutdown_grace_seconds=0
    )
    server = await Server.start(settings)
    try:
        async with client(server, ADMIN) as admin:
            await admin.deploy(("one.yaml", ONE))
        yield server
    finally:
        await server.stop()


def client(server: Server, token: str | None, namespace: str = "hr") -> aio.Client:
    """Return a client with a token."""
    return aio.connect(server.address, token=token, namespace=namespace, patience=PATIENCE)


@pytest.mark.parametrize("token", [None, "", "another", f"{HR}x", digest(HR)])
async def test_call_without_a_known_token_is_refused(tmp_path: Path, token: str | None) -> None:
    """The digest in the file is no token either."""
    async with guarded(tmp_path) as server, client(server, token) as stranger:
        with pytest.raises(errors.Denied) as caught:
            await stranger.start("one", {"n": 1})
        assert caught.value.reason == "UNAUTHENTICATED"
        assert token in (None, "") or token not in str(caught.value)


async def test_every_method_wants_a_token_but_health(tmp_path: Path) -> None:
    """Unary calls, server streams, the Work stream, reflection."""
    async with guarded(tmp_path) as server, grpc.aio.insecure_channel(server.address) as channel:
        executions: Any = execution_service_pb2_grpc.ExecutionServiceStub(channel)
        callback: Any = action_callback_pb2_grpc.ActionCallbackStub(channel)
        with refused(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"):
            await executions.StartExecution(start(namespace="hr"), timeout=PATIENCE)
        with refused(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"):
            await executions.WatchEvents(pb.WatchEventsRequest(namespace="hr"), timeout=PATIENCE).read()
        with refused(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"):
            hello = action_callback_pb2.Hello(worker_id="w", namespace="hr")
            stream = callback.Work(iter([action_callback_pb2.WorkRequest(hello=hello)]), timeout=PATIENCE)
            await stream.read()
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_caller_is_written_down_by_name(tmp_path: Path) -> None:
    """The first event says who started it."""
    async with guarded(tmp_path) as server, client(server, HR) as hr:
        execution = await hr.start("one", {"n": 1})
        first = await anext(hr.history(execution.id))
        assert first.actor == "CALLER hr"


@pytest.mark.parametrize(
    "call",
    [
        lambda hr: hr.start("one", {"n": 1}),
        lambda hr: hr.deploy(("one.yaml", ONE)),
        lambda hr: hr.count(),
        lambda hr: hr.get("x"),
        lambda hr: anext(hr.executions()),
        lambda hr: anext(hr.watch("x")),
        lambda hr: anext(hr.watch_events()),
        lambda hr: hr.pause("x"),
        lambda hr: hr.explain("x"),
        lambda hr: anext(hr.tasks("x")),
        lambda hr: anext(hr.actions()),
        lambda hr: anext(hr.history("x")),
        lambda hr: hr.start_and_wait("one", {"n": 1}),
        lambda hr: hr.complete_action("x", "a1", 1),
    ],
)
async def test_other_namespaces_are_denied(tmp_path: Path, call: Callable[[aio.Client], Any]) -> None:
    """Whether or not what is asked for is there."""
    async with guarded(tmp_path) as server, client(server, HR, "finance") as hr:
        with pytest.raises(errors.Denied) as caught:
            await call(hr)
        assert caught.value.metadata == {"caller": "hr", "namespace": "finance"}


async def test_one_of_many_starts_for_another_namespace_is_denied_alone(tmp_path: Path) -> None:
    """The others are started."""
    async with guarded(tmp_path) as server, grpc.aio.insecure_channel(server.address) as channel:
        executions: Any = execution_service_pb2_grpc.ExecutionServiceStub(channel)
        request = pb.StartExecutionsRequest(requests=[start(namespace="hr"), start(namespace="finance")])
        answer = await executions.StartExecutions(
            request, metadata=(("authorization", f"bearer {HR}"),), timeout=PATIENCE
        )
        assert answer.results[0].started.execution.id
        assert answer.results[1].refusal.reason == "NAMESPACE_DENIED"


async def test_worker_serves_the_namespace_of_its_token(tmp_path: Path) -> None:
    """And ends when it is for another."""
    async with guarded(tmp_path) as server:
        async with client(server, HR) as hr:
            worker = Worker(client(server, HR))

            @worker.action("shop.do")
            async def do(n: int) -> int:
                return n + 1

            serving = asyncio.create_task(worker.serve())
            ended = await hr.start_and_wait("one", {"n": 1})
            worker.stop()
            await serving
            assert ended.output == {"r": 2}
        stranger = Worker(client(server, HR, "finance"))
        stranger.action("shop.do")(do)
        with pytest.raises(errors.Denied):
            await stranger.serve()


async def test_token_is_withdrawn_without_a_restart(tmp_path: Path) -> None:
    """And one that comes is let in; a file that cannot be read lets nobody in."""
    path = tmp_path / "tokens.yaml"
    async with guarded(tmp_path) as server, client(server, HR) as hr, client(server, "token-of-new") as new:
        assert await hr.count() == {}
        with pytest.raises(errors.Denied):
            await new.count()
        write(path, new=["hr"])
        os.utime(path, ns=(1, 1))
        assert await new.count() == {}
        with pytest.raises(errors.Denied):
            await hr.count()
        path.write_text("tokens: [")
        with pytest.raises(errors.Denied):
            await new.count()


async def test_streams_of_a_withdrawn_token_end_before_they_send_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has left would else read on, and a worker get secrets, for as long as the server runs; others go on."""
    monkeypatch.setattr(caller, "_LOOK_SECONDS", 0.0)
    path = tmp_path / "tokens.yaml"
    async with guarded(tmp_path) as server, client(server, ADMIN) as admin, client(server, HR) as hr:
        watches = [client_.watch_events() for client_ in (hr, admin)]
        for watch in watches:
            await anext(watch)
        worker, taken = Worker(client(server, HR)), []

        @worker.action("shop.do")
        async def do(n: int) -> int:
            taken.append(n)
            return n

        serving = asyncio.create_task(worker.serve())
        assert (await hr.start_and_wait("one", {"n": 1})).output == {"r": 1}
        write(path, admin=["*"], hr=["hr", "it"])
        assert (await hr.start_and_wait("one", {"n": 2})).output == {"r": 2}

        write(path, admin=["*"], hr=["it"])
        last = await admin.start("one", {"n": 3})
        for ending in (serving, seen(watches[0], last.id)):
            with pytest.raises(errors.Denied) as caught:
                async with asyncio.timeout(PATIENCE):
                    await ending
            assert caught.value.reason == "UNAUTHENTICATED"
        assert taken == [1, 2]
        async with asyncio.timeout(PATIENCE):
            await seen(watches[1], last.id)


async def test_streams_outlive_a_file_of_tokens_that_is_just_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All workers ended for good: who writes a file in its place leaves it empty, or half of it, for a moment."""
    monkeypatch.setattr(caller, "_LOOK_SECONDS", 0.0)
    path = tmp_path / "tokens.yaml"
    write(path, hr=["hr"])
    metadata = {"authorization": f"Bearer {HR}"}
    access = Access(Tokens(str(path)).identity, None, SystemClock())
    admitted = caller.Admitted(access, metadata, access.identity(metadata))
    for text in ("", "tokens: []"):
        path.write_text(text)
        checking = asyncio.create_task(admitted.check())
        await asyncio.sleep(0)
        write(path, hr=["hr"])
        await checking

    path.write_text("tokens: []")
    with pytest.raises(Unauthenticated):
        await admitted.check()


async def seen(watch: AsyncIterator[LogUpdate], execution_id: str) -> None:
    """Wait until a watch tells of an execution."""
    async for update in watch:
        if any(event.execution_id == execution_id for event in update.events):
            return


@pytest.mark.parametrize("text", ["tokens: [{name: 2026-13-45}]", "tokens: !!int x", "tokens: " + 5000 * "["])
async def test_withdrawn_token_is_refused_whatever_is_wrong_with_the_file(tmp_path: Path, text: str) -> None:
    """At each call, not only at the first after the change."""
    async with guarded(tmp_path) as server, client(server, HR) as hr:
        (tmp_path / "tokens.yaml").write_text(text)
        for _ in range(2):
            with pytest.raises(errors.Denied):
                await hr.count()


async def test_withdrawn_token_is_refused_after_a_swap_of_files_of_the_same_size_and_age(tmp_path: Path) -> None:
    """As a copy with its times, moved into place, makes them."""
    path, other = tmp_path / "tokens.yaml", tmp_path / "other.yaml"
    async with guarded(tmp_path) as server, client(server, HR) as hr:
        write(other, it=["hr"], admin=["*"])
        then = path.stat()
        os.utime(other, ns=(then.st_atime_ns, then.st_mtime_ns))
        assert other.stat().st_size == then.st_size
        assert await hr.count() == {}
        other.replace(path)
        with pytest.raises(errors.Denied):
            await hr.count()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "tokens: {}",
        "tokens: [1]",
        "tokens: [{name: a, sha256: b, namespaces: [c]}]",
        f"tokens: [{{name: a, sha256: {digest('x')}, namespaces: []}}]",
        f"tokens: [{{name: a, sha256: {digest('x')}, namespaces: '*'}}]",
        f"tokens: [{{name: a, sha256: {digest('x')}, namespaces: [c], calls: [write]}}]",
        f"tokens: [{{name: a, sha256: {digest('x')}, namespaces: [c], calls: read}}]",
        f"tokens: [{{name: '', sha256: {digest('x')}, namespaces: [c]}}]",
        f"tokens: [{{name: a, sha256: {digest('x')}, namespaces: [c], more: 1}}]",
        f"tokens: [{{name: a, sha256: {digest('x')}, namespaces: [c]}}, "
        f"{{name: b, sha256: {digest('x')}, namespaces: [c]}}]",
    ],
)
async def test_server_does_not_start_with_an_unusable_file(tmp_path: Path, text: str) -> None:
    """Rather than letting in nobody, or everybody."""
    path = tmp_path / "tokens.yaml"
    path.write_text(text)
    with pytest.raises(Unbindable, match=r"tokens\.yaml"):
        await Server.start(Settings(listen="127.0.0.1:0", database="", tokens_file=str(path)))
    with pytest.raises(Unbindable, match=r"missing\.yaml"):
        await Server.start(Settings(listen="127.0.0.1:0", database="", tokens_file=str(tmp_path / "missing.yaml")))


# --- what a token may call ---------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def narrowed(tmp_path: Path, *calls: str) -> AsyncIterator[tuple[aio.Client, aio.Client]]:
    """Run a server with the workflow `one`; give a client that may do all, and one that may do *calls*."""
    path = tmp_path / "tokens.yaml"
    everybody = {"namespaces": ["hr"], "groups": ["heads"]}
    entries = [
        {"name": "admin", "sha256": digest(ADMIN), **everybody},
        {"name": "hr", "sha256": digest(HR), "calls": list(calls), **everybody},
    ]
    path.write_text(yaml.safe_dump({"tokens": entries}))
    settings = Settings(listen="127.0.0.1:0", database="", tokens_file=str(path), shutdown_grace_seconds=0)
    server = await Server.start(settings)
    try:
        async with client(server, ADMIN) as admin, client(server, HR) as hr:
            await admin.deploy(("one.yaml", ONE))
            yield admin, hr
    finally:
        await server.stop()


async def test_token_of_a_person_is_none_of_a_worker_and_deploys_nothing(tmp_path: Path) -> None:
    """Who decides would else take actions, with the secrets and sensitive values in their input, or skip it."""
    async with narrowed(tmp_path, "decide") as (admin, hr):
        execution = await admin.start("one", {"n": 1})
        assert [task.id async for task in hr.people.list()] == []
        assert (await hr.server_info()).database == "sqlite"
        worker = Worker(hr)

        @worker.action("shop.do")
        async def do(n: int) -> int:
            raise AssertionError("it got an action")

        for refused_call in (
            worker.serve(),
            hr.complete_action(execution.id, "a1", 1),
            hr.deploy(("two.yaml", ONE.replace("one:", "two:"))),
            hr.start("one", {"n": 2}),
            hr.skip(execution.id, "t"),
            hr.get(execution.id),
            anext(hr.watch(execution.id)),
            anext(hr.consume("crm")),
            hr.delete_environment("e"),
        ):
            with pytest.raises(errors.Denied) as caught:
                await refused_call
            assert caught.value.reason == "CALL_DENIED"
            assert caught.value.metadata["calls"] == "decide"
        assert (await admin.get(execution.id)).state == "RUNNING"


async def test_token_that_reads_changes_nothing(tmp_path: Path) -> None:
    async with narrowed(tmp_path, "read") as (admin, hr):
        execution = await admin.start("one", {"n": 1})
        assert (await hr.get(execution.id)).id == execution.id
        assert [found.id async for found in hr.executions()] == [execution.id]
        for refused_call in (hr.pause(execution.id), hr.start("one", {"n": 2}), anext(hr.consume("crm"))):
            with pytest.raises(errors.Denied) as caught:
                await refused_call
            assert caught.value.reason == "CALL_DENIED"


async def test_token_with_several_words_may_do_each(tmp_path: Path) -> None:
    """And one without any may do nothing; without the list it may do all."""
    async with narrowed(tmp_path, "start", "read") as (_, hr):
        execution = await hr.start("one", {"n": 1})
        assert (await hr.get(execution.id)).state == "RUNNING"
    async with narrowed(tmp_path) as (_, hr):
        with pytest.raises(errors.Denied, match="he has: nothing"):
            await hr.count()


def test_each_method_needs_one_word() -> None:
    """What a new method is for has to be decided; what only looks is not called by who may do nothing but steer."""
    services = [
        service
        for module in map(importlib.import_module, _modules())
        for service in module.DESCRIPTOR.services_by_name.values()
    ]
    found: dict[str, set[str]] = {}
    for method in (method for service in services for method in service.methods):
        path = f"/{method.containing_service.full_name}/{method.name}"
        found.setdefault(" or ".join(sorted(words_for(path))), set()).add(method.name)
    every = found.pop(" or ".join(sorted(CALLS)))
    assert every == {"GetServerInfo"}
    assert found.keys() == {"consume", "decide", "decide or read", "deploy", "manage", "read", "start", "work"}
    assert found["consume"] == {"Consume"}
    assert found["deploy"] == {"DeleteDefinition", "DeleteEnvironment", "DeployDefinitions", "PutEnvironment"}
    assert "ExplainExecution" in found["read"]
    assert "WatchHumanTasks" in found["decide or read"]
    assert "PollActions" in found["work"]
    assert "CreateSubscription" in found["manage"]


def _modules() -> list[str]:
    return [
        f"tradewind.v1.{module.name}" for module in pkgutil.iter_modules(v1.__path__) if module.name.endswith("_pb2")
    ]


# --- certificates of clients -----------------------------------------------------------------------


async def test_only_clients_with_a_certificate_get_in(tmp_path: Path) -> None:
    """Of the authority that the server names; one of another is none."""
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    certificate, key = ours.issue("server")
    settings = Settings(
        listen="localhost:0",
        database="",
        tls_certificate=str(certificate),
        tls_key=str(key),
        tls_client_ca=str(ours.path),
        shutdown_grace_seconds=0,
    )
    server = await Server.start(settings)
    try:
        mine, theirs = ours.issue("me"), others.issue("stranger")
        async with aio.connect(server.address, tls=Tls(ours.path, *mine), patience=PATIENCE) as client_:
            assert (await client_.server_info()).database == "sqlite"
        for tls in (Tls(ours.path), Tls(ours.path, *theirs)):
            async with aio.connect(server.address, tls=tls, patience=0) as stranger:
                with pytest.raises(errors.Unavailable):
                    await stranger.server_info()
    finally:
        await server.stop()


async def test_certificates_of_clients_need_tls(tmp_path: Path) -> None:
    """Else the setting would promise what nobody checks."""
    with pytest.raises(Unbindable, match="tls_client_ca"):
        await Server.start(Settings(listen="127.0.0.1:0", database="", tls_client_ca=str(tmp_path / "ca.pem")))
