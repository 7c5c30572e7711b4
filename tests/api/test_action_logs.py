"""What workers write about their actions is kept once, within bounds, and as long as the execution."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from tests.api.harness import PATIENCE, Served, refused, serving
from tradewind import values
from tradewind.v1 import action_callback_pb2 as v1
from tradewind.v1 import action_pb2, execution_service_pb2


def line(number: int, message: str, **fields: Any) -> action_pb2.LogLine:
    """Make a line as a worker sends it."""
    return action_pb2.LogLine(number=number, message=message, **fields)


async def logged(served: Served, id_: str, action: str = "", **fields: Any) -> list[tuple[str, int, str]]:
    """Return action, attempt and text of what was written."""
    request = execution_service_pb2.ListActionLogsRequest(execution_id=id_, action_id=action, **fields)
    answer = await served.executions.ListActionLogs(request, timeout=PATIENCE)
    return [(found.action_id, found.attempt, found.message) for found in answer.lines]


def beat(token: bytes, *lines: action_pb2.LogLine, **fields: Any) -> v1.ActionBeat:
    """Make a sign of life that says something."""
    return v1.ActionBeat(token=token, logs=lines, **fields)


async def test_lines_come_with_beats_and_results_and_are_kept_once(served: Served) -> None:
    """Over the stream; a line that comes again, with its number, changes nothing."""
    id_ = await served.start()
    async with served.worker() as hand:
        assert hand.welcome.max_log_lines == 1000
        token = (await hand.offer()).token
        await hand.send(beat=v1.Beat(actions=[beat(token, line(1, "begun"), line(2, "half"))]))
        await hand.send(beat=v1.Beat(actions=[beat(token, line(2, "half"), line(3, "nearly"))]))
        outcome = v1.ActionResult(token=token, result=values.to_payload(1), logs=[line(3, "nearly"), line(4, "done")])
        await hand.send(results=v1.Results(results=[outcome]))
        assert await hand.receipt() == ("RECORDED", "")
    assert await served.ended(id_) == ("SUCCEEDED", {"r": 1})
    assert await logged(served, id_) == [("a1", 1, text) for text in ("begun", "half", "nearly", "done")]
    assert await logged(served, id_, "a2") == []


async def test_lines_come_with_unary_calls(served: Served) -> None:
    """Those of a worker of thirty lines; level and time are kept."""
    id_ = await served.start()
    [offer] = await served.poll()
    at = Timestamp(seconds=1_700_000_000, nanos=5000)
    one = line(1, "careful", level=action_pb2.LOG_LEVEL_WARNING, at=at)
    await served.callback.HeartbeatActions(v1.HeartbeatActionsRequest(worker_id="w", actions=[beat(offer.token, one)]))
    failure = v1.FailActionRequest(token=offer.token, logs=[line(2, "broken")])
    failure.failure.code = "BROKEN"
    await served.callback.FailAction(failure)
    answer = await served.executions.ListActionLogs(
        execution_service_pb2.ListActionLogsRequest(execution_id=id_, action_id="a1")
    )
    first, second = answer.lines
    assert (first.level, first.at, first.message) == (action_pb2.LOG_LEVEL_WARNING, at, "careful")
    assert (second.level, second.message) == (action_pb2.LOG_LEVEL_INFO, "broken")
    assert abs(second.at.seconds - served.server.runtime.clock.now().timestamp()) < 60


async def test_each_offer_has_its_own_lines(database_url: str) -> None:
    """A second attempt counts from 1 again, and loses nothing of the first."""
    async with serving(database_url, delivery_lease_seconds=1, work_lease_seconds=1) as served:
        id_ = await served.start()
        async with served.worker(credits_=1) as hand:
            token = (await hand.offer()).token
            await hand.send(beat=v1.Beat(actions=[beat(token, line(1, "first"))]))
            async with served.worker(credits_=1) as other:
                again = (await other.offer()).token
                outcome = v1.ActionResult(token=again, result=values.to_payload(1), logs=[line(1, "second")])
                await other.send(results=v1.Results(results=[outcome]))
                assert await other.receipt() == ("RECORDED", "")
            # what comes too late is of no attempt that counts
            outcome = v1.ActionResult(token=token, result=values.to_payload(2), logs=[line(2, "late")])
            await hand.send(results=v1.Results(results=[outcome]))
            assert (await hand.receipt())[0] == "STALE"
        assert await logged(served, id_) == [("a1", 1, "first"), ("a1", 2, "second")]


async def test_log_is_bounded_and_never_makes_trouble(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many lines, too long ones, odd levels and times: the action goes on; secrets are masked."""
    monkeypatch.setenv("TRADEWIND_SECRET_PIN", "hunter2-hunter2")
    async with serving(database_url, max_action_log_lines=4) as served:
        await served.deploy("""
version: '2.0'
secretive:
  tasks:
    t: {action: shop.do, input: {pin: <% secret(PIN) %>}}
""")
        id_ = await served.start("secretive", {})
        [offer] = await served.poll()
        odd = [
            line(0, "no number"),
            line(1, "x" * 5000),
            line(2, "a\0b", level=99),
            line(3, "long ago", at=Timestamp(seconds=-5)),
            line(4, "the pin is hunter2-hunter2"),
            line(5, "one too many"),
        ]
        await served.callback.HeartbeatActions(
            v1.HeartbeatActionsRequest(worker_id="w", actions=[beat(offer.token, *odd)])
        )
        assert await served.complete(offer.token, 1, logs=[line(2**31, "far too many")]) == "RECORDED"
        found = [text for _, _, text in await logged(served, id_)]
        assert found == ["x" * 4096, "a\ufffdb", "long ago", "the pin is ***"]


async def test_lines_are_paged_and_unknown_executions_refused(served: Served) -> None:
    """As every list."""
    id_ = await served.start()
    [offer] = await served.poll()
    await served.complete(offer.token, 1, logs=[line(n, f"line {n}") for n in range(1, 6)])
    request = execution_service_pb2.ListActionLogsRequest(execution_id=id_, page_size=2)
    found = []
    while True:
        answer = await served.executions.ListActionLogs(request)
        found.append([text.message for text in answer.lines])
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert found == [["line 1", "line 2"], ["line 3", "line 4"], ["line 5"]]
    with refused(StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"):
        await logged(served, "nobody")
    with refused(StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        await logged(served, id_, "seven")


async def test_progress_and_checkpoint_are_shown_while_it_runs(served: Served) -> None:
    """With the action; checkpoint and last line only where payloads are, and not once it has ended."""
    await served.start()
    id_ = await served.start()
    await served.poll()
    [offer] = await served.poll()
    said = beat(
        offer.token,
        line(9, "older"),
        line(10, "newest"),
        progress_message="half way",
        checkpoint=values.to_payload({"at": 5}),
    )
    await served.callback.HeartbeatActions(v1.HeartbeatActionsRequest(worker_id="w", actions=[said]))
    request = execution_service_pb2.ListActionsRequest(execution_id=id_)
    [action] = (await served.executions.ListActions(request)).actions
    assert (action.progress_message, values.from_payload(action.checkpoint)) == ("half way", {"at": 5})
    assert (action.last_log.number, action.last_log.message) == (10, "newest")
    await served.complete(offer.token, 1)
    [action] = (await served.executions.ListActions(request)).actions
    assert (action.progress_message, action.HasField("checkpoint")) == ("", False)
    assert not action.HasField("last_log")
