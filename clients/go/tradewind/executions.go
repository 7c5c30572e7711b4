package tradewind

import (
	"context"
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// Start says what to start. Only the workflow is required.
type Start struct {
	// Workflow is its name.
	Workflow string
	// Input is an object with the workflow's inputs: a map, a struct or a [Value].
	Input any
	// WorkflowNamespace is where the name is looked up first.
	WorkflowNamespace string
	// Version is that of the definition, from 1; 0 is the current one.
	Version uint32
	// ExternalID is an id of your own, unique in the namespace for ever: a repeated start gets the same execution.
	ExternalID string
	// BusinessKey says what it is about; at most one open execution of the workflow holds it.
	BusinessKey string
	// UseExisting asks for the execution that holds the business key, instead of an error.
	UseExisting bool
	// Env is the environment, an object.
	Env any
	// EnvName names a stored environment to take instead.
	EnvName string
	// Params is an object with further start parameters of the language.
	Params any
	// Tags are to find executions by.
	Tags []string
	// Description is a sentence for people.
	Description string
	// RequestID is made if it is empty; give your own to repeat a start after a restart of your program.
	RequestID string
}

func (s Start) request(namespace string) (*tradewindv1.StartExecutionRequest, error) {
	request := &tradewindv1.StartExecutionRequest{
		Namespace:         namespace,
		RequestId:         s.RequestID,
		Workflow:          s.Workflow,
		WorkflowNamespace: s.WorkflowNamespace,
		DefinitionVersion: s.Version,
		ExternalId:        s.ExternalID,
		BusinessKey:       s.BusinessKey,
		Tags:              s.Tags,
		Description:       s.Description,
	}
	if request.RequestId == "" {
		request.RequestId = newRequestID()
	}
	if s.UseExisting {
		request.BusinessKeyPolicy = tradewindv1.BusinessKeyPolicy_BUSINESS_KEY_POLICY_USE_EXISTING
	}
	return request, s.fill(request)
}

// fill adds the values.
func (s Start) fill(request *tradewindv1.StartExecutionRequest) (err error) {
	if request.Input, err = optionalPayload(s.Input); err != nil {
		return err
	}
	if request.Params, err = optionalPayload(s.Params); err != nil {
		return err
	}
	if s.EnvName != "" {
		request.Environment = &tradewindv1.StartExecutionRequest_EnvName{EnvName: s.EnvName}
		return nil
	}
	env, err := optionalPayload(s.Env)
	if env != nil {
		request.Environment = &tradewindv1.StartExecutionRequest_Env{Env: env}
	}
	return err
}

// Start starts a workflow.
func (c *Client) Start(ctx context.Context, start Start) (*Execution, error) {
	request, err := start.request(c.options.Namespace)
	if err != nil {
		return nil, err
	}
	response, err := send(ctx, c, c.executions.StartExecution, request)
	if err != nil {
		return nil, err
	}
	return readExecution(response.GetExecution()), nil
}

// Started is one of many starts: an execution, or why it did not start.
type Started struct {
	// Execution is nil if the start was refused.
	Execution *Execution
	// Err is nil if it started.
	Err error
}

// StartMany starts up to 256 workflows in one call, each for itself: one may be refused while others start. The answers
// are in the order of the starts.
func (c *Client) StartMany(ctx context.Context, starts ...Start) ([]Started, error) {
	many := &tradewindv1.StartExecutionsRequest{Namespace: c.options.Namespace}
	for _, start := range starts {
		request, err := start.request(c.options.Namespace)
		if err != nil {
			return nil, err
		}
		many.Requests = append(many.Requests, request)
	}
	response, err := send(ctx, c, c.executions.StartExecutions, many)
	return each(response.GetResults(), readStarted), err
}

func readStarted(result *tradewindv1.StartResult) Started {
	if refusal := result.GetRefusal(); refusal != nil {
		return Started{Err: fromRefusal(refusal)}
	}
	return Started{Execution: readExecution(result.GetStarted().GetExecution())}
}

// StartAndWait starts a workflow and returns it when it has ended, or as it is after timeout, at most 5 minutes. It goes
// on after that; [Client.Wait] has no bound.
func (c *Client) StartAndWait(ctx context.Context, start Start, timeout time.Duration) (*Execution, error) {
	request, err := start.request(c.options.Namespace)
	if err != nil {
		return nil, err
	}
	waiting := &tradewindv1.StartAndWaitRequest{
		Namespace: c.options.Namespace, Start: request, Timeout: durationpb.New(timeout),
	}
	response, err := sendWithin(ctx, c, timeout+c.options.Patience, c.executions.StartAndWait, waiting)
	if err != nil {
		return nil, err
	}
	return readExecution(response.GetExecution()), nil
}

// Get returns an execution with its values.
func (c *Client) Get(ctx context.Context, executionID string) (*Execution, error) {
	return c.GetAt(ctx, executionID, 0)
}

// GetAt is like [Client.Get], but the answer is not older than a revision; [ReasonRevisionAhead] if there is no such yet.
func (c *Client) GetAt(ctx context.Context, executionID string, minRevision int64) (*Execution, error) {
	response, err := send(ctx, c, c.executions.GetExecution, &tradewindv1.GetExecutionRequest{
		Namespace: c.options.Namespace, ExecutionId: executionID, MinRevision: minRevision,
	})
	if err != nil {
		return nil, err
	}
	return readExecution(response.GetExecution()), nil
}

// Wait returns an execution when it has ended, however long that takes, over restarts of the server. Bound it by ctx; the
// execution goes on.
func (c *Client) Wait(ctx context.Context, executionID string) (*Execution, error) {
	execution, err := c.Get(ctx, executionID)
	for err == nil && !execution.State.IsFinal() {
		revision := execution.Revision
		for update, err := range c.Updates(ctx, executionID, revision) {
			if err != nil {
				return nil, err
			}
			revision = update.Revision
		}
		execution, err = c.GetAt(ctx, executionID, revision)
	}
	return execution, err
}

// List lists executions, newest first, page by page as they are read. The filter is a text such as
// `state = RUNNING AND workflow = "salary"`; "" means all. Values are left out.
func (c *Client) List(ctx context.Context, filter string) iter.Seq2[*Execution, error] {
	return pages(func(token string) ([]*Execution, string, error) {
		response, err := send(ctx, c, c.executions.ListExecutions, &tradewindv1.ListExecutionsRequest{
			Namespace: c.options.Namespace, Filter: filter, PageToken: token,
		})
		return each(response.GetExecutions(), readExecution), response.GetNextPageToken(), err
	})
}

// Count counts executions by state.
func (c *Client) Count(ctx context.Context, filter string) (map[ExecutionState]int64, error) {
	response, err := send(ctx, c, c.executions.CountExecutions, &tradewindv1.CountExecutionsRequest{
		Namespace: c.options.Namespace, Filter: filter,
	})
	if err != nil {
		return nil, err
	}
	counts := make(map[ExecutionState]int64)
	for _, item := range response.GetCounts() {
		counts[ExecutionState(enum("EXECUTION_STATE_", item.GetState()))] = item.GetCount()
	}
	return counts, nil
}

// Groups says how many executions there are, by what they have in common.
type Groups struct {
	// Total counts all of them.
	Total int64
	// Groups are the largest ones, at most 100, the largest first.
	Groups []Group
	// IsCut says that there are more.
	IsCut bool
}

// Group counts the executions that have something in common.
type Group struct {
	// Values are in the order that was asked for.
	Values []string
	// Count is how many there are.
	Count int64
}

// CountBy counts executions by up to three of state, workflow, definition_version, error_kind, error_code and tags.
func (c *Client) CountBy(ctx context.Context, filter string, by ...string) (*Groups, error) {
	response, err := send(ctx, c, c.executions.CountExecutions, &tradewindv1.CountExecutionsRequest{
		Namespace: c.options.Namespace, Filter: filter, GroupBy: by,
	})
	if err != nil {
		return nil, err
	}
	groups := each(response.GetGroups(), func(group *tradewindv1.ExecutionGroup) Group {
		return Group{Values: group.GetValues(), Count: group.GetCount()}
	})
	return &Groups{Total: response.GetTotal(), Groups: groups, IsCut: response.GetGroupsCut()}, nil
}

// Tasks lists the tasks of an execution with their values, in the order in which they came to be.
func (c *Client) Tasks(ctx context.Context, executionID, filter string) iter.Seq2[*Task, error] {
	return pages(func(token string) ([]*Task, string, error) {
		response, err := send(ctx, c, c.executions.ListTasks, &tradewindv1.ListTasksRequest{
			Namespace: c.options.Namespace, ExecutionId: executionID, Filter: filter, PageToken: token,
		})
		return each(response.GetTasks(), readTask), response.GetNextPageToken(), err
	})
}

// Actions lists the actions of an execution with their values or, for the id "", of all executions without them.
func (c *Client) Actions(ctx context.Context, executionID, filter string) iter.Seq2[*Action, error] {
	return pages(func(token string) ([]*Action, string, error) {
		response, err := send(ctx, c, c.executions.ListActions, &tradewindv1.ListActionsRequest{
			Namespace: c.options.Namespace, ExecutionId: executionID, Filter: filter, PageToken: token,
		})
		return each(response.GetActions(), readAction), response.GetNextPageToken(), err
	})
}

// History lists what has happened so far, after a revision (0: from the first).
func (c *Client) History(ctx context.Context, executionID string, afterRevision int64) iter.Seq2[*Event, error] {
	return pages(func(token string) ([]*Event, string, error) {
		response, err := send(ctx, c, c.executions.ListEvents, &tradewindv1.ListEventsRequest{
			Namespace: c.options.Namespace, ExecutionId: executionID, AfterRevision: afterRevision, PageToken: token,
		})
		return each(response.GetEvents(), readEvent), response.GetNextPageToken(), err
	})
}

// Progress estimates how far an execution is, and how long it may take.
func (c *Client) Progress(ctx context.Context, executionID string) (*tradewindv1.Progress, error) {
	response, err := send(ctx, c, c.executions.GetExecution, &tradewindv1.GetExecutionRequest{
		Namespace: c.options.Namespace, ExecutionId: executionID, WithProgress: true,
		View: tradewindv1.ExecutionView_EXECUTION_VIEW_BASIC,
	})
	return response.GetProgress(), err
}

// Explain says what an open execution waits for, oldest first; nothing if it has ended.
func (c *Client) Explain(ctx context.Context, executionID string) ([]*tradewindv1.Wait, error) {
	response, err := send(ctx, c, c.executions.ExplainExecution, &tradewindv1.ExplainExecutionRequest{
		Namespace: c.options.Namespace, ExecutionId: executionID,
	})
	return response.GetWaits(), err
}
