// Peer is the Go side of the repository's end-to-end tests, a program that says on its standard output what it sees.
//
//	peer work ADDRESS,…                does the action peer.step, each time after a line on its standard input
//	peer watch ADDRESS,… ID            prints revision and type of each event of an execution, to its end
//	peer watch-log ADDRESS,… ID        the same from the log of all executions
//	peer start ADDRESS,… WORKFLOW ID   starts a workflow with a request id, after a line on its standard input
//	peer decide ADDRESS,… USER OUTCOME decides the first human task that comes into a user's inbox
//	peer attach ADDRESS,… USER         adds files to the first human task of a user's inbox, and decides after a line
//	peer watcher ADDRESS,… LOG NAME    follows all executions of a crash test, and writes what it saw to a log
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/tradewind/tradewind/clients/go/tradewind"
)

func main() {
	arguments := map[string]int{"work": 3, "watch": 4, "watch-log": 4, "start": 5, "decide": 5, "attach": 4, "watcher": 5}
	if len(os.Args) < 2 || len(os.Args) != arguments[os.Args[1]] {
		log.Fatal("usage: peer work|watch|watch-log|start|decide|attach|watcher ADDRESS,… …")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	options := tradewind.Options{Addresses: strings.Split(os.Args[2], ",")}
	if os.Args[1] == "decide" || os.Args[1] == "attach" {
		options.User = os.Args[3]
	}
	client, err := tradewind.Connect(options)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	switch os.Args[1] {
	case "work":
		err = work(ctx, client)
	case "watch":
		err = watch(ctx, client, os.Args[3])
	case "watch-log":
		err = watchLog(ctx, client, os.Args[3])
	case "start":
		err = start(ctx, client, os.Args[3], os.Args[4])
	case "decide":
		err = decide(ctx, client.People(), os.Args[4])
	case "attach":
		err = attach(ctx, client.People())
	case "watcher":
		err = watchAll(ctx, client, os.Args[3], os.Args[4])
	}
	if err != nil {
		log.Fatal(err)
	}
}

func work(ctx context.Context, client *tradewind.Client) error {
	orders := bufio.NewReader(os.Stdin)
	worker := tradewind.NewWorker(client, tradewind.WorkerOptions{ID: "peer-go", Concurrency: 1})
	worker.Handle("peer.step", func(_ context.Context, call *tradewind.Call) (any, error) {
		fmt.Println("began", call.Task, call.Attempt)
		if _, err := orders.ReadString('\n'); err != nil {
			return nil, err
		}
		defer fmt.Println("ended", call.Task)
		return call.Input, nil
	})
	return worker.Run(ctx)
}

func watch(ctx context.Context, client *tradewind.Client, executionID string) error {
	for event, err := range client.Watch(ctx, executionID, 0) {
		if err != nil {
			return err
		}
		fmt.Println(event.Revision, event.Type)
	}
	return nil
}

func watchLog(ctx context.Context, client *tradewind.Client, executionID string) error {
	filter := fmt.Sprintf("execution_id = %q", executionID)
	for update, err := range client.WatchEvents(ctx, filter, tradewind.FromBeginning()) {
		if err != nil {
			return err
		}
		for _, event := range update.Events {
			fmt.Println(event.Revision, event.Type)
			if event.Type == "ExecutionSucceeded" {
				return nil
			}
		}
	}
	return nil
}

func start(ctx context.Context, client *tradewind.Client, workflow, requestID string) error {
	if _, err := client.ServerInfo(ctx); err != nil {
		return err
	}
	fmt.Println("connected")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	execution, err := client.Start(ctx, tradewind.Start{Workflow: workflow, RequestID: requestID})
	if err != nil {
		return err
	}
	fmt.Println("started", execution.ID)
	return nil
}

func decide(ctx context.Context, people tradewind.People, outcome string) error {
	for update, err := range people.Watch(ctx, tradewind.ScopeInbox, "") {
		if err != nil {
			return err
		}
		for _, found := range update.HumanTasks {
			return decideOne(ctx, people, found.ID, outcome)
		}
	}
	return nil
}

func decideOne(ctx context.Context, people tradewind.People, id, outcome string) error {
	if _, err := people.Claim(ctx, id); err != nil {
		return err
	}
	if _, err := people.Comment(ctx, id, "seen"); err != nil {
		return err
	}
	seen, err := people.Get(ctx, id)
	if err != nil {
		return err
	}
	fmt.Println(seen.Title, seen.State, seen.Assignee, seen.Show)
	decided, err := people.Submit(ctx, seen, tradewind.Decision{Outcome: outcome})
	if err != nil {
		return err
	}
	fmt.Println(decided.State, decided.Outcome, decided.DoneBy)
	for entry, err := range people.Entries(ctx, id) {
		if err != nil {
			return err
		}
		fmt.Println(entry.GetType(), entry.GetBy())
	}
	return nil
}
