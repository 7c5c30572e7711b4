package tradewind

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// Error says why a call was refused or could not be made. Branch on the reason or the kind with [errors.Is], never on the
// message, which may be reworded. docs/errors.md lists all reasons.
type Error struct {
	// Reason is a name from docs/errors.md; the name of the gRPC code if no server answered.
	Reason Reason

	// Code is the gRPC status code.
	Code codes.Code

	// Message says what was expected, what was found, and what to do.
	Message string

	// Metadata holds the variable parts of the message, by name.
	Metadata map[string]string

	// Violations are the fields at fault; empty unless the request is.
	Violations []Violation

	// RetryAfter is how long to wait before trying again; 0 if the server does not say.
	RetryAfter time.Duration

	cause error
}

// Violation is one field of a request, or one place in a definition, that is wrong.
type Violation struct {
	// Field is the path of the field, or file, line and column of a definition.
	Field string

	// Description says what is wrong with it.
	Description string
}

// Error returns the message and, in brackets, the reason.
func (e *Error) Error() string { return fmt.Sprintf("%s [%s]", e.Message, string(e.Reason)) }

// Is says whether target is this error's [Reason] or [Kind].
func (e *Error) Is(target error) bool {
	switch wanted := target.(type) {
	case Reason:
		return wanted == e.Reason
	case Kind:
		return wanted.has(e.Code)
	}
	return false
}

// Unwrap returns [context.Canceled] or [context.DeadlineExceeded] if the caller's context ended the call, else nil.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus returns the error as gRPC sees it, without details.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

// Reason is the name of a refusal, e.g. [ReasonStaleAttempt]. It is an error, so that [errors.Is] takes it.
type Reason string

// Error returns the name.
func (r Reason) Error() string { return string(r) }

// Kind is a sort of refusal, wider than a [Reason]. It is an error, so that [errors.Is] takes it.
type Kind string

const (
	// ErrInvalidRequest means that the request itself is wrong; Violations says where.
	ErrInvalidRequest Kind = "invalid request"
	// ErrNotFound means that what the request names does not exist in the namespace.
	ErrNotFound Kind = "not found"
	// ErrAlreadyExists means that an id or key is taken.
	ErrAlreadyExists Kind = "already exists"
	// ErrWrongState means that the execution, task or action is in a state that does not allow it.
	ErrWrongState Kind = "wrong state"
	// ErrConflict means that something newer came in between, such as another attempt of the action.
	ErrConflict Kind = "conflict"
	// ErrExhausted means that a limit is reached; try again later.
	ErrExhausted Kind = "exhausted"
	// ErrOutOfRange means that a revision is not there any more, or not yet.
	ErrOutOfRange Kind = "out of range"
	// ErrDenied means that the caller is not known, or may not do this.
	ErrDenied Kind = "denied"
	// ErrUnavailable means that no server answers; the call can be repeated.
	ErrUnavailable Kind = "unavailable"
	// ErrDeadlineExceeded means that no answer came in time; whether the call had an effect is not known.
	ErrDeadlineExceeded Kind = "deadline exceeded"
	// ErrServerFailed means that the server failed in a way that it does not declare; its log has the details under
	// Metadata["log_id"].
	ErrServerFailed Kind = "server failed"
)

// Error returns the kind in words.
func (k Kind) Error() string { return string(k) }

var kinds = map[codes.Code]Kind{
	codes.InvalidArgument:    ErrInvalidRequest,
	codes.NotFound:           ErrNotFound,
	codes.AlreadyExists:      ErrAlreadyExists,
	codes.FailedPrecondition: ErrWrongState,
	codes.Aborted:            ErrConflict,
	codes.ResourceExhausted:  ErrExhausted,
	codes.OutOfRange:         ErrOutOfRange,
	codes.PermissionDenied:   ErrDenied,
	codes.Unauthenticated:    ErrDenied,
	codes.Unavailable:        ErrUnavailable,
	codes.DeadlineExceeded:   ErrDeadlineExceeded,
	codes.Internal:           ErrServerFailed,
}

func (k Kind) has(code codes.Code) bool { return kinds[code] == k }

// fromRPC turns gRPC's error into ours; nil stays nil.
func fromRPC(err error) error {
	if err == nil {
		return nil
	}
	found := status.Convert(err)
	refusal := &Error{Reason: Reason(codeName(found.Code())), Code: found.Code(), Message: found.Message()}
	for _, detail := range found.Details() {
		refusal.take(detail)
	}
	switch found.Code() {
	case codes.Canceled:
		refusal.cause = context.Canceled
	case codes.DeadlineExceeded:
		refusal.cause = context.DeadlineExceeded
	}
	return refusal
}

func (e *Error) take(detail any) {
	switch about := detail.(type) {
	case *errdetails.ErrorInfo:
		e.Reason, e.Metadata = Reason(about.GetReason()), about.GetMetadata()
	case *errdetails.BadRequest:
		for _, field := range about.GetFieldViolations() {
			e.Violations = append(e.Violations, Violation{field.GetField(), field.GetDescription()})
		}
	case *errdetails.RetryInfo:
		e.RetryAfter = about.GetRetryDelay().AsDuration()
	}
}

// fromRefusal makes the error of one item in a call that handles many.
func fromRefusal(refusal *tradewindv1.Refusal) *Error {
	made := &Error{
		Reason:     Reason(refusal.GetReason()),
		Code:       codes.Code(refusal.GetCode()),
		Message:    refusal.GetMessage(),
		Metadata:   refusal.GetMetadata(),
		RetryAfter: refusal.GetRetryAfter().AsDuration(),
	}
	if refusal.GetField() != "" {
		made.Violations = []Violation{{refusal.GetField(), refusal.GetMessage()}}
	}
	return made
}

// isHopeless says whether another try of a stream cannot help.
func isHopeless(err error) bool {
	for _, kind := range []Kind{ErrInvalidRequest, ErrDenied} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return status.Code(err) == codes.Unimplemented
}

// codeName returns the name of a code as the API's documents write it, e.g. "UNAVAILABLE".
func codeName(code codes.Code) string {
	text := make([]byte, 0, 24)
	for position, letter := range []byte(code.String()) {
		if letter >= 'A' && letter <= 'Z' && position > 0 && code != codes.OK {
			text = append(text, '_')
		}
		if letter >= 'a' && letter <= 'z' {
			letter -= 'a' - 'A'
		}
		text = append(text, letter)
	}
	return string(text)
}
