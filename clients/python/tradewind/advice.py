"""What to do about each reason for which a server refuses. Made from docs/errors.md by `make pages`."""

from __future__ import annotations

from collections.abc import Mapping

WHAT_TO_DO: Mapping[str, str] = {
    "CURSOR_INVALID": "Use a cursor as a response of WatchEvents gave it, for the same namespace.",
    "CURSOR_LOST": (
        "Watch again with a snapshot, and take what it shows for the truth: the database was restored from"
        " a backup, or the event deleted."
    ),
    "INTERNAL": "Repeat once with the same request id. If it stays, report it with what the log says under `log_id`.",
    "DEFINITION_INVALID": (
        "Read the field violations: each is one problem with file, line, column and a fix."
        " `tradewind check FILE` shows the same without deploying."
    ),
    "DEFINITION_NOT_FOUND": (
        "Deploy it, or look at `tradewind workflows` for its name and workflow namespace. A"
        " running tree of executions sees only what was deployed when its root started."
    ),
    "DEFINITION_IN_USE": "Cancel the open executions or let them end, then delete again.",
    "INPUT_MISSING": "Give the named inputs, or declare defaults for them in the workflow.",
    "INPUT_UNEXPECTED": "Leave the named inputs out, or declare them in the workflow.",
    "PARAMETER_INVALID": "Correct the start parameter as the message says.",
    "START_FAILED": (
        "Correct the expression, or what it reads. The param `evaluate_env: false` leaves an environment as it is."
    ),
    "EXECUTION_EXISTS": (
        "If it is the same piece of work, use the execution named in the metadata; otherwise choose"
        " another external id."
    ),
    "BUSINESS_KEY_IN_USE": (
        "Wait for the execution named in the metadata, or start with the policy USE_EXISTING to"
        " get it instead of an error."
    ),
    "REQUEST_ID_REUSED": (
        "Make a new request id for each new request; use the same one only to repeat a request unchanged."
    ),
    "EXECUTION_NOT_FOUND": "Check the id and the namespace. Executions past their retention are gone.",
    "EXECUTION_WRONG_STATE": "Read the state in the metadata; docs/state_machine.md says which commands it allows.",
    "TASK_NOT_FOUND": "List the tasks of the execution (`tradewind show ID`).",
    "TASK_WRONG_STATE": "Only a FAILED task can be rerun or skipped; cancel the execution to stop a running one.",
    "ACTION_NOT_FOUND": "List the actions of the execution (`tradewind actions list`).",
    "ACTION_WITH_WORKER": (
        "Let the worker answer with its token. For answers from outside use an asynchronous action"
        " such as std.async_noop."
    ),
    "ACTION_FINAL": "Nothing: it has ended, and what was sent was not recorded.",
    "STALE_ATTEMPT": "Stop working on it. A newer attempt is under way; sending the result again will not help.",
    "LEASE_LOST": "Stop working on it. Beat in time, or answer sooner, to keep the lease next time.",
    "TOKEN_INVALID": "Send back the token of the offer unchanged, in the same namespace.",
    "STREAM_VIOLATION": (
        "Correct the worker or consumer: Hello or ConsumeOpen first and once, then what this stream"
        " takes, within its bounds."
    ),
    "PAYLOAD_INVALID": "Send JSON in UTF-8, with numbers of at most the allowed digits.",
    "PAYLOAD_UNSUPPORTED": "Send plain JSON: no other content type, encoding, key id or external reference.",
    "PAYLOAD_TOO_LARGE": "Keep large data elsewhere and pass a reference to it, or raise the setting that is named.",
    "MESSAGE_UNREADABLE": "Make stubs from the protos of the server's version, and send texts in UTF-8.",
    "FIELD_INVALID": "Correct the field as the message says.",
    "FILTER_INVALID": "Use the fields in the metadata, with `=`, and AND between comparisons.",
    "SEARCH_UNBOUNDED": "Add `created_at >= …` and `created_at < …` to the filter, no further apart than that.",
    "PAGE_TOKEN_INVALID": "Start again without a page token; keep all other fields unchanged from page to page.",
    "REVISION_AHEAD": (
        "Use a revision that this execution has answered with. After a restore from a backup, watch"
        " again with a snapshot."
    ),
    "REVISION_COMPACTED": "Watch again with a snapshot, or list from `oldest_revision`.",
    "QUEUE_FULL": "Wait as long as RetryInfo says, then repeat with the same request id; start fewer at a time.",
    "STREAMS_EXHAUSTED": "Close streams that nobody reads, or use another server.",
    "SERVER_DRAINING": (
        "Repeat with the same request id, on another server if there is one. Streams resume where they were."
    ),
    "DATABASE_UNAVAILABLE": (
        "Repeat with the same request id until it answers: it cannot happen twice. Operators: look at the database."
    ),
    "ENVIRONMENT_NOT_FOUND": "Put the environment, or correct the name; ListEnvironments shows what is there.",
    "ETAG_MISMATCH": "Read it again, merge your change, and send it with the new etag.",
    "UNAUTHENTICATED": (
        "Send `authorization: Bearer TOKEN` with each call (`token=` in the clients, `--token` or"
        " `TRADEWIND_TOKEN` on the command line). See docs/access.md."
    ),
    "CALL_DENIED": (
        "Use another token, or ask whoever keeps the file of tokens for what this one lacks. See"
        " docs/access.md#what-a-token-may-call."
    ),
    "NAMESPACE_DENIED": "Use a namespace that the token is for, or ask whoever keeps the file of tokens.",
    "SUBSCRIPTION_NOT_FOUND": "Create the subscription, or correct the name; ListSubscriptions shows what is there.",
    "SUBSCRIPTION_EXISTS": "Use another name, or change the one that is there with UpdateSubscription.",
    "SUBSCRIPTION_WRONG_STATE": (
        "Enable it; or, for the other kind, make another subscription. See docs/subscriptions.md."
    ),
    "SUBSCRIPTION_TAKEN_OVER": (
        "Stop: what you have not acknowledged goes to the newer one. Two systems need a subscription each."
    ),
    "SUBSCRIPTION_CHANGED": "Call Consume again; it goes on where the subscription is now. The clients do that.",
    "HUMAN_TASK_NOT_FOUND": "Mend the id; ListHumanTasks shows what is there.",
    "HUMAN_TASK_CLOSED": "Nothing; its execution tells what came of it.",
    "HUMAN_TASK_TAKEN": (
        "Claim it if nobody has it; else ask the assignee, or one who may manage human tasks, to release it."
    ),
    "HUMAN_TASK_CHANGED": "Get it again, look at what it shows now, and decide with its new etag.",
    "PERSON_UNKNOWN": (
        "Call with a token that stands for a person, or through the configured proxy. See docs/access.md."
    ),
    "PERSON_NOT_ELIGIBLE": "Let one of those do it who are asked, or let one who may manage human tasks assign it.",
    "PERSON_EXCLUDED": "Let somebody else do it: that is what the definition asks for (four eyes).",
    "ONE_VOTE_EACH": "Let somebody else vote. Who has it for him can release it before he has voted.",
    "OUTCOME_UNKNOWN": "Choose one of those it has.",
    "REASON_MISSING": "Say why.",
    "DECISION_INVALID": "Mend what the field violations name. Nothing was decided.",
    "ATTACHMENT_NOT_FOUND": "Get the human task: it lists what it has. What was withdrawn is gone.",
    "ATTACHMENT_REFUSED": "Add a file of one of the types that the definition names.",
    "TOO_MANY_ATTACHMENTS": "Withdraw another one first, or keep the file elsewhere and add a reference to it.",
    "ATTACHMENTS_MISSING": "Add what is missing, and look at the human task again.",
    "ATTACHMENT_HIDDEN": "Ask for the right `see-sensitive-values`, or leave it to those who are asked to decide.",
    "ACTION_IS_HUMAN": "Submit a decision to the HumanTaskService.",
    "PERSON_NOT_MANAGER": "Do it for yourself, or ask somebody with the right `manage-human-tasks`.",
    "CHANNEL_NOT_FOUND": "Mend the name, or add the channel to the server's file of channels and restart it.",
    "NOTIFICATION_NOT_SENT": "The problem says what the provider said. Mend the channel, or the address.",
    "NOT_NOTIFIER": "Ask somebody with the right `manage-notifications`.",
    "ABSENCE_NOT_FOUND": "Mend the id; ListAbsences shows what is there.",
    "WORKER_NOT_FOUND": "Mend the name; ListWorkers shows who is there.",
}
