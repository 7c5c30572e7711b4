"""Notifications: each is sent at least once, over one channel after the other, whatever fails and whoever dies."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from tests.api import notified
from tests.api.harness import PATIENCE, refused, serving, start
from tests.api.notified import (
    Outbox,
    breaks_off,
    configured,
    contacts,
    hook,
    mail,
    notifying,
    providing,
    receiving_mail,
    says,
    sms,
    stalls,
)
from tests.api.test_human_tasks import as_user, away
from tests.api.test_traces import TRACE
from tests.crash.drive import ServerProcess
from tradewind import aio
from tradewind.v1 import human_task_service_pb2 as people_pb
from tradewind.v1 import notification_service_pb2 as pb
from tradewind_server.actions import notifications
from tradewind_server.actions.notification_sender import NotificationSender
from tradewind_server.lang.values import encode
from tradewind_server.store import notifications as store

SECRETS = {"TRADEWIND_SECRET_SMS": "top-secret-token", "TRADEWIND_SECRET_HOOK": "whsec_c2lnbmluZy1rZXk="}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon; the providers' secrets are there."""
    notified.quickened(monkeypatch)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


async def test_who_is_asked_gets_a_mail(database_url: str, tmp_path: Path) -> None:
    """Users and groups each get their own, with the public fields, and the id that it keeps."""
    async with receiving_mail() as mailbox:
        users = {"alice": [{"mail": "alice@example.org"}]}
        with configured(
            tmp_path, {"mail": mail(mailbox.address)}, users, link="https://t.example/{human_task}"
        ) as found:
            contacts(tmp_path, users, {"heads": [{"mail": "a@example.org, b@example.org"}]})
            async with notifying(database_url, found) as outbox:
                id_ = await outbox.ask(["alice"], ["heads"])
                messages = await mailbox.count(2)
                sent = await outbox.until("SENT", 2)

    assert sorted(to for to, _ in messages) == [["a@example.org", "b@example.org"], ["alice@example.org"]]
    assert {message["Subject"] for _, message in messages} == {"To do: Approve ['alice']"}
    text = str(messages[0][1].get_payload())
    assert f"https://t.example/{id_}/a1" in text
    assert "Process: asking" in text
    assert "Started by" not in text, "a line whose fields are empty is left out"
    ids = {item.id for item in sent}
    assert {message["Message-ID"] for _, message in messages} == {
        f"<{name.replace(':', '.')}@tradewind.invalid>" for name in ids
    }
    assert {(i.recipient, i.kind, i.channel, i.attempts) for i in sent} == {
        ("user:alice", "offered", "mail", 1),
        ("group:heads", "offered", "mail", 1),
    }


async def test_a_substitute_and_a_delegate_get_a_mail(database_url: str, tmp_path: Path) -> None:
    """In the transaction that asks, or delegates; with an id of its own, and the note."""
    async with receiving_mail() as mailbox:
        users = {name: [{"mail": f"{name}@example.org"}] for name in ("alice", "gil", "fred")}
        with configured(tmp_path, {"mail": mail(mailbox.address)}, users) as found:
            async with notifying(database_url, found) as outbox:
                people = outbox.served.people
                await people.AddAbsence(people_pb.AddAbsenceRequest(absence=away("", "gil")), **as_user("alice"))
                id_ = await outbox.ask(["alice"])
                await mailbox.count(2)
                delegate = people_pb.DelegateHumanTaskRequest(human_task_id=f"{id_}/a1", user="fred", note="please")
                await people.DelegateHumanTask(delegate, **as_user("gil"))
                messages = await mailbox.count(3)
                sent = await outbox.until("SENT", 3)
    assert sorted(to for to, _ in messages) == [["alice@example.org"], ["fred@example.org"], ["gil@example.org"]]
    assert [("Note: please" in str(message.get_payload()), to) for to, message in messages][2] == (
        True,
        ["fred@example.org"],
    )
    assert len({item.id for item in sent}) == 3
    assert {(item.recipient, item.kind) for item in sent} == {
        ("user:alice", "offered"),
        ("user:gil", "offered"),
        ("user:fred", "offered"),
    }


@pytest.mark.slow
async def test_an_absence_that_begins_later_tells_the_substitute_then(database_url: str, tmp_path: Path) -> None:
    """Of what is open at that moment, once, and of nothing that is decided before."""
    async with receiving_mail() as mailbox:
        users = {name: [{"mail": f"{name}@example.org"}] for name in ("alice", "ben", "gil")}
        with configured(tmp_path, {"mail": mail(mailbox.address)}, users) as found:
            async with notifying(database_url, found) as outbox:
                people, alice = outbox.served.people, as_user("alice")
                absence = away("", "gil", begins=2)
                added = await people.AddAbsence(people_pb.AddAbsenceRequest(absence=absence), **alice)
                decided, open_ = await outbox.ask(["alice"]), await outbox.ask(["alice", "ben"])
                for who in (alice, as_user("ben")):
                    # the same again is the one that is there; gil also stands in for another one who is asked
                    await people.AddAbsence(people_pb.AddAbsenceRequest(absence=absence), **who)
                seen = await people.GetHumanTask(people_pb.GetHumanTaskRequest(human_task_id=f"{decided}/a1"))
                submit = people_pb.SubmitHumanTaskRequest(
                    human_task_id=f"{decided}/a1", outcome="done", etag=seen.human_task.etag
                )
                await people.SubmitHumanTask(submit, **alice)
                messages = await mailbox.count(4)
                sent = await outbox.until("SENT", 4)
    assert sorted(to for to, _ in messages) == [["alice@example.org"]] * 2 + [["ben@example.org"], ["gil@example.org"]]
    [later] = [item for item in sent if item.recipient == "user:gil"]
    assert later.id.startswith(open_)
    assert later.created_at.seconds >= added.absence.starts_at.seconds


async def test_the_next_channel_is_tried_when_one_fails(database_url: str, tmp_path: Path) -> None:
    """A refused mail is not tried again; an SMS is, until the provider gives it a name."""
    async with receiving_mail() as mailbox, providing() as provider:
        mailbox.refusals = ["554 no thanks"]
        provider.answers = [says(503)]
        users = {"alice": [{"mail": "alice@example.org"}, {"sms": "+49 170 1"}]}
        channels = {"mail": mail(mailbox.address, max_attempts=9), "sms": sms(provider)}
        with configured(tmp_path, channels, users) as found:
            async with notifying(database_url, found) as outbox:
                await outbox.ask(["alice"])
                [item] = await outbox.until("SENT")

    assert (item.channel, item.attempts, item.provider_id, item.message) == ("sms", 2, "m-1", "")
    assert mailbox.messages == []
    assert [body["to"] for _, body in provider.requests] == ["+49 170 1"] * 2
    assert provider.requests[0][1]["ref"] == [item.id]
    assert provider.requests[0][0]["Authorization"] == "Bearer top-secret-token"
    assert provider.ids == {item.id}


async def test_the_channels_that_a_definition_names_count(database_url: str, tmp_path: Path) -> None:
    """In their order, and no other."""
    async with providing() as provider:
        channels = {name: sms(provider, json={"to": f"{name} {{address}}"}) for name in ("one", "two", "three")}
        provider.answers = [says(400, "no such number")]
        users = {"alice": [{"one": "1"}, {"two": "2"}, {"three": "3"}]}
        with configured(tmp_path, channels, users) as found:
            async with notifying(database_url, found, wanted="[three, two]") as outbox:
                await outbox.ask(["alice"])
                [item] = await outbox.until("SENT")

    assert [body["to"] for _, body in provider.requests] == ["three 3", "two 2"]
    assert item.channel == "two"


async def test_a_provider_that_fails_stalls_breaks_off_and_lies_is_asked_again(
    database_url: str, tmp_path: Path
) -> None:
    """It said yes without a name for the message, or with a broken answer: that is no yes. The id stays the same."""
    async with providing() as provider:
        provider.answers = [says(200, {"error": "quota"}), breaks_off, stalls, says(200, []), says(429)]
        channels = {"sms": sms(provider, timeout=1, max_attempts=6)}
        with configured(tmp_path, channels, {"alice": [{"sms": "1"}]}) as found:
            async with notifying(database_url, found) as outbox:
                await outbox.ask(["alice"])
                [item] = await outbox.until("SENT")

    assert (len(provider.requests), item.attempts, provider.ids) == (6, 6, {item.id})


async def test_a_fault_of_the_server_is_an_attempt_that_failed(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted, and after enough of them given up, as anything else that does not work."""

    async def faulty(*_: Any) -> str:
        raise ZeroDivisionError("a secret of the house")

    monkeypatch.setattr(NotificationSender, "_sms", faulty)
    async with providing() as provider:
        channels = {"sms": sms(provider, max_attempts=2)}
        with configured(tmp_path, channels, {"alice": [{"sms": "1"}]}) as found:
            async with notifying(database_url, found) as outbox:
                await outbox.ask(["alice"])
                [item] = await outbox.until("DEAD")

    assert (item.attempts, item.message) == (2, "sms: The server is at fault; its log says how (ZeroDivisionError).")


async def test_a_webhook_is_signed(database_url: str, tmp_path: Path) -> None:
    """As those of subscriptions are, with the notification's id; its address is the receiver's URL."""
    async with providing() as provider:
        provider.answers = [says(500), breaks_off]
        with configured(tmp_path, {"hook": hook(signing_secret="hook")}, {"alice": [{"hook": provider.url}]}) as found:
            async with notifying(database_url, found) as outbox:
                await outbox.ask(["alice"])
                [item] = await outbox.until("SENT")

    # what breaks off has said 200 before: only the status counts
    headers, body = provider.requests[-1]
    assert len(provider.requests) == 2
    assert provider.ids == {item.id}
    assert (body["id"], body["kind"], body["to"], body["title"]) == (item.id, "offered", "alice", "Approve ['alice']")
    signed = f"{item.id}.{headers['webhook-timestamp']}.".encode() + encode(body)
    made = base64.b64encode(hmac.digest(b"signing-key", signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{made}"


@pytest.mark.parametrize("kind", ["hook", "sms"])
async def test_a_message_carries_the_trace_of_its_execution(database_url: str, tmp_path: Path, kind: str) -> None:
    """Over HTTP, as the header traceparent; without a trace there is none."""
    async with providing() as provider:
        channels = {"hook": hook(), "sms": sms(provider)}
        contacts_ = {"alice": [{kind: provider.url if kind == "hook" else "1"}]}
        with configured(tmp_path, channels, contacts_) as found:
            async with notifying(database_url, found) as outbox:
                given = {"users": ["alice"], "groups": [], "channels": []}
                await outbox.served.executions.StartExecution(
                    start("asking", given), metadata=(("traceparent", TRACE),)
                )
                await provider.count(1)
                await outbox.ask(["alice"])
                await provider.count(2)

    assert [headers.get("traceparent") for headers, _ in provider.requests] == [TRACE, None]


async def test_sensitive_values_are_not_sent(database_url: str, tmp_path: Path) -> None:
    """Whoever is asked sees them where he decides; a message leaves the house."""
    text = """
version: '2.0'
paying:
  input: [iban]
  sensitive: [iban]
  tasks:
    t: {human: {title: Pay to <% $.iban %>, users: alice, notify: true}}
"""
    async with providing() as provider:
        with configured(tmp_path, {"hook": hook()}, {"alice": [{"hook": provider.url}]}) as found:
            async with notifying(database_url, found) as outbox:
                await outbox.served.deploy(text)
                await outbox.served.start("paying", {"iban": "DE89370400440532013000"})
                await outbox.until("SENT")

    [(_, body)] = provider.requests
    assert (body["title"], body["to"], body["kind"]) == ("Pay to ***", "alice", "offered")
    assert "DE8937" not in str(body)


async def test_what_reaches_nobody_is_a_dead_letter_until_it_is_retried(database_url: str, tmp_path: Path) -> None:
    """It is listed and counted, and says why; contacts that are mended count at once."""
    async with providing() as provider:
        provider.answers = [says(503), says(503)]
        users = {"alice": [{"sms": "1"}], "carl": [{"pigeon": "1"}]}
        with configured(tmp_path, {"sms": sms(provider)}, users) as found:
            async with notifying(database_url, found) as outbox:
                await outbox.ask(["alice", "bob", "carl"])
                dead = {item.recipient: item for item in await outbox.until("DEAD", 3)}
                answer = await outbox.stub.ListNotifications(pb.ListNotificationsRequest(page_size=2))
                rest = await outbox.stub.ListNotifications(
                    pb.ListNotificationsRequest(page_size=2, page_token=answer.next_page_token)
                )
                contacts(tmp_path, {**users, "bob": [{"sms": "2"}]})
                request = pb.RetryNotificationsRequest(ids=[dead["user:bob"].id, dead["user:alice"].id])
                retried = await outbox.stub.RetryNotifications(request)
                again = await outbox.stub.RetryNotifications(request)
                sent = await outbox.until("SENT", 2)

    assert dead["user:alice"].message == "sms: Status 503: null"
    assert dead["user:bob"].message == "The contacts do not say how to reach user:bob."
    assert dead["user:carl"].message == "pigeon: There is no channel 'pigeon'."
    assert (answer.pending_count, answer.sent_count, answer.dead_count) == (0, 0, 3)
    assert (len(answer.notifications), len(rest.notifications), rest.next_page_token) == (2, 1, "")
    assert (retried.retried_count, again.retried_count) == (2, 0)
    assert {item.recipient for item in sent} == {"user:alice", "user:bob"}


@pytest.mark.parametrize("channel", ["mail", "sms", "hook"])
async def test_channels_obey_the_policy_of_connections(channel: str, tmp_path: Path) -> None:
    """Nothing is sent to an address of the inner network unless the channel may."""
    async with receiving_mail() as mailbox, providing() as provider:
        channels: dict[str, dict[str, object]] = {
            "mail": mail(mailbox.address),
            "sms": sms(provider),
            "hook": hook(max_attempts=1),
        }
        address = {"mail": "a@example.org", "sms": "1", "hook": provider.url}[channel]
        wanted = {channel: {**channels[channel], "allow_private": False}}
        with configured(tmp_path, wanted, {"alice": [{channel: address}]}) as found:
            async with notifying("", found) as outbox:
                await outbox.ask(["alice"])
                [item] = await outbox.until("DEAD")

    assert (item.attempts, mailbox.messages, provider.requests) == (1, [], [])
    assert item.message.startswith(f"{channel}: Refused to connect: the address is not a public one")


@pytest.mark.slow
async def test_a_channel_is_left_after_its_time(tmp_path: Path) -> None:
    """Also before it has been tried as often as it may."""
    async with providing() as provider:
        provider.usual = says(503)
        channels = {"sms": sms(provider, max_attempts=100, max_age=1)}
        with configured(tmp_path, channels, {"alice": [{"sms": "1"}]}) as found:
            async with notifying("", found) as outbox:
                await outbox.ask(["alice"])
                [item] = await outbox.until("DEAD")

    assert 2 < item.attempts < 20


def test_pauses_double_up_to_a_bound() -> None:
    """Each is spread by up to a half, the same way every time, and differs between notifications."""

    def pauses(id_: str) -> list[float]:
        row = store.Notification(id_, 1, 0, "default", "offered", "user:a", store.PENDING, 0, 0)
        return [notifications.pause_seconds(dataclasses.replace(row, attempts=n)) for n in (1, 2, 5, 12, 500)]

    bounds = [notifications._FIRST_SECONDS * 2**n for n in (0, 1, 4, 11)] + [notifications._LONGEST_SECONDS]
    assert all(bound / 2 <= pause <= bound for pause, bound in zip(pauses("a"), bounds, strict=True))
    assert pauses("a") == pauses("a") != pauses("b")


async def test_nobody_is_notified_without_a_setup(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked for is not lost: it is shown as what could not be sent."""
    monkeypatch.setattr(notifications, "_LEASE_SECONDS", 0.2)
    async with notifying(database_url, {}) as outbox:
        await outbox.ask(["alice"])
        [item] = await outbox.until("DEAD")

    assert item.message == "The contacts do not say how to reach user:alice."


async def test_a_setting_notifies_of_what_says_nothing(database_url: str, tmp_path: Path) -> None:
    """Definitions that say no are left alone."""
    text = """
version: '2.0'
w:
  tasks:
    said: {human: {title: Said, users: alice, notify: false}}
    unsaid: {human: {title: Unsaid, users: alice}}
"""
    async with providing() as provider:
        with configured(tmp_path, {"sms": sms(provider)}, {"alice": [{"sms": "1"}]}) as found:
            async with serving(database_url, **found, notify_asked=True) as served:
                await served.deploy(text)
                await served.start("w", {})
                await provider.count(1)
                assert len(await Outbox(served).until("SENT")) == 1

    assert [body["text"] for _, body in provider.requests] == ["To do: Unsaid"]


# --- who dies when -------------------------------------------------------------------------------


@pytest.fixture
def lasting_url(database_url: str, tmp_path: Path) -> str:
    """Give a database that outlives a server."""
    return database_url or str(tmp_path / "lasting.db")


async def _dies_before_it_takes(patch: pytest.MonkeyPatch) -> None:
    async def never(self: notifications.Notifications) -> float:
        await asyncio.Event().wait()
        return 0.0

    patch.setattr(notifications.Notifications, "_send_due", never)


async def _dies_before_it_sends(patch: pytest.MonkeyPatch) -> None:
    async def never(self: NotificationSender, *_: Any) -> str:
        await asyncio.Event().wait()
        return ""

    patch.setattr(NotificationSender, "send", never)


async def _dies_before_it_writes_down(patch: pytest.MonkeyPatch) -> None:
    send = NotificationSender.send

    async def sends(self: NotificationSender, *given: Any) -> str:
        await send(self, *given)
        await asyncio.Event().wait()
        return ""

    patch.setattr(NotificationSender, "send", sends)


@pytest.mark.parametrize(
    ("dies", "is_sent_twice"),
    [(_dies_before_it_takes, False), (_dies_before_it_sends, False), (_dies_before_it_writes_down, True)],
)
async def test_what_a_dead_server_left_is_sent_by_the_next(
    dies: Any, is_sent_twice: bool, lasting_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every step between the commit and the note: at least once, and always with the same id."""
    async with providing() as provider:
        with configured(tmp_path, {"sms": sms(provider)}, {"alice": [{"sms": "1"}]}) as found:
            with monkeypatch.context() as patch:
                # of this server only: the next one may need longer to send on a busy machine
                patch.setattr(notifications, "_LEASE_SECONDS", 0.3)
                await dies(patch)
                # a server that is killed frees nothing
                patch.setattr(store, "let_go", lambda *_: 0)
                async with notifying(lasting_url, found) as outbox:
                    await outbox.ask(["alice"])
                    if is_sent_twice:
                        await provider.count(1)
                    [left] = await outbox.having("PENDING")
            async with serving(lasting_url, **found) as served:
                [sent] = await Outbox(served).until("SENT")

    assert sent.id == left.id
    assert len(provider.requests) == 1 + is_sent_twice
    assert provider.ids == {left.id}


async def test_two_servers_send_each_once(tmp_path: Path, postgres_url: Any) -> None:
    """They share what is due."""
    url = postgres_url()
    async with providing() as provider:
        users = {f"u{n}": [{"sms": str(n)}] for n in range(60)}
        with configured(tmp_path, {"sms": sms(provider)}, users) as found:
            async with notifying(url, found) as outbox, serving(url, **found):
                await outbox.ask(list(users))
                sent = await outbox.until("SENT", 60)

    assert len(sent) == len(provider.requests) == len(provider.ids) == 60


async def test_a_server_that_lost_a_notification_writes_nothing_down(
    lasting_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease was over, and another one has it: what that one wrote stands."""
    monkeypatch.setattr(notifications, "_LEASE_SECONDS", 0.0)
    late = asyncio.Event()

    async def slow(request: Any) -> Any:
        await late.wait()
        return await says(202, {"messages": [{"id": "late"}]})(request)

    async with providing() as provider:
        provider.answers = [slow]
        with configured(tmp_path, {"sms": sms(provider)}, {"alice": [{"sms": "1"}]}) as found:
            async with notifying(lasting_url, found) as outbox:
                await outbox.ask(["alice"])
                [sent] = await outbox.until("SENT")
                notified.written.clear()
                late.set()
                async with asyncio.timeout(PATIENCE):
                    await notified.written.wait()
                [after] = await outbox.having("SENT")

    assert (sent.provider_id, after) == ("m-1", sent)


async def test_a_server_without_channels_leaves_it_to_one_that_has_some(tmp_path: Path, postgres_url: Any) -> None:
    """Whichever of the two hears of it first."""
    url = postgres_url()
    async with providing() as provider:
        with configured(tmp_path, {"sms": sms(provider)}, {"alice": [{"sms": "1"}]}) as found:
            async with notifying(url, {}) as outbox, serving(url, **found):
                await outbox.ask(["alice"])
                await outbox.until("SENT")

    assert len(provider.requests) == 1


@pytest.mark.slow
async def test_a_notification_survives_a_killed_server(tmp_path: Path) -> None:
    """SIGKILL while the provider thinks: the next server sends it again, with the same id."""
    async with providing() as provider:
        provider.answers = [stalls]
        channels = {"sms": sms(provider, timeout=40)}
        with configured(tmp_path, channels, {"alice": [{"sms": "1"}]}) as found, pytest.MonkeyPatch.context() as patch:
            for name, value in found.items():
                patch.setenv(f"TRADEWIND_{name.upper()}", value)
            process = ServerProcess(str(tmp_path / "killed.db"), tmp_path / "server.log")
            await asyncio.to_thread(process.start)
            try:
                async with aio.connect(process.address) as client:
                    await client.deploy(("asking.yaml", notified.ASKING.replace("{channels: CHANNELS}", "true")))
                    await client.start("asking", {"users": ["alice"], "groups": [], "channels": []})
                    await provider.count(1)
                    await asyncio.to_thread(process.kill)
                    await asyncio.to_thread(process.start)
                    await provider.count(2)
                    ids = {item.id async for item in client.notifications()}
            finally:
                await asyncio.to_thread(process.kill)

    assert provider.ids == ids


# --- by hand -------------------------------------------------------------------------------------


async def test_a_channel_can_be_tried(database_url: str, tmp_path: Path) -> None:
    """To a contact or to an address; what the provider says comes back, without secrets."""
    async with providing() as provider:
        with configured(tmp_path, {"sms": sms(provider)}, {"alice": [{"sms": "1"}]}) as found:
            async with notifying(database_url, found) as outbox:

                async def tried(channel: str, to: str) -> str:
                    request = pb.SendTestNotificationRequest(channel=channel, to=to)
                    return str((await outbox.stub.SendTestNotification(request)).provider_id)

                assert await tried("sms", "alice") == "m-1"
                assert await tried("sms", "+49 2") == "m-1"
                provider.answers = [says(401, "top-secret-token is no token")]
                with refused(StatusCode.FAILED_PRECONDITION, "NOTIFICATION_NOT_SENT") as caught:
                    await tried("sms", "alice")
                with refused(StatusCode.NOT_FOUND, "CHANNEL_NOT_FOUND"):
                    await tried("pigeon", "alice")
                with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
                    await tried("sms", "")
                with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
                    await outbox.stub.RetryNotifications(pb.RetryNotificationsRequest(ids=["nonsense"]))
                with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
                    await outbox.stub.ListNotifications(pb.ListNotificationsRequest(states=[77]))  # type: ignore[list-item]

    assert [body["to"] for _, body in provider.requests] == ["1", "+49 2", "1"]
    assert "top-secret-token" not in caught.message
    assert "401" in caught.message
