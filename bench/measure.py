"""Measures: one workload on one database, and the references beside it in the same run."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from bench import cpu
from bench.places import Place
from bench.processes import Broken, Client, Server, Worker, ended, module, replay
from bench.workload import Workload


@dataclass(frozen=True)
class Run:
    """One timed run. All processor times are seconds over the whole run."""

    seconds: float
    #: One for each execution, sorted.
    execution_seconds: list[float]
    server_cpu: float
    #: By duty.
    thread_cpu: dict[str, float]
    worker_cpu: float
    client_cpu: float
    database_cpu: float
    #: Calls that the gRPC library of the server cancelled, and that the client sent again.
    cancelled: int
    #: What everybody else on the machine used.
    others_cpu: float


@dataclass(frozen=True)
class Measured:
    """What a workload gave on one database."""

    workload: Workload
    runs: list[Run]
    hops_ms: list[float]
    #: Executions that were equal to their histories after the server had been killed and restarted.
    replayed: int

    @property
    def actions(self) -> int:
        """Actions of one run."""
        return self.workload.executions * self.workload.actions

    @property
    def rates(self) -> list[float]:
        """Tasks per second of each run."""
        return [self.actions / run.seconds for run in self.runs]

    @property
    def tasks_per_second(self) -> float:
        """Return the median."""
        return statistics.median(self.rates)

    def per_task_us(self, cost: Callable[[Run], float]) -> float:
        """Return the median of a cost in seconds as microseconds per task."""
        return statistics.median(cost(run) for run in self.runs) / self.actions * 1e6

    def cores(self, cost: Callable[[Run], float]) -> float:
        """Return the median of a cost in seconds as processors kept busy."""
        return statistics.median(cost(run) / run.seconds for run in self.runs)

    def execution_ms(self, share: float) -> float:
        """Return a percentile of the time from start to answer."""
        return 1000 * percentile(sorted(each for run in self.runs for each in run.execution_seconds), share)


@dataclass
class References:
    """What the same machine gave in the same run without us; one number for each round."""

    echo_calls: list[float] = field(default_factory=list)
    stream_messages: list[float] = field(default_factory=list)
    commits: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Side:
    """One server's part."""

    #: "alternate" or "wide".
    workflow: str
    server: int
    #: From a result leaving a worker's function to the next action entering one: of the same execution, at the other
    #: server's worker, or (wide) in the same place of the same worker.
    hops_ms: list[float]

    @property
    def p50(self) -> float:
        """The median, ms."""
        return percentile(self.hops_ms, 0.5)

    @property
    def p99(self) -> float:
        """What one in a hundred exceeds, ms."""
        return percentile(self.hops_ms, 0.99)


@dataclass
class Results:
    """Everything of one database."""

    place: str
    version: str
    durability: str
    references: References
    measured: list[Measured]
    #: Two servers on one database; nothing where that was not measured.
    sides: list[Side] = field(default_factory=list)


def percentile(ordered: list[float], share: float) -> float:
    """Return the value below which *share* of *ordered* lies, by nearest rank."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Bench:
    """Measures on one database.

    Args:
        rounds: timed runs of each workload.
        reference_seconds: how long each reference runs in each round.
        tell: writes one line about how far it is.
    """

    def __init__(self, place: Place, rounds: int, reference_seconds: float, tell: Callable[[str], None]) -> None:
        self._place = place
        self._rounds = rounds
        self._reference_seconds = reference_seconds
        self._tell = tell
        self._references = References()
        self._durability = ""

    def run(self, workloads: list[Workload]) -> Results:
        """Measure all; the references go round by round with the first of them."""
        measured = [self._workload(workload, workload is workloads[0]) for workload in workloads]
        return Results(self._place.name, self._place.version, self._durability, self._references, measured)

    def _workload(self, workload: Workload, with_references: bool) -> Measured:
        url = self._place.fresh()
        self._durability = self._place.durability(url)
        with Server(url, self._place.folder) as server:
            with Worker(server.address, workload.times_hops) as worker, Client(server.address) as client:
                client.ask(deploy=workload.definition)
                ids = client.ask(**_order(workload, workload.warm_up))["ids"]
                runs = []
                for _ in range(self._rounds):
                    if with_references:
                        self._refer()
                    run, sample = self._timed(workload, server, worker, client)
                    runs.append(run)
                    ids += sample
                hops = worker.stop()
            self._after_a_kill(workload, server, ids)
        measured = Measured(workload, runs, sorted(hops), len(ids))
        self._tell(f"{workload.name}: {measured.tasks_per_second:,.0f} tasks/s, {len(ids)} replayed after SIGKILL")
        return measured

    def _timed(self, workload: Workload, server: Server, worker: Worker, client: Client) -> tuple[Run, list[str]]:
        pids = self._place.pids()
        before = _spent(server, worker, pids)
        threads = cpu.of_threads(server.pid)
        answer = client.ask(**_order(workload, workload.executions))
        after = _spent(server, worker, pids)
        run = Run(
            seconds=answer["seconds"],
            execution_seconds=answer["execution_seconds"],
            server_cpu=after[0] - before[0],
            thread_cpu={duty: spent - threads.get(duty, 0.0) for duty, spent in cpu.of_threads(server.pid).items()},
            worker_cpu=after[1] - before[1],
            client_cpu=answer["cpu_seconds"],
            database_cpu=after[2] - before[2],
            cancelled=answer["cancelled"],
            others_cpu=max(0.0, after[3] - before[3] - sum(after[:3]) + sum(before[:3]) - answer["cpu_seconds"]),
        )
        return run, answer["ids"]

    def _after_a_kill(self, workload: Workload, server: Server, ids: list[str]) -> None:
        server.kill()
        server.start()
        with Client(server.address) as client:
            counts = {state: count for state, count in client.ask(count=True).items() if count}
        expected = {"SUCCEEDED": workload.warm_up + self._rounds * workload.executions}
        if counts != expected:
            raise Broken(f"Expected {expected} after the restart, but there are {counts}.")
        replay(server.address, ids)

    def _refer(self) -> None:
        with ExitStack() as stack:
            echo = stack.enter_context(ended(module("bench.echo", stdout=subprocess.PIPE)))
            assert echo.stdout is not None
            port = echo.stdout.readline().strip()
            load = module("bench.echo_load", port, str(self._reference_seconds), stdout=subprocess.PIPE)
            out, _ = stack.enter_context(ended(load)).communicate()
        rates = json.loads(out)
        self._references.echo_calls.append(rates["echo_calls"])
        self._references.stream_messages.append(rates["stream_messages"])
        self._references.commits.append(self._place.commits(self._reference_seconds))


def _order(workload: Workload, executions: int) -> dict[str, Any]:
    return {
        "workflow": workload.workflow,
        "input": workload.input,
        "output": workload.output,
        "executions": executions,
        "in_flight": workload.in_flight,
    }


def _spent(server: Server, worker: Worker, pids: list[int]) -> tuple[float, float, float, float]:
    return cpu.of_process(server.pid), cpu.of_process(worker.pid), cpu.of_processes(pids), cpu.of_machine()
