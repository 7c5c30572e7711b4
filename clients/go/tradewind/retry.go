package tradewind

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
)

const (
	firstDelay   = 100 * time.Millisecond
	longestDelay = 5 * time.Second
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
type retryDelays struct{ next time.Duration }

func (d *retryDelays) reset() { d.next = 0 }

func (d *retryDelays) delay() time.Duration {
	if d.next == 0 {
		d.next = firstDelay
	}
	delay := d.next/2 + rand.N(d.next/2)
	d.next = min(d.next*2, longestDelay)
	return delay
}

// before returns how long to wait before the same request is sent again, and whether it should be. Safe for mutations
// too, because a repeat carries the same request id.
func (d *retryDelays) before(err error) (time.Duration, bool) {
	var refusal *Error
	if !errors.As(err, &refusal) {
		return 0, false
	}
	if refusal.Code == codes.Unavailable || refusal.Code == codes.ResourceExhausted && refusal.RetryAfter > 0 {
		return max(refusal.RetryAfter, d.delay()), true
	}
	return 0, false
}
