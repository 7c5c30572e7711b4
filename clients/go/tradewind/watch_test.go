package tradewind

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

func events(revisions ...int64) *tradewindv1.WatchExecutionResponse {
	response := &tradewindv1.WatchExecutionResponse{Revision: revisions[len(revisions)-1]}
	for _, revision := range revisions {
		response.Events = append(response.Events, &tradewindv1.Event{ExecutionId: "e1", Revision: revision, Type: "TaskStarted"})
	}
	return response
}

// watched plays streams, and returns the revisions seen and those asked for.
func watched(t *testing.T, streams ...[]any) (seen, asked []int64) {
	t.Helper()
	server := &fakeServer{watches: streams}
	client := serve(t, server, &instantClock{})
	for event, err := range client.Watch(context.Background(), "e1", 0) {
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, event.Revision)
	}
	for _, request := range server.asked {
		asked = append(asked, request.GetAfterRevision())
	}
	return seen, asked
}

func TestAWatchGoesOnAfterTheLastRevision(t *testing.T) {
	seen, asked := watched(t, []any{events(1, 2), unavailable}, []any{events(3), events(4)})

	equal(t, "seen", fmt.Sprint(seen), "[1 2 3 4]")
	equal(t, "asked", fmt.Sprint(asked), "[0 2]")
}

func TestAWatchDropsWhatItHasSeenAndAsksAgainForWhatIsMissing(t *testing.T) {
	seen, asked := watched(t,
		[]any{events(1), events(1, 2), events(4)}, []any{events(3, 5)}, []any{events(3, 4)})

	equal(t, "seen", fmt.Sprint(seen), "[1 2 3 4]")
	equal(t, "asked", fmt.Sprint(asked), "[0 2 2]")
}

func TestWhoWatchesReadsOfABreakAndOfItsEnd(t *testing.T) {
	var written bytes.Buffer
	server := &fakeServer{watches: [][]any{
		{events(1), unavailable}, {events(2), unavailable}, {events(4)}, // goes on at once, or leaves something out
		{unavailable}, {unavailable}, {unavailable}, {events(3), events(4)},
	}}
	client := serve(t, server, &instantClock{})
	client.options.Logger = slog.New(slog.NewTextHandler(&written, nil))
	for _, err := range client.Watch(context.Background(), "e1", 0) {
		if err != nil {
			t.Fatal(err)
		}
	}

	lines := strings.Split(strings.TrimSpace(written.String()), "\n")
	equal(t, "lines", len(lines), 2) // however often it was tried meanwhile
	equal(t, "the break", strings.Contains(lines[0], "nothing is heard from a server"), true)
	equal(t, "its end", strings.Contains(lines[1], "the server is heard from again"), true)
}

func TestAWatchEndsWithTheRefusal(t *testing.T) {
	server := &fakeServer{watches: [][]any{{events(1), refusal(t, codes.OutOfRange, "REVISION_COMPACTED")}}}
	client := serve(t, server, &instantClock{})
	var told []string
	for event, err := range client.Watch(context.Background(), "e1", 0) {
		told = append(told, fmt.Sprint(event != nil, errors.Is(err, ReasonRevisionCompacted)))
	}
	equal(t, "told", fmt.Sprint(told), "[true false false true]")
}

func TestAWatchThatIsLeftAsksForNothingMore(t *testing.T) {
	server := &fakeServer{watches: [][]any{{events(1, 2), events(3)}}}
	client := serve(t, server, &instantClock{})
	for event := range client.Watch(context.Background(), "e1", 0) {
		if event.Revision == 2 {
			break
		}
	}
	equal(t, "streams", len(server.asked), 1)
}

func TestAWatchEndsWithItsContext(t *testing.T) {
	server := &fakeServer{watches: [][]any{{events(1), unavailable}}}
	client := serve(t, server, newHandClock())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var last error
	for event, err := range client.Watch(ctx, "e1", 0) {
		if event != nil {
			cancel() // it would wait for ever on this clock
		}
		last = err
	}
	equal(t, "error", errors.Is(last, context.Canceled), true)
}

func TestUpdatesBeginWithAWholeSnapshot(t *testing.T) {
	running := &tradewindv1.Execution{Id: "e1", Revision: 3, State: tradewindv1.ExecutionState_EXECUTION_STATE_RUNNING}
	part := &tradewindv1.WatchExecutionResponse{Revision: 3, Continued: true, Snapshot: &tradewindv1.Snapshot{
		Execution: running, Tasks: []*tradewindv1.Task{{Name: "a"}},
	}}
	rest := &tradewindv1.WatchExecutionResponse{Revision: 3, Snapshot: &tradewindv1.Snapshot{
		Tasks: []*tradewindv1.Task{{Name: "b"}},
	}}
	quiet := &tradewindv1.WatchExecutionResponse{Revision: 3, Checkpoint: &tradewindv1.Checkpoint{}}
	server := &fakeServer{watches: [][]any{{part, unavailable}, {part, rest, quiet, unavailable}, {events(4)}}}
	client := serve(t, server, &instantClock{})
	var updates []*Update
	for update, err := range client.Updates(context.Background(), "e1", FromSnapshot) {
		if err != nil {
			t.Fatal(err)
		}
		updates = append(updates, update)
	}

	equal(t, "updates", len(updates), 2)
	equal(t, "state", updates[0].Snapshot.Execution.State, ExecutionRunning)
	equal(t, "tasks", updates[0].Snapshot.Tasks[0].Name+updates[0].Snapshot.Tasks[1].Name, "ab")
	equal(t, "revisions", fmt.Sprint(updates[0].Revision, updates[1].Revision), "3 4")
	equal(t, "first", server.asked[1].GetWithSnapshot(), true)
	equal(t, "then", server.asked[2].GetAfterRevision(), 3)
}

func TestWaitReturnsTheEndedExecution(t *testing.T) {
	server := &fakeServer{
		watches:   [][]any{{events(2), unavailable}, {events(3)}},
		execution: &tradewindv1.Execution{Id: "e1", Revision: 1, State: tradewindv1.ExecutionState_EXECUTION_STATE_RUNNING},
	}
	client := serve(t, server, &instantClock{})
	execution, err := client.Wait(context.Background(), "e1")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "state", execution.State, ExecutionSucceeded)
	equal(t, "revision", execution.Revision, 3)
}
