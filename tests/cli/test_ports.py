"""Waiting for servers that other processes start."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from tradewind_server.testing.ports import wait_until_it_listens

SECONDS = 20.0


class _Running:
    def poll(self) -> None:
        """Say that it runs."""


class _Ended:
    def poll(self) -> int:
        """Say that it has failed."""
        return 1


def test_waiting_for_a_server_starts_no_thread_that_may_end_with_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that still looks at the channel's state when that is closed would, now and then: "Channel closed!"."""
    # given
    server = grpc.server(ThreadPoolExecutor(1))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    started: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", started.append)

    # when
    listens = wait_until_it_listens(address, _Running(), SECONDS)

    # then
    server.stop(None)
    assert (listens, started) == (True, [])


def test_server_that_ended_is_not_waited_for() -> None:
    """It will not listen any more."""
    assert not wait_until_it_listens("127.0.0.1:9", _Ended(), SECONDS)


def test_server_that_listens_late_is_waited_for() -> None:
    """No answer within one look is no answer."""
    # given
    server = grpc.server(ThreadPoolExecutor(1))
    with socket.socket() as silent:  # takes connections, and never says a word
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert not wait_until_it_listens(address, _Running(), 1.0)

    # when
    server.add_insecure_port(address)
    server.start()

    # then
    assert wait_until_it_listens(address, _Running(), SECONDS)
    server.stop(None)
