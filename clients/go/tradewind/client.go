package tradewind

import (
	"context"
	"crypto/rand"
	"fmt"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/protobuf/proto"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// Client calls the server. It is safe for many goroutines. Make it with [Connect] and close it.
//
// A call that finds no server, or one that asks for time, is repeated for the patience of [Options]; each mutation
// carries a request id, so a repeat never happens twice. Errors are an [*Error], or [ErrNotCarried] for a value that
// JSON cannot carry.
type Client struct {
	options       Options
	connection    *grpc.ClientConn
	clock         clock
	callback      tradewindv1.ActionCallbackClient
	notifications tradewindv1.NotificationServiceClient
	people        tradewindv1.HumanTaskServiceClient
	limits        tradewindv1.ActionLimitServiceClient
	definitions   tradewindv1.DefinitionServiceClient
	environments  tradewindv1.EnvironmentServiceClient
	executions    tradewindv1.ExecutionServiceClient
	retention     tradewindv1.RetentionServiceClient
	server        tradewindv1.ServerServiceClient
	workers       tradewindv1.WorkerServiceClient
}

// Connect makes a client. Nothing is sent yet, so it fails only if the options make no sense.
func Connect(options Options) (*Client, error) {
	options = options.withDefaults()
	connection, err := options.dial()
	if err != nil {
		return nil, fmt.Errorf("tradewind: connect: %w", err)
	}
	return &Client{
		options:       options,
		connection:    connection,
		clock:         systemClock{},
		callback:      tradewindv1.NewActionCallbackClient(connection),
		notifications: tradewindv1.NewNotificationServiceClient(connection),
		people:        tradewindv1.NewHumanTaskServiceClient(connection),
		limits:        tradewindv1.NewActionLimitServiceClient(connection),
		definitions:   tradewindv1.NewDefinitionServiceClient(connection),
		environments:  tradewindv1.NewEnvironmentServiceClient(connection),
		executions:    tradewindv1.NewExecutionServiceClient(connection),
		retention:     tradewindv1.NewRetentionServiceClient(connection),
		server:        tradewindv1.NewServerServiceClient(connection),
		workers:       tradewindv1.NewWorkerServiceClient(connection),
	}, nil
}

// Close ends the connection; calls in flight end with an error.
func (c *Client) Close() error { return c.connection.Close() }

// Namespace returns the tenant of all calls.
func (c *Client) Namespace() string { return c.options.Namespace }

// ServerInfo asks what the server is and can do.
func (c *Client) ServerInfo(ctx context.Context) (*tradewindv1.ServerInfo, error) {
	response, err := send(ctx, c, c.server.GetServerInfo, &tradewindv1.GetServerInfoRequest{})
	return response.GetServerInfo(), err
}

// send makes one call, and makes it again as long as that can help and patience lasts.
func send[Request, Response proto.Message](
	ctx context.Context,
	c *Client,
	method func(context.Context, Request, ...grpc.CallOption) (Response, error),
	request Request,
) (Response, error) {
	return sendWithin(ctx, c, c.options.Patience, method, request)
}

// sendWithin is send with a deadline of its own for a context that has none.
func sendWithin[Request, Response proto.Message](
	ctx context.Context,
	c *Client,
	limit time.Duration,
	method func(context.Context, Request, ...grpc.CallOption) (Response, error),
	request Request,
) (Response, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	giveUp := c.clock.Now().Add(c.options.Patience)
	var delays retryDelays
	for {
		began := c.clock.Now()
		response, err := method(ctx, request)
		if err == nil {
			return response, nil
		}
		err = fromRPC(err)
		// A try to connect ends after longestDelay. While a server has the call in hand, patience does not pass.
		giveUp = giveUp.Add(max(0, c.clock.Now().Sub(began)-longestDelay))
		delay, again := delays.before(err, giveUp.Sub(c.clock.Now()))
		if !again || c.pause(ctx, delay, err) != nil {
			var nothing Response
			return nothing, err
		}
	}
}

// pause waits before something that failed is sent again: for a delay, but no longer than until a connection that was
// broken is there again. A server that is there and wants nothing now gets the whole delay. What lies between may connect
// and break again and again, as a load balancer with nobody behind it does: therefore the first second of a delay, as long
// as gRPC takes for its next try to connect, is waited in any case.
func (c *Client) pause(ctx context.Context, delay time.Duration, failed error) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	began := c.clock.Now()
	select {
	case <-c.clock.After(delay):
		return nil
	case <-c.reconnected(waiting, isBroken(failed)):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if left := min(delay, longestReconnect) - c.clock.Now().Sub(began); left > 0 {
		return wait(ctx, c.clock, left)
	}
	return nil
}

// reconnected is closed when a connection that is broken, or breaks from now on, is there again, or the client is closed.
func (c *Client) reconnected(ctx context.Context, broken bool) <-chan struct{} {
	again := make(chan struct{})
	state := c.connection.GetState()
	go func() {
		for {
			switch state {
			case connectivity.Ready:
				if broken {
					close(again)
					return
				}
			case connectivity.Idle:
				c.connection.Connect()
			case connectivity.Shutdown:
				close(again) // whoever asks next is told
				return
			}
			if !c.connection.WaitForStateChange(ctx, state) {
				return
			}
			broken = true // whatever it is by now: one that was there was not for a moment
			state = c.connection.GetState()
		}
	}()
	return again
}

// newRequestID makes the id that lets a request be repeated safely.
func newRequestID() string { return rand.Text() }

// pages lists items page by page, as they are read. load returns a page and the token of the next one.
func pages[Item any](load func(token string) ([]Item, string, error)) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		token := ""
		for {
			items, next, err := load(token)
			if err != nil {
				var nothing Item
				yield(nothing, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			token = next
		}
	}
}

// each turns messages into what callers get.
func each[Message, Item any](messages []Message, read func(Message) Item) []Item {
	items := make([]Item, len(messages))
	for index, message := range messages {
		items[index] = read(message)
	}
	return items
}
