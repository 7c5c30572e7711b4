"""Human tasks as rows: what one is, and in whose inboxes it stands."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from tradewind_server.clock import from_microseconds, to_microseconds
from tradewind_server.engine.attachment import Attachment
from tradewind_server.engine.four_eyes import separate_from, who_did_others
from tradewind_server.engine.state import Claim, HumanTask, HumanTaskState, Vote
from tradewind_server.lang.specs import WorkflowSpec
from tradewind_server.store.records import Live
from tradewind_server.store.statements import Row

#: Columns that change with every step of a human task.
CHANGES = (
    "state", "assignee", "owner", "etag", "done_by", "outcome", "comment_count", "due_at", "level", "shown_revision",
    "draft_revision", "revision", "updated_at", "detail",
)  # fmt: skip
#: Entries of an inbox are in the order of priority, the highest first, then of when they are due, then of age.
MAX_PRIORITY = 100
#: Later than any moment, microseconds: the year 2286.
NEVER = 10**16
_encode_detail = msgspec.json.Encoder().encode


class HumanTaskDetail(msgspec.Struct, omit_defaults=True, gc=False):
    """The part of a human task's row that only the engine reads."""

    users: Sequence[str]
    groups: Sequence[str]
    excluded: Mapping[str, str] = {}
    reminders: tuple[tuple[datetime, int], ...] = ()
    expires: datetime | None = None
    quorum: int = 0
    order: Sequence[str] = ()
    #: With a quorum; else it is columns that say who has it.
    claims: tuple[Claim, ...] = ()
    #: Without reason and data, which stand in their events.
    votes: tuple[Vote, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    last_attachment: int = 0
    seen: dict[str, str] = {}


class Entries:
    """Entries in inboxes of one execution's human tasks, of the revision that it has now."""

    def __init__(self, live: Live) -> None:
        self._live = live
        #: By task, as all of its human tasks have it in common.
        self._did_others: dict[int, frozenset[str]] = {}

    def of(self, human_task: HumanTask) -> Iterator[Row]:
        """Give those of one."""
        due = NEVER if human_task.due is None else to_microseconds(human_task.due)
        rank = (MAX_PRIORITY - human_task.priority) * NEVER + min(due, NEVER - 1)
        live, envelope = self._live, self._live.envelope
        is_offered = human_task.state is HumanTaskState.OFFERED
        for principal in principals(human_task, self._who_did_others(human_task.task) if is_offered else ()):
            yield (
                envelope.namespace, principal, rank, envelope.id, human_task.id, live.state.revision, envelope.workflow,
            )  # fmt: skip

    def concerned(self, changed: Collection[int]) -> Iterator[HumanTask]:
        """Give human tasks that have not *changed*, but who may do them: four eyes look at who did the others."""
        state, spec = self._live.state, self._spec()
        done = {state.tasks[h.task].name for h in map(state.human_tasks.__getitem__, changed) if h.done_by or h.quorum}
        separate = {name for each in done for name in separate_from(spec, each)}
        for human_task in state.human_tasks.values() if separate else ():
            is_other = human_task.id not in changed and state.tasks[human_task.task].name in separate
            if is_other and human_task.state is HumanTaskState.OFFERED and self._are_others(human_task.task):
                yield human_task

    def keep(self) -> None:
        """Remember who did others, so that only what changes is written anew."""
        self._live.did_others.update(self._did_others)

    def _are_others(self, task: int) -> bool:
        return self._who_did_others(task) != self._live.did_others.get(task)

    def _who_did_others(self, task: int) -> frozenset[str]:
        if task not in self._did_others:
            self._did_others[task] = who_did_others(self._spec(), self._live.state, task)
        return self._did_others[task]

    def _spec(self) -> WorkflowSpec:
        assert self._live.program is not None, "an event of it has just been decided"
        return self._live.program.spec


def principals(human_task: HumanTask, did_others: Collection[str]) -> list[str]:
    """Return whose inboxes it is in, or kept out of, since they *did others*."""
    if not human_task.is_open:
        return []
    held = [f"assignee:{claim.by}" for claim in human_task.claims]
    held += dict.fromkeys(f"owner:{claim.owner}" for claim in human_task.claims if claim.owner)
    if human_task.state is HumanTaskState.CLAIMED:
        return held
    kept_out = {*human_task.excluded, *human_task.spoken_for, *human_task.waiting, *did_others}
    return [
        # nor is it in the inbox of whoever stands in for one who may not do it
        *(f"user:{name}" for name in human_task.asked if name not in kept_out),
        *(f"group:{name}" for name in human_task.groups),
        *(f"excluded:{name}" for name in sorted(kept_out)),
        *held,
    ]


def new(live: Live, human_task: HumanTask, title: str) -> Row:
    """Return the row of a human task, in the order of the table's columns."""
    envelope, task, action = live.envelope, live.state.tasks[human_task.task], live.state.actions[human_task.id]
    state, *middle, updated, detail = changes(human_task)
    return (
        envelope.id, human_task.id, envelope.namespace, task.id, task.name, envelope.workflow, envelope.business_key,
        title.replace("\0", "\ufffd"), state, human_task.priority, *middle, to_microseconds(action.created_at), updated,
        detail,
    )  # fmt: skip


def state_of(row: Any, detail: HumanTaskDetail) -> HumanTask:
    """Return the human task of a row, but for what stands in the events of its votes."""
    claims = detail.claims if detail.quorum or not row.assignee else (Claim(row.assignee, row.owner),)
    return HumanTask(
        row.action_id, row.task_id, HumanTaskState(row.state), tuple(detail.users), tuple(detail.groups),
        detail.excluded, row.etag, row.priority, claims, row.shown_revision, row.draft_revision, row.comment_count,
        None if row.due_at is None else from_microseconds(row.due_at), detail.reminders, detail.expires, row.level,
        detail.quorum, tuple(detail.order), detail.votes, detail.attachments, detail.last_attachment,
        detail.seen, row.done_by, row.outcome, from_microseconds(row.updated_at), row.revision,
    )  # fmt: skip


def changes(human_task: HumanTask) -> Row:
    """Return the columns `CHANGES`."""
    h = human_task
    detail = HumanTaskDetail(
        h.users, h.groups, h.excluded, h.reminders, h.expires, h.quorum, h.order, h.claims if h.quorum else (),
        tuple(msgspec.structs.replace(vote, reason="", data=None) for vote in h.votes),
        h.attachments, h.last_attachment, h.seen,
    )  # fmt: skip
    return (
        h.state.value, h.assignee, h.owner, h.etag, h.done_by, h.outcome, h.comment_count,
        None if h.due is None else to_microseconds(h.due), h.level, h.shown_revision, h.draft_revision, h.revision,
        to_microseconds(h.updated_at), _encode_detail(detail),
    )  # fmt: skip
