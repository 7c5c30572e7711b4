"""Every refusal of the server, declared once; those about people stand in `people.py`.

A refusal is raised with facts, not prose: `raise StaleAttempt(action="a7", attempt=1, current=2)`. The
facts become both the sentence and the metadata of the error that a caller sees, and `reason` is the
machine-readable name published in `error_reason.proto` and explained in `docs/errors.md`.
"""

from __future__ import annotations

import enum
from typing import ClassVar


class Kind(enum.Enum):
    """What sort of refusal it is; `api/errors.py` maps each to one gRPC status code."""

    INVALID = "invalid"
    NOT_FOUND = "not_found"
    EXISTS = "exists"
    WRONG_STATE = "wrong_state"
    CONFLICT = "conflict"
    EXHAUSTED = "exhausted"
    COMPACTED = "compacted"
    DENIED = "denied"
    UNAUTHENTICATED = "unauthenticated"
    UNAVAILABLE = "unavailable"


class Refusal(Exception):
    """A command was refused and changed nothing.

    Attributes:
        facts: the variable parts of the sentence, by name; values are text or numbers.
        field: path of the request field at fault, or "" when none is.
    """

    reason: ClassVar[str]
    kind: ClassVar[Kind]
    sentence: ClassVar[str]

    def __init__(self, *, field: str = "", **facts: object) -> None:
        self.facts = {name: str(value) for name, value in facts.items()}
        self.field = field
        super().__init__(self._template().format(**self.facts))

    def shortened(self, most: int) -> tuple[dict[str, str], str]:
        """Return the facts, what is longer than *most* characters without its middle, and the sentence with them."""
        facts = {name: without_middle(value, most) for name, value in self.facts.items()}
        return facts, self._template().format(**facts)

    def _template(self) -> str:
        return self.sentence


def without_middle(text: str, most: int) -> str:
    """Return *text*, or its beginning and end with "…" between, *most* characters together."""
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 3]} … {text[-tail:]}"


# --- definitions ---------------------------------------------------------------------------------


class DefinitionInvalid(Refusal):
    """A definition text has problems; each is a field violation with file, line and column."""

    reason = "DEFINITION_INVALID"
    kind = Kind.INVALID
    sentence = "Expected a valid definition, but found {count} problem(s); first: {first}"


class DefinitionNotFound(Refusal):
    """No workflow or action of that name is deployed."""

    reason = "DEFINITION_NOT_FOUND"
    kind = Kind.NOT_FOUND
    sentence = (
        "Expected to find {what} '{name}' in workflow namespace '{workflow_namespace}', but there is none. "
        "Deploy it first, or list what is there."
    )

    def _template(self) -> str:
        if self.facts["workflow_namespace"]:
            return self.sentence
        # the one without a name is where nearly all are
        return self.sentence.replace(" in workflow namespace '{workflow_namespace}'", "")


class EnvironmentNotFound(Refusal):
    """No environment of that name is stored."""

    reason = "ENVIRONMENT_NOT_FOUND"
    kind = Kind.NOT_FOUND
    sentence = "Expected to find environment '{name}', but there is none. Put it first, or list what is there."


class EtagMismatch(Refusal):
    """Somebody has changed it since it was seen."""

    reason = "ETAG_MISMATCH"
    kind = Kind.CONFLICT
    sentence = "Expected {what} with etag '{etag}', but it has '{current}'. Read it again, and decide anew."


class DefinitionInUse(Refusal):
    """A definition with open executions cannot be deleted. No server says so yet: they go on."""

    reason = "DEFINITION_IN_USE"
    kind = Kind.WRONG_STATE
    sentence = "Expected to delete '{name}', but {count} open execution(s) use it. Cancel or finish them first."


# --- starting ------------------------------------------------------------------------------------


class InputMissing(Refusal):
    """A declared input without a default was not given."""

    reason = "INPUT_MISSING"
    kind = Kind.INVALID
    sentence = (
        "Expected a value for each input without a default, but got none for: {names} (workflow '{workflow}'). "
        "Give it, or declare a default."
    )


class InputUnexpected(Refusal):
    """An input was given that the workflow does not declare."""

    reason = "INPUT_UNEXPECTED"
    kind = Kind.INVALID
    sentence = "Expected only the declared inputs of workflow '{workflow}' ({declared}), but got '{names}' too."


class ParameterInvalid(Refusal):
    """A start parameter has a value that the workflow cannot take."""

    reason = "PARAMETER_INVALID"
    kind = Kind.INVALID
    sentence = "Expected start parameter '{name}' to be {expected}, but {problem}."


class StartFailed(Refusal):
    """An expression that is evaluated at the start (vars, env) failed."""

    reason = "START_FAILED"
    kind = Kind.INVALID
    sentence = "Expected to start workflow '{workflow}', but evaluating {what} failed: {problem}"


class ExecutionExists(Refusal):
    """The caller-chosen execution id is taken by an execution with other content."""

    reason = "EXECUTION_EXISTS"
    kind = Kind.EXISTS
    sentence = "Expected external id '{external_id}' to be free, but execution '{execution}' holds it."


class BusinessKeyInUse(Refusal):
    """Another open execution of the workflow holds the business key."""

    reason = "BUSINESS_KEY_IN_USE"
    kind = Kind.EXISTS
    sentence = "Expected business key '{business_key}' to be free, but open execution '{execution}' holds it."


class RequestIdReused(Refusal):
    """The request id was used before with other content."""

    reason = "REQUEST_ID_REUSED"
    kind = Kind.EXISTS
    sentence = "Expected request id '{request_id}' to be new or to repeat the same request, but its content differs."


# --- executions and tasks ------------------------------------------------------------------------


class ExecutionNotFound(Refusal):
    """There is no such execution in the namespace."""

    reason = "EXECUTION_NOT_FOUND"
    kind = Kind.NOT_FOUND
    sentence = "Expected to find execution '{execution}', but there is none in this namespace."


class ExecutionWrongState(Refusal):
    """The execution is in a state that the command cannot leave."""

    reason = "EXECUTION_WRONG_STATE"
    kind = Kind.WRONG_STATE
    sentence = "Expected to {command} execution '{execution}', but it is {state}."


class TaskNotFound(Refusal):
    """The execution has no such task."""

    reason = "TASK_NOT_FOUND"
    kind = Kind.NOT_FOUND
    sentence = "Expected to find task '{task}' in execution '{execution}', but there is none."


class TaskWrongState(Refusal):
    """The task is in a state that the command cannot leave."""

    reason = "TASK_WRONG_STATE"
    kind = Kind.WRONG_STATE
    sentence = "Expected to {command} task '{task}', but it is {state}. Only a FAILED task can be rerun or skipped."


# --- actions and workers -------------------------------------------------------------------------


class ActionNotFound(Refusal):
    """The execution has no such action."""

    reason = "ACTION_NOT_FOUND"
    kind = Kind.NOT_FOUND
    sentence = "Expected to find action '{action}' in execution '{execution}', but there is none."


class ActionWithWorker(Refusal):
    """Only an asynchronous action can be completed without the token of its worker."""

    reason = "ACTION_WITH_WORKER"
    kind = Kind.WRONG_STATE
    sentence = (
        "Expected to complete action '{action}' from outside, but it is '{name}', which a worker answers. "
        "Only asynchronous actions such as std.async_noop can be completed without a token."
    )


class ActionFinal(Refusal):
    """The action has already ended with another result."""

    reason = "ACTION_FINAL"
    kind = Kind.WRONG_STATE
    sentence = "Expected to complete action '{action}', but it is already {state}."


class StaleAttempt(Refusal):
    """The token names an earlier attempt of the action."""

    reason = "STALE_ATTEMPT"
    kind = Kind.CONFLICT
    sentence = (
        "Expected to answer action '{action}' at attempt {attempt}, but its current attempt is {current}. "
        "Stop working on it; the result was not recorded."
    )


class LeaseLost(Refusal):
    """The token's lease is over: the action was offered to somebody else, or ended."""

    reason = "LEASE_LOST"
    kind = Kind.CONFLICT
    sentence = "Expected to hold the lease of action '{action}', but it is lost. Stop working on it."


class TokenInvalid(Refusal):
    """The action token was not made by this installation, or is of another namespace."""

    reason = "TOKEN_INVALID"
    kind = Kind.INVALID
    sentence = (
        "Expected an action token of this namespace, but it is not one. Send back the token of the offer unchanged."
    )


class WorkerNotFound(Refusal):
    """No worker with this name is connected or polls."""

    reason = "WORKER_NOT_FOUND"
    kind = Kind.NOT_FOUND
    sentence = "Expected a worker that is connected or polls, but there is no '{worker}'. ListWorkers shows who is."


class StreamViolation(Refusal):
    """A message on the stream of a worker or a consumer came out of turn or exceeds a bound."""

    reason = "STREAM_VIOLATION"
    kind = Kind.INVALID
    sentence = "Expected {expected} on this stream, but got {got}."


# --- values and requests -------------------------------------------------------------------------


class PayloadInvalid(Refusal):
    """A payload is not well-formed JSON in UTF-8."""

    reason = "PAYLOAD_INVALID"
    kind = Kind.INVALID
    sentence = "Expected {what} to be {expected}, but {problem}."


class PayloadUnsupported(Refusal):
    """A payload uses a content type, encoding, key or reference that this version does not know."""

    reason = "PAYLOAD_UNSUPPORTED"
    kind = Kind.INVALID
    sentence = "Expected a payload of content type application/json without {feature}, but it has '{value}'."


class PayloadTooLarge(Refusal):
    """A payload is larger than a limit."""

    reason = "PAYLOAD_TOO_LARGE"
    kind = Kind.INVALID
    sentence = "Expected {what} of at most {limit} bytes ({setting}), but it has {size}."


class MessageUnreadable(Refusal):
    """The bytes of a request are no message of the type that the method takes."""

    reason = "MESSAGE_UNREADABLE"
    kind = Kind.INVALID
    sentence = (
        "Expected a message of type {type}, but its bytes cannot be read. "
        "Make stubs from the protos of this server, and send texts in UTF-8."
    )


class FieldInvalid(Refusal):
    """A request field has a value outside its range; its path is *field*, or its *name* where that says it all."""

    reason = "FIELD_INVALID"
    kind = Kind.INVALID
    sentence = "Expected field '{name}' to be {expected}, but {problem}."

    def __init__(self, *, name: str, expected: str, problem: str, field: str = "") -> None:
        super().__init__(field=field or name, name=name, expected=expected, problem=problem)


class FilterInvalid(Refusal):
    """A list filter cannot be understood."""

    reason = "FILTER_INVALID"
    kind = Kind.INVALID
    sentence = 'Expected comparisons like FIELD = "VALUE", joined by AND, but {problem}. Fields: {fields}.'


class SearchUnbounded(Refusal):
    """A text is searched for without a bounded time of creation."""

    reason = "SEARCH_UNBOUNDED"
    kind = Kind.INVALID
    sentence = (
        "Expected 'created_at >= ...' and 'created_at < ...' at most {days} days apart to search for a text, "
        "but {problem}. Add or narrow them."
    )


class PageTokenInvalid(Refusal):
    """A page token is not of this query."""

    reason = "PAGE_TOKEN_INVALID"
    kind = Kind.INVALID
    sentence = "Expected a page token of this same query, but it is of another one. Start again without a page token."


class RevisionAhead(Refusal):
    """A watch or read asks for a revision that the execution has not reached."""

    reason = "REVISION_AHEAD"
    kind = Kind.COMPACTED
    sentence = "Expected a revision of at most {newest} for execution '{execution}', but got {revision}."


class RevisionCompacted(Refusal):
    """The events after that revision are no longer kept. No server says so yet: all are kept."""

    reason = "REVISION_COMPACTED"
    kind = Kind.COMPACTED
    sentence = "Expected a revision of at least {oldest_revision} for execution '{execution}', but got {revision}."


# --- subscriptions -------------------------------------------------------------------------------


class SubscriptionNotFound(Refusal):
    """No subscription of that name is kept."""

    reason = "SUBSCRIPTION_NOT_FOUND"
    kind = Kind.NOT_FOUND
    sentence = "Expected to find subscription '{name}', but there is none. Create it first, or list what is there."


class SubscriptionExists(Refusal):
    """There is a subscription of that name with other content."""

    reason = "SUBSCRIPTION_EXISTS"
    kind = Kind.EXISTS
    sentence = "Expected name '{name}' to be free, but a subscription with other content has it. Update that one."


class SubscriptionWrongState(Refusal):
    """The subscription is disabled, or is of the other kind: with or without webhook."""

    reason = "SUBSCRIPTION_WRONG_STATE"
    kind = Kind.WRONG_STATE
    sentence = "Expected subscription '{name}' to be {expected}, but {problem}."


class SubscriptionTakenOver(Refusal):
    """A newer consumer has taken the subscription over."""

    reason = "SUBSCRIPTION_TAKEN_OVER"
    kind = Kind.CONFLICT
    sentence = "Expected to consume subscription '{name}' alone, but '{consumer}' has taken it over. Stop."


class SubscriptionChanged(Refusal):
    """The subscription was updated, rewound, enabled or disabled while it was consumed."""

    reason = "SUBSCRIPTION_CHANGED"
    kind = Kind.UNAVAILABLE
    sentence = "Expected subscription '{name}' to stay as it was, but somebody has changed it. Call again."


# --- watching ------------------------------------------------------------------------------------


class CursorInvalid(Refusal):
    """The cursor is of another namespace or execution, or no cursor."""

    reason = "CURSOR_INVALID"
    kind = Kind.INVALID
    sentence = (
        "Expected a cursor that the same call gave for the same namespace or execution, but got another text. "
        "Start without one."
    )


class CursorLost(Refusal):
    """The log does not have the event that the cursor is after."""

    reason = "CURSOR_LOST"
    kind = Kind.COMPACTED
    sentence = (
        "Expected a place in the log, but revision {revision} of execution '{execution}' is not there as it was. "
        "It was deleted, or the database was restored from a backup. Start again with a snapshot."
    )


# --- callers and the server itself ---------------------------------------------------------------


class Unauthenticated(Refusal):
    """The server asks for a token, and the call has none that it knows."""

    reason = "UNAUTHENTICATED"
    kind = Kind.UNAUTHENTICATED
    sentence = "Expected 'Bearer TOKEN' in the metadata 'authorization' with a token of this server, but {problem}."


class CallDenied(Refusal):
    """The token is not for calls of this sort."""

    reason = "CALL_DENIED"
    kind = Kind.DENIED
    sentence = "Expected '{caller}' to have {wanted} among his calls, which {method} needs, but he has: {calls}."


class NamespaceDenied(Refusal):
    """The token is not for this namespace."""

    reason = "NAMESPACE_DENIED"
    kind = Kind.DENIED
    sentence = "Expected a namespace that '{caller}' may use, but got '{namespace}'. Use another one or another token."


class QueueFull(Refusal):
    """The command queue is at its bound; retry after the given delay."""

    reason = "QUEUE_FULL"
    kind = Kind.EXHAUSTED
    sentence = "Expected room for the command, but {count} are waiting ({setting}). Retry with backoff."


class StreamsExhausted(Refusal):
    """The server serves as many streams as it may, or as many of this client."""

    reason = "STREAMS_EXHAUSTED"
    kind = Kind.EXHAUSTED
    sentence = "Expected room for a stream, but {count} are open ({setting}). Close one, or use another server."


class ServerDraining(Refusal):
    """The server is going down; another one, or the same a little later, will serve."""

    reason = "SERVER_DRAINING"
    kind = Kind.UNAVAILABLE
    sentence = "Expected a serving server, but it is shutting down. Retry, on another server if there is one."


class DatabaseUnavailable(Refusal):
    """The database does not answer; nothing is known to be lost."""

    reason = "DATABASE_UNAVAILABLE"
    kind = Kind.UNAVAILABLE
    sentence = "Expected the database to answer, but it does not: {problem}. Retry with the same request id."
