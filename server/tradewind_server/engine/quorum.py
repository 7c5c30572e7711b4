"""Several people decide one human task: how many votes it takes, who still has one, and when that is over.

Each person votes once, for himself or for another, and each who is asked by name is voted for once. A vote is a step of
its own; the one that completes the quorum is one decision with what follows from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import takewhile

from tradewind_server.engine import attachments, notices
from tradewind_server.engine import commands as c
from tradewind_server.engine import events as e
from tradewind_server.engine.asked import id_of, spec_of
from tradewind_server.engine.codec import encode_event
from tradewind_server.engine.decision import Decision
from tradewind_server.engine.four_eyes import kept_away
from tradewind_server.engine.policies import TaskError, whole_number
from tradewind_server.engine.state import HumanTask
from tradewind_server.errors import PayloadTooLarge
from tradewind_server.errors.people import OneVoteEach
from tradewind_server.lang.expressions import Scope
from tradewind_server.lang.human_tasks import MAX_QUORUM
from tradewind_server.lang.specs import HumanSpec, Quorum
from tradewind_server.lang.values import encode

#: Who decides where no person has.
SYSTEM = "system"
#: Code of the failure.
UNDECIDED = "UNDECIDED"


def size_of(human: HumanSpec, scope: Scope, users: list[str], groups: list[str]) -> int:
    """Return how many votes for one outcome decide, 0 if one person does.

    Raises:
        TaskError: no number, or more than there are people.
    """
    quorum = human.quorum
    if quorum is None:
        return 0
    if groups and (quorum.votes is None or quorum.is_sequential):
        raise TaskError("quorum must count the votes where groups are asked: nobody knows who is in them")
    votes = len(users) if quorum.votes is None else whole_number(quorum.votes, scope, "quorum")
    if not 1 <= votes <= MAX_QUORUM:
        raise TaskError(f"quorum must be 1 to {MAX_QUORUM} votes, but is {votes}")
    if not groups and votes > len(users):
        raise TaskError(f"quorum asks for {votes} votes, but only {len(users)} may vote: {', '.join(users)}")
    return votes


def check_has_vote(d: Decision, human_task: HumanTask, user: str) -> None:
    """See that the vote of *user* is neither given nor in somebody's hands.

    Raises:
        OneVoteEach: it is.
    """
    for vote in human_task.votes:
        if vote.by == user:
            _refuse(d, human_task, user, f"he has voted{f' for {vote.owner!r}' if vote.owner else ''}")
        if vote.owner == user:
            _refuse(d, human_task, user, f"'{vote.by}' has voted for him")
    for claim in human_task.claims:
        if claim.owner == user:
            _refuse(d, human_task, user, f"'{claim.by}' votes for him")


def check_can_take(d: Decision, human_task: HumanTask, user: str, of: str = "") -> None:
    """See that *user* can be given a vote: that of *of*, or one of his own for "".

    Raises:
        OneVoteEach: he has one, or has given it.
    """
    check_has_vote(d, human_task, user)
    if user in human_task.waiting:
        _refuse(d, human_task, user, "his own turn comes later")
    claim = human_task.claim_of(user)
    if claim is not None and (of or claim.owner):
        _refuse(d, human_task, user, f"he votes for '{claim.owner or user}'")
    if of and user in human_task.users:
        _refuse(d, human_task, user, "he is asked himself")


def _refuse(d: Decision, human_task: HumanTask, user: str, why: str) -> None:
    raise OneVoteEach(user=user, human_task=id_of(d, human_task), why=why)


# --- votes ---------------------------------------------------------------------------------------


def vote(d: Decision, human_task: HumanTask, command: c.SubmitHumanTask, owner: str) -> None:
    """Take a vote that has been checked; it may be the one that decides."""
    turn = human_task.to_come[0] if human_task.to_come else ""
    voted = e.HumanTaskVoted(
        human_task.id, human_task.task, command.person.user, command.outcome, command.etag, command.reason,
        {} if command.data is None else command.data, owner, turn,
    )  # fmt: skip
    quorum = _quorum_of(d, human_task)
    _check_share(d, human_task, voted)
    d.emit(voted)
    if command.outcome in quorum.veto or _tally(human_task)[command.outcome] >= human_task.quorum:
        _decide(d, human_task, voted)
    elif not _can_be_decided(d, human_task, quorum):
        _give_up(d, human_task, quorum)
    elif human_task.order:
        notices.tell_asked(d, human_task, human_task.to_come[:1])


def _quorum_of(d: Decision, human_task: HumanTask) -> Quorum:
    quorum = spec_of(d, human_task).quorum
    assert quorum is not None
    return quorum


def _tally(human_task: HumanTask) -> Counter[str]:
    return Counter(each.outcome for each in human_task.votes)


def _check_share(d: Decision, human_task: HumanTask, voted: e.HumanTaskVoted) -> None:
    """See that the result has room for this vote, and for as much of all the others, whoever comes last."""
    outcomes = len(spec_of(d, human_task).outcomes)
    most = (human_task.quorum - 1) * outcomes + 1
    # the deciding one stands there twice
    room = d.library.max_payload_bytes - len(encode(attachments.told(d, human_task)))
    limit, size = max(0, room) // (most + 1), len(encode_event(voted))
    if size > limit:
        what = "data and reason of a vote"
        raise PayloadTooLarge(what=what, limit=limit, setting="max_payload_bytes", size=size, field="data")


def _can_be_decided(d: Decision, human_task: HumanTask, quorum: Quorum) -> bool:
    if human_task.groups and not human_task.order:
        return True
    left = _left(human_task, kept_away(d.spec, d.state, human_task))
    tally = _tally(human_task)
    needed = {o.name: 1 if o.name in quorum.veto else human_task.quorum for o in spec_of(d, human_task).outcomes}
    return left > 0 and any(tally[name] + left >= count for name, count in needed.items())


def _left(human_task: HumanTask, lost: Collection[str]) -> int:
    """Return how many votes may still come, where only users are asked, of whom *lost* are kept away."""
    users = [user for user in human_task.users if user not in lost and user not in human_task.voters]
    if human_task.order:
        # without somebody who votes in his place, who gives none holds up all that come after him
        others = human_task.groups or _outside(human_task, human_task.order) or set(users).difference(human_task.order)
        turns = human_task.to_come
        return len(turns) if others else len(list(takewhile(lambda user: user not in lost, turns)))
    return _outside(human_task, human_task.users) + len(users)


def _outside(human_task: HumanTask, asked: Sequence[str]) -> int:
    """Return how many have a vote in hand that was assigned to somebody beside those who are *asked*."""
    return sum((claim.owner or claim.by) not in asked for claim in human_task.claims)


def is_undecidable(d: Decision, human_task: HumanTask) -> bool:
    """Tell whether no outcome can get enough votes any more."""
    return bool(human_task.quorum) and not _can_be_decided(d, human_task, _quorum_of(d, human_task))


def end_if_undecidable(d: Decision, human_task: HumanTask) -> None:
    """End it where no outcome can get enough votes any more."""
    if is_undecidable(d, human_task):
        _give_up(d, human_task, _quorum_of(d, human_task))


def to_ask_again(human_task: HumanTask) -> list[str]:
    """Return who is to vote anew once no vote counts any more: for whom it was asked by name, else who gave it."""
    seats = human_task.voters | {vote.turn for vote in human_task.votes}
    asked = set(human_task.users)
    others = [v.by for v in human_task.votes if asked.isdisjoint((v.by, v.owner, v.turn))]
    return [*(name for name in human_task.users if name in seats), *others]


def ask_again(d: Decision, human_task: HumanTask, names: list[str]) -> None:
    """Tell *names* that they are to vote anew; in a sequence all but the first wait."""
    waiting = human_task.waiting
    notices.tell_asked(d, human_task, [name for name in names if name not in waiting])


def _decide(d: Decision, human_task: HumanTask, voted: e.HumanTaskVoted) -> None:
    said = result_of(d, human_task, voted.outcome, voted.reason, voted.by, voted.owner or voted.by)
    _end(d, human_task, voted.by, voted.outcome, voted.reason, voted.owner)
    d.emit(e.ActionSucceeded(human_task.id, human_task.task, {**said, "data": voted.data}))


def _give_up(d: Decision, human_task: HumanTask, quorum: Quorum) -> None:
    """End it where no outcome can get enough votes any more: as the definition says, or as a failure."""
    why = f"No outcome can get {human_task.quorum} votes any more."
    if not quorum.otherwise:
        d.emit(e.ActionFailed(human_task.id, human_task.task, "ACTION", why, UNDECIDED))
        return
    said = result_of(d, human_task, quorum.otherwise, why, SYSTEM, SYSTEM)
    _end(d, human_task, SYSTEM, quorum.otherwise, why)
    d.emit(e.ActionSucceeded(human_task.id, human_task.task, said))


def _end(d: Decision, human_task: HumanTask, by: str, outcome: str, reason: str, owner: str = "") -> None:
    notices.tell_holder(d, human_task, human_task.holders, f"It is decided: {outcome}.")
    d.emit(e.HumanTaskCompleted(human_task.id, human_task.task, by, outcome, human_task.etag, reason, owner))


def result_of(d: Decision, human_task: HumanTask, outcome: str, reason: str, by: str, owner: str) -> dict[str, object]:
    """Return what the task gives, with all votes where there is a quorum, and with files; nothing is filled in."""
    result: dict[str, object] = {"outcome": outcome, "reason": reason, "data": {}, "by": by, "owner": owner}
    if human_task.quorum:
        result["votes"] = [
            {"by": v.by, "owner": v.owner or v.by, "outcome": v.outcome, "reason": v.reason, "data": v.data}
            for v in human_task.votes
        ]
    # a definition that says nothing of files gets what it always got, as long as nobody adds one
    if human_task.attachments or spec_of(d, human_task).attachments is not None:
        result["attachments"] = attachments.told(d, human_task)
    return result
