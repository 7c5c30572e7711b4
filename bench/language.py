"""What the language costs, in this process and without a server: expressions, and a large definition."""

from __future__ import annotations

import collections.abc  # noqa: F401 - before yaql, which uses it without importing it
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import jinja2
import yaml
import yaql

from tradewind_server import lang
from tradewind_server.lang.expressions import Scope
from tradewind_server.lang.expressions.jinja_expression import JinjaExpression
from tradewind_server.lang.expressions.yaql_expression import YaqlExpression

_ROUNDS = 5
_PEOPLE = [{"name": f"p{n}", "age": 20 + n} for n in range(30)]
#: The libraries know no decimals.
_BARE = {"name": "Mira", "price": 19.95, "quantity": 3, "order": {"total": 59.85}, "people": _PEOPLE}
_OURS = {**_BARE, "price": Decimal("19.95"), "order": {"total": Decimal("59.85")}}

_YAQL = {
    "a variable": "$.order.total",
    "arithmetic and comparison": "$.price * $.quantity > 50 and $.name = Mira",
    "a query over 30 items": "$.people.where($.age > 30).select($.name)",
}
_JINJA = {
    "a variable": "_.order.total",
    "arithmetic and comparison": "_.price * _.quantity > 50 and _.name == 'Mira'",
    "a query over 30 items": "_.people|selectattr('age', 'gt', 30)|map(attribute='name')|list",
}


@dataclass(frozen=True)
class Cost:
    """One expression."""

    title: str
    text: str
    #: "YAQL" or "Jinja".
    language: str
    #: Microseconds: as a process evaluates it.
    ours: float
    #: YAQL only: without the fast path, through the library with our bounds and decimals.
    in_library: float | None
    #: The library as it comes.
    bare: float


@dataclass(frozen=True)
class Definition:
    """One large definition."""

    tasks: int
    characters: int
    #: Seconds: the YAML library alone, reading into specs, all checks.
    yaml: float
    read: float
    check: float


class _NoFacts:
    """None of the expressions asks for a fact."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        return lambda *_: None


def expressions(seconds: float) -> list[Cost]:
    """Measure each expression for so many seconds in each round, in turn with the bare libraries."""
    return [_of_yaql(*each, seconds) for each in _YAQL.items()] + [_of_jinja(*each, seconds) for each in _JINJA.items()]


def _of_yaql(title: str, text: str, seconds: float) -> Cost:
    ours, scope = YaqlExpression(text), Scope((_OURS,), _NoFacts())
    bare, context = yaql.YaqlFactory().create()(text), yaql.create_context()
    measured = _medians(
        seconds,
        lambda: ours.evaluate(scope),
        lambda: ours.evaluate_in_library(scope),
        lambda: bare.evaluate(data=_BARE, context=context.create_child_context()),
    )
    return Cost(title, text, "YAQL", measured[0], measured[1], measured[2])


def _of_jinja(title: str, text: str, seconds: float) -> Cost:
    ours, scope = JinjaExpression(text), Scope((_OURS,), _NoFacts())
    bare = jinja2.Environment().compile_expression(text)
    measured = _medians(seconds, lambda: ours.evaluate(scope), lambda: bare(_=_BARE))
    return Cost(title, text, "Jinja", measured[0], None, measured[1])


def _medians(seconds: float, *calls: Callable[[], object]) -> list[float]:
    """Return microseconds for one call of each, the median of all rounds."""
    rounds = [[_microseconds(call, seconds) for call in calls] for _ in range(_ROUNDS)]
    return [statistics.median(each) for each in zip(*rounds, strict=True)]


def _microseconds(call: Callable[[], object], seconds: float) -> float:
    call()
    count, begun = 0, time.perf_counter()
    while (taken := time.perf_counter() - begun) < seconds:
        for _ in range(10):
            call()
        count += 10
    return taken / count * 1e6


def definition(tasks: int) -> Definition:
    """Measure a definition of so many tasks. No two texts are alike, so that nothing is remembered."""
    numbers = itertools.count()
    measured: list[list[float]] = []
    for _ in range(3):
        texts = [_definition(tasks, next(numbers)) for _ in range(3)]
        calls: list[Callable[[str], Any]] = [_load, _read, _check]
        measured.append([_once(call, text) for call, text in zip(calls, texts, strict=True)])
    loading, reading, checking = (statistics.median(each) for each in zip(*measured, strict=True))
    return Definition(tasks, len(_definition(tasks, 0)), loading, reading, checking)


def _definition(tasks: int, number: int) -> str:
    lines = ["version: '2.0'", "large:", "  input: [n]", "  tasks:"]
    for n in range(tasks):
        lines += [
            f"    t{n}:",
            f"      action: bench.step n=<% $.n + {number * tasks + n} %>",
            "      publish: {n: <% task().result %>}",
        ]
        lines += [f"      on-success: [{{t{n + 1}: <% $.n > {number * tasks + n} %>}}]"] if n + 1 < tasks else []
    return "\n".join(lines)


def _load(text: str) -> None:
    yaml.load(text, Loader=yaml.CSafeLoader)


def _read(text: str) -> None:
    assert len(lang.read([lang.Source("large.yaml", text)]).workflows) == 1


def _check(text: str) -> None:
    assert lang.check([lang.Source("large.yaml", text)]).problems == ()


def _once(call: Callable[[str], Any], text: str) -> float:
    begun = time.perf_counter()
    call(text)
    return time.perf_counter() - begun
