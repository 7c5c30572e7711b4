package tradewind

import (
	"iter"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

const (
	// Most results, tokens, beats or releases in one message.
	maxItems = 1000
	// Most bytes of items in one message: the server takes messages of 4 MiB.
	maxMessageBytes = 3 << 20
	// Most bytes of what people read: the message of a failure, how far an action is.
	maxTextBytes = 10_000
	// Most lines of one log in one beat or result, and most bytes of them: a result or a checkpoint goes with them.
	maxLines, maxLinesBytes = 100, 400 << 10
	// Lines wait this long at most for others to go with: somebody may follow them.
	linesInterval = time.Second
	// How often a result over which the server broke is sent again: after 2, 4, 8, 16 and 32 seconds.
	maxFaults = 5
)

// held is an action in hand.
type held struct {
	offer    *tradewindv1.Offer
	acceptAt time.Time // unless it has ended by then
	accepted bool
	lost     bool // its result will not be recorded any more

	progress   string
	checkpoint *tradewindv1.Payload
	isToldOn   bool // whether progress and checkpoint have gone out on this stream

	logs     []*tradewindv1.LogLine
	saidLogs int // how many of them have gone out on this stream
}

func (h *held) hasLogs() bool { return h.saidLogs < len(h.logs) }

// takeLogs takes out lines of the log to send.
func (h *held) takeLogs() []*tradewindv1.LogLine {
	lines := h.logs[h.saidLogs:]
	lines = lines[:asManyAsFit(slices.Values(lines))]
	h.saidLogs += len(lines)
	return lines
}

// lastLogs returns the last lines that have not been sent, to go with the result.
func (h *held) lastLogs() []*tradewindv1.LogLine {
	lines := h.logs[h.saidLogs:]
	return lines[len(lines)-asManyAsFit(backward(lines)):]
}

// backward goes through lines from the last to the first.
func backward(lines []*tradewindv1.LogLine) iter.Seq[*tradewindv1.LogLine] {
	return func(yield func(*tradewindv1.LogLine) bool) {
		for _, line := range slices.Backward(lines) {
			if !yield(line) {
				return
			}
		}
	}
}

// asManyAsFit tells how many of the first lines one beat or result may hold.
func asManyAsFit(lines iter.Seq[*tradewindv1.LogLine]) int {
	count, size := 0, 0
	for line := range lines {
		size += proto.Size(line) + 8
		if count == maxLines || size > maxLinesBytes {
			break
		}
		count++
	}
	return count
}

// pending is a result without a receipt yet.
type pending struct {
	result   *tradewindv1.ActionResult
	faults   int       // how often the server broke over it
	resend   time.Time // when to send it again, if the server refused it for now
	isQueued bool      // whether it is among those to send
}

// session is the worker's side of the Work stream, as a state without I/O: what is in hand, and what to send next.
//
// Rules kept here, and nowhere else:
//
//   - Credits are cumulative on a stream: what was in hand when it opened counts against the capacity.
//   - An offer is accepted only if its result has not come within two fifths of the delivery lease.
//   - A result stays until its receipt has come, and is sent again on the next stream: the server knows it then.
//   - Every accepted action at work is listed in each beat, and everything in hand in each Hello.
//   - Lines of an action's log go out within about a second, in a beat of those actions alone that wrote some, with its
//     other beats and its result, and again on the next stream, with the same numbers.
//   - Progress and checkpoints that went out on a stream that broke go out again: nothing confirms a beat.
//
// It is not safe for many goroutines.
type session struct {
	hello    *tradewindv1.Hello
	capacity int

	inHand   map[string]*held // by token, as are all maps here
	order    []string         // of inHand, as they came; may name what is gone
	results  map[string]*pending
	unsent   []string // results to send
	toAccept []string // in hand, by the moment of their accept
	accepts  []string // to send
	releases []*tradewindv1.Release

	window, done, granted, inHandAtStart int
	maxLogLines                          int // that the server keeps of the log of an action
	beatInterval, deliveryLease          time.Duration
	nextBeat, nextLook                   time.Time // nextLook: when to look for lines of logs
	isDraining, saysDrain, isWelcome     bool
	saysLines                            bool // without waiting for the beat of all
}

func newSession(hello *tradewindv1.Hello, capacity int) *session {
	return &session{
		hello: hello, capacity: capacity, window: capacity,
		inHand: make(map[string]*held), results: make(map[string]*pending),
		beatInterval: 10 * time.Second, deliveryLease: 5 * time.Second,
	}
}

// tickInterval is how long after one tick the next should come.
func (s *session) tickInterval() time.Duration {
	return max(min(time.Second, s.deliveryLease/10, s.beatInterval/4), time.Millisecond)
}

// isIdle says whether nothing is in hand, and everything that came out has its receipt.
func (s *session) isIdle() bool {
	return len(s.inHand) == 0 && len(s.results) == 0 && len(s.releases) == 0
}

// --- what comes from the server

// open begins a stream: it forgets what the last one was told, and returns the first message.
func (s *session) open() *tradewindv1.WorkRequest {
	s.isWelcome = false
	s.unsent, s.accepts = nil, nil
	s.done, s.granted, s.inHandAtStart = 0, 0, len(s.inHand)
	hello := proto.CloneOf(s.hello)
	s.order = slices.DeleteFunc(s.order, func(token string) bool { return s.inHand[token] == nil })
	for _, token := range s.order {
		s.inHand[token].isToldOn, s.inHand[token].saidLogs = false, 0
		hello.InFlight = append(hello.InFlight, []byte(token))
	}
	for token, pending := range s.results {
		pending.isQueued, pending.resend = false, time.Time{}
		s.queue(token)
		hello.InFlight = append(hello.InFlight, []byte(token))
	}
	return &tradewindv1.WorkRequest{Message: &tradewindv1.WorkRequest_Hello{Hello: hello}}
}

// welcome takes the answer to Hello; it returns the tokens of actions to stop.
func (s *session) welcome(welcome *tradewindv1.Welcome, now time.Time) []string {
	s.isWelcome, s.saysDrain = true, s.isDraining
	if interval := welcome.GetBeatInterval().AsDuration(); interval > 0 {
		s.beatInterval = interval
	}
	if lease := welcome.GetDeliveryLease().AsDuration(); lease > 0 {
		s.deliveryLease = lease
	}
	s.maxLogLines = int(welcome.GetMaxLogLines())
	s.window = s.capacity
	if most := int(welcome.GetMaxCredits()); most > 0 {
		s.window = min(s.capacity, most)
	}
	s.nextBeat = now.Add(s.beatInterval)
	var stopped []string
	for _, verdict := range welcome.GetInFlight() {
		if token := string(verdict.GetToken()); !verdict.GetKeep() {
			s.lose(token)
			stopped = append(stopped, token)
		}
	}
	for _, action := range s.inHand {
		action.accepted = true // a verdict to keep renews the lease, so the next beat must list it
	}
	s.toAccept = nil
	return stopped
}

// hold takes an offer.
func (s *session) hold(offer *tradewindv1.Offer, now time.Time) {
	token := string(offer.GetToken())
	s.inHand[token] = &held{offer: offer, acceptAt: now.Add(s.deliveryLease * 2 / 5)}
	s.order = append(s.order, token)
	s.toAccept = append(s.toAccept, token)
	if len(s.order) > 2*len(s.inHand)+64 {
		s.order = slices.DeleteFunc(s.order, func(token string) bool { return s.inHand[token] == nil })
	}
}

// lose notes that nothing about a token will be recorded any more.
func (s *session) lose(token string) {
	if action := s.inHand[token]; action != nil {
		action.lost = true
	}
	delete(s.results, token)
}

// receive takes a receipt: what it names is settled, unless the server refused it. A refused result is sent again later
// if the server says so, or has failed itself; else a failure is sent in its place. It says whether the action, if it is
// still in hand, is to be stopped.
func (s *session) receive(receipt *tradewindv1.Receipt, now time.Time) bool {
	token := string(receipt.GetToken())
	switch receipt.GetStatus() {
	case tradewindv1.ReceiptStatus_RECEIPT_STATUS_RECORDED, tradewindv1.ReceiptStatus_RECEIPT_STATUS_ALREADY_RECORDED:
		delete(s.results, token)
		return false
	}
	if s.inHand[token] != nil {
		s.inHand[token].lost = true
		return true
	}
	sent := s.results[token]
	if sent == nil || receipt.GetStatus() != tradewindv1.ReceiptStatus_RECEIPT_STATUS_REFUSED {
		delete(s.results, token)
		return false
	}
	delay, again := sent.delayAfter(receipt.GetRefusal())
	switch {
	case again:
		sent.resend = now.Add(delay)
	case sent.result.GetResult() != nil:
		delete(s.results, token)
		s.put(refused(receipt))
	default:
		delete(s.results, token)
	}
	return false
}

// delayAfter returns how long after a refusal to send the same again, and whether to.
func (p *pending) delayAfter(refusal *tradewindv1.Refusal) (time.Duration, bool) {
	if refusal.GetRetryAfter() != nil {
		return refusal.GetRetryAfter().AsDuration(), true
	}
	if Reason(refusal.GetReason()) != ReasonInternal {
		return 0, false
	}
	// The server's own fault may pass, or be in how it takes this very result: then the action fails in the end.
	p.faults++
	return time.Second << p.faults, p.faults <= maxFaults
}

func refused(receipt *tradewindv1.Receipt) *tradewindv1.ActionResult {
	failure := failureOf(&ActionFailure{
		Code: receipt.GetRefusal().GetReason(), Message: receipt.GetRefusal().GetMessage(), IsPermanent: true,
	})
	outcome := &tradewindv1.ActionResult_Failure{Failure: failure}
	return &tradewindv1.ActionResult{Token: receipt.GetToken(), Outcome: outcome}
}

// --- what comes from the worker

// note keeps what an action says about its progress for the next beat.
func (s *session) note(token, progress string, checkpoint *tradewindv1.Payload) {
	action := s.inHand[token]
	if action == nil {
		return
	}
	action.isToldOn = false
	if progress != "" {
		action.progress = progress
	}
	if checkpoint != nil {
		action.checkpoint = checkpoint
	}
}

// write keeps a line of an action's log for the next beat, as far as the server keeps it.
func (s *session) write(token string, line *tradewindv1.LogLine) {
	if action := s.inHand[token]; action != nil && len(action.logs) < s.maxLogLines {
		line.Number = uint32(len(action.logs) + 1)
		action.logs = append(action.logs, line)
	}
}

// finish takes what came out of an action; it goes out with the next messages.
func (s *session) finish(result *tradewindv1.ActionResult) {
	action := s.inHand[string(result.GetToken())]
	if action == nil {
		return // it was given back
	}
	delete(s.inHand, string(result.GetToken()))
	s.done++
	result.Logs = action.lastLogs()
	if !action.lost {
		s.put(result)
	}
}

func (s *session) put(result *tradewindv1.ActionResult) {
	token := string(result.GetToken())
	s.results[token] = &pending{result: result}
	s.queue(token)
}

func (s *session) queue(token string) {
	s.results[token].isQueued = true
	s.unsent = append(s.unsent, token)
}

// release gives an action back unfinished.
func (s *session) release(token, message string) {
	action := s.inHand[token]
	if action == nil {
		return
	}
	delete(s.inHand, token)
	s.done++
	if !action.lost {
		s.releases = append(s.releases, &tradewindv1.Release{Token: []byte(token), Message: message})
	}
}

// drain takes no more offers.
func (s *session) drain() { s.isDraining, s.saysDrain = true, true }

// tick notes what is due by now; it says whether there is something to send.
func (s *session) tick(now time.Time) bool {
	for len(s.toAccept) > 0 {
		action := s.inHand[s.toAccept[0]]
		if action != nil && now.Before(action.acceptAt) {
			break
		}
		if action != nil && !action.accepted {
			action.accepted = true
			s.accepts = append(s.accepts, s.toAccept[0])
		}
		s.toAccept = s.toAccept[1:]
	}
	for token, pending := range s.results {
		if !pending.resend.IsZero() && !now.Before(pending.resend) {
			pending.resend = time.Time{}
			s.queue(token)
		}
	}
	if !now.Before(s.nextLook) { // not at each message: there may be thousands in hand
		s.nextLook = now.Add(linesInterval)
		for _, action := range s.inHand {
			s.saysLines = s.saysLines || action.accepted && action.hasLogs()
		}
	}
	return len(s.accepts) > 0 || len(s.unsent) > 0 || s.saysLines || !now.Before(s.nextBeat)
}

// --- what goes out

// outgoing takes out everything that can be sent now, in as few messages as possible.
func (s *session) outgoing(now time.Time) []*tradewindv1.WorkRequest {
	if !s.isWelcome {
		return nil
	}
	var out []*tradewindv1.WorkRequest
	if s.saysDrain {
		s.saysDrain = false
		out = append(out, &tradewindv1.WorkRequest{Message: &tradewindv1.WorkRequest_Drain{Drain: &tradewindv1.Drain{}}})
	}
	out = append(out, s.outgoingResults()...)
	out = append(out, s.outgoingCredits()...)
	for tokens := range slices.Chunk(s.accepts, maxItems) {
		accept := &tradewindv1.Accept{Tokens: each(tokens, func(token string) []byte { return []byte(token) })}
		out = append(out, &tradewindv1.WorkRequest{Message: &tradewindv1.WorkRequest_Accept{Accept: accept}})
	}
	s.accepts = nil
	for releases := range slices.Chunk(s.releases, maxItems) {
		refuse := &tradewindv1.Refuse{Releases: releases}
		out = append(out, &tradewindv1.WorkRequest{Message: &tradewindv1.WorkRequest_Refuse{Refuse: refuse}})
	}
	s.releases = nil
	if !now.Before(s.nextBeat) {
		s.nextBeat = now.Add(s.beatInterval)
		out = append(out, s.outgoingBeats(func(h *held) bool { return h.accepted })...)
	} else if s.saysLines {
		out = append(out, s.outgoingBeats(func(h *held) bool { return h.accepted && h.hasLogs() })...)
	}
	s.saysLines = false
	return out
}

func (s *session) outgoingResults() []*tradewindv1.WorkRequest {
	var results []*tradewindv1.ActionResult
	for _, token := range s.unsent {
		if sent := s.results[token]; sent != nil && sent.isQueued {
			sent.isQueued = false
			results = append(results, sent.result)
		}
	}
	s.unsent = nil
	return batches(results, func(batch []*tradewindv1.ActionResult) *tradewindv1.WorkRequest {
		message := &tradewindv1.WorkRequest_Results{Results: &tradewindv1.Results{Results: batch}}
		return &tradewindv1.WorkRequest{Message: message}
	})
}

func (s *session) outgoingCredits() []*tradewindv1.WorkRequest {
	granted := s.done + s.window - s.inHandAtStart
	// Not one message for each action: an eighth of the window at a time keeps the server busy all the same.
	if s.isDraining || granted-s.granted < max(1, s.window/8) {
		return nil
	}
	s.granted = granted
	credits := &tradewindv1.WorkRequest_Credits{Credits: &tradewindv1.Credits{Granted: uint64(granted)}}
	return []*tradewindv1.WorkRequest{{Message: credits}}
}

// outgoingBeats makes a beat of those in hand that are wanted.
func (s *session) outgoingBeats(isWanted func(*held) bool) []*tradewindv1.WorkRequest {
	var beats []*tradewindv1.ActionBeat
	for _, token := range s.order {
		action := s.inHand[token]
		if action == nil || !isWanted(action) {
			continue
		}
		beat := &tradewindv1.ActionBeat{Token: []byte(token)}
		beat.Logs = action.takeLogs()
		if !action.isToldOn {
			beat.ProgressMessage, beat.Checkpoint, action.isToldOn = action.progress, action.checkpoint, true
		}
		beats = append(beats, beat)
	}
	return batches(beats, func(batch []*tradewindv1.ActionBeat) *tradewindv1.WorkRequest {
		message := &tradewindv1.WorkRequest_Beat{Beat: &tradewindv1.Beat{Actions: batch}}
		return &tradewindv1.WorkRequest{Message: message}
	})
}

// batches cuts items into messages by their number and their bytes.
func batches[Item proto.Message](items []Item, pack func([]Item) *tradewindv1.WorkRequest) []*tradewindv1.WorkRequest {
	var out []*tradewindv1.WorkRequest
	first, size := 0, 0
	for index, item := range items {
		bytes := proto.Size(item) + 8
		if index > first && (index-first == maxItems || size+bytes > maxMessageBytes) {
			out = append(out, pack(items[first:index]))
			first, size = index, 0
		}
		size += bytes
	}
	if first < len(items) {
		out = append(out, pack(items[first:]))
	}
	return out
}
