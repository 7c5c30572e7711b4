package tradewind

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

var zero = time.Unix(0, 0)

func at(seconds float64) time.Time { return zero.Add(time.Duration(seconds * float64(time.Second))) }

// opened is a session with a capacity of 8 whose stream is open, at moment 0.
func opened() *session {
	s := newSession(&tradewindv1.Hello{WorkerId: "w"}, 8)
	reopen(s, 0)
	return s
}

func reopen(s *session, now float64) *tradewindv1.Hello {
	hello := s.open().GetHello()
	s.welcome(&tradewindv1.Welcome{
		DeliveryLease: durationpb.New(5 * time.Second), BeatInterval: durationpb.New(10 * time.Second),
	}, at(now))
	return hello
}

// sent takes what goes out, as the kinds of messages and what they hold.
func sent(s *session, now float64) string {
	var kinds []string
	for _, request := range s.outgoing(at(now)) {
		switch {
		case request.GetDrain() != nil:
			kinds = append(kinds, "drain")
		case request.GetResults() != nil:
			kinds = append(kinds, "results:"+strings.Join(each(request.GetResults().GetResults(), outcome), ","))
		case request.GetCredits() != nil:
			kinds = append(kinds, fmt.Sprint("credits:", request.GetCredits().GetGranted()))
		case request.GetAccept() != nil:
			kinds = append(kinds, fmt.Sprintf("accept:%s", request.GetAccept().GetTokens()))
		case request.GetRefuse() != nil:
			kinds = append(kinds, fmt.Sprint("refuse:", len(request.GetRefuse().GetReleases())))
		case request.GetBeat() != nil:
			kinds = append(kinds, "beat:"+strings.Join(each(request.GetBeat().GetActions(), beat), ","))
		}
	}
	return strings.Join(kinds, " ")
}

func outcome(result *tradewindv1.ActionResult) string {
	if result.GetFailure() != nil {
		return string(result.GetToken()) + " " + result.GetFailure().GetCode()
	}
	return string(result.GetToken())
}

func beat(action *tradewindv1.ActionBeat) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", action.GetToken(), action.GetProgressMessage(), action.GetCheckpoint().GetData()))
}

func hold(s *session, token string, now float64) {
	s.hold(&tradewindv1.Offer{Token: []byte(token)}, at(now))
}

func finish(s *session, token string, size int) {
	data := slices.Repeat([]byte("1"), size)
	s.finish(&tradewindv1.ActionResult{
		Token: []byte(token), Outcome: &tradewindv1.ActionResult_Result{Result: &tradewindv1.Payload{Data: data}},
	})
}

func receipt(token string, status tradewindv1.ReceiptStatus, refusal *tradewindv1.Refusal) *tradewindv1.Receipt {
	return &tradewindv1.Receipt{Token: []byte(token), Status: status, Refusal: refusal}
}

const (
	recorded    = tradewindv1.ReceiptStatus_RECEIPT_STATUS_RECORDED
	stale       = tradewindv1.ReceiptStatus_RECEIPT_STATUS_STALE
	wasRefused  = tradewindv1.ReceiptStatus_RECEIPT_STATUS_REFUSED
	lotsOfWords = maxMessageBytes/2 - 100
)

func TestNothingGoesOutBeforeTheWelcome(t *testing.T) {
	s := newSession(&tradewindv1.Hello{}, 8)
	s.open()
	hold(s, "1", 0)
	finish(s, "1", 1)

	equal(t, "before", sent(s, 0), "")
	s.welcome(&tradewindv1.Welcome{}, zero)
	equal(t, "after", sent(s, 0), "results:1 credits:9")
}

func TestWhatIsInHandCountsAgainstTheCreditsOfTheNextStream(t *testing.T) {
	s := opened()
	hold(s, "1", 0)
	hold(s, "2", 0)

	equal(t, "in flight", fmt.Sprintf("%s", reopen(s, 1).GetInFlight()), "[1 2]")
	equal(t, "first", sent(s, 1), "credits:6")
	finish(s, "1", 1)
	equal(t, "then", sent(s, 1), "results:1 credits:7")
}

func TestTheServersBoundOnCreditsIsKept(t *testing.T) {
	s := newSession(&tradewindv1.Hello{}, 8)
	s.open()
	s.welcome(&tradewindv1.Welcome{MaxCredits: 3}, zero)

	equal(t, "credits", sent(s, 0), "credits:3")
}

func TestAnOfferIsAcceptedWhenItsResultIsLateAndOnlyThen(t *testing.T) {
	s := opened()
	sent(s, 0)
	hold(s, "1", 0)
	hold(s, "2", 0)
	finish(s, "1", 1)
	sent(s, 0)

	equal(t, "early", s.tick(at(1.9)), false)
	equal(t, "in time", s.tick(at(2)), true)
	equal(t, "sent", sent(s, 2), "accept:[2]")
	equal(t, "later", s.tick(at(3)), false)
	s.tick(at(10))
	equal(t, "beat", sent(s, 10), "beat:2")
}

func TestProgressIsSaidOnceAndAgainWhenTheStreamBroke(t *testing.T) {
	s := opened()
	hold(s, "1", 0)
	s.note("1", "half", nil)
	s.note("1", "", &tradewindv1.Payload{Data: []byte("5")})
	s.note("gone", "lost", nil)
	s.tick(at(2))
	equal(t, "first", sent(s, 10), "credits:8 accept:[1] beat:1 half 5")
	equal(t, "second", sent(s, 20), "beat:1")
	reopen(s, 20)
	equal(t, "reconnected", sent(s, 30), "credits:7 beat:1 half 5")
}

func TestMessagesAreCutByBytes(t *testing.T) {
	s := opened()
	for _, token := range []string{"1", "2", "3"} {
		hold(s, token, 0)
		finish(s, token, lotsOfWords)
	}
	equal(t, "results", sent(s, 0), "results:1,2 results:3 credits:11")
	for _, token := range []string{"4", "5", "6"} {
		hold(s, token, 0)
		s.note(token, "", &tradewindv1.Payload{Data: slices.Repeat([]byte("1"), lotsOfWords)})
	}
	s.tick(at(2))
	equal(t, "beats", strings.Count(sent(s, 10), "beat:"), 2)
}

func TestMessagesAreCutByNumber(t *testing.T) {
	s := newSession(&tradewindv1.Hello{}, 5000)
	reopen(s, 0)
	sent(s, 0)
	for token := range 2500 {
		hold(s, fmt.Sprint(token), 0)
	}
	s.tick(at(2))
	kinds := sent(s, 10)
	equal(t, "accepts", strings.Count(kinds, "accept:"), 3)
	equal(t, "beats", strings.Count(kinds, "beat:"), 3)
	for token := range 2500 {
		s.release(fmt.Sprint(token), "")
	}
	equal(t, "refusals", sent(s, 11), "credits:7500 refuse:1000 refuse:1000 refuse:500")
}

func TestAResultIsSentAgainWhenTheServerSaysLater(t *testing.T) {
	s := opened()
	hold(s, "1", 0)
	finish(s, "1", 1)
	sent(s, 0)
	later := &tradewindv1.Refusal{Reason: "QUEUE_FULL", RetryAfter: durationpb.New(2 * time.Second)}
	s.receive(receipt("1", wasRefused, later), zero)

	equal(t, "early", s.tick(at(1.9)), false)
	equal(t, "in time", s.tick(at(2)), true)
	equal(t, "sent", sent(s, 2), "results:1")
	equal(t, "idle", s.isIdle(), false)
	s.receive(receipt("1", recorded, nil), at(2))
	equal(t, "idle", s.isIdle(), true)
}

func TestAStaleResultIsDropped(t *testing.T) {
	s := opened()
	hold(s, "1", 0)
	finish(s, "1", 1)
	s.receive(receipt("1", stale, &tradewindv1.Refusal{Reason: "LEASE_LOST"}), zero)

	equal(t, "in flight", len(reopen(s, 1).GetInFlight()), 0)
}

func TestAResultThatCannotBeRecordedBecomesAFailure(t *testing.T) {
	s := opened()
	hold(s, "1", 0)
	finish(s, "1", 1)
	sent(s, 0)
	large := &tradewindv1.Refusal{Reason: "PAYLOAD_TOO_LARGE", Message: "Too large."}
	s.receive(receipt("1", wasRefused, large), zero)
	equal(t, "sent", sent(s, 0), "results:1 PAYLOAD_TOO_LARGE")
	s.receive(receipt("1", wasRefused, large), zero)
	equal(t, "idle", s.isIdle(), true)
}

func TestAResultOverWhichTheServerBrokeIsSentAgainAndThenFails(t *testing.T) {
	s := opened()
	hold(s, "1", 0)
	finish(s, "1", 1)
	sent(s, 0)
	broken := &tradewindv1.Refusal{Reason: "INTERNAL", Message: "It broke."}
	now := 0.0
	for tries := 1; tries <= maxFaults; tries++ {
		s.receive(receipt("1", wasRefused, broken), at(now))
		pause := float64(int(1) << tries)
		s.nextBeat = at(now + 1000) // beats are not what is looked at here
		equal(t, "early", s.tick(at(now+pause-0.1)), false)
		now += pause
		equal(t, "in time", s.tick(at(now)), true)
		equal(t, "sent", sent(s, now), "results:1")
	}
	s.receive(receipt("1", wasRefused, broken), at(now))
	equal(t, "at last", sent(s, now), "results:1 INTERNAL")
}

func TestAnUnconfirmedResultIsSentAgainOnTheNextStream(t *testing.T) {
	s := opened()
	hold(s, "1", 0)
	finish(s, "1", 1)
	sent(s, 0)
	equal(t, "nothing new", sent(s, 1), "")
	equal(t, "in flight", fmt.Sprintf("%s", reopen(s, 2).GetInFlight()), "[1]")
	equal(t, "again", sent(s, 2), "results:1 credits:8")
}

func TestAVerdictToStopEndsIt(t *testing.T) {
	s := opened()
	for _, token := range []string{"1", "2", "3"} {
		hold(s, token, 0)
	}
	finish(s, "3", 1)
	s.open()
	stopped := s.welcome(&tradewindv1.Welcome{InFlight: []*tradewindv1.InFlightVerdict{
		{Token: []byte("1")}, {Token: []byte("2"), Keep: true}, {Token: []byte("3")},
	}}, zero)
	finish(s, "1", 1)

	equal(t, "stopped", fmt.Sprint(stopped), "[1 3]")
	equal(t, "sent", sent(s, 0), "credits:7")
	equal(t, "beat", sent(s, 10), "beat:2")
}

func TestARefusedAcceptStopsTheAction(t *testing.T) {
	s := opened()
	hold(s, "1", 0)
	s.tick(at(2))

	equal(t, "stop", s.receive(receipt("1", stale, &tradewindv1.Refusal{Reason: "LEASE_LOST"}), at(2)), true)
	finish(s, "1", 1)
	equal(t, "idle", s.isIdle(), true)
}

func TestDrainIsSaidOnEachStreamAndGrantsNoMore(t *testing.T) {
	s := opened()
	sent(s, 0)
	s.drain()
	equal(t, "said", sent(s, 0), "drain")
	equal(t, "once", sent(s, 0), "")
	reopen(s, 1)
	equal(t, "again", sent(s, 1), "drain")
}

func TestLinesOfALogGoOutOnceOnAStreamAndAgainOnTheNext(t *testing.T) {
	s := opened()
	s.maxLogLines = 3
	s.hold(&tradewindv1.Offer{Token: []byte("a")}, at(0))
	s.tick(at(2))
	for _, message := range []string{"one", "two"} {
		s.write("a", &tradewindv1.LogLine{Message: message})
	}
	if found := lines(s, 10); found != "1 one, 2 two" {
		t.Errorf("the first beat says %q", found)
	}
	if found := lines(s, 20); found != "" {
		t.Errorf("the second beat says %q", found)
	}
	reopen(s, 20)
	s.maxLogLines = 3
	if found := lines(s, 30); found != "1 one, 2 two" {
		t.Errorf("the next stream's beat says %q", found)
	}
	s.write("a", &tradewindv1.LogLine{Message: "three"})
	s.write("a", &tradewindv1.LogLine{Message: "one too many"})
	s.finish(&tradewindv1.ActionResult{Token: []byte("a")})
	if found := lines(s, 31); found != "3 three" {
		t.Errorf("the result says %q", found)
	}
}

func TestLinesOfALogNeverMakeAMessageTooLargeForTheServer(t *testing.T) {
	s := opened()
	s.maxLogLines = 1000
	s.hold(&tradewindv1.Offer{Token: []byte("a")}, at(0))
	s.tick(at(2))
	large := &tradewindv1.Payload{Data: bytes.Repeat([]byte("1"), maxMessageBytes)}
	s.note("a", "", large)
	for range 100 {
		s.write("a", &tradewindv1.LogLine{Message: strings.Repeat("\U0001f600", maxLogCharacters)})
	}
	requests := s.outgoing(at(10))
	outcome := &tradewindv1.ActionResult_Result{Result: large}
	s.finish(&tradewindv1.ActionResult{Token: []byte("a"), Outcome: outcome})
	requests = append(requests, s.outgoing(at(11))...)
	said, last := 0, 0
	for _, request := range requests {
		equal(t, "fits", proto.Size(request) < 4<<20, true)
		for _, beat := range request.GetBeat().GetActions() {
			said += len(beat.GetLogs())
		}
		for _, result := range request.GetResults().GetResults() {
			last += len(result.GetLogs())
			equal(t, "the last line", result.GetLogs()[last-1].GetNumber(), 100)
		}
	}
	equal(t, "some", said > 20 && last > 20, true)
}

func TestLinesDoNotWaitForTheBeatOfAllActions(t *testing.T) {
	s := opened()
	s.maxLogLines = 10
	for _, token := range []string{"a", "b"} {
		s.hold(&tradewindv1.Offer{Token: []byte(token)}, at(0))
	}
	write := func(message string) { s.write("a", &tradewindv1.LogLine{Message: message}) }
	said := func(now float64) string {
		s.tick(at(now))
		var found []string
		for _, request := range s.outgoing(at(now)) {
			for _, beat := range request.GetBeat().GetActions() {
				found = append(found, fmt.Sprint(string(beat.GetToken()), len(beat.GetLogs())))
			}
		}
		return strings.Join(found, " ")
	}
	write("one")
	equal(t, "not accepted yet", said(1), "")
	equal(t, "accepted", said(2), "a1")
	write("two")
	write("three")
	equal(t, "too early", said(2.5), "")
	equal(t, "a second later", said(3), "a2")
	equal(t, "nothing", said(4), "")
	equal(t, "the beat of all", said(10), "a0 b0")
}

// lines takes what goes out, as the lines of logs in it.
func lines(s *session, now float64) string {
	var found []string
	add := func(logs []*tradewindv1.LogLine) {
		for _, line := range logs {
			found = append(found, fmt.Sprint(line.GetNumber(), " ", line.GetMessage()))
		}
	}
	for _, request := range s.outgoing(at(now)) {
		for _, beat := range request.GetBeat().GetActions() {
			add(beat.GetLogs())
		}
		for _, result := range request.GetResults().GetResults() {
			add(result.GetLogs())
		}
	}
	return strings.Join(found, ", ")
}
