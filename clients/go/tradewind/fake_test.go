package tradewind

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// within waits for what must come soon.
func within[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case found := <-from:
		return found
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// instantClock is one on which every wait is over at once.
type instantClock struct {
	mutex  sync.Mutex
	now    time.Time
	waited []time.Duration
}

func (c *instantClock) Now() time.Time {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.now
}

func (c *instantClock) After(d time.Duration) <-chan time.Time {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.now = c.now.Add(d)
	c.waited = append(c.waited, d)
	over := make(chan time.Time, 1)
	over <- c.now
	return over
}

// handClock is one that a test moves.
type handClock struct {
	mutex  sync.Mutex
	now    time.Time
	timers []handTimer
	asked  chan time.Duration // what somebody began to wait for
}

type handTimer struct {
	at   time.Time
	over chan time.Time
}

func newHandClock() *handClock {
	return &handClock{now: time.Unix(0, 0), asked: make(chan time.Duration, 1000)}
}

func (c *handClock) Now() time.Time {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.now
}

func (c *handClock) After(d time.Duration) <-chan time.Time {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	timer := handTimer{c.now.Add(d), make(chan time.Time, 1)}
	c.timers = append(c.timers, timer)
	c.asked <- d
	return timer.over
}

// advance moves the clock and ends the waits that are due.
func (c *handClock) advance(d time.Duration) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.now = c.now.Add(d)
	var later []handTimer
	for _, timer := range c.timers {
		if timer.at.After(c.now) {
			later = append(later, timer)
		} else {
			timer.over <- c.now
		}
	}
	c.timers = later
}

// untilAsked blocks until somebody has begun to wait for as long as match says.
func (c *handClock) untilAsked(t *testing.T, match func(time.Duration) bool) time.Duration {
	t.Helper()
	for {
		if d := within(t, "somebody who waits", c.asked); match(d) {
			return d
		}
	}
}

// fakeServer plays what tests script.
type fakeServer struct {
	tradewindv1.UnimplementedWorkerServiceServer
	tradewindv1.UnimplementedActionLimitServiceServer
	tradewindv1.UnimplementedActionCallbackServer
	tradewindv1.UnimplementedExecutionServiceServer
	tradewindv1.UnimplementedHumanTaskServiceServer
	tradewindv1.UnimplementedNotificationServiceServer

	plays chan func(*stage) // one for each Work stream

	mutex     sync.Mutex
	watches   [][]any // one for each watch: messages, and errors to end with
	asked     []*tradewindv1.WatchExecutionRequest
	logs      [][]any // the same for each watch of the namespace
	logAsked  []*tradewindv1.WatchEventsRequest
	lines     [][]any // the same for each watch of the logs of actions
	lineAsked []*tradewindv1.WatchActionLogsRequest
	starts    []*tradewindv1.StartExecutionRequest
	answers   []error // to starts; then they succeed
	waits     func()  // while it has a call of StartAndWait in hand
	execution *tradewindv1.Execution
	metadata  metadata.MD
	inboxes   [][]any // the same for each watch of human tasks
	submitted *tradewindv1.SubmitHumanTasksRequest
	withdrawn error // to one who takes an attachment back
	drained   *tradewindv1.DrainWorkerRequest
	limit     *tradewindv1.ActionLimit
}

func (s *fakeServer) WatchExecution(
	request *tradewindv1.WatchExecutionRequest, stream grpc.ServerStreamingServer[tradewindv1.WatchExecutionResponse],
) error {
	s.mutex.Lock()
	s.asked = append(s.asked, request)
	script := s.watches[0]
	s.watches = s.watches[1:]
	s.mutex.Unlock()
	return play(stream, script)
}

func (s *fakeServer) WatchEvents(
	request *tradewindv1.WatchEventsRequest, stream grpc.ServerStreamingServer[tradewindv1.WatchEventsResponse],
) error {
	s.mutex.Lock()
	s.logAsked = append(s.logAsked, request)
	script := s.logs[0]
	s.logs = s.logs[1:]
	s.mutex.Unlock()
	return play(stream, script)
}

func (s *fakeServer) WatchActionLogs(
	request *tradewindv1.WatchActionLogsRequest, stream grpc.ServerStreamingServer[tradewindv1.WatchActionLogsResponse],
) error {
	s.mutex.Lock()
	s.lineAsked = append(s.lineAsked, request)
	script := s.lines[0]
	s.lines = s.lines[1:]
	s.mutex.Unlock()
	return play(stream, script)
}

// play sends messages, up to an error to end with.
func play[Response any](stream grpc.ServerStreamingServer[Response], script []any) error {
	for _, item := range script {
		switch item := item.(type) {
		case error:
			return item
		case *Response:
			if err := stream.Send(item); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *fakeServer) StartExecution(
	ctx context.Context, request *tradewindv1.StartExecutionRequest,
) (*tradewindv1.StartExecutionResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.metadata, _ = metadata.FromIncomingContext(ctx)
	s.starts = append(s.starts, request)
	if len(s.answers) > 0 {
		answer := s.answers[0]
		s.answers = s.answers[1:]
		return nil, answer
	}
	return &tradewindv1.StartExecutionResponse{Execution: &tradewindv1.Execution{Id: "e1", Input: request.GetInput()}}, nil
}

func (s *fakeServer) StartAndWait(
	ctx context.Context, request *tradewindv1.StartAndWaitRequest,
) (*tradewindv1.StartAndWaitResponse, error) {
	s.waits()
	started, err := s.StartExecution(ctx, request.GetStart())
	return &tradewindv1.StartAndWaitResponse{Execution: started.GetExecution()}, err
}

func (s *fakeServer) GetExecution(
	_ context.Context, request *tradewindv1.GetExecutionRequest,
) (*tradewindv1.GetExecutionResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	found := proto.CloneOf(s.execution)
	if request.GetMinRevision() > 0 {
		found.State = tradewindv1.ExecutionState_EXECUTION_STATE_SUCCEEDED
		found.Revision = request.GetMinRevision()
	}
	return &tradewindv1.GetExecutionResponse{Execution: found}, nil
}

func (s *fakeServer) Work(stream grpc.BidiStreamingServer[tradewindv1.WorkRequest, tradewindv1.WorkResponse]) error {
	on := &stage{stream: stream}
	select {
	case play := <-s.plays:
		play(on)
	case <-stream.Context().Done():
	}
	return on.end
}

// stage is the server's side of one Work stream.
type stage struct {
	stream  grpc.BidiStreamingServer[tradewindv1.WorkRequest, tradewindv1.WorkResponse]
	granted uint64
	end     error // what the stream ends with
}

// welcome takes Hello and answers it.
func (s *stage) welcome(verdicts ...*tradewindv1.InFlightVerdict) *tradewindv1.Hello {
	request, err := s.stream.Recv()
	if err != nil {
		return nil
	}
	s.send(&tradewindv1.WorkResponse_Welcome{Welcome: &tradewindv1.Welcome{
		DeliveryLease: durationpb.New(5 * time.Second), WorkLease: durationpb.New(30 * time.Second),
		BeatInterval: durationpb.New(10 * time.Second), InFlight: verdicts,
	}})
	return request.GetHello()
}

func (s *stage) offer(action, token, input string) {
	offer := &tradewindv1.Offer{
		Token: []byte(token), Action: action, Attempt: 1, ExecutionId: "e1", ActionId: "a-" + token,
		Input: &tradewindv1.Payload{Data: []byte(input)}, Traceparent: "trace-" + token,
	}
	s.send(&tradewindv1.WorkResponse_Offers{Offers: &tradewindv1.Offers{Offers: []*tradewindv1.Offer{offer}}})
}

func (s *stage) order(token string, kind tradewindv1.OrderKind) {
	order := &tradewindv1.Order{Token: []byte(token), Kind: kind}
	s.send(&tradewindv1.WorkResponse_Orders{Orders: &tradewindv1.Orders{Orders: []*tradewindv1.Order{order}}})
}

func (s *stage) receipt(token string, status tradewindv1.ReceiptStatus, refusal *tradewindv1.Refusal) {
	receipt := &tradewindv1.Receipt{Token: []byte(token), Status: status, Refusal: refusal}
	s.send(&tradewindv1.WorkResponse_Receipts{Receipts: &tradewindv1.Receipts{Receipts: []*tradewindv1.Receipt{receipt}}})
}

func (s *stage) send(message any) {
	response := &tradewindv1.WorkResponse{}
	switch message := message.(type) {
	case *tradewindv1.WorkResponse_Welcome:
		response.Message = message
	case *tradewindv1.WorkResponse_Offers:
		response.Message = message
	case *tradewindv1.WorkResponse_Orders:
		response.Message = message
	case *tradewindv1.WorkResponse_Receipts:
		response.Message = message
	case *tradewindv1.WorkResponse_GoAway:
		response.Message = message
	case *tradewindv1.WorkResponse_Standby:
		response.Message = message
	}
	_ = s.stream.Send(response) // a worker that has gone is what some tests want
}

// next skips to the next message that pick finds something in; the zero value at the end of the worker's side.
func next[T any](s *stage, pick func(*tradewindv1.WorkRequest) (T, bool)) T {
	for {
		request, err := s.stream.Recv()
		if err != nil {
			var nothing T
			return nothing
		}
		s.granted = max(s.granted, request.GetCredits().GetGranted())
		if found, is := pick(request); is {
			return found
		}
	}
}

// result awaits the next results, of which there must be one, and confirms it.
func (s *stage) result() *tradewindv1.ActionResult {
	found := s.unconfirmedResult()
	s.receipt(string(found.GetToken()), tradewindv1.ReceiptStatus_RECEIPT_STATUS_RECORDED, nil)
	return found
}

func (s *stage) unconfirmedResult() *tradewindv1.ActionResult {
	return next(s, func(request *tradewindv1.WorkRequest) (*tradewindv1.ActionResult, bool) {
		if results := request.GetResults().GetResults(); len(results) == 1 {
			return results[0], true
		}
		return nil, false
	})
}

// serve plays a server in this process until the test ends, and gives a client of it.
func serve(t *testing.T, server *fakeServer, clock clock) *Client {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	played := grpc.NewServer()
	tradewindv1.RegisterActionCallbackServer(played, server)
	tradewindv1.RegisterExecutionServiceServer(played, server)
	tradewindv1.RegisterHumanTaskServiceServer(played, server)
	tradewindv1.RegisterNotificationServiceServer(played, server)
	tradewindv1.RegisterWorkerServiceServer(played, server)
	tradewindv1.RegisterActionLimitServiceServer(played, server)
	go func() { _ = played.Serve(listener) }() // ends with Stop
	client, err := Connect(Options{
		Addresses: []string{"passthrough:///fake"},
		Token:     "secret",
		Logger:    slog.New(slog.DiscardHandler),
		DialOptions: []grpc.DialOption{
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	client.clock = clock
	t.Cleanup(func() {
		_ = client.Close()
		played.Stop()
	})
	return client
}

// refusal makes the error of a server, with its details.
func refusal(t *testing.T, code codes.Code, reason string, details ...protoadapt.MessageV1) error {
	t.Helper()
	info := &errdetails.ErrorInfo{Reason: reason, Domain: "tradewind", Metadata: map[string]string{"execution": "e1"}}
	made, err := status.New(code, "Expected one thing, but got another.").WithDetails(append(details, info)...)
	if err != nil {
		t.Fatal(err)
	}
	return made.Err()
}

var unavailable = status.Error(codes.Unavailable, "gone")

func equal[T comparable](t *testing.T, what string, found, expected T) {
	t.Helper()
	if found != expected {
		t.Errorf("%s: found %v, expected %v", what, found, expected)
	}
}
