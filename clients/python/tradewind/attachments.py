"""Files of human tasks, and every call about them, as values. No I/O lives here."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

import grpc

from tradewind.calls import Call
from tradewind.errors import NotFound
from tradewind.v1 import human_task_pb2, payload_pb2
from tradewind.v1 import human_task_service_pb2 as pb

_SERVICE = "HumanTaskService"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that belongs to a human task, or a reference to one that is kept elsewhere."""

    #: Within the human task, such as "f1".
    id: str
    name: str
    content_type: str
    #: Bytes.
    size: int
    #: "sha256:" and 64 hexadecimal digits.
    digest: str
    #: Where it is kept; "": at the server. Whoever added it chose this.
    uri: str
    added_by: str
    added_at: datetime
    proto: human_task_pb2.HumanTaskAttachment = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: human_task_pb2.HumanTaskAttachment) -> Attachment:
        """Read a message."""
        return cls(
            id=message.id,
            name=message.file_name,
            content_type=message.content_type,
            size=message.size_bytes,
            digest=message.digest,
            uri=message.uri,
            added_by=message.added_by,
            added_at=message.added_at.ToDatetime(tzinfo=UTC),
            proto=message,
        )


@dataclass(frozen=True, slots=True)
class Download:
    """A file with what is in it."""

    attachment: Attachment
    #: Empty for a reference.
    content: bytes = field(repr=False)

    @property
    def is_whole(self) -> bool:
        """Tell whether the content is that of the digest."""
        return self.attachment.digest == f"sha256:{hashlib.sha256(self.content).hexdigest()}"


def attach(namespace: str, human_task: str, name: str, content: bytes, content_type: str) -> Call[Attachment]:
    """Add a file."""
    request = _adding(namespace, human_task, name, content_type)
    request.content = content
    return Call(_SERVICE, "AddAttachment", request, _added)


def refer(
    namespace: str, human_task: str, name: str, uri: str, size: int, digest: str, content_type: str
) -> Call[Attachment]:
    """Add a reference to a file that is kept elsewhere."""
    request = _adding(namespace, human_task, name, content_type)
    request.external.CopyFrom(payload_pb2.ExternalReference(uri=uri, size_bytes=size, digest=digest))
    return Call(_SERVICE, "AddAttachment", request, _added)


def _adding(namespace: str, human_task: str, name: str, content_type: str) -> pb.AddAttachmentRequest:
    return pb.AddAttachmentRequest(
        namespace=namespace,
        request_id=str(uuid.uuid4()),
        human_task_id=human_task,
        file_name=name,
        content_type=content_type,
    )


def _added(response: pb.AddAttachmentResponse) -> Attachment:
    if not response.HasField("attachment"):
        # a call that was repeated, since its first answer was lost
        message = "Expected the file to be there, but it was added and has been withdrawn meanwhile."
        raise NotFound("ATTACHMENT_NOT_FOUND", message, code=grpc.StatusCode.NOT_FOUND)
    return Attachment.read(response.attachment)


def download(namespace: str, human_task: str, id_: str) -> Call[Download]:
    """Get a file with what is in it."""
    request = pb.GetAttachmentRequest(namespace=namespace, human_task_id=human_task, attachment_id=id_)
    return Call(
        _SERVICE, "GetAttachment", request, lambda found: Download(Attachment.read(found.attachment), found.content)
    )


def withdraw(namespace: str, human_task: str, id_: str, note: str) -> Call[None]:
    """Take a file back."""
    request = pb.WithdrawAttachmentRequest(
        namespace=namespace,
        request_id=str(uuid.uuid4()),
        human_task_id=human_task,
        attachment_id=id_,
        note=note,
    )
    return Call(_SERVICE, "WithdrawAttachment", request, lambda _: None)
