package tradewind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// FromSnapshot, in place of a revision, begins a watch with a snapshot and goes on with everything after it.
const FromSnapshot int64 = -1

// Watch follows the events of an execution, from the one after a revision (0: from the first) to the one that ends it:
// each exactly once and in order. It reconnects by itself, to any server, for as long as ctx lasts. An error ends the
// sequence: [ReasonRevisionCompacted] means that older events are not kept any more, so begin again with
// [Client.Updates] and [FromSnapshot]; the error of ctx means that it has ended first.
//
//	for event, err := range client.Watch(ctx, id, 0) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(event.Revision, event.Type, event.Task)
//	}
func (c *Client) Watch(ctx context.Context, executionID string, afterRevision int64) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		for update, err := range c.Updates(ctx, executionID, max(afterRevision, 0)) {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, event := range update.Events {
				if !yield(event, nil) {
					return
				}
			}
		}
	}
}

// Updates is like [Client.Watch], command by command: the events of one command come together, unless they are too
// large for one message. With [FromSnapshot] as revision the first update is a snapshot.
func (c *Client) Updates(ctx context.Context, executionID string, afterRevision int64) iter.Seq2[*Update, error] {
	return func(yield func(*Update, error) bool) {
		at := &position{namespace: c.options.Namespace, executionID: executionID, revision: max(afterRevision, 0)}
		at.wantsSnapshot = afterRevision == FromSnapshot
		c.follow(ctx, at, yield)
	}
}

// follow opens stream after stream until the execution has ended, the caller has enough, or nothing helps any more.
func (c *Client) follow(ctx context.Context, at *position, yield func(*Update, error) bool) {
	var delays retryDelays
	for {
		err := c.followOnce(ctx, at, &delays, yield)
		if err == nil || errors.Is(err, errEnough) {
			return
		}
		delay, again := delays.before(err)
		if errors.Is(err, errGap) {
			delay, again = delays.delay(), true
		}
		if again {
			c.options.Logger.Debug("the watch broke", "execution", at.executionID, "revision", at.revision, "error", err)
			err = c.pause(ctx, delay)
		}
		if err != nil {
			yield(nil, err)
			return
		}
	}
}

var (
	errEnough = errors.New("the caller has enough")
	errGap    = errors.New("the stream left events out")
)

// followOnce plays one stream; nil means that it ended because the execution has.
func (c *Client) followOnce(ctx context.Context, at *position, delays *retryDelays, yield func(*Update, error) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.executions.WatchExecution(ctx, at.request())
	if err != nil {
		return fromRPC(err)
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fromRPC(err)
		}
		delays.reset()
		update, err := at.receive(response)
		if err != nil {
			return err
		}
		if update != nil && !yield(update, nil) {
			return errEnough
		}
	}
}

// position is where one watcher stands: what to ask for, what it has seen, whether something is missing. No I/O.
// Revisions have no gaps, so loss and repetition are seen by arithmetic.
type position struct {
	namespace, executionID string
	revision               int64 // the last one passed on
	wantsSnapshot          bool
	snapshot               Snapshot // as far as it has come
}

// request continues exactly after what was passed on, and forgets half a snapshot.
func (p *position) request() *tradewindv1.WatchExecutionRequest {
	p.snapshot = Snapshot{}
	request := &tradewindv1.WatchExecutionRequest{Namespace: p.namespace, ExecutionId: p.executionID}
	if p.wantsSnapshot {
		request.Start = &tradewindv1.WatchExecutionRequest_WithSnapshot{WithSnapshot: true}
	} else {
		request.Start = &tradewindv1.WatchExecutionRequest_AfterRevision{AfterRevision: p.revision}
	}
	return request
}

// receive takes one response and returns what is new in it, or nil; errGap if events are missing before it.
func (p *position) receive(response *tradewindv1.WatchExecutionResponse) (*Update, error) {
	if response.GetSnapshot() != nil {
		return p.receiveSnapshot(response), nil
	}
	var fresh []*Event
	for _, event := range response.GetEvents() {
		if event.GetRevision() <= p.revision {
			continue
		}
		if expected := p.revision + int64(len(fresh)) + 1; event.GetRevision() != expected {
			return nil, fmt.Errorf("%w: expected revision %d, but got %d", errGap, expected, event.GetRevision())
		}
		fresh = append(fresh, readEvent(event))
	}
	if len(fresh) == 0 {
		return nil, nil
	}
	p.revision = fresh[len(fresh)-1].Revision
	return &Update{Revision: p.revision, Events: fresh}, nil
}

func (p *position) receiveSnapshot(response *tradewindv1.WatchExecutionResponse) *Update {
	if execution := response.GetSnapshot().GetExecution(); execution != nil {
		p.snapshot.Execution = readExecution(execution)
	}
	for _, task := range response.GetSnapshot().GetTasks() {
		p.snapshot.Tasks = append(p.snapshot.Tasks, readTask(task))
	}
	if response.GetContinued() || p.snapshot.Execution == nil {
		return nil
	}
	whole := p.snapshot
	p.wantsSnapshot, p.revision = false, response.GetRevision()
	return &Update{Revision: p.revision, Snapshot: &whole}
}
