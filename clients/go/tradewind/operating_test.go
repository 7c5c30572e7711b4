package tradewind

import (
	"context"
	"testing"
	"time"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

func (s *fakeServer) ListWorkers(
	_ context.Context, request *tradewindv1.ListWorkersRequest,
) (*tradewindv1.ListWorkersResponse, error) {
	if request.GetPageToken() == "" {
		return &tradewindv1.ListWorkersResponse{
			Workers: []*tradewindv1.Worker{{WorkerId: request.GetFilter()}}, NextPageToken: "more",
		}, nil
	}
	return &tradewindv1.ListWorkersResponse{Workers: []*tradewindv1.Worker{{WorkerId: "last"}}}, nil
}

func (s *fakeServer) DrainWorker(
	_ context.Context, request *tradewindv1.DrainWorkerRequest,
) (*tradewindv1.DrainWorkerResponse, error) {
	s.drained = request
	return &tradewindv1.DrainWorkerResponse{Workers: []*tradewindv1.Worker{{WorkerId: request.GetWorkerId()}}}, nil
}

func (s *fakeServer) PutActionLimit(
	_ context.Context, request *tradewindv1.PutActionLimitRequest,
) (*tradewindv1.PutActionLimitResponse, error) {
	s.limit = request.GetLimit()
	return &tradewindv1.PutActionLimitResponse{Limit: s.limit}, nil
}

func (s *fakeServer) ListActionLimits(
	context.Context, *tradewindv1.ListActionLimitsRequest,
) (*tradewindv1.ListActionLimitsResponse, error) {
	return &tradewindv1.ListActionLimitsResponse{Limits: []*tradewindv1.ActionLimit{s.limit}}, nil
}

func TestWorkersAreListedPageByPageAndDrained(t *testing.T) {
	server := &fakeServer{}
	client := serve(t, server, &instantClock{})
	names := ""
	for worker, err := range client.Workers(context.Background(), "state = ACTIVE") {
		if err != nil {
			t.Fatal(err)
		}
		names += worker.GetWorkerId() + ";"
	}
	equal(t, "workers", names, "state = ACTIVE;last;")
	drained, err := client.DrainWorker(context.Background(), "w1", "i1", "new disks")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "drained", drained[0].GetWorkerId(), "w1")
	equal(t, "instance", server.drained.GetInstance(), "i1")
	equal(t, "message", server.drained.GetMessage(), "new disks")
}

func TestALimitSaysWhatItBounds(t *testing.T) {
	server := &fakeServer{}
	client := serve(t, server, &instantClock{})
	none := uint32(0)
	limit := ActionLimit{Action: "pay", Concurrency: &none, Rate: 100, Period: time.Minute}
	if err := client.PutLimit(context.Background(), limit); err != nil {
		t.Fatal(err)
	}
	found, err := client.Limits(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "action", found[0].Action, "pay")
	equal(t, "concurrency", *found[0].Concurrency, 0)
	equal(t, "rate", found[0].Rate, 100)
	equal(t, "period", found[0].Period, time.Minute)

	if err := client.PutLimit(context.Background(), ActionLimit{Action: "pay", Rate: 1, Period: time.Second}); err != nil {
		t.Fatal(err)
	}
	equal(t, "no bound", server.limit.Concurrency == nil, true)
}
