package tradewind

import (
	"context"
	"iter"

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
