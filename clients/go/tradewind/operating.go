package tradewind

import (
	"context"
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// Workers lists who works for the namespace, on all servers, page by page as they are read; the filter is e.g.
// `action = "mail.send"`, or "".
func (c *Client) Workers(ctx context.Context, filter string) iter.Seq2[*tradewindv1.Worker, error] {
	return pages(func(token string) ([]*tradewindv1.Worker, string, error) {
		response, err := send(ctx, c, c.workers.ListWorkers, &tradewindv1.ListWorkersRequest{
			Namespace: c.options.Namespace, Filter: filter, PageToken: token,
		})
		return response.GetWorkers(), response.GetNextPageToken(), err
	})
}

// WorkerByID returns all connections of a worker: of each instance, to each server that it polls.
func (c *Client) WorkerByID(ctx context.Context, workerID string) ([]*tradewindv1.Worker, error) {
	response, err := send(ctx, c, c.workers.GetWorker, &tradewindv1.GetWorkerRequest{
		Namespace: c.options.Namespace, WorkerId: workerID,
	})
	return response.GetWorkers(), err
}

// DrainWorker lets a worker finish what it has and gives it nothing new, until [Client.ResumeWorker] or a new start of
// it. With an instance it is that process alone; the message is told to the worker.
func (c *Client) DrainWorker(ctx context.Context, workerID, instance, message string) ([]*tradewindv1.Worker, error) {
	response, err := send(ctx, c, c.workers.DrainWorker, &tradewindv1.DrainWorkerRequest{
		Namespace: c.options.Namespace, WorkerId: workerID, Instance: instance, Message: message,
	})
	return response.GetWorkers(), err
}

// ResumeWorker gives a worker actions again that [Client.DrainWorker] took out of service.
func (c *Client) ResumeWorker(ctx context.Context, workerID, instance string) ([]*tradewindv1.Worker, error) {
	response, err := send(ctx, c, c.workers.ResumeWorker, &tradewindv1.ResumeWorkerRequest{
		Namespace: c.options.Namespace, WorkerId: workerID, Instance: instance,
	})
	return response.GetWorkers(), err
}

// ActionLimit bounds an action over all servers and workers of the namespace.
type ActionLimit struct {
	// Action is its name.
	Action string
	// Concurrency is how many may be in hand at the same time; nil is no bound, 0 hands none out.
	Concurrency *uint32
	// Rate is how many are handed out in each Period; 0 is no bound.
	Rate uint32
	// Period is the time of Rate.
	Period time.Duration
	// InHand is how many are in hand now; only in answers.
	InHand int
}

// PutLimit makes or replaces the limit of an action. It holds at once; what is in hand is left there, and counts.
func (c *Client) PutLimit(ctx context.Context, limit ActionLimit) error {
	message := &tradewindv1.ActionLimit{Action: limit.Action, Concurrency: limit.Concurrency}
	if limit.Rate != 0 {
		message.Rate = &tradewindv1.Rate{Count: limit.Rate, Period: durationpb.New(limit.Period)}
	}
	_, err := send(ctx, c, c.limits.PutActionLimit, &tradewindv1.PutActionLimitRequest{
		Namespace: c.options.Namespace, Limit: message,
	})
	return err
}

// Limits lists the limits of the namespace.
func (c *Client) Limits(ctx context.Context) ([]ActionLimit, error) {
	response, err := send(ctx, c, c.limits.ListActionLimits, &tradewindv1.ListActionLimitsRequest{
		Namespace: c.options.Namespace,
	})
	return each(response.GetLimits(), func(limit *tradewindv1.ActionLimit) ActionLimit {
		return ActionLimit{
			Action: limit.GetAction(), Concurrency: limit.Concurrency, Rate: limit.GetRate().GetCount(),
			Period: limit.GetRate().GetPeriod().AsDuration(), InHand: int(limit.GetInHand()),
		}
	}), err
}

// DeleteLimit removes the limit of an action; that there is none is no error.
func (c *Client) DeleteLimit(ctx context.Context, action string) error {
	_, err := send(ctx, c, c.limits.DeleteActionLimit, &tradewindv1.DeleteActionLimitRequest{
		Namespace: c.options.Namespace, Action: action,
	})
	return err
}
