"""Two servers on one PostgreSQL, each with a worker of its own: what a hop costs that crosses over, and who starves.

`python -m bench.two_servers ADDRESS ACTION…` is the worker. It stops at SIGTERM and then writes one JSON list:
execution, arrival and departure of each action, in seconds of the machine's monotonic clock.
"""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import time
from typing import Any

import tradewind
from bench.measure import Side
from bench.places import Place
from bench.processes import Broken, Server, module

#: Actions that a worker has at once in the wide execution.
_AT_ONCE = 16

DEFINITION = """
version: '2.0'
alternate:
  input: [n]
  output: {r: <% $.r %>}
  tasks:
    s1: {action: left.step n=<% $.n %>, publish: {r: <% task().result %>}, on-success: s2}
    s2: {action: right.step n=<% $.r %>, publish: {r: <% task().result %>}, on-success: s3}
    s3: {action: left.step n=<% $.r %>, publish: {r: <% task().result %>}, on-success: s4}
    s4: {action: right.step n=<% $.r %>, publish: {r: <% task().result %>}, on-success: s5}
    s5: {action: left.step n=<% $.r %>, publish: {r: <% task().result %>}, on-success: s6}
    s6: {action: right.step n=<% $.r %>, publish: {r: <% task().result %>}}
wide:
  input: [n]
  output: {r: <% $.r %>}
  tasks:
    t:
      with-items: i in <% range($.n) %>
      action: both.step n=<% $.i %>
      publish: {r: <% task().result.sum() %>}
"""


#: Execution, arrival, departure.
Mark = tuple[str, float, float]


def measure(place: Place, executions: int, width: int) -> list[Side]:
    """Run both workflows, compare every output, and return each server's part.

    Raises:
        Broken: an output is wrong, or a process failed.
    """
    url = place.fresh()
    with Server(url, place.folder) as one, Server(url, place.folder) as two:
        addresses = (one.address, two.address)
        with tradewind.connect(one.address, patience=30) as here, tradewind.connect(two.address, patience=30) as there:
            here.deploy(("two_servers.yaml", DEFINITION))
            marks = _while_working(
                addresses, (("left.step",), ("right.step",)), lambda: _alternate(here, there, executions)
            )
            sides = [Side("alternate", n, hops) for n, hops in enumerate(_across(*marks))]
            marks = _while_working(addresses, (("both.step",), ("both.step",)), lambda: _wide(there, width))
            sides += [Side("wide", n, _in_place(found)) for n, found in enumerate(marks)]
    return sides


def _while_working(addresses: tuple[str, str], names: Any, work: Any) -> list[list[Mark]]:
    workers = [_start(address, own) for address, own in zip(addresses, names, strict=True)]
    try:
        work()
        return [_stop(worker) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def _start(address: str, names: tuple[str, ...]) -> subprocess.Popen[str]:
    return module("bench.two_servers", address, *names, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _stop(worker: subprocess.Popen[str]) -> list[Mark]:
    worker.send_signal(signal.SIGTERM)
    out, errors = worker.communicate(timeout=30)
    if worker.returncode:
        raise Broken(f"A worker failed:\n{errors[-2000:]}")
    return [(id_, arrived, left) for id_, arrived, left in json.loads(out)]


def _alternate(here: tradewind.Client, there: tradewind.Client, executions: int) -> None:
    for _, client in zip(range(executions), itertools.cycle((here, there)), strict=False):
        _expect(client.start_and_wait("alternate", {"n": 0}, timeout=60), {"r": 6})


def _wide(client: tradewind.Client, width: int) -> None:
    _expect(client.start_and_wait("wide", {"n": width}, timeout=120), {"r": width * (width + 1) // 2})


def _expect(execution: tradewind.Execution, output: dict[str, Any]) -> None:
    if execution.output != output:
        raise Broken(f"Expected {output}, got {execution.state} with {execution.output}.")


def _across(left: list[Mark], right: list[Mark]) -> tuple[list[float], list[float]]:
    """Return the hops to the first server and those to the second."""
    hops: tuple[list[float], list[float]] = ([], [])
    by_execution: dict[str, list[tuple[float, float, int]]] = {}
    for side, marks in enumerate((left, right)):
        for id_, arrived, departed in marks:
            by_execution.setdefault(id_, []).append((arrived, departed, side))
    for steps in by_execution.values():
        for before, after in itertools.pairwise(sorted(steps)):
            hops[after[2]].append((after[0] - before[1]) * 1000)
    return sorted(hops[0]), sorted(hops[1])


def _in_place(marks: list[Mark]) -> list[float]:
    arrivals = sorted(arrived for _, arrived, _ in marks)
    departures = sorted(departed for _, _, departed in marks)
    return sorted((arrived - left) * 1000 for arrived, left in zip(arrivals[_AT_ONCE:], departures, strict=False))


def main(address: str, names: list[str]) -> None:
    """Work until SIGTERM."""
    marks: list[Mark] = []

    def step(n: int, context: tradewind.ActionContext) -> int:
        arrived = time.monotonic()
        result = n + 1
        marks.append((context.execution_id, arrived, time.monotonic()))
        return result

    with tradewind.connect(address, patience=60) as client:
        worker = tradewind.Worker(client, concurrency=_AT_ONCE, drain_timeout=2)
        for name in names:
            worker.action(name, inline=True)(step)
        worker.run()
    sys.stdout.write(json.dumps(marks) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
