"""The client's process: `python -m bench.client ADDRESS`; one JSON object per line in, one out.

Each execution is started by a unary call of its own, and its output is compared when it has ended.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import tradewind
from tradewind import aio

#: Executions whose ids are returned, one in so many.
_SAMPLE = 100
_TIMEOUT_SECONDS = 280.0


@dataclass
class Run:
    """Executions of one workflow, so many at the same time."""

    client: aio.Client
    workflow: str
    input: dict[str, Any]
    output: dict[str, Any]
    executions: int
    started: int = 0
    seconds: list[float] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    async def lane(self) -> None:
        """Start one after the other until all are started."""
        while self.started < self.executions:
            self.started += 1
            number = self.started
            begun = time.perf_counter()
            execution = await self.client.start_and_wait(self.workflow, self.input, timeout=_TIMEOUT_SECONDS)
            self.seconds.append(time.perf_counter() - begun)
            if execution.state != "SUCCEEDED" or execution.output != self.output:
                shown = f"{execution.state} {execution.failure} {str(execution.output)[:500]}"
                raise SystemExit(f"Expected {execution.id} to give {str(self.output)[:500]}, but it is {shown}.")
            if number % _SAMPLE == 1:
                self.ids.append(execution.id)


async def measure(client: aio.Client, order: dict[str, Any]) -> dict[str, Any]:
    """Run what *order* says and return what came out."""
    run = Run(client, order["workflow"], order["input"], order["output"], order["executions"])
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(run.lane() for _ in range(min(order["in_flight"], order["executions"]))))
    return {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "execution_seconds": sorted(run.seconds),
        "ids": run.ids,
    }


async def main(address: str) -> None:
    """Do what the lines of the standard input say."""
    async with tradewind.aio.connect(address, patience=60) as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            if "deploy" in order:
                await client.deploy(("bench.yaml", order["deploy"]))
                answer: dict[str, Any] = {}
            elif "count" in order:
                answer = await client.count()
            else:
                answer = await measure(client, order)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
