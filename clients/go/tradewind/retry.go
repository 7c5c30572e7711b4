package tradewind

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
)

const (
	firstDelay   = 100 * time.Millisecond
	longestDelay = 5 * time.Second

	// Between two tries to connect, give or take a fifth.
	longestReconnect = time.Second

	// Patience of what goes on until its caller ends it.
	forever = time.Duration(math.MaxInt64)
)

// clock tells the time and waits; tests bring their own.
type clock interface {
	Now() time.Time
	After(time.Duration) <-chan time.Time
}

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// wait blocks for a delay; it returns early, with the reason, if ctx ends.
func wait(ctx context.Context, clock clock, delay time.Duration) error {
	select {
	case <-clock.After(delay):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// retryDelays gives delays that double up to a bound, each drawn at random between half and all of it: clients that lost
// the same server do not come back at the same moment.
type retryDelays struct {
	next time.Duration
	// log is where a stream says that nothing comes.
	log *slog.Logger
	// failures are the tries of a stream that gave nothing, one after the other.
	failures int
}

// toldFailures is how many make it worth a word: a stream that breaks and goes on at once has cost nobody anything.
const toldFailures = 2

func (d *retryDelays) reset() {
	d.next = 0
	if d.failures >= toldFailures {
		d.log.Warn("the server is heard from again")
	}
	d.failures = 0
}

// tell logs, once until something comes again, that nothing comes: else that could mean that nothing happens.
func (d *retryDelays) tell(stream string, err error) {
	d.failures++
	if d.failures == toldFailures {
		d.log.Warn("nothing is heard from a server, and tried again until it is", "stream", stream, "error", err)
	}
}

func (d *retryDelays) delay() time.Duration {
	if d.next == 0 {
		d.next = firstDelay
	}
	delay := d.next/2 + rand.N(d.next/2)
	d.next = min(d.next*2, longestDelay)
	return delay
}

// before returns how long to wait before the same request is sent again, and whether it should be. With some time left of
// the patience, it is no more than half of that, unless the server asks for more: a long delay is not a reason to end
// before the patience does, and something is left for the next try. Safe for mutations too, because a repeat carries the
// same request id.
func (d *retryDelays) before(err error, left time.Duration) (time.Duration, bool) {
	var refusal *Error
	if !errors.As(err, &refusal) || left < max(refusal.RetryAfter, firstDelay) {
		return 0, false
	}
	if refusal.Code == codes.Unavailable || refusal.Code == codes.ResourceExhausted && refusal.RetryAfter > 0 {
		return max(refusal.RetryAfter, min(d.delay(), left/2)), true
	}
	return 0, false
}

// isBroken says whether the connection failed, or what lies between; a server that refuses says why by a reason of its
// own.
func isBroken(err error) bool { return errors.Is(err, Reason(codeName(codes.Unavailable))) }
