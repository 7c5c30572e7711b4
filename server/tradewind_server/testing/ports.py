"""Ports of this machine, and servers of other processes that listen on them."""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from typing import Protocol

import grpc

#: How often a connection is tried while the server still starts.
_RETRY_MILLISECONDS = 50
_OPTIONS = [(f"grpc.{which}_reconnect_backoff_ms", _RETRY_MILLISECONDS) for which in ("initial", "min", "max")] + [
    ("grpc.use_local_subchannel_pool", 1)
]
#: Below those that systems give to whoever names none (32768 and up on Linux, 49152 and up on macOS).
_PORTS = range(10_000, 32_768)
#: How often is looked whether the process still runs.
_LOOK_SECONDS = 0.5
#: Called to see whether anybody answers, if only that there is no such method. To ask gRPC for the channel's state
#: instead would leave a thread that still looks at it when it is closed, and may end with a traceback.
_ANY_METHOD = "/grpc.health.v1.Health/Check"
_NOBODY_THERE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class Process(Protocol):
    """A process of somebody, such as `subprocess.Popen`."""

    def poll(self) -> int | None:
        """Return how it ended, or None if it runs."""


def free_port() -> int:
    """Return a port of this machine that nobody listens on, and that nobody gets who does not name it.

    One of those that systems give away could be somebody else's before it is listened on, or while who listens on it
    starts again.
    """
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until_it_listens(address: str, process: Process, seconds: float) -> bool:
    """Return whether the gRPC server at *address*, run by *process*, takes connections within *seconds*."""
    end = time.monotonic() + seconds
    with grpc.insecure_channel(address, options=_OPTIONS) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_ANY_METHOD)
        while process.poll() is None and time.monotonic() < end:
            try:
                call(b"", timeout=_LOOK_SECONDS, wait_for_ready=True)
            except grpc.RpcError as error:
                if error.code() in _NOBODY_THERE:
                    continue
            return True
    return False
