package tradewind

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

func TestACallThatFindsNoServerIsRepeatedWithItsRequestID(t *testing.T) {
	server := &fakeServer{}
	for range 7 { // more than gRPC's own tries
		server.answers = append(server.answers, unavailable)
	}
	client := serve(t, server, &instantClock{})
	execution, err := client.Start(context.Background(), Start{Workflow: "w", Input: map[string]any{"n": json.Number("0.10")}})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "input", execution.Input.String(), `{"n":0.10}`)
	equal(t, "tries", len(server.starts), 8)
	for _, start := range server.starts {
		equal(t, "request id", start.GetRequestId(), server.starts[0].GetRequestId())
	}
	if server.starts[0].GetRequestId() == "" {
		t.Error("no request id")
	}
}

func TestPatienceEnds(t *testing.T) {
	t.Parallel() // gRPC's own repeats take seconds
	server := &fakeServer{}
	for range 100 {
		server.answers = append(server.answers, unavailable)
	}
	clock := &instantClock{}
	client := serve(t, server, clock)
	_, err := client.Start(context.Background(), Start{Workflow: "w"})

	equal(t, "unavailable", errors.Is(err, ErrUnavailable), true)
	if passed := clock.now.Sub(time.Time{}); passed > defaultPatience || passed < defaultPatience/2 {
		t.Errorf("patience lasted %s", passed)
	}
}

// Its server went down after more than the patience: the call failed, and was not made again at another one.
func TestACallThatAServerHasHadForLongIsRepeated(t *testing.T) {
	t.Parallel() // gRPC's own repeats take seconds
	clock := &instantClock{}
	server := &fakeServer{waits: func() { <-clock.After(defaultPatience / 2) }}
	for range 3 { // gRPC's own tries
		server.answers = append(server.answers, unavailable)
	}
	client := serve(t, server, clock)
	execution, err := client.StartAndWait(context.Background(), Start{Workflow: "w"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "execution", execution.ID, "e1")
	equal(t, "request id", server.starts[3].GetRequestId(), server.starts[0].GetRequestId())
}

func TestAServerThatAsksForTimeGetsIt(t *testing.T) {
	retry := &errdetails.RetryInfo{RetryDelay: durationpb.New(7 * time.Second)}
	server := &fakeServer{answers: []error{refusal(t, codes.ResourceExhausted, "QUEUE_FULL", retry)}}
	clock := &instantClock{}
	client := serve(t, server, clock)
	if _, err := client.Start(context.Background(), Start{Workflow: "w"}); err != nil {
		t.Fatal(err)
	}
	equal(t, "waited", clock.waited[0], 7*time.Second)
}

func TestARefusalIsNotRepeated(t *testing.T) {
	server := &fakeServer{answers: []error{refusal(t, codes.NotFound, "DEFINITION_NOT_FOUND")}}
	client := serve(t, server, &instantClock{})
	_, err := client.Start(context.Background(), Start{Workflow: "w"})

	equal(t, "reason", errors.Is(err, ReasonDefinitionNotFound), true)
	equal(t, "tries", len(server.starts), 1)
}

func TestTokenAndTraceGoWithEachCall(t *testing.T) {
	server := &fakeServer{}
	client := serve(t, server, &instantClock{})
	ctx := WithTraceparent(context.Background(), "00-1-2-01")
	if _, err := client.Start(ctx, Start{Workflow: "w"}); err != nil {
		t.Fatal(err)
	}
	equal(t, "token", server.metadata.Get("authorization")[0], "Bearer secret")
	equal(t, "trace", server.metadata.Get("traceparent")[0], "00-1-2-01")
}

func TestAStartSaysAllThatItWasTold(t *testing.T) {
	request, err := Start{
		Workflow: "w", BusinessKey: "k", UseExisting: true, RequestID: "r", EnvName: "prod", Params: map[string]any{"a": 1},
	}.request("n")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "namespace", request.GetNamespace(), "n")
	equal(t, "request id", request.GetRequestId(), "r")
	equal(t, "env", request.GetEnvName(), "prod")
	equal(t, "params", string(request.GetParams().GetData()), `{"a":1}`)
	equal(t, "input", request.GetInput(), nil)
	equal(t, "policy", request.GetBusinessKeyPolicy(), tradewindv1.BusinessKeyPolicy_BUSINESS_KEY_POLICY_USE_EXISTING)
	_, err = Start{Workflow: "w", Env: func() {}}.request("n")
	equal(t, "bad value", errors.Is(err, ErrNotCarried), true)
}

func TestPagesAreReadAsTheyAreNeeded(t *testing.T) {
	loaded := 0
	load := func(token string) ([]int, string, error) {
		loaded++
		if token == "" {
			return []int{1, 2}, "more", nil
		}
		return []int{3}, "", nil
	}
	sum := 0
	for item, err := range pages(load) {
		if err != nil {
			t.Fatal(err)
		}
		sum += item
		if item == 2 {
			break
		}
	}
	equal(t, "loaded", loaded, 1)
	for item := range pages(load) {
		sum += item
	}
	equal(t, "sum", sum, 9)
	equal(t, "loaded", loaded, 3)
}
