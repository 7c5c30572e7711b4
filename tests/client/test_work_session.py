"""The worker's session keeps its books right, at moments that the tests choose."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration

from tradewind import values, work_session
from tradewind.actions import ActionContext
from tradewind.v1 import action_callback_pb2 as v1
from tradewind.v1.action_pb2 import LogLine
from tradewind.v1.failure_pb2 import Refusal
from tradewind.v1.payload_pb2 import Payload
from tradewind.work_session import WorkSession


@pytest.fixture
def session() -> WorkSession:
    """A session with a capacity of 8 whose stream is open, at moment 0."""
    session = WorkSession(v1.Hello(worker_id="w"), capacity=8)
    reopen(session, 0)
    return session


def reopen(session: WorkSession, now: float) -> v1.Hello:
    hello = session.open().hello
    session.welcome(v1.Welcome(delivery_lease=Duration(seconds=5), beat_interval=Duration(seconds=10)), now)
    return hello


def sent(session: WorkSession, now: float = 0) -> list[str]:
    """Take what goes out, as the kinds of messages."""
    return [str(request.WhichOneof("message")) for request in session.outgoing(now)]


def result(token: bytes, size: int = 1) -> v1.ActionResult:
    return v1.ActionResult(token=token, result=Payload(data=b"1" * size))


def test_nothing_goes_out_before_the_welcome() -> None:
    """Hello is the only message until the server has answered it."""
    session = WorkSession(v1.Hello(), capacity=8)
    session.open()
    session.finish(result(b"1"))

    assert sent(session) == []
    session.welcome(v1.Welcome(), 0)
    assert sent(session) == ["results", "credits"]


def test_what_is_in_hand_counts_against_the_credits_of_the_next_stream(session: WorkSession) -> None:
    """After a reconnect the server may send only as many offers as there is room for."""
    session.hold(v1.Offer(token=b"1"), 0)
    session.hold(v1.Offer(token=b"2"), 0)

    assert list(reopen(session, 1).in_flight) == [b"1", b"2"]
    granted = [request.credits.granted for request in session.outgoing(1) if request.HasField("credits")]
    session.finish(result(b"1"))
    granted += [request.credits.granted for request in session.outgoing(1) if request.HasField("credits")]

    assert granted == [6, 7]


def test_an_offer_is_accepted_when_its_result_is_late_and_only_then(session: WorkSession) -> None:
    """Two fifths of the delivery lease pass first; what ends before is never accepted."""
    sent(session)
    session.hold(v1.Offer(token=b"1"), 0)
    session.hold(v1.Offer(token=b"2"), 0)
    session.finish(result(b"1"))

    assert not session.tick(1.9)
    assert session.tick(2.0)
    assert [list(request.accept.tokens) for request in session.outgoing(2) if request.HasField("accept")] == [[b"2"]]
    assert not session.tick(3.0)


def test_large_results_are_split_over_messages(session: WorkSession) -> None:
    """No message is larger than what the server takes."""
    for token in (b"1", b"2", b"3"):
        session.finish(result(token, work_session.MAX_BYTES // 2 - 100))

    assert sent(session)[:2] == ["results", "results"]


def test_a_result_is_sent_again_when_the_server_says_later(session: WorkSession) -> None:
    """A refusal that passes by itself is waited out; the result is not lost and not repeated early."""
    session.finish(result(b"1"))
    sent(session)
    later = Refusal(reason="QUEUE_FULL", retry_after=Duration(seconds=2))
    session.receive(v1.Receipt(token=b"1", status=v1.RECEIPT_STATUS_REFUSED, refusal=later), 0)

    assert not session.tick(1.9)
    assert session.tick(2.0)
    assert sent(session, 2) == ["results"]
    assert not session.is_idle
    session.receive(v1.Receipt(token=b"1", status=v1.RECEIPT_STATUS_RECORDED), 2)
    assert session.is_idle


def test_a_stale_result_is_dropped(session: WorkSession) -> None:
    """What the server will never record is not sent again."""
    session.finish(result(b"1"))
    session.receive(v1.Receipt(token=b"1", status=v1.RECEIPT_STATUS_STALE, refusal=Refusal(reason="LEASE_LOST")), 0)

    assert list(reopen(session, 1).in_flight) == []


def test_a_result_over_which_the_server_broke_is_sent_again_and_then_fails(session: WorkSession) -> None:
    """A fault that passes costs nothing; one that does not ends as the action's failure, not as a loop."""
    session.finish(result(b"1"))
    sent(session)
    broken = v1.Receipt(token=b"1", status=v1.RECEIPT_STATUS_REFUSED, refusal=Refusal(reason="INTERNAL"))
    now = 0.0
    for tries in range(1, work_session.MAX_FAULTS + 1):
        session.receive(broken, now)
        assert _outcomes(session, now + 2**tries - 0.1) == []
        now += 2**tries
        assert _outcomes(session, now) == ["result"]
    session.receive(broken, now)
    assert _outcomes(session, now) == ["failure"]


def _outcomes(session: WorkSession, now: float) -> list[str | None]:
    """Return what kinds of outcomes are sent at a moment."""
    session.tick(now)
    messages = [request.results for request in session.outgoing(now) if request.HasField("results")]
    return [outcome.WhichOneof("outcome") for message in messages for outcome in message.results]


def test_checkpoints_of_many_actions_are_cut_into_messages_that_the_server_takes(session: WorkSession) -> None:
    """Three of half a message each once broke the stream for all actions of the worker."""
    for token in (b"1", b"2", b"3"):
        session.hold(v1.Offer(token=token), 0).checkpoint = Payload(data=b"1" * (work_session.MAX_BYTES // 2 - 100))
    session.tick(2)

    beats = [request for request in session.outgoing(10) if request.HasField("beat")]

    assert [[beat.token for beat in request.beat.actions] for request in beats] == [[b"1", b"2"], [b"3"]]


def test_a_checkpoint_that_went_out_on_a_stream_that_broke_goes_out_again(session: WorkSession) -> None:
    """Nothing confirms a beat, so it may have been lost with the stream; on the same stream it is said once."""
    held = session.hold(v1.Offer(token=b"1"), 0)
    held.progress, held.checkpoint = "half", Payload(data=b"5")
    session.tick(2)

    assert _beats(session, 10) == [("half", b"5")]
    assert _beats(session, 20) == [("", b"")]
    reopen(session, 20)
    assert _beats(session, 30) == [("half", b"5")]


def test_a_checkpoint_that_fits_in_no_message_is_refused_where_it_is_made(session: WorkSession) -> None:
    """It would break the stream of all actions, on each stream again."""
    context = ActionContext(v1.Offer(), session.hold(v1.Offer(token=b"1"), 0))

    with pytest.raises(values.NotCarried, match="at most 3145728 bytes"):
        context.heartbeat(checkpoint="1" * work_session.MAX_BYTES)


def test_lines_of_a_log_go_out_once_on_a_stream_and_again_on_the_next(session: WorkSession) -> None:
    """With the same numbers, so that the server keeps them once; what is left goes with the result."""
    session.max_log_lines = 3
    context = ActionContext(v1.Offer(), session.hold(v1.Offer(token=b"1"), 0))
    session.tick(2)
    context.log("one")
    context.log("two", level="warning")

    assert _logs(session, 10) == [(1, 2, "one"), (2, 3, "two")]
    assert _logs(session, 20) == []
    reopen(session, 20)
    assert _logs(session, 30) == [(1, 2, "one"), (2, 3, "two")]
    context.log("three", level="ERROR")
    context.log("one too many")
    with pytest.raises(ValueError, match="LOUD"):
        context.log("four", level="loud")
    session.finish(v1.ActionResult(token=b"1"))
    assert _logs(session, 31) == [(3, 4, "three")]


def test_lines_do_not_wait_for_the_beat_of_all_actions(session: WorkSession) -> None:
    """They go out within a second, in a beat of the actions alone that wrote them, once these are accepted."""
    session.max_log_lines = 10
    chatty = ActionContext(v1.Offer(), session.hold(v1.Offer(token=b"1"), 0))
    session.hold(v1.Offer(token=b"2"), 0)
    chatty.log("one")
    assert _lines_at(session, 1) == []
    assert _lines_at(session, 2) == [(b"1", ["one"])]
    chatty.log("two")
    chatty.log("three")
    assert _lines_at(session, 2.5) == []
    assert _lines_at(session, 3) == [(b"1", ["two", "three"])]
    assert _lines_at(session, 4) == []
    # the beat of all comes when it is due, as ever
    assert _lines_at(session, 10) == [(b"1", []), (b"2", [])]


def _lines_at(session: WorkSession, now: float) -> list[tuple[bytes, list[str]]]:
    """Return token and lines of the beats that go out at a moment."""
    session.tick(now)
    beats = [action for request in session.outgoing(now) for action in request.beat.actions]
    return [(action.token, [line.message for line in action.logs]) for action in beats]


def test_lines_of_a_log_never_make_a_message_too_large_for_the_server(session: WorkSession) -> None:
    """100 lines that are no ASCII have 1.6 MB; with a large checkpoint or result the stream broke, again and again."""
    session.max_log_lines = 1000
    held = session.hold(v1.Offer(token=b"a"), 0)
    session.tick(2)
    held.checkpoint = Payload(data=b"1" * work_session.MAX_BYTES)
    held.logs.extend(LogLine(number=number, message="\U0001f600" * 4096) for number in range(1, 101))
    requests = list(session.outgoing(10))
    session.finish(v1.ActionResult(token=b"a", result=Payload(data=b"1" * work_session.MAX_BYTES)))
    requests += session.outgoing(11)

    assert max(request.ByteSize() for request in requests) < 4 * 1024 * 1024
    said = [line.number for request in requests for action in request.beat.actions for line in action.logs]
    last = [line.number for request in requests for result in request.results.results for line in result.logs]
    assert said == list(range(1, len(said) + 1))
    assert last == list(range(101 - len(last), 101))
    assert min(len(said), len(last)) > 20


def _logs(session: WorkSession, now: float) -> list[tuple[int, int, str]]:
    """Return number, level and text of the lines that go out at a moment."""
    said: list[v1.ActionBeat | v1.ActionResult] = []
    for request in session.outgoing(now):
        said += [*request.beat.actions, *request.results.results]
    return [(line.number, line.level, line.message) for item in said for line in item.logs]


def test_more_than_a_thousand_actions_can_be_given_back(session: WorkSession) -> None:
    """The contract allows a thousand in a message; a worker with more in hand broke it."""
    for number in range(1001):
        session.hold(v1.Offer(token=b"%d" % number), 0)
        session.release(b"%d" % number, "")

    refusals = [request.refuse for request in session.outgoing(0) if request.HasField("refuse")]

    assert [len(refusal.releases) for refusal in refusals] == [1000, 1]


def _beats(session: WorkSession, now: float) -> list[tuple[str, bytes]]:
    """Return what the beats of a moment say."""
    beats = [request.beat for request in session.outgoing(now) if request.HasField("beat")]
    return [(action.progress_message, action.checkpoint.data) for beat in beats for action in beat.actions]
