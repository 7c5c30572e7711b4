package tradewind

import (
	"context"
	"fmt"
	"iter"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// ActionLogUpdate is what workers wrote about actions.
type ActionLogUpdate struct {
	// Cursor is where to resume after these lines.
	Cursor string
	// Lines are in the order in which they were committed.
	Lines []*tradewindv1.LogLine
}

// ActionLogs lists what workers wrote about an action or, for the id "", about all of the execution.
func (c *Client) ActionLogs(ctx context.Context, executionID, actionID string) iter.Seq2[*tradewindv1.LogLine, error] {
	return pages(func(token string) ([]*tradewindv1.LogLine, string, error) {
		response, err := send(ctx, c, c.executions.ListActionLogs, &tradewindv1.ListActionLogsRequest{
			Namespace: c.options.Namespace, ExecutionId: executionID, ActionId: actionID, PageToken: token,
		})
		return response.GetLines(), response.GetNextPageToken(), err
	})
}

// WatchActionLogs follows what workers write about an action or, for the id "", about all of the execution: each line
// exactly once, in the order in which it was committed. It begins with the first line or, with a cursor that is not "",
// after the update that had it. It reconnects by itself, to any server, and ends with the action or the execution, with
// ctx, or with an error that does not pass.
//
//	for update, err := range client.WatchActionLogs(ctx, id, "", "") {
//		if err != nil {
//			return err
//		}
//		for _, line := range update.Lines {
//			fmt.Println(line.GetActionId(), line.GetMessage())
//		}
//	}
func (c *Client) WatchActionLogs(
	ctx context.Context, executionID, actionID, cursor string,
) iter.Seq2[*ActionLogUpdate, error] {
	return func(yield func(*ActionLogUpdate, error) bool) {
		at := &actionLogPosition{c.options.Namespace, executionID, actionID, cursor}
		follow(ctx, c, c.executions.WatchActionLogs, at, yield)
	}
}

// actionLogPosition is the [place] of one who follows the logs of an execution's actions.
type actionLogPosition struct {
	namespace, executionID, actionID string
	cursor                           string // "" before the first line
}

func (p *actionLogPosition) String() string {
	return fmt.Sprintf("the logs of %s %s after %q", p.executionID, p.actionID, p.cursor)
}

// ends is true: a stream that ends well has sent everything, and nothing follows.
func (p *actionLogPosition) ends() bool { return true }

func (p *actionLogPosition) request() *tradewindv1.WatchActionLogsRequest {
	return &tradewindv1.WatchActionLogsRequest{
		Namespace: p.namespace, ExecutionId: p.executionID, ActionId: p.actionID, Cursor: p.cursor,
	}
}

func (p *actionLogPosition) receive(response *tradewindv1.WatchActionLogsResponse) (*ActionLogUpdate, error) {
	p.cursor = response.GetCursor()
	if len(response.GetLines()) == 0 {
		return nil, nil
	}
	return &ActionLogUpdate{Cursor: p.cursor, Lines: response.GetLines()}, nil
}
