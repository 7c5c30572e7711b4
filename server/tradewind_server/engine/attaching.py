"""What people do with the files of a human task: add them, and take them back.

Whoever has seen it before has to look again: an approval without a contract is none of one with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tradewind_server.engine import commands as c
from tradewind_server.engine import events as e
from tradewind_server.engine import quorum
from tradewind_server.engine.asked import id_of, spec_of
from tradewind_server.engine.attachment import Attachment
from tradewind_server.engine.attachments import missing, with_files, without_files
from tradewind_server.engine.decision import Decision
from tradewind_server.engine.eligibility import check_concerned, check_excluded, open_task
from tradewind_server.engine.state import HumanTask
from tradewind_server.errors import PayloadTooLarge
from tradewind_server.errors.people import (
    AttachmentNotFound,
    AttachmentRefused,
    PersonNotManager,
    TooManyAttachments,
)
from tradewind_server.lang.attachments import ANY, is_accepted
from tradewind_server.lang.specs import Attachments as Wanted


def add(d: Decision, command: c.AddAttachment) -> None:
    """Add a file; the same again by the same person is the one that is there."""
    human_task, person, given = open_task(d, command.action), command.person, command.attachment
    check_excluded(d, human_task, person.user)
    check_concerned(d, human_task, person)
    if any(each.is_same(given) and each.by == person.user for each in human_task.attachments):
        return
    _check_fits(d, human_task, given, command.content)
    number = human_task.last_attachment + 1
    added = msgspec.structs.replace(given, id=number, by=person.user, at=d.at, revision=d.state.revision + 1)
    etag = _etag(d, human_task, [*human_task.attachments, added])
    again = quorum.to_ask_again(human_task)
    d.emit(e.HumanTaskAttachmentAdded(human_task.id, human_task.task, person.user, added, etag))
    if command.content is not None:
        d.contents[added.revision] = command.content
    quorum.ask_again(d, human_task, again)


def withdraw(d: Decision, command: c.WithdrawAttachment) -> None:
    """Take a file back: who added it may, and who manages."""
    human_task, person = open_task(d, command.action), command.person
    check_excluded(d, human_task, person.user)
    found = next((each for each in human_task.attachments if each.id == command.attachment), None)
    if found is None:
        raise AttachmentNotFound(
            attachment=f"f{command.attachment}", human_task=id_of(d, human_task), field="attachment_id"
        )
    if person.user != found.by and not person.may_manage:
        raise PersonNotManager(user=person.user)
    if _is_brought(d, human_task, found):
        # he added it elsewhere: that says nothing of whether this is his business
        check_concerned(d, human_task, person)
    left = [each for each in human_task.attachments if each is not found]
    etag, again = _etag(d, human_task, left), quorum.to_ask_again(human_task)
    d.emit(e.HumanTaskAttachmentWithdrawn(human_task.id, human_task.task, person.user, found, etag, command.note))
    if not any(each.revision == found.revision for other in d.state.human_tasks.values() for each in other.attachments):
        d.dropped.append(found.revision)
    quorum.ask_again(d, human_task, again)


def _is_brought(d: Decision, human_task: HumanTask, attachment: Attachment) -> bool:
    return attachment.revision < d.state.actions[human_task.id].scheduled_revision


def _check_fits(d: Decision, human_task: HumanTask, given: Attachment, content: bytes | None) -> None:
    wanted, limits = spec_of(d, human_task).attachments or ANY, d.library.attachment_limits
    if not is_accepted(given.content_type, wanted.content_types):
        accepted = ", ".join(wanted.content_types)
        raise AttachmentRefused(
            human_task=id_of(d, human_task), accepted=accepted, content_type=given.content_type, field="content_type"
        )
    size, most = len(content or b""), limits.max_attachment_bytes
    if size > most:
        raise PayloadTooLarge(
            what="an attachment", limit=most, setting="max_attachment_bytes", size=size, field="content"
        )
    _check_count(d, human_task, wanted)
    # where one more is needed what was brought takes no room: nobody could ever decide otherwise
    counted = [
        each
        for each in human_task.attachments
        if not (missing(human_task, wanted) and _is_brought(d, human_task, each))
    ]
    total = size + sum(each.size for each in counted if not each.uri)
    if total > limits.max_attachments_bytes:
        most = limits.max_attachments_bytes
        _refuse(d, human_task, "bytes of attachments", most, "max_attachments_bytes", total)


def _check_count(d: Decision, human_task: HumanTask, wanted: Wanted) -> None:
    # what is not decided without is taken, whatever was brought from elsewhere: nobody could ever decide otherwise
    if missing(human_task, wanted):
        return
    count, most = len(human_task.attachments) + 1, d.library.attachment_limits.max_attachments
    if wanted.maximum is not None and count > wanted.maximum:
        _refuse(d, human_task, "attachments", wanted.maximum, "'maximum' of its definition", count)
    if count > most:
        _refuse(d, human_task, "attachments", most, "max_attachments", count)


def _refuse(d: Decision, human_task: HumanTask, what: str, limit: int, setting: str, size: int) -> None:
    raise TooManyAttachments(human_task=id_of(d, human_task), limit=limit, what=what, setting=setting, size=size)


def _etag(d: Decision, human_task: HumanTask, attachments: Sequence[Attachment]) -> str:
    return with_files(d, human_task.id, without_files(human_task.etag), attachments)
