"""Files of human tasks as callers give and get them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from tradewind.v1 import human_task_pb2
from tradewind.v1 import human_task_service_pb2 as pb
from tradewind_server.api import convert
from tradewind_server.engine.attachment import Attachment
from tradewind_server.errors import FieldInvalid
from tradewind_server.errors.people import AttachmentNotFound
from tradewind_server.lang.attachments import CONTENT_TYPE
from tradewind_server.store import attachments

_ANY_TYPE = "application/octet-stream"
_MOST_NAME, _MOST_TYPE, _MOST_URI = 255, 127, 2_048
_MOST_SIZE = 2**53
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31})://[^\s/?#][^\s]*")
#: Of the web, of stores of objects, and of transfers with a login. All others are refused: a computer may start a
#: program for any it knows (`ms-word:`), send its user's name (`smb:`, `file:`), or run what somebody else has written.
_SCHEMES = frozenset(
    {"https", "http", "s3", "s3a", "gs", "az", "abfs", "abfss", "wasb", "wasbs", "hdfs", "sftp", "ftps"}
)

#: Control characters, halves of a character, and ends of lines and of paragraphs.
_UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})
#: What turns the direction of a text, so that `exe.pdf` may be shown for what ends in `exe`.
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def given(request: pb.AddAttachmentRequest) -> tuple[Attachment, bytes | None]:
    """Return the file that is to be added, and what is in it; None if it is kept elsewhere.

    Raises:
        FieldInvalid: something is missing, or not as it has to be.
    """
    name, type_ = _name(request.file_name), _type(request.content_type)
    match request.WhichOneof("file"):
        case "content":
            digest = f"sha256:{hashlib.sha256(request.content).hexdigest()}"
            return Attachment(name, type_, len(request.content), digest), request.content
        case "external":
            return _reference(name, type_, request.external), None
    raise FieldInvalid(name="content", expected="given, or 'external'", problem="neither is")


def _name(text: str) -> str:
    if problem := _problem(text) or (f"it has {len(text)}" if len(text) > _MOST_NAME else ""):
        expected = f"1 to {_MOST_NAME} characters that can be seen, without '/' and '\\', and no folder"
        raise FieldInvalid(name="file_name", expected=expected, problem=problem)
    # it becomes part of a result, and must not pass for a reference to a secret there
    return convert.text_of(text, _MOST_NAME)


def _problem(text: str) -> str:
    """Return why a file cannot be called so, "" if it can."""
    if not text:
        return "it is empty"
    for sign in text:
        # not isprintable(): screenshots have a no-break space in their names, and emoji and Persian what joins signs
        if sign in "/\\" or sign in _TURNS or unicodedata.category(sign) in _UNFIT:
            return f"it has U+{ord(sign):04X}"
    if text in (".", ".."):
        return "it is a folder"
    if text != text.strip():
        return "it has a blank at its begin or end"
    is_seen = any(unicodedata.category(sign) not in ("Cf", "Zs") for sign in text)
    return "" if is_seen else "nothing of it can be seen"


def _type(given: str) -> str:
    # RFC 6838: names are the same in capitals; definitions have them in small letters
    text = given.lower()
    if text and (len(text) > _MOST_TYPE or not CONTENT_TYPE.fullmatch(text)):
        expected = "a media type, such as 'application/pdf'"
        problem = "it has parameters" if ";" in text else "it is another text"
        raise FieldInvalid(name="content_type", expected=expected, problem=problem)
    return text or _ANY_TYPE


def _reference(name: str, type_: str, external: Any) -> Attachment:
    uri, size, digest = external.uri, external.size_bytes, external.digest
    match = _URI.fullmatch(uri)
    if len(uri) > _MOST_URI or not uri.isprintable() or match is None or match[1].lower() not in _SCHEMES:
        expected = f"an address of at most {_MOST_URI} characters, of {', '.join(sorted(_SCHEMES))}"
        raise FieldInvalid(name="external.uri", expected=expected, problem="it is none")
    if not 0 <= size <= _MOST_SIZE:
        expected, problem = "the file's bytes, 0 or more", f"it is {size}"
        raise FieldInvalid(name="external.size_bytes", expected=expected, problem=problem)
    if not _DIGEST.fullmatch(digest):
        expected = "'sha256:' and 64 small hexadecimal digits"
        raise FieldInvalid(name="external.digest", expected=expected, problem="it is not so")
    return Attachment(name, type_, size, digest, convert.text_of(uri, _MOST_URI))


def number_of(text: str) -> int:
    """Return the number in the id of an attachment.

    Raises:
        FieldInvalid: it is no such id.
    """
    return convert.number_of("attachment_id", text, "f")


def message(attachment: Attachment) -> human_task_pb2.HumanTaskAttachment:
    """Return what is told of a file."""
    return human_task_pb2.HumanTaskAttachment(
        id=f"f{attachment.id}",
        file_name=attachment.name,
        content_type=attachment.content_type,
        size_bytes=attachment.size,
        digest=attachment.digest,
        uri=attachment.uri,
        added_by=attachment.by,
        added_at=convert.moment(attachment.at),
    )


def added(found: Iterable[Attachment], wanted: Attachment, by: str) -> Attachment | None:
    """Return which of *found* is the *wanted* one that somebody has added, or None."""
    return next((each for each in found if each.is_same(wanted) and each.by == by), None)


def find(found: Iterable[Attachment], human_task: str, number: int) -> Attachment:
    """Return that one of a human task.

    Raises:
        AttachmentNotFound: it has none of that number.
    """
    for each in found:
        if each.id == number:
            return each
    raise AttachmentNotFound(attachment=f"f{number}", human_task=human_task, field="attachment_id")


def content(connection: sa.Connection, execution_id: str, attachment: Attachment) -> bytes:
    """Return what is in a file; nothing if it is kept elsewhere."""
    if attachment.uri:
        return b""
    kept = attachments.content(connection, execution_id, attachment.revision)
    assert kept is not None, "what belongs to a human task is kept as long as its execution is"
    return kept
