from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from tradewind_server.lang.expressions import (
    ExpressionError,
    ExpressionSyntaxError,
    Template,
    compile_template,
    is_single_expression,
)

Evaluate = Callable[..., object]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<% $.a %>", 1),
        ("<% $.d.b.c %>", "x"),
        ("<% $.get(nope, dflt) %>", "dflt"),
        ("<% $.l[-1] %>", 2),
        ("<% $.l.where($ > 1).select($ * 2) %>", [6, 4]),
        ("<% $.l.sum() %>", 6),
        ("<% $.l.orderByDescending($) %>", [3, 2, 1]),
        ("<% $.l = [3, 1, 2] %>", True),
        ("<% [$.l, [3, 1, 2]].distinct() %>", [[3, 1, 2]]),
        ("<% {a => {x => 1}}.mergeWith({a => {y => 2}}) %>", {"a": {"x": 1, "y": 2}}),
        ("<% set(b, a, c, b) %>", ["b", "a", "c"]),
        ("<% $.n?.foo %>", None),
        ("<% 7 / 2 %>", 3),
        ("<% 7.0 / 2 %>", Decimal("3.5")),
        ("<% 0.1 + 0.2 %>", Decimal("0.3")),
        ("<% 0.1234567890123456789012345678901234567890 + 0 %>", Decimal("0.1234567890123456789012345678901234567890")),
        ("<% [1.5, 2].sum() %>", Decimal("3.5")),
        ("<% [1.5, 2].max() %>", 2),
        ("<% isNumber(1.5) %>", True),
        ("<% pow(2, 100) %>", 2**100),
        ("<% str([1, a, 1.50]) %>", "(1, 'a', 1.50)"),
        ("<% 'a1' =~ '[a-z][0-9]' %>", True),
        ("<% regex('([a-z])(?P<digit>[0-9])').search('b7', $digit.value) %>", "7"),
        ("<% now() %>", "2024-01-02T03:04:05+00:00"),
        ("<% datetime('05:06').day %>", 2),
        ("<% (datetime(2020, 3, 1) - datetime(2020, 2, 1)).days %>", Decimal("29.0")),
        ("<% global(g) + task(t).result.n %>", 6),
        ("<% env().k %>", "v"),
        ("<% json_parse('{\"a\": 2.50}').a %>", Decimal("2.50")),
        ("<% yaml_dump({a => [1, x]}) %>", "a:\n- 1\n- x\n"),
        ("<% yaml_parse('a: [1, x]').a %>", [1, "x"]),
        ("<% tasks(e1, false, ERROR).select($.state) %>", ["ERROR"]),
        ("<% $.l.toDict(str($), $) %>", {"3": 3, "1": 1, "2": 2}),
        ("<% $.l.toDict($, $) %>", {"3": 3, "1": 1, "2": 2}),
        ("{{ _.d.b.c }}", "x"),
        ("{{ _.l | sum }}", 6),
        ("{{ [0.1, 0.2] | sum }}", Decimal("0.3")),
        ("{{ 7 / 2 }}", Decimal("3.5")),
        ("{{ [1.5 is float, 1 is float] }}", [True, False]),
        ("{{ 7 // 2 }}", 3),
        ("{{ 2 ** 80 }}", 2**80),
        ("{{ '%.2f' % 12345678901234567.895 }}", "12345678901234567.90"),
        ("{{ '%05d' % 42 }}", "00042"),
        ("{{ '%c%3c' % ('x', 'y') }}", "x  y"),
        ("{{ '%(a)c' % {'a': 'x'} }}", "x"),
        ("{{ 'abc' | pprint }}", "'abc'"),
        ("{{ ['abc', 1.50] | pprint }}", "['abc', 1.50]"),
        ("{{ _.nope | default('d') }}", "d"),
        ("{{ _.d | tojson }}", '{"b": {"c": "x"}}'),
        ("{{ task('t').state }}", "SUCCESS"),
        ("{{ _ | task('t') }}", {"name": "t", "state": "SUCCESS", "result": {"n": 1, "list": [1, 2]}}),
        ("{{ {'a': [1, {'b': none}]} }}", {"a": [1, {"b": None}]}),
        ("{% for x in _.l %}{{ x }};{% endfor %}", "3;1;2;"),
        ("{% for g in [{'t': 1, 'n': 'a'}]|groupby('t') %}{{ g.grouper }}{{ g.list[0].n }}{% endfor %}", "1a"),
        ("{{ [{'t': 1}]|groupby('t')|map(attribute='grouper')|list }}", [1]),
        ("{{ ([{'t': 1}]|groupby('t')|first)['list'] }}", [{"t": 1}]),
        ("{% if 2 > 1 %}big{% else %}small{% endif %}", "big"),
        ("a <% $.l %> <% $.n %> <% 1.50 %>", "a [3, 1, 2] None 1.50"),
        ("{{ 1 }} and {{ _.l }}", "1 and [3, 1, 2]"),
        ("{{ 'VIP' if 5 < 3 }}", None),
        ("{{ ['VIP' if 5 < 3, {'a': 'VIP' if 5 < 3}] }}", [None, {"a": None}]),
        ("{{ ('VIP' if 5 < 3) | tojson }}", "null"),
        ("{{ ('VIP' if 5 < 3) | default('no') }}", "no"),
        ("x{{ 'VIP' if 5 < 3 }}y", "xy"),
        ("<% $.l.where($ > 1)\n  .select($ + 1) %>\n", [4, 3]),
        ("<% 1 + 1", "<% 1 + 1"),
        ({"<% 1 %>": ["<% $.a %>", {"x": "{{ _.a }}"}]}, {"<% 1 %>": [1, {"x": 1}]}),
    ],
)
def test_expressions_give_plain_values(evaluate: Evaluate, text: object, value: object) -> None:
    result = evaluate(text, a=1, l=[3, 1, 2], d={"b": {"c": "x"}}, n=None)

    assert result == value
    assert type(result) is type(value)


def test_brackets_find_a_variable_that_is_called_like_a_method(evaluate: Evaluate) -> None:
    assert evaluate("{{ _['items'] | length }}", items=[1, 2]) == 2
    assert evaluate("{{ _['keys']() | list }}", items=[1, 2]) == ["items"]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("<% $.nope %>", "there is no 'nope'"),
        ("<% $.d.nope %>", "there is no 'nope'"),
        ("<% 1 / 0 %>", "division by zero"),
        ("<% nofunc() %>", "there is no function 'nofunc'"),
        ("<% [1][5] %>", "an index is out of range"),
        ("<% 'a' + 1 %>", "operator '+' does not fit the types of its operands"),
        ("<% $.d.foo() %>", "there is no function 'foo' for this value"),
        ("{{ _.nope }}", "there is no 'nope'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 1 | nosuch }}", "it names a filter or test that does not exist"),
    ],
)
def test_errors_name_the_expression_and_the_cause(evaluate: Evaluate, text: str, cause: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, d={"x": 1})

    assert str(caught.value) == f"Expected to evaluate '{text[2:-2].strip()}', but {cause}."


@pytest.mark.parametrize(
    "text", ["<% $.s.foo() %>", "<% int($.s) %>", "<% $.d[$.s] %>", "<% $.s + 1 %>", "{{ _.s + 1 }}", "{{ _.d[_.s] }}"]
)
def test_errors_never_tell_data(evaluate: Evaluate, text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, s="secret", d={"k": "secret"})

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("<% 1 +* 2 %>", 6),
        ("a <% (1 %>", 8),
        ("<% ; %>", 3),
        ("<% 1 %> and {{ 2 }}", 12),
        ("{% for x in [1] %}{{ x }}", 3),
        ("{{ 1 + }}", 7),
    ],
)
def test_syntax_errors_tell_where(text: str, offset: int) -> None:
    with pytest.raises(ExpressionSyntaxError) as caught:
        compile_template(text)

    assert caught.value.offset == offset


@pytest.mark.parametrize(
    ("text", "is_single"),
    [
        ("<% 1 %>", True),
        ("<% 1 %>\n", True),
        ("<% 1\n %>", True),
        ("{{ 1 }}", True),
        ("{{ {'a': {}} }}", True),
        (" <% 1 %>", False),
        ("<% 1 %><% 2 %>", False),
        ("{{ 1 }}{{ 2 }}", False),
        ("{% if 1 %}{% endif %}", False),
        ("yes", False),
    ],
)
def test_single_expressions_are_recognised(text: str, is_single: bool) -> None:
    assert is_single_expression(text) is is_single


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        ("x", frozenset()),
        ("<% task().result %>", frozenset()),
        (["<% task(a).result %>", {"x": "{{ task('b').result }}"}], frozenset({"a", "b"})),
        ("<% [1].select(task(c)) %> and <% task('d') %>", frozenset({"c", "d"})),
        ("<% task($.x) %>", None),
        ("{{ task(_.x) }}", None),
    ],
)
def test_task_names_are_known_unless_computed(raw: object, names: frozenset[str] | None) -> None:
    assert compile_template(raw).task_names == names


def test_constants_are_shared_not_copied() -> None:
    value = {"a": [1]}

    assert compile_template(value).is_constant
    assert Template.constant(value).source is value


def test_layers_are_looked_up_in_order(make_scope: Callable[..., object]) -> None:
    scope = make_scope({"a": 1}, {"a": 2, "b": 3})

    assert compile_template("<% [$.a, $.b, $] %>").evaluate(scope) == [1, 3, {"a": 1, "b": 3}]  # type: ignore[arg-type]


def test_random_is_derived(evaluate: Evaluate) -> None:
    assert evaluate("<% random(1, 10) %>") == evaluate("<% random(1, 10) %>")
