package tradewind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"google.golang.org/grpc"

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
		follow(ctx, c, c.executions.WatchExecution, at, yield)
	}
}

// place is where a watcher stands: it says what to ask for, and takes what comes. It is a [fmt.Stringer] for the log.
type place[Request, Response, Told any] interface {
	fmt.Stringer
	// request continues exactly after what was passed on.
	request() *Request
	// receive takes one response and returns what is new in it, or nil; errGap if something is missing before it.
	receive(*Response) (*Told, error)
	// ends says whether a stream that ends well is the end of the watch.
	ends() bool
}

// opener is the method that opens a stream.
type opener[Request, Response any] func(
	context.Context, *Request, ...grpc.CallOption,
) (grpc.ServerStreamingClient[Response], error)

// follow opens stream after stream until the watch is at its end, the caller has enough, or nothing helps any more.
func follow[Request, Response, Told any](
	ctx context.Context,
	c *Client,
	open opener[Request, Response],
	at place[Request, Response, Told],
	yield func(*Told, error) bool,
) {
	delays := retryDelays{log: c.options.Logger}
	for {
		err := followOnce(ctx, open, at, &delays, yield)
		if errors.Is(err, errEnough) || errors.Is(err, errEnded) && at.ends() {
			return
		}
		delay, again := delays.before(err, forever)
		if again {
			delays.tell(at.String(), err)
		}
		if errors.Is(err, errGap) || errors.Is(err, errEnded) {
			c.options.Logger.Debug("the stream is opened again", "stream", at.String(), "reason", err)
			delay, again = delays.delay(), true
		}
		if again {
			err = c.pause(ctx, delay, err)
		}
		if err != nil {
			yield(nil, err)
			return
		}
	}
}

var (
	errEnough = errors.New("the caller has enough")
	errEnded  = errors.New("the stream ended well")
	errGap    = errors.New("the stream left events out")
)

// followOnce plays one stream and says why it is over.
func followOnce[Request, Response, Told any](
	ctx context.Context,
	open opener[Request, Response],
	at place[Request, Response, Told],
	delays *retryDelays,
	yield func(*Told, error) bool,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := open(ctx, at.request())
	if err != nil {
		return fromRPC(err)
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errEnded
		}
		if err != nil {
			return fromRPC(err)
		}
		delays.reset()
		told, err := at.receive(response)
		if err != nil {
			return err
		}
		if told != nil && !yield(told, nil) {
			return errEnough
		}
	}
}

// position is the [place] of a watcher of one execution. Revisions have no gaps, so loss and repetition are seen by
// arithmetic.
type position struct {
	namespace, executionID string
	revision               int64 // the last one passed on
	wantsSnapshot          bool
	snapshot               Snapshot // as far as it has come
}

func (p *position) String() string {
	return fmt.Sprintf("%s after revision %d", p.executionID, p.revision)
}

func (p *position) ends() bool { return true }

// request forgets half a snapshot.
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
