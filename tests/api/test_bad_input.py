"""Bad input: each gets a typed refusal that says what to do, leaves nothing half done, and others are served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from grpc import StatusCode
from grpc.aio import EOF

from tests.api.harness import Caught, Served, read_refusal, refused, serving, start
from tradewind.v1 import action_callback_pb2 as v1
from tradewind.v1 import definition_pb2, definition_service_pb2, execution_service_pb2

BROKEN = """version: '2.0'
broken:
  input: [n]
  tasks:
    a:
      action: std.echo output="<% $.n + %>"
      on-success: nowhere
    b:
      join: all
      actoin: std.noop
"""

REGEX = """
version: '2.0'
regex:
  input: [text]
  output: {found: <% $.found %>}
  tasks:
    t:
      action: std.noop
      publish: {found: "<% regex('^(a+)+$').matches($.text) %>"}
"""


@pytest_asyncio.fixture
async def served(database_url: str) -> AsyncIterator[Served]:
    """Give a server; after the test it must still serve, and hold nothing of what was refused."""
    async with serving(database_url) as served:
        yield served
        id_ = await served.start(external_id="afterwards")
        async with served.worker() as hand:
            while (offer := await hand.offer()).execution_id != id_:
                pass
            await hand.finish(offer.token, 1)
        assert await served.ended(id_) == ("SUCCEEDED", {"r": 1})


async def total(served: Served) -> int:
    """Count executions."""
    answer = await served.executions.CountExecutions(execution_service_pb2.CountExecutionsRequest())
    return int(answer.total)


async def refuse_start(served: Served, request: Any, code: StatusCode, reason: str) -> Caught:
    """Expect a start to be refused and to leave nothing."""
    with refused(code, reason) as caught:
        await served.executions.StartExecution(request)
    assert await total(served) == 0
    return caught


async def test_broken_definition_lists_all_problems(served: Served) -> None:
    """Each with file, line and column; nothing of it is stored."""
    file = definition_pb2.DefinitionFile(name="broken.yaml", content=BROKEN.encode())
    with refused(StatusCode.INVALID_ARGUMENT, "DEFINITION_INVALID") as caught:
        await served.definitions.DeployDefinitions(definition_service_pb2.DeployDefinitionsRequest(files=[file]))
    places = [field.split()[0] for field, _ in caught.violations]
    assert len(places) >= 3
    assert {int(place.split(":")[1]) for place in places} >= {6, 7, 10}
    assert all(place.startswith("broken.yaml:") and place.count(":") == 2 for place in places)
    with refused(StatusCode.NOT_FOUND, "DEFINITION_NOT_FOUND"):
        await served.start("broken")


async def test_unreadable_definition_is_refused(served: Served) -> None:
    """Whatever it is; what is no text has no lines that could be named."""
    for content in (b"\xff\xfe", b"a: [", b"", b"- 1", b"version: '3.0'\n", b"a: &a [*a]\n"):
        reason = "FIELD_INVALID" if content == b"\xff\xfe" else "DEFINITION_INVALID"
        file = definition_pb2.DefinitionFile(name="bad.yaml", content=content)
        with refused(StatusCode.INVALID_ARGUMENT, reason):
            await served.definitions.DeployDefinitions(definition_service_pb2.DeployDefinitionsRequest(files=[file]))


async def test_unknown_workflow_is_refused(served: Served) -> None:
    """With its name."""
    caught = await refuse_start(served, start("nothing"), StatusCode.NOT_FOUND, "DEFINITION_NOT_FOUND")
    assert caught.metadata["name"] == "nothing"


async def test_missing_and_unexpected_input_are_refused(served: Served) -> None:
    """With the names."""
    caught = await refuse_start(served, start("one", {}), StatusCode.INVALID_ARGUMENT, "INPUT_MISSING")
    assert caught.metadata["names"] == "n"
    request = start("one", {"n": 1, "m": 2})
    caught = await refuse_start(served, request, StatusCode.INVALID_ARGUMENT, "INPUT_UNEXPECTED")
    assert caught.metadata["names"] == "m"


BAD_PAYLOADS = {
    "utf8": b'{"n": "\xff"}',
    "cut": b'{"n": ',
    "array": b"[1]",
    "nan": b"NaN",
    "inner-nan": b'{"n": NaN}',
    "5000-digits": b'{"n": ' + b"9" * 5000 + b"}",
    "exponent": b'{"n": 1e1000000000}',
    "deep": b"[" * 100_000,
    "surrogate": b'{"n": "\\ud800"}',
}


async def test_bad_payload_is_refused(served: Served) -> None:
    """Before anything is done with it."""
    for data in BAD_PAYLOADS.values():
        request = start()
        request.input.data = data
        caught = await refuse_start(served, request, StatusCode.INVALID_ARGUMENT, "PAYLOAD_INVALID")
        assert caught.metadata["what"] == "input"
        assert caught.violations[0][0] == "input"


#: A text that is not UTF-8 where StartExecution has its namespace, a field that is cut off, and no field at all.
UNREADABLE = (b"\n\x01\xff", b"\n\x05abc", b"\xff\xff\xff")


async def test_bytes_that_are_no_message_are_refused(served: Served) -> None:
    """As one request, as the request of a stream, and as any message of a stream of them."""
    channel: Any = served.channel
    methods = {
        "StartExecution": channel.unary_unary("/tradewind.v1.ExecutionService/StartExecution"),
        "WatchExecution": channel.unary_stream("/tradewind.v1.ExecutionService/WatchExecution"),
        "Work": channel.stream_stream("/tradewind.v1.ActionCallback/Work"),
        "Consume": channel.stream_stream("/tradewind.v1.SubscriptionService/Consume"),
    }
    for name, method in methods.items():
        for data in UNREADABLE:
            with refused(StatusCode.INVALID_ARGUMENT, "MESSAGE_UNREADABLE") as caught:
                call = method(iter([data]) if name in ("Work", "Consume") else data)
                await (call if name == "StartExecution" else call.read())
            assert caught.metadata == {"type": f"tradewind.v1.{name}Request"}


async def test_unreadable_message_ends_a_worker_stream_that_has_begun(served: Served) -> None:
    """The refusal says why; what it holds is treated as at any other end of the stream."""
    channel: Any = served.channel
    hello = v1.WorkRequest(hello=v1.Hello(worker_id="w", actions=[v1.ActionCapability(name="bench.step")]))
    call = channel.stream_stream("/tradewind.v1.ActionCallback/Work")()
    await call.write(hello.SerializeToString())
    assert v1.WorkResponse.FromString(await call.read()).HasField("welcome")

    await call.write(UNREADABLE[0])

    with refused(StatusCode.INVALID_ARGUMENT, "MESSAGE_UNREADABLE"):
        while await call.read() is not EOF:
            pass


async def test_large_payload_is_refused(served: Served) -> None:
    """By the limit of a value, and by that of a message."""
    caught = await refuse_start(
        served, start(given={"n": "x" * 2_000_000}), StatusCode.INVALID_ARGUMENT, "PAYLOAD_TOO_LARGE"
    )
    assert (caught.metadata["limit"], caught.metadata["setting"]) == ("1048576", "max_payload_bytes")
    with pytest.raises(Exception, match="RESOURCE_EXHAUSTED|larger than max"):
        await served.executions.StartExecution(start(given={"n": "x" * 10_000_000}))
    assert await total(served) == 0


async def test_large_result_is_refused_by_its_receipt(served: Served) -> None:
    """The worker hears why, and the action is still its own."""
    id_ = await served.start()
    async with served.worker() as hand:
        token = (await hand.offer()).token
        await hand.finish(token, "x" * 2_000_000)
        assert await hand.receipt() == ("REFUSED", "PAYLOAD_TOO_LARGE")
        await hand.finish(token, "small")
        assert await hand.receipt() == ("RECORDED", "")
    assert await served.ended(id_) == ("SUCCEEDED", {"r": "small"})


async def test_payload_of_another_kind_is_refused(served: Served) -> None:
    """This version knows plain JSON."""
    request = start()
    request.input.content_type = "application/x-protobuf"
    await refuse_start(served, request, StatusCode.INVALID_ARGUMENT, "PAYLOAD_UNSUPPORTED")
    request.input.content_type = ""
    request.input.encoding = "gzip"
    await refuse_start(served, request, StatusCode.INVALID_ARGUMENT, "PAYLOAD_UNSUPPORTED")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tags": [str(n) for n in range(21)]}, "tags"),
        ({"tags": ["fine", "x" * 65]}, "tags"),
        ({"tags": ["fine", "two\nlines"]}, "tags"),
        ({"description": "x" * 256}, "description"),
        ({"description": "two\nlines"}, "description"),
    ],
)
async def test_tags_and_descriptions_are_as_long_as_documented(
    served: Served, fields: dict[str, Any], field: str
) -> None:
    """Tags were taken in any number, and of 255 characters."""
    with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID") as caught:
        await served.start(**fields)
    assert caught.violations[0][0] == field
    assert await served.start(tags=["x" * 64] * 20, description="ü" * 255)


async def test_message_is_cut_where_the_comment_says(served: Served) -> None:
    """A cancel is carried out however long its reason is."""
    id_ = await served.start()
    request = execution_service_pb2.CancelExecutionRequest(execution_id=id_, message="ü" * 1001)
    answer = await served.executions.CancelExecution(request)
    assert answer.execution.state_message == "ü" * 1000


async def test_filter_that_makes_no_sense_is_refused(served: Served) -> None:
    """And the refusal lists the fields there are."""
    for text in ("colour = red", "state", "state = PURPLE", "state = RUNNING OR x = 1", "' OR 1=1 --"):
        with refused(StatusCode.INVALID_ARGUMENT, "FILTER_INVALID") as caught:
            await served.executions.ListExecutions(execution_service_pb2.ListExecutionsRequest(filter=text))
        assert "workflow" in caught.metadata["fields"]


async def test_foreign_tokens_are_refused(served: Served) -> None:
    """Garbage, one that was changed, one of another namespace: none says what stands behind it."""
    await served.start()
    [offer] = await served.poll()
    changed = bytes([offer.token[0] ^ 1]) + offer.token[1:]
    for token in (b"", b"garbage", b"\xff" * 5000, changed, offer.token[:-1], offer.token + b"x"):
        with refused(StatusCode.INVALID_ARGUMENT, "TOKEN_INVALID"):
            await served.complete(token, 1)
    with refused(StatusCode.INVALID_ARGUMENT, "TOKEN_INVALID"):
        await served.complete(offer.token, 1, namespace="other")
    assert await served.complete(offer.token, 1) == "RECORDED"


async def test_token_answers_its_own_task_only(served: Served) -> None:
    """Two actions that look the same have tokens of their own."""
    first, second = await served.start(), await served.start()
    async with served.worker() as hand:
        tokens = {offer.execution_id: offer.token for offer in [await hand.offer(), await hand.offer()]}
        await hand.finish(tokens[first], "first")
        assert await served.ended(first) == ("SUCCEEDED", {"r": "first"})
        assert not [event for event in (await served.watch(second).read()).events if "Succeeded" in event.type]
        await hand.finish(tokens[second], "second")
        assert await served.ended(second) == ("SUCCEEDED", {"r": "second"})


async def test_foreign_page_tokens_are_refused(served: Served) -> None:
    """One of another query, and garbage."""
    for _ in range(3):
        await served.start()
    request = execution_service_pb2.ListExecutionsRequest(page_size=1)
    token = (await served.executions.ListExecutions(request)).next_page_token
    assert token
    for bad in (token[:-2], "garbage", "%%%", "é", "A" * 10_000):
        request.page_token = bad
        with refused(StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"):
            await served.executions.ListExecutions(request)
    request.page_token = token
    request.filter = "state = RUNNING"
    with refused(StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"):
        await served.executions.ListExecutions(request)
    request.filter = ""
    assert len((await served.executions.ListExecutions(request)).executions) == 1


async def test_catastrophic_regular_expression_stalls_nobody(served: Served) -> None:
    """It ends soon, and others are served meanwhile."""
    await served.deploy(REGEX)
    began = time.monotonic()
    id_ = await served.start("regex", {"text": "a" * 5000 + "!"})
    other = asyncio.create_task(served.start(external_id="other"))
    assert (await served.ended(id_))[0] in ("SUCCEEDED", "FAILED")
    await other
    assert time.monotonic() - began < 5


async def test_client_that_vanishes_in_mid_stream_leaves_nothing(served: Served) -> None:
    """Watchers and workers that go without a word are forgotten."""
    id_ = await served.start()
    for _ in range(20):
        stream = served.watch(id_)
        await stream.read()
        stream.cancel()
        async with served.worker(credits_=0):
            pass
    async with served.worker():
        pass
    hub, desk = served.server.runtime.hub, served.server.runtime.desk
    async with asyncio.timeout(5):
        # the built-in worker stays
        while hub.count or desk.count > 1:
            await total(served)


async def test_beat_of_a_million_entries_is_refused(served: Served) -> None:
    """By count where it fits into a message; the stream ends, the server does not."""
    with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID") as caught:
        await served.callback.HeartbeatActions(
            v1.HeartbeatActionsRequest(worker_id="w", actions=[v1.ActionBeat()] * 1_000_000)
        )
    assert caught.metadata["name"] == "actions"
    async with served.worker() as hand:
        await hand.send(beat=v1.Beat(actions=[v1.ActionBeat()] * 1_000_000))
        error = await hand.ended()
        assert error is not None
        assert read_refusal(error).reason == "STREAM_VIOLATION"


BAD_FIELDS: tuple[dict[str, Any], ...] = (
    {"namespace": "x" * 300},
    {"namespace": "a\x00b"},
    {"external_id": "x\n"},
    {"request_id": "x" * 200},
    {"workflow_namespace": "\x7f"},
    {"tags": ["t", "x" * 300]},
    {"env_name": "x\n"},
)


async def test_field_out_of_range_is_refused(served: Served) -> None:
    """With its name."""
    for fields in BAD_FIELDS:
        [name] = fields
        caught = await refuse_start(served, start(**fields), StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
        assert caught.metadata["name"] == name
        assert caught.violations[0][0] == name


async def test_kind_of_definition_that_nobody_knows_is_refused(served: Served) -> None:
    """As a newer client could name it; it was INTERNAL, with a traceback in the server's log."""
    unknown: tuple[Any, ...] = (99, -1)
    for kind in unknown:
        for call, request in (
            (served.definitions.GetDefinition, definition_service_pb2.GetDefinitionRequest),
            (served.definitions.DeleteDefinition, definition_service_pb2.DeleteDefinitionRequest),
        ):
            with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID") as caught:
                await call(request(name="one", kind=kind))
            assert caught.metadata["name"] == "kind"


async def test_nul_in_names_and_filters_is_refused_with_a_reason(database_url: str) -> None:
    """PostgreSQL has no texts with it: it is the caller's fault, not the server's."""
    pb, definition = execution_service_pb2, definition_service_pb2
    nul = "a\0b"
    async with serving(database_url) as served:
        id_ = await served.start()
        for filter_ in (f'workflow = "{nul}"', f'tags:"{nul}"'):
            with refused(StatusCode.INVALID_ARGUMENT, "FILTER_INVALID"):
                await served.executions.ListExecutions(pb.ListExecutionsRequest(filter=filter_))
        with refused(StatusCode.INVALID_ARGUMENT, "FILTER_INVALID"):
            await served.executions.WatchEvents(pb.WatchEventsRequest(with_snapshot=True, filter=f"task={nul}")).read()
        with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
            await served.executions.PauseExecution(pb.PauseExecutionRequest(execution_id=id_, request_id=nul))
        for method, request in (
            (served.definitions.GetDefinition, definition.GetDefinitionRequest),
            (served.definitions.DeleteDefinition, definition.DeleteDefinitionRequest),
        ):
            with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
                await method(request(name="one", workflow_namespace=nul))


async def test_nul_in_what_a_worker_says_does_not_lose_its_answer(database_url: str) -> None:
    """A failure that quotes binary output is recorded like any other, and so are beats and reasons."""
    async with serving(database_url) as served, served.worker() as hand:
        id_ = await served.start()
        token = (await hand.offer()).token
        beat = v1.ActionBeat(token=token, progress_message="read \0")
        await hand.send(beat=v1.Beat(actions=[beat]))
        reason = execution_service_pb2.PauseExecutionRequest(execution_id=id_, message="why \0")
        assert (await served.executions.PauseExecution(reason)).execution.state_message == "why \ufffd"
        await served.executions.ResumeExecution(execution_service_pb2.ResumeExecutionRequest(execution_id=id_))
        await hand.fail(token, "BAD\0", "expected text, got \0\1")
        assert await hand.receipt() == ("RECORDED", "")
        assert (await served.ended(id_))[0] == "FAILED"
        assert "got \ufffd\1" in (await served.get(id_)).state_message


@pytest.mark.parametrize("name", ["*", "a b", " a", "a,b", "a/b", "hr\u202e", "a\n", "a" * 256], ids=ascii)
async def test_a_namespace_that_no_token_could_name_is_refused(served: Served, name: str) -> None:
    """Wherever it comes in: '*' stands for all of them, and a proxy parts them by commas."""
    file = definition_pb2.DefinitionFile(name="file.yaml", content=b"{version: '2.0', w: {tasks: {t: {}}}}")
    deploy = definition_service_pb2.DeployDefinitionsRequest(namespace=name, files=[file])
    for call in (
        served.definitions.DeployDefinitions(deploy),
        served.executions.StartExecution(start(namespace=name)),
        served.executions.ListExecutions(execution_service_pb2.ListExecutionsRequest(namespace=name)),
        served.callback.PollActions(v1.PollActionsRequest(namespace=name, worker_id="w")),
    ):
        with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID") as caught:
            await call
        assert caught.violations[0][0] == "namespace"
    with refused(StatusCode.NOT_FOUND, "DEFINITION_NOT_FOUND"):
        await served.executions.StartExecution(start(namespace="Größe_2.a-b"))
