// Load is the watching side of the repository's bench: it opens many streams to a server, says when all of them are
// there, and at the end how late their events came. It is made of the stubs alone, so that it costs the machine little.
//
//	load ADDRESS CONNECTIONS STREAMS [ID…]
//
// The streams watch the executions with these ids in turn, or without ids all executions of the namespace. It prints
// "ready", waits for its standard input to end, and prints a line of JSON. How late an event comes is counted from
// the moment that the server gave it, which is before its commit.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	v1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// report is what is printed at the end.
type report struct {
	Streams int     `json:"streams"`
	Events  int     `json:"events"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	Max     float64 `json:"max_ms"`
}

// message is what both kinds of watches receive.
type message interface {
	GetEvents() []*v1.Event
}

// opening is how many streams wait for their first message at once: a server refuses calls beyond what it can queue.
const opening = 200

// load opens streams and keeps how late their events came.
type load struct {
	ready sync.WaitGroup
	// doors is a place for each stream that is being opened.
	doors chan struct{}
	// counts begins when all streams are there: what came before says nothing.
	counts atomic.Bool

	mutex sync.Mutex
	late  []time.Duration
}

func main() {
	if len(os.Args) < 4 {
		log.Fatal("usage: load ADDRESS CONNECTIONS STREAMS [ID…]")
	}
	connections, streams := number(os.Args[2]), number(os.Args[3])
	l := &load{doors: make(chan struct{}, opening)}
	l.open(context.Background(), os.Args[1], connections, streams, os.Args[4:])
	l.ready.Wait()
	l.counts.Store(true)
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(l.report(streams)); err != nil {
		log.Fatal(err)
	}
}

func number(text string) int {
	found, err := strconv.Atoi(text)
	if err != nil {
		log.Fatal(err)
	}
	return found
}

func (l *load) open(ctx context.Context, address string, connections, streams int, ids []string) {
	stubs := make([]v1.ExecutionServiceClient, connections)
	for n := range stubs {
		connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			log.Fatal(err)
		}
		stubs[n] = v1.NewExecutionServiceClient(connection)
	}
	l.ready.Add(streams)
	for n := range streams {
		stub := stubs[n%connections]
		if len(ids) == 0 {
			go follow(l, func() (grpc.ServerStreamingClient[v1.WatchEventsResponse], error) {
				return stub.WatchEvents(ctx, &v1.WatchEventsRequest{})
			})
			continue
		}
		request := &v1.WatchExecutionRequest{
			ExecutionId: ids[n%len(ids)],
			Start:       &v1.WatchExecutionRequest_WithSnapshot{WithSnapshot: true},
		}
		go follow(l, func() (grpc.ServerStreamingClient[v1.WatchExecutionResponse], error) {
			return stub.WatchExecution(ctx, request)
		})
	}
}

// follow receives until the program ends. The first message says that the stream is there.
func follow[M any](l *load, open func() (grpc.ServerStreamingClient[M], error)) {
	l.doors <- struct{}{}
	stream, err := open()
	if err != nil {
		log.Fatal(err)
	}
	for isFirst := true; ; isFirst = false {
		received, err := stream.Recv()
		if err != nil {
			log.Fatal(err)
		}
		if isFirst {
			<-l.doors
			l.ready.Done()
		}
		l.note(time.Now(), any(received).(message).GetEvents())
	}
}

func (l *load) note(now time.Time, events []*v1.Event) {
	if !l.counts.Load() {
		return
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for _, event := range events {
		l.late = append(l.late, now.Sub(event.GetAt().AsTime()))
	}
}

func (l *load) report(streams int) report {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	slices.Sort(l.late)
	made := report{Streams: streams, Events: len(l.late)}
	if count := len(l.late); count > 0 {
		made.P50, made.P99 = milliseconds(l.late[count/2]), milliseconds(l.late[count*99/100])
		made.Max = milliseconds(l.late[count-1])
	}
	return made
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}
