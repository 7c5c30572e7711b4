"""Nobody finds in his inbox what he would be refused: four eyes between human tasks; on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode

from tests.api.harness import Served, refused
from tests.api.test_human_tasks import as_user, away, decision, listed, watching
from tradewind.v1 import human_task_pb2
from tradewind.v1 import human_task_service_pb2 as pb

PAIR = """
version: '2.0'
# both are open at the same time
pair:
  tasks:
    enter: {human: {title: Enter, groups: staff, users: fred}}
    check: {human: {title: Check, groups: heads, users: fred, separate_from: {task: enter}}}
apart:
  tasks:
    enter: {human: {title: Enter, groups: staff, users: fred}}
    check: {human: {title: Check, groups: heads, users: fred}}
returned:
  tasks:
    begin: {on-success: enter}
    enter: {human: {title: Enter, groups: staff}, on-success: check}
    check:
      human: {title: Check, groups: heads, separate_from: {task: enter}, outcomes: [approve, return]}
      on-success:
        - enter: <% task().result.outcome = return %>
voted:
  tasks:
    enter: {human: {title: Enter, groups: staff, quorum: 2}}
    check: {human: {title: Check, groups: heads, separate_from: {task: enter}}}
lapsing:
  tasks:
    enter: {human: {title: Enter, groups: staff, expire: {after: 2, outcome: done}}}
    check: {human: {title: Check, groups: heads, separate_from: {task: enter}}}
"""
FRED = as_user("fred")
#: In both groups; stands in for fred, in neither.
ANN, GIL = as_user("ann", "staff", "heads"), as_user("gil")


async def open_of(served: Served, execution_id: str) -> dict[str, str]:
    """Return the ids of open human tasks of an execution by the names of their tasks."""
    request = pb.ListHumanTasksRequest(filter=f'execution_id = "{execution_id}"')
    answer = await served.people.ListHumanTasks(request)
    done = (human_task_pb2.HUMAN_TASK_STATE_COMPLETED, human_task_pb2.HUMAN_TASK_STATE_CLOSED)
    return {each.task: each.id for each in answer.human_tasks if each.state not in done}


async def begin(served: Served, workflow: str) -> tuple[str, dict[str, str]]:
    """Start a process, and return its id and its open human tasks."""
    await served.deploy(PAIR)
    execution_id = await served.start(workflow, {})
    return execution_id, await open_of(served, execution_id)


async def submit(served: Served, id_: str, who: dict[str, Any], outcome: str = "done") -> None:
    await served.people.SubmitHumanTask(await decision(served, id_, outcome), **who)


async def stand_in(served: Served, user: str, substitute: str) -> None:
    await served.people.AddAbsence(pb.AddAbsenceRequest(absence=away(user, substitute)), **as_user(user))


async def refuse(served: Served, id_: str, who: dict[str, Any], reason: str = "PERSON_EXCLUDED") -> None:
    with refused(StatusCode.PERMISSION_DENIED, reason):
        await served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=id_), **who)


async def counted(served: Served, who: dict[str, Any]) -> int:
    answer = await served.people.CountHumanTasks(pb.CountHumanTasksRequest(scope=pb.HUMAN_TASK_SCOPE_INBOX), **who)
    return int(answer.count)


@pytest.mark.parametrize(("first", "second"), [("enter", "check"), ("check", "enter")])
async def test_who_did_one_does_not_find_the_other(served: Served, first: str, second: str) -> None:
    """Whichever of the two he did; everybody else does, and so does he where nothing separates them."""
    _, ids = await begin(served, "pair")
    _, others = await begin(served, "apart")
    await submit(served, ids[first], ANN)
    await submit(served, others[first], ANN)

    assert set(await listed(served, ANN)) == {others[second]}
    assert await counted(served, ANN) == 1
    assert set(await listed(served, as_user("ben", "staff", "heads"))) == {ids[second], others[second]}
    assert set(await listed(served, FRED)) == {ids[second], others[second]}
    await refuse(served, ids[second], ANN)


@pytest.mark.parametrize(("first", "second"), [("enter", "check"), ("check", "enter")])
async def test_a_substitute_does_not_find_what_he_may_not_do(served: Served, first: str, second: str) -> None:
    """Neither since he did the other one himself, nor since the absent one did; else he does."""
    await stand_in(served, "fred", "gil")
    _, by_gil = await begin(served, "pair")
    _, by_fred = await begin(served, "pair")
    _, by_ann = await begin(served, "pair")
    _, others = await begin(served, "apart")
    every = [by_gil, by_fred, by_ann, others]
    assert set(await listed(served, GIL)) == {id_ for ids in every for id_ in ids.values()}
    for ids, who in [(by_gil, GIL), (by_fred, FRED), (by_ann, ANN), (others, GIL)]:
        await submit(served, ids[first], who)

    assert set(await listed(served, GIL)) == {by_ann[second], others[second]}
    assert await counted(served, GIL) == 2
    await refuse(served, by_gil[second], GIL)
    await refuse(served, by_fred[second], GIL, "PERSON_NOT_ELIGIBLE")
    # whoever is accountable for what gil did in his place did it as well
    assert set(await listed(served, FRED)) == {by_ann[second], others[second]}
    await submit(served, by_ann[second], GIL)
    await submit(served, others[second], GIL)


async def test_what_is_separate_leaves_the_screen_of_who_did_the_other(served: Served) -> None:
    """At once, although nothing happens to it; also from that of a substitute, and of no other."""
    await stand_in(served, "fred", "gil")
    _, ids = await begin(served, "pair")
    ben = as_user("ben", "heads")
    async with watching(served, ANN) as of_ann, watching(served, GIL) as of_gil, watching(served, ben) as of_ben:
        for following, there in ((of_ann, set(ids.values())), (of_gil, set(ids.values())), (of_ben, {ids["check"]})):
            assert {h.id for h in (await following()).human_tasks} == there
        await submit(served, ids["enter"], ANN)
        assert set((await of_ann()).removed_ids) == {ids["enter"], ids["check"]}
        message = await of_gil()
        assert (list(message.removed_ids), [h.id for h in message.human_tasks]) == ([ids["enter"]], [ids["check"]])
        _, more = await begin(served, "pair")
        came: set[str] = set()
        while came != set(more.values()):
            came |= {h.id for h in (await of_gil()).human_tasks}
        await submit(served, more["enter"], GIL)
        assert set((await of_gil()).removed_ids) == set(more.values())
        seen: list[str] = []
        while more["check"] not in seen:
            message = await of_ben()
            assert list(message.removed_ids) == []
            seen += [h.id for h in message.human_tasks]


async def test_who_has_it_in_hand_finds_the_other_until_it_is_done(served: Served) -> None:
    """He may give it back, and do the other one then."""
    _, ids = await begin(served, "pair")
    await served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=ids["enter"]), **ANN)
    assert set(await listed(served, ANN)) == set(ids.values())
    await submit(served, ids["enter"], ANN)
    assert await listed(served, ANN) == []


async def test_after_a_return_it_is_whoever_did_it_last(served: Served) -> None:
    """Who did it the time before finds it again, and may do it."""
    ben, dan = as_user("ben", "staff", "heads"), as_user("dan", "staff", "heads")
    # who looks on does nothing himself
    await served.deploy(PAIR)
    async with watching(served, as_user("eve", "staff", "heads")) as following:
        await following()
        await served.start("returned", {})

        async def offered() -> str:
            while not (there := (await following()).human_tasks):
                pass
            return str(there[0].id)

        await submit(served, await offered(), ANN)
        check = await offered()
        assert (await listed(served, ANN), await listed(served, dan)) == ([], [check])
        await submit(served, check, ben, "return")
        enter = await offered()
        assert (await listed(served, ben), await listed(served, ANN), await listed(served, dan)) == (
            [],
            [enter],
            [enter],
        )
        await submit(served, enter, dan)
        check = await offered()
        assert (await listed(served, ANN), await listed(served, dan)) == ([check], [])
        await submit(served, check, ANN, "approve")


async def test_a_vote_keeps_away_as_long_as_it_counts(served: Served) -> None:
    """A file that comes makes votes count no more."""
    _, ids = await begin(served, "voted")
    assert set(await listed(served, ANN)) == set(ids.values())
    async with watching(served, ANN) as following:
        await following()
        await submit(served, ids["enter"], ANN)
        assert set((await following()).removed_ids) == set(ids.values())
        assert await listed(served, ANN) == []
        request = pb.AddAttachmentRequest(human_task_id=ids["enter"], file_name="a.txt", content=b"a")
        await served.people.AddAttachment(request, **as_user("ben", "staff"))
        assert {h.id for h in (await following()).human_tasks} == set(ids.values())
    assert set(await listed(served, ANN)) == set(ids.values())
    await submit(served, ids["check"], ANN)
    assert await listed(served, ANN) == []


async def test_what_is_separate_leaves_the_screen_of_who_had_what_expired(served: Served) -> None:
    """The system has decided in his place; the list leaves the other one out as well."""
    _, ids = await begin(served, "lapsing")
    await served.people.ClaimHumanTask(pb.ClaimHumanTaskRequest(human_task_id=ids["enter"]), **ANN)
    async with watching(served, ANN) as following:
        assert {h.id for h in (await following()).human_tasks} == set(ids.values())
        gone: set[str] = set()
        while gone != set(ids.values()):
            gone |= set((await following()).removed_ids)
    assert await listed(served, ANN) == []
    await refuse(served, ids["check"], ANN)
