"""Sensitive values: planted in every place that is marked, searched for in everything that callers get."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hmac
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from grpc import StatusCode

from tests.api.harness import PATIENCE, Served, refused, serving
from tests.api.test_human_tasks import away
from tests.api.test_webhooks import Receiver, receiving
from tests.cli import command_line
from tradewind import values
from tradewind.v1 import action_callback_pb2 as callback_pb
from tradewind.v1 import (
    action_pb2,
    definition_pb2,
    definition_service_pb2,
    execution_pb2,
    failure_pb2,
    subscription_pb2,
    subscription_service_pb2_grpc,
)
from tradewind.v1 import execution_service_pb2 as pb
from tradewind.v1 import human_task_service_pb2 as people_pb
from tradewind.v1 import subscription_service_pb2 as subscription_pb
from tradewind_server.api.tokens import digest
from tradewind_server.lang.values import encode
from tradewind_server.runtime import sensitive

IBAN, PIN, AMOUNT = "DE89370400440532013000", "pin-of-canary", 714285
CANARIES = [IBAN.encode(), PIN.encode(), str(AMOUNT).encode()]

PAYOUT = """
version: '2.0'
payout:
  input: [iban, amount, hook: null]
  sensitive: [iban, amount]
  output: {iban: <% $.iban %>, copy: <% $.account %>, done: true}
  output-on-error: {told: to <% $.iban %>}
  tasks:
    enter:
      human:
        title: Pay to <% $.iban %>
        description: It is <% $.amount %> for <% $.iban %>
        show: {iban: <% $.iban %>, amount: <% $.amount %>, note: to <% $.iban %>}
        form:
          type: object
          properties: {pin: {type: string, x-sensitive: true}, comment: {type: string}}
        groups: [clerks]
      publish: {account: <% $.iban %>, code: <% task().result.data.pin %>}
      on-success: check
    check:
      workflow: inner account=<% $.account %> pin=<% $.code %>
      publish: {seen: <% task().result %>}
      on-success: pay
    pay:
      action: shop.do account=<% $.account %> code=<% $.code %>
inner:
  input: [account, pin]
  output: {same: <% $.account %>}
  tasks: {t: {action: std.echo output=<% $.account %>}}
"""


def write_tokens(folder: Path) -> str:
    """Write who may what; return the file."""
    entries: list[dict[str, Any]] = [
        {"name": "reader", "rights": ["manage-human-tasks"]},
        {"name": "auditor", "rights": ["see-sensitive-values"]},
        {"name": "clerk", "groups": ["clerks"]},
        {"name": "second", "groups": ["clerks"]},
        {"name": "worker"},
    ]
    for entry in entries:
        entry.update(namespaces=["*"], sha256=digest(f"token-of-{entry['name']}"))
    (folder / "tokens.yaml").write_text(yaml.safe_dump({"tokens": entries}))
    return str(folder / "tokens.yaml")


def by(name: str) -> dict[str, Any]:
    """Return how somebody calls."""
    return {"metadata": (("authorization", f"Bearer token-of-{name}"),), "timeout": PATIENCE}


class Office:
    """A server with tokens, and what people and workers do there."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.subscriptions: Any = subscription_service_pb2_grpc.SubscriptionServiceStub(served.channel)

    async def start(self, **fields: Any) -> str:
        """Start a payout as somebody without rights; return its id."""
        input_ = values.to_payload({"iban": IBAN, "amount": AMOUNT})
        request = pb.StartExecutionRequest(workflow="payout", input=input_, **fields)
        answer = await self.served.executions.StartExecution(request, **by("reader"))
        return str(answer.execution.id)

    async def human_task(self, id_: str, who: str) -> Any:
        """Return a payout's human task as somebody sees it."""
        request = people_pb.GetHumanTaskRequest(human_task_id=f"{id_}/a1")
        return (await self.served.people.GetHumanTask(request, **by(who))).human_task

    async def enter(self, id_: str) -> list[bytes]:
        """Take the human task, keep a draft, say something, and decide; return what was answered."""
        name, people = f"{id_}/a1", self.served.people
        claim = people_pb.ClaimHumanTaskRequest(human_task_id=name)
        await people.ClaimHumanTask(claim, **by("clerk"))
        data = values.to_payload({"pin": PIN})
        await people.SaveHumanTaskDraft(
            people_pb.SaveHumanTaskDraftRequest(human_task_id=name, data=data), **by("clerk")
        )
        said = people_pb.CommentHumanTaskRequest(human_task_id=name, text=f"{IBAN} is fine")
        await people.CommentHumanTask(said, **by("clerk"))
        etag = (await self.human_task(id_, "clerk")).etag
        decided = people_pb.SubmitHumanTaskRequest(human_task_id=name, outcome="done", etag=etag, data=data)
        return [(await people.SubmitHumanTask(decided, **by("clerk"))).SerializeToString()]

    async def offer(self) -> Any:
        """Return the next action, as a worker gets it."""
        request = callback_pb.PollActionsRequest(
            worker_id="w", actions=[callback_pb.ActionCapability(name="shop.do")], max_actions=1
        )
        return (await self.served.callback.PollActions(request, **by("worker"))).offers[0]

    async def fail(self, offer: Any, code: str = PIN) -> None:
        """Have the action fail with a code, words and a log that repeat what it was given."""
        details = values.to_payload([PIN, AMOUNT])
        failure = failure_pb2.Failure(code=code, message=f"no account {IBAN}", details=details)
        log = action_pb2.LogLine(number=1, level=action_pb2.LOG_LEVEL_INFO, message=f"paying {IBAN}")
        request = callback_pb.FailActionRequest(token=offer.token, failure=failure, logs=[log])
        await self.served.callback.FailAction(request, **by("worker"))


@contextlib.asynccontextmanager
async def office(url: str, folder: Path) -> AsyncIterator[Office]:
    """Run one, with the payout deployed."""
    tokens = write_tokens(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Served, "deploy", _deploy)
        async with serving(url, tokens_file=tokens, allow_private_addresses=True) as served:
            await served.deploy(PAYOUT)
            yield Office(served)


async def _deploy(served: Served, text: str, namespace: str = "") -> None:
    file = definition_pb2.DefinitionFile(name="file.yaml", content=text.encode())
    request = definition_service_pb2.DeployDefinitionsRequest(namespace=namespace, files=[file])
    await served.definitions.DeployDefinitions(request, **by("worker"))


async def some(stream: Any, is_last: Any) -> list[bytes]:
    """Return the messages of a stream up to the first of which *is_last* holds."""
    found = []
    async for message in stream:
        found.append(message.SerializeToString())
        if is_last(message):
            break
    stream.cancel()
    return found


async def everything(office: Office, id_: str, who: str) -> dict[str, bytes]:
    """Return all that somebody gets who asks for all there is about an ended payout, by what was asked."""
    calls, people, as_ = office.served.executions, office.served.people, by(who)
    of: dict[str, Any] = {"execution_id": id_}
    full = execution_pb2.EXECUTION_VIEW_FULL
    name = f"{id_}/a1"
    ended = {"ExecutionFailed", "ExecutionSucceeded"}

    def is_end(message: Any) -> bool:
        return any(event.type in ended and event.execution_id == id_ for event in message.events)

    async def consumed() -> list[bytes]:
        made = subscription_pb2.Subscription(name=f"s-{who}")
        await office.subscriptions.CreateSubscription(
            subscription_pb.CreateSubscriptionRequest(subscription=made, from_beginning=True), **as_
        )
        stream = office.subscriptions.Consume(**as_)
        await stream.write(subscription_pb.ConsumeRequest(open=subscription_pb.ConsumeOpen(name=f"s-{who}")))
        return await some(stream, lambda message: is_end(message.events))

    watched = pb.WatchExecutionRequest(**of, with_snapshot=True)
    answers: dict[str, Any] = {
        "get": calls.GetExecution(pb.GetExecutionRequest(**of, with_progress=True), **as_),
        "list": calls.ListExecutions(pb.ListExecutionsRequest(view=full), **as_),
        "tasks": calls.ListTasks(pb.ListTasksRequest(**of), **as_),
        "actions": calls.ListActions(pb.ListActionsRequest(**of), **as_),
        "all actions": calls.ListActions(pb.ListActionsRequest(), **as_),
        "counts": calls.CountExecutions(pb.CountExecutionsRequest(group_by=["error_code"]), **as_),
        "logs": calls.ListActionLogs(pb.ListActionLogsRequest(**of), **as_),
        "events": calls.ListEvents(pb.ListEventsRequest(**of), **as_),
        "explain": calls.ExplainExecution(pb.ExplainExecutionRequest(**of), **as_),
        "human tasks": people.ListHumanTasks(
            people_pb.ListHumanTasksRequest(view=people_pb.HUMAN_TASK_VIEW_FULL), **as_
        ),
        "human task": people.GetHumanTask(people_pb.GetHumanTaskRequest(human_task_id=name), **as_),
        "entries": people.ListHumanTaskEntries(people_pb.ListHumanTaskEntriesRequest(human_task_id=name), **as_),
    }
    found = {key: (await call).SerializeToString() for key, call in answers.items()}
    streams: dict[str, Any] = {
        "watch": some(calls.WatchExecution(pb.WatchExecutionRequest(**of), **as_), is_end),
        "watch with snapshot": some(calls.WatchExecution(watched, **as_), lambda message: not message.continued),
        "watch events": some(calls.WatchEvents(pb.WatchEventsRequest(from_beginning=True), **as_), is_end),
        "follow logs": some(calls.WatchActionLogs(pb.WatchActionLogsRequest(**of), **as_), lambda message: False),
        "export": some(calls.ExportExecutions(pb.ExportExecutionsRequest(), **as_), lambda message: False),
        "consume": consumed(),
    }
    for key, stream in streams.items():
        found[key] = b"".join(await stream)
    return found


def leaks(found: dict[str, bytes]) -> dict[str, list[bytes]]:
    """Return what of *found* holds a canary, and which."""
    return {key: hits for key, data in found.items() if (hits := [each for each in CANARIES if each in data])}


async def ended(office: Office, **fields: Any) -> str:
    """Have a payout go all its way, to a failure that tells what it must not; return its id."""
    id_ = await office.start(**fields)
    await office.enter(id_)
    await office.fail(await office.offer())
    stream = office.served.executions.WatchExecution(pb.WatchExecutionRequest(execution_id=id_), **by("worker"))
    await some(stream, lambda message: any(event.type == "ExecutionFailed" for event in message.events))
    return id_


async def test_who_has_no_right_sees_none_of_it(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Under its name, under another one, within words; and neither do the server's own logs tell it."""
    caplog.set_level(logging.DEBUG, "tradewind_server")
    async with office(database_url, tmp_path) as o:
        id_ = await ended(o)
        found = await everything(o, id_, "reader")
        assert leaks(found) == {}
        assert {key for key, data in found.items() if b"***" in data} == found.keys()
    assert not any(canary.decode() in caplog.text for canary in CANARIES)


async def test_who_has_the_right_sees_all_of_it(database_url: str, tmp_path: Path) -> None:
    """What is stored is exact."""
    async with office(database_url, tmp_path) as o:
        id_ = await ended(o)
        found = await everything(o, id_, "auditor")
        assert leaks(found).keys() == found.keys()
        assert leaks(found)["events"] == CANARIES
        assert not any(b"***" in data for data in found.values())


async def test_a_value_cannot_be_guessed_by_searching(database_url: str, tmp_path: Path) -> None:
    """The state's message holds it, and is not searched; those of others are."""
    async with office(database_url, tmp_path) as o:
        id_ = await ended(o)
        plain = await o.served.executions.StartExecution(
            pb.StartExecutionRequest(workflow="one", input=values.to_payload({"n": 1})), **by("reader")
        )
        await o.fail(await o.offer())
        stream = o.served.executions.WatchExecution(
            pb.WatchExecutionRequest(execution_id=plain.execution.id), **by("worker")
        )
        await some(stream, lambda message: any(event.type == "ExecutionFailed" for event in message.events))
        exact = await o.served.executions.GetExecution(pb.GetExecutionRequest(execution_id=id_), **by("auditor"))
        assert f"no account {IBAN}" in exact.execution.state_message
        now = o.served.server.runtime.clock.now()
        since, until = ((now + timedelta(hours=hours)).isoformat() for hours in (-1, 1))
        filter_ = f'text : "no account DE8937" AND created_at >= "{since}" AND created_at < "{until}"'
        found = await o.served.executions.ListExecutions(pb.ListExecutionsRequest(filter=filter_), **by("reader"))
        assert [execution.id for execution in found.executions] == [plain.execution.id]


BOTH = ["payout", "plain"]


@pytest.mark.parametrize(
    ("filter_", "masked", "exact"),
    [
        (f'error_code = "{PIN}"', ["plain"], BOTH),
        (f'error_code != "{PIN}"', [], []),
        ('error_code = "OTHER"', [], []),
        ('error_code != "OTHER"', ["plain"], BOTH),
        ('error_code = ""', [], []),
        ('error_code != ""', BOTH, BOTH),
        ("error_kind = ACTION", BOTH, BOTH),
        (f'text : "{IBAN[:8].lower()}"', ["plain"], BOTH),
        ('text : "holiday"', ["plain"], BOTH),
        ('text : "no account"', ["plain"], BOTH),
    ],
)
async def test_no_filter_tells_a_value_that_is_masked(
    database_url: str, tmp_path: Path, filter_: str, masked: list[str], exact: list[str]
) -> None:
    """A code or a description that holds one matches nothing for who would see ***, and all for who sees it."""
    async with office(database_url, tmp_path) as o:
        id_ = await ended(o, description=f"holiday money to {IBAN}")
        start = pb.StartExecutionRequest(
            workflow="one", input=values.to_payload({"n": 1}), description=f"holiday money to {IBAN}"
        )
        plain = (await o.served.executions.StartExecution(start, **by("reader"))).execution.id
        await o.fail(await o.offer())
        stream = o.served.executions.WatchExecution(pb.WatchExecutionRequest(execution_id=plain), **by("worker"))
        await some(stream, lambda message: any(event.type == "ExecutionFailed" for event in message.events))
        names = {id_: "payout", plain: "plain"}
        now = o.served.server.runtime.clock.now()
        since, until = ((now + timedelta(hours=hours)).isoformat() for hours in (-1, 1))
        bounded = f'{filter_} AND created_at >= "{since}" AND created_at < "{until}" AND parent_id = ""'

        async def found(who: str) -> list[str]:
            request = pb.ListExecutionsRequest(filter=bounded)
            answer = await o.served.executions.ListExecutions(request, **by(who))
            counted = await o.served.executions.CountExecutions(pb.CountExecutionsRequest(filter=bounded), **by(who))
            assert counted.total == len(answer.executions)
            return sorted(names[execution.id] for execution in answer.executions)

        assert (await found("reader"), await found("auditor")) == (masked, exact)


async def test_codes_are_counted_without_those_that_are_masked(database_url: str, tmp_path: Path) -> None:
    async with office(database_url, tmp_path) as o:
        await ended(o)
        request = pb.CountExecutionsRequest(group_by=["error_code"])

        async def counts(who: str) -> dict[str, int]:
            answer = await o.served.executions.CountExecutions(request, **by(who))
            return {group.values[0]: group.count for group in answer.groups}

        assert await counts("reader") == {"***": 1}
        assert await counts("auditor") == {PIN: 1}


async def test_a_value_cannot_be_guessed_by_its_etag(database_url: str, tmp_path: Path) -> None:
    """Whoever knows the definition could else try all amounts: a digest of the right one would be the etag."""
    async with office(database_url, tmp_path) as o:
        id_ = await o.start()
        seen, exact = await o.human_task(id_, "reader"), await o.human_task(id_, "auditor")
        guess = {
            "title": exact.title,
            "description": exact.description,
            "show": values.from_payload(exact.show),
            "form": values.from_payload(exact.form),
            "outcomes": [{"name": "done", "reason": "optional"}],
        }
        guessed = {
            hmac.digest(b"", data, "sha256").hex()[:16]
            for data in (encode(guess), f"{seen.id} ".encode() + encode(guess))
        }
        assert seen.etag
        assert seen.etag == exact.etag
        assert seen.etag not in guessed


async def test_a_value_cannot_be_guessed_by_the_etag_of_another_human_task(database_url: str, tmp_path: Path) -> None:
    """Whoever may start processes could else start some with all amounts: the right one had the same etag."""
    async with office(database_url, tmp_path) as o:
        first, second = await o.start(), await o.start()
        for id_ in (first, second):
            request = people_pb.AddAttachmentRequest(human_task_id=f"{id_}/a1", file_name="slip.txt", content=b"714285")
            await o.served.people.AddAttachment(request, **by("clerk"))
        halves = [(await o.human_task(id_, "reader")).etag.split("-") for id_ in (first, second)]
        assert len({half for etag in halves for half in etag}) == 4


@pytest.mark.slow
async def test_the_command_line_shows_what_the_token_may_see(database_url: str, tmp_path: Path) -> None:
    """It is a client like any other."""
    async with office(database_url, tmp_path) as o:
        id_ = await ended(o)
        commands = [("show", id_), ("task", "show", f"{id_}/a1"), ("actions", "list", id_), ("history", id_)]

        async def written(who: str, *command: str) -> bytes:
            token = ("--address", o.served.address, "--token", f"token-of-{who}", "--json")
            done = await asyncio.to_thread(command_line.tradewind, *command, *token)
            assert done.returncode == 0, done.stderr.decode()
            return done.stdout + done.stderr

        assert leaks({" ".join(command): await written("reader", *command) for command in commands}) == {}
        assert IBAN.encode() in await written("auditor", "show", id_)


@pytest.mark.slow
async def test_the_command_line_shows_a_draft_to_who_has_it(database_url: str, tmp_path: Path) -> None:
    """With what is sensitive in it; to nobody else without the right, neither for people nor as JSON."""
    async with office(database_url, tmp_path) as o:
        name = f"{await o.start()}/a1"
        await o.served.people.ClaimHumanTask(people_pb.ClaimHumanTaskRequest(human_task_id=name), **by("clerk"))
        draft = people_pb.SaveHumanTaskDraftRequest(human_task_id=name, data=values.to_payload({"pin": PIN}))
        await o.served.people.SaveHumanTaskDraft(draft, **by("clerk"))

        async def written(who: str, *options: str) -> bytes:
            token = ("--address", o.served.address, "--token", f"token-of-{who}", *options)
            done = await asyncio.to_thread(command_line.tradewind, "task", "show", name, *token)
            assert done.returncode == 0, done.stderr.decode()
            return done.stdout + done.stderr

        for options in ((), ("--json",)):
            assert leaks({who: await written(who, *options) for who in ("reader", "second", "worker")}) == {}
            for who in ("clerk", "auditor"):
                assert leaks({who: await written(who, *options)}) == {who: CANARIES}


BOARD = """
version: '2.0'
board:
  input: [iban]
  sensitive: [iban]
  tasks:
    approve:
      human:
        title: Approve
        show: {iban: <% $.iban %>}
        form:
          type: object
          properties: {pin: {type: string, x-sensitive: true}, comment: {type: string}}
        groups: [clerks]
        quorum: 2
"""


async def test_who_votes_sees_nothing_sensitive_that_others_filled_in(database_url: str, tmp_path: Path) -> None:
    """Nor their drafts; what he decides on he sees."""
    async with office(database_url, tmp_path) as o:
        await o.served.deploy(BOARD)
        start = pb.StartExecutionRequest(workflow="board", input=values.to_payload({"iban": IBAN}))
        id_ = (await o.served.executions.StartExecution(start, **by("reader"))).execution.id
        name, data = f"{id_}/a1", values.to_payload({"pin": PIN, "comment": "fine"})
        await o.served.people.ClaimHumanTask(people_pb.ClaimHumanTaskRequest(human_task_id=name), **by("clerk"))
        draft = people_pb.SaveHumanTaskDraftRequest(human_task_id=name, data=data)
        await o.served.people.SaveHumanTaskDraft(draft, **by("clerk"))
        assert PIN.encode() in (await o.human_task(id_, "clerk")).SerializeToString()
        assert PIN.encode() not in (await o.human_task(id_, "second")).SerializeToString()

        etag = (await o.human_task(id_, "clerk")).etag
        vote = people_pb.SubmitHumanTaskRequest(
            human_task_id=name, outcome="done", etag=etag, data=data, reason=f"{PIN} fits {IBAN}"
        )
        answered = (await o.served.people.SubmitHumanTask(vote, **by("clerk"))).human_task
        asked = await o.human_task(id_, "second")
        assert values.from_payload(asked.show) == {"iban": IBAN}
        [seen] = asked.votes
        assert (values.from_payload(seen.data), seen.reason) == ({"pin": "***", "comment": "fine"}, "*** fits ***")
        assert leaks({"answered": answered.SerializeToString()}) == {}
        [exact] = (await o.human_task(id_, "auditor")).votes
        assert (values.from_payload(exact.data)["pin"], exact.reason) == (PIN, f"{PIN} fits {IBAN}")


async def test_workers_get_the_values(database_url: str, tmp_path: Path) -> None:
    """Or they could not do their work."""
    async with office(database_url, tmp_path) as o:
        await o.enter(await o.start())
        offer = await o.offer()
        assert values.from_payload(offer.input) == {"account": IBAN, "code": PIN}


async def test_who_is_asked_sees_what_he_decides_on(database_url: str, tmp_path: Path) -> None:
    """As long as he is asked; lists, and others, get *** instead."""
    async with office(database_url, tmp_path) as o:
        id_ = await o.start()
        asked, other = await o.human_task(id_, "clerk"), await o.human_task(id_, "reader")
        assert values.from_payload(asked.show) == {"iban": IBAN, "amount": AMOUNT, "note": f"to {IBAN}"}
        assert (asked.title, other.title) == (f"Pay to {IBAN}", "Pay to ***")
        assert values.from_payload(other.show) == {"iban": "***", "amount": "***", "note": "to ***"}
        assert other.description == "It is *** for ***"
        assert asked.form == other.form
        inbox = o.served.people.WatchHumanTasks(people_pb.WatchHumanTasksRequest(), **by("clerk"))
        assert leaks({"inbox": (await some(inbox, lambda _: True))[0]}) == {}
        explained = await o.served.executions.ExplainExecution(
            pb.ExplainExecutionRequest(execution_id=id_), **by("reader")
        )
        assert [wait.detail for wait in explained.waits] == [
            "'Pay to ***' is for the group 'clerks'; nobody has claimed it."
        ]
        [answered] = await o.enter(id_)
        assert leaks({"after": answered, "later": (await o.human_task(id_, "clerk")).SerializeToString()}) == {}


async def test_answers_of_commands_are_masked(database_url: str, tmp_path: Path) -> None:
    """Also where they come from memory: of who waits for the end, and of who stops it with words."""
    async with office(database_url, tmp_path) as o:
        input_ = values.to_payload({"iban": IBAN, "amount": AMOUNT})
        start = pb.StartExecutionRequest(workflow="payout", input=input_)
        waiting = asyncio.create_task(_wait(o, start))
        id_ = await _open_one(o)
        request = pb.CancelExecutionRequest(execution_id=id_, message=f"not to {IBAN}")
        answer = await o.served.executions.CancelExecution(request, **by("reader"))
        assert answer.execution.state_message == "not to ***"
        ended_ = await waiting
        assert leaks({"end": ended_.SerializeToString()}) == {}
        assert values.from_payload(ended_.execution.input) == {"iban": "***", "amount": "***", "hook": None}


async def _wait(o: Office, start: pb.StartExecutionRequest) -> Any:
    return await o.served.executions.StartAndWait(pb.StartAndWaitRequest(start=start), **by("reader"))


async def _open_one(o: Office) -> str:
    stream = o.served.executions.WatchEvents(pb.WatchEventsRequest(from_beginning=True), **by("worker"))
    async for message in stream:
        for event in message.events:
            if event.type == "HumanTaskOffered":
                stream.cancel()
                return str(event.execution_id)
    raise AssertionError("nobody was asked")


async def test_webhooks_tell_none_of_it(database_url: str, tmp_path: Path) -> None:
    """Neither those of a namespace nor those that a start names; their receivers have no rights."""
    async with office(database_url, tmp_path) as o, receiving() as receiver, receiving() as own:
        hook = subscription_pb2.Webhook(url=receiver.url)
        made = subscription_pb2.Subscription(name="hook", webhook=hook)
        await o.subscriptions.CreateSubscription(
            subscription_pb.CreateSubscriptionRequest(subscription=made), **by("auditor")
        )
        params = values.to_payload({"notify": [{"type": "webhook", "url": own.url}]})
        id_ = await o.start(params=params)
        await o.enter(id_)
        await o.fail(await o.offer())
        for each in (receiver, own):
            await each.until(functools.partial(_has_end, each, id_))
            assert leaks({"bodies": b"".join(body for _, body in each.requests)}) == {}


def _has_end(receiver: Receiver, id_: str) -> bool:
    return any(event["subject"] == id_ and event["data"]["type"] == "ExecutionFailed" for event in receiver.events)


async def test_too_many_values_hide_all_words(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be searched for is hidden as a whole."""
    monkeypatch.setattr(sensitive, "_MOST_VALUES", 1)
    async with office(database_url, tmp_path) as o:
        id_ = await ended(o)
        assert leaks(await everything(o, id_, "reader")) == {}


async def test_nothing_is_read_where_nothing_is_marked(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams go out as they are, and no body is decoded for them."""

    def fail(*_: Any) -> Any:
        raise AssertionError("it looked for sensitive values")

    async with office(database_url, tmp_path) as o:
        monkeypatch.setattr(sensitive.Sensitive, "masked", _only_plain(sensitive.Sensitive.masked, fail))
        monkeypatch.setattr(sensitive.Mask, "body", fail)
        monkeypatch.setattr(sensitive._Tree, "look", fail)
        request = pb.StartExecutionRequest(workflow="one", input=values.to_payload({"n": IBAN}))
        id_ = (await o.served.executions.StartExecution(request, **by("reader"))).execution.id
        stream = o.served.executions.WatchExecution(pb.WatchExecutionRequest(execution_id=id_), **by("reader"))
        seen = b"".join(await some(stream, lambda m: any(e.type == "ActionScheduled" for e in m.events)))
        got = await o.served.executions.GetExecution(pb.GetExecutionRequest(execution_id=id_), **by("reader"))
        assert IBAN.encode() in seen
        assert values.from_payload(got.execution.input) == {"n": IBAN}


def _only_plain(real: Any, fail: Any) -> Any:
    def masked(self: Any, connection: Any, events: Any) -> Any:
        found = real(self, connection, events)
        return found if found is events else fail()

    return masked


SEPARATE = """
version: '2.0'
separate:
  input: [iban]
  sensitive: [iban]
  tasks:
    enter:
      human: {title: Enter, groups: [clerks]}
      on-success: check
    check:
      human:
        title: Check <% $.iban %>
        show: {iban: <% $.iban %>}
        groups: [clerks]
        users: [boss]
        separate_from: {task: enter}
"""


async def test_a_member_of_the_group_who_did_the_other_task_sees_nothing_of_this_one(
    database_url: str, tmp_path: Path
) -> None:
    """He may not take it, so he does not decide on it; also when he stands in for somebody, and in its files."""
    async with office(database_url, tmp_path) as o:
        people = o.served.people
        await o.served.deploy(SEPARATE)
        start = pb.StartExecutionRequest(workflow="separate", input=values.to_payload({"iban": IBAN}))
        id_ = (await o.served.executions.StartExecution(start, **by("reader"))).execution.id
        etag = (await o.human_task(id_, "clerk")).etag
        done = people_pb.SubmitHumanTaskRequest(human_task_id=f"{id_}/a1", outcome="done", etag=etag)
        await people.SubmitHumanTask(done, **by("clerk"))
        absence = away("boss", "clerk")
        await people.AddAbsence(people_pb.AddAbsenceRequest(absence=absence), **by("reader"))
        file = people_pb.AddAttachmentRequest(human_task_id=f"{id_}/a2", file_name="a", content=IBAN.encode())
        await people.AddAttachment(file, **by("second"))

        async def seen(who: str) -> bytes:
            answer = await people.GetHumanTask(people_pb.GetHumanTaskRequest(human_task_id=f"{id_}/a2"), **by(who))
            return bytes(answer.SerializeToString())

        assert IBAN.encode() in await seen("second")
        assert IBAN.encode() not in await seen("clerk")
        content = people_pb.GetAttachmentRequest(human_task_id=f"{id_}/a2", attachment_id="f1")
        assert (await people.GetAttachment(content, **by("second"))).content == IBAN.encode()
        with refused(StatusCode.PERMISSION_DENIED, "ATTACHMENT_HIDDEN"):
            await people.GetAttachment(content, **by("clerk"))
