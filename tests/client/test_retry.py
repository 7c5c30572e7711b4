"""When a call is repeated, and when its patience is over."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import grpc
import pytest

from tradewind import aio
from tradewind.errors import Exhausted, TradewindError, Unavailable
from tradewind.retry import LONGEST, Backoff, delay_before_retry, in_hand, is_broken
from tradewind.v1 import execution_pb2
from tradewind.v1 import execution_service_pb2 as v1

_GONE = Unavailable("UNAVAILABLE", "connection reset by peer", code=grpc.StatusCode.UNAVAILABLE)
_REFUSED = Unavailable("DATABASE_UNAVAILABLE", "", code=grpc.StatusCode.UNAVAILABLE)
_ASKED = Exhausted("QUEUE_FULL", "", code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=timedelta(seconds=3))


def long_delays() -> Backoff:
    """Return delays of at least half the longest one."""
    backoff = Backoff()
    for _ in range(10):
        backoff.delay()
    return backoff


@pytest.mark.parametrize(
    ("error", "left", "delay"),
    [(_GONE, 4.0, 2.0), (_GONE, 0.1, 0.05), (_GONE, 0.09, None), (_ASKED, 4.0, 3.0), (_ASKED, 2.9, None)],
)
def test_patience_ends_a_call_and_a_long_delay_does_not(
    error: Unavailable | Exhausted, left: float, delay: float | None
) -> None:
    """It gave up as soon as a delay was longer than the patience that was left: up to 5 s too early."""
    assert delay_before_retry(error, long_delays(), left) == delay


def test_what_has_no_end_gets_the_whole_delay() -> None:
    delay = delay_before_retry(_GONE, long_delays())
    assert delay is not None
    assert LONGEST / 2 <= delay <= LONGEST


def test_a_server_that_refuses_is_there() -> None:
    """It says why by a reason; where nobody does, the connection failed or what lies between."""
    dropped = TradewindError("CANCELLED", "Cancelling all calls", code=grpc.StatusCode.CANCELLED)
    assert [is_broken(error) for error in (_GONE, dropped, _REFUSED, _ASKED)] == [True, True, False, False]


def test_patience_is_for_the_time_without_a_server() -> None:
    """A try to connect may take some of it; whatever takes longer is with a server."""
    assert (in_hand(0.1), in_hand(LONGEST), in_hand(LONGEST + 40)) == (0.0, 0.0, 40.0)


async def test_call_that_a_server_has_had_for_long_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server went down after more than the patience: the call failed, and was not made again at another one."""
    now, asked = [0.0], []
    monkeypatch.setattr(aio, "time", SimpleNamespace(monotonic=lambda: now[0]))

    async def start_and_wait(request: v1.StartAndWaitRequest, **_: object) -> v1.StartAndWaitResponse:
        asked.append(request.start.request_id)
        if len(asked) == 1:
            now[0] += 40.0
            unavailable = grpc.StatusCode.UNAVAILABLE
            raise grpc.aio.AioRpcError(unavailable, grpc.aio.Metadata(), grpc.aio.Metadata(), "it goes down")
        return v1.StartAndWaitResponse(execution=execution_pb2.Execution(id="e1"))

    async def no_pause(*_: object) -> None:
        pass

    async with aio.Client() as client:
        client._sleep = no_pause
        client._stubs = {"ExecutionService": SimpleNamespace(StartAndWait=start_and_wait)}
        execution = await client.start_and_wait("pay", timeout=60)
    assert execution.id == "e1"
    assert len(asked) == 2
    assert asked[0] == asked[1] != ""
