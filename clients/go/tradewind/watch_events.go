package tradewind

import (
	"context"
	"fmt"
	"iter"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// LogOption says where [Client.WatchEvents] starts, or what it leaves out.
type LogOption func(*logPosition)

// FromBeginning starts at the beginning of the log.
func FromBeginning() LogOption {
	return func(p *logPosition) { p.fromBeginning, p.wantsSnapshot = true, false }
}

// WithSnapshot starts with the open executions, and goes on with everything after that.
func WithSnapshot() LogOption {
	return func(p *logPosition) { p.fromBeginning, p.wantsSnapshot = false, true }
}

// AfterCursor goes on after the update that had this cursor. It comes before the other starts, which hold if the cursor is
// "": a program that keeps its cursor gives it together with how it starts the first time.
func AfterCursor(cursor string) LogOption {
	return func(p *logPosition) { p.cursor = cursor }
}

// Coalesce, for screens, gives only the newest event of each execution and task while the caller is behind;
// [LogUpdate.Coalesced] counts the others.
func Coalesce() LogOption {
	return func(p *logPosition) { p.coalesce = true }
}

// WatchEvents follows the log of the namespace: the events of all executions that pass a filter, each exactly once, in one
// order that keeps each execution's own. The filter is a text such as `workflow = "salary" AND type = "ExecutionFailed"`;
// "" means all; docs/watching.md lists its fields. Without an option it starts now.
//
// It reconnects by itself, to any server, and goes on until the caller has enough or ctx ends. An error ends the sequence:
// [ReasonCursorLost] means that the log does not have the cursor's event any more, so begin again [WithSnapshot]. Whoever
// keeps [LogUpdate.Cursor] together with what he did about the events sees each of them once, over restarts of his program.
//
//	for update, err := range client.WatchEvents(ctx, "", tradewind.FromBeginning(), tradewind.AfterCursor(saved)) {
//		if err != nil {
//			return err
//		}
//		for _, event := range update.Events {
//			fmt.Println(event.ExecutionID, event.Revision, event.Type)
//		}
//	}
func (c *Client) WatchEvents(ctx context.Context, filter string, options ...LogOption) iter.Seq2[*LogUpdate, error] {
	return func(yield func(*LogUpdate, error) bool) {
		at := &logPosition{namespace: c.options.Namespace, filter: filter, shown: make(map[string]int64)}
		for _, option := range options {
			option(at)
		}
		follow(ctx, c, c.executions.WatchEvents, at, yield)
	}
}

// logPosition is the [place] of a watcher of a namespace.
type logPosition struct {
	namespace, filter                      string
	coalesce, fromBeginning, wantsSnapshot bool
	cursor                                 string           // "" before the first response
	snapshot                               []*Execution     // as far as it has come
	shown                                  map[string]int64 // revisions in the snapshot: events up to there may come as well
}

func (p *logPosition) String() string { return fmt.Sprintf("all events after %q", p.cursor) }

// ends is never true: a log has no end, so whoever ends the stream means another to be opened.
func (p *logPosition) ends() bool { return false }

// request forgets half a snapshot.
func (p *logPosition) request() *tradewindv1.WatchEventsRequest {
	request := &tradewindv1.WatchEventsRequest{Namespace: p.namespace, Filter: p.filter, Coalesce: p.coalesce}
	switch {
	case p.cursor != "":
		request.Start = &tradewindv1.WatchEventsRequest_Cursor{Cursor: p.cursor}
	case p.fromBeginning:
		request.Start = &tradewindv1.WatchEventsRequest_FromBeginning{FromBeginning: true}
	case p.wantsSnapshot:
		p.snapshot, p.shown = []*Execution{}, make(map[string]int64)
		request.Start = &tradewindv1.WatchEventsRequest_WithSnapshot{WithSnapshot: true}
	}
	return request
}

// receive passes a snapshot on when it is whole: of one that broke off, some executions may have ended before the next.
func (p *logPosition) receive(response *tradewindv1.WatchEventsResponse) (*LogUpdate, error) {
	for _, execution := range response.GetSnapshot() {
		p.snapshot = append(p.snapshot, readExecution(execution))
		p.shown[execution.GetId()] = execution.GetRevision()
	}
	if response.GetContinued() {
		return nil, nil
	}
	p.cursor = response.GetCursor()
	update := &LogUpdate{
		Cursor:    p.cursor,
		Snapshot:  p.snapshot,
		Coalesced: response.GetCoalesced(),
		Lag:       response.GetCheckpoint().GetLag().AsDuration(),
		HeldBy:    response.GetCheckpoint().GetHeldBy(),
	}
	p.snapshot = nil
	for _, event := range response.GetEvents() {
		if p.isNew(event) {
			update.Events = append(update.Events, readEvent(event))
		}
	}
	return update, nil
}

func (p *logPosition) isNew(event *tradewindv1.Event) bool {
	shown := p.shown[event.GetExecutionId()]
	if event.GetRevision() >= shown {
		delete(p.shown, event.GetExecutionId())
	}
	return event.GetRevision() > shown
}
