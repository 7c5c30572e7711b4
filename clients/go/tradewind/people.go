package tradewind

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// HumanTask is something that a person is asked to do.
type HumanTask struct {
	// ID names it to all calls.
	ID string
	// ExecutionID is the id of the execution that asks.
	ExecutionID string
	// Task is the name of the task in its workflow.
	Task string
	// Workflow is the name of the workflow.
	Workflow string
	// BusinessKey says what the execution is about; "" if it has none.
	BusinessKey string
	// Title and Description are for people.
	Title, Description string
	// State is "OFFERED", "CLAIMED", "COMPLETED" or "CLOSED".
	State string
	// Assignee is who has it; "" while it is offered.
	Assignee string
	// Outcome is what was decided, DoneBy by whom; "" before.
	Outcome, DoneBy string
	// Show is what to decide on, Form the JSON Schema of what is to be filled in, Draft what has been so far. They are
	// absent in lists.
	Show, Form, Draft Value
	// ETag names what it shows; a decision says it. "" in lists.
	ETag string
	// Attachments are the files that belong to it. They are absent in lists.
	Attachments []*Attachment
	// DueAt and ExpiresAt are zero where there is no such time.
	CreatedAt, UpdatedAt, DueAt, ExpiresAt time.Time
	// Proto is the message it came from, with all the rest.
	Proto *tradewindv1.HumanTask
}

func readHumanTask(proto *tradewindv1.HumanTask) *HumanTask {
	return &HumanTask{
		ID:          proto.GetId(),
		ExecutionID: proto.GetExecutionId(),
		Task:        proto.GetTask(),
		Workflow:    proto.GetWorkflow(),
		BusinessKey: proto.GetBusinessKey(),
		Title:       proto.GetTitle(),
		Description: proto.GetDescription(),
		State:       enum("HUMAN_TASK_STATE_", proto.GetState()),
		Assignee:    proto.GetAssignee(),
		Outcome:     proto.GetOutcome(),
		DoneBy:      proto.GetDoneBy(),
		Show:        Value{proto.GetShow()},
		Form:        Value{proto.GetForm()},
		Draft:       Value{proto.GetDraft()},
		ETag:        proto.GetEtag(),
		Attachments: each(proto.GetAttachments(), readAttachment),
		CreatedAt:   moment(proto.GetCreatedAt()),
		UpdatedAt:   moment(proto.GetUpdatedAt()),
		DueAt:       moment(proto.GetDueAt()),
		ExpiresAt:   moment(proto.GetExpiresAt()),
		Proto:       proto,
	}
}

// Scope says which human tasks of a namespace are meant.
type Scope = tradewindv1.HumanTaskScope

const (
	// ScopeInbox is what the caller can do: offered to him, or claimed by him.
	ScopeInbox = tradewindv1.HumanTaskScope_HUMAN_TASK_SCOPE_INBOX
	// ScopeMine is what he has claimed.
	ScopeMine = tradewindv1.HumanTaskScope_HUMAN_TASK_SCOPE_MINE
	// ScopeDelegated is what he has let others do, and is accountable for.
	ScopeDelegated = tradewindv1.HumanTaskScope_HUMAN_TASK_SCOPE_DELEGATED
	// ScopeAll is all of the namespace.
	ScopeAll = tradewindv1.HumanTaskScope_HUMAN_TASK_SCOPE_UNSPECIFIED
)

// People are human tasks, as the user whom the client stands for: the one of its token, or [Options.User].
type People struct{ client *Client }

// People returns the calls about human tasks.
func (c *Client) People() People { return People{c} }

// List lists human tasks, page by page as they are read; the filter is as in docs/human_tasks.md, or "".
func (p People) List(ctx context.Context, scope Scope, filter string) iter.Seq2[*HumanTask, error] {
	c := p.client
	return pages(func(token string) ([]*HumanTask, string, error) {
		response, err := send(ctx, c, c.people.ListHumanTasks, &tradewindv1.ListHumanTasksRequest{
			Namespace: c.options.Namespace, Scope: scope, Filter: filter, PageToken: token,
		})
		return each(response.GetHumanTasks(), readHumanTask), response.GetNextPageToken(), err
	})
}

// Count counts human tasks, up to 10,000.
func (p People) Count(ctx context.Context, scope Scope, filter string) (int, error) {
	c := p.client
	response, err := send(ctx, c, c.people.CountHumanTasks, &tradewindv1.CountHumanTasksRequest{
		Namespace: c.options.Namespace, Scope: scope, Filter: filter,
	})
	return int(response.GetCount()), err
}

// Get returns one with all that it shows.
func (p People) Get(ctx context.Context, id string) (*HumanTask, error) {
	c := p.client
	return humanTask(send(ctx, c, c.people.GetHumanTask, &tradewindv1.GetHumanTaskRequest{
		Namespace: c.options.Namespace, HumanTaskId: id,
	}))
}

// Entries lists who did what about one, in order.
func (p People) Entries(ctx context.Context, id string) iter.Seq2[*tradewindv1.HumanTaskEntry, error] {
	c := p.client
	return pages(func(token string) ([]*tradewindv1.HumanTaskEntry, string, error) {
		response, err := send(ctx, c, c.people.ListHumanTaskEntries, &tradewindv1.ListHumanTaskEntriesRequest{
			Namespace: c.options.Namespace, HumanTaskId: id, PageToken: token,
		})
		return response.GetEntries(), response.GetNextPageToken(), err
	})
}

// Claim takes one, so that nobody else works on it.
func (p People) Claim(ctx context.Context, id string) (*HumanTask, error) {
	c := p.client
	return humanTask(send(ctx, c, c.people.ClaimHumanTask, &tradewindv1.ClaimHumanTaskRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(), HumanTaskId: id,
	}))
}

// Release gives one back. The note says why, for people.
func (p People) Release(ctx context.Context, id, note string) (*HumanTask, error) {
	c := p.client
	return humanTask(send(ctx, c, c.people.ReleaseHumanTask, &tradewindv1.ReleaseHumanTaskRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(), HumanTaskId: id, Note: note,
	}))
}

// Assign gives one to a user, as one who may manage human tasks.
func (p People) Assign(ctx context.Context, id, user, note string) (*HumanTask, error) {
	c := p.client
	return humanTask(send(ctx, c, c.people.AssignHumanTask, &tradewindv1.AssignHumanTaskRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(), HumanTaskId: id, User: user, Note: note,
	}))
}

// Delegate lets another user do one; who delegates stays accountable.
func (p People) Delegate(ctx context.Context, id, user, note string) (*HumanTask, error) {
	c := p.client
	return humanTask(send(ctx, c, c.people.DelegateHumanTask, &tradewindv1.DelegateHumanTaskRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(), HumanTaskId: id, User: user, Note: note,
	}))
}

// SaveDraft keeps what has been filled in so far.
func (p People) SaveDraft(ctx context.Context, id string, data any) (*HumanTask, error) {
	c := p.client
	value, err := NewValue(data)
	if err != nil {
		return nil, err
	}
	return humanTask(send(ctx, c, c.people.SaveHumanTaskDraft, &tradewindv1.SaveHumanTaskDraftRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(), HumanTaskId: id, Data: value.payload,
	}))
}

// Comment says something about one.
func (p People) Comment(ctx context.Context, id, text string) (*HumanTask, error) {
	c := p.client
	return humanTask(send(ctx, c, c.people.CommentHumanTask, &tradewindv1.CommentHumanTaskRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(), HumanTaskId: id, Text: text,
	}))
}

// Decision says how one is decided.
type Decision struct {
	// Outcome is one of those that the human task names.
	Outcome string
	// Reason is for people; some outcomes need one.
	Reason string
	// Data is what was filled in, an object, or nil.
	Data any
}

// Submit decides one, on what was seen: if it shows something else by now, nothing is decided, and the error is
// [ReasonHumanTaskChanged]; get it again and look. Data that the form does not take is [ReasonDecisionInvalid], with each
// problem in its violations.
func (p People) Submit(ctx context.Context, seen *HumanTask, decision Decision) (*HumanTask, error) {
	request, err := p.decision(seen, decision)
	if err != nil {
		return nil, err
	}
	return humanTask(send(ctx, p.client, p.client.people.SubmitHumanTask, request))
}

// Submitted is one of many decisions: what was decided, or why it was not.
type Submitted struct {
	// HumanTask is nil if the decision was refused.
	HumanTask *HumanTask
	// Err is nil if it was taken.
	Err error
}

// SubmitMany decides up to 1,000 in the same way, each for itself. The answers are in the order of what was seen.
func (p People) SubmitMany(ctx context.Context, seen []*HumanTask, decision Decision) ([]Submitted, error) {
	c := p.client
	many := &tradewindv1.SubmitHumanTasksRequest{Namespace: c.options.Namespace}
	for _, one := range seen {
		request, err := p.decision(one, decision)
		if err != nil {
			return nil, err
		}
		many.Requests = append(many.Requests, request)
	}
	response, err := send(ctx, c, c.people.SubmitHumanTasks, many)
	return each(response.GetResults(), func(result *tradewindv1.SubmitResult) Submitted {
		if refusal := result.GetRefusal(); refusal != nil {
			return Submitted{Err: fromRefusal(refusal)}
		}
		return Submitted{HumanTask: readHumanTask(result.GetHumanTask())}
	}), err
}

func (p People) decision(seen *HumanTask, decision Decision) (*tradewindv1.SubmitHumanTaskRequest, error) {
	data, err := optionalPayload(decision.Data)
	return &tradewindv1.SubmitHumanTaskRequest{
		Namespace: p.client.options.Namespace, RequestId: newRequestID(), HumanTaskId: seen.ID, Etag: seen.ETag,
		Outcome: decision.Outcome, Reason: decision.Reason, Data: data,
	}, err
}

// Absence is a time in which a user's human tasks are also for his substitute.
type Absence struct {
	// ID is made by the server.
	ID string
	// User is who is absent; "" in a call stands for the caller himself.
	User string
	// Substitute stands in for him.
	Substitute string
	// StartsAt and EndsAt bound it.
	StartsAt, EndsAt time.Time
	// Note is for people.
	Note string
}

func readAbsence(proto *tradewindv1.Absence) Absence {
	return Absence{
		ID: proto.GetId(), User: proto.GetUser(), Substitute: proto.GetSubstitute(), Note: proto.GetNote(),
		StartsAt: moment(proto.GetStartsAt()), EndsAt: moment(proto.GetEndsAt()),
	}
}

// AddAbsence lets somebody stand in for the caller or, as one who may manage human tasks, for another user. The same
// again is the absence that is there.
func (p People) AddAbsence(ctx context.Context, absence Absence) (Absence, error) {
	c := p.client
	response, err := send(ctx, c, c.people.AddAbsence, &tradewindv1.AddAbsenceRequest{
		Namespace: c.options.Namespace,
		Absence: &tradewindv1.Absence{
			User: absence.User, Substitute: absence.Substitute, Note: absence.Note,
			StartsAt: timestamppb.New(absence.StartsAt), EndsAt: timestamppb.New(absence.EndsAt),
		},
	})
	return readAbsence(response.GetAbsence()), err
}

// Absences lists those that have not ended, of one user or, for "", of all.
func (p People) Absences(ctx context.Context, user string) iter.Seq2[Absence, error] {
	c := p.client
	return pages(func(token string) ([]Absence, string, error) {
		response, err := send(ctx, c, c.people.ListAbsences, &tradewindv1.ListAbsencesRequest{
			Namespace: c.options.Namespace, User: user, PageToken: token,
		})
		return each(response.GetAbsences(), readAbsence), response.GetNextPageToken(), err
	})
}

// RemoveAbsence ends an absence at once.
func (p People) RemoveAbsence(ctx context.Context, id string) error {
	c := p.client
	_, err := send(ctx, c, c.people.RemoveAbsence, &tradewindv1.RemoveAbsenceRequest{
		Namespace: c.options.Namespace, AbsenceId: id,
	})
	return err
}

// InboxUpdate says what has become of a list of human tasks.
type InboxUpdate struct {
	// HumanTasks are new in it, or changed.
	HumanTasks []*HumanTask
	// Removed are the ids of those that are in it no more.
	Removed []string
	// IsComplete says that all that was in it at the start has come; changes follow.
	IsComplete bool
}

// Watch follows a list of human tasks: first all that is in it, then what comes, changes and goes. It reconnects by
// itself; the list then comes anew, and what has gone meanwhile is told. It ends with ctx, or with an error that does not
// pass.
func (p People) Watch(ctx context.Context, scope Scope, filter string) iter.Seq2[*InboxUpdate, error] {
	return func(yield func(*InboxUpdate, error) bool) {
		at := &inboxPosition{namespace: p.client.options.Namespace, scope: scope, filter: filter, known: map[string]bool{}}
		follow(ctx, p.client, p.client.people.WatchHumanTasks, at, yield)
	}
}

// inboxPosition is the [place] of one who follows a list of human tasks.
type inboxPosition struct {
	namespace, filter string
	scope             Scope
	known             map[string]bool // what the caller knows to be in it
	anew              map[string]bool // what a list that comes anew has told of so far; nil once it is complete
}

func (p *inboxPosition) String() string { return fmt.Sprintf("human tasks of %v", p.scope) }

// ends is never true: a list has no end, so whoever ends the stream means another to be opened.
func (p *inboxPosition) ends() bool { return false }

func (p *inboxPosition) request() *tradewindv1.WatchHumanTasksRequest {
	p.anew = map[string]bool{}
	return &tradewindv1.WatchHumanTasksRequest{Namespace: p.namespace, Scope: p.scope, Filter: p.filter}
}

func (p *inboxPosition) receive(response *tradewindv1.WatchHumanTasksResponse) (*InboxUpdate, error) {
	update := &InboxUpdate{
		HumanTasks: each(response.GetHumanTasks(), readHumanTask),
		Removed:    slices.Clone(response.GetRemovedIds()),
		IsComplete: response.GetIsComplete(),
	}
	for _, id := range update.Removed {
		delete(p.known, id)
	}
	for _, task := range update.HumanTasks {
		p.known[task.ID] = true
		if p.anew != nil {
			p.anew[task.ID] = true
		}
	}
	if p.anew != nil && update.IsComplete {
		update.Removed = append(update.Removed, p.gone()...)
		p.anew = nil
	}
	if len(update.HumanTasks) == 0 && len(update.Removed) == 0 && !update.IsComplete {
		return nil, nil
	}
	return update, nil
}

// gone forgets what the list that came anew has not, and returns it.
func (p *inboxPosition) gone() []string {
	var ids []string
	for id := range p.known {
		if !p.anew[id] {
			ids = append(ids, id)
			delete(p.known, id)
		}
	}
	slices.Sort(ids)
	return ids
}

type withHumanTask interface{ GetHumanTask() *tradewindv1.HumanTask }

// humanTask reads the answer of a call about one.
func humanTask[Response withHumanTask](response Response, err error) (*HumanTask, error) {
	if err != nil {
		return nil, err
	}
	return readHumanTask(response.GetHumanTask()), nil
}
