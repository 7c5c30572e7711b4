"""What people are asked to do: inboxes, decisions, races; on both databases."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from tests.api.harness import PATIENCE, Served, read_refusal, refused, serving
from tradewind import values
from tradewind.v1 import execution_service_pb2, human_task_pb2
from tradewind.v1 import human_task_service_pb2 as pb
from tradewind_server.store import inboxes

BONUS = """
version: '2.0'
bonus:
  input: [amount, priority, head]
  output: {said: <% $.said %>}
  tasks:
    approve:
      human:
        title: Approve <% $.amount %>
        show: {amount: <% $.amount %>}
        form: {type: object, properties: {comment: {type: string, maxLength: 5}}, additionalProperties: false}
        users: <% $.head %>
        groups: [heads]
        separate_from: initiator
        priority: <% $.priority %>
        outcomes: {approve: , reject: {reason: required}}
      publish: {said: <% task().result %>}
      on-success:
        - noop: <% task().result.outcome in [approve, reject] %>
"""

Call = tuple[tuple[str, str], ...]


def as_user(user: str, *groups: str) -> dict[str, Any]:
    """Return how a person calls."""
    return {"metadata": (("x-tradewind-user", user), ("x-tradewind-groups", ",".join(groups))), "timeout": PATIENCE}


ALICE, BEN, EVE = as_user("alice", "heads"), as_user("ben", "heads", "clerks"), as_user("eve", "heads")


async def begin(served: Served, count: int = 1, **given: Any) -> list[str]:
    """Start processes as eve, each with its human task, and return the ids of these."""
    await served.deploy(BONUS)
    ids = []
    for n in range(count):
        input_ = {"amount": n, "priority": 0, "head": None, **given}
        request = execution_service_pb2.StartExecutionRequest(workflow="bonus", input=values.to_payload(input_))
        answer = await served.executions.StartExecution(request, **EVE)
        ids.append(f"{answer.execution.id}/a1")
    return ids


async def get(served: Served, id_: str) -> human_task_pb2.HumanTask:
    """Return a human task."""
    answer = await served.people.GetHumanTask(pb.GetHumanTaskRequest(human_task_id=id_))
    found: human_task_pb2.HumanTask = answer.human_task
    return found


async def decision(served: Served, id_: str, outcome: str = "approve", **fields: Any) -> pb.SubmitHumanTaskRequest:
    """Return a decision on what a human task shows now."""
    etag = fields.pop("etag", "") or (await get(served, id_)).etag
    return pb.SubmitHumanTaskRequest(human_task_id=id_, outcome=outcome, etag=etag, **fields)


async def listed(served: Served, who: dict[str, Any], scope: str = "INBOX", **fields: Any) -> list[str]:
    """Return the ids in a list."""
    number = pb.HumanTaskScope.Value(f"HUMAN_TASK_SCOPE_{scope}")
    answer = await served.people.ListHumanTasks(pb.ListHumanTasksRequest(scope=number, **fields), **who)
    return [human_task.id for human_task in answer.human_tasks]


async def test_a_human_task_is_found_taken_and_decided(served: Served) -> None:
    """Its process goes on with the decision, and the audit trail says who did what."""
    [id_] = await begin(served, amount=10, head="fred")
    found = await get(served, id_)
    assert (found.title, found.state) == ("Approve 10", human_task_pb2.HUMAN_TASK_STATE_OFFERED)
    assert values.from_payload(found.show) == {"amount": 10}
    assert values.from_payload(found.form)["properties"] == {"comment": {"type": "string", "maxLength": 5}}
    assert [(o.name, o.reason_required) for o in found.outcomes] == [("approve", False), ("reject", True)]
    assert (list(found.users), list(found.groups)) == (["fred"], ["heads"])
    assert [(p.user, p.reason) for p in found.excluded] == [("eve", "who started the process")]

    claimed = await served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=id_), **ALICE)
    assert claimed.human_task.assignee == "alice"
    draft = values.to_payload({"comment": "far too long, for now"})
    saved = await served.people.SaveHumanTaskDraft(pb.SaveHumanTaskDraftRequest(human_task_id=id_, data=draft), **ALICE)
    assert values.from_payload(saved.human_task.draft) == {"comment": "far too long, for now"}
    await served.people.CommentHumanTask(pb.CommentHumanTaskRequest(human_task_id=id_, text="agreed in May"), **EVE)
    done = await served.people.SubmitHumanTask(
        await decision(served, id_, data=values.to_payload({"comment": "ok"})), **ALICE
    )

    assert (done.human_task.done_by, done.human_task.outcome) == ("alice", "approve")
    said = {"outcome": "approve", "reason": "", "data": {"comment": "ok"}, "by": "alice", "owner": "alice"}
    assert await served.ended(id_.split("/")[0]) == ("SUCCEEDED", {"said": said})
    trail = await served.people.ListHumanTaskEntries(pb.ListHumanTaskEntriesRequest(human_task_id=id_))
    assert [(each.type, each.by, each.text or each.outcome) for each in trail.entries] == [
        ("HumanTaskOffered", "", ""),
        ("HumanTaskClaimed", "alice", ""),
        ("HumanTaskDraftSaved", "alice", ""),
        ("HumanTaskCommented", "eve", "agreed in May"),
        ("HumanTaskCompleted", "alice", "approve"),
    ]
    assert trail.entries[-1].etag == found.etag


async def test_an_inbox_holds_what_one_may_do_by_priority_and_age(served: Served) -> None:
    """Asked by name or as a member of a group; what somebody else has taken is gone."""
    old, new = await begin(served, 2)
    [urgent] = await begin(served, priority=9)
    [named] = await begin(served, head="fred", priority=5)
    assert await listed(served, ALICE) == [urgent, named, old, new]
    assert await listed(served, as_user("fred")) == [named]
    assert await listed(served, as_user("fred", "clerks")) == [named]
    assert await listed(served, EVE) == []
    assert await listed(served, ALICE, filter="priority >= 5") == [urgent, named]
    assert await listed(served, ALICE, filter='business_key = "x"') == []
    assert await listed(served, ALICE, "UNSPECIFIED") == [named, urgent, new, old]

    await served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=old), **BEN)
    assert await listed(served, ALICE) == [urgent, named, new]
    assert await listed(served, BEN, "MINE") == [old]
    await served.people.DelegateHumanTask(pb.DelegateHumanTaskRequest(human_task_id=old, user="gil"), **BEN)
    assert await listed(served, BEN) == [urgent, named, new]
    assert await listed(served, BEN, "DELEGATED") == [old]
    assert await listed(served, as_user("gil")) == [old]
    counted = await served.people.CountHumanTasks(
        pb.CountHumanTasksRequest(scope=pb.HUMAN_TASK_SCOPE_INBOX, filter="priority < 9"), **ALICE
    )
    assert (counted.count, counted.more) == (2, False)


async def test_an_inbox_is_paged_in_its_order(served: Served) -> None:
    """Nothing twice, nothing left out, also for one who is asked in two ways."""
    ids = await begin(served, 7, head="alice")
    found: list[str] = []
    token = ""
    while True:
        request = pb.ListHumanTasksRequest(scope=pb.HUMAN_TASK_SCOPE_INBOX, page_size=2, page_token=token)
        page = await served.people.ListHumanTasks(request, **ALICE)
        found += [human_task.id for human_task in page.human_tasks]
        token = page.next_page_token
        if not token:
            break
    assert found == ids
    with refused(StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"):
        first = pb.ListHumanTasksRequest(scope=pb.HUMAN_TASK_SCOPE_INBOX, page_size=2)
        other = (await served.people.ListHumanTasks(first, **ALICE)).next_page_token
        await served.people.ListHumanTasks(
            pb.ListHumanTasksRequest(scope=pb.HUMAN_TASK_SCOPE_INBOX, page_size=2, page_token=other), **BEN
        )


async def test_nobody_acts_without_a_name(served: Served) -> None:
    """Neither claims nor has an inbox; what is there can be read."""
    [id_] = await begin(served)
    for call in (
        served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=id_)),
        served.people.ListHumanTasks(pb.ListHumanTasksRequest(scope=pb.HUMAN_TASK_SCOPE_INBOX)),
        served.people.SubmitHumanTask(await decision(served, id_)),
    ):
        with refused(StatusCode.UNAUTHENTICATED, "PERSON_UNKNOWN"):
            await call
    assert await listed(served, {}, "UNSPECIFIED") == [id_]


async def test_who_started_the_process_may_not_decide_it(served: Served) -> None:
    [id_] = await begin(served)
    with refused(StatusCode.PERMISSION_DENIED, "PERSON_EXCLUDED") as caught:
        await served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=id_), **EVE)
    assert caught.metadata == {"user": "eve", "human_task": id_, "why": "who started the process"}
    with refused(StatusCode.PERMISSION_DENIED, "PERSON_NOT_ELIGIBLE"):
        await served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=id_), **as_user("mallory"))


async def test_what_does_not_fit_the_form_is_told_by_field_and_never_shows_the_value(served: Served) -> None:
    [id_] = await begin(served)
    with refused(StatusCode.INVALID_ARGUMENT, "DECISION_INVALID") as caught:
        data = values.to_payload({"comment": "a secret that is too long", "other": 1})
        await served.people.SubmitHumanTask(await decision(served, id_, data=data), **ALICE)
    assert "secret" not in str(caught)
    assert sorted(field for field, _ in caught.violations) == ["data", "data.comment"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"outcome": "maybe"}, "OUTCOME_UNKNOWN"),
        ({"outcome": "reject"}, "REASON_MISSING"),
        ({"etag": "0"}, "HUMAN_TASK_CHANGED"),
        ({"reason": "x" * 4001}, "FIELD_INVALID"),
        ({"outcome": ""}, "FIELD_INVALID"),
        ({"human_task_id": "1/2/3"}, "FIELD_INVALID"),
        ({"human_task_id": "0195-none/a1"}, "HUMAN_TASK_NOT_FOUND"),
        ({"data": values.to_payload([1])}, "PAYLOAD_INVALID"),
    ],
)
async def test_a_decision_that_is_none_is_refused_and_changes_nothing(
    served: Served, change: dict[str, Any], reason: str
) -> None:
    [id_] = await begin(served)
    request = await decision(served, id_)
    for name, value in change.items():
        if name == "data":
            request.data.CopyFrom(value)
        else:
            setattr(request, name, value)
    before = await get(served, id_)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.people.SubmitHumanTask(request, **ALICE)
    assert read_refusal(raised.value).reason == reason
    assert await get(served, id_) == before


async def test_of_two_who_claim_at_once_one_gets_it(served: Served) -> None:
    ids = await begin(served, 10)
    for id_ in ids:
        request = pb.ClaimHumanTaskRequest(human_task_id=id_)
        calls = [served.people.ClaimHumanTask(request, **who) for who in (ALICE, BEN)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        taken = [answer.human_task.assignee for answer in answers if not isinstance(answer, BaseException)]
        assert taken in (["alice"], ["ben"])
        assert (await get(served, id_)).assignee == taken[0]


async def test_a_decision_against_a_cancellation_has_one_winner(served: Served) -> None:
    """Either the process has the decision, or who decided is told that it is too late."""
    for id_ in await begin(served, 10):
        execution_id = id_.split("/")[0]
        cancel = execution_service_pb2.CancelExecutionRequest(execution_id=execution_id)
        submit = served.people.SubmitHumanTask(await decision(served, id_), **ALICE)
        answers = await asyncio.gather(submit, served.executions.CancelExecution(cancel), return_exceptions=True)
        state, _ = await served.ended(execution_id)
        decided = not isinstance(answers[0], BaseException)
        assert state == ("SUCCEEDED" if decided else "CANCELLED")
        expected = human_task_pb2.HUMAN_TASK_STATE_COMPLETED if decided else human_task_pb2.HUMAN_TASK_STATE_CLOSED
        assert (await get(served, id_)).state == expected


async def test_a_decision_against_a_reassignment_has_one_winner(served: Served) -> None:
    for id_ in await begin(served, 10):
        await served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=id_), **ALICE)
        assign = pb.AssignHumanTaskRequest(human_task_id=id_, user="gil")
        submit = served.people.SubmitHumanTask(await decision(served, id_), **ALICE)
        answers = await asyncio.gather(
            submit, served.people.AssignHumanTask(assign, **as_user("chief")), return_exceptions=True
        )
        assert sum(isinstance(answer, BaseException) for answer in answers) == 1
        found = await get(served, id_)
        assert (found.done_by or found.assignee) == ("gil" if isinstance(answers[0], BaseException) else "alice")


async def test_a_decision_sent_twice_is_taken_once(served: Served) -> None:
    """With a request id the repeat gets the answer; without one it is told that all is decided."""
    [id_] = await begin(served)
    request = await decision(served, id_, request_id="r1")
    await served.people.SubmitHumanTask(request, **ALICE)
    again = await served.people.SubmitHumanTask(request, **ALICE)
    assert again.human_task.done_by == "alice"
    request.request_id = ""
    with refused(StatusCode.FAILED_PRECONDITION, "HUMAN_TASK_CLOSED"):
        await served.people.SubmitHumanTask(request, **ALICE)


async def test_many_are_decided_each_for_itself(served: Served) -> None:
    good, bad, other = await begin(served, 3)
    requests = [
        await decision(served, good),
        await decision(served, bad, "reject"),
        await decision(served, other, "reject", reason="no"),
    ]
    answer = await served.people.SubmitHumanTasks(pb.SubmitHumanTasksRequest(requests=requests), **ALICE)
    assert [result.human_task.outcome or result.refusal.reason for result in answer.results] == [
        "approve", "REASON_MISSING", "reject",
    ]  # fmt: skip
    assert await listed(served, ALICE) == [bad]


async def test_many_of_which_one_is_unknown_are_decided_all_the_same(served: Served) -> None:
    """What is wrong with one, even its id or its namespace, is told as its result."""
    good, other = await begin(served, 2)
    requests = [await decision(served, good)]
    for wrong in ("0195-none/a1", f"{other.split('/')[0]}/a99", "nonsense", ""):
        requests.append(pb.SubmitHumanTaskRequest(human_task_id=wrong, outcome="approve", etag="e"))
    requests.append(await decision(served, other, namespace="elsewhere"))
    requests.append(await decision(served, other, request_id="r" * 129))
    requests.append(await decision(served, other))
    answer = await served.people.SubmitHumanTasks(pb.SubmitHumanTasksRequest(requests=requests), **ALICE)
    assert [result.human_task.outcome or result.refusal.reason for result in answer.results] == [
        "approve",
        "HUMAN_TASK_NOT_FOUND",
        "HUMAN_TASK_NOT_FOUND",
        "FIELD_INVALID",
        "FIELD_INVALID",
        "HUMAN_TASK_NOT_FOUND",
        "FIELD_INVALID",
        "approve",
    ]


@contextlib.asynccontextmanager
async def watching(served: Served, who: dict[str, Any], **fields: Any) -> AsyncIterator[Callable[[], Any]]:
    """Watch an inbox; the call gives the next message."""
    stream = served.people.WatchHumanTasks(pb.WatchHumanTasksRequest(**fields), metadata=who["metadata"])
    try:
        yield lambda: asyncio.wait_for(stream.read(), PATIENCE)
    finally:
        stream.cancel()


async def test_an_inbox_is_pushed_as_it_changes(served: Served) -> None:
    """First as it is, then what comes and goes."""
    [first] = await begin(served)
    async with watching(served, ALICE) as following:
        message = await following()
        assert ([h.id for h in message.human_tasks], message.is_complete) == ([first], True)
        [second] = await begin(served)
        assert [h.id for h in (await following()).human_tasks] == [second]
        await served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=first), **BEN)
        assert list((await following()).removed_ids) == [first]
        await served.people.ReleaseHumanTask(pb.ReleaseHumanTaskRequest(human_task_id=first), **BEN)
        assert [h.id for h in (await following()).human_tasks] == [first]
        await served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=second), **ALICE)
        assert [h.assignee for h in (await following()).human_tasks] == ["alice"]
        await served.people.SubmitHumanTask(await decision(served, second), **ALICE)
        assert list((await following()).removed_ids) == [second]
        await served.executions.CancelExecution(
            execution_service_pb2.CancelExecutionRequest(execution_id=first.split("/")[0])
        )
        assert list((await following()).removed_ids) == [first]


async def test_an_inbox_hears_nothing_of_others(served: Served) -> None:
    """Not even that something happened."""
    async with watching(served, as_user("fred")) as following:
        assert (await following()).is_complete
        [id_] = await begin(served)
        await served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=id_), **BEN)
        [mine] = await begin(served, head="fred")
        assert [h.id for h in (await following()).human_tasks] == [mine]


async def test_a_change_is_looked_up_for_those_alone_whom_it_concerns(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a thousand inboxes on the screens, each decision would else be a thousand queries."""
    asked: list[str] = []
    looked_up = inboxes.listed

    def listed_for(connection: Any, namespace: str, for_: Any, *rest: Any) -> Any:
        asked.append(for_.user)
        return looked_up(connection, namespace, for_, *rest)

    monkeypatch.setattr(inboxes, "listed", listed_for)
    async with watching(served, as_user("fred")) as of_fred, watching(served, as_user("gina")) as of_gina:
        assert (await of_fred()).is_complete
        assert (await of_gina()).is_complete
        for head in ("gina", "gina", "fred"):
            [id_] = await begin(served, head=head)
            message = await (of_fred if head == "fred" else of_gina)()
            assert [h.id for h in message.human_tasks] == [id_]

    assert asked == ["gina", "gina", "fred"]


async def test_an_inbox_is_pushed_by_any_server(postgres_url: Callable[[], str]) -> None:
    url = postgres_url()
    async with serving(url) as a, serving(url) as b, watching(b, ALICE) as following:
        assert (await following()).is_complete
        [id_] = await begin(a)
        assert [h.id for h in (await following()).human_tasks] == [id_]
        await b.people.SubmitHumanTask(await decision(a, id_), **ALICE)
        assert (await a.ended(id_.split("/")[0]))[0] == "SUCCEEDED"
        assert list((await following()).removed_ids) == [id_]


def away(user: str, substitute: str, begins: int = -60, ends: int = 3600) -> human_task_pb2.Absence:
    """Return an absence from so many seconds from now on."""
    absence = human_task_pb2.Absence(user=user, substitute=substitute)
    absence.starts_at.FromSeconds(int(time.time()) + begins)
    absence.ends_at.FromSeconds(int(time.time()) + ends)
    return absence


async def test_a_substitute_has_the_tasks_of_who_is_absent(served: Served) -> None:
    """Those he is asked to do by name, from the begin to the end of the absence; the absent one stays accountable."""
    fred, gil = as_user("fred"), as_user("gil")
    [id_] = await begin(served, head="fred")
    await served.people.AddAbsence(pb.AddAbsenceRequest(absence=away("", "gil", 600)), **fred)
    assert await listed(served, gil) == []
    with refused(StatusCode.PERMISSION_DENIED, "PERSON_NOT_ELIGIBLE"):
        await served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=id_), **gil)

    added = await served.people.AddAbsence(pb.AddAbsenceRequest(absence=away("fred", "gil")), **fred)
    again = await served.people.AddAbsence(pb.AddAbsenceRequest(absence=added.absence), **fred)
    assert again == added
    assert await listed(served, gil) == [id_]
    claimed = await served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=id_), **gil)
    assert (claimed.human_task.assignee, claimed.human_task.owner) == ("gil", "fred")
    await served.people.ReleaseHumanTask(pb.ReleaseHumanTaskRequest(human_task_id=id_), **gil)

    there = await served.people.ListAbsences(pb.ListAbsencesRequest(user="fred"))
    assert [(absence.user, absence.substitute, absence.created_by) for absence in there.absences] == [
        ("fred", "gil", "fred")
    ] * 2
    await served.people.RemoveAbsence(pb.RemoveAbsenceRequest(absence_id=added.absence.id), **fred)
    assert await listed(served, gil) == []
    with refused(StatusCode.NOT_FOUND, "ABSENCE_NOT_FOUND"):
        await served.people.RemoveAbsence(pb.RemoveAbsenceRequest(absence_id=added.absence.id), **fred)


@pytest.mark.parametrize(
    "absence",
    [
        away("fred", ""),
        away("fred", "fred"),
        away("fred", "gil", 60, 30),
        away("fred", "gil", -60, -30),
        human_task_pb2.Absence(user="fred", substitute="gil"),
    ],
)
async def test_an_absence_that_is_none_is_refused(served: Served, absence: human_task_pb2.Absence) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        await served.people.AddAbsence(pb.AddAbsenceRequest(absence=absence), **as_user("fred"))


async def test_explain_says_for_whom_a_process_waits(served: Served) -> None:
    [id_] = await begin(served, head="fred")
    request = execution_service_pb2.ExplainExecutionRequest(execution_id=id_.split("/")[0])

    async def said() -> list[tuple[int, str]]:
        answer = await served.executions.ExplainExecution(request)
        return [(wait.kind, wait.detail) for wait in answer.waits]

    person = execution_service_pb2.WAIT_KIND_PERSON
    assert await said() == [(person, "'Approve 0' is for 'fred', the group 'heads'; nobody has claimed it.")]
    await served.people.DelegateHumanTask(pb.DelegateHumanTaskRequest(human_task_id=id_, user="gil"), **ALICE)
    assert await said() == [(person, "'Approve 0' is with 'gil' for 'alice'.")]


async def test_what_is_due_comes_first_and_what_is_overdue_is_found(served: Served) -> None:
    """Within a priority; what is not due at any time comes last."""
    text = """
version: '2.0'
dated:
  input: [due]
  tasks:
    ask: {human: {title: Ask, groups: heads, due: <% $.due %>}}
open:
  tasks:
    ask: {human: {title: Ask, groups: heads}}
"""
    await served.deploy(text)
    undated = f"{await served.start('open', {})}/a1"
    late, soon = [f"{await served.start('dated', {'due': due})}/a1" for due in ("2h", 60)]
    assert await listed(served, ALICE) == [soon, late, undated]
    in_an_hour = datetime.fromtimestamp(time.time() + 3600, UTC).isoformat()
    assert await listed(served, ALICE, filter=f'due_at < "{in_an_hour}"') == [soon]
    assert (await get(served, undated)).HasField("due_at") is False


async def test_what_people_say_is_no_reference_to_a_secret(served: Served) -> None:
    """Neither as a reason, a comment, data, nor in a name: it would be resolved where the result goes."""
    forged = "\ufdd0secret('salaries')\ufdd1"
    [id_] = await begin(served)
    comment = pb.CommentHumanTaskRequest(human_task_id=id_, text=forged)
    await served.people.CommentHumanTask(comment, **ALICE)
    with refused(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"):
        await served.people.ClaimHumanTask(
            pb.ClaimHumanTaskRequest(human_task_id=id_), **as_user(urllib.parse.quote(forged), "heads")
        )
    await served.people.SubmitHumanTask(await decision(served, id_, "reject", reason=forged), **ALICE)
    trail = await served.people.ListHumanTaskEntries(pb.ListHumanTaskEntriesRequest(human_task_id=id_))
    _, output = await served.ended(id_.split("/")[0])
    assert not any(mark in f"{trail} {output}" for mark in "\ufdd0\ufdd1")
    assert output["said"]["reason"] == "\ufffdsecret('salaries')\ufffd"


@pytest.mark.parametrize("is_busy", [False, True])
async def test_an_inbox_changes_when_somebody_is_absent(
    served: Served, monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    """What he is to do comes, and goes when he is back; the stream goes on, also if it is never quiet."""
    monkeypatch.setattr("tradewind_server.api.human_task_watching._ALIVE_SECONDS", 0.2)
    gil = as_user("gil")
    [of_fred] = await begin(served, head="fred")

    async def seen(following: Callable[[], Any], part: Callable[[pb.WatchHumanTasksResponse], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not part(await following()):
                if is_busy:
                    await begin(served, head="gil")

    async with watching(served, gil) as following:
        assert (await following()).is_complete
        added = await served.people.AddAbsence(pb.AddAbsenceRequest(absence=away("fred", "gil")), **as_user("fred"))
        if is_busy:
            await begin(served, head="gil")
        await seen(following, lambda message: of_fred in [h.id for h in message.human_tasks])
        await served.people.RemoveAbsence(pb.RemoveAbsenceRequest(absence_id=added.absence.id), **as_user("fred"))
        if is_busy:
            await begin(served, head="gil")
        await seen(following, lambda message: of_fred in message.removed_ids)


async def test_the_audit_trail_says_who_saw_what(served: Served) -> None:
    """Once for each that he was shown; not who may not decide, nor by a list; nobody's list changes."""
    [id_] = await begin(served, head="fred")
    request = pb.GetHumanTaskRequest(human_task_id=id_)
    fred = as_user("fred")

    async def seen() -> list[tuple[str, str]]:
        trail = await served.people.ListHumanTaskEntries(pb.ListHumanTaskEntriesRequest(human_task_id=id_))
        return [(each.by, each.etag) for each in trail.entries if each.type == "HumanTaskSeen"]

    assert await listed(served, ALICE, view=pb.HUMAN_TASK_VIEW_FULL) == [id_]
    async with watching(served, ALICE) as following:
        assert [h.id for h in (await following()).human_tasks] == [id_]
        for who in (ALICE, ALICE, EVE, as_user("zoe"), {}, fred, ALICE):
            await served.people.GetHumanTask(request, **who)
        first = (await get(served, id_)).etag
        assert await seen() == [("alice", first), ("fred", first)]
        added = pb.AddAttachmentRequest(human_task_id=id_, file_name="a.txt", content=b"a")
        await served.people.AddAttachment(added, **BEN)
        [changed] = (await following()).human_tasks
        await served.people.GetHumanTask(request, **ALICE)
        second = (await get(served, id_)).etag
        assert second != first
        assert await seen() == [("alice", first), ("fred", first), ("alice", second)]
        done = await served.people.SubmitHumanTask(await decision(served, id_), **ALICE)
        assert list((await following()).removed_ids) == [id_]
    await served.people.GetHumanTask(request, **fred)
    assert len(await seen()) == 3
    assert changed.updated_at.ToDatetime() < done.human_task.updated_at.ToDatetime()
    assert await served.people.GetHumanTask(request, **ALICE) == await served.people.GetHumanTask(request, **fred)
