package tradewind

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

func (s *fakeServer) WatchHumanTasks(
	_ *tradewindv1.WatchHumanTasksRequest, stream grpc.ServerStreamingServer[tradewindv1.WatchHumanTasksResponse],
) error {
	s.mutex.Lock()
	script := s.inboxes[0]
	s.inboxes = s.inboxes[1:]
	s.mutex.Unlock()
	return play(stream, script)
}

func (s *fakeServer) SubmitHumanTasks(
	ctx context.Context, request *tradewindv1.SubmitHumanTasksRequest,
) (*tradewindv1.SubmitHumanTasksResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.metadata, _ = metadata.FromIncomingContext(ctx)
	s.submitted = request
	return &tradewindv1.SubmitHumanTasksResponse{Results: []*tradewindv1.SubmitResult{
		{Outcome: &tradewindv1.SubmitResult_HumanTask{HumanTask: &tradewindv1.HumanTask{
			Id: "e1/a1", State: tradewindv1.HumanTaskState_HUMAN_TASK_STATE_COMPLETED,
		}}},
		{Outcome: &tradewindv1.SubmitResult_Refusal{Refusal: &tradewindv1.Refusal{
			Code: int32(codes.Aborted), Reason: "HUMAN_TASK_CHANGED",
		}}},
	}}, nil
}

// holds makes a part of an inbox; the last one says so.
func holds(isComplete bool, ids ...string) *tradewindv1.WatchHumanTasksResponse {
	response := &tradewindv1.WatchHumanTasksResponse{IsComplete: isComplete}
	for _, id := range ids {
		response.HumanTasks = append(response.HumanTasks, &tradewindv1.HumanTask{Id: id})
	}
	return response
}

func TestAnInboxThatComesAnewTellsWhatHasGone(t *testing.T) {
	changed := holds(false, "d")
	changed.RemovedIds = []string{"a"}
	server := &fakeServer{inboxes: [][]any{
		{holds(false, "a", "b"), holds(true, "c"), changed, holds(false), unavailable},
		{holds(false, "b"), unavailable},
		{holds(false, "b"), holds(true, "e"), refusal(t, codes.InvalidArgument, "FILTER_INVALID")},
	}}
	client := serve(t, server, &instantClock{})
	var seen []string
	var end error
	for update, err := range client.People().Watch(context.Background(), ScopeInbox, "") {
		if end = err; err != nil {
			break
		}
		ids := each(update.HumanTasks, func(task *HumanTask) string { return task.ID })
		seen = append(seen, fmt.Sprint(ids, update.Removed, update.IsComplete))
	}

	equal(t, "seen", strings.Join(seen, " "),
		"[a b] [] false [c] [] true [d] [a] false [b] [] false [b] [] false [e] [c d] true")
	equal(t, "invalid", errors.Is(end, ReasonFilterInvalid), true)
}

func TestManyAreDecidedEachForItselfByTheUser(t *testing.T) {
	server := &fakeServer{}
	address, _ := listen(t, server)
	client := connect(t, Options{Addresses: []string{address}, User: "jörg k", Groups: []string{"heads", "höhere"}})
	seen := []*HumanTask{{ID: "e1/a1", ETag: "1"}, {ID: "e1/a2", ETag: "2"}}
	found, err := client.People().SubmitMany(context.Background(), seen, Decision{Outcome: "approve", Reason: "fine"})

	equal(t, "error", err, nil)
	equal(t, "first", found[0].HumanTask.State, "COMPLETED")
	equal(t, "second", errors.Is(found[1].Err, ReasonHumanTaskChanged), true)
	one, two := server.submitted.GetRequests()[0], server.submitted.GetRequests()[1]
	equal(t, "seen", one.GetEtag()+two.GetEtag(), "12")
	equal(t, "ids of their own", one.GetRequestId() != "" && one.GetRequestId() != two.GetRequestId(), true)
	equal(t, "user", strings.Join(server.metadata.Get("x-tradewind-user"), ""), "j%C3%B6rg%20k")
	equal(t, "groups", strings.Join(server.metadata.Get("x-tradewind-groups"), ""), "heads,h%C3%B6here")
}

func (s *fakeServer) ListNotifications(
	_ context.Context, request *tradewindv1.ListNotificationsRequest,
) (*tradewindv1.ListNotificationsResponse, error) {
	if request.GetPageToken() == "" {
		return &tradewindv1.ListNotificationsResponse{
			Notifications: []*tradewindv1.Notification{{Id: request.GetStates()[0].String()}}, NextPageToken: "more",
		}, nil
	}
	return &tradewindv1.ListNotificationsResponse{Notifications: []*tradewindv1.Notification{{Id: "last"}}}, nil
}

func (s *fakeServer) RetryNotifications(
	_ context.Context, request *tradewindv1.RetryNotificationsRequest,
) (*tradewindv1.RetryNotificationsResponse, error) {
	return &tradewindv1.RetryNotificationsResponse{RetriedCount: int32(len(request.GetIds()))}, nil
}

func TestDeadNotificationsAreListedAndRetried(t *testing.T) {
	client := serve(t, &fakeServer{}, &instantClock{})
	var ids []string
	for found, err := range client.Notifications(context.Background(), tradewindv1.NotificationState_NOTIFICATION_STATE_DEAD) {
		equal(t, "error", err, nil)
		ids = append(ids, found.GetId())
	}
	retried, err := client.RetryNotifications(context.Background(), ids...)

	equal(t, "ids", strings.Join(ids, " "), "NOTIFICATION_STATE_DEAD last")
	equal(t, "error", err, nil)
	equal(t, "retried", retried, 2)
}
