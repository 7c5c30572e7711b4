package tradewind

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

func (s *fakeServer) AddAttachment(
	_ context.Context, request *tradewindv1.AddAttachmentRequest,
) (*tradewindv1.AddAttachmentResponse, error) {
	if request.GetFileName() == "withdrawn.txt" {
		return &tradewindv1.AddAttachmentResponse{}, nil
	}
	return &tradewindv1.AddAttachmentResponse{Attachment: &tradewindv1.HumanTaskAttachment{
		Id: "f1", FileName: request.GetFileName(), Uri: request.GetExternal().GetUri(),
		SizeBytes: int64(len(request.GetContent())) + request.GetExternal().GetSizeBytes(),
	}}, nil
}

func (s *fakeServer) GetAttachment(
	_ context.Context, request *tradewindv1.GetAttachmentRequest,
) (*tradewindv1.GetAttachmentResponse, error) {
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("whole")))
	content := map[string]string{"f1": "whole", "f2": "hal"}[request.GetAttachmentId()]
	return &tradewindv1.GetAttachmentResponse{
		Attachment: &tradewindv1.HumanTaskAttachment{Id: request.GetAttachmentId(), Digest: digest}, Content: []byte(content),
	}, nil
}

func (s *fakeServer) WithdrawAttachment(
	_ context.Context, request *tradewindv1.WithdrawAttachmentRequest,
) (*tradewindv1.WithdrawAttachmentResponse, error) {
	return &tradewindv1.WithdrawAttachmentResponse{
		HumanTask: &tradewindv1.HumanTask{Id: request.GetHumanTaskId()},
	}, s.withdrawn
}

func TestFilesOfAHumanTaskComeBackWhole(t *testing.T) {
	server, ctx := &fakeServer{}, context.Background()
	people := serve(t, server, &instantClock{}).People()
	kept, err := people.Attach(ctx, "e1/a1", NewAttachment{Name: "a.txt", Content: []byte("abc")})
	equal(t, "error", err, nil)
	equal(t, "kept", fmt.Sprint(kept.Name, kept.Size, kept.URI), "a.txt3")
	referred, err := people.Attach(ctx, "e1/a1", NewAttachment{Name: "b.txt", URI: "s3://b", Size: 7, Digest: "sha256:0"})
	equal(t, "error", err, nil)
	equal(t, "referred", fmt.Sprint(referred.Name, referred.Size, referred.URI), "b.txt7s3://b")

	_, err = people.Attach(ctx, "e1/a1", NewAttachment{Name: "withdrawn.txt"})
	equal(t, "not there any more", errors.Is(err, ReasonAttachmentNotFound), true)

	_, content, err := people.Download(ctx, "e1/a1", "f1")
	equal(t, "error", err, nil)
	equal(t, "content", string(content), "whole")
	_, _, err = people.Download(ctx, "e1/a1", "f2")
	equal(t, "half of it is refused", err != nil, true)

	left, err := people.Withdraw(ctx, "e1/a1", "f1", "the wrong one")
	equal(t, "error", err, nil)
	equal(t, "left", left.ID, "e1/a1")
	server.withdrawn = refusal(t, codes.NotFound, "ATTACHMENT_NOT_FOUND")
	_, err = people.Withdraw(ctx, "e1/a1", "f1", "")
	equal(t, "not there", errors.Is(err, ReasonAttachmentNotFound), true)
}
