"""Files of human tasks: what is added is had back, by those it is for; limits, names, races; on both databases."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from grpc import StatusCode

from tests.api import test_sensitive as sensitive
from tests.api.harness import Served, read_refusal, refused, running, serving
from tests.api.test_human_tasks import ALICE, BEN, begin, decision, get
from tradewind import values
from tradewind.v1 import execution_service_pb2, payload_pb2
from tradewind.v1 import human_task_service_pb2 as pb
from tradewind_server.store import schema

CANARY = b"%PDF-1.7 canary \x00\xff of a contract"
DIGEST = f"sha256:{hashlib.sha256(CANARY).hexdigest()}"


def file(id_: str, name: str = "contract.pdf", content: bytes = CANARY, **fields: Any) -> pb.AddAttachmentRequest:
    """Return what adds a file."""
    return pb.AddAttachmentRequest(human_task_id=id_, file_name=name, content=content, **fields)


async def add(served: Served, id_: str, who: dict[str, Any] = ALICE, **fields: Any) -> str:
    """Add a file, and return its id."""
    return str((await served.people.AddAttachment(file(id_, **fields), **who)).attachment.id)


async def download(served: Served, id_: str, which: str, who: dict[str, Any] = ALICE) -> bytes:
    """Return what is in a file."""
    request = pb.GetAttachmentRequest(human_task_id=id_, attachment_id=which)
    return bytes((await served.people.GetAttachment(request, **who)).content)


def withdrawal(id_: str, which: str, **fields: Any) -> pb.WithdrawAttachmentRequest:
    """Return what takes a file back."""
    return pb.WithdrawAttachmentRequest(human_task_id=id_, attachment_id=which, **fields)


def kept(served: Served) -> int:
    """Return how many files the database holds."""
    with served.server.runtime.database.reading() as (connection, _):
        return connection.execute(sa.select(sa.func.count()).select_from(schema.attachments)).scalar_one()


async def test_a_file_is_had_back_as_it_was_and_told_of_in_the_result(served: Served) -> None:
    [id_] = await begin(served)
    added = await served.people.AddAttachment(file(id_, content_type="application/pdf"), **ALICE)
    told = (added.attachment.id, added.attachment.file_name, added.attachment.digest, added.attachment.added_by)
    assert told == ("f1", "contract.pdf", DIGEST, "alice")
    assert list(added.human_task.attachments) == [added.attachment]
    assert await download(served, id_, "f1", BEN) == CANARY

    await served.people.SubmitHumanTask(await decision(served, id_), **BEN)

    _, output = await served.ended(id_.split("/")[0])
    told_of = {
        "id": "f1", "name": "contract.pdf", "content_type": "application/pdf", "size": len(CANARY), "digest": DIGEST,
        "by": "alice", "human_task": id_,
    }  # fmt: skip
    assert output["said"]["attachments"] == [told_of]
    assert await download(served, id_, "f1", BEN) == CANARY
    trail = await served.people.ListHumanTaskEntries(pb.ListHumanTaskEntriesRequest(human_task_id=id_))
    entries = [(e.type, e.by, e.attachment.file_name, e.attachment.digest) for e in trail.entries if e.attachment.id]
    assert entries == [("HumanTaskAttachmentAdded", "alice", "contract.pdf", DIGEST)]


async def test_who_has_not_seen_the_file_looks_again(served: Served) -> None:
    [id_] = await begin(served)
    stale = await decision(served, id_)
    await add(served, id_)
    with refused(StatusCode.ABORTED, "HUMAN_TASK_CHANGED"):
        await served.people.SubmitHumanTask(stale, **BEN)
    await served.people.WithdrawAttachment(withdrawal(id_, "f1"), **ALICE)
    # nothing has come and gone that he would not see: it is what he saw
    done = await served.people.SubmitHumanTask(stale, **BEN)
    assert done.human_task.done_by == "ben"


async def test_what_was_withdrawn_is_gone_but_not_from_the_audit_trail(served: Served) -> None:
    [id_] = await begin(served)
    await add(served, id_)
    assert kept(served) == 1
    request = withdrawal(id_, "f1", note="the wrong one", request_id="w1")
    for _ in range(2):  # a repeat gets the first answer
        answer = await served.people.WithdrawAttachment(request, **ALICE)
        assert (answer.human_task.attachment_count, len(answer.human_task.attachments)) == (0, 0)
    with refused(StatusCode.NOT_FOUND, "ATTACHMENT_NOT_FOUND"):
        await served.people.WithdrawAttachment(withdrawal(id_, "f1"), **ALICE)
    with refused(StatusCode.NOT_FOUND, "ATTACHMENT_NOT_FOUND"):
        await download(served, id_, "f1")
    assert kept(served) == 0
    trail = await served.people.ListHumanTaskEntries(pb.ListHumanTaskEntriesRequest(human_task_id=id_))
    last = trail.entries[-1]
    assert (last.type, last.by, last.text, last.attachment.digest) == (
        "HumanTaskAttachmentWithdrawn", "alice", "the wrong one", DIGEST,
    )  # fmt: skip


async def test_a_file_sent_twice_is_there_once(served: Served) -> None:
    """With a request id, and also without; the id with another file is refused."""
    [id_] = await begin(served)
    for request_id in ("r1", "r1", "", "r2"):
        assert await add(served, id_, request_id=request_id) == "f1"
    with refused(StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"):
        await add(served, id_, content=b"another", request_id="r1")
    assert await add(served, id_, content=b"another") == "f2"
    assert await add(served, id_, BEN) == "f3"
    assert (await get(served, id_)).attachment_count == 3


async def test_a_reference_is_told_and_never_fetched(served: Served) -> None:
    [id_] = await begin(served)
    external = payload_pb2.ExternalReference(uri="https://192.0.2.1/contract.pdf", size_bytes=2**40, digest=DIGEST)
    request = pb.AddAttachmentRequest(human_task_id=id_, file_name="contract.pdf", external=external)
    added = (await served.people.AddAttachment(request, **ALICE)).attachment
    assert (added.uri, added.size_bytes, added.digest) == (external.uri, 2**40, DIGEST)
    assert await download(served, id_, "f1") == b""
    assert kept(served) == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"file_name": ""}, "file_name"),
        ({"file_name": "a" * 256}, "file_name"),
        ({"file_name": "../a"}, "file_name"),
        ({"file_name": "a\\b"}, "file_name"),
        ({"file_name": ".."}, "file_name"),
        ({"file_name": " a"}, "file_name"),
        ({"file_name": "a\x1b[2Jb"}, "file_name"),
        ({"file_name": "exe.\u202efdp"}, "file_name"),
        ({"file_name": "exe.\u2067fdp"}, "file_name"),
        ({"file_name": "a\u200fb"}, "file_name"),
        ({"file_name": "a\u2028b"}, "file_name"),
        ({"file_name": "a\u0085b"}, "file_name"),
        ({"file_name": "\u200d"}, "file_name"),
        ({"file_name": "a\u00a0"}, "file_name"),
        ({"file_name": "a\0b"}, "file_name"),
        ({"content_type": "pdf"}, "content_type"),
        ({"content_type": "text/plain; charset=utf-8"}, "content_type"),
        ({"content": None}, "content"),
        ({"external": ("javascript://x/%0aalert(1)", 1, DIGEST)}, "external.uri"),
        ({"external": ("data:text/plain,x", 1, DIGEST)}, "external.uri"),
        ({"external": ("ms-msdt://id", 1, DIGEST)}, "external.uri"),
        ({"external": ("file://evil.example/share", 1, DIGEST)}, "external.uri"),
        ({"external": ("smb://evil.example/share", 1, DIGEST)}, "external.uri"),
        ({"external": ("/etc/passwd", 1, DIGEST)}, "external.uri"),
        ({"external": ("https://example.com/a b", 1, DIGEST)}, "external.uri"),
        ({"external": (f"https://example.com/{'a' * 2048}", 1, DIGEST)}, "external.uri"),
        ({"external": ("s3://files/a", -1, DIGEST)}, "external.size_bytes"),
        ({"external": ("s3://files/a", 1, "sha256:abc")}, "external.digest"),
        ({"external": ("s3://files/a", 1, "")}, "external.digest"),
    ],
)
async def test_a_file_that_is_none_is_refused_by_field(served: Served, change: dict[str, Any], field: str) -> None:
    fields: dict[str, Any] = {"human_task_id": "e/a1", "file_name": "contract.pdf", "content": CANARY, **change}
    if "external" in change:
        uri, size, digest = change["external"]
        fields.pop("content")
        fields["external"] = payload_pb2.ExternalReference(uri=uri, size_bytes=size, digest=digest)
    request = pb.AddAttachmentRequest(**fields)
    with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID") as caught:
        await served.people.AddAttachment(request, **ALICE)
    assert caught.violations[0][0] == field


@pytest.mark.parametrize(
    "name",
    [
        "Screenshot 2024-01-01 at 9.41.00\u202fAM.png",
        "Facture n\u00ba\u00a01.pdf",
        "\U0001f468\u200d\U0001f469 family.png",
        "\u0646\u0627\u0645\u0647\u200c\u0647\u0627.pdf",
        "\u65e5\u672c\u3000\u8a9e.txt",
    ],
)
async def test_a_file_has_the_name_that_a_computer_of_today_gives_it(served: Served, name: str) -> None:
    """Such as a screenshot's, with a narrow no-break space before AM."""
    [id_] = await begin(served)
    added = await served.people.AddAttachment(file(id_, name), **ALICE)
    assert added.attachment.file_name == name


async def test_a_media_type_in_capitals_is_that_in_small_letters(served: Served) -> None:
    [id_] = await begin(served)
    added = await served.people.AddAttachment(file(id_, content_type="Application/PDF"), **ALICE)
    assert added.attachment.content_type == "application/pdf"


async def test_an_address_of_another_size_is_another_reference(served: Served) -> None:
    """Nobody is told of the size that somebody has said before."""
    [id_] = await begin(served)
    for size, wanted in ((1, "f1"), (999, "f2"), (999, "f2")):
        external = payload_pb2.ExternalReference(uri="s3://files/a", size_bytes=size, digest=DIGEST)
        request = pb.AddAttachmentRequest(human_task_id=id_, file_name="a", external=external)
        added = (await served.people.AddAttachment(request, **ALICE)).attachment
        assert (added.id, added.size_bytes) == (wanted, size)


@pytest.mark.parametrize("uri", ["HTTPS://example.com/a", "abfss://files@store.dfs.core.windows.net/a", "gs://files/a"])
async def test_an_address_of_a_store_is_one(served: Served, uri: str) -> None:
    [id_] = await begin(served)
    external = payload_pb2.ExternalReference(uri=uri, size_bytes=1, digest=DIGEST)
    request = pb.AddAttachmentRequest(human_task_id=id_, file_name="a", external=external)
    assert (await served.people.AddAttachment(request, **ALICE)).attachment.uri == uri


async def test_a_sign_that_no_name_of_a_file_may_have_is_named(served: Served) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID") as caught:
        await served.people.AddAttachment(file("e/a1", "exe.\u202efdp"), **ALICE)
    assert "U+202E" in caught.violations[0][1]


async def test_limits_are_refused_with_name_and_value(database_url: str) -> None:
    async with serving(database_url, max_attachment_bytes=100, max_attachments=3, max_attachments_bytes=250) as served:
        [id_] = await begin(served)
        with refused(StatusCode.INVALID_ARGUMENT, "PAYLOAD_TOO_LARGE") as caught:
            await add(served, id_, content=b"x" * 101)
        assert caught.metadata["setting"] == "max_attachment_bytes"
        for n in (1, 2):
            await add(served, id_, content=bytes([n]) * 100)
        with refused(StatusCode.FAILED_PRECONDITION, "TOO_MANY_ATTACHMENTS") as caught:
            await add(served, id_, content=b"x" * 51)
        assert (caught.metadata["setting"], caught.metadata["size"]) == ("max_attachments_bytes", "251")
        await add(served, id_, content=b"x" * 50)
        with refused(StatusCode.FAILED_PRECONDITION, "TOO_MANY_ATTACHMENTS") as caught:
            await add(served, id_, content=b"")
        assert caught.metadata["setting"] == "max_attachments"
        await served.people.WithdrawAttachment(withdrawal(id_, "f1"), **ALICE)
        assert await add(served, id_, content=b"") == "f4"


async def test_a_minimum_above_the_limit_of_the_server_can_be_reached(database_url: str) -> None:
    """The definition is deployed without a word, and would wait for ever."""
    text = """
version: '2.0'
many:
  tasks:
    sign: {human: {title: Sign, users: [alice], outcomes: [approve, decline], attachments: {minimum: 2}}}
"""
    async with serving(database_url, max_attachments=1) as served:
        await served.deploy(text)
        start = execution_service_pb2.StartExecutionRequest(workflow="many")
        id_ = f"{(await served.executions.StartExecution(start, **ALICE)).execution.id}/a1"
        for n in (1, 2):
            assert await add(served, id_, content=bytes([n])) == f"f{n}"
        with refused(StatusCode.FAILED_PRECONDITION, "TOO_MANY_ATTACHMENTS") as caught:
            await add(served, id_, content=b"third")
        assert (caught.metadata["setting"], caught.metadata["limit"]) == ("max_attachments", "1")
        done = await served.people.SubmitHumanTask(await decision(served, id_), **ALICE)
        assert done.human_task.done_by == "alice"


async def test_a_file_of_the_largest_size_passes(served: Served) -> None:
    [id_] = await begin(served)
    content = bytes(range(256)) * 4096
    assert await download(served, id_, await add(served, id_, content=content)) == content
    with refused(StatusCode.INVALID_ARGUMENT, "PAYLOAD_TOO_LARGE"):
        await add(served, id_, content=content + b"x")


async def test_nobody_is_given_a_file_of_another_namespace(served: Served) -> None:
    [id_] = await begin(served)
    await add(served, id_)
    with refused(StatusCode.NOT_FOUND, "HUMAN_TASK_NOT_FOUND"):
        request = pb.GetAttachmentRequest(namespace="elsewhere", human_task_id=id_, attachment_id="f1")
        await served.people.GetAttachment(request, **ALICE)
    with refused(StatusCode.UNAUTHENTICATED, "PERSON_UNKNOWN"):
        await served.people.AddAttachment(file(id_))
    for wrong in ("f0x", "a1", ""):
        with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
            await download(served, id_, wrong)


async def test_a_file_against_a_decision_has_one_winner(served: Served) -> None:
    """Either the file is there and who decides has to look again, or it is decided and the file comes too late."""
    for id_ in await begin(served, 20):
        decided = served.people.SubmitHumanTask(await decision(served, id_), **BEN)
        answers = await asyncio.gather(decided, add(served, id_), return_exceptions=True)
        lost = [read_refusal(each).reason for each in answers if isinstance(each, grpc.aio.AioRpcError)]
        found = await get(served, id_)
        told = (lost, found.done_by, found.attachment_count)
        assert told in ((["HUMAN_TASK_CHANGED"], "", 1), (["HUMAN_TASK_CLOSED"], "ben", 0))


async def test_files_that_come_at_once_have_ids_of_their_own(served: Served) -> None:
    [id_] = await begin(served)
    ids = await asyncio.gather(*(add(served, id_, content=bytes([n])) for n in range(15)))
    assert sorted(ids, key=lambda each: int(each[1:])) == [f"f{n}" for n in range(1, 16)]
    contents = await asyncio.gather(*(download(served, id_, each) for each in ids))
    assert contents == [bytes([n]) for n in range(15)]


async def test_what_is_in_a_file_is_in_no_history(served: Served) -> None:
    """Neither in events, nor in exports, lists and streams; that it is there is in all of them."""
    [id_] = await begin(served)
    await add(served, id_)
    await served.people.SubmitHumanTask(await decision(served, id_), **BEN)
    execution_id = id_.split("/")[0]
    await served.ended(execution_id)
    watched = [event.SerializeToString() for event in await served.follow(execution_id)]
    listed = await served.executions.ListEvents(execution_service_pb2.ListEventsRequest(execution_id=execution_id))
    exported = [
        message.SerializeToString()
        async for message in served.executions.ExportExecutions(execution_service_pb2.ExportExecutionsRequest())
    ]
    seen: Sequence[bytes] = [b"".join(watched), listed.SerializeToString(), b"".join(exported)]
    for data in seen:
        assert b"contract.pdf" in data
        assert b"canary" not in data


async def test_a_server_that_starts_again_has_them(database_url: str, tmp_path: Path) -> None:
    """The state is loaded from rows, and ids go on."""
    url = database_url or f"{tmp_path}/kept.db"
    async with serving(url) as served:
        [id_] = await begin(served)
        await add(served, id_)
        await add(served, id_, content=b"other")
        await served.people.WithdrawAttachment(withdrawal(id_, "f2"), **ALICE)
        seen = await get(served, id_)
    async with running(url) as served:
        assert (await get(served, id_)).attachments == seen.attachments
        assert await download(served, id_, "f1") == CANARY
        assert await add(served, id_, content=b"third") == "f3"
        done = await served.people.SubmitHumanTask(await decision(served, id_), **BEN)
        assert [each.id for each in done.human_task.attachments] == ["f1", "f3"]


# --- sensitive values ----------------------------------------------------------------------------

MARKED = sensitive.PAYOUT.replace("sensitive: [iban, amount]", "sensitive: [iban, amount, attachments]")


async def _payout(office: sensitive.Office, text: str) -> str:
    """Start a payout with a file in which there is the account, and return the id of its human task."""
    await office.served.deploy(text)
    id_ = f"{await office.start()}/a1"
    name, content = f"slip {sensitive.IBAN}.csv", sensitive.IBAN.encode()
    await office.served.people.AddAttachment(file(id_, name, content), **sensitive.by("clerk"))
    return id_


async def _told(office: sensitive.Office, id_: str, who: str) -> Any:
    request = pb.GetHumanTaskRequest(human_task_id=id_)
    return (await office.served.people.GetHumanTask(request, **sensitive.by(who))).human_task.attachments[0]


async def test_what_cannot_be_masked_is_for_those_who_decide_or_have_the_right(
    database_url: str, tmp_path: Path
) -> None:
    """Names are masked by value for all others."""
    async with sensitive.office(database_url, tmp_path) as office:
        id_ = await _payout(office, sensitive.PAYOUT)
        for who in ("clerk", "second", "auditor"):
            assert await download(office.served, id_, "f1", sensitive.by(who)) == sensitive.IBAN.encode()
            assert (await _told(office, id_, who)).file_name == f"slip {sensitive.IBAN}.csv"
        for who in ("reader", "worker"):
            with refused(StatusCode.PERMISSION_DENIED, "ATTACHMENT_HIDDEN"):
                await download(office.served, id_, "f1", sensitive.by(who))
            assert (await _told(office, id_, who)).file_name == "slip ***.csv"
        await office.enter(id_.split("/")[0])
        # it is not to be decided any more; who added it has it all the same
        assert await download(office.served, id_, "f1", sensitive.by("clerk")) == sensitive.IBAN.encode()
        with refused(StatusCode.PERMISSION_DENIED, "ATTACHMENT_HIDDEN"):
            await download(office.served, id_, "f1", sensitive.by("second"))


@pytest.mark.parametrize("text", [sensitive.PAYOUT, MARKED], ids=["values", "attachments"])
async def test_who_has_no_right_sees_no_file_anywhere(text: str, database_url: str, tmp_path: Path) -> None:
    """Where the definition marks attachments, neither its name nor its digest."""
    async with sensitive.office(database_url, tmp_path) as office:
        id_ = await _payout(office, text)
        execution_id = id_.split("/")[0]
        await office.enter(execution_id)
        await office.fail(await office.offer())
        watched = execution_service_pb2.WatchExecutionRequest(execution_id=execution_id)
        stream = office.served.executions.WatchExecution(watched, **sensitive.by("worker"))
        await sensitive.some(stream, lambda m: any(event.type == "ExecutionFailed" for event in m.events))
        found = await sensitive.everything(office, execution_id, "reader")
        assert sensitive.leaks(found) == {}
        digest = hashlib.sha256(sensitive.IBAN.encode()).hexdigest().encode()
        hidden = [key for key, data in found.items() if digest in data or b"slip" in data]
        assert bool(hidden) == (text is sensitive.PAYOUT), hidden
        told = await sensitive.everything(office, execution_id, "auditor")
        assert digest in told["human task"]


async def test_a_small_number_in_a_process_with_values_masks_no_field_of_a_file(
    database_url: str, tmp_path: Path
) -> None:
    """Sizes and numbers are no values: an audit trail with them can be read."""
    async with sensitive.office(database_url, tmp_path) as office:
        id_ = f"{await office.start()}/a1"
        content = b"x" * sensitive.AMOUNT
        await office.served.people.AddAttachment(file(id_, "a.csv", content), **sensitive.by("clerk"))
        request = pb.ListHumanTaskEntriesRequest(human_task_id=id_)
        trail = await office.served.people.ListHumanTaskEntries(request, **sensitive.by("reader"))
        assert trail.entries[-1].attachment.size_bytes == sensitive.AMOUNT


async def test_who_is_asked_later_has_the_files_of_before(database_url: str, tmp_path: Path) -> None:
    """Also of a process with sensitive values, and also if they are withdrawn where they came from."""
    text = """
version: '2.0'
two:
  input: [iban]
  sensitive: [iban]
  tasks:
    enter: {human: {title: Enter, groups: [clerks]}, on-success: check}
    check: {human: {title: Check, users: [second], attachments: {from: enter}}}
"""
    async with sensitive.office(database_url, tmp_path) as office:
        served, clerk, second = office.served, sensitive.by("clerk"), sensitive.by("second")
        await served.deploy(text)
        input_ = values.to_payload({"iban": sensitive.IBAN})
        start = execution_service_pb2.StartExecutionRequest(workflow="two", input=input_)
        id_ = (await served.executions.StartExecution(start, **clerk)).execution.id
        await add(served, f"{id_}/a1", clerk)
        seen = await served.people.GetHumanTask(pb.GetHumanTaskRequest(human_task_id=f"{id_}/a1"), **clerk)
        request = pb.SubmitHumanTaskRequest(human_task_id=f"{id_}/a1", outcome="done", etag=seen.human_task.etag)
        await served.people.SubmitHumanTask(request, **clerk)

        assert await download(served, f"{id_}/a2", "f1", second) == CANARY
        with refused(StatusCode.PERMISSION_DENIED, "ATTACHMENT_HIDDEN"):
            await download(served, f"{id_}/a1", "f1", second)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await served.people.WithdrawAttachment(withdrawal(f"{id_}/a2", "f1"), **clerk)
        assert await download(served, f"{id_}/a1", "f1", clerk) == CANARY


async def test_files_that_were_brought_keep_nobody_from_adding_what_is_needed(database_url: str) -> None:
    """They count with the others; but who may not decide without one more would wait for ever."""
    text = """
version: '2.0'
two:
  tasks:
    collect: {human: {title: Collect, users: [alice]}, on-success: sign}
    sign:
      human: {title: Sign, users: [alice], attachments: {from: collect, minimum: 1, content_types: application/pdf}}
"""
    async with serving(database_url, max_attachments_bytes=250) as served:
        await served.deploy(text)
        collect = f"{await served.start('two', {})}/a1"
        for n in (1, 2, 3):
            # what was withdrawn counts no more
            await add(served, collect, content=bytes([n]) * 200)
            await served.people.WithdrawAttachment(withdrawal(collect, f"f{n}"), **ALICE)
        await add(served, collect, content=b"x" * 250)
        await served.people.SubmitHumanTask(await decision(served, collect, "done"), **ALICE)
        sign = collect.replace("/a1", "/a2")
        with refused(StatusCode.FAILED_PRECONDITION, "TOO_MANY_ATTACHMENTS") as caught:
            await add(served, sign, content=b"y" * 251, content_type="application/pdf")
        assert (caught.metadata["setting"], caught.metadata["size"]) == ("max_attachments_bytes", "251")
        assert await add(served, sign, content=b"y" * 250, content_type="application/pdf") == "f2"
        with refused(StatusCode.FAILED_PRECONDITION, "TOO_MANY_ATTACHMENTS") as caught:
            await add(served, sign, content=b"z", content_type="application/pdf")
        assert (caught.metadata["setting"], caught.metadata["size"]) == ("max_attachments_bytes", "501")
        await served.people.SubmitHumanTask(await decision(served, sign, "done"), **ALICE)
        assert (await served.ended(collect.split("/")[0]))[0] == "SUCCEEDED"
