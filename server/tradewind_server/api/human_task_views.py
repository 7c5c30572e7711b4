"""Human tasks as callers see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa

from tradewind.v1 import human_task_pb2
from tradewind.v1 import human_task_service_pb2 as pb
from tradewind_server.api import attachments, convert, deciders
from tradewind_server.api.caller import caller_name, person
from tradewind_server.api.deciders import detail_of, state_of
from tradewind_server.api.sight import Sight
from tradewind_server.clock import to_microseconds
from tradewind_server.engine import events as e
from tradewind_server.engine.attachment import Attachment
from tradewind_server.engine.codec import decode_event
from tradewind_server.engine.commands import Person
from tradewind_server.engine.state import HumanTask
from tradewind_server.errors.people import AttachmentHidden
from tradewind_server.lang.references import shown
from tradewind_server.store import absences, human_task_rows, reads
from tradewind_server.store.absences import Absence
from tradewind_server.store.inboxes import For
from tradewind_server.store.records import StoredEvent
from tradewind_server.store.statements import Dialect


def asking(scope: pb.HumanTaskScope.ValueType) -> Person | None:
    """Return the person whose *scope* it is; None if it is nobody's, but all of the namespace.

    Raises:
        PersonUnknown: nobody knows who calls.
    """
    return None if scope == pb.HUMAN_TASK_SCOPE_UNSPECIFIED else person()


def inbox_of(
    connection: sa.Connection, namespace: str, who: Person, scope: pb.HumanTaskScope.ValueType, at: int
) -> For:
    """Return what *scope* is for somebody at a moment, microseconds."""
    if scope == pb.HUMAN_TASK_SCOPE_MINE:
        return For(who.user, (f"assignee:{who.user}",))
    if scope == pb.HUMAN_TASK_SCOPE_DELEGATED:
        return For(who.user, (f"owner:{who.user}",))
    absent = sorted(absences.absent_for(connection, namespace, who.user, at))
    users = (f"user:{user}" for user in (who.user, *absent))
    return For(who.user, (f"assignee:{who.user}", *users, *(f"group:{group}" for group in sorted(who.groups))))


def messages(
    sight: Sight, connection: sa.Connection, dialect: Dialect, rows: Sequence[Any], *, full: bool
) -> list[human_task_pb2.HumanTask]:
    """Return rows of human tasks as messages, with what they show if *full*."""
    found = _exact(connection, dialect, rows, full=full)
    sight.show(connection, ((message.execution_id, message) for message in found))
    return found


def message(
    sight: Sight, connection: sa.Connection, dialect: Dialect, row: Any, at: int, *, full: bool
) -> human_task_pb2.HumanTask:
    """Return one human task; whoever is asked to decide sees what the definition shows him, and what he filled in."""
    if full and sight.is_hidden(connection, row.execution_id) and deciders.is_one(connection, dialect, row, at):
        found = _exact(connection, dialect, [row], full=True)[0]
        # what others filled in is not shown by the definition
        sight.show(connection, ((found.execution_id, vote) for vote in found.votes))
        return found
    return messages(sight, connection, dialect, [row], full=full)[0]


def _exact(
    connection: sa.Connection, dialect: Dialect, rows: Sequence[Any], *, full: bool
) -> list[human_task_pb2.HumanTask]:
    keys = {(row.execution_id, n) for row in rows for n in _revisions(row) if n} if full else set()
    bodies = reads.events_at(connection, dialect, list(keys)) if keys else {}
    return [_message(row, bodies, full=full) for row in rows]


def _revisions(row: Any) -> Sequence[int]:
    """Return which events hold what the full view of a human task shows."""
    votes = (vote.revision for vote in detail_of(row).votes)
    return [row.shown_revision, _draft_of(row), *votes]


def _draft_of(row: Any) -> int:
    """Return the revision of the draft that the caller may see, 0 for none."""
    if row.state == "CLAIMED":
        return int(row.draft_revision)
    name = caller_name()
    return next((claim.draft_revision for claim in detail_of(row).claims if claim.by == name), 0)


def _message(row: Any, bodies: Mapping[tuple[str, int], e.Event], *, full: bool) -> human_task_pb2.HumanTask:
    detail = detail_of(row)
    state = human_task_rows.state_of(row, detail)
    message = human_task_pb2.HumanTask(
        id=f"{row.execution_id}/a{row.action_id}",
        namespace=row.namespace,
        execution_id=row.execution_id,
        task_id=f"t{row.task_id}",
        task=row.task,
        workflow=row.workflow,
        business_key=row.business_key,
        title=shown(row.title),
        state=human_task_pb2.HumanTaskState.Value(f"HUMAN_TASK_STATE_{row.state}"),
        priority=row.priority,
        users=detail.users,
        groups=detail.groups,
        excluded=[human_task_pb2.ExcludedPerson(user=user, reason=why) for user, why in detail.excluded.items()],
        assignee=row.assignee,
        owner=row.owner,
        etag=row.etag,
        done_by=row.done_by,
        outcome=row.outcome,
        comment_count=row.comment_count,
        created_at=convert.timestamp(row.created_at),
        updated_at=convert.timestamp(row.updated_at),
        revision=row.revision,
        due_at=None if row.due_at is None else convert.timestamp(row.due_at),
        escalation_level=row.level,
        expires_at=None if detail.expires is None else convert.timestamp(to_microseconds(detail.expires)),
        quorum=detail.quorum,
        votes=[
            human_task_pb2.HumanTaskVote(by=v.by, owner=v.owner, outcome=v.outcome, revision=v.revision)
            for v in detail.votes
        ],
        claims=[human_task_pb2.HumanTaskClaim(user=claim.by, owner=claim.owner) for claim in detail.claims],
        asked=state.asked,
        order=detail.order,
        votes_missing=_missing(state),
        attachment_count=len(state.attachments),
    )
    if full:
        _fill(message, row, bodies)
    return message


def _missing(state: HumanTask, outcome: str = "") -> int:
    """Return how many votes *outcome* still lacks, by default the one that has most."""
    if not state.quorum or not state.is_open:
        return 0
    tally = Counter(vote.outcome for vote in state.votes)
    return state.quorum - (tally[outcome] if outcome else max(tally.values(), default=0))


def _fill(message: human_task_pb2.HumanTask, row: Any, bodies: Mapping[tuple[str, int], e.Event]) -> None:
    event = bodies[row.execution_id, row.shown_revision]
    seen = event.show if isinstance(event, e.HumanTaskChanged) else cast("e.ActionScheduled", event).input
    message.title, message.description = shown(seen["title"]), shown(seen["description"])
    message.show.CopyFrom(convert.payload(seen["show"]))
    if seen["form"] is not None:
        message.form.CopyFrom(convert.payload(seen["form"]))
    state = state_of(row)
    _fill_outcomes(message, state, seen["outcomes"])
    message.attachments.extend(map(attachments.message, state.attachments))
    if revision := _draft_of(row):
        draft = cast("e.HumanTaskDraftSaved", bodies[row.execution_id, revision])
        message.draft.CopyFrom(convert.payload(draft.data))
    for vote in message.votes:
        voted = cast("e.HumanTaskVoted", bodies[row.execution_id, vote.revision])
        vote.reason = voted.reason
        vote.data.CopyFrom(convert.payload(voted.data))


def _fill_outcomes(message: human_task_pb2.HumanTask, state: HumanTask, outcomes: Sequence[Any]) -> None:
    for outcome in outcomes:
        is_veto, missing = outcome.get("veto", False), _missing(state, outcome["name"])
        message.outcomes.add(
            name=outcome["name"],
            reason_required=outcome["reason"] == "required",
            is_veto=is_veto,
            votes_missing=min(missing, 1) if is_veto else missing,
        )


# --- files ---------------------------------------------------------------------------------------


def with_added(done: human_task_pb2.HumanTask, wanted: Attachment, row: Any) -> pb.AddAttachmentResponse:
    """Return what the caller has added; nothing if it has been withdrawn meanwhile."""
    found = attachments.added(state_of(row).attachments, wanted, person().user)
    return pb.AddAttachmentResponse(human_task=done, attachment=None if found is None else attachments.message(found))


def with_content(
    sight: Sight, connection: sa.Connection, dialect: Dialect, row: Any, at: int, number: int
) -> pb.GetAttachmentResponse:
    """Return a file with what is in it, which cannot be masked: where values are sensitive it is for few.

    Raises:
        AttachmentNotFound, AttachmentHidden: there is none, or it is not for the caller.
    """
    id_ = f"{row.execution_id}/a{row.action_id}"
    found = attachments.find(state_of(row).attachments, id_, number)
    is_own = bool(found.by) and found.by == caller_name()
    is_hidden = sight.is_hidden(connection, row.execution_id) and not is_own
    if is_hidden and not deciders.is_one(connection, dialect, row, at):
        raise AttachmentHidden(user=caller_name(), human_task=id_, attachment=f"f{number}")
    content = attachments.content(connection, row.execution_id, found)
    return pb.GetAttachmentResponse(attachment=attachments.message(found), content=content)


# --- the audit trail -----------------------------------------------------------------------------


def entry(stored: StoredEvent) -> human_task_pb2.HumanTaskEntry:
    """Return one thing that happened to a human task."""
    event: Any = decode_event(stored.type, stored.type_version, stored.body)
    by, file = getattr(event, "by", ""), getattr(event, "attachment", None)
    return human_task_pb2.HumanTaskEntry(
        revision=stored.revision,
        at=convert.timestamp(stored.at),
        type=stored.type,
        by=by,
        to=getattr(event, "to", "") or getattr(event, "back_to", ""),
        outcome=getattr(event, "outcome", ""),
        text=next((text for name in ("reason", "note", "text", "message") if (text := getattr(event, name, ""))), ""),
        etag=getattr(event, "etag", ""),
        owner=getattr(event, "owner", "") or getattr(event, "stands_for", ""),
        attachment=None if file is None else attachments.message(file),
    )


# --- absences ------------------------------------------------------------------------------------


def absence(found: Absence) -> human_task_pb2.Absence:
    """Return an absence as a message."""
    return human_task_pb2.Absence(
        id=found.id,
        user=found.user,
        substitute=found.substitute,
        starts_at=convert.timestamp(found.starts_at),
        ends_at=convert.timestamp(found.ends_at),
        note=found.note,
        created_by=found.created_by,
    )
