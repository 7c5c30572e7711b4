package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"

	"github.com/tradewind/tradewind/clients/go/tradewind"
)

// content is no text, and not even UTF-8.
var content = append([]byte("%PDF-1.7\x00\xff\n"), bytes.Repeat([]byte{7, 0, 255}, 100_000)...)

// attach adds files to the first human task of an inbox, reads them after a line on the standard input, takes one back,
// and decides.
func attach(ctx context.Context, people tradewind.People) error {
	id, err := firstOf(ctx, people)
	if err != nil {
		return err
	}
	before, err := people.Get(ctx, id)
	if err != nil {
		return err
	}
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(content))
	for _, file := range []tradewind.NewAttachment{
		{Name: "contract.pdf", ContentType: "application/pdf", Content: content},
		{Name: "scan.pdf", ContentType: "application/pdf", URI: "https://192.0.2.1/scan.pdf", Size: 1 << 40, Digest: digest},
		{Name: "wrong.pdf", ContentType: "application/pdf", Content: []byte("wrong")},
		{Name: "note.txt", ContentType: "text/plain", Content: []byte("no contract")},
		{Name: "large.pdf", ContentType: "application/pdf", Content: make([]byte, 1<<20+1)},
	} {
		added, err := people.Attach(ctx, id, file)
		if sayRefusal(file.Name, err) {
			continue
		}
		fmt.Println(added.ID, added.Name, added.ContentType, added.Size, added.Digest == digest, added.URI, added.AddedBy)
	}
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	return readAndDecide(ctx, people, before)
}

func firstOf(ctx context.Context, people tradewind.People) (string, error) {
	for update, err := range people.Watch(ctx, tradewind.ScopeInbox, "") {
		if err != nil {
			return "", err
		}
		for _, found := range update.HumanTasks {
			return found.ID, nil
		}
	}
	return "", errors.New("the inbox has ended")
}

func readAndDecide(ctx context.Context, people tradewind.People, before *tradewind.HumanTask) error {
	if _, err := people.Withdraw(ctx, before.ID, "f3", "the wrong one"); err != nil {
		return err
	}
	for _, name := range []string{"f1", "f2", "f3"} {
		found, got, err := people.Download(ctx, before.ID, name)
		if sayRefusal(name, err) {
			continue
		}
		fmt.Println(found.ID, found.Name, len(got), bytes.Equal(got, content))
	}
	_, err := people.Submit(ctx, before, tradewind.Decision{Outcome: "done"})
	sayRefusal("a decision on no files", err)
	seen, err := people.Get(ctx, before.ID)
	if err != nil {
		return err
	}
	for _, attachment := range seen.Attachments {
		fmt.Println("seen", attachment.ID, attachment.Name)
	}
	decided, err := people.Submit(ctx, seen, tradewind.Decision{Outcome: "done"})
	if err != nil {
		return err
	}
	fmt.Println(decided.State, decided.DoneBy)
	_, got, err := people.Download(ctx, before.ID, "f1")
	fmt.Println("afterwards", bytes.Equal(got, content))
	return err
}

// sayRefusal tells whether something was refused, and says why.
func sayRefusal(what string, err error) bool {
	var refusal *tradewind.Error
	if errors.As(err, &refusal) {
		fmt.Println(what, refusal.Reason)
		return true
	}
	if err != nil {
		fmt.Println(what, err)
	}
	return err != nil
}
