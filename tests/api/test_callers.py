"""Who calls: by token with groups and rights, by the word of a proxy, or by his own."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc import StatusCode

from tests.api.harness import PATIENCE, Served, refused
from tests.api.test_human_tasks import BONUS
from tradewind import values
from tradewind.v1 import (
    definition_pb2,
    definition_service_pb2,
    execution_service_pb2,
    human_task_pb2,
    notification_service_pb2_grpc,
)
from tradewind.v1 import definition_service_pb2 as definitions_pb
from tradewind.v1 import human_task_service_pb2 as pb
from tradewind.v1 import notification_service_pb2 as notifications_pb
from tradewind_server.api.tokens import digest
from tradewind_server.bootstrap import Server, Unbindable
from tradewind_server.settings import Settings

SECRET = b"a secret of the proxy"
HEAD = {"user": "alice", "groups": "heads", "namespaces": "default", "rights": ""}


@contextlib.asynccontextmanager
async def serving(tmp_path: Path, *, proxy: bool = True, tokens: bool = False) -> AsyncIterator[Served]:
    """Run a server behind a proxy, or with tokens, or both."""
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    entries = [
        {"name": name, "sha256": digest(f"token-of-{name}"), "namespaces": ["default"], **more}
        for name, more in {
            "eve": {},
            "alice": {"groups": ["heads"]},
            "chief": {"rights": ["manage-human-tasks"]},
        }.items()
    ]
    (tmp_path / "tokens.yaml").write_text(yaml.safe_dump({"tokens": entries}))
    settings = Settings(
        listen="127.0.0.1:0",
        database="",
        proxy_secret_file=str(tmp_path / "secret") if proxy else "",
        tokens_file=str(tmp_path / "tokens.yaml") if tokens else "",
        shutdown_grace_seconds=0,
    )
    server = await Server.start(settings)
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield Served(server, channel)
    finally:
        await server.stop()


def signed(secret: bytes = SECRET, at: float | None = None, **values: str) -> dict[str, Any]:
    """Return how the proxy calls for a person."""
    fields = {**HEAD, **values, "at": str(int(time.time() if at is None else at))}
    signed_names = ("user", "groups", "namespaces", "rights", "at", *(["calls"] if "calls" in fields else []))
    text = "\n".join(fields[name] for name in signed_names)
    signature = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
    metadata = [(f"x-tradewind-{name}", value) for name, value in fields.items()]
    return {"metadata": (*metadata, ("x-tradewind-signature", signature)), "timeout": PATIENCE}


def token(name: str) -> dict[str, Any]:
    """Return how somebody calls with a token."""
    return {"metadata": (("authorization", f"Bearer token-of-{name}"),), "timeout": PATIENCE}


async def inbox(served: Served, how: dict[str, Any], namespace: str = "") -> list[str]:
    """Return the titles in somebody's inbox."""
    request = pb.ListHumanTasksRequest(namespace=namespace, scope=pb.HUMAN_TASK_SCOPE_INBOX)
    answer = await served.people.ListHumanTasks(request, **how)
    return [human_task.title for human_task in answer.human_tasks]


async def test_a_proxy_says_who_calls(tmp_path: Path) -> None:
    """With groups; names that are not ASCII are percent-encoded."""
    async with serving(tmp_path) as served:
        assert await inbox(served, signed()) == []
        assert await inbox(served, signed(user="J%C3%B6rg", groups="k%C3%B6che,heads")) == []


@pytest.mark.parametrize(
    "how",
    [
        lambda: {"metadata": ()},
        lambda: {"metadata": (("x-tradewind-user", "alice"), ("x-tradewind-groups", "heads"))},
        lambda: signed(secret=b"another secret of a proxy"),
        lambda: signed(at=time.time() - 120),
        lambda: signed(at=time.time() + 120),
        lambda: {"metadata": (*signed()["metadata"][1:], ("x-tradewind-user", "mallory"))},
        lambda: {"metadata": tuple((k, v) for k, v in signed()["metadata"] if not k.endswith("-at"))},
    ],
    ids=["nothing", "no signature", "another secret", "old", "of the future", "another user", "no moment"],
)
async def test_what_the_proxy_has_not_signed_is_refused(tmp_path: Path, how: Callable[[], dict[str, Any]]) -> None:
    """It is signed when the test runs, so that only what is wrong with it is the reason."""
    async with serving(tmp_path) as served:
        with refused(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"):
            await inbox(served, how())


async def test_a_proxy_says_what_a_person_may_call(tmp_path: Path) -> None:
    """What is on the way cannot give more, by another list or by none."""
    async with serving(tmp_path) as served:
        request = definitions_pb.ListDefinitionsRequest()
        assert not (await served.definitions.ListDefinitions(request, **signed())).definitions
        assert await inbox(served, signed(calls="decide")) == []
        for calls in ("decide", ""):
            with refused(StatusCode.PERMISSION_DENIED, "CALL_DENIED"):
                await served.definitions.ListDefinitions(request, **signed(calls=calls))
        how = signed(calls="decide")
        without = tuple(pair for pair in how["metadata"] if pair[0] != "x-tradewind-calls")
        for metadata in (without, (*without, ("x-tradewind-calls", "decide,read"))):
            with refused(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"):
                await served.definitions.ListDefinitions(request, metadata=metadata)


async def test_a_proxy_says_which_namespaces(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        with refused(StatusCode.PERMISSION_DENIED, "NAMESPACE_DENIED"):
            await inbox(served, signed(), "other")
        assert await inbox(served, signed(namespaces="*"), "other") == []


async def test_channels_are_tried_by_who_has_the_right(tmp_path: Path) -> None:
    """Also sending again what was given up; everybody may look."""
    async with serving(tmp_path) as served:
        stub: Any = notification_service_pb2_grpc.NotificationServiceStub(served.channel)
        test = notifications_pb.SendTestNotificationRequest(channel="sms", to="alice")
        for rights in ("", "manage-human-tasks"):
            with refused(StatusCode.PERMISSION_DENIED, "NOT_NOTIFIER"):
                await stub.SendTestNotification(test, **signed(rights=rights))
            with refused(StatusCode.PERMISSION_DENIED, "NOT_NOTIFIER"):
                await stub.RetryNotifications(notifications_pb.RetryNotificationsRequest(), **signed(rights=rights))
        with refused(StatusCode.NOT_FOUND, "CHANNEL_NOT_FOUND"):
            await stub.SendTestNotification(test, **signed(rights="manage-notifications"))
        assert not (await stub.ListNotifications(notifications_pb.ListNotificationsRequest(), **signed())).notifications


async def test_with_tokens_and_a_proxy_either_will_do(tmp_path: Path) -> None:
    async with serving(tmp_path, tokens=True) as served:
        assert await inbox(served, token("alice")) == []
        assert await inbox(served, signed()) == []
        with refused(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"):
            await inbox(served, {"metadata": (("x-tradewind-user", "alice"),)})


async def test_a_token_says_groups_and_rights_whatever_the_caller_says(tmp_path: Path) -> None:
    """Who may manage is who has the right, not who says so."""
    async with serving(tmp_path, proxy=False, tokens=True) as served:
        claims = token("eve")["metadata"] + (("x-tradewind-user", "alice"), ("x-tradewind-groups", "heads"))
        eve = {"metadata": claims, "timeout": PATIENCE}
        from_file = await _begin(served, eve)
        with refused(StatusCode.PERMISSION_DENIED, "PERSON_EXCLUDED"):
            await served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=from_file), **eve)
        with refused(StatusCode.PERMISSION_DENIED, "PERSON_NOT_MANAGER"):
            await served.people.AssignHumanTask(
                pb.AssignHumanTaskRequest(human_task_id=from_file, user="fred"), **token("alice")
            )
        assigned = await served.people.AssignHumanTask(
            pb.AssignHumanTaskRequest(human_task_id=from_file, user="alice"), **token("chief")
        )
        assert assigned.human_task.assignee == "alice"
        assert await inbox(served, token("alice")) == ["Approve 1"]
        absence = human_task_pb2.Absence(user="alice", substitute="eve")
        absence.starts_at.FromSeconds(int(time.time()))
        absence.ends_at.FromSeconds(int(time.time()) + 600)
        with refused(StatusCode.PERMISSION_DENIED, "PERSON_NOT_MANAGER"):
            await served.people.AddAbsence(pb.AddAbsenceRequest(absence=absence), **eve)
        added = await served.people.AddAbsence(pb.AddAbsenceRequest(absence=absence), **token("chief"))
        with refused(StatusCode.PERMISSION_DENIED, "PERSON_NOT_MANAGER"):
            await served.people.RemoveAbsence(pb.RemoveAbsenceRequest(absence_id=added.absence.id), **eve)
        await served.people.RemoveAbsence(pb.RemoveAbsenceRequest(absence_id=added.absence.id), **token("alice"))


async def _begin(served: Served, how: dict[str, Any]) -> str:
    file = definition_pb2.DefinitionFile(name="bonus.yaml", content=BONUS.encode())
    await served.definitions.DeployDefinitions(definition_service_pb2.DeployDefinitionsRequest(files=[file]), **how)
    input_ = values.to_payload({"amount": 1, "priority": 0, "head": None})
    request = execution_service_pb2.StartExecutionRequest(workflow="bonus", input=input_)
    answer = await served.executions.StartExecution(request, **how)
    return f"{answer.execution.id}/a1"


@pytest.mark.parametrize("secret", [None, b"short"])
async def test_a_secret_that_is_none_keeps_the_server_down(tmp_path: Path, secret: bytes | None) -> None:
    if secret is not None:
        (tmp_path / "secret").write_bytes(secret)
    with pytest.raises(Unbindable, match="secret"):
        await Server.start(Settings(listen="127.0.0.1:0", proxy_secret_file=str(tmp_path / "secret")))


@pytest.mark.parametrize("entry", [{"rights": ["fly"]}, {"groups": "heads"}, {"groups": [""]}, {"more": 1}])
async def test_a_token_with_rights_that_are_none_keeps_the_server_down(tmp_path: Path, entry: dict[str, Any]) -> None:
    """A slip must not give more, nor less, than was meant."""
    tokens = [{"name": "x", "sha256": digest("x"), "namespaces": ["*"], **entry}]
    (tmp_path / "tokens.yaml").write_text(yaml.safe_dump({"tokens": tokens}))
    with pytest.raises(Unbindable, match="entry 1|rights"):
        await Server.start(Settings(listen="127.0.0.1:0", tokens_file=str(tmp_path / "tokens.yaml")))
