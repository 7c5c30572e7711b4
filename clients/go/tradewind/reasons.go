package tradewind

// The reasons that a server answers with. docs/errors.md says what to do about each.
const (
	// ReasonInternal: the server failed in a way that it does not declare; the server's log has the details under the id.
	ReasonInternal Reason = "INTERNAL"
	// ReasonDefinitionInvalid: a definition text has problems; each is a field violation with file, line and column.
	ReasonDefinitionInvalid Reason = "DEFINITION_INVALID"
	// ReasonDefinitionNotFound: no workflow or action of that name is deployed.
	ReasonDefinitionNotFound Reason = "DEFINITION_NOT_FOUND"
	// ReasonDefinitionInUse: a definition with open executions cannot be deleted. No server says so yet: they go on.
	ReasonDefinitionInUse Reason = "DEFINITION_IN_USE"
	// ReasonInputMissing: a declared input without a default was not given.
	ReasonInputMissing Reason = "INPUT_MISSING"
	// ReasonInputUnexpected: an input was given that the workflow does not declare.
	ReasonInputUnexpected Reason = "INPUT_UNEXPECTED"
	// ReasonParameterInvalid: a start parameter has a value that the workflow cannot take.
	ReasonParameterInvalid Reason = "PARAMETER_INVALID"
	// ReasonStartFailed: an expression that is evaluated at the start (vars, env) failed.
	ReasonStartFailed Reason = "START_FAILED"
	// ReasonExecutionExists: the caller-chosen execution id is taken by an execution with other content.
	ReasonExecutionExists Reason = "EXECUTION_EXISTS"
	// ReasonBusinessKeyInUse: another open execution of the workflow holds the business key.
	ReasonBusinessKeyInUse Reason = "BUSINESS_KEY_IN_USE"
	// ReasonRequestIDReused: the request id was used before with other content.
	ReasonRequestIDReused Reason = "REQUEST_ID_REUSED"
	// ReasonExecutionNotFound: there is no such execution in the namespace.
	ReasonExecutionNotFound Reason = "EXECUTION_NOT_FOUND"
	// ReasonExecutionWrongState: the execution is in a state that the command cannot leave.
	ReasonExecutionWrongState Reason = "EXECUTION_WRONG_STATE"
	// ReasonTaskNotFound: the execution has no such task.
	ReasonTaskNotFound Reason = "TASK_NOT_FOUND"
	// ReasonTaskWrongState: the task is in a state that the command cannot leave.
	ReasonTaskWrongState Reason = "TASK_WRONG_STATE"
	// ReasonActionNotFound: the execution has no such action.
	ReasonActionNotFound Reason = "ACTION_NOT_FOUND"
	// ReasonActionWithWorker: only an asynchronous action can be completed without the token of its worker.
	ReasonActionWithWorker Reason = "ACTION_WITH_WORKER"
	// ReasonActionFinal: the action has already ended with another result.
	ReasonActionFinal Reason = "ACTION_FINAL"
	// ReasonStaleAttempt: the token names an earlier attempt of the action.
	ReasonStaleAttempt Reason = "STALE_ATTEMPT"
	// ReasonLeaseLost: the token's lease is over: the action was offered to somebody else, or ended.
	ReasonLeaseLost Reason = "LEASE_LOST"
	// ReasonTokenInvalid: the action token was not made by this installation, or is of another namespace.
	ReasonTokenInvalid Reason = "TOKEN_INVALID"
	// ReasonStreamViolation: a message on a worker stream came out of turn or exceeds a bound.
	ReasonStreamViolation Reason = "STREAM_VIOLATION"
	// ReasonPayloadInvalid: a payload is not well-formed JSON in UTF-8.
	ReasonPayloadInvalid Reason = "PAYLOAD_INVALID"
	// ReasonPayloadUnsupported: a payload uses a content type, encoding, key or reference that this version does not know.
	ReasonPayloadUnsupported Reason = "PAYLOAD_UNSUPPORTED"
	// ReasonPayloadTooLarge: a payload is larger than a limit.
	ReasonPayloadTooLarge Reason = "PAYLOAD_TOO_LARGE"
	// ReasonMessageUnreadable: the bytes of a request are no message of the type that the method takes.
	ReasonMessageUnreadable Reason = "MESSAGE_UNREADABLE"
	// ReasonFieldInvalid: a request field has a value outside its range.
	ReasonFieldInvalid Reason = "FIELD_INVALID"
	// ReasonFilterInvalid: a list filter cannot be understood.
	ReasonFilterInvalid Reason = "FILTER_INVALID"
	// ReasonSearchUnbounded: a text is searched for without a bounded time of creation.
	ReasonSearchUnbounded Reason = "SEARCH_UNBOUNDED"
	// ReasonPageTokenInvalid: a page token is not of this query.
	ReasonPageTokenInvalid Reason = "PAGE_TOKEN_INVALID"
	// ReasonRevisionAhead: a watch or read asks for a revision that the execution has not reached.
	ReasonRevisionAhead Reason = "REVISION_AHEAD"
	// ReasonRevisionCompacted: the events after that revision are no longer kept. No server says so yet: all are kept.
	ReasonRevisionCompacted Reason = "REVISION_COMPACTED"
	// ReasonQueueFull: the command queue is at its bound; retry after the given delay.
	ReasonQueueFull Reason = "QUEUE_FULL"
	// ReasonStreamsExhausted: the server serves as many streams as it may, or as many of this client.
	ReasonStreamsExhausted Reason = "STREAMS_EXHAUSTED"
	// ReasonServerDraining: the server is going down; another one, or the same a little later, will serve.
	ReasonServerDraining Reason = "SERVER_DRAINING"
	// ReasonDatabaseUnavailable: the database does not answer; nothing is known to be lost.
	ReasonDatabaseUnavailable Reason = "DATABASE_UNAVAILABLE"
	// ReasonEnvironmentNotFound: no environment of that name is stored.
	ReasonEnvironmentNotFound Reason = "ENVIRONMENT_NOT_FOUND"
	// ReasonEtagMismatch: somebody has changed it since it was seen.
	ReasonEtagMismatch Reason = "ETAG_MISMATCH"
	// ReasonCursorInvalid: the cursor is of another namespace, or no cursor.
	ReasonCursorInvalid Reason = "CURSOR_INVALID"
	// ReasonCursorLost: the log does not have the event that the cursor is after.
	ReasonCursorLost Reason = "CURSOR_LOST"
	// ReasonUnauthenticated: the server asks for a token, and the call has none that it knows.
	ReasonUnauthenticated Reason = "UNAUTHENTICATED"
	// ReasonNamespaceDenied: the token is not for this namespace.
	ReasonNamespaceDenied Reason = "NAMESPACE_DENIED"
	// ReasonCallDenied: the token is not for calls of this sort.
	ReasonCallDenied Reason = "CALL_DENIED"
	// ReasonSubscriptionNotFound: no subscription of that name is kept.
	ReasonSubscriptionNotFound Reason = "SUBSCRIPTION_NOT_FOUND"
	// ReasonSubscriptionExists: there is a subscription of that name with other content.
	ReasonSubscriptionExists Reason = "SUBSCRIPTION_EXISTS"
	// ReasonSubscriptionWrongState: the subscription is disabled, or is of the other kind: with or without webhook.
	ReasonSubscriptionWrongState Reason = "SUBSCRIPTION_WRONG_STATE"
	// ReasonSubscriptionTakenOver: a newer consumer has taken the subscription over.
	ReasonSubscriptionTakenOver Reason = "SUBSCRIPTION_TAKEN_OVER"
	// ReasonSubscriptionChanged: the subscription was updated, rewound, enabled or disabled while it was consumed.
	ReasonSubscriptionChanged Reason = "SUBSCRIPTION_CHANGED"
	// ReasonHumanTaskNotFound: there is no such human task.
	ReasonHumanTaskNotFound Reason = "HUMAN_TASK_NOT_FOUND"
	// ReasonHumanTaskClosed: the human task has been decided, or is not needed any more.
	ReasonHumanTaskClosed Reason = "HUMAN_TASK_CLOSED"
	// ReasonHumanTaskTaken: somebody else has the human task.
	ReasonHumanTaskTaken Reason = "HUMAN_TASK_TAKEN"
	// ReasonHumanTaskChanged: what the human task shows has changed since it was seen.
	ReasonHumanTaskChanged Reason = "HUMAN_TASK_CHANGED"
	// ReasonPersonUnknown: it is not known who acts.
	ReasonPersonUnknown Reason = "PERSON_UNKNOWN"
	// ReasonPersonNotEligible: the person is not asked to do this human task.
	ReasonPersonNotEligible Reason = "PERSON_NOT_ELIGIBLE"
	// ReasonPersonExcluded: the person may never do this human task, whoever offers it.
	ReasonPersonExcluded Reason = "PERSON_EXCLUDED"
	// ReasonOutcomeUnknown: the human task does not have this outcome.
	ReasonOutcomeUnknown Reason = "OUTCOME_UNKNOWN"
	// ReasonReasonMissing: this outcome needs a reason.
	ReasonReasonMissing Reason = "REASON_MISSING"
	// ReasonDecisionInvalid: the data does not fit the form; each problem is a field violation.
	ReasonDecisionInvalid Reason = "DECISION_INVALID"
	// ReasonActionIsHuman: no worker serves this action: a person does.
	ReasonActionIsHuman Reason = "ACTION_IS_HUMAN"
	// ReasonPersonNotManager: only who may manage human tasks can do this for others.
	ReasonPersonNotManager Reason = "PERSON_NOT_MANAGER"
	// ReasonAbsenceNotFound: there is no such absence, or it is over.
	ReasonAbsenceNotFound Reason = "ABSENCE_NOT_FOUND"
	// ReasonWorkerNotFound: no worker with this name is connected or polls.
	ReasonWorkerNotFound Reason = "WORKER_NOT_FOUND"
	// ReasonChannelNotFound: the server has no channel of that name.
	ReasonChannelNotFound Reason = "CHANNEL_NOT_FOUND"
	// ReasonNotificationNotSent: a test of a channel failed.
	ReasonNotificationNotSent Reason = "NOTIFICATION_NOT_SENT"
	// ReasonNotNotifier: only who may manage notifications can do this.
	ReasonNotNotifier Reason = "NOT_NOTIFIER"
	// ReasonOneVoteEach: the person's vote is given, or in somebody's hands.
	ReasonOneVoteEach Reason = "ONE_VOTE_EACH"
	// ReasonAttachmentNotFound: the human task has no such attachment, or has it no more.
	ReasonAttachmentNotFound Reason = "ATTACHMENT_NOT_FOUND"
	// ReasonAttachmentRefused: the human task takes no attachment of this type.
	ReasonAttachmentRefused Reason = "ATTACHMENT_REFUSED"
	// ReasonTooManyAttachments: with this one the attachments of the human task would be more than it may have.
	ReasonTooManyAttachments Reason = "TOO_MANY_ATTACHMENTS"
	// ReasonAttachmentsMissing: nobody decides before so many files are there.
	ReasonAttachmentsMissing Reason = "ATTACHMENTS_MISSING"
	// ReasonAttachmentHidden: what is in a file cannot be masked, and its process has sensitive values.
	ReasonAttachmentHidden Reason = "ATTACHMENT_HIDDEN"
)
