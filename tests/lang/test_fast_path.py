"""What the fast path gives is what the library gives."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradewind_server.lang import numbers
from tradewind_server.lang.expressions import ExpressionError, Scope
from tradewind_server.lang.expressions.problems import failure
from tradewind_server.lang.expressions.yaql_expression import YaqlExpression
from tradewind_server.lang.expressions.yaql_face import told_iteration

_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([Decimal("1.5"), Decimal("-0.25"), "a", "b", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)
_atoms = st.sampled_from(
    ["$.a", "$.b", "$.a.b", "$.nope", "1", "0", "2.5", "-1", "true", "null", "x", "'a'", "task(t).result.n", "env().k"]
    + ["$.get(a)", "$.get(nope)", "$.get(nope, 7)", "[]", "{}", "global(g)", "task().result.list", "$.a.get(b)"]
)
_bodies = st.sampled_from(
    [
        "$",
        "$.a",
        "$.a.b",
        "$ > 0",
        "$ = $.a",
        "not $",
        "$.a in [1, a]",
        "$ + 1",
        "[$, $.b]",
        "{k => $}",
        "len($)",
        "$.get(a)",
    ]
    + ["task(t).result.n", "$.a.where($ > 0)", "$1", "env().k", "$.len()", "$[0]", "-$", "$.nope"]
)
_lists = st.lists(_values, max_size=4)
_per_item = st.lists(st.tuples(st.sampled_from(["where", "select"]), _bodies), min_size=1, max_size=3)
_operators = st.sampled_from(["+", "-", "*", "/", "mod", "=", "!=", "<", "<=", ">", ">=", "and", "or", "in"])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, _operators, inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda text: f"not ({text})"),
        inner.map(lambda text: f"-({text})"),
        inner.map(lambda text: f"len({text})"),
        inner.map(lambda text: f"({text}).len()"),
        st.tuples(inner, inner).map(lambda parts: f"[{parts[0]}, {parts[1]}]"),
        st.tuples(inner, inner).map(lambda parts: f"{{k => {parts[0]}, ({parts[1]}) => 1}}"),
        st.tuples(inner, inner).map(lambda parts: f"({parts[0]})[{parts[1]}]"),
    )


_expressions = st.recursive(_atoms, _larger, max_leaves=5)


def _outcome(evaluate: Callable[[Scope], object], text: str, scope: Scope) -> object:
    try:
        return evaluate(scope)
    except ExpressionError as problem:
        return ("error", problem.cause)
    except Exception as problem:
        return ("error", failure(text, told_iteration(problem)).cause)


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(text=_expressions, a=_values, b=_values)
def test_fast_path_equals_the_library(make_scope: Callable[..., Scope], text: str, a: object, b: object) -> None:
    expression = YaqlExpression(text)
    scope = make_scope({"a": a}, {"a": 0, "b": b})

    fast = _outcome(expression.evaluate, text, scope)
    slow = _outcome(expression.evaluate_in_library, text, scope)

    assert repr(fast) == repr(slow)


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(calls=_per_item, end=st.sampled_from(["", ".len()", "[0]"]), items=_lists | _values)
def test_fast_path_over_items_equals_the_library(
    make_scope: Callable[..., Scope], calls: list[tuple[str, str]], end: str, items: object
) -> None:
    text = "$.l" + "".join(f".{name}({body})" for name, body in calls) + end
    expression = YaqlExpression(text)
    scope = make_scope({"l": items}, {"a": 1})

    fast = _outcome(expression.evaluate, text, scope)
    slow = _outcome(expression.evaluate_in_library, text, scope)

    assert repr(fast) == repr(slow)


def test_fast_path_is_taken_by_common_forms() -> None:
    texts = [
        "$.a.where($.n > 1).select($.name)",
        "task(x).result.select([$.a, $ = 1]).len()",
        "$.a.b",
        "$.a + 1 > 3",
        "task(x).result.y",
        "env().x",
        "not $.a",
        "[$.a, {k => 1}]",
        "len($.a)",
        "$.get(x)",
    ]

    assert [text for text in texts if YaqlExpression(text)._fast is None] == []


@pytest.mark.parametrize("text", ["10 * 10", "1.5 + 1.5"])
def test_numbers_stay_exact_on_both_paths(make_scope: Callable[..., Scope], text: str) -> None:
    expression = YaqlExpression(text)

    assert numbers.is_number(expression.evaluate(make_scope()))
    assert expression.evaluate(make_scope()) == expression.evaluate_in_library(make_scope())
