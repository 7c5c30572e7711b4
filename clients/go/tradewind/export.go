package tradewind

import (
	"context"
	"fmt"
	"iter"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// Exported is a whole execution.
type Exported struct {
	// Execution has its values.
	Execution *Execution
	// Tasks are in the order in which they came to be.
	Tasks []*Task
	// Actions are in the order in which they came to be.
	Actions []*Action
	// Events are all that happened.
	Events []*Event
	// Cursor is where to resume after it.
	Cursor string
}

// Export gives whole executions in the order of [Client.Executions], after the one that had a cursor ("": from the first).
// It reconnects by itself, to any server. An error ends the sequence; resume after the last cursor with the same filter.
func (c *Client) Export(ctx context.Context, filter, cursor string) iter.Seq2[*Exported, error] {
	return func(yield func(*Exported, error) bool) {
		at := &exportPosition{namespace: c.options.Namespace, filter: filter, cursor: cursor}
		follow(ctx, c, c.executions.ExportExecutions, at, yield)
	}
}

// exportPosition is the [place] of an export.
type exportPosition struct {
	namespace, filter, cursor string
	half                      *Exported // as far as it has come
}

func (p *exportPosition) String() string { return fmt.Sprintf("an export after %q", p.cursor) }

// ends is true: a stream that ends well has sent all.
func (p *exportPosition) ends() bool { return true }

// request forgets half an execution.
func (p *exportPosition) request() *tradewindv1.ExportExecutionsRequest {
	p.half = &Exported{}
	return &tradewindv1.ExportExecutionsRequest{Namespace: p.namespace, Filter: p.filter, Cursor: p.cursor}
}

// receive returns an execution when it is whole.
func (p *exportPosition) receive(response *tradewindv1.ExportExecutionsResponse) (*Exported, error) {
	if response.GetExecution() != nil {
		p.half.Execution = readExecution(response.GetExecution())
	}
	p.half.Tasks = append(p.half.Tasks, each(response.GetTasks(), readTask)...)
	p.half.Actions = append(p.half.Actions, each(response.GetActions(), readAction)...)
	p.half.Events = append(p.half.Events, each(response.GetEvents(), readEvent)...)
	if response.GetCursor() == "" {
		return nil, nil
	}
	whole := p.half
	p.cursor, p.half = response.GetCursor(), &Exported{}
	whole.Cursor = p.cursor
	return whole, nil
}
