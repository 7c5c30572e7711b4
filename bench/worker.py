"""The worker's process: `python -m bench.worker ADDRESS [--time-hops]`.

It stops at SIGTERM and then writes one JSON object: the hops that it has timed, in milliseconds.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import tradewind

_CONCURRENCY = 2000


class Stopwatch:
    """Times hops: from sending a result to the arrival of the same execution's next action."""

    def __init__(self) -> None:
        self._sent: dict[str, float] = {}
        self.hops_ms: list[float] = []

    def step(self, n: int, pad: str, context: tradewind.ActionContext) -> dict[str, Any]:
        """Do the action."""
        sent = self._sent.pop(context.execution_id, None)
        if sent is not None:
            self.hops_ms.append((time.perf_counter() - sent) * 1000)
        result = {"n": n + 1, "pad": pad}
        # What the worker's own library does from here on is part of the hop.
        self._sent[context.execution_id] = time.perf_counter()
        return result


def step(n: int, pad: str) -> dict[str, Any]:
    """Do the action."""
    return {"n": n + 1, "pad": pad}


def main(address: str, times_hops: bool) -> None:
    """Work until SIGTERM."""
    stopwatch = Stopwatch()
    with tradewind.connect(address, patience=60) as client:
        worker = tradewind.Worker(client, worker_id="bench", concurrency=_CONCURRENCY, drain_timeout=2)
        worker.action("bench.step", inline=True)(stopwatch.step if times_hops else step)
        worker.run()
    sys.stdout.write(json.dumps({"hops_ms": stopwatch.hops_ms}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], "--time-hops" in sys.argv)
