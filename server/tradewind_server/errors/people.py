"""The refusals about people: human tasks, those who do them, and what they are told."""

from __future__ import annotations

from collections.abc import Sequence

from tradewind_server.errors import Kind, Refusal


class HumanTaskNotFound(Refusal):
    """There is no such human task."""

    reason = "HUMAN_TASK_NOT_FOUND"
    kind = Kind.NOT_FOUND
    sentence = "Expected to find human task '{human_task}', but there is none."


class HumanTaskClosed(Refusal):
    """The human task has been decided, or is not needed any more."""

    reason = "HUMAN_TASK_CLOSED"
    kind = Kind.WRONG_STATE
    sentence = "Expected human task '{human_task}' to be open, but it is {state}: {how}."


class HumanTaskTaken(Refusal):
    """Somebody else has the human task."""

    reason = "HUMAN_TASK_TAKEN"
    kind = Kind.WRONG_STATE
    sentence = (
        "Expected '{user}' to have human task '{human_task}', but it is with '{assignee}'. "
        "Claim it first, or ask for it to be released."
    )


class HumanTaskChanged(Refusal):
    """What the human task shows has changed since it was seen."""

    reason = "HUMAN_TASK_CHANGED"
    kind = Kind.CONFLICT
    sentence = (
        "Expected a decision on what human task '{human_task}' shows now ('{current}'), but it is on '{etag}'. "
        "The data changed: review it again."
    )


class PersonUnknown(Refusal):
    """It is not known who acts."""

    reason = "PERSON_UNKNOWN"
    kind = Kind.UNAUTHENTICATED
    sentence = "Expected to know which person acts, but {problem}."


class PersonNotEligible(Refusal):
    """The person is not asked to do this human task."""

    reason = "PERSON_NOT_ELIGIBLE"
    kind = Kind.DENIED
    sentence = "Expected '{user}' to be one of those asked to do human task '{human_task}', who are: {asked}."


class PersonExcluded(Refusal):
    """The person may never do this human task, whoever offers it."""

    reason = "PERSON_EXCLUDED"
    kind = Kind.DENIED
    sentence = "Expected somebody else than '{user}' to do human task '{human_task}': it must not be one {why}."


class OneVoteEach(Refusal):
    """The person's vote is given, or in somebody's hands."""

    reason = "ONE_VOTE_EACH"
    kind = Kind.WRONG_STATE
    sentence = (
        "Expected one vote of '{user}' on human task '{human_task}', but {why}. Somebody else has to give the next one."
    )


class OutcomeUnknown(Refusal):
    """The human task does not have this outcome."""

    reason = "OUTCOME_UNKNOWN"
    kind = Kind.INVALID
    sentence = "Expected one of the outcomes {known}, but got '{outcome}'."


class ReasonMissing(Refusal):
    """This outcome needs a reason."""

    reason = "REASON_MISSING"
    kind = Kind.INVALID
    sentence = "Expected a reason for the outcome '{outcome}', but there is none."


class DecisionInvalid(Refusal):
    """The data does not fit the form; each problem is a field violation.

    Attributes:
        faults: (path within the data, what is wrong).
    """

    reason = "DECISION_INVALID"
    kind = Kind.INVALID
    sentence = (
        "Expected data that fits the form of human task '{human_task}', but found {count} problem(s); first: {first}"
    )

    def __init__(self, faults: Sequence[tuple[str, str]], **facts: object) -> None:
        path, what = faults[0]
        super().__init__(field="data", count=len(faults), first=f"{path}: {what}" if path else what, **facts)
        self.faults = faults


class AttachmentNotFound(Refusal):
    """The human task has no such attachment, or has it no more."""

    reason = "ATTACHMENT_NOT_FOUND"
    kind = Kind.NOT_FOUND
    sentence = "Expected to find attachment '{attachment}' of human task '{human_task}', but it has none of that id."


class AttachmentRefused(Refusal):
    """The human task takes no attachment of this type."""

    reason = "ATTACHMENT_REFUSED"
    kind = Kind.INVALID
    sentence = (
        "Expected an attachment of a type that human task '{human_task}' takes ({accepted}), but it is {content_type}."
    )


class TooManyAttachments(Refusal):
    """With this one the attachments of the human task would be more than it may have."""

    reason = "TOO_MANY_ATTACHMENTS"
    kind = Kind.WRONG_STATE
    sentence = (
        "Expected human task '{human_task}' to have at most {limit} {what} ({setting}), but with this one it would "
        "have {size}. Withdraw another one first."
    )


class AttachmentsMissing(Refusal):
    """Nobody decides before so many files are there."""

    reason = "ATTACHMENTS_MISSING"
    kind = Kind.WRONG_STATE
    sentence = (
        "Expected human task '{human_task}' to have at least {minimum} attachment(s) of the types that it takes, "
        "but it has {count}."
    )


class AttachmentHidden(Refusal):
    """What is in a file cannot be masked, and its process has sensitive values."""

    reason = "ATTACHMENT_HIDDEN"
    kind = Kind.DENIED
    sentence = (
        "Expected '{user}' to have the right 'see-sensitive-values', to be asked to decide human task '{human_task}', "
        "or to have added attachment '{attachment}', but none of these is so."
    )


class PersonNotManager(Refusal):
    """Only who may manage human tasks can do this for others."""

    reason = "PERSON_NOT_MANAGER"
    kind = Kind.DENIED
    sentence = "Expected '{user}' to have the right 'manage-human-tasks', but he has not."


class ChannelNotFound(Refusal):
    """The server has no channel of that name."""

    reason = "CHANNEL_NOT_FOUND"
    kind = Kind.NOT_FOUND
    sentence = "Expected a channel of this server, but '{channel}' is none. There are: {known}."


class NotificationNotSent(Refusal):
    """A test of a channel failed."""

    reason = "NOTIFICATION_NOT_SENT"
    kind = Kind.WRONG_STATE
    sentence = "Expected channel '{channel}' to take a message to '{to}', but it did not: {problem}"


class NotNotifier(Refusal):
    """Only who may manage notifications can do this."""

    reason = "NOT_NOTIFIER"
    kind = Kind.DENIED
    sentence = "Expected '{user}' to have the right 'manage-notifications', but he has not."


class AbsenceNotFound(Refusal):
    """There is no such absence, or it is over."""

    reason = "ABSENCE_NOT_FOUND"
    kind = Kind.NOT_FOUND
    sentence = "Expected to find absence '{absence}', but there is none that has not ended."


class ActionIsHuman(Refusal):
    """No worker serves this action: a person does."""

    reason = "ACTION_IS_HUMAN"
    kind = Kind.WRONG_STATE
    sentence = "Expected an action that a worker serves, but {action} is a human task. People submit it."
