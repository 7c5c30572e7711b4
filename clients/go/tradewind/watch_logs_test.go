package tradewind

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

func wrote(cursor string, texts ...string) *tradewindv1.WatchActionLogsResponse {
	response := &tradewindv1.WatchActionLogsResponse{Cursor: cursor}
	for _, text := range texts {
		response.Lines = append(response.Lines, &tradewindv1.LogLine{Message: text})
	}
	return response
}

func TestLinesGoOnAfterTheLastCursorToTheEnd(t *testing.T) {
	server := &fakeServer{lines: [][]any{
		{wrote("c1", "a", "b"), wrote("c2"), unavailable},
		{unavailable},
		{wrote("c3", "c")},
	}}
	client := serve(t, server, &instantClock{})
	var seen []string
	for update, err := range client.WatchActionLogs(context.Background(), "e1", "a1", "c0") {
		equal(t, "error", err, nil)
		for _, line := range update.Lines {
			seen = append(seen, line.GetMessage()+"/"+update.Cursor)
		}
	}

	equal(t, "seen", strings.Join(seen, " "), "a/c1 b/c1 c/c3")
	var asked []string
	for _, request := range server.lineAsked {
		asked = append(asked, fmt.Sprint(request.GetExecutionId(), request.GetActionId(), request.GetCursor()))
	}
	equal(t, "asked", strings.Join(asked, " "), "e1a1c0 e1a1c2 e1a1c2")
}

func TestLinesOfWhatIsNotThereAreRefused(t *testing.T) {
	server := &fakeServer{lines: [][]any{{refusal(t, codes.NotFound, "ACTION_NOT_FOUND")}}}
	client := serve(t, server, &instantClock{})
	var end error
	for _, err := range client.WatchActionLogs(context.Background(), "e1", "a9", "") {
		end = err
	}

	equal(t, "not found", errors.Is(end, ReasonActionNotFound), true)
}
