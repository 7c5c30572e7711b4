"""What one server has done since it started: counts that its event loop writes, for whoever watches the server.

They are kept whether anybody asks or not: numbers in memory, which are read by `api/metrics.py`.
"""

from __future__ import annotations

import bisect
import collections
from collections.abc import Sequence

from tradewind_server.runtime import requests as r

#: Upper bounds in seconds: those that Prometheus' own libraries have, and two below for what takes a millisecond.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ENDS = frozenset({"ExecutionSucceeded", "ExecutionFailed", "ExecutionCancelled"})


class Histogram:
    """How often something took how long.

    Attributes:
        counts: for each of `BOUNDS` how often it took no longer, and longer than the bound before; then, longer than
            all.
        sum_seconds: all of it together.
    """

    __slots__ = ("counts", "sum_seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum_seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Note that it took *seconds* once more."""
        self.counts[bisect.bisect_left(BOUNDS, seconds)] += 1
        self.sum_seconds += seconds


class Calls:
    """Those of one method.

    Attributes:
        method: its path, "/package.Service/Method".
        kind: "unary", "server_stream" or "bidi_stream": how long a stream takes is its caller's affair.
        started: how many there were.
        ended: how many ended, by the name of their gRPC code.
        seconds: how long they took.
    """

    __slots__ = ("ended", "kind", "method", "seconds", "started")

    def __init__(self, method: str, kind: str) -> None:
        self.method = method
        self.kind = kind
        self.started = 0
        self.ended: collections.Counter[str] = collections.Counter()
        self.seconds = Histogram()

    def end(self, code: str, seconds: float) -> None:
        """Note that one has ended."""
        self.ended[code] += 1
        self.seconds.observe(seconds)


class Meters:
    """All counts of a server.

    Attributes:
        calls: of each method.
        commits: how long batches took, from their first decision until they were committed.
        events: how many were committed, by type.
        ended: executions that ended, by namespace, workflow and state.
    """

    def __init__(self) -> None:
        self.calls: list[Calls] = []
        self.commits = Histogram()
        self.events: collections.Counter[str] = collections.Counter()
        self.ended: collections.Counter[tuple[str, str, str]] = collections.Counter()

    def of_method(self, method: str, kind: str) -> Calls:
        """Begin to count the calls of a method."""
        calls = Calls(method, kind)
        self.calls.append(calls)
        return calls

    def note(self, commit_seconds: Sequence[float], announcements: Sequence[r.Announcement]) -> None:
        """Count what one batch has done."""
        for seconds in commit_seconds:
            self.commits.observe(seconds)
        for announcement in announcements:
            types = [event.type for event in announcement.events]
            self.events.update(types)
            if announcement.ended is not None and not _ENDS.isdisjoint(types):
                self.ended[announcement.namespace, announcement.ended.envelope.workflow, announcement.state] += 1
