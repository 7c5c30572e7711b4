"""Lists at a million finished executions: what one page takes, first and deep, on each database.

`python -m bench.lists [--count N] [--database sqlite|postgresql]`. The rows are written by SQL; the pages are read as a
server does, without gRPC.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Iterator

import sqlalchemy as sa

from bench import parts
from bench.places import open_place
from tradewind_server.clock import from_microseconds
from tradewind_server.store import listing
from tradewind_server.store.database import Database
from tradewind_server.store.filters import EXECUTION_FIELDS, parse_filter
from tradewind_server.testing import finished

_PAGE = 100
_TIMES = 20


def _filters(count: int) -> list[str]:
    half, later = (_moment(count * part // 100) for part in (50, 51))
    return [
        "",
        "state = SUCCEEDED",
        "state = FAILED",
        "state != SUCCEEDED",
        "workflow = w3",
        "workflow = old",
        "workflow = w3 AND state = SUCCEEDED",
        "workflow = w10 AND state = FAILED",
        "workflow = w3 AND definition_version = 1",
        "tags:red",
        "tags:old",
        "business_key = order-77",
        "error_kind = TIMEOUT",
        "error_code = ACCOUNT_CLOSED",
        f"created_at < {half}",
        f"state = FAILED AND created_at < {half}",
        f"finished_at < {half}",
        f"state = FAILED AND finished_at < {half}",
        f"text:42 AND created_at >= {half} AND created_at < {later}",
    ]


def _moment(number: int) -> str:
    return from_microseconds(finished.FIRST + number * finished.SECOND).isoformat()


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    asked = parser.parse_args()
    lines: list[str] = []
    for name in asked.database or ["sqlite", "postgresql"]:
        with open_place(name) as place:
            url = place.fresh()
            database = Database(url)
            try:
                lines += _measure(name, database, asked.count)
                lines += ["", f"{place.size(url) / asked.count:.0f} bytes an execution.", ""]
            finally:
                database.close()
    print("\n".join(lines))
    if asked.count >= 1_000_000 and not asked.database:
        parts.put("lists", "Lists", "\n".join(lines))


def _measure(name: str, database: Database, count: int) -> Iterator[str]:
    with database.connect_reader() as connection:
        finished.fill(connection, count)
        yield f"### {name}: {count:,} finished executions, pages of {_PAGE}\n"
        yield "| Filter | first page, ms (longest) | page at 90 % of the depth, ms (longest) |"
        yield "| --- | --- | --- |"
        for text in _filters(count):
            first, deep = _page(connection, text, count, 100), _page(connection, text, count, 10)
            yield f"| `{text or 'none'}` | {first} | {deep} |"
        for by in (["state"], ["workflow", "state"], ["error_kind", "error_code"], ["tags"]):
            took = _seconds(functools.partial(listing.count, connection, "default", [], by))
            yield f"| count by {', '.join(by)} | {1000 * took:.0f} | |"


def _page(connection: sa.Connection, text: str, count: int, percent: int) -> str:
    """Read a page below *percent* of all; return the median and the longest of several reads."""
    terms = parse_filter(text, EXECUTION_FIELDS)
    number = count * percent // 100
    place = {"id": finished.id_of(number), "finished_at": finished.FIRST + number * finished.SECOND}
    after = [place[column] for column in listing.order_of(terms)] if percent < 100 else []
    times = [
        1000 * _seconds(lambda: listing.executions(connection, "default", terms, _PAGE + 1, after))
        for _ in range(_TIMES)
    ]
    return f"{statistics.median(times):.1f} ({max(times):.1f})"


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
