"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "absences",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("substitute", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("absences_by_begin", "absences", ["namespace", "starts_at", "id"], unique=False)
    op.create_index("absences_by_substitute", "absences", ["namespace", "substitute", "ends_at"], unique=False)
    op.create_table(
        "action_queue",
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("action_id", sa.BigInteger(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("ready_at", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("worker_build", sa.Text(), nullable=False),
        sa.Column("offered_at", sa.BigInteger(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("deliveries", sa.BigInteger(), nullable=False),
        sa.Column("losses", sa.BigInteger(), nullable=False),
        sa.Column("safe_rerun", sa.BigInteger(), nullable=False),
        sa.Column("timeout_at", sa.BigInteger(), nullable=False),
        sa.Column("cancelling", sa.BigInteger(), nullable=False),
        sa.Column("input_revision", sa.BigInteger(), nullable=False),
        sa.Column("progress", sa.Text(), nullable=False),
        sa.Column("checkpoint", sa.LargeBinary(), nullable=True),
        sa.Column("detail", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("execution_id", "action_id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "queue_leases",
        "action_queue",
        ["lease_until"],
        unique=False,
        sqlite_where=sa.text("stage > 0"),
        postgresql_where=sa.text("stage > 0"),
    )
    op.create_index(
        "queue_ready",
        "action_queue",
        ["namespace", "name", "target", "rank", "execution_id", "action_id"],
        unique=False,
        sqlite_where=sa.text("stage = 0"),
        postgresql_where=sa.text("stage = 0"),
    )
    op.create_table(
        "actions",
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("action_id", sa.BigInteger(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("task_attempt", sa.BigInteger(), nullable=False),
        sa.Column("item_index", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("wrappers", sa.Text(), nullable=False),
        sa.Column("asynchronous", sa.BigInteger(), nullable=False),
        sa.Column("child_id", sa.String(length=64), nullable=False),
        sa.Column("cancelling", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("scheduled_revision", sa.BigInteger(), nullable=False),
        sa.Column("result_revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("worker_build", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("execution_id", "action_id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "actions_open",
        "actions",
        ["namespace", "execution_id", "action_id"],
        unique=False,
        sqlite_where=sa.text("state = 'OPEN'"),
        postgresql_where=sa.text("state = 'OPEN'"),
    )
    op.create_table(
        "arrivals",
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("execution_id", "task_id", "parent_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("batches_old", "batches", ["at"], unique=False)
    op.create_table(
        "claims",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "kind", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index("claims_expired", "claims", ["expires_at"], unique=False)
    op.create_table(
        "definitions",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("workflow_namespace", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("registry_revision", sa.BigInteger(), nullable=False),
        sa.Column("retired_revision", sa.BigInteger(), nullable=True),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("source", sa.LargeBinary(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("inputs", sa.LargeBinary(), nullable=False),
        sa.Column("deployed_at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "workflow_namespace", "kind", "name", "version"),
    )
    op.create_table(
        "environments",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("variables", sa.LargeBinary(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "events",
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("root_id", sa.String(length=64), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("type_version", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("action_id", sa.BigInteger(), nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("span", sa.BigInteger(), nullable=False),
        sa.Column("trace", sa.Text(), nullable=False),
        sa.Column("codec", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("execution_id", "revision"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "events_log",
        "events",
        ["namespace", "xid", "position"],
        unique=False,
        sqlite_where=sa.text("span > 0"),
        postgresql_where=sa.text("span > 0"),
    )
    op.create_table(
        "execution_tags",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "tag", "execution_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "executions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("workflow_namespace", sa.Text(), nullable=False),
        sa.Column("definition_version", sa.BigInteger(), nullable=False),
        sa.Column("registry_revision", sa.BigInteger(), nullable=False),
        sa.Column("semantics_version", sa.BigInteger(), nullable=False),
        sa.Column("root_id", sa.String(length=64), nullable=False),
        sa.Column("parent_id", sa.String(length=64), nullable=False),
        sa.Column("parent_task", sa.BigInteger(), nullable=False),
        sa.Column("parent_action", sa.BigInteger(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("failure", sa.LargeBinary(), nullable=True),
        sa.Column("error_kind", sa.Text(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("output_revision", sa.BigInteger(), nullable=False),
        sa.Column("env_revision", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.LargeBinary(), nullable=False),
        sa.Column("sensitive", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "executions_by_business_key",
        "executions",
        ["namespace", "business_key", "id"],
        unique=False,
        sqlite_where=sa.text("business_key <> ''"),
        postgresql_where=sa.text("business_key <> ''"),
    )
    op.create_index(
        "executions_by_end",
        "executions",
        ["namespace", "state", "finished_at", "id"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NOT NULL"),
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "executions_by_error_code",
        "executions",
        ["namespace", "error_code", "id"],
        unique=False,
        sqlite_where=sa.text("error_code <> ''"),
        postgresql_where=sa.text("error_code <> ''"),
    )
    op.create_index(
        "executions_by_error_kind",
        "executions",
        ["namespace", "error_kind", "id"],
        unique=False,
        sqlite_where=sa.text("error_kind <> ''"),
        postgresql_where=sa.text("error_kind <> ''"),
    )
    op.create_index(
        "executions_by_external_id",
        "executions",
        ["namespace", "external_id", "id"],
        unique=False,
        sqlite_where=sa.text("external_id <> ''"),
        postgresql_where=sa.text("external_id <> ''"),
    )
    op.create_index(
        "executions_by_parent",
        "executions",
        ["parent_id", "id"],
        unique=False,
        sqlite_where=sa.text("parent_id <> ''"),
        postgresql_where=sa.text("parent_id <> ''"),
    )
    op.create_index("executions_by_root", "executions", ["root_id", "id"], unique=False)
    op.create_index("executions_by_state", "executions", ["namespace", "state", "id"], unique=False)
    op.create_index(
        "executions_by_version",
        "executions",
        ["namespace", "workflow", "definition_version", "state", "id"],
        unique=False,
    )
    op.create_index("executions_by_workflow", "executions", ["namespace", "workflow", "state", "id"], unique=False)
    op.create_table(
        "human_tasks",
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("action_id", sa.BigInteger(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("assignee", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("done_by", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("comment_count", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("level", sa.BigInteger(), nullable=False),
        sa.Column("shown_revision", sa.BigInteger(), nullable=False),
        sa.Column("draft_revision", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("execution_id", "action_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("human_tasks_by_due", "human_tasks", ["namespace", "state", "due_at"], unique=False)
    op.create_index("human_tasks_by_namespace", "human_tasks", ["namespace", "execution_id", "action_id"], unique=False)
    op.create_index(
        "human_tasks_by_state", "human_tasks", ["namespace", "state", "execution_id", "action_id"], unique=False
    )
    op.create_table(
        "inbox",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("action_id", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "principal", "rank", "execution_id", "action_id", "revision"),
        sqlite_with_rowid=False,
    )
    op.create_index("inbox_by_human_task", "inbox", ["execution_id", "action_id"], unique=False)
    op.create_table(
        "installation",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "log_floors",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "messages",
        sa.Column("target", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("source_revision", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("target", "source", "source_revision", "kind"),
        sqlite_with_rowid=False,
    )
    op.create_index("messages_late", "messages", ["created_at"], unique=False)
    op.create_table(
        "parked_deliveries",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("subscription", sa.Text(), nullable=False),
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("through", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("given_up_at", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "subscription", "execution_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("parked_by_execution", "parked_deliveries", ["execution_id"], unique=False)
    op.create_index(
        "parked_due",
        "parked_deliveries",
        ["namespace", "subscription", "next_at"],
        unique=False,
        sqlite_where=sa.text("given_up_at = 0"),
        postgresql_where=sa.text("given_up_at = 0"),
    )
    op.create_table(
        "registry",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace"),
    )
    op.create_table(
        "removals",
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("execution_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "retention_rules",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("keep_seconds", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "workflow"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "subscriptions",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("filter", sa.Text(), nullable=False),
        sa.Column("webhook", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("execution_revision", sa.BigInteger(), nullable=False),
        sa.Column("event_at", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("consumers", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("acknowledged_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tasks",
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("published_revision", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("execution_id", "task_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "timers",
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("timer_id", sa.BigInteger(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("execution_id", "timer_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("timers_due", "timers", ["due_at"], unique=False)
    op.create_table(
        "worker_drains",
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("program"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("build", sa.Text(), nullable=False),
        sa.Column("is_going", sa.BigInteger(), nullable=False),
        sa.Column("serves", sa.LargeBinary(), nullable=False),
        sa.Column("names", sa.Text(), nullable=False),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("workers_by_name", "workers", ["namespace", "worker"], unique=False)
    op.create_table(
        "limits",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("concurrency", sa.BigInteger(), nullable=True),
        sa.Column("rate_count", sa.BigInteger(), nullable=True),
        sa.Column("rate_period", sa.BigInteger(), nullable=True),
        sa.Column("full_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "action_slots",
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("action_id", sa.BigInteger(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("execution_id", "action_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("action_slots_by_name", "action_slots", ["namespace", "name"], unique=False)
    op.create_table(
        "action_logs",
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("action_id", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("execution_id", "action_id", "epoch", "number"),
        sqlite_with_rowid=False,
    )
