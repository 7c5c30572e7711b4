package tradewind

import (
	"context"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// Pause lets an execution start nothing new; what runs goes on. The message says why, for people.
func (c *Client) Pause(ctx context.Context, executionID, message string) (*Execution, error) {
	return steered(send(ctx, c, c.executions.PauseExecution, &tradewindv1.PauseExecutionRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(), ExecutionId: executionID, Message: message,
	}))
}

// Resume lets a paused execution go on. env, an object or nil, is merged into its environment.
func (c *Client) Resume(ctx context.Context, executionID string, env any) (*Execution, error) {
	payload, err := optionalPayload(env)
	if err != nil {
		return nil, err
	}
	return steered(send(ctx, c, c.executions.ResumeExecution, &tradewindv1.ResumeExecutionRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(), ExecutionId: executionID, Env: payload,
	}))
}

// Cancel ends an execution early. The message says why, for people.
func (c *Client) Cancel(ctx context.Context, executionID, message string) (*Execution, error) {
	return steered(send(ctx, c, c.executions.CancelExecution, &tradewindv1.CancelExecutionRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(), ExecutionId: executionID, Message: message,
	}))
}

// Rerun says which task to run again: by Task or by TaskID.
type Rerun struct {
	// Task is the name of the task; the latest of that name that failed is meant.
	Task string
	// TaskID is the id of the task, e.g. "t3".
	TaskID string
	// Reset runs all items of a task with items, not only those that failed.
	Reset bool
	// Env is an object that is merged into the environment.
	Env any
}

// Rerun runs a failed task again.
func (c *Client) Rerun(ctx context.Context, executionID string, rerun Rerun) (*Execution, error) {
	env, err := optionalPayload(rerun.Env)
	if err != nil {
		return nil, err
	}
	request := &tradewindv1.RerunTaskRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(), ExecutionId: executionID,
		Task:   &tradewindv1.RerunTaskRequest_TaskName{TaskName: rerun.Task},
		Reset_: rerun.Reset, Env: env,
	}
	if rerun.TaskID != "" {
		request.Task = &tradewindv1.RerunTaskRequest_TaskId{TaskId: rerun.TaskID}
	}
	return steered(send(ctx, c, c.executions.RerunTask, request))
}

// Skip goes on as if the latest failed task of a name had succeeded.
func (c *Client) Skip(ctx context.Context, executionID, task string) (*Execution, error) {
	return steered(send(ctx, c, c.executions.SkipTask, &tradewindv1.SkipTaskRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(), ExecutionId: executionID,
		Task: &tradewindv1.SkipTaskRequest_TaskName{TaskName: task},
	}))
}

// SkipID is [Client.Skip] by the task's id.
func (c *Client) SkipID(ctx context.Context, executionID, taskID string) (*Execution, error) {
	return steered(send(ctx, c, c.executions.SkipTask, &tradewindv1.SkipTaskRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(), ExecutionId: executionID,
		Task: &tradewindv1.SkipTaskRequest_TaskId{TaskId: taskID},
	}))
}

func steered[Response interface{ GetExecution() *tradewindv1.Execution }](response Response, err error) (*Execution, error) {
	if err != nil {
		return nil, err
	}
	return readExecution(response.GetExecution()), nil
}

// CompleteAction answers an asynchronous action with its result, any JSON value, and returns the execution's revision.
func (c *Client) CompleteAction(ctx context.Context, executionID, actionID string, result any) (int64, error) {
	value, err := NewValue(result)
	if err != nil {
		return 0, err
	}
	response, err := send(ctx, c, c.callback.CompleteAction, &tradewindv1.CompleteActionRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(), Result: value.payload,
		Target: &tradewindv1.CompleteActionRequest_Action{
			Action: &tradewindv1.ActionReference{ExecutionId: executionID, ActionId: actionID},
		},
	})
	return response.GetRevision(), err
}

// FailAction answers an asynchronous action with a failure, and returns the execution's revision. An [*ActionFailure]
// says more than its message.
func (c *Client) FailAction(ctx context.Context, executionID, actionID string, failure error) (int64, error) {
	response, err := send(ctx, c, c.callback.FailAction, &tradewindv1.FailActionRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(), Failure: failureOf(failure),
		Target: &tradewindv1.FailActionRequest_Action{
			Action: &tradewindv1.ActionReference{ExecutionId: executionID, ActionId: actionID},
		},
	})
	return response.GetRevision(), err
}
