package main

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"log"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/tradewind/tradewind/clients/go/tradewind"
)

const (
	// lastWorkflow is the last one of a crash test: whoever has seen it end has seen everything.
	lastWorkflow = "crash.last"

	// After each update a watcher gives its stream up with this chance, and goes on by the cursor; or does not read.
	giveUpChance  = 0.02
	starveChance  = 0.01
	longestStarve = time.Second

	// watchedShare of the executions are watched one by one as well.
	watchedShare = 0.05
)

// watcher follows the namespace for the crash test, as that of tests/crash/load.py does, and logs what it saw.
type watcher struct {
	client *tradewind.Client
	lines  *os.File
	name   string
	rng    *rand.Rand
	cursor string
	ones   sync.WaitGroup
}

// watchAll follows the namespace from the beginning to the last execution, and some executions one by one.
func watchAll(ctx context.Context, client *tradewind.Client, logPath, name string) error {
	lines, err := os.OpenFile(logPath, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer lines.Close()
	seed := fnv.New64a()
	seed.Write([]byte(name))
	w := &watcher{client: client, lines: lines, name: name, rng: rand.New(rand.NewPCG(seed.Sum64(), 0))}
	for done := false; !done; {
		if done, err = w.watchForAWhile(ctx); err != nil {
			return err
		}
	}
	w.ones.Wait()
	return nil
}

// watchForAWhile follows the namespace until it gives its stream up, or has seen the last execution end.
func (w *watcher) watchForAWhile(ctx context.Context) (done bool, err error) {
	if err := w.write("watch-opened", w.name, nil); err != nil {
		return false, err
	}
	for update, err := range w.client.WatchEvents(ctx, "", tradewind.FromBeginning(), tradewind.AfterCursor(w.cursor)) {
		if err != nil {
			return false, err
		}
		w.cursor = update.Cursor
		if err := w.write("seen", w.name, places(update.Events)); err != nil {
			return false, err
		}
		for _, event := range update.Events {
			if event.Type == "ExecutionStarted" && w.rng.Float64() < watchedShare {
				w.ones.Add(1)
				go w.watchOne(ctx, event.ExecutionID)
			}
			if event.Type == "ExecutionSucceeded" && event.Proto.GetWorkflow() == lastWorkflow {
				return true, nil
			}
		}
		if w.rng.Float64() < starveChance {
			time.Sleep(rand.N(longestStarve))
		}
		if w.rng.Float64() < giveUpChance {
			return false, nil
		}
	}
	return false, nil
}

func (w *watcher) watchOne(ctx context.Context, executionID string) {
	defer w.ones.Done()
	for event, err := range w.client.Watch(ctx, executionID, 0) {
		if err == nil {
			err = w.write("seen", w.name+"/"+executionID, places([]*tradewind.Event{event}))
		}
		if err != nil {
			log.Fatal(err)
		}
	}
}

// places are the [execution, revision] of events.
func places(events []*tradewind.Event) [][2]any {
	found := make([][2]any, len(events))
	for index, event := range events {
		found[index] = [2]any{event.ExecutionID, event.Revision}
	}
	return found
}

// write writes a line at once, so that a killed process loses none.
func (w *watcher) write(what, key string, value [][2]any) error {
	line, err := json.Marshal(map[string]any{"what": what, "key": key, "value": value})
	if err != nil {
		return err
	}
	_, err = w.lines.Write(append(line, '\n'))
	return err
}
