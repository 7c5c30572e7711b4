"""The loop that servers run on."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import pytest

from tradewind_server import event_loop

_lookups: set[asyncio.Task[Any]] = set()


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let names that begin with "slow" wait for an answer until the event is set."""
    answered, real = threading.Event(), socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any) -> Any:
        if str(host).startswith("slow"):
            assert answered.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return real(host, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return answered


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_names_that_nobody_answers_hold_up_no_connection_to_an_address(
    answered: threading.Event, address: str
) -> None:
    """A workflow with a list of dead names would otherwise hold up all others, and the end of the server."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server, socket.socket(family) as client:
        client.setblocking(False)
        lookups = [asyncio.create_task(loop.getaddrinfo(f"slow{n}.example", 80)) for n in range(50)]
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await loop.sock_connect(client, server.getsockname())
            assert (await loop.getaddrinfo(address.encode(), 80))[0][4][0] == address

    answered.set()
    failures = await asyncio.gather(*lookups, return_exceptions=True)
    assert {type(failure) for failure in failures} == {socket.gaierror}


def test_names_that_nobody_answers_hold_up_neither_other_work_nor_the_end(answered: threading.Event) -> None:
    """Scripts run in threads, too, and at the end only lookups that have begun are waited for, by the process."""

    async def work() -> str:
        loop = asyncio.get_running_loop()
        for n in range(100):
            _lookups.add(asyncio.create_task(loop.getaddrinfo(f"slow{n}.example", 80)))
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            return await asyncio.to_thread(lambda: "done")

    assert event_loop.run(work()) == "done"
    assert not answered.is_set()
    answered.set()


async def test_name_has_its_addresses() -> None:
    """As `socket.getaddrinfo` gives them."""
    loop = asyncio.get_running_loop()
    assert await loop.getaddrinfo("localhost", 80) == socket.getaddrinfo("localhost", 80)


def test_clock_is_finer_than_a_millisecond() -> None:
    """std.http tells how long a request took."""

    async def moments() -> list[float]:
        loop = asyncio.get_running_loop()
        return [time.monotonic(), loop.time(), time.monotonic()]

    found = event_loop.run(moments())
    assert found == sorted(found)
