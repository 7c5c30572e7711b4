"""Random people do random things about a human task with a random quorum: nobody has two votes, and it ends in time.

`make simulate` looks for longer, with another seed each time.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.engine.driving import examples, fresh_world
from tradewind_server.engine.state import HumanTask, HumanTaskState, TaskState
from tradewind_server.errors import Refusal
from tradewind_server.runtime.committer import Broken
from tradewind_server.testing import laws
from tradewind_server.testing.scenario import Stage
from tradewind_server.testing.world import World

PEOPLE = ["ann", "ben", "cid", "dan", "eve", "fay"]
GROUP = {"dan", "eve"}
OUTCOMES = ["approve", "reject", "veto"]

#: Kind, who, to whom, outcome, for whom he stands in.
Step = tuple[str, str, str, str, list[str]]

_PERSON = st.sampled_from(PEOPLE)
_ABSENT = st.lists(_PERSON, max_size=2, unique=True)
_KINDS = ["submit", "submit", "submit", "claim", "delegate", "assign", "release", "manage", "wait", "change"]
_KINDS += ["attach", "withdraw"]
_STEPS = st.lists(
    st.tuples(st.sampled_from(_KINDS), _PERSON, _PERSON, st.sampled_from(OUTCOMES), _ABSENT), min_size=10, max_size=24
)


@st.composite
def humans(draw: st.DrawFn) -> dict[str, Any]:
    """Give a human task with a quorum that can be reached."""
    users = draw(st.lists(_PERSON, min_size=2, max_size=5, unique=True))
    human: dict[str, Any] = {"title": "T", "users": users, "outcomes": OUTCOMES, "show": {"x": "<% $.x %>"}}
    sequential = draw(st.booleans())
    if not sequential and draw(st.booleans()):
        human["groups"] = "g"
    excluded = draw(st.sampled_from([None, *PEOPLE]))
    if excluded is not None and len(users) > 2:
        human["separate_from"] = {"user": excluded}
    most = len([user for user in users if user != excluded])
    quorum: dict[str, Any] = {"votes": draw(st.sampled_from([most, max(1, most - 1), 1])), "sequential": sequential}
    quorum |= draw(st.sampled_from([{}, {"veto": "veto"}]))
    quorum |= draw(st.sampled_from([{}, {"otherwise": "reject"}]))
    human["quorum"] = quorum
    if draw(st.booleans()):
        human["escalate"] = {"after": "1d", "users": draw(_PERSON)}
    return human


@examples(40)
@given(humans(), _STEPS)
def test_random_votes_give_one_decision(human: dict[str, Any], steps: list[Step]) -> None:
    """Whatever people try: each has one vote, and it is open as long as somebody can still decide it."""
    with fresh_world() as world:
        world.deploy(json.dumps(_workflow(human)))
        stage = Stage(world)
        stage.step({"start": {"workflow": "w"}})
        for step in steps:
            with contextlib.suppress(Refusal, AssertionError):
                stage.step(_step(*step))
            laws.check(world, stage.root)
            _check(world, stage.root, human)
            assert not [a for o in world.outcomes for _, a in o.answers if isinstance(a, Broken)], "the batch broke"


def _workflow(human: dict[str, Any]) -> dict[str, Any]:
    change = {"human": {"title": "C", "groups": "g"}, "on-success": {"publish": {"global": {"x": 2}}}}
    vote = {"human": human, "on-complete": [{"noop": f"<% task().result.outcome in {OUTCOMES} %>"}], "on-error": "noop"}
    return {"version": "2.0", "w": {"vars": {"x": 1}, "tasks": {"vote": vote, "change": change}}}


def _step(kind: str, by: str, to: str, outcome: str, stands_for: list[str]) -> dict[str, Any]:
    groups = ["g"] if by in GROUP else ["other"]
    who = {"task": "vote", "by": by, "groups": groups, "stands_for": stands_for}
    steps: dict[str, dict[str, Any]] = {
        "submit": {"submit": {**who, "outcome": outcome}},
        "claim": {"claim": who},
        "delegate": {"delegate": {**who, "to": to}},
        "assign": {"assign": {**who, "to": to, "manages": True}},
        "release": {"release": who},
        "manage": {"release": {**who, "manages": True}},
        "wait": {"advance": "1d"},
        # what somebody says of it is the file
        "attach": {"attach": {**who, "name": outcome, "content": by}},
        "withdraw": {"withdraw": {**who, "attachment": 1 + PEOPLE.index(to), "manages": True}},
        "change": {"submit": {"task": "change", "by": "dan", "groups": ["g"], "outcome": "done"}},
    }
    return steps[kind]


def _check(world: World, root: str, human: dict[str, Any]) -> None:
    state = world.live(root).state
    [found] = [h for h in state.human_tasks.values() if state.tasks[h.task].name == "vote"]
    given = [name for vote in found.votes for name in {vote.by, vote.owner or vote.by}]
    in_hand = [name for claim in found.claims for name in {claim.by, claim.owner or claim.by}]
    twice = [name for name, count in Counter([*given, *in_hand]).items() if count > 1]
    assert not twice, f"{twice} have two votes"
    assert not found.excluded.keys() & {*given, *in_hand}, "somebody votes who must not"
    tally = Counter(vote.outcome for vote in found.votes)
    needed = {outcome: found.quorum for outcome in OUTCOMES}
    if "veto" in human["quorum"]:
        needed["veto"] = 1
    reached = [outcome for outcome in OUTCOMES if tally[outcome] >= needed[outcome]]
    left = _left(found)
    can_be = left is None or any(left and tally[name] + left >= count for name, count in needed.items())
    ends = {state.tasks[found.task].state}
    if found.is_open:
        assert (reached, can_be) == ([], True)
        assert found.asked or found.claims or found.groups, "nobody is asked"
    elif reached:
        assert ([found.outcome], ends) == (reached, {TaskState.SUCCEEDED})
    else:
        assert not can_be
        wanted = human["quorum"].get("otherwise", "")
        assert (found.outcome, found.done_by) == ((wanted, "system") if wanted else ("", ""))
        assert found.state is (HumanTaskState.COMPLETED if wanted else HumanTaskState.CLOSED)


def _left(found: HumanTask) -> int | None:
    """Return how many votes may come; None: any number."""
    gone = {name for vote in found.votes for name in (vote.by, vote.owner)} | {vote.turn for vote in found.votes}
    if found.order:
        return len(set(found.order) - gone)
    outside = [claim for claim in found.claims if (claim.owner or claim.by) not in found.users]
    return None if found.groups else len(set(found.users) - gone) + len(outside)
