package tradewind

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// working runs a worker against a server that plays one Work stream after the other, until all are played.
func working(t *testing.T, clock clock, prepare func(*Worker), plays ...func(*stage)) {
	t.Helper()
	server := &fakeServer{plays: make(chan func(*stage), len(plays))}
	played := make(chan struct{}, len(plays))
	for _, play := range plays {
		server.plays <- func(on *stage) {
			defer func() { played <- struct{}{} }()
			play(on)
		}
	}
	worker := NewWorker(serve(t, server, clock), WorkerOptions{ID: "w1", Concurrency: 4, Labels: map[string]string{"site": "oslo"}})
	prepare(worker)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- worker.Run(ctx) }()
	for range plays {
		within(t, "the end of a stream", played)
	}
	cancel()
	if hand, is := clock.(*handClock); is {
		hand.untilAsked(t, func(d time.Duration) bool { return d == worker.options.DrainTimeout })
		hand.advance(worker.options.DrainTimeout)
	}
	if err := within(t, "the worker", afterLastWords(clock, done)); err != nil {
		t.Error(err)
	}
}

// afterLastWords moves a clock on whenever somebody waits for last words: a stream that was still open may have said
// goodbye by itself, and then nobody else does.
func afterLastWords(clock clock, done <-chan error) <-chan error {
	hand, is := clock.(*handClock)
	if !is {
		return done
	}
	ended := make(chan error, 1)
	go func() {
		for {
			select {
			case err := <-done:
				ended <- err
				return
			case d := <-hand.asked:
				if d == lastWords {
					hand.advance(lastWords)
				}
			}
		}
	}()
	return ended
}

type money struct {
	Amount json.Number `json:"amount"`
}

func TestAWorkerTakesAnOfferAndAnswersIt(t *testing.T) {
	var hello *tradewindv1.Hello
	var result *tradewindv1.ActionResult
	trace := ""
	prepare := func(worker *Worker) {
		worker.Handle("pay", Func(func(ctx context.Context, input money) (money, error) {
			trace = Traceparent(ctx) + " " + CallOf(ctx).ActionID
			return input, nil
		}))
	}
	working(t, newHandClock(), prepare, func(on *stage) {
		hello = on.welcome()
		on.offer("pay", "1", `{"amount":0.10}`)
		result = on.result()
	})

	equal(t, "result", string(result.GetResult().GetData()), `{"amount":0.10}`)
	equal(t, "context", trace, "trace-1 a-1")
	equal(t, "worker", hello.GetWorkerId(), "w1")
	equal(t, "action", hello.GetActions()[0].GetName(), "pay")
	equal(t, "label", hello.GetActions()[0].GetLabels()["site"], "oslo")
}

func TestAnOperatorsDrainIsSaidAndTheWorkerGoesOn(t *testing.T) {
	var workers []*Worker
	prepare := func(worker *Worker) {
		workers = append(workers, worker)
		worker.Handle("pay", func(context.Context, *Call) (any, error) { return worker.IsDrained(), nil })
	}
	var during, after *tradewindv1.ActionResult
	working(t, newHandClock(), prepare, func(on *stage) {
		on.welcome()
		standby := &tradewindv1.Standby{IsDraining: true, Message: "new disks"}
		on.send(&tradewindv1.WorkResponse_Standby{Standby: standby})
		on.offer("pay", "1", `{}`)
		during = on.result()
		on.send(&tradewindv1.WorkResponse_Standby{Standby: &tradewindv1.Standby{}})
		on.offer("pay", "2", `{}`)
		after = on.result()
	})

	equal(t, "while it is drained", string(during.GetResult().GetData()), "true")
	equal(t, "once it is resumed", string(after.GetResult().GetData()), "false")
	equal(t, "in the end", workers[0].IsDrained(), false)
}

func TestAFailureTellsItsCodeAndDetails(t *testing.T) {
	found := map[string]*tradewindv1.Failure{}
	prepare := func(worker *Worker) {
		worker.Handle("closed", func(context.Context, *Call) (any, error) {
			return nil, &ActionFailure{Code: "ACCOUNT_CLOSED", Message: "It is closed.", IsPermanent: true, Details: money{"1.50"}}
		})
		worker.Handle("broken", func(context.Context, *Call) (any, error) { return nil, errors.New("no luck") })
		worker.Handle("panics", func(context.Context, *Call) (any, error) { panic("oh no") })
		worker.Handle("exits", func(context.Context, *Call) (any, error) { runtime.Goexit(); return nil, nil })
		worker.Handle("odd", func(context.Context, *Call) (any, error) { return make(chan int), nil })
		worker.Handle("typed", Func(func(context.Context, money) (any, error) { return nil, nil }))
	}
	working(t, newHandClock(), prepare, func(on *stage) {
		on.welcome()
		for _, action := range []string{"closed", "broken", "panics", "exits", "odd", "typed"} {
			on.offer(action, action, `{"amount":[]}`)
			found[action] = on.result().GetFailure()
		}
	})

	equal(t, "code", found["closed"].GetCode(), "ACCOUNT_CLOSED")
	equal(t, "message", found["closed"].GetMessage(), "It is closed.")
	equal(t, "retryable", found["closed"].GetRetryable(), false)
	equal(t, "details", string(found["closed"].GetDetails().GetData()), `{"amount":1.50}`)
	equal(t, "broken", found["broken"].GetMessage(), "no luck")
	equal(t, "broken", found["broken"].GetRetryable(), true)
	equal(t, "panics", found["panics"].GetCode()+" "+found["panics"].GetMessage(), "PANIC oh no")
	equal(t, "exits", found["exits"].GetCode(), "GOEXIT")
	equal(t, "odd", found["odd"].GetCode(), "RESULT_INVALID")
	equal(t, "typed", found["typed"].GetCode(), "BAD_INPUT")
}

func TestAFailureThatCannotBeSentAsItIsBreaksNoStream(t *testing.T) {
	long := strings.Repeat("x", 5_000_000)
	failures := map[string]error{
		"bytes":   &ActionFailure{Code: "NO\xfcFILE", Message: "no file M\xfcller"},
		"long":    errors.New(long),
		"details": &ActionFailure{Message: "It is closed.", Details: long},
	}
	found := map[string]*tradewindv1.Failure{}
	prepare := func(worker *Worker) {
		for name, failure := range failures {
			worker.Handle(name, func(context.Context, *Call) (any, error) { return nil, failure })
		}
	}
	working(t, newHandClock(), prepare, func(on *stage) {
		on.welcome()
		for name := range failures {
			on.offer(name, name, `{}`)
			found[name] = on.result().GetFailure()
		}
	})

	equal(t, "code", found["bytes"].GetCode(), "NO?FILE")
	equal(t, "message", found["bytes"].GetMessage(), "no file M?ller")
	equal(t, "a long message", len(found["long"].GetMessage()), maxTextBytes)
	equal(t, "details", strings.HasPrefix(found["details"].GetMessage(), "It is closed. (its details are left out: "), true)
}

func TestProgressThatCannotBeSentAsItIsBreaksNoStream(t *testing.T) {
	clock := newHandClock()
	started, ended := make(chan *Call, 1), make(chan error, 1)
	var said *tradewindv1.ActionBeat
	working(t, clock, func(worker *Worker) { blocking(worker, started, ended) }, func(on *stage) {
		on.welcome()
		on.offer("endless", "1", "{}")
		call := within(t, "the call", started)
		call.Progress("M\xfcller " + strings.Repeat("ü", 3_000_000))
		call.Log(LogInfo, "M\xfcller")
		clock.advance(2 * time.Second)
		next(on, func(request *tradewindv1.WorkRequest) (bool, bool) { return true, request.GetAccept() != nil })
		clock.untilAsked(t, func(d time.Duration) bool { return d == 500*time.Millisecond })
		clock.advance(8 * time.Second)
		said = next(on, func(request *tradewindv1.WorkRequest) (*tradewindv1.ActionBeat, bool) {
			beats := request.GetBeat().GetActions()
			return append(beats, nil)[0], len(beats) > 0 && beats[0].GetProgressMessage() != ""
		})
		on.order("1", tradewindv1.OrderKind_ORDER_KIND_LEASE_LOST)
		equal(t, "cause", within(t, "the end", ended), ErrLeaseLost)
	})

	equal(t, "progress", strings.HasPrefix(said.GetProgressMessage(), "M?ller üü"), true)
	equal(t, "a long progress", len(said.GetProgressMessage()) <= maxTextBytes, true)
	equal(t, "whole characters", utf8.ValidString(said.GetProgressMessage()), true)
}

// blocking registers an action that lasts until its context ends, and then tells why.
func blocking(worker *Worker, started chan<- *Call, ended chan<- error) {
	worker.Handle("endless", func(ctx context.Context, call *Call) (any, error) {
		started <- call
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return nil, ctx.Err()
	})
}

func TestWhatLastsIsAcceptedAndBeatsWithItsProgress(t *testing.T) {
	clock := newHandClock()
	started, ended := make(chan *Call, 1), make(chan error, 1)
	var said *tradewindv1.ActionBeat
	working(t, clock, func(worker *Worker) { blocking(worker, started, ended) }, func(on *stage) {
		on.welcome()
		on.offer("endless", "1", "{}")
		call := within(t, "the call", started)
		call.Progress("half")
		if err := call.SaveCheckpoint(money{"0.10"}); err != nil {
			t.Error(err)
		}
		clock.advance(2 * time.Second)
		next(on, func(request *tradewindv1.WorkRequest) (bool, bool) { return true, request.GetAccept() != nil })
		clock.untilAsked(t, func(d time.Duration) bool { return d == 500*time.Millisecond })
		clock.advance(8 * time.Second)
		said = next(on, func(request *tradewindv1.WorkRequest) (*tradewindv1.ActionBeat, bool) {
			return request.GetBeat().GetActions()[0], request.GetBeat() != nil
		})
		on.order("1", tradewindv1.OrderKind_ORDER_KIND_LEASE_LOST)
		equal(t, "cause", within(t, "the end", ended), ErrLeaseLost)
	})

	equal(t, "progress", said.GetProgressMessage(), "half")
	equal(t, "checkpoint", string(said.GetCheckpoint().GetData()), `{"amount":0.10}`)
}

func TestCancelStopsTheFunctionAndLeaseLostSilencesIt(t *testing.T) {
	started, ended := make(chan *Call, 2), make(chan error, 2)
	var answer *tradewindv1.ActionResult
	working(t, newHandClock(), func(worker *Worker) { blocking(worker, started, ended) }, func(on *stage) {
		on.welcome()
		on.offer("endless", "1", "{}")
		on.offer("endless", "2", "{}")
		within(t, "a call", started)
		within(t, "a call", started)
		on.order("1", tradewindv1.OrderKind_ORDER_KIND_LEASE_LOST)
		equal(t, "first", within(t, "the first", ended), ErrLeaseLost)
		on.order("2", tradewindv1.OrderKind_ORDER_KIND_CANCEL)
		answer = on.result()
		equal(t, "second", within(t, "the second", ended), ErrActionCancelled)
	})

	equal(t, "token", string(answer.GetToken()), "2")
	equal(t, "code", answer.GetFailure().GetCode(), "CANCELLED")
}

func TestAReconnectListsWhatIsInHandAndSendsUnconfirmedResultsAgain(t *testing.T) {
	started, ended := make(chan *Call, 1), make(chan error, 1)
	prepare := func(worker *Worker) {
		blocking(worker, started, ended)
		worker.Handle("quick", func(context.Context, *Call) (any, error) { return 2, nil })
	}
	var hello *tradewindv1.Hello
	var again *tradewindv1.ActionResult
	working(t, clockThatSkips(100*time.Millisecond), prepare, func(on *stage) {
		on.welcome()
		on.offer("endless", "1", "{}")
		within(t, "the call", started)
		on.offer("quick", "2", "{}")
		on.unconfirmedResult()
		on.end = unavailable
	}, func(on *stage) {
		hello = on.welcome(
			&tradewindv1.InFlightVerdict{Token: []byte("1"), Keep: true}, &tradewindv1.InFlightVerdict{Token: []byte("2"), Keep: true})
		again = on.result()
		on.order("1", tradewindv1.OrderKind_ORDER_KIND_CANCEL)
		equal(t, "cause", within(t, "the first", ended), ErrActionCancelled)
		on.result()
	})

	equal(t, "in flight", string(hello.GetInFlight()[0])+string(hello.GetInFlight()[1]), "12")
	equal(t, "again", string(again.GetToken())+string(again.GetResult().GetData()), "22")
}

func TestWhoReadsOfABreakReadsOfItsEnd(t *testing.T) {
	var written bytes.Buffer
	prepare := func(worker *Worker) {
		worker.client.options.Logger = slog.New(slog.NewTextHandler(&written, nil))
		worker.Handle("quick", func(context.Context, *Call) (any, error) { return 2, nil })
	}
	work := func(on *stage) {
		on.welcome()
		on.offer("quick", "1", "{}")
		on.result()
	}
	working(t, clockThatSkips(100*time.Millisecond), prepare, func(on *stage) {
		work(on)
		on.end = unavailable
	}, work)

	lines := strings.Split(strings.TrimSpace(written.String()), "\n")
	equal(t, "lines", len(lines), 2) // that it was connected at first is for those who debug
	equal(t, "the break", strings.Contains(lines[0], "the worker's stream broke"), true)
	equal(t, "its end", strings.Contains(lines[1], "the worker is connected"), true)
}

// skipping is a clock on which short waits are over at once, and long ones are those of the system.
type skipping struct {
	systemClock
	upTo time.Duration
}

func (c skipping) After(d time.Duration) <-chan time.Time {
	if d <= c.upTo {
		d = 0
	}
	return c.systemClock.After(d)
}

func clockThatSkips(upTo time.Duration) clock { return skipping{upTo: upTo} }

func TestGoAwayOpensAnotherStream(t *testing.T) {
	away := func(on *stage) {
		on.welcome()
		on.send(&tradewindv1.WorkResponse_GoAway{GoAway: &tradewindv1.GoAway{}})
		next(on, func(*tradewindv1.WorkRequest) (bool, bool) { return false, false })
	}
	prepare := func(worker *Worker) {
		worker.Handle("quick", func(context.Context, *Call) (any, error) { return nil, nil })
	}
	working(t, clockThatSkips(100*time.Millisecond), prepare, away, func(on *stage) { on.welcome() })
}

func TestStopDrains(t *testing.T) {
	var heard []string
	started, goOn := make(chan struct{}, 2), make(chan struct{})
	server := &fakeServer{plays: make(chan func(*stage), 1)}
	worker := NewWorker(serve(t, server, newHandClock()), WorkerOptions{})
	worker.Handle("slow", func(context.Context, *Call) (any, error) {
		started <- struct{}{}
		<-goOn
		return nil, nil
	})
	server.plays <- func(on *stage) {
		on.welcome()
		on.offer("slow", "1", "{}")
		within(t, "the call", started)
		worker.Stop()
		next(on, func(request *tradewindv1.WorkRequest) (bool, bool) { return true, request.GetDrain() != nil })
		on.offer("slow", "2", "{}")
		released := next(on, func(request *tradewindv1.WorkRequest) (*tradewindv1.Refuse, bool) {
			return request.GetRefuse(), request.GetRefuse() != nil
		})
		heard = append(heard, string(released.GetReleases()[0].GetToken()))
		close(goOn)
		heard = append(heard, string(on.result().GetToken()))
		next(on, func(*tradewindv1.WorkRequest) (bool, bool) { return false, false })
	}
	done := make(chan error, 1)
	go func() { done <- worker.Run(context.Background()) }()

	equal(t, "error", within(t, "the worker", done), nil)
	equal(t, "heard", strings.Join(heard, " "), "2 1")
}

func TestWhatIsNotDoneInTimeIsGivenBack(t *testing.T) {
	started, ended := make(chan *Call, 1), make(chan error, 1)
	given := make(chan string, 1)
	clock := newHandClock()
	server := &fakeServer{plays: make(chan func(*stage), 1)}
	worker := NewWorker(serve(t, server, clock), WorkerOptions{DrainTimeout: 7 * time.Second})
	blocking(worker, started, ended)
	server.plays <- func(on *stage) {
		on.welcome()
		on.offer("endless", "1", "{}")
		within(t, "the call", started)
		worker.Stop()
		clock.untilAsked(t, func(d time.Duration) bool { return d == 7*time.Second })
		clock.advance(7 * time.Second)
		given <- next(on, func(request *tradewindv1.WorkRequest) (string, bool) {
			return request.GetRefuse().String(), request.GetRefuse() != nil
		})
		next(on, func(*tradewindv1.WorkRequest) (bool, bool) { return false, false })
	}
	done := make(chan error, 1)
	go func() { done <- worker.Run(context.Background()) }()

	within(t, "what is given back", given)
	equal(t, "cause", within(t, "the function", ended), ErrWorkerStopped)
	equal(t, "error", within(t, "the worker", done), nil)
}

func TestAWorkerThatIsRefusedForGoodSaysWhy(t *testing.T) {
	server := &fakeServer{plays: make(chan func(*stage), 1)}
	server.plays <- func(on *stage) { on.end = refusal(t, codes.InvalidArgument, "FIELD_INVALID") }
	worker := NewWorker(serve(t, server, newHandClock()), WorkerOptions{})
	worker.Handle("quick", func(context.Context, *Call) (any, error) { return nil, nil })
	done := make(chan error, 1)
	go func() { done <- worker.Run(context.Background()) }()

	equal(t, "reason", errors.Is(within(t, "the worker", done), ReasonFieldInvalid), true)
}

func TestAStoppedWorkerWithoutAServerReturns(t *testing.T) {
	server := &fakeServer{}
	worker := NewWorker(serve(t, server, newHandClock()), WorkerOptions{})
	worker.Handle("quick", func(context.Context, *Call) (any, error) { return nil, nil })
	worker.Stop()
	done := make(chan error, 1)
	go func() { done <- worker.Run(context.Background()) }()

	equal(t, "error", within(t, "the worker", done), nil)
}
