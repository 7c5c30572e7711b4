"""A tenth of the cases against a real server over gRPC, on both databases."""

from __future__ import annotations

import asyncio
import functools
from datetime import timedelta

import pytest

from tests.conformance.__main__ import DEFAULT, judge
from tests.conformance.deviations import load_deviations
from tests.conformance.runner import Case, load_cases, run_open
from tests.conformance.served import is_possible, mocked, run_served
from tradewind.aio import connect
from tradewind_server.bootstrap import Server
from tradewind_server.settings import Settings

_DEVIATIONS = load_deviations()
_EACH = 10
_MOST = timedelta(seconds=2)


@functools.cache
def _chosen() -> tuple[Case, ...]:
    """Of each ten cases the first that can be run in real time.

    Passed over are those that wait for more than two seconds, let something happen after their end, call an action that
    nobody ever serves, or ask for what the API does not have: a forced kind of document, an end as SUCCESS or ERROR,
    waiting without a reason.
    """
    cases = load_cases(DEFAULT)
    tens = (cases[start : start + _EACH] for start in range(0, len(cases), _EACH))
    return tuple(next(case for case in ten if is_possible(case) and _fits(case)) for ten in tens)


def _fits(case: Case) -> bool:
    found, taken, ends_last = run_open(case)
    return taken <= _MOST and ends_last and judge(case, _DEVIATIONS.get(case.name), found)[0] != "different"


@pytest.mark.slow
async def test_a_tenth_of_the_cases_over_grpc(database_url: str) -> None:
    """All at once, so that real waits overlap; compared as all cases are on the virtual clock."""
    settings = Settings(listen="127.0.0.1:0", database=database_url, shutdown_grace_seconds=0)
    cases = _chosen()
    assert len(cases) == 29
    server = await Server.start(settings)
    try:
        async with connect(server.address) as client, mocked(client):
            actual = await asyncio.gather(*(run_served(case, client) for case in cases), return_exceptions=True)
    finally:
        await server.stop()

    wrong = []
    for case, found in zip(cases, actual, strict=True):
        if isinstance(found, BaseException):
            wrong.append(f"{case.name}: {found!r}")
            continue
        outcome, differences = judge(case, _DEVIATIONS.get(case.name), found)
        wrong += [f"{case.name}: {line}" for line in differences] if outcome == "different" else []
    assert wrong == [], "\n".join(wrong)
    assert sum("workflow" in case.how for case in cases) > 20, "most of them run something"
