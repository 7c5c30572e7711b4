package tradewind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// How long a worker that has drained waits for the server to end the stream.
const lastWords = time.Second

// WorkerOptions says who a worker is. The zero value does.
type WorkerOptions struct {
	// ID is a name that is stable over restarts, e.g. "payroll-1"; "" is the host's name and the process id.
	ID string
	// Concurrency is how many actions it does at the same time at most; 0 is 256.
	Concurrency int
	// Labels are facts about it, e.g. "site": "oslo"; a task's target can ask for them.
	Labels map[string]string
	// Build is the version of your program, for people.
	Build string
	// DrainTimeout is how long a stop waits for what is at work; the rest is given back. 0 is 30 s.
	DrainTimeout time.Duration
}

// Worker does actions: register functions with [Worker.Handle], then [Worker.Run] it. When its stream breaks it
// reconnects, to any server, and goes on with what it has in hand; a result is sent until the server has confirmed it.
type Worker struct {
	client    *Client
	options   WorkerOptions
	functions map[string]handler
	stop      chan struct{}
	stopOnce  sync.Once
	isDrained atomic.Bool
}

type handler struct {
	function    ActionFunc
	concurrency int
}

// NewWorker makes a worker that uses the client's connection, namespace and logger.
func NewWorker(client *Client, options WorkerOptions) *Worker {
	if options.ID == "" {
		host, _ := os.Hostname() // without a name the process id remains
		options.ID = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	if options.Concurrency == 0 {
		options.Concurrency = 256
	}
	if options.DrainTimeout == 0 {
		options.DrainTimeout = 30 * time.Second
	}
	return &Worker{
		client: client, options: options, functions: make(map[string]handler), stop: make(chan struct{}),
	}
}

// Handle registers the function that does an action. Call it before Run.
func (w *Worker) Handle(action string, function ActionFunc) { w.HandleAtMost(action, 0, function) }

// HandleAtMost is [Worker.Handle] for an action of which only so many are done at the same time; 0 is no bound of its own.
func (w *Worker) HandleAtMost(action string, concurrency int, function ActionFunc) {
	w.functions[action] = handler{function, concurrency}
}

// Stop takes no more actions, lets what is at work finish, and lets [Worker.Run] return. Safe from any goroutine.
func (w *Worker) Stop() { w.stopOnce.Do(func() { close(w.stop) }) }

// IsDrained says whether an operator has taken the worker out of service: it finishes what it has, stays connected, and
// gets no more. Safe from any goroutine.
func (w *Worker) IsDrained() bool { return w.isDrained.Load() }

// Run works until ctx ends or [Worker.Stop] is called, then drains: it finishes what is at work, gives back what is not
// done within the drain timeout, and returns nil. It returns an error only if the server refuses the worker for good.
//
// For a drain at SIGTERM give it the context of [os/signal.NotifyContext]. The end of ctx does not end the contexts of
// the functions; a function that ignores its own context may outlive Run. A worker runs once.
func (w *Worker) Run(ctx context.Context) error {
	if len(w.functions) == 0 {
		return errors.New("tradewind: expected at least one registered action, but there is none")
	}
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(ErrWorkerStopped)
	run := &run{
		worker: w, clock: w.client.clock, log: w.client.options.Logger,
		life: life, finish: sync.OnceFunc(func() { end(errDrained) }),
		session: newSession(w.hello(), w.options.Concurrency),
		wake:    make(chan struct{}, 1),
		stops:   make(map[string]context.CancelCauseFunc),
	}
	go run.drainAtEnd(ctx)
	return run.streams()
}

func (w *Worker) hello() *tradewindv1.Hello {
	hello := &tradewindv1.Hello{
		Namespace: w.client.options.Namespace, WorkerId: w.options.ID, Instance: newRequestID(), Build: w.options.Build,
	}
	for _, name := range slices.Sorted(maps.Keys(w.functions)) {
		hello.Actions = append(hello.Actions, &tradewindv1.ActionCapability{
			Name: name, Concurrency: uint32(w.functions[name].concurrency), Labels: w.options.Labels,
		})
	}
	return hello
}

var errDrained = errors.New("the worker has drained")

// run is the life of a worker: one goroutine reads a stream, one writes it, one each does an action.
type run struct {
	worker *Worker
	clock  clock
	log    *slog.Logger
	life   context.Context // ends when the worker has drained, or is refused
	finish func()
	wake   chan struct{} // there is something to send
	// Of the goroutine that opens streams and reads them.
	delays    retryDelays
	hasBroken bool

	mutex   sync.Mutex
	session *session
	stops   map[string]context.CancelCauseFunc // how to stop what is at work
}

// locked does something with the session, and lets the writer look at what came of it.
func (r *run) locked(do func()) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	do()
	if r.session.isDraining && !r.session.isWelcome && r.session.isIdle() {
		r.finish() // nobody is there to hear it
	}
	r.signal()
}

func (r *run) signal() {
	select {
	case r.wake <- struct{}{}:
	default: // it is told already
	}
}

// drainAtEnd waits until the worker is told to stop, and sees to it that it does.
func (r *run) drainAtEnd(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-r.worker.stop:
	case <-r.life.Done():
		return
	}
	r.locked(r.session.drain)
	if wait(r.life, r.clock, r.worker.options.DrainTimeout) != nil {
		return
	}
	r.locked(func() {
		for token, stop := range r.stops {
			r.session.release(token, "The worker shuts down.")
			stop(ErrWorkerStopped)
		}
	})
	// Whatever the server says or does not say to that, do not stay.
	if wait(r.life, r.clock, lastWords) == nil {
		r.finish()
	}
}

// streams keeps a stream open until the worker has drained.
func (r *run) streams() error {
	for {
		err := r.stream()
		if r.life.Err() != nil {
			return nil
		}
		if isHopeless(err) {
			return err
		}
		delay := r.delays.delay()
		var refusal *Error
		if errors.As(err, &refusal) {
			delay = max(delay, refusal.RetryAfter)
			r.hasBroken = true
			r.log.Warn("the worker's stream broke", "next try in", delay, "error", err)
		}
		if r.worker.client.pause(r.life, delay, err) != nil {
			return nil
		}
	}
}

// stream plays one stream to its end; nil means that the server ended it.
func (r *run) stream() error {
	ctx, cancel := context.WithCancel(r.life)
	var writer sync.WaitGroup
	defer writer.Wait()
	defer cancel()
	stream, err := r.worker.client.callback.Work(ctx)
	if err != nil {
		return fromRPC(err)
	}
	var hello *tradewindv1.WorkRequest
	r.locked(func() { hello = r.session.open() })
	// A write that fails is no news: the reader knows why.
	if stream.Send(hello) == nil {
		writer.Add(1)
		go func() {
			defer writer.Done()
			r.write(ctx, stream)
		}()
	}
	err = r.read(stream)
	r.locked(func() { r.session.isWelcome = false })
	return err
}

type workStream = grpc.BidiStreamingClient[tradewindv1.WorkRequest, tradewindv1.WorkResponse]

func (r *run) read(stream workStream) error {
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fromRPC(err)
		}
		if response.GetGoAway() != nil {
			return nil
		}
		r.locked(func() { r.take(response, r.clock.Now()) })
	}
}

// take takes one message; the session is locked.
func (r *run) take(response *tradewindv1.WorkResponse, now time.Time) {
	for _, token := range r.takeWelcome(response.GetWelcome(), now) {
		r.stopFunction(token, ErrLeaseLost)
	}
	for _, offer := range response.GetOffers().GetOffers() {
		if r.stops[string(offer.GetToken())] == nil { // no token is done twice at the same time
			r.session.hold(offer, now)
			r.begin(offer)
		}
	}
	for _, receipt := range response.GetReceipts().GetReceipts() {
		if r.session.receive(receipt, now) {
			r.stopFunction(string(receipt.GetToken()), ErrLeaseLost)
		}
	}
	if standby := response.GetStandby(); standby != nil {
		r.standBy(standby)
	}
	for _, order := range response.GetOrders().GetOrders() {
		r.obey(string(order.GetToken()), order.GetKind())
	}
}

func (r *run) standBy(standby *tradewindv1.Standby) {
	r.worker.isDrained.Store(standby.GetIsDraining())
	if standby.GetIsDraining() {
		r.log.Warn("an operator has taken this worker out of service; it stays connected", "why", standby.GetMessage())
	} else {
		r.log.Warn("this worker is in service again")
	}
}

func (r *run) takeWelcome(welcome *tradewindv1.Welcome, now time.Time) []string {
	if welcome == nil {
		return nil
	}
	r.delays.reset()
	r.worker.isDrained.Store(false) // one that still is hears so right after
	level := slog.LevelDebug
	if r.hasBroken {
		level = slog.LevelWarn // who has read of the break reads of its end
	}
	r.hasBroken = false
	r.log.Log(r.life, level, "the worker is connected", "server", welcome.GetServerId())
	return r.session.welcome(welcome, now)
}

func (r *run) obey(token string, kind tradewindv1.OrderKind) {
	if kind == tradewindv1.OrderKind_ORDER_KIND_LEASE_LOST {
		r.session.lose(token)
		r.stopFunction(token, ErrLeaseLost)
	} else {
		r.stopFunction(token, ErrActionCancelled)
	}
}

func (r *run) stopFunction(token string, cause error) {
	if stop := r.stops[token]; stop != nil {
		stop(cause)
	}
}

// begin starts the function of an offer, or gives the offer back; the session is locked.
func (r *run) begin(offer *tradewindv1.Offer) {
	token := string(offer.GetToken())
	handler, known := r.worker.functions[offer.GetAction()]
	if !known {
		r.session.release(token, "The worker cannot do it.")
		return
	}
	if r.session.isDraining {
		r.session.release(token, "The worker shuts down.")
		return
	}
	call := newCall(offer, func(progress string, checkpoint *tradewindv1.Payload) {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		r.session.note(token, progress, checkpoint)
	}, func(line *tradewindv1.LogLine) {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		r.session.write(token, line)
	})
	ctx, stop := context.WithCancelCause(WithTraceparent(r.life, offer.GetTraceparent()))
	r.stops[token] = stop
	go r.do(context.WithValue(ctx, callKey{}, call), handler.function, call)
}

func (r *run) do(ctx context.Context, function ActionFunc, call *Call) {
	result, err := perform(ctx, function, call)
	var told *ActionFailure
	if err != nil && ctx.Err() == nil && (!errors.As(err, &told) || told.Code == "PANIC") {
		r.log.Error("an action failed", "action", call.Action, "execution", call.ExecutionID, "error", err)
	}
	token := string(call.Offer.GetToken())
	r.locked(func() {
		r.stops[token](nil)
		delete(r.stops, token)
		r.session.finish(result)
	})
}

// write sends what there is to send until the stream ends. While one message is under way more comes together, so the
// batches form by themselves.
func (r *run) write(ctx context.Context, stream workStream) {
	tick := r.clock.After(r.tickInterval())
	for {
		out, drained := r.outgoing()
		for _, request := range out {
			if stream.Send(request) != nil {
				return
			}
		}
		if drained {
			r.sayGoodbye(ctx, stream)
			return
		}
		select {
		case <-r.wake:
		case <-tick:
			tick = r.clock.After(r.tickInterval())
		case <-ctx.Done():
			return
		}
	}
}

func (r *run) tickInterval() time.Duration {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.session.tickInterval()
}

// outgoing returns what to send now, and whether nothing will come after it.
func (r *run) outgoing() ([]*tradewindv1.WorkRequest, bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	now := r.clock.Now()
	r.session.tick(now)
	out := r.session.outgoing(now)
	return out, r.session.isWelcome && r.session.isDraining && r.session.isIdle()
}

// sayGoodbye closes the worker's side and gives the server a moment to end the stream.
func (r *run) sayGoodbye(ctx context.Context, stream workStream) {
	_ = stream.CloseSend() // the reader sees what went wrong
	if wait(ctx, r.clock, lastWords) == nil {
		r.finish()
	}
}
