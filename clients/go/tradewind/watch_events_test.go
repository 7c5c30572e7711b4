package tradewind

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// told makes a response; events are written "execution/revision".
func told(cursor string, events ...string) *tradewindv1.WatchEventsResponse {
	response := &tradewindv1.WatchEventsResponse{Cursor: cursor}
	for _, text := range events {
		event := &tradewindv1.Event{}
		if _, err := fmt.Sscanf(strings.Replace(text, "/", " ", 1), "%s %d", &event.ExecutionId, &event.Revision); err != nil {
			panic(err)
		}
		response.Events = append(response.Events, event)
	}
	return response
}

// shown makes a part of a snapshot, of executions at revision 5.
func shown(cursor string, ids ...string) *tradewindv1.WatchEventsResponse {
	response := &tradewindv1.WatchEventsResponse{Cursor: cursor, Continued: cursor == ""}
	for _, id := range ids {
		response.Snapshot = append(response.Snapshot, &tradewindv1.Execution{Id: id, Revision: 5})
	}
	return response
}

// followed plays streams to a watch of the namespace, and returns what it told and how it ended.
func followed(t *testing.T, server *fakeServer, options ...LogOption) (updates []*LogUpdate, end error) {
	t.Helper()
	client := serve(t, server, &instantClock{})
	for update, err := range client.WatchEvents(context.Background(), "workflow = x", options...) {
		if err != nil {
			return updates, err
		}
		updates = append(updates, update)
	}
	t.Fatal("the log ended without an error")
	return nil, nil
}

func seenIn(updates []*LogUpdate) string {
	var seen []string
	for _, update := range updates {
		for _, event := range update.Events {
			seen = append(seen, fmt.Sprint(event.ExecutionID, "/", event.Revision))
		}
	}
	return strings.Join(seen, " ")
}

func cursorsAsked(server *fakeServer) string {
	var cursors []string
	for _, request := range server.logAsked {
		cursors = append(cursors, fmt.Sprintf("%q", request.GetCursor()))
	}
	return strings.Join(cursors, " ")
}

func TestAStreamThatEndsWellIsNotTold(t *testing.T) {
	var written bytes.Buffer
	server := &fakeServer{logs: [][]any{
		{told("c1", "a/1")}, {}, {}, {}, // as those of servers that go down, one after the other
		{told("c2", "a/2"), refusal(t, codes.OutOfRange, "CURSOR_LOST")},
	}}
	client := serve(t, server, &instantClock{})
	client.options.Logger = slog.New(slog.NewTextHandler(&written, nil))
	var last error
	for _, err := range client.WatchEvents(context.Background(), "") {
		last = err
	}

	equal(t, "ended by the refusal", errors.Is(last, ReasonCursorLost), true)
	equal(t, "the log", written.String(), "")
}

func TestALogGoesOnAfterTheLastCursorHoweverTheStreamEnds(t *testing.T) {
	server := &fakeServer{logs: [][]any{
		{told("c1", "a/1"), told("c2", "b/1"), unavailable},
		{told("c3", "a/2")},
		{told("c4", "a/3"), refusal(t, codes.OutOfRange, "CURSOR_LOST")},
	}}
	updates, end := followed(t, server, FromBeginning())

	equal(t, "lost", errors.Is(end, ReasonCursorLost), true)
	equal(t, "seen", seenIn(updates), "a/1 b/1 a/2 a/3")
	equal(t, "asked", cursorsAsked(server), `"" "c2" "c3"`)
	equal(t, "first", server.logAsked[0].GetFromBeginning(), true)
	equal(t, "cursor", updates[3].Cursor, "c4")
	for _, request := range server.logAsked {
		equal(t, "filter", request.GetFilter(), "workflow = x")
		equal(t, "namespace", request.GetNamespace(), "default")
	}
}

func TestALogThatNobodyServesIsNotAskedForInATightLoop(t *testing.T) {
	server := &fakeServer{logs: [][]any{{}, {}, {refusal(t, codes.InvalidArgument, "CURSOR_INVALID")}}}
	client := serve(t, server, newHandClock())
	clock := client.clock.(*handClock)
	ended := make(chan error, 1)
	go func() {
		for _, err := range client.WatchEvents(context.Background(), "") {
			ended <- err
		}
	}()
	for range 2 {
		clock.advance(clock.untilAsked(t, func(time.Duration) bool { return true }))
	}

	equal(t, "invalid", errors.Is(within(t, "the refusal", ended), ReasonCursorInvalid), true)
}

func TestALogStartsWhereItIsToldTo(t *testing.T) {
	starts := map[string][]LogOption{
		"now":       nil,
		"beginning": {FromBeginning()},
		"snapshot":  {WithSnapshot()},
		"cursor":    {AfterCursor("c1")},
		"saved":     {AfterCursor("c1"), WithSnapshot()},
		"not saved": {AfterCursor(""), FromBeginning()},
	}
	expected := map[string]string{
		"now":       "<nil>",
		"beginning": "&{true}",
		"snapshot":  "&{true}",
		"cursor":    "&{c1}",
		"saved":     "&{c1}",
		"not saved": "&{true}",
	}
	for name, options := range starts {
		server := &fakeServer{logs: [][]any{{refusal(t, codes.InvalidArgument, "FILTER_INVALID")}}}
		_, end := followed(t, server, append(options, Coalesce())...)

		request := server.logAsked[0]
		equal(t, name, fmt.Sprint(request.GetStart()), expected[name])
		equal(t, name, request.GetWithSnapshot(), name == "snapshot")
		equal(t, name, request.GetCoalesce(), true)
		equal(t, name, errors.Is(end, ReasonFilterInvalid), true)
	}
}

func TestASnapshotOfTheLogComesWhole(t *testing.T) {
	server := &fakeServer{logs: [][]any{
		{shown("", "gone", "a"), unavailable},
		{shown("", "a"), shown("c1", "b"), unavailable},
		{refusal(t, codes.OutOfRange, "CURSOR_LOST")},
	}}
	updates, _ := followed(t, server, WithSnapshot())

	equal(t, "updates", len(updates), 1)
	var ids []string
	for _, execution := range updates[0].Snapshot {
		ids = append(ids, execution.ID)
	}
	equal(t, "snapshot", strings.Join(ids, " "), "a b")
	equal(t, "asked", cursorsAsked(server), `"" "" "c1"`)
}

func TestAnEmptySnapshotIsOne(t *testing.T) {
	server := &fakeServer{logs: [][]any{{shown("c1"), told("c2", "a/1"), refusal(t, codes.OutOfRange, "CURSOR_LOST")}}}
	updates, _ := followed(t, server, WithSnapshot())

	equal(t, "first", updates[0].Snapshot != nil, true)
	equal(t, "second", updates[1].Snapshot == nil, true)
}

func TestEventsThatTheSnapshotShowedDoNotComeAgain(t *testing.T) {
	server := &fakeServer{logs: [][]any{
		{shown("", "a"), shown("c1", "b"), unavailable},
		{told("c2", "a/5", "b/4", "c/1", "a/6", "b/5", "b/6"), refusal(t, codes.OutOfRange, "CURSOR_LOST")},
	}}
	updates, _ := followed(t, server, WithSnapshot())

	equal(t, "seen", seenIn(updates), "c/1 a/6 b/6")
}

func TestACheckpointSaysWhatHoldsTheLogBack(t *testing.T) {
	quiet := told("c1")
	quiet.Checkpoint = &tradewindv1.Checkpoint{Lag: durationpb.New(1500 * time.Millisecond), HeldBy: "pid 7"}
	behind := told("c2", "a/9")
	behind.Coalesced = 8
	server := &fakeServer{logs: [][]any{{quiet, behind, refusal(t, codes.OutOfRange, "CURSOR_LOST")}}}
	updates, _ := followed(t, server)

	equal(t, "cursor", updates[0].Cursor, "c1")
	equal(t, "lag", updates[0].Lag, 1500*time.Millisecond)
	equal(t, "held by", updates[0].HeldBy, "pid 7")
	equal(t, "coalesced", updates[1].Coalesced, 8)
	equal(t, "lag", updates[1].Lag, 0)
}

func TestALogThatIsLeftAsksForNothingMore(t *testing.T) {
	server := &fakeServer{logs: [][]any{{told("c1", "a/1"), told("c2", "a/2")}}}
	client := serve(t, server, &instantClock{})
	for range client.WatchEvents(context.Background(), "") {
		break
	}
	equal(t, "streams", len(server.logAsked), 1)
}
