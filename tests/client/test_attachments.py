"""Calls about files of human tasks: what is asked, and what the answer is read as."""

from __future__ import annotations

import pytest

from tradewind import attachments, errors
from tradewind.v1 import human_task_pb2
from tradewind.v1 import human_task_service_pb2 as pb


def test_a_file_that_was_added_is_read() -> None:
    call = attachments.attach("n", "e/a1", "a.txt", b"x", "text/plain")
    answer = pb.AddAttachmentResponse(attachment=human_task_pb2.HumanTaskAttachment(id="f1", file_name="a.txt"))
    assert (call.read(answer).id, call.read(answer).name) == ("f1", "a.txt")


def test_a_file_that_is_withdrawn_before_a_repeat_is_no_file_of_1970() -> None:
    """The first answer was lost, and somebody was quicker than the repeat."""
    call = attachments.attach("n", "e/a1", "a.txt", b"x", "text/plain")
    with pytest.raises(errors.NotFound) as caught:
        call.read(pb.AddAttachmentResponse(human_task=human_task_pb2.HumanTask(id="e/a1")))
    assert caught.value.reason == "ATTACHMENT_NOT_FOUND"
