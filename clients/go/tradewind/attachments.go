package tradewind

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// Attachment is a file that belongs to a human task, or a reference to one that is kept elsewhere.
type Attachment struct {
	// ID names it within the human task, such as "f1".
	ID string
	// Name is without folders, ContentType a media type, as who added it says.
	Name, ContentType string
	// Size counts bytes.
	Size int64
	// Digest is "sha256:" and 64 hexadecimal digits.
	Digest string
	// URI is where it is kept, "" at the server. Whoever added it chose this.
	URI string
	// AddedBy is who added it, AddedAt when.
	AddedBy string
	AddedAt time.Time
}

func readAttachment(proto *tradewindv1.HumanTaskAttachment) *Attachment {
	return &Attachment{
		ID: proto.GetId(), Name: proto.GetFileName(), ContentType: proto.GetContentType(), Size: proto.GetSizeBytes(),
		Digest: proto.GetDigest(), URI: proto.GetUri(), AddedBy: proto.GetAddedBy(), AddedAt: moment(proto.GetAddedAt()),
	}
}

// NewAttachment is what is to be added to a human task.
type NewAttachment struct {
	// Name is without folders.
	Name string
	// ContentType is a media type; "" stands for application/octet-stream.
	ContentType string
	// Content is what is in it.
	Content []byte
	// URI, Size and Digest say instead where it is kept, if URI is not "".
	URI    string
	Size   int64
	Digest string
}

// Attach adds a file to one; who has seen it before has to look again. The same again is the one that is there.
// [ReasonAttachmentNotFound] says that the call was repeated, and that what it added is withdrawn already.
func (p People) Attach(ctx context.Context, id string, file NewAttachment) (*Attachment, error) {
	c := p.client
	request := &tradewindv1.AddAttachmentRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(), HumanTaskId: id,
		FileName: file.Name, ContentType: file.ContentType,
	}
	if file.URI == "" {
		request.File = &tradewindv1.AddAttachmentRequest_Content{Content: file.Content}
	} else {
		external := &tradewindv1.ExternalReference{Uri: file.URI, SizeBytes: file.Size, Digest: file.Digest}
		request.File = &tradewindv1.AddAttachmentRequest_External{External: external}
	}
	response, err := send(ctx, c, c.people.AddAttachment, request)
	if err != nil {
		return nil, err
	}
	if response.GetAttachment() == nil {
		// a call that was repeated, since its first answer was lost
		return nil, &Error{
			Reason: ReasonAttachmentNotFound, Code: codes.NotFound,
			Message: "Expected the file to be there, but it was added and has been withdrawn meanwhile.",
		}
	}
	return readAttachment(response.GetAttachment()), nil
}

// Download returns a file of one, and what is in it: nothing for a reference. Content that is not that of the digest is
// an error.
func (p People) Download(ctx context.Context, id, attachmentID string) (*Attachment, []byte, error) {
	c := p.client
	response, err := send(ctx, c, c.people.GetAttachment, &tradewindv1.GetAttachmentRequest{
		Namespace: c.options.Namespace, HumanTaskId: id, AttachmentId: attachmentID,
	})
	if err != nil {
		return nil, nil, err
	}
	found, content := readAttachment(response.GetAttachment()), response.GetContent()
	if got := fmt.Sprintf("sha256:%x", sha256.Sum256(content)); found.URI == "" && got != found.Digest {
		return nil, nil, fmt.Errorf("attachment %s of %s: got %s instead of %s", attachmentID, id, got, found.Digest)
	}
	return found, content, nil
}

// Withdraw takes a file of one back: what is in it is removed, and the audit trail says so. The note says why.
func (p People) Withdraw(ctx context.Context, id, attachmentID, note string) (*HumanTask, error) {
	c := p.client
	return humanTask(send(ctx, c, c.people.WithdrawAttachment, &tradewindv1.WithdrawAttachmentRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(), HumanTaskId: id, AttachmentId: attachmentID, Note: note,
	}))
}
