"""The tables. Moments are whole microseconds since 1970; payloads are bytes and stand once, in their event.

On SQLite the tables are kept by their keys (WITHOUT ROWID): one tree to write instead of two. Not so the log, and what
has large rows: those stand in the order in which they are written, where nothing has to be moved for them.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

_text = sa.Text
_id = sa.String(64)
_int = sa.BigInteger
_bytes = sa.LargeBinary

#: PostgreSQL writes no index with a new version of a row that finds room in the page of the old one.
_ROOM_FOR_UPDATES = {"fillfactor": 50}


def _partial(name: str, where: str, *columns: str) -> sa.Index:
    """An index of few rows: what comes and goes without ever meeting *where* does not pay for it."""
    return sa.Index(name, *columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


#: Key and value of the installation: signing secret, start of the log's numbers.
installation = sa.Table(
    "installation",
    metadata,
    sa.Column("name", _text, primary_key=True),
    sa.Column("value", _text, nullable=False),
)

#: How often something was deployed into a namespace; an execution resolves names as of one of these revisions.
registry = sa.Table(
    "registry",
    metadata,
    sa.Column("namespace", _text, primary_key=True),
    sa.Column("revision", _int, nullable=False),
)

#: One row per version of a workflow or ad-hoc action; valid from registry_revision until before retired_revision.
definitions = sa.Table(
    "definitions",
    metadata,
    sa.Column("namespace", _text, primary_key=True),
    sa.Column("workflow_namespace", _text, primary_key=True),
    sa.Column("kind", _text, primary_key=True),
    sa.Column("name", _text, primary_key=True),
    sa.Column("version", _int, primary_key=True),
    sa.Column("content_hash", _text, nullable=False),
    sa.Column("registry_revision", _int, nullable=False),
    sa.Column("retired_revision", _int),
    sa.Column("file", _text, nullable=False),
    sa.Column("source", _bytes, nullable=False),
    sa.Column("description", _text, nullable=False),
    sa.Column("tags", _text, nullable=False),
    sa.Column("inputs", _bytes, nullable=False),
    sa.Column("deployed_at", _int, nullable=False),
    sa.Column("actor", _text, nullable=False),
)

environments = sa.Table(
    "environments",
    metadata,
    sa.Column("namespace", _text, primary_key=True),
    sa.Column("name", _text, primary_key=True),
    sa.Column("description", _text, nullable=False),
    sa.Column("variables", _bytes, nullable=False),
    sa.Column("revision", _int, nullable=False),
    sa.Column("created_at", _int, nullable=False),
    sa.Column("updated_at", _int, nullable=False),
    sa.Column("actor", _text, nullable=False),
    sqlite_with_rowid=False,
)

executions = sa.Table(
    "executions",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("namespace", _text, nullable=False),
    sa.Column("workflow", _text, nullable=False),
    sa.Column("workflow_namespace", _text, nullable=False),
    sa.Column("definition_version", _int, nullable=False),
    sa.Column("registry_revision", _int, nullable=False),
    sa.Column("semantics_version", _int, nullable=False),
    sa.Column("root_id", _id, nullable=False),
    sa.Column("parent_id", _id, nullable=False),
    sa.Column("parent_task", _int, nullable=False),
    sa.Column("parent_action", _int, nullable=False),
    sa.Column("external_id", _text, nullable=False),
    sa.Column("business_key", _text, nullable=False),
    sa.Column("tags", _text, nullable=False),
    sa.Column("description", _text, nullable=False),
    sa.Column("created_by", _text, nullable=False),
    sa.Column("created_at", _int, nullable=False),
    sa.Column("state", _text, nullable=False),
    sa.Column("message", _text),
    #: Kind, code and task, while it is FAILED.
    sa.Column("failure", _bytes),
    #: Kind and code once more, for lists; "" while it is not FAILED.
    sa.Column("error_kind", _text, nullable=False),
    sa.Column("error_code", _text, nullable=False),
    sa.Column("revision", _int, nullable=False),
    #: Transaction that wrote the row last; see DESIGN of watching: a batch touches it only with a later one.
    sa.Column("xid", _int, nullable=False),
    sa.Column("updated_at", _int, nullable=False),
    sa.Column("finished_at", _int),
    sa.Column("output_revision", _int, nullable=False),
    sa.Column("env_revision", _int, nullable=False),
    #: Origins of the variables, held transitions, counters.
    sa.Column("detail", _bytes, nullable=False),
    #: Names whose values only those may see who have a right to, one a line; mostly "".
    sa.Column("sensitive", _text, nullable=False),
    # each ends in the order of a list; one that lacks the state is read once for each state (store/listing.py)
    sa.Index("executions_by_state", "namespace", "state", "id"),
    sa.Index("executions_by_workflow", "namespace", "workflow", "state", "id"),
    sa.Index("executions_by_version", "namespace", "workflow", "definition_version", "state", "id"),
    _partial("executions_by_end", "finished_at IS NOT NULL", "namespace", "state", "finished_at", "id"),
    _partial("executions_by_error_kind", "error_kind <> ''", "namespace", "error_kind", "id"),
    _partial("executions_by_error_code", "error_code <> ''", "namespace", "error_code", "id"),
    _partial("executions_by_business_key", "business_key <> ''", "namespace", "business_key", "id"),
    _partial("executions_by_external_id", "external_id <> ''", "namespace", "external_id", "id"),
    _partial("executions_by_parent", "parent_id <> ''", "parent_id", "id"),
    sa.Index("executions_by_root", "root_id", "id"),
    sqlite_with_rowid=False,
    postgresql_with=_ROOM_FOR_UPDATES,
)

#: Which executions have a tag, in the order of lists.
execution_tags = sa.Table(
    "execution_tags",
    metadata,
    sa.Column("namespace", _text, primary_key=True),
    sa.Column("tag", _text, primary_key=True),
    sa.Column("execution_id", _id, primary_key=True),
    sqlite_with_rowid=False,
)

#: The log. Never updated.
events = sa.Table(
    "events",
    metadata,
    sa.Column("execution_id", _id, primary_key=True),
    sa.Column("revision", _int, primary_key=True),
    sa.Column("namespace", _text, nullable=False),
    #: "" where the execution is the root itself.
    sa.Column("root_id", _id, nullable=False),
    sa.Column("workflow", _text, nullable=False),
    sa.Column("business_key", _text, nullable=False),
    sa.Column("type", _text, nullable=False),
    sa.Column("type_version", _int, nullable=False),
    sa.Column("at", _int, nullable=False),
    sa.Column("actor", _text, nullable=False),
    sa.Column("cause", _text, nullable=False),
    sa.Column("request_id", _text, nullable=False),
    sa.Column("task_id", _int, nullable=False),
    sa.Column("task", _text, nullable=False),
    sa.Column("action_id", _int, nullable=False),
    #: The transaction, which is the commit that the event is of.
    sa.Column("xid", _int, nullable=False),
    #: Position within the transaction.
    sa.Column("position", _int, nullable=False),
    #: The first event of a command says how many the command made; the others say 0.
    sa.Column("span", _int, nullable=False),
    sa.Column("trace", _text, nullable=False),
    sa.Column("codec", _int, nullable=False),
    sa.Column("body", _bytes, nullable=False),
    # the order of the whole log, with one entry for each command: its events follow the first by their revisions
    _partial("events_log", "span > 0", "namespace", "xid", "position"),
)

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("execution_id", _id, primary_key=True),
    sa.Column("task_id", _int, primary_key=True),
    sa.Column("namespace", _text, nullable=False),
    sa.Column("name", _text, nullable=False),
    sa.Column("state", _text, nullable=False),
    sa.Column("attempt", _int, nullable=False),
    sa.Column("message", _text, nullable=False),
    sa.Column("created_at", _int, nullable=False),
    sa.Column("updated_at", _int, nullable=False),
    sa.Column("published_revision", _int, nullable=False),
    sa.Column("detail", _bytes, nullable=False),
    sqlite_with_rowid=False,
    postgresql_with=_ROOM_FOR_UPDATES,
)

#: Which branches reached which join; apart from `tasks`, so that an arrival costs one row whatever the join's width.
arrivals = sa.Table(
    "arrivals",
    metadata,
    sa.Column("execution_id", _id, primary_key=True),
    sa.Column("task_id", _int, primary_key=True),
    sa.Column("parent_id", _int, primary_key=True),
    sa.Column("namespace", _text, nullable=False),
    sa.Column("revision", _int, nullable=False),
    sqlite_with_rowid=False,
)

actions = sa.Table(
    "actions",
    metadata,
    sa.Column("execution_id", _id, primary_key=True),
    sa.Column("action_id", _int, primary_key=True),
    sa.Column("namespace", _text, nullable=False),
    sa.Column("task_id", _int, nullable=False),
    sa.Column("task", _text, nullable=False),
    sa.Column("task_attempt", _int, nullable=False),
    sa.Column("item_index", _int, nullable=False),
    sa.Column("name", _text, nullable=False),
    sa.Column("kind", _text, nullable=False),
    sa.Column("wrappers", _text, nullable=False),
    sa.Column("asynchronous", _int, nullable=False),
    sa.Column("child_id", _id, nullable=False),
    sa.Column("cancelling", _int, nullable=False),
    sa.Column("state", _text, nullable=False),
    sa.Column("scheduled_revision", _int, nullable=False),
    sa.Column("result_revision", _int, nullable=False),
    sa.Column("created_at", _int, nullable=False),
    sa.Column("updated_at", _int, nullable=False),
    #: Who ended it, once it has ended by an answer: worker and its build, attempt, when that was handed out.
    sa.Column("worker", _text, nullable=False),
    sa.Column("worker_build", _text, nullable=False),
    sa.Column("attempt", _int, nullable=False),
    sa.Column("started_at", _int),
    _partial("actions_open", "state = 'OPEN'", "namespace", "execution_id", "action_id"),
    sqlite_with_rowid=False,
)

#: What people are asked to do: one row each, beside that of its action.
human_tasks = sa.Table(
    "human_tasks",
    metadata,
    sa.Column("execution_id", _id, primary_key=True),
    sa.Column("action_id", _int, primary_key=True),
    sa.Column("namespace", _text, nullable=False),
    sa.Column("task_id", _int, nullable=False),
    sa.Column("task", _text, nullable=False),
    sa.Column("workflow", _text, nullable=False),
    sa.Column("business_key", _text, nullable=False),
    sa.Column("title", _text, nullable=False),
    sa.Column("state", _text, nullable=False),
    sa.Column("priority", _int, nullable=False),
    sa.Column("assignee", _text, nullable=False),
    sa.Column("owner", _text, nullable=False),
    sa.Column("etag", _text, nullable=False),
    sa.Column("done_by", _text, nullable=False),
    sa.Column("outcome", _text, nullable=False),
    sa.Column("comment_count", _int, nullable=False),
    sa.Column("due_at", _int),
    sa.Column("level", _int, nullable=False),
    sa.Column("shown_revision", _int, nullable=False),
    sa.Column("draft_revision", _int, nullable=False),
    #: Of the last event that changed it.
    sa.Column("revision", _int, nullable=False),
    sa.Column("created_at", _int, nullable=False),
    sa.Column("updated_at", _int, nullable=False),
    #: Who is asked, and who is excluded.
    sa.Column("detail", _bytes, nullable=False),
    sa.Index("human_tasks_by_namespace", "namespace", "execution_id", "action_id"),
    sa.Index("human_tasks_by_state", "namespace", "state", "execution_id", "action_id"),
    sa.Index("human_tasks_by_due", "namespace", "state", "due_at"),
    sqlite_with_rowid=False,
)

#: Who finds which open human task in his inbox, in the inbox's order.
inbox = sa.Table(
    "inbox",
    metadata,
    sa.Column("namespace", _text, primary_key=True),
    #: "user:NAME" or "group:NAME" while they are asked, "excluded:NAME" for who may not do it although his group is
    #: asked, or has voted; "assignee:NAME", "owner:NAME" once one has it.
    sa.Column("principal", _text, primary_key=True),
    sa.Column("rank", _int, primary_key=True),
    sa.Column("execution_id", _id, primary_key=True),
    sa.Column("action_id", _int, primary_key=True),
    #: Of the execution when it was written: what changes who may do it writes its entries anew.
    sa.Column("revision", _int, primary_key=True),
    #: Of its execution, a part of the key so that an index alone has it; "" if a server of the version before wrote it.
    sa.Column("workflow", _text, primary_key=True, server_default=""),
    sa.Index("inbox_by_human_task", "execution_id", "action_id"),
    _partial("inbox_of_before", "workflow = ''", "namespace"),
    sqlite_with_rowid=False,
)

#: What is in the files of human tasks, by the event that added each; all that is said of one stands there.
attachments = sa.Table(
    "attachments",
    metadata,
    sa.Column("execution_id", _id, primary_key=True),
    sa.Column("revision", _int, primary_key=True),
    sa.Column("content", _bytes, nullable=False),
)

#: Who stands in for whom, and when.
absences = sa.Table(
    "absences",
    metadata,
    sa.Column("id", _text, primary_key=True),
    sa.Column("namespace", _text, nullable=False),
    sa.Column("user", _text, nullable=False),
    sa.Column("substitute", _text, nullable=False),
    sa.Column("starts_at", _int, nullable=False),
    sa.Column("ends_at", _int, nullable=False),
    sa.Column("note", _text, nullable=False),
    sa.Column("created_by", _text, nullable=False),
    #: Whether the substitute has been told, 0 or 1: it is done once, when the absence begins.
    sa.Column("announced", _int, nullable=False, server_default="0"),
    _partial("absences_to_announce", "announced = 0", "starts_at"),
    sa.Index("absences_by_substitute", "namespace", "substitute", "ends_at"),
    sa.Index("absences_by_begin", "namespace", "starts_at", "id"),
    sqlite_with_rowid=False,
)

#: The outbox: who is to be told what, one row for each recipient. What it says stands in its event.
notifications = sa.Table(
    "notifications",
    metadata,
    sa.Column("execution_id", _id, primary_key=True),
    #: Of the event that asked for it, and which recipient of that event this is, from 0.
    sa.Column("revision", _int, primary_key=True),
    sa.Column("number", _int, primary_key=True),
    sa.Column("namespace", _text, nullable=False),
    sa.Column("kind", _text, nullable=False),
    #: "user:NAME" or "group:NAME".
    sa.Column("recipient", _text, nullable=False),
    #: "PENDING", "SENT", "DEAD".
    sa.Column("state", _text, nullable=False),
    sa.Column("created_at", _int, nullable=False),
    #: When it is tried next; while a server sends it, when another one may.
    sa.Column("next_at", _int, nullable=False),
    #: The server that sends it now, or "".
    sa.Column("owner", _text, nullable=False),
    #: Rises whenever a server takes it: who has an older one writes nothing.
    sa.Column("epoch", _int, nullable=False),
    #: Which of the recipient's channels is tried, from 0; how often so far, and since when.
    sa.Column("step", _int, nullable=False),
    sa.Column("attempts", _int, nullable=False),
    sa.Column("first_at", _int, nullable=False),
    #: Over which it was sent, or tried last.
    sa.Column("channel", _text, nullable=False),
    #: What the provider calls the message, once it is sent.
    sa.Column("provider_id", _text, nullable=False),
    #: What went wrong last.
    sa.Column("message", _text, nullable=False),
    #: When it was sent, or given up; 0 while it is pending.
    sa.Column("ended_at", _int, nullable=False),
    _partial("notifications_due", "state = 'PENDING'", "next_at"),
    sa.Index("notifications_by_state", "namespace", "state", "execution_id", "revision", "number"),
    sqlite_with_rowid=False,
)

#: Delivery state of the actions that workers serve. One row from scheduling to the answer.
queue = sa.Table(
    "action_queue",
    metadata,
    sa.Column("execution_id", _id, primary_key=True),
    sa.Column("action_id", _int, primary_key=True),
    sa.Column("namespace", _text, nullable=False),
    sa.Column("name", _text, nullable=False),
    #: Which worker is meant, or "" for any.
    sa.Column("target", _text, nullable=False),
    #: The one order of stream and poll: ready_at - priority × step.
    sa.Column("rank", _int, nullable=False),
    sa.Column("ready_at", _int, nullable=False),
    #: 0 queued, 1 offered, 2 accepted.
    sa.Column("stage", _int, nullable=False),
    sa.Column("attempt", _int, nullable=False),
    #: Rises with each offer; part of the token.
    sa.Column("epoch", _int, nullable=False),
    sa.Column("worker", _text, nullable=False),
    sa.Column("worker_build", _text, nullable=False),
    #: When the current attempt was handed to a worker; 0 before.
    sa.Column("offered_at", _int, nullable=False),
    sa.Column("session", _text, nullable=False),
    sa.Column("lease_until", _int, nullable=False),
    sa.Column("deliveries", _int, nullable=False),
    sa.Column("losses", _int, nullable=False),
    sa.Column("safe_rerun", _int, nullable=False),
    sa.Column("timeout_at", _int, nullable=False),
    sa.Column("cancelling", _int, nullable=False),
    sa.Column("input_revision", _int, nullable=False),
    sa.Column("progress", _text, nullable=False),
    sa.Column("checkpoint", _bytes),
    #: What the offer shows besides: task, workflow, item, business key, trace context.
    sa.Column("detail", _bytes, nullable=False),
    _partial("queue_ready", "stage = 0", "namespace", "name", "target", "rank", "execution_id", "action_id"),
    _partial("queue_leases", "stage > 0", "lease_until"),
    sqlite_with_rowid=False,
)

timers = sa.Table(
    "timers",
    metadata,
    sa.Column("execution_id", _id, primary_key=True),
    sa.Column("timer_id", _int, primary_key=True),
    sa.Column("namespace", _text, nullable=False),
    sa.Column("task_id", _int, nullable=False),
    sa.Column("purpose", _text, nullable=False),
    sa.Column("due_at", _int, nullable=False),
    sa.Index("timers_due", "due_at"),
    sqlite_with_rowid=False,
)

#: From one execution to another; consumed in the transaction of the target's decision, in order per source.
messages = sa.Table(
    "messages",
    metadata,
    sa.Column("target", _id, primary_key=True),
    sa.Column("source", _id, primary_key=True),
    sa.Column("source_revision", _int, primary_key=True),
    sa.Column("kind", _text, primary_key=True),
    sa.Column("namespace", _text, nullable=False),
    sa.Column("created_at", _int, nullable=False),
    sa.Column("body", _bytes, nullable=False),
    sa.Index("messages_late", "created_at"),
    sqlite_with_rowid=False,
)

#: Request ids, caller-chosen ids and business keys.
claims = sa.Table(
    "claims",
    metadata,
    sa.Column("namespace", _text, primary_key=True),
    sa.Column("kind", _text, primary_key=True),
    sa.Column("key", _text, primary_key=True),
    sa.Column("execution_id", _id, nullable=False),
    sa.Column("digest", _text, nullable=False),
    sa.Column("revision", _int, nullable=False),
    sa.Column("expires_at", _int, nullable=False),
    sa.Index("claims_expired", "expires_at"),
    sqlite_with_rowid=False,
)

#: Named readers of the log of a namespace, and how far each is.
subscriptions = sa.Table(
    "subscriptions",
    metadata,
    sa.Column("namespace", _text, primary_key=True),
    sa.Column("name", _text, primary_key=True),
    sa.Column("description", _text, nullable=False),
    sa.Column("filter", _text, nullable=False),
    #: Where the events are sent, as JSON; empty if a consumer takes them.
    sa.Column("webhook", _bytes, nullable=False),
    sa.Column("state", _text, nullable=False),
    sa.Column("message", _text, nullable=False),
    #: Rises with each change of the above: the etag.
    sa.Column("revision", _int, nullable=False),
    #: The place: what is up to here is not read again.
    sa.Column("xid", _int, nullable=False),
    sa.Column("position", _int, nullable=False),
    sa.Column("execution_id", _id, nullable=False),
    sa.Column("execution_revision", _int, nullable=False),
    sa.Column("event_at", _int, nullable=False),
    #: Rises with each owner and each change: who has an older one may not move the place.
    sa.Column("epoch", _int, nullable=False),
    #: Who hands the events out: a consumer's stream, or the server that sends to the webhook until lease_until.
    sa.Column("owner", _text, nullable=False),
    sa.Column("consumer", _text, nullable=False),
    sa.Column("consumers", _int, nullable=False),
    sa.Column("lease_until", _int, nullable=False),
    sa.Column("acknowledged_at", _int, nullable=False),
    sa.Column("created_at", _int, nullable=False),
    sa.Column("updated_at", _int, nullable=False),
    sa.Column("actor", _text, nullable=False),
    sqlite_with_rowid=False,
)

#: Executions of which a webhook could not take an event: from this one on they wait, so that their order is kept.
parked = sa.Table(
    "parked_deliveries",
    metadata,
    sa.Column("namespace", _text, primary_key=True),
    sa.Column("subscription", _text, primary_key=True),
    sa.Column("execution_id", _id, primary_key=True),
    #: The event to be sent next, and the last one that is known to follow.
    sa.Column("revision", _int, nullable=False),
    sa.Column("through", _int, nullable=False),
    sa.Column("attempts", _int, nullable=False),
    sa.Column("next_at", _int, nullable=False),
    sa.Column("first_at", _int, nullable=False),
    #: When it became a dead letter; 0: it is tried again.
    sa.Column("given_up_at", _int, nullable=False),
    sa.Column("message", _text, nullable=False),
    sa.Index("parked_by_execution", "execution_id"),
    _partial("parked_due", "given_up_at = 0", "namespace", "subscription", "next_at"),
    sqlite_with_rowid=False,
)

#: The newest commit of each committer of a server, by its name: after one of unknown outcome, its id tells. On SQLite
#: only of commits without events, as these tell themselves there.
last_batches = sa.Table(
    "last_batches",
    metadata,
    sa.Column("server", _text, primary_key=True),
    sa.Column("batch", _text, nullable=False),
    sa.Column("at", _int, nullable=False),
    sqlite_with_rowid=False,
)

#: All commits of servers of version 0.1.0, for the same purpose.
batches = sa.Table(
    "batches",
    metadata,
    sa.Column("id", _text, primary_key=True),
    sa.Column("server", _text, nullable=False),
    sa.Column("at", _int, nullable=False),
    sa.Index("batches_old", "at"),
    sqlite_with_rowid=False,
)

#: How long ended executions are kept; by the workflow of their root, or "" for all others.
retention_rules = sa.Table(
    "retention_rules",
    metadata,
    sa.Column("namespace", _text, primary_key=True),
    sa.Column("workflow", _text, primary_key=True),
    #: NULL: for ever.
    sa.Column("keep_seconds", _int),
    sa.Column("updated_at", _int, nullable=False),
    sa.Column("actor", _text, nullable=False),
    sqlite_with_rowid=False,
)

#: Executions that are gone, of which rows are still to be deleted.
removals = sa.Table(
    "removals",
    metadata,
    sa.Column("execution_id", _id, primary_key=True),
    sa.Column("namespace", _text, nullable=False),
    sqlite_with_rowid=False,
)

#: Up to which place the log of a namespace may lack events that were removed.
log_floors = sa.Table(
    "log_floors",
    metadata,
    sa.Column("namespace", _text, primary_key=True),
    sa.Column("xid", _int, nullable=False),
    sa.Column("position", _int, nullable=False),
    sqlite_with_rowid=False,
)


#: What the partial indexes are of. Written out, since a database does not look into parameters when it plans.
IS_OPEN = actions.c.state == sa.literal_column("'OPEN'")
IS_QUEUED = queue.c.stage == sa.literal_column("0")
IS_FIRST = events.c.span > sa.literal_column("0")
IS_LEASED = queue.c.stage > sa.literal_column("0")
IS_PENDING = notifications.c.state == sa.literal_column("'PENDING'")
IS_WAITING = parked.c.given_up_at == sa.literal_column("0")
