package tradewind

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

func TestReasonsAreThoseOfTheContract(t *testing.T) {
	var contract []string
	for name := range maps.Values(tradewindv1.ErrorReason_name) {
		if reason := strings.TrimPrefix(name, "ERROR_REASON_"); reason != "UNSPECIFIED" {
			contract = append(contract, reason)
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), "reasons.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ours []string
	ast.Inspect(file, func(node ast.Node) bool {
		if literal, is := node.(*ast.BasicLit); is && literal.Kind == token.STRING {
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			ours = append(ours, text)
		}
		return true
	})
	slices.Sort(contract)
	slices.Sort(ours)
	equal(t, "reasons", strings.Join(ours, " "), strings.Join(contract, " "))
}

func TestARefusalIsTypedByReasonAndKind(t *testing.T) {
	request := &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "input", Description: "no"}}}
	retry := &errdetails.RetryInfo{RetryDelay: durationpb.New(2 * time.Second)}
	err := fromRPC(refusal(t, codes.Aborted, "STALE_ATTEMPT", request, retry))

	equal(t, "reason", errors.Is(err, ReasonStaleAttempt), true)
	equal(t, "other reason", errors.Is(err, ReasonLeaseLost), false)
	equal(t, "kind", errors.Is(err, ErrConflict), true)
	equal(t, "other kind", errors.Is(err, ErrNotFound), false)
	equal(t, "code", status.Code(err), codes.Aborted)
	var details *Error
	if !errors.As(err, &details) {
		t.Fatal("not an Error")
	}
	equal(t, "metadata", details.Metadata["execution"], "e1")
	equal(t, "violation", details.Violations[0], Violation{"input", "no"})
	equal(t, "retry", details.RetryAfter, 2*time.Second)
	equal(t, "text", err.Error(), "Expected one thing, but got another. [STALE_ATTEMPT]")
}

func TestAnEndedContextIsToldApart(t *testing.T) {
	client := serve(t, &fakeServer{}, systemClock{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := client.Get(ctx, "e1")

	equal(t, "cancelled", errors.Is(err, context.Canceled), true)
	late := fromRPC(status.Error(codes.DeadlineExceeded, "late"))
	equal(t, "deadline", errors.Is(late, context.DeadlineExceeded), true)
	equal(t, "deadline", errors.Is(late, ErrDeadlineExceeded), true)
}

func TestWithoutAServerTheReasonIsTheCode(t *testing.T) {
	equal(t, "reason", errors.Is(fromRPC(unavailable), Reason("UNAVAILABLE")), true)
	equal(t, "nothing", fromRPC(nil), nil)
	equal(t, "name", codeName(codes.ResourceExhausted), "RESOURCE_EXHAUSTED")
}
