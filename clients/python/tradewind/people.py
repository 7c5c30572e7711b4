"""What people are asked to do, and every call about it, as values. No I/O lives here."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message

from tradewind import errors, values
from tradewind.attachments import Attachment
from tradewind.calls import Call, timestamp
from tradewind.models import Page
from tradewind.v1 import failure_pb2, human_task_pb2, payload_pb2
from tradewind.v1 import human_task_service_pb2 as pb

_SERVICE = "HumanTaskService"


@dataclass(frozen=True, slots=True)
class Vote:
    """What one of several said who decide a human task together."""

    by: str
    #: For whom he voted; "" for himself.
    owner: str
    outcome: str
    #: Empty in lists, as is the next one.
    reason: str
    data: values.Value


@dataclass(frozen=True, slots=True)
class HumanTask:
    """One task that a person does, or several who decide together."""

    id: str
    execution_id: str
    #: Name of the task in its workflow.
    task: str
    workflow: str
    business_key: str
    title: str
    description: str
    #: OFFERED, CLAIMED, COMPLETED or CLOSED.
    state: str
    #: 0 to 100; the higher, the sooner.
    priority: int
    users: tuple[str, ...]
    groups: tuple[str, ...]
    #: Who has it; "" while it is offered.
    assignee: str
    #: Who is accountable for what the assignee does; "" for himself.
    owner: str
    #: Outcome -> whether it needs a reason. Empty in lists, as are the next three.
    outcomes: dict[str, bool]
    #: What to decide on.
    show: values.Value
    #: JSON Schema of what is to be filled in; None if nothing is.
    form: values.Value
    draft: values.Value
    #: Names what it shows; a decision says it.
    etag: str
    done_by: str
    outcome: str
    created_at: datetime
    updated_at: datetime
    #: When it is to be decided; None if that is not said.
    due_at: datetime | None
    #: When it ends by itself, if nobody has decided by then; None if it does not.
    expires_at: datetime | None
    #: How often more people were asked, since nobody had decided.
    escalation_level: int
    #: So many votes for one outcome decide; 0: one person does.
    quorum: int
    #: Those that count so far.
    votes: tuple[Vote, ...]
    #: With a quorum: who has it -> who let him, "" for himself.
    claims: dict[str, str]
    #: Which of the users it is for now: in a sequence whose turn it is; not who has voted.
    asked: tuple[str, ...]
    #: How many votes the outcome that has most of them still lacks.
    votes_missing: int
    #: The outcomes that decide with one vote. Empty in lists.
    vetoes: tuple[str, ...]
    #: The files that belong to it. Empty in lists.
    attachments: tuple[Attachment, ...]
    proto: human_task_pb2.HumanTask = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: human_task_pb2.HumanTask) -> HumanTask:
        """Read a message."""
        return cls(
            id=message.id,
            execution_id=message.execution_id,
            task=message.task,
            workflow=message.workflow,
            business_key=message.business_key,
            title=message.title,
            description=message.description,
            state=_state(message.state),
            priority=message.priority,
            users=tuple(message.users),
            groups=tuple(message.groups),
            assignee=message.assignee,
            owner=message.owner,
            outcomes={outcome.name: outcome.reason_required for outcome in message.outcomes},
            show=_value(message, "show"),
            form=_value(message, "form"),
            draft=_value(message, "draft"),
            etag=message.etag,
            done_by=message.done_by,
            outcome=message.outcome,
            created_at=message.created_at.ToDatetime(tzinfo=UTC),
            updated_at=message.updated_at.ToDatetime(tzinfo=UTC),
            due_at=message.due_at.ToDatetime(tzinfo=UTC) if message.HasField("due_at") else None,
            expires_at=message.expires_at.ToDatetime(tzinfo=UTC) if message.HasField("expires_at") else None,
            escalation_level=message.escalation_level,
            quorum=message.quorum,
            votes=tuple(Vote(v.by, v.owner, v.outcome, v.reason, _value(v, "data")) for v in message.votes),
            claims={claim.user: claim.owner for claim in message.claims},
            asked=tuple(message.asked),
            votes_missing=message.votes_missing,
            vetoes=tuple(outcome.name for outcome in message.outcomes if outcome.is_veto),
            attachments=tuple(map(Attachment.read, message.attachments)),
            proto=message,
        )


@dataclass(frozen=True, slots=True)
class HumanTaskEntry:
    """One thing that happened to a human task."""

    at: datetime
    #: Type of the event, such as HumanTaskClaimed.
    type: str
    #: Who did it; "" for the process itself.
    by: str
    #: Whom it was given to; "" if to nobody.
    to: str
    outcome: str
    #: Reason, note or comment.
    text: str
    #: Names what was shown then, where that matters.
    etag: str
    #: For whom he did it, who stays accountable; "" for himself.
    owner: str = ""
    #: The file that was added or withdrawn; None for all else.
    attachment: Attachment | None = None

    @classmethod
    def read(cls, message: human_task_pb2.HumanTaskEntry) -> HumanTaskEntry:
        """Read a message."""
        file = Attachment.read(message.attachment) if message.HasField("attachment") else None
        at = message.at.ToDatetime(tzinfo=UTC)
        return cls(
            at, message.type, message.by, message.to, message.outcome, message.text, message.etag, message.owner, file
        )


@dataclass(frozen=True, slots=True)
class InboxUpdate:
    """What has become of an inbox."""

    #: New in it, or changed.
    human_tasks: tuple[HumanTask, ...]
    #: Ids of those that are in it no more.
    removed: tuple[str, ...]
    #: All that was in it at the start has come; changes follow.
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Absence:
    """A time in which a user's human tasks are also for his substitute."""

    id: str
    user: str
    substitute: str
    starts_at: datetime
    ends_at: datetime
    note: str
    created_by: str

    @classmethod
    def read(cls, message: human_task_pb2.Absence) -> Absence:
        """Read a message."""
        starts_at, ends_at = message.starts_at.ToDatetime(tzinfo=UTC), message.ends_at.ToDatetime(tzinfo=UTC)
        return cls(message.id, message.user, message.substitute, starts_at, ends_at, message.note, message.created_by)


def _state(number: int) -> str:
    try:
        return human_task_pb2.HumanTaskState.Name(number).removeprefix("HUMAN_TASK_STATE_")  # type: ignore[arg-type]
    except ValueError:
        return str(number)


def _value(message: Message, name: str) -> values.Value:
    payload: payload_pb2.Payload = getattr(message, name)
    return values.from_payload(payload) if message.HasField(name) else None


def scope_of(name: str) -> pb.HumanTaskScope.ValueType:
    """Return the scope called "inbox", "mine", "delegated" or "all".

    Raises:
        ValueError: there is none of that name.
    """
    return _SCOPES[name] if name in _SCOPES else _refuse(name)


_SCOPES = {
    "inbox": pb.HUMAN_TASK_SCOPE_INBOX,
    "mine": pb.HUMAN_TASK_SCOPE_MINE,
    "delegated": pb.HUMAN_TASK_SCOPE_DELEGATED,
    "all": pb.HUMAN_TASK_SCOPE_UNSPECIFIED,
}


def _refuse(name: str) -> Any:
    raise ValueError(f"Expected a scope of {', '.join(_SCOPES)}, but got '{name}'.")


# --- calls ---------------------------------------------------------------------------------------


def listed(namespace: str, scope: str, filter: str, size: int, token: str) -> Call[Page[HumanTask]]:
    """List human tasks."""
    request = pb.ListHumanTasksRequest(
        namespace=namespace, scope=scope_of(scope), filter=filter, page_size=size, page_token=token
    )

    def read(response: pb.ListHumanTasksResponse) -> Page[HumanTask]:
        return Page([HumanTask.read(item) for item in response.human_tasks], response.next_page_token)

    return Call(_SERVICE, "ListHumanTasks", request, read)


def counted(namespace: str, scope: str, filter: str) -> Call[int]:
    """Count human tasks."""
    request = pb.CountHumanTasksRequest(namespace=namespace, scope=scope_of(scope), filter=filter)
    return Call(_SERVICE, "CountHumanTasks", request, lambda response: int(response.count))


def get(namespace: str, id_: str) -> Call[HumanTask]:
    """Get one with all that it shows."""
    request = pb.GetHumanTaskRequest(namespace=namespace, human_task_id=id_)
    return Call(_SERVICE, "GetHumanTask", request, _read)


def entries(namespace: str, id_: str, size: int, token: str) -> Call[Page[HumanTaskEntry]]:
    """List what happened to one."""
    request = pb.ListHumanTaskEntriesRequest(namespace=namespace, human_task_id=id_, page_size=size, page_token=token)

    def read(response: pb.ListHumanTaskEntriesResponse) -> Page[HumanTaskEntry]:
        return Page([HumanTaskEntry.read(entry) for entry in response.entries], response.next_page_token)

    return Call(_SERVICE, "ListHumanTaskEntries", request, read)


def claim(namespace: str, id_: str) -> Call[HumanTask]:
    """Take one."""
    request = pb.ClaimHumanTaskRequest(namespace=namespace, request_id=_request_id(), human_task_id=id_)
    return Call(_SERVICE, "ClaimHumanTask", request, _read)


def release(namespace: str, id_: str, note: str) -> Call[HumanTask]:
    """Give one back."""
    request = pb.ReleaseHumanTaskRequest(namespace=namespace, request_id=_request_id(), human_task_id=id_, note=note)
    return Call(_SERVICE, "ReleaseHumanTask", request, _read)


def assign(namespace: str, id_: str, user: str, note: str) -> Call[HumanTask]:
    """Give one to a user."""
    request = pb.AssignHumanTaskRequest(
        namespace=namespace, request_id=_request_id(), human_task_id=id_, user=user, note=note
    )
    return Call(_SERVICE, "AssignHumanTask", request, _read)


def delegate(namespace: str, id_: str, user: str, note: str) -> Call[HumanTask]:
    """Let another user do one."""
    request = pb.DelegateHumanTaskRequest(
        namespace=namespace, request_id=_request_id(), human_task_id=id_, user=user, note=note
    )
    return Call(_SERVICE, "DelegateHumanTask", request, _read)


def save_draft(namespace: str, id_: str, data: values.Value) -> Call[HumanTask]:
    """Keep what has been filled in."""
    request = pb.SaveHumanTaskDraftRequest(
        namespace=namespace, request_id=_request_id(), human_task_id=id_, data=values.to_payload(data)
    )
    return Call(_SERVICE, "SaveHumanTaskDraft", request, _read)


def comment(namespace: str, id_: str, text: str) -> Call[HumanTask]:
    """Say something about one."""
    request = pb.CommentHumanTaskRequest(namespace=namespace, request_id=_request_id(), human_task_id=id_, text=text)
    return Call(_SERVICE, "CommentHumanTask", request, _read)


def submit(namespace: str, seen: HumanTask, outcome: str, reason: str, data: values.Value) -> Call[HumanTask]:
    """Decide one, on what was seen."""
    return Call(_SERVICE, "SubmitHumanTask", _decision(namespace, seen, outcome, reason, data), _read)


def submit_many(
    namespace: str, seen: Sequence[HumanTask], outcome: str, reason: str
) -> Call[list[HumanTask | errors.TradewindError]]:
    """Decide many in the same way, each for itself."""
    requests = [_decision(namespace, each, outcome, reason, None) for each in seen]
    request = pb.SubmitHumanTasksRequest(namespace=namespace, requests=requests)

    def read(response: pb.SubmitHumanTasksResponse) -> list[HumanTask | errors.TradewindError]:
        return [
            HumanTask.read(result.human_task) if result.HasField("human_task") else _refused(result.refusal)
            for result in response.results
        ]

    return Call(_SERVICE, "SubmitHumanTasks", request, read)


def _refused(refusal: failure_pb2.Refusal) -> errors.TradewindError:
    return errors.from_refusal(refusal.code, refusal.reason, refusal.message, refusal.metadata)


def _decision(
    namespace: str, seen: HumanTask, outcome: str, reason: str, data: values.Value
) -> pb.SubmitHumanTaskRequest:
    request = pb.SubmitHumanTaskRequest(
        namespace=namespace,
        request_id=_request_id(),
        human_task_id=seen.id,
        outcome=outcome,
        etag=seen.etag,
        reason=reason,
    )
    if data is not None:
        request.data.CopyFrom(values.to_payload(data))
    return request


def _read(response: Any) -> HumanTask:
    return HumanTask.read(response.human_task)


def _request_id() -> str:
    return str(uuid.uuid4())


def add_absence(
    namespace: str, user: str, substitute: str, starts_at: datetime, ends_at: datetime, note: str
) -> Call[Absence]:
    """Let somebody stand in for a user; moments have a time zone."""
    absence = human_task_pb2.Absence(
        user=user, substitute=substitute, note=note, starts_at=timestamp(starts_at), ends_at=timestamp(ends_at)
    )
    request = pb.AddAbsenceRequest(namespace=namespace, absence=absence)
    return Call(_SERVICE, "AddAbsence", request, lambda response: Absence.read(response.absence))


def absences(namespace: str, user: str, size: int, token: str) -> Call[Page[Absence]]:
    """List absences that have not ended."""
    request = pb.ListAbsencesRequest(namespace=namespace, user=user, page_size=size, page_token=token)

    def read(response: pb.ListAbsencesResponse) -> Page[Absence]:
        return Page([Absence.read(item) for item in response.absences], response.next_page_token)

    return Call(_SERVICE, "ListAbsences", request, read)


def remove_absence(namespace: str, id_: str) -> Call[None]:
    """End an absence."""
    request = pb.RemoveAbsenceRequest(namespace=namespace, absence_id=id_)
    return Call(_SERVICE, "RemoveAbsence", request, lambda _: None)


# --- watching ------------------------------------------------------------------------------------


class InboxWatch:
    """An inbox that is followed. After a break it comes anew, and what has gone meanwhile is told."""

    service = _SERVICE
    method = "WatchHumanTasks"
    ends = False

    def __init__(self, namespace: str, scope: str, filter: str) -> None:
        self._request = pb.WatchHumanTasksRequest(namespace=namespace, scope=scope_of(scope), filter=filter)
        self._known: set[str] = set()
        #: What a list that comes anew has told of so far; None once it is complete.
        self._anew: set[str] | None = None

    def request(self) -> pb.WatchHumanTasksRequest:
        """Build the request."""
        self._anew = set()
        return self._request

    def receive(self, response: pb.WatchHumanTasksResponse) -> InboxUpdate | None:
        """Take one response; return what is new in it, or None."""
        found = tuple(HumanTask.read(item) for item in response.human_tasks)
        removed = set(response.removed_ids)
        if self._anew is not None:
            self._anew.update(item.id for item in found)
            if response.is_complete:
                removed |= self._known - self._anew
                self._anew = None
        self._known.update(item.id for item in found)
        self._known -= removed
        if not found and not removed and not response.is_complete:
            return None
        return InboxUpdate(found, tuple(sorted(removed)), response.is_complete)
