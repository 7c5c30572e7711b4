"""Several who decide one human task: their inboxes, what each sees, races for the last vote; on both databases."""

from __future__ import annotations

import asyncio
from typing import Any

from grpc import StatusCode

from tests.api.harness import Served, refused, serving
from tests.api.test_human_tasks import as_user, away, decision, get, listed, watching
from tradewind import values
from tradewind.v1 import execution_service_pb2, human_task_pb2
from tradewind.v1 import human_task_service_pb2 as pb

LOAN = """
version: '2.0'
loan:
  input: [users, groups: null]
  output: {said: <% $.said %>}
  tasks:
    approve:
      human:
        title: Approve the loan
        users: <% $.users %>
        groups: <% $.groups %>
        form: {type: object, properties: {note: {type: string}}}
        outcomes: {approve: , reject: {reason: required}, fraud: }
        quorum: {votes: 2, veto: fraud}
      publish: {said: <% task().result %>}
      on-success:
        - paid: <% task().result.outcome = approve %>
        - noop: <% task().result.outcome in [reject, fraud] %>
    paid: {action: std.noop}
chain:
  input: [users]
  tasks:
    approve:
      human:
        title: Approve the loan
        users: <% $.users %>
        form: {type: object, properties: {note: {type: string}}}
        quorum: {sequential: true}
"""

ANN, BEN, CID = as_user("ann"), as_user("ben"), as_user("cid")
BEA, CORA = as_user("bea", "board"), as_user("cora", "board")


async def begin(served: Served, workflow: str = "loan", **given: Any) -> str:
    """Start a process, and return the id of its human task."""
    execution_id = await served.start(workflow, {"users": ["ann", "ben", "cid"], **given})
    return f"{execution_id}/a1"


async def vote(served: Served, id_: str, who: dict[str, Any], outcome: str = "approve", **fields: Any) -> Any:
    """Vote, and return the human task as it is then."""
    request = await decision(served, id_, outcome, **fields)
    return (await served.people.SubmitHumanTask(request, **who)).human_task


def votes(human_task: human_task_pb2.HumanTask) -> list[tuple[str, str]]:
    """Return who voted how."""
    return [(each.by, each.outcome) for each in human_task.votes]


async def events(served: Served, id_: str) -> list[str]:
    """Return the types of all events of a human task's process."""
    return [event.type for event in await served.follow(id_.split("/")[0])]


async def test_who_has_voted_has_it_no_more_to_do(served: Served) -> None:
    """Nor has his substitute; whoever has a vote in hand finds it, and so do all others who are asked."""
    await served.deploy(LOAN)
    id_ = await begin(served, users=["ann", "ben"], groups="board")
    await served.people.AddAbsence(pb.AddAbsenceRequest(absence=away("", "gil")), **ANN)
    gil = as_user("gil")
    assert [await listed(served, who) for who in (ANN, BEN, BEA, gil)] == [[id_]] * 4

    await vote(served, id_, ANN, "reject", reason="no")
    assert [await listed(served, who) for who in (ANN, gil, BEN, BEA)] == [[], [], [id_], [id_]]
    await served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=id_), **BEA)
    assert [await listed(served, BEA, scope) for scope in ("INBOX", "MINE")] == [[id_], [id_]]
    assert await listed(served, BEN) == [id_]
    await served.people.DelegateHumanTask(pb.DelegateHumanTaskRequest(human_task_id=id_, user="dan"), **BEA)
    assert [await listed(served, BEA, scope) for scope in ("INBOX", "MINE", "DELEGATED")] == [[], [], [id_]]
    assert await listed(served, as_user("dan")) == [id_]
    counted = [
        (await served.people.CountHumanTasks(pb.CountHumanTasksRequest(scope=scope), **who)).count
        for who in (ANN, BEA, CORA)
        for scope in (pb.HUMAN_TASK_SCOPE_INBOX, pb.HUMAN_TASK_SCOPE_DELEGATED)
    ]
    assert counted == [0, 0, 0, 1, 1, 0]

    await vote(served, id_, as_user("dan"))
    assert [await listed(served, who) for who in (BEA, CORA)] == [[], [id_]]
    await vote(served, id_, CORA)
    assert [await listed(served, who) for who in (BEN, CORA, BEA)] == [[], [], []]


async def test_what_is_told_of_it(served: Served) -> None:
    """Who voted how and why, who has it, what it still takes; lists leave out words and data."""
    await served.deploy(LOAN)
    id_ = await begin(served)
    await served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=id_), **CID)
    seen = await vote(served, id_, ANN, "reject", reason="no", data=values.to_payload({"note": "n"}))
    assert (seen.quorum, seen.votes_missing, seen.state) == (2, 1, human_task_pb2.HUMAN_TASK_STATE_OFFERED)
    assert (list(seen.asked), [(c.user, c.owner) for c in seen.claims]) == (["ben"], [("cid", "")])
    assert [(o.name, o.is_veto, o.votes_missing) for o in seen.outcomes] == [
        ("approve", False, 2),
        ("reject", False, 1),
        ("fraud", True, 1),
    ]
    [given] = seen.votes
    assert (given.by, given.outcome, given.reason) == ("ann", "reject", "no")
    assert values.from_payload(given.data) == {"note": "n"}
    [line] = (await served.people.ListHumanTasks(pb.ListHumanTasksRequest())).human_tasks
    assert [(v.by, v.outcome, v.reason, v.HasField("data")) for v in line.votes] == [("ann", "reject", "", False)]
    explained = await served.executions.ExplainExecution(
        execution_service_pb2.ExplainExecutionRequest(execution_id=id_.split("/")[0])
    )
    assert [wait.detail for wait in explained.waits] == [
        "'Approve the loan' is for 'ben', 'cid', who has it; it takes 2 votes for one outcome, and has 1 so far."
    ]

    done = await vote(served, id_, BEN, "reject", reason="no")
    assert (done.outcome, done.done_by, done.votes_missing) == ("reject", "ben", 0)
    assert (votes(done), list(done.claims)) == ([("ann", "reject"), ("ben", "reject")], [])
    trail = await served.people.ListHumanTaskEntries(pb.ListHumanTaskEntriesRequest(human_task_id=id_))
    assert [(each.type, each.by, each.outcome, each.text, each.etag) for each in trail.entries][2:] == [
        ("HumanTaskVoted", "ann", "reject", "no", seen.etag),
        ("HumanTaskVoted", "ben", "reject", "no", seen.etag),
        ("HumanTaskCompleted", "ben", "reject", "no", seen.etag),
    ]


async def test_each_has_a_draft_of_his_own(served: Served) -> None:
    await served.deploy(LOAN)
    id_ = await begin(served)
    for who, note in ((ANN, "a"), (BEN, "b")):
        await served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=id_), **who)
        data = values.to_payload({"note": note})
        await served.people.SaveHumanTaskDraft(pb.SaveHumanTaskDraftRequest(human_task_id=id_, data=data), **who)
    request = pb.GetHumanTaskRequest(human_task_id=id_)
    found = [(await served.people.GetHumanTask(request, **who)).human_task for who in (ANN, BEN, CID, {})]
    assert [values.from_payload(each.draft) if each.HasField("draft") else None for each in found] == [
        {"note": "a"},
        {"note": "b"},
        None,
        None,
    ]


async def test_in_a_sequence_each_sees_what_those_before_him_said(served: Served) -> None:
    """It comes into his inbox when it is his turn, not before."""
    await served.deploy(LOAN)
    id_ = await begin(served, "chain")
    # a substitute, too, waits for his own turn
    await served.people.AddAbsence(pb.AddAbsenceRequest(absence=away("", "cid")), **ANN)
    assert [await listed(served, who) for who in (ANN, BEN, CID)] == [[id_], [], []]
    async with watching(served, BEN) as following:
        assert list((await following()).human_tasks) == []
        await vote(served, id_, ANN, "done", reason="as in May", data=values.to_payload({"note": "5 years"}))
        assert [h.id for h in (await following()).human_tasks] == [id_]
    assert [await listed(served, who) for who in (ANN, BEN, CID)] == [[], [id_], []]
    [said] = (await served.people.GetHumanTask(pb.GetHumanTaskRequest(human_task_id=id_), **BEN)).human_task.votes
    assert (said.by, said.reason, values.from_payload(said.data)) == ("ann", "as in May", {"note": "5 years"})
    with refused(StatusCode.PERMISSION_DENIED, "PERSON_NOT_ELIGIBLE"):
        await vote(served, id_, CID, "done")


async def test_of_two_last_votes_at_once_one_completes_it(served: Served) -> None:
    """The process goes on once, and the other is told that it is decided."""
    await served.deploy(LOAN)
    for _ in range(10):
        id_ = await begin(served)
        await vote(served, id_, ANN)
        request = await decision(served, id_)
        calls = [served.people.SubmitHumanTask(request, **who) for who in (BEN, CID)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        taken = [answer.human_task.done_by for answer in answers if not isinstance(answer, BaseException)]
        assert taken in (["ben"], ["cid"])
        found = await events(served, id_)
        # the second action is `paid`
        counted = [found.count(type_) for type_ in ("HumanTaskVoted", "HumanTaskCompleted", "ActionSucceeded")]
        assert counted == [2, 1, 2]
        assert votes(await get(served, id_)) == [("ann", "approve"), (taken[0], "approve")]


async def test_all_who_vote_at_once_on_two_servers_give_one_decision(postgres_url: Any) -> None:
    """Whichever server takes a vote."""
    url = postgres_url()
    async with serving(url) as a, serving(url) as b:
        await a.deploy(LOAN)
        for _ in range(5):
            id_ = await begin(a)
            request = await decision(a, id_)
            calls = [
                server.people.SubmitHumanTask(request, **who)
                for server, who in ((a, ANN), (b, BEN), (a, CID), (b, ANN))
            ]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert sum(not isinstance(answer, BaseException) for answer in answers) == 2
            found = await events(a, id_)
            assert (found.count("HumanTaskVoted"), found.count("HumanTaskCompleted")) == (2, 1)
            assert len({by for by, _ in votes(await get(b, id_))}) == 2


async def test_one_who_votes_twice_at_once_has_one_vote(served: Served) -> None:
    """Also where the second call says something else; with one request id it is the same vote."""
    await served.deploy(LOAN)
    for _ in range(10):
        id_ = await begin(served)
        requests = [await decision(served, id_), await decision(served, id_, "reject", reason="no")]
        calls = [served.people.SubmitHumanTask(request, **ANN) for request in requests]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(answer, BaseException) for answer in answers) == 1
        assert [by for by, _ in votes(await get(served, id_))] == ["ann"]
    request = await decision(served, id_, request_id="r1")
    first = await served.people.SubmitHumanTask(request, **BEN)
    assert await served.people.SubmitHumanTask(request, **BEN) == first


async def test_a_vote_against_its_own_delegation_has_one_winner(served: Served) -> None:
    await served.deploy(LOAN)
    for _ in range(10):
        id_ = await begin(served)
        delegate = pb.DelegateHumanTaskRequest(human_task_id=id_, user="dan")
        submit = served.people.SubmitHumanTask(await decision(served, id_), **ANN)
        answers = await asyncio.gather(submit, served.people.DelegateHumanTask(delegate, **ANN), return_exceptions=True)
        assert sum(isinstance(answer, BaseException) for answer in answers) == 1
        found = await get(served, id_)
        assert (votes(found), [c.user for c in found.claims]) in (([("ann", "approve")], []), ([], ["dan"]))


async def test_a_veto_against_the_last_vote_has_one_winner(served: Served) -> None:
    await served.deploy(LOAN)
    for _ in range(10):
        id_ = await begin(served)
        await vote(served, id_, ANN)
        requests = [await decision(served, id_), await decision(served, id_, "fraud")]
        calls = [
            served.people.SubmitHumanTask(request, **who) for request, who in zip(requests, (BEN, CID), strict=True)
        ]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        [outcome] = [answer.human_task.outcome for answer in answers if not isinstance(answer, BaseException)]
        state, output = await served.ended(id_.split("/")[0])
        assert (state, output["said"]["outcome"]) == ("SUCCEEDED", outcome)


async def test_the_last_vote_against_a_cancellation_has_one_winner(served: Served) -> None:
    await served.deploy(LOAN)
    for _ in range(10):
        id_ = await begin(served)
        await vote(served, id_, ANN)
        execution_id = id_.split("/")[0]
        cancel = execution_service_pb2.CancelExecutionRequest(execution_id=execution_id)
        submit = served.people.SubmitHumanTask(await decision(served, id_), **BEN)
        answers = await asyncio.gather(submit, served.executions.CancelExecution(cancel), return_exceptions=True)
        # the process may be cancelled after the decision, too: `paid` is still to be done then
        await served.ended(execution_id)
        is_decided = not isinstance(answers[0], BaseException)
        found = await get(served, id_)
        assert (human_task_pb2.HumanTaskState.Name(found.state), len(found.votes)) == (
            ("HUMAN_TASK_STATE_COMPLETED", 2) if is_decided else ("HUMAN_TASK_STATE_CLOSED", 1)
        )


async def test_many_are_voted_on_at_once(served: Served) -> None:
    """Each for itself: one is decided by it, one has a vote more, one is refused."""
    await served.deploy(LOAN)
    decided, open_, mine = [await begin(served) for _ in range(3)]
    await vote(served, decided, ANN)
    await vote(served, mine, BEN)
    requests = [await decision(served, id_) for id_ in (decided, open_, mine)]
    answer = await served.people.SubmitHumanTasks(pb.SubmitHumanTasksRequest(requests=requests), **BEN)
    first, second, third = answer.results
    assert (first.human_task.outcome, second.human_task.outcome) == ("approve", "")
    assert (votes(second.human_task), second.human_task.votes_missing) == ([("ben", "approve")], 1)
    assert third.refusal.reason == "ONE_VOTE_EACH"
    assert await listed(served, BEN) == []


async def test_one_vote_leaves_room_for_those_to_come(database_url: str) -> None:
    """What one fills in is refused before it could keep the last from being taken."""
    async with serving(database_url, max_payload_bytes=8_000) as served:
        await served.deploy(LOAN)
        id_ = await begin(served)
        with refused(StatusCode.INVALID_ARGUMENT, "PAYLOAD_TOO_LARGE"):
            await vote(served, id_, ANN, data=values.to_payload({"note": "n" * 2_000}))
        for who, outcome in ((ANN, "approve"), (CID, "reject"), (BEN, "approve")):
            done = await vote(served, id_, who, outcome, reason="no", data=values.to_payload({"note": "n" * 1_200}))
        assert done.outcome == "approve"


async def test_votes_outlive_their_server(database_url: str, tmp_path: Any) -> None:
    """The one that completes it can be taken by a server that has seen none of the others."""
    url = database_url or str(tmp_path / "votes.db")
    async with serving(url) as served:
        await served.deploy(LOAN)
        id_ = await begin(served)
        await vote(served, id_, ANN, "approve", data=values.to_payload({"note": "first"}))
    async with serving(url) as served:
        await vote(served, id_, BEN)
        _, output = await served.ended(id_.split("/")[0])
    assert [(each["by"], each["data"]) for each in output["said"]["votes"]] == [
        ("ann", {"note": "first"}),
        ("ben", {}),
    ]
