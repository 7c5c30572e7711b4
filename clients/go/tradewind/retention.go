package tradewind

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// RetentionRule says how long executions are kept after their end.
type RetentionRule struct {
	// Workflow is that of their root; "" stands for all workflows without a rule of their own.
	Workflow string
	// Keep is how long, in whole seconds, a minute at least; 0 is for ever.
	Keep time.Duration
}

// PutRetention makes or replaces the rule of a workflow, or of all others.
func (c *Client) PutRetention(ctx context.Context, rule RetentionRule) error {
	message := &tradewindv1.RetentionRule{Workflow: rule.Workflow}
	if rule.Keep != 0 {
		message.Keep = durationpb.New(rule.Keep)
	}
	_, err := send(ctx, c, c.retention.PutRetentionRule, &tradewindv1.PutRetentionRuleRequest{
		Namespace: c.options.Namespace, Rule: message,
	})
	return err
}

// RetentionRules lists the rules; without any, executions are kept for ever.
func (c *Client) RetentionRules(ctx context.Context) ([]RetentionRule, error) {
	response, err := send(ctx, c, c.retention.ListRetentionRules, &tradewindv1.ListRetentionRulesRequest{
		Namespace: c.options.Namespace,
	})
	return each(response.GetRules(), func(rule *tradewindv1.RetentionRule) RetentionRule {
		return RetentionRule{Workflow: rule.GetWorkflow(), Keep: rule.GetKeep().AsDuration()}
	}), err
}

// DeleteRetention removes the rule of a workflow, or the one of all others; that there is none is no error.
func (c *Client) DeleteRetention(ctx context.Context, workflow string) error {
	_, err := send(ctx, c, c.retention.DeleteRetentionRule, &tradewindv1.DeleteRetentionRuleRequest{
		Namespace: c.options.Namespace, Workflow: workflow,
	})
	return err
}
