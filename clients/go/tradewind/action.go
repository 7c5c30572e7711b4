package tradewind

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// ActionFunc does one attempt of an action and returns its result, any JSON value. It runs in a goroutine of its own.
//
// An error, or a panic, fails the attempt; return an [*ActionFailure] to say more. ctx ends when the action is cancelled
// ([ErrActionCancelled] is its cause), when the lease is lost ([ErrLeaseLost]), or when the worker gives up its drain
// ([ErrWorkerStopped]); it carries the trace context of the execution. Most functions are easier to write with [Func].
type ActionFunc func(ctx context.Context, call *Call) (any, error)

// Func makes an [ActionFunc] of a function with an input and a result of its own types, written and read as
// [encoding/json] does. Give money a field of the type [encoding/json.Number]. An input that does not fit fails the action
// with the code BAD_INPUT, for good. [CallOf] gets the [Call].
func Func[Input, Result any](function func(context.Context, Input) (Result, error)) ActionFunc {
	return func(ctx context.Context, call *Call) (any, error) {
		var input Input
		if err := call.Input.Decode(&input); err != nil {
			return nil, &ActionFailure{Code: "BAD_INPUT", Message: err.Error(), IsPermanent: true}
		}
		return function(ctx, input)
	}
}

// The causes ([context.Cause]) with which the context of an action's function ends.
var (
	// ErrActionCancelled means that the action was cancelled. What the function returns is still recorded.
	ErrActionCancelled = errors.New("tradewind: the action was cancelled")
	// ErrLeaseLost means that another worker may have the action; what the function returns is not recorded any more.
	ErrLeaseLost = errors.New("tradewind: the lease of the action is lost")
	// ErrWorkerStopped means that the worker stops; the action is given back, and offered again.
	ErrWorkerStopped = errors.New("tradewind: the worker stops")
)

// ActionFailure is an error that says what the process may know of a failure.
type ActionFailure struct {
	// Code is for programs, in UPPER_SNAKE, e.g. "ACCOUNT_CLOSED"; "" is "FAILED".
	Code string
	// Message is one sentence for people; "" is the code.
	Message string
	// IsPermanent says that trying again cannot help: the task's retry policy is passed by.
	IsPermanent bool
	// Details is any JSON value; nil is none.
	Details any
}

// Error returns code and message.
func (f *ActionFailure) Error() string { return fmt.Sprintf("%s: %s", f.Code, f.Message) }

// failureOf makes the message of an error, whatever it says: an action without a result would never end.
func failureOf(err error) *tradewindv1.Failure {
	var failure *ActionFailure
	if !errors.As(err, &failure) {
		failure = &ActionFailure{Message: err.Error()}
	}
	retryable := !failure.IsPermanent
	made := &tradewindv1.Failure{Code: sendable(failure.Code), Message: sendable(failure.Message), Retryable: &retryable}
	if made.Message == "" {
		made.Message = cmp.Or(made.Code, "FAILED")
	}
	details, notCarried := optionalPayload(failure.Details)
	if notCarried == nil {
		notCarried = fits("details", details)
	}
	if notCarried != nil {
		made.Message += fmt.Sprintf(" (its details are left out: %v)", notCarried)
		return made
	}
	made.Details = details
	return made
}

// sendable returns text as a message can carry it: names of files, for one, may hold what is no UTF-8.
func sendable(text string) string {
	if len(text) > maxTextBytes {
		end := maxTextBytes
		for end > maxTextBytes-utf8.UTFMax && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end]
	}
	return strings.ToValidUTF8(text, "?")
}

// fits refuses what would break the stream for all, again and again.
func fits(what string, payload *tradewindv1.Payload) error {
	if size := len(payload.GetData()); size > maxMessageBytes {
		return fmt.Errorf("%w: %s of %d bytes fit in no message", ErrNotCarried, what, size)
	}
	return nil
}

// Call is one attempt of an action, as its function sees it. It is safe for many goroutines.
type Call struct {
	// ExecutionID is the id of the execution.
	ExecutionID string
	// ActionID is unique in its execution.
	ActionID string
	// Action, Task and Workflow are names.
	Action, Task, Workflow string
	// BusinessKey is that of the execution; "" if it has none.
	BusinessKey string
	// Attempt counts from 1.
	Attempt int
	// ItemIndex is the index of the item, from 0; -1 if the task has no items.
	ItemIndex int
	// IdempotencyKey is the same over all attempts; give it to systems that must act once only.
	IdempotencyKey string
	// Input is an object.
	Input Value
	// LastCheckpoint is what an earlier attempt saved last; absent if none did.
	LastCheckpoint Value
	// Timeout is the time that the attempt had when it was offered; 0 if it has no timeout.
	Timeout time.Duration
	// Offer is the message it came from.
	Offer *tradewindv1.Offer

	note  func(progress string, checkpoint *tradewindv1.Payload)
	write func(line *tradewindv1.LogLine)
}

// LogLevel says how important a line of a log is.
type LogLevel = tradewindv1.LogLevel

// Levels of lines.
const (
	LogDebug   = tradewindv1.LogLevel_LOG_LEVEL_DEBUG
	LogInfo    = tradewindv1.LogLevel_LOG_LEVEL_INFO
	LogWarning = tradewindv1.LogLevel_LOG_LEVEL_WARNING
	LogError   = tradewindv1.LogLevel_LOG_LEVEL_ERROR
)

func newCall(
	offer *tradewindv1.Offer, note func(string, *tradewindv1.Payload), write func(*tradewindv1.LogLine),
) *Call {
	call := &Call{
		ExecutionID:    offer.GetExecutionId(),
		ActionID:       offer.GetActionId(),
		Action:         offer.GetAction(),
		Task:           offer.GetTask(),
		Workflow:       offer.GetWorkflow(),
		BusinessKey:    offer.GetBusinessKey(),
		Attempt:        int(offer.GetAttempt()),
		ItemIndex:      -1,
		IdempotencyKey: offer.GetIdempotencyKey(),
		Input:          Value{offer.GetInput()},
		LastCheckpoint: Value{offer.GetCheckpoint()},
		Timeout:        offer.GetTimeoutLeft().AsDuration(),
		Offer:          offer,
		note:           note,
		write:          write,
	}
	if offer.ItemIndex != nil {
		call.ItemIndex = int(offer.GetItemIndex())
	}
	return call
}

// Progress says how far the action is, for people, with the next beat. The lease is renewed without it.
func (c *Call) Progress(message string) { c.note(sendable(message), nil) }

// Log writes a line into the action's log, which operators read, with the next beat. The server keeps the first 1,000
// lines of an offer, unless it is set otherwise, and 4,096 characters of each; it is for what an operator wants to know,
// not for a program's whole log.
func (c *Call) Log(level LogLevel, message string) {
	if len(message) > 4*maxLogCharacters { // the server cuts by characters
		message = message[:4*maxLogCharacters]
	}
	c.write(&tradewindv1.LogLine{At: timestamppb.Now(), Level: level, Message: strings.ToValidUTF8(message, "?")})
}

// SaveCheckpoint keeps what the next attempt needs to go on from here, any JSON value, with the next beat: it then finds
// it in LastCheckpoint. It fails with [ErrNotCarried].
func (c *Call) SaveCheckpoint(value any) error {
	checkpoint, err := NewValue(value)
	if err != nil {
		return err
	}
	if err := fits("checkpoints", checkpoint.payload); err != nil {
		return err
	}
	c.note("", checkpoint.payload)
	return nil
}

// Most characters that the server keeps of a line of a log.
const maxLogCharacters = 4096

type callKey struct{}

// CallOf returns the call for which ctx was made; nil outside of an action's function.
func CallOf(ctx context.Context) *Call {
	call, _ := ctx.Value(callKey{}).(*Call)
	return call
}

// perform runs a function to its end, whatever it does, and makes the result that is sent; the error is for the log.
func perform(ctx context.Context, function ActionFunc, call *Call) (*tradewindv1.ActionResult, error) {
	value, err := guarded(ctx, function, call)
	var result Value
	if err == nil {
		result, err = newResult(value)
	}
	if err == nil {
		outcome := &tradewindv1.ActionResult_Result{Result: result.payload}
		return &tradewindv1.ActionResult{Token: call.Offer.GetToken(), Outcome: outcome}, nil
	}
	reported := err
	if errors.Is(context.Cause(ctx), ErrActionCancelled) {
		reported = &ActionFailure{Code: "CANCELLED", Message: "The worker stopped it, as ordered.", IsPermanent: true}
	}
	outcome := &tradewindv1.ActionResult_Failure{Failure: failureOf(reported)}
	return &tradewindv1.ActionResult{Token: call.Offer.GetToken(), Outcome: outcome}, err
}

// guarded turns a panic into a failure: it is this action's, not the worker's. So is the end of the goroutine, by which
// testing.T.FailNow ends a test.
func guarded(ctx context.Context, function ActionFunc, call *Call) (value any, err error) {
	ended := make(chan struct{})
	err = &ActionFailure{Code: "GOEXIT", Message: "The function has ended its goroutine instead of returning."}
	go func() {
		defer close(ended)
		defer func() {
			if cause := recover(); cause != nil {
				err = fmt.Errorf("%w\n%s", &ActionFailure{Code: "PANIC", Message: fmt.Sprint(cause)}, debug.Stack())
			}
		}()
		value, err = function(ctx, call)
	}()
	<-ended
	return value, err
}

// newResult makes a result of what a function returned, if it can be sent.
func newResult(value any) (Value, error) {
	result, err := NewValue(value)
	if err != nil {
		return Value{}, &ActionFailure{Code: "RESULT_INVALID", Message: err.Error(), IsPermanent: true}
	}
	if !result.IsPresent() {
		return NewValue(nil)
	}
	if size := len(result.payload.GetData()); size > maxMessageBytes {
		// It would break the stream for all; the server's own limit is lower and says so by a receipt.
		message := fmt.Sprintf("The result has %d bytes.", size)
		return Value{}, &ActionFailure{Code: string(ReasonPayloadTooLarge), Message: message, IsPermanent: true}
	}
	return result, nil
}
