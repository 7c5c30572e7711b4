"""Answers as JSON objects: what `--json` writes. Keys are the API's names; what is absent is null."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from tradewind import values
from tradewind.attachments import Attachment
from tradewind.models import (
    Action,
    DeadLetter,
    Definition,
    Environment,
    Event,
    Execution,
    Exported,
    Failure,
    LogLine,
    Problem,
    Progress,
    RetentionRule,
    Subscription,
    Task,
    Wait,
)
from tradewind.notifying import Notification
from tradewind.operating import ActionLimit, WorkerInfo
from tradewind.people import Absence, HumanTask, HumanTaskEntry

Record = dict[str, values.Value]


def moment(at: datetime | None) -> str | None:
    """Return *at* as RFC 3339 with microseconds in UTC."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if at else None


def failure(item: Failure | None) -> Record | None:
    """Return why something failed, or None."""
    if item is None:
        return None
    return {
        "kind": item.kind,
        "code": item.code,
        "message": item.message,
        "details": item.details,
        "retryable": item.retryable,
        "origin": item.origin,
    }


def environment(item: Environment) -> Record:
    """Return a stored environment."""
    return {
        "name": item.name,
        "description": item.description,
        "variables": item.variables,
        "etag": item.etag,
        "updated_at": moment(item.updated_at),
    }


def log_line(item: LogLine) -> Record:
    """Return a line of an action's log."""
    return {
        "action_id": item.action_id,
        "attempt": item.attempt,
        "at": moment(item.at),
        "level": item.level,
        "message": item.message,
    }


def limit(item: ActionLimit) -> Record:
    """Return the limit of an action."""
    return {
        "action": item.action,
        "concurrency": item.concurrency,
        "rate": item.rate,
        "period_seconds": None if item.period is None else Decimal(str(item.period.total_seconds())),
        "in_hand": item.in_hand,
    }


def worker(item: WorkerInfo) -> Record:
    """Return a connection of a worker."""
    return {
        "worker_id": item.worker_id,
        "instance": item.instance,
        "build": item.build,
        "state": item.state,
        "connection": item.connection,
        "server_id": item.server_id,
        "actions": [
            {"name": action.name, "concurrency": action.concurrency, "labels": dict(action.labels)}
            for action in item.actions
        ],
        "in_hand": item.in_hand,
        "first_seen_at": moment(item.first_seen_at),
        "last_seen_at": moment(item.last_seen_at),
        "drain_message": item.drain_message,
    }


def subscription(item: Subscription) -> Record:
    """Return a subscription."""
    return {
        "name": item.name,
        "description": item.description,
        "filter": item.filter,
        "state": item.state,
        "state_message": item.state_message,
        "cursor": item.cursor,
        "lag_seconds": None if item.lag is None else Decimal(str(item.lag)),
        "pending_events": item.pending_events,
        "consumer": item.consumer,
        "webhook": item.webhook.url if item.webhook else None,
        "waiting_executions": item.waiting_executions,
        "dead_letters": item.dead_letters,
        "etag": item.etag,
        "updated_at": moment(item.updated_at),
    }


def dead_letter(item: DeadLetter) -> Record:
    """Return what a webhook refused too often."""
    return {
        "execution_id": item.execution_id,
        "revision": item.revision,
        "last_revision": item.last_revision,
        "attempts": item.attempts,
        "given_up_at": moment(item.given_up_at),
        "message": item.message,
    }


def execution(item: Execution) -> Record:
    """Return an execution."""
    return {
        "id": item.id,
        "workflow": item.workflow,
        "state": item.state,
        "state_message": item.state_message,
        "revision": item.revision,
        "external_id": item.external_id,
        "business_key": item.business_key,
        "input": item.input,
        "output": item.output,
        "error": failure(item.failure),
        "tags": list(item.tags),
        "description": item.description,
        "root_id": item.root_id,
        "parent_id": item.parent_id,
        "created_at": moment(item.created_at),
        "updated_at": moment(item.updated_at),
        "finished_at": moment(item.finished_at),
        "task_counts": item.task_counts,
    }


def task(item: Task) -> Record:
    """Return a task."""
    proto = item.proto
    return {
        "id": item.id,
        "name": item.name,
        "type": item.kind,
        "callee": item.callee,
        "state": item.state,
        "state_message": item.state_message,
        "attempts": item.attempt,
        "published": item.published,
        "result": item.result,
        "error": failure(item.failure),
        "items_total": proto.items_total if proto.HasField("items_total") else None,
        "items_done": proto.items_done if proto.HasField("items_done") else None,
        "child_execution_ids": list(item.child_execution_ids),
        "created_at": moment(item.created_at),
        "started_at": moment(item.started_at),
        "finished_at": moment(item.finished_at),
    }


def wait(item: Wait) -> Record:
    """Return something that is waited for."""
    return {
        "kind": item.kind,
        "task": item.task,
        "action": item.action,
        "action_id": item.action_id,
        "child_execution_id": item.child_execution_id,
        "since": moment(item.since),
        "until": moment(item.until),
        "detail": item.detail,
        "missing_tasks": list(item.missing_tasks),
    }


def progress(item: Progress) -> Record:
    """Return how far an execution is."""
    expected = item.expected
    return {
        "done": item.done,
        "running": item.running,
        "waiting": item.waiting,
        "skipped": item.skipped,
        "left": item.left,
        "left_at_most": item.left_at_most,
        "open_ended": item.open_ended,
        "items_total": item.items_total,
        "items_done": item.items_done,
        "expected": None
        if expected is None
        else {
            "sample_count": expected.sample_count,
            "p50_seconds": Decimal(str(expected.p50.total_seconds())),
            "p90_seconds": Decimal(str(expected.p90.total_seconds())),
            "finish_p50": moment(expected.finish_p50),
            "finish_p90": moment(expected.finish_p90),
        },
    }


def action(item: Action) -> Record:
    """Return an action."""
    return {
        "execution_id": item.execution_id,
        "id": item.id,
        "task": item.task,
        "name": item.name,
        "item_index": item.item_index,
        "attempt": item.attempt,
        "state": item.state,
        "asynchronous": item.asynchronous,
        "task_attempt": item.proto.task_attempt,
        "worker": item.worker,
        "worker_build": item.proto.worker_build,
        "child_execution_id": item.proto.child_execution_id,
        "progress": item.progress,
        "checkpoint": item.checkpoint,
        "last_log": log_line(item.last_log) if item.last_log else None,
        "input": item.input,
        "result": item.result,
        "error": failure(item.failure),
        "created_at": moment(item.created_at),
        "started_at": moment(item.started_at),
        "finished_at": moment(item.finished_at),
    }


def event(item: Event) -> Record:
    """Return an event."""
    return {
        "execution_id": item.execution_id,
        "revision": item.revision,
        "type": item.type,
        "at": moment(item.at),
        "actor": item.actor,
        "command": item.command,
        "task": item.task,
        "task_id": item.task_id,
        "action_id": item.action_id,
        "execution_state": item.execution_state,
        "task_state": item.task_state,
        "action_state": item.action_state,
        "body": item.body,
    }


def exported(item: Exported) -> Record:
    """Return a whole execution."""
    whole = execution(item.execution)
    whole["env"] = item.execution.env
    whole["definition_version"] = item.execution.proto.definition_version
    whole["tasks"] = [task(one) for one in item.tasks]
    whole["actions"] = [action(one) for one in item.actions]
    whole["events"] = [event(one) for one in item.events]
    whole["cursor"] = item.cursor
    return whole


def definition(item: Definition) -> Record:
    """Return a definition."""
    return {
        "name": item.name,
        "kind": item.kind,
        "version": item.version,
        "workflow_namespace": item.workflow_namespace,
        "description": item.description,
        "inputs": list(item.inputs),
        "file": item.file,
        "deployed_at": moment(item.deployed_at),
    }


def notification(item: Notification) -> Record:
    """Return a message to somebody."""
    return {
        "id": item.id,
        "execution_id": item.execution_id,
        "kind": item.kind,
        "recipient": item.recipient,
        "state": item.state,
        "channel": item.channel,
        "attempts": item.attempts,
        "provider_id": item.provider_id,
        "message": item.message,
        "created_at": moment(item.created_at),
        "next_at": moment(item.next_at),
        "ended_at": moment(item.ended_at),
    }


def retention(item: RetentionRule) -> Record:
    """Return how long executions are kept."""
    return {
        "workflow": item.workflow,
        "keep_seconds": None if item.keep is None else int(item.keep.total_seconds()),
        "updated_at": moment(item.updated_at),
    }


def problem(item: Problem) -> Record:
    """Return something that is wrong with a definition."""
    return {
        "severity": item.severity.lower(),
        "code": item.code,
        "file": item.file,
        "line": item.line,
        "column": item.column,
        "path": item.path,
        "message": item.message,
        "fix": item.fix,
    }


def human_task(item: HumanTask) -> Record:
    """Return a human task."""
    return {
        "id": item.id,
        "title": item.title,
        "description": item.description,
        "state": item.state,
        "execution_id": item.execution_id,
        "workflow": item.workflow,
        "task": item.task,
        "business_key": item.business_key,
        "priority": item.priority,
        "users": list(item.users),
        "groups": list(item.groups),
        "assignee": item.assignee,
        "owner": item.owner,
        "outcomes": {
            name: {"reason_required": needs, "is_veto": name in item.vetoes} for name, needs in item.outcomes.items()
        },
        "show": item.show,
        "form": item.form,
        "draft": item.draft,
        "etag": item.etag,
        "done_by": item.done_by,
        "outcome": item.outcome,
        "due_at": moment(item.due_at),
        "expires_at": moment(item.expires_at),
        "escalation_level": item.escalation_level,
        "quorum": item.quorum,
        "votes": [
            {"by": vote.by, "owner": vote.owner, "outcome": vote.outcome, "reason": vote.reason, "data": vote.data}
            for vote in item.votes
        ],
        "claims": [{"user": user, "owner": owner} for user, owner in item.claims.items()],
        "asked": list(item.asked),
        "votes_missing": item.votes_missing,
        "attachments": [attachment(each) for each in item.attachments],
        "created_at": moment(item.created_at),
        "updated_at": moment(item.updated_at),
    }


def human_task_entry(item: HumanTaskEntry) -> Record:
    """Return one thing that happened to a human task."""
    return {
        "at": moment(item.at),
        "type": item.type,
        "by": item.by,
        "to": item.to,
        "outcome": item.outcome,
        "text": item.text,
        "etag": item.etag,
        "owner": item.owner,
        "attachment": None if item.attachment is None else attachment(item.attachment),
    }


def attachment(item: Attachment) -> Record:
    """Return a file of a human task."""
    return {
        "id": item.id,
        "name": item.name,
        "content_type": item.content_type,
        "size": item.size,
        "digest": item.digest,
        "uri": item.uri,
        "added_by": item.added_by,
        "added_at": moment(item.added_at),
    }


def absence(item: Absence) -> Record:
    """Return an absence."""
    return {
        "id": item.id,
        "user": item.user,
        "substitute": item.substitute,
        "starts_at": moment(item.starts_at),
        "ends_at": moment(item.ends_at),
        "note": item.note,
        "created_by": item.created_by,
    }
