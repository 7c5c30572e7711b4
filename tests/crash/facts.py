"""What is known after a run, from the logs, the public API and SQL, as plain data."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psycopg
from typer.testing import CliRunner

from tradewind import connect
from tradewind_server.cli.app import app

_EVENTS = "SELECT execution_id, revision, type, task_id, action_id, request_id, body FROM events"
_ROWS = "SELECT id, revision, state, parent_id FROM executions"


@dataclasses.dataclass(slots=True)
class Start:
    """A start that a client sent."""

    n: int
    #: Id that the server answered; "" while it has not.
    execution_id: str = ""


@dataclasses.dataclass(slots=True)
class Result:
    """A result that a worker sent."""

    #: Idempotency key: execution/action.
    key: str
    value: Any
    #: "" while the server has not answered.
    status: str = ""


@dataclasses.dataclass(slots=True)
class Execution:
    """An execution as SQL and the API show it."""

    id: str
    revision: int
    state: str
    parent_id: str
    #: As the API shows it; None for a child, which is not asked for.
    output: Any = None
    input: Any = None


@dataclasses.dataclass(slots=True)
class Event:
    """A row of the log."""

    execution_id: str
    revision: int
    type: str
    task_id: int
    action_id: int
    request_id: str
    body: Any


@dataclasses.dataclass(slots=True)
class Facts:
    """All that the checker may know."""

    #: By request id.
    starts: dict[str, Start] = dataclasses.field(default_factory=dict)
    #: By token.
    results: dict[str, Result] = dataclasses.field(default_factory=dict)
    #: What clients saw at the end: execution -> state and output.
    ends: dict[str, tuple[str, Any]] = dataclasses.field(default_factory=dict)
    executions: dict[str, Execution] = dataclasses.field(default_factory=dict)
    events: list[Event] = dataclasses.field(default_factory=list)
    #: Executions whose replay was asked for -> what differed.
    replays: dict[str, Any] = dataclasses.field(default_factory=dict)
    #: Watcher -> (execution, revision) as they came. One named NAME/EXECUTION follows that execution only.
    seen: dict[str, list[tuple[str, int]]] = dataclasses.field(default_factory=dict)
    #: How many streams the watchers opened to follow the namespace.
    streams: int = 0
    #: (sent, answered or None) of every command, monotonic seconds.
    spans: list[tuple[float, float | None]] = dataclasses.field(default_factory=list)

    def in_flight(self, at: float) -> int:
        """Return how many commands had been sent and not answered at that moment."""
        return sum(sent <= at and (done is None or done > at) for sent, done in self.spans)


def collect(logs: Iterable[Path], database: str, address: str, seed: int, replays: int) -> Facts:
    """Gather everything once the load has ended and the servers are quiet; *replays* executions are replayed."""
    facts = Facts()
    _read_logs(facts, logs)
    _read_sql(facts, database)
    _read_api(facts, address)
    _replay(facts, address, seed, replays)
    return facts


def _read_logs(facts: Facts, logs: Iterable[Path]) -> None:
    open_: dict[str, float] = {}
    for path in logs:
        for text in path.read_text().splitlines():
            line = json.loads(text)
            if line["what"] in ("watch-opened", "seen"):
                _take_watched(facts, line["key"], line["value"])
                continue
            _take(facts, line["what"], line["key"], line["value"])
            span = line["key"] if line["what"].startswith("start") else (line["value"] or [""])[0]
            if line["what"].endswith("sent"):
                open_.setdefault(span, line["at"])
            elif line["what"] != "end-seen" and span in open_:
                facts.spans.append((open_.pop(span), line["at"]))
    facts.spans.extend((at, None) for at in open_.values())


def _take_watched(facts: Facts, watcher: str, seen: list[tuple[str, int]] | None) -> None:
    if seen is None:
        facts.streams += 1
    else:
        facts.seen.setdefault(watcher, []).extend((id_, revision) for id_, revision in seen)


def _take(facts: Facts, what: str, key: str, value: Any) -> None:
    if what == "start-sent":
        facts.starts[key] = Start(value)
    elif what == "start-acknowledged":
        facts.starts[key].execution_id = value
    elif what == "end-seen":
        facts.ends[key] = (value[0], value[1])
    elif what == "result-sent":
        facts.results.setdefault(value[0], Result(key, value[1]))
    elif value[1] in ("RECORDED", "ALREADY_RECORDED") or not facts.results[value[0]].status:
        facts.results[value[0]].status = value[1]


def _read_sql(facts: Facts, database: str) -> None:
    for row in _query(database, _ROWS):
        facts.executions[row[0]] = Execution(*row)
    for row in _query(database, _EVENTS + " ORDER BY execution_id, revision"):
        facts.events.append(Event(*[*row[:6], json.loads(bytes(row[6]))]))


def _query(database: str, query: str) -> Sequence[Sequence[Any]]:
    if database.startswith("postgresql"):
        with psycopg.connect(database) as connection:
            return connection.execute(query.encode()).fetchall()
    connection_ = sqlite3.connect(database)
    try:
        return connection_.execute(query).fetchall()
    finally:
        connection_.close()


def _read_api(facts: Facts, address: str) -> None:
    with connect(address) as client:
        for shown in client.executions(full=True):
            known = facts.executions[shown.id]
            known.input, known.output = shown.input, shown.output
            if (shown.revision, shown.state) != (known.revision, known.state):
                known.state = f"{known.state} in SQL, {shown.state} by the API"


def _replay(facts: Facts, address: str, seed: int, replays: int) -> None:
    ids = sorted(facts.executions)
    os.environ["TRADEWIND_ADDRESS"] = address
    for id_ in random.Random(seed).sample(ids, min(len(ids), replays)):
        done = CliRunner().invoke(app, ["replay", id_, "--json"])
        try:
            facts.replays[id_] = [] if json.loads(done.stdout)["ok"] else json.loads(done.stdout)["differences"]
        except (ValueError, KeyError):
            facts.replays[id_] = done.output
