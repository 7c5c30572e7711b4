"""The page: what was measured, in tables, with the goals beside it and a plain word on each."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from bench.language import Cost, Definition
from bench.large import Large
from bench.measure import Measured, References, Results, Run, percentile
from bench.starts import Starting, Starts

_TITLES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
_DUTIES = ("event loop", "committer", "readers", "gRPC", "bulletin")


@dataclass(frozen=True)
class Further:
    """What was measured beside the workloads, as far as it was asked for."""

    expressions: list[Cost]
    definition: Definition | None
    items: list[Large]
    starts: Starting | None


def page(facts: list[tuple[str, str]], results: list[Results], further: Further, is_quick: bool) -> str:
    """Return the page as Markdown."""
    parts = ["# Results", _about(is_quick), _table(("Machine", ""), facts)]
    if results:
        parts += ["## Goals", *_goals(results)]
        parts += [part for result in results for part in _database(result)]
        parts += ["## Where the time goes", *_where(results)]
    parts += _expressions(further.expressions)
    parts += _definition(further.definition)
    parts += _items(further.items)
    parts += _starts(further.starts)
    return "\n\n".join(parts) + "\n"


def _about(is_quick: bool) -> str:
    rounds = "one small run each, which shows that it works and not how fast" if is_quick else "median of 3"
    return (
        f"Made by `make bench` ({rounds}); [README.md](README.md) says what is done. One server process; worker and "
        "client are Python, in a process each, on the same cores. Every output was compared; then the server "
        "was killed with SIGKILL and restarted, all executions were counted, and 1 % of them, at least one, replayed."
    )


def _database(result: Results) -> Iterator[str]:
    yield f"## {_TITLES[result.place]}"
    yield f"{result.version}; durability, read back from the database: `{result.durability}`."
    references = result.references
    rows = [
        ("unary echo calls", references.echo_calls),
        ("stream messages, there and back", references.stream_messages),
        ("durable commits of one row", references.commits),
    ]
    yield _table(
        ("Reference, without Tradewind", "per second", "lowest to highest"),
        [(name, f"{statistics.median(rates):,.0f}", _range(rates)) for name, rates in rows],
    )
    titles = (
        "Workload",
        "tasks/s",
        "lowest to highest",
        "× echo",
        "× commits",
        "execution p50 / p99, ms",
        "server CPU, µs/task",
        "replayed",
        "cores that others used",
    )
    yield _table(titles, [_row(measured, references) for measured in result.measured])
    for measured in result.measured:
        if cancelled := [run.cancelled for run in measured.runs if run.cancelled]:
            yield (
                f"In {len(cancelled)} of {len(measured.runs)} runs of `{measured.workload.name}` the server's gRPC "
                f"library cancelled calls, {min(cancelled):,} to {max(cancelled):,} of them, as too many came at once. "
                "The client sent them again with the same request id; the time that took is in the numbers."
            )
        if measured.hops_ms:
            yield (
                f"A hop, from a result leaving the worker's function to the next action entering it, with "
                f"{measured.workload.in_flight} execution in flight: p50 {percentile(measured.hops_ms, 0.5):.2f} ms, "
                f"p99 {percentile(measured.hops_ms, 0.99):.2f} ms ({len(measured.hops_ms):,} hops)."
            )

    if result.sides:
        yield (
            "Two server processes on one database, each with a worker of its own. `alternate`: six steps, served by "
            "one server and the other in turn; a hop goes from a result leaving the worker's function at one server to "
            "the execution's next action entering that at the other. `wide`: one execution with 1,000 items, 16 at a "
            "time in each worker; a hop goes to the next item in the same place."
        )
        titles = ("Workflow", "server", "hops", "p50, ms", "p99, ms")
        rows_ = [
            (s.workflow, f"{s.server}", f"{len(s.hops_ms):,}", f"{s.p50:.2f}", f"{s.p99:.2f}") for s in result.sides
        ]
        yield _table(titles, rows_)


def _row(measured: Measured, references: References) -> tuple[str, ...]:
    rate = measured.tasks_per_second
    return (
        f"`{measured.workload.name}`: {measured.workload.title}",
        f"{rate:,.0f}",
        _range(measured.rates),
        f"{rate / statistics.median(references.echo_calls):.2f}",
        f"{rate / statistics.median(references.commits):.2f}",
        f"{measured.execution_ms(0.5):,.1f} / {measured.execution_ms(0.99):,.1f}",
        f"{measured.per_task_us(lambda run: run.server_cpu):,.0f}",
        f"{measured.replayed}",
        f"{measured.cores(lambda run: run.others_cpu):.2f}",
    )


# --- goals


def _goals(results: list[Results]) -> Iterator[str]:
    rows = [row for result in results for measured in result.measured for row in _judged(result, measured)]
    if not rows:
        yield "What was run has no goal."
        return
    yield _table(("Database", "Workload", "Goal", "Measured", ""), rows)
    missed = sum(row[-1] == "**missed**" for row in rows)
    yield f"{len(rows) - missed} of {len(rows)} reached, {missed} missed." if missed else f"All {len(rows)} reached."
    yield from _on_which_machine(results)


def _on_which_machine(results: list[Results]) -> Iterator[str]:
    """Say how fast a machine is on which a goal that can be reached in either of two ways is one and the same."""
    goals = {measured.workload.name: measured.workload.goal for result in results for measured in result.measured}
    made = " and ".join(f"{statistics.median(result.references.echo_calls):,.0f}" for result in results)
    for name, goal in goals.items():
        if goal.tasks_per_second is not None and goal.echo_ratio is not None:
            same = goal.tasks_per_second / goal.echo_ratio
            yield f"Both goals of `{name}` are the same at {same:,.0f} echo calls/s; this machine made {made}."


def _judged(result: Results, measured: Measured) -> Iterator[tuple[str, ...]]:
    goal, name = measured.workload.goal, (_TITLES[result.place], f"`{measured.workload.name}`")
    rate = measured.tasks_per_second
    ratio = rate / statistics.median(result.references.echo_calls)
    if goal.tasks_per_second is not None:
        reached = rate >= goal.tasks_per_second or (goal.echo_ratio is not None and ratio >= goal.echo_ratio)
        wanted = f"{goal.tasks_per_second:,.0f} tasks/s"
        if goal.echo_ratio is not None:
            wanted += f", or {goal.echo_ratio} × echo"
        yield (*name, wanted, f"{rate:,.0f} tasks/s, {ratio:.2f} × echo", _word(reached))
    if goal.hop_p50_ms is not None:
        wanted_ms, p50 = goal.hop_p50_ms[result.place], percentile(measured.hops_ms, 0.5)
        yield (*name, f"hop p50 {wanted_ms} ms", f"{p50:.2f} ms", _word(p50 <= wanted_ms))


def _word(reached: bool) -> str:
    return "reached" if reached else "**missed**"


# --- where the time goes


def _where(results: list[Results]) -> Iterator[str]:
    yield (
        "Processor time per task in µs, as the kernel counts it for each thread and process (ticks of 10 ms over a "
        "whole run, no profiler). The event loop speaks gRPC and protobuf in Python; the committer decides, writes "
        "and commits; the readers answer questions; gRPC's own threads do sockets and HTTP/2."
    )
    for result in results:
        titles = (_TITLES[result.place], *_DUTIES, "server in all", "database", "worker", "client")
        yield _table(titles, [_costs(measured) for measured in result.measured])
    for result in results:
        for measured in result.measured[:1]:
            yield _reading(result, measured)


def _costs(measured: Measured) -> tuple[str, ...]:
    duties = [measured.per_task_us(_of_threads(duty)) for duty in _DUTIES]
    others = [measured.per_task_us(cost) for cost in (_server, _of_database, _worker, _client)]
    return (f"`{measured.workload.name}`", *(f"{each:,.0f}" for each in [*duties, *others]))


def _reading(result: Results, measured: Measured) -> str:
    server, threads = measured.cores(_server), sorted(_DUTIES, key=lambda duty: -_share(measured, duty))
    first, second = threads[:2]
    elsewhere = measured.cores(_worker) + measured.cores(_client) + measured.cores(_of_database)
    return (
        f"On {_TITLES[result.place]}, `{measured.workload.name}` keeps {server:.2f} cores busy in the server "
        f"({first} {_share(measured, first):.0%}, {second} {_share(measured, second):.0%}) and {elsewhere:.2f} in "
        "worker, client and database; a Python process can use little more than one, as only one of its threads runs "
        "Python at a time."
    )


def _share(measured: Measured, duty: str) -> float:
    whole = measured.cores(_server)
    return measured.cores(_of_threads(duty)) / whole if whole else 0.0


def _of_threads(duty: str) -> Callable[[Run], float]:
    return lambda run: run.thread_cpu.get(duty, 0.0)


def _server(run: Run) -> float:
    return run.server_cpu


def _of_database(run: Run) -> float:
    return run.database_cpu


def _worker(run: Run) -> float:
    return run.worker_cpu


def _client(run: Run) -> float:
    return run.client_cpu


# --- beside the workloads


def _expressions(costs: list[Cost]) -> Iterator[str]:
    if not costs:
        return
    yield "## Expressions"
    yield (
        "One evaluation in µs, median of 5 rounds in turn with the bare libraries, which compute with binary floats "
        "and without bounds. What is simple in YAQL goes past its library; the second column is what it would cost "
        "there."
    )
    titles = ("Expression", "Tradewind", "in the library", "bare library", "bare / Tradewind")
    yield _table(titles, [_cost(cost) for cost in costs])


def _cost(cost: Cost) -> tuple[str, ...]:
    text = cost.text.replace("|", "\\|")
    in_library = "" if cost.in_library is None else f"{cost.in_library:,.1f}"
    title = f"{cost.language}, {cost.title}: `{text}`"
    return (title, f"{cost.ours:,.1f}", in_library, f"{cost.bare:,.1f}", f"{cost.bare / cost.ours:,.1f}")


def _definition(measured: Definition | None) -> Iterator[str]:
    if measured is None:
        return
    yield "## A large definition"
    yield (
        f"{measured.tasks:,} tasks, {measured.characters:,} characters, an action, a publish and a guard each, all "
        f"different: reading takes {measured.read:.2f} s, reading with all checks {measured.check:.2f} s, and PyYAML's "
        f"loader in C alone {measured.yaml:.2f} s (median of 3)."
    )


def _items(measured: list[Large]) -> Iterator[str]:
    if not measured:
        return
    yield "## Very many items"
    yield (
        f"One execution with one task, with-items over {measured[0].items:,} numbers, done by one worker. Memory is "
        "the most that the server's process ever had, database is what its size grew by."
    )
    titles = ("Database", "seconds", "items/s", "memory, MB", "of it before", "database, MB", "bytes per item")
    yield _table(titles, [_large(each) for each in measured])


def _large(each: Large) -> tuple[str, ...]:
    memory = (f"{each.memory_bytes / 1e6:,.0f}", f"{each.memory_before_bytes / 1e6:,.0f}")
    stored = (f"{each.database_bytes / 1e6:,.1f}", f"{each.database_bytes / each.items:,.0f}")
    return (_TITLES[each.place], f"{each.seconds:.1f}", f"{each.items / each.seconds:,.0f}", *memory, *stored)


# --- Markdown


def _range(rates: list[float]) -> str:
    return f"{min(rates):,.0f} to {max(rates):,.0f}"


def _starts(measured: Starting | None) -> Iterator[str]:
    if measured is None:
        return
    yield "## Starting"
    yield (
        "Seconds from the start of the server's process until a call is answered, on an empty database and again after "
        "a kill, and the memory of the process after that. `tradewind run` of one task that does nothing, which brings "
        f"a server of its own, takes {measured.run_seconds:.2f} s in all."
    )
    yield _table(("Database", "first", "again", "memory, MB"), [_start(each) for each in measured.servers])


def _start(each: Starts) -> tuple[str, ...]:
    memory = f"{each.memory_bytes / 1e6:.0f}"
    return (_TITLES[each.place], f"{each.first_seconds:.2f}", f"{each.again_seconds:.2f}", memory)


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
