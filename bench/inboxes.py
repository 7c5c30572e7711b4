"""Inboxes at a hundred thousand open human tasks: what one page and one count take, and what a server does with them.

`python -m bench.inboxes [--count N] [--database sqlite|postgresql]`. For pages and counts the rows are written by SQL
and read as a server does, without gRPC: half of the human tasks are for one of 100 groups, the others for one of 1,000
users. The rest is measured on a running server (live_inboxes.py).
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from bench import live_inboxes, parts
from bench.places import open_place
from tradewind_server.store import inboxes, schema
from tradewind_server.store.database import Database
from tradewind_server.store.filters import HUMAN_TASK_FIELDS, parse_filter
from tradewind_server.store.inboxes import For

_PAGE = 100
_TIMES = 20
_CHUNK = 2_000
_BEGIN = 1_790_000_000_000_000
_RANK = 10**16

#: Name of the row -> whose inbox.
_INBOXES = {
    "a user": For("u7", ("assignee:u7", "user:u7")),
    "a user in three groups": For("u7", ("assignee:u7", "user:u7", "group:g1", "group:g2", "group:g3")),
    "a user in all groups": For("u7", ("assignee:u7", "user:u7", *(f"group:g{n}" for n in range(100)))),
}
_FILTERS = ("", "priority >= 90", 'workflow = "w3"')


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    asked = parser.parse_args()
    lines: list[str] = []
    for name in asked.database or ["sqlite", "postgresql"]:
        for line in _lines(name, asked.count):
            # at once: all of it takes some twenty minutes
            print(line, flush=True)
            lines.append(line)
    if asked.count >= 100_000 and not asked.database:
        parts.put("inboxes", "Inboxes", "\n".join(lines))


def _lines(name: str, count: int) -> Iterator[str]:
    with open_place(name) as place:
        database = Database(place.fresh())
        try:
            yield from _measure(name, database, count)
        finally:
            database.close()
        yield ""
        yield from live_inboxes.measure(place, count, min(1_000, count))
        yield ""


def _measure(name: str, database: Database, count: int) -> Iterator[str]:
    with database.connect_writer() as connection:
        _fill(connection, count)
    with database.connect_reader() as connection:
        yield f"### {name}: {count:,} open human tasks, pages of {_PAGE}\n"
        yield "| Inbox of | Filter | first page, ms (longest) | count, ms (longest) |"
        yield "| --- | --- | --- | --- |"
        for who, inbox in _INBOXES.items():
            for text in _FILTERS:
                terms = parse_filter(text, HUMAN_TASK_FIELDS)
                page = functools.partial(inboxes.page, connection, "default", inbox, terms, _PAGE + 1, None)
                number = functools.partial(inboxes.count, connection, "default", inbox, terms, 10_001)
                yield f"| {who} | `{text or 'none'}` | {_took(page)} | {_took(number)} |"


def _took(work: Callable[[], object]) -> str:
    times = []
    for _ in range(_TIMES):
        begun = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - begun))
    return f"{statistics.median(times):.1f} ({max(times):.1f})"


def _fill(connection: sa.Connection, count: int) -> None:
    for start in range(0, count, _CHUNK):
        numbers = range(start, min(start + _CHUNK, count))
        connection.execute(schema.human_tasks.insert(), [_row(n) for n in numbers])
        connection.execute(schema.inbox.insert(), [entry for n in numbers for entry in _entries(n)])
    connection.commit()
    connection.exec_driver_sql("ANALYZE")
    connection.commit()


def _row(n: int) -> dict[str, Any]:
    moment = _BEGIN + n * 1_000_000
    return {
        "execution_id": _id(n), "action_id": 1, "namespace": "default", "task_id": 1, "task": "approve",
        "workflow": f"w{n % 10}", "business_key": f"order-{n}", "title": f"Approve order {n}", "state": "OFFERED",
        "priority": n % 100, "assignee": "", "owner": "", "etag": "0" * 16, "done_by": "", "outcome": "",
        "comment_count": 0, "due_at": None, "level": 0, "shown_revision": 3, "draft_revision": 0, "revision": 4,
        "created_at": moment, "updated_at": moment, "detail": b'{"users":[],"groups":[]}',
    }  # fmt: skip


def _entries(n: int) -> Iterator[dict[str, Any]]:
    principal = f"group:g{n // 2 % 100}" if n % 2 else f"user:u{n // 2 % 1000}"
    for name in (principal, f"excluded:u{n % 1000}"):
        yield {
            "namespace": "default", "principal": name, "rank": (100 - n % 100) * _RANK, "execution_id": _id(n),
            "action_id": 1, "revision": 4, "workflow": f"w{n % 10}",
        }  # fmt: skip


def _id(n: int) -> str:
    return f"{n:08x}-0000-7000-8000-000000000000"


if __name__ == "__main__":
    main()
