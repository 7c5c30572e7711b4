"""The client's process: `python -m bench.client ADDRESS`; one JSON object per line in, one out.

Each execution is started by a unary call of its own, and its output is compared when it has ended.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import grpc

import tradewind
from tradewind import aio

#: Executions whose ids are returned, one in so many.
_SAMPLE = 100
_TIMEOUT_SECONDS = 280.0
#: What the gRPC library of a server cancels, as too many calls came at once, is sent again after so long.
_PAUSE_SECONDS, _TRIES = 0.1, 300


class Unexpected(Exception):
    """An execution did not give what it had to; the text says what."""


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
    cancelled: int = 0

    async def lane(self) -> None:
        """Start one after the other until all are started."""
        while self.started < self.executions:
            self.started += 1
            number = self.started
            begun = time.perf_counter()
            execution = await self._start_and_wait()
            self.seconds.append(time.perf_counter() - begun)
            if execution.state != "SUCCEEDED" or execution.output != self.output:
                shown = f"{execution.state} {execution.failure} {str(execution.output)[:500]}"
                raise Unexpected(f"Expected {execution.id} to give {str(self.output)[:500]}, but it is {shown}.")
            if number % _SAMPLE == 1:
                self.ids.append(execution.id)

    async def _start_and_wait(self) -> tradewind.Execution:
        request_id = str(uuid.uuid4())
        for _ in range(_TRIES):
            try:
                return await self.client.start_and_wait(
                    self.workflow, self.input, timeout=_TIMEOUT_SECONDS, request_id=request_id
                )
            except tradewind.TradewindError as error:
                if error.code is not grpc.StatusCode.CANCELLED:
                    raise
                self.cancelled += 1
                await asyncio.sleep(_PAUSE_SECONDS)
        raise Unexpected(f"Expected a start to be taken, but it was cancelled {_TRIES} times.")


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
        "cancelled": run.cancelled,
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
    try:
        asyncio.run(main(sys.argv[1]))
    except (Unexpected, tradewind.TradewindError) as problem:
        sys.exit(str(problem))
