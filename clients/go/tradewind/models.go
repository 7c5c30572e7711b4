package tradewind

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// ExecutionState says how far an execution is. A state that this client does not know is its number as text.
type ExecutionState string

// The states of an execution.
const (
	ExecutionRunning    ExecutionState = "RUNNING"
	ExecutionPaused     ExecutionState = "PAUSED"
	ExecutionCancelling ExecutionState = "CANCELLING"
	ExecutionSucceeded  ExecutionState = "SUCCEEDED"
	ExecutionFailed     ExecutionState = "FAILED"
	ExecutionCancelled  ExecutionState = "CANCELLED"
)

// IsFinal says whether an execution does not leave the state by itself.
func (s ExecutionState) IsFinal() bool {
	return s == ExecutionSucceeded || s == ExecutionFailed || s == ExecutionCancelled
}

// TaskState says how far a task is. A state that this client does not know is its number as text.
type TaskState string

// The states of a task.
const (
	TaskWaiting   TaskState = "WAITING"
	TaskDelayed   TaskState = "DELAYED"
	TaskRunning   TaskState = "RUNNING"
	TaskPaused    TaskState = "PAUSED"
	TaskSucceeded TaskState = "SUCCEEDED"
	TaskFailed    TaskState = "FAILED"
	TaskCancelled TaskState = "CANCELLED"
	TaskSkipped   TaskState = "SKIPPED"
)

// ActionState says how far an action is. A state that this client does not know is its number as text.
type ActionState string

// The states of an action.
const (
	ActionQueued    ActionState = "QUEUED"
	ActionRunning   ActionState = "RUNNING"
	ActionSucceeded ActionState = "SUCCEEDED"
	ActionFailed    ActionState = "FAILED"
	ActionCancelled ActionState = "CANCELLED"
)

// enum returns the name of an enum's value without its prefix; "" for UNSPECIFIED.
func enum[E interface{ String() string }](prefix string, value E) string {
	name := strings.TrimPrefix(value.String(), prefix)
	if name == "UNSPECIFIED" {
		return ""
	}
	return name
}

// moment returns a time; the zero one if it is absent.
func moment(stamp *timestamppb.Timestamp) time.Time {
	if stamp == nil {
		return time.Time{}
	}
	return stamp.AsTime()
}

// Failure says why an action, task or execution failed. It is data of the process, not an error of the API.
type Failure struct {
	// Kind says who found it, e.g. "ACTION", "TIMEOUT" or "DELIVERY".
	Kind string
	// Code is for programs, e.g. "ACCOUNT_CLOSED".
	Code string
	// Message is for people.
	Message string
	// Details is what a definition may look at.
	Details Value
	// IsRetryable says whether trying again can help.
	IsRetryable bool
	// Proto is the message it came from, with its origin.
	Proto *tradewindv1.Failure
}

func readFailure(proto *tradewindv1.Failure) *Failure {
	if proto == nil {
		return nil
	}
	return &Failure{
		Kind:        enum("FAILURE_KIND_", proto.GetKind()),
		Code:        proto.GetCode(),
		Message:     proto.GetMessage(),
		Details:     Value{proto.GetDetails()},
		IsRetryable: proto.Retryable == nil || proto.GetRetryable(),
		Proto:       proto,
	}
}

// Execution is one run of a workflow. Its values are absent in answers that leave them out.
type Execution struct {
	// ID is made by the server; ids sort by time.
	ID string
	// Workflow is the name of the workflow.
	Workflow string
	// State says how far it is.
	State ExecutionState
	// StateMessage says why it is in that state; "" if there is nothing to say.
	StateMessage string
	// Revision is the number of its last event, from 1.
	Revision int64
	// BusinessKey says what it is about; "" if it has none.
	BusinessKey string
	// Input, Output and Env are its values.
	Input, Output, Env Value
	// Failure says why it failed; nil unless the state is FAILED.
	Failure *Failure
	// CreatedAt, UpdatedAt and FinishedAt are zero where they have not come yet.
	CreatedAt, UpdatedAt, FinishedAt time.Time
	// Proto is the message it came from, with all the rest.
	Proto *tradewindv1.Execution
}

func readExecution(proto *tradewindv1.Execution) *Execution {
	return &Execution{
		ID:           proto.GetId(),
		Workflow:     proto.GetWorkflow(),
		State:        ExecutionState(enum("EXECUTION_STATE_", proto.GetState())),
		StateMessage: proto.GetStateMessage(),
		Revision:     proto.GetRevision(),
		BusinessKey:  proto.GetBusinessKey(),
		Input:        Value{proto.GetInput()},
		Output:       Value{proto.GetOutput()},
		Env:          Value{proto.GetEnv()},
		Failure:      readFailure(proto.GetFailure()),
		CreatedAt:    moment(proto.GetCreatedAt()),
		UpdatedAt:    moment(proto.GetUpdatedAt()),
		FinishedAt:   moment(proto.GetFinishedAt()),
		Proto:        proto,
	}
}

// Task is one step of an execution. Its values are absent in answers that leave them out.
type Task struct {
	// ID is unique in its execution, e.g. "t3".
	ID string
	// Name is the one in the definition; several tasks have the same if the workflow loops.
	Name string
	// State says how far it is.
	State TaskState
	// StateMessage says why it is in that state; "" if there is nothing to say.
	StateMessage string
	// Attempt counts from 1; 0 before the first.
	Attempt int
	// Result and Published are its values, once it has ended.
	Result, Published Value
	// Failure says why it failed; nil if it has not.
	Failure *Failure
	// CreatedAt, StartedAt and FinishedAt are zero where they have not come yet.
	CreatedAt, StartedAt, FinishedAt time.Time
	// Proto is the message it came from, with all the rest.
	Proto *tradewindv1.Task
}

func readTask(proto *tradewindv1.Task) *Task {
	return &Task{
		ID:           proto.GetId(),
		Name:         proto.GetName(),
		State:        TaskState(enum("TASK_STATE_", proto.GetState())),
		StateMessage: proto.GetStateMessage(),
		Attempt:      int(proto.GetAttempt()),
		Result:       Value{proto.GetResult()},
		Published:    Value{proto.GetPublished()},
		Failure:      readFailure(proto.GetFailure()),
		CreatedAt:    moment(proto.GetCreatedAt()),
		StartedAt:    moment(proto.GetStartedAt()),
		FinishedAt:   moment(proto.GetFinishedAt()),
		Proto:        proto,
	}
}

// Action is one call that a task makes. Its values are absent in answers that leave them out.
type Action struct {
	// ID is unique in its execution, e.g. "a7".
	ID string
	// ExecutionID is the id of the execution.
	ExecutionID string
	// Task is the name of the task.
	Task string
	// Name is the name of the action or child workflow.
	Name string
	// State says how far it is.
	State ActionState
	// Attempt counts from 1, raised when it is offered again after a lost lease.
	Attempt int
	// Worker is the id of who holds or held it; "" if none did.
	Worker string
	// IsAsynchronous says whether it waits for CompleteAction or FailAction.
	IsAsynchronous bool
	// Input and Result are its values.
	Input, Result Value
	// Failure says why it failed; nil if it has not.
	Failure *Failure
	// CreatedAt and FinishedAt are zero where they have not come yet.
	CreatedAt, FinishedAt time.Time
	// Proto is the message it came from, with all the rest.
	Proto *tradewindv1.Action
}

func readAction(proto *tradewindv1.Action) *Action {
	return &Action{
		ID:             proto.GetId(),
		ExecutionID:    proto.GetExecutionId(),
		Task:           proto.GetTask(),
		Name:           proto.GetName(),
		State:          ActionState(enum("ACTION_STATE_", proto.GetState())),
		Attempt:        int(proto.GetAttempt()),
		Worker:         proto.GetWorker(),
		IsAsynchronous: proto.GetAsynchronous(),
		Input:          Value{proto.GetInput()},
		Result:         Value{proto.GetResult()},
		Failure:        readFailure(proto.GetFailure()),
		CreatedAt:      moment(proto.GetCreatedAt()),
		FinishedAt:     moment(proto.GetFinishedAt()),
		Proto:          proto,
	}
}

// Event is one thing that happened in an execution.
type Event struct {
	// ExecutionID is the id of the execution.
	ExecutionID string
	// Revision is its number in the execution, from 1, without gaps.
	Revision int64
	// Type is a participle, e.g. "TaskSucceeded"; docs/watching.md lists them. Ignore those that you do not know.
	Type string
	// At is when it happened.
	At time.Time
	// Actor is the kind and name of who caused it, e.g. "WORKER payroll-1".
	Actor string
	// Command is the name of the command that caused it.
	Command string
	// Task, TaskID and ActionID say what it is about; "" where it is about none.
	Task, TaskID, ActionID string
	// ExecutionState is the new state; "" if the event does not change it.
	ExecutionState ExecutionState
	// TaskState is the new state; "" if the event does not change it.
	TaskState TaskState
	// ActionState is the new state; "" if the event does not change it.
	ActionState ActionState
	// Body is the rest, an object; its keys depend on the type.
	Body Value
	// Proto is the message it came from, with all the rest.
	Proto *tradewindv1.Event
}

func readEvent(proto *tradewindv1.Event) *Event {
	kind := enum("ACTOR_KIND_", proto.GetActor().GetKind())
	return &Event{
		ExecutionID:    proto.GetExecutionId(),
		Revision:       proto.GetRevision(),
		Type:           proto.GetType(),
		At:             moment(proto.GetAt()),
		Actor:          strings.TrimSpace(kind + " " + proto.GetActor().GetName()),
		Command:        proto.GetCause().GetCommand(),
		Task:           proto.GetTask(),
		TaskID:         proto.GetTaskId(),
		ActionID:       proto.GetActionId(),
		ExecutionState: ExecutionState(enum("EXECUTION_STATE_", proto.GetExecutionState())),
		TaskState:      TaskState(enum("TASK_STATE_", proto.GetTaskState())),
		ActionState:    ActionState(enum("ACTION_STATE_", proto.GetActionState())),
		Body:           Value{proto.GetBody()},
		Proto:          proto,
	}
}

// Update is what a watch tells: the events of one command, or a snapshot to begin with.
type Update struct {
	// Revision is the one up to which the watcher now knows everything.
	Revision int64
	// Events are those of one command, in order; empty in a snapshot.
	Events []*Event
	// Snapshot is the state as of the revision; nil but in the first update of a watch that begins with one.
	Snapshot *Snapshot
}

// Snapshot is an execution and its tasks as of one revision.
type Snapshot struct {
	// Execution has its values.
	Execution *Execution
	// Tasks have none; they are in the order in which they came to be.
	Tasks []*Task
}

// LogUpdate is what a watch of a namespace tells: events, a snapshot to begin with, or only how far it is.
type LogUpdate struct {
	// Cursor is where to resume after everything that this update stands for; [AfterCursor] takes it.
	Cursor string
	// Events are in the order of the log.
	Events []*Event
	// Snapshot is the open executions, newest first, with their values; nil but in the first update of a watch that
	// begins with one. It is kept in memory until it is whole.
	Snapshot []*Execution
	// Coalesced is how many events were left out since later ones replace them.
	Coalesced int64
	// Lag is how long ago something happened that the server may not tell yet, and HeldBy the transaction of the
	// database that holds it back; 0 and "" if there is nothing.
	Lag    time.Duration
	HeldBy string
}
