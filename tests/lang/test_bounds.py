"""Expressions cannot take too long, become too large, or reach what they should not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tradewind_server.lang.expressions import ExpressionError, ExpressionSyntaxError

Evaluate = Callable[..., object]

_TOO_MUCH = [
    "<% 'x' * 10000000000 %>",
    "<% [1] * 10000000000 %>",
    "<% range(1000000000).len() %>",
    "<% sequence().toList() %>",
    "<% [1].cycle().len() %>",
    "<% 1.repeat().last() %>",
    "<% range(1000).select(range(1000).select($)) %>",
    "<% def(f, f($)) -> f(1) %>",
    "<% pow(10, 1000000000) %>",
    "<% shiftBitsLeft(1, 1000000000) %>",
    "<% range(1000).select('x' * 1000000).toList().len() %>",
    "<% ('x' * 100000).replace('x', 'y' * 100000) %>",
    "<% range(1000).select('x' * 100000).join('') %>",
    "<% range(64).aggregate([$1, $1], 1) %>",
    "<% str(range(64).aggregate([$1, $1], 1)) %>",
    "<% regex('((a{100}){100}){100}').matches(a) %>",
    "<% regex('(a+)+$').replace('a' * 100000, 'b' * 100000, 0) + 1 %>",
    "{{ 'a' * 10 ** 10 }}",
    "{{ [1] * 10 ** 10 }}",
    "{{ 10 ** 10000 }}",
    "{{ '%10000000000d' % 1 }}",
    "{{ '%*d' % (1000000000, 1) }}",
    "{{ '{:>10000000000}'.format(1) }}",
    "{{ '{:>{}}'.format(1, 10 ** 10) }}",
    "{{ 'a'.center(10 ** 10) }}",
    "{{ 'a' | center(10 ** 10) }}",
    "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
    "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
    "{{ range(10 ** 10) | list }}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% set ns = namespace(s='ab') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
    "{% set ns = namespace(s='ab') %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
    "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{% for i in range(9999) %}{{ range(99999) | sum }}{% endfor %}",
    "{{ ('a' * 1000000) | wordwrap(1) }}",
    "{{ ('a' * 1000000) | wordwrap(width=1) | length }}",
    "{{ ('a' * 1000000) | wordwrap(5, wrapstring='b' * 1000000) }}",
    "{{ ('a ' * 500000) | groupby('a', 'b') | length }}",
    "{{ ('a ' * 500000) | sort | length }}",
]


def test_a_format_of_many_colons_is_answered_at_once(evaluate: Evaluate) -> None:
    assert evaluate("{{ (('http://a.b ' * 90000) | format) | length }}") == 990_000
    assert evaluate("{{ ('http://a.b ' * 90000).format() | length }}") == 990_000
    with pytest.raises(ExpressionError):
        evaluate("{{ '{::>3c}'.format(65) }}")


def test_ordinary_texts_are_wrapped(evaluate: Evaluate) -> None:
    assert evaluate("{{ 'one two three' | wordwrap(7) }}") == "one two\nthree"
    assert evaluate("{{ ('word ' * 100000) | wordwrap | length }}") == 499_999


@pytest.mark.parametrize("text", _TOO_MUCH)
def test_too_much_is_an_error(evaluate: Evaluate, text: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(text)


_ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ _.__class__ }}",
    "{{ _._scope }}",
    "{{ _.merged }}",
    "{{ env.__globals__ }}",
    "{{ env.__func__ }}",
    "{{ task.__closure__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ namespace.__init__ }}",
    "{{ range.__self__ }}",
    "{{ self.__init__ }}",
    "{{ __budget.steps_left }}",
    "{{ '{0.__class__}'.format('') }}",
    "{{ '{0.__class__}'|format('') }}x{{ nope }}",
    "{{ [].append(1) }}",
    "{{ _.d.update({}) }}",
    "{{ (1).to_bytes(1000000000) }}",
    "{{ 'a'.encode() }}",
    "{{ ([_.d]|groupby('a')|first)._asdict() }}",
    "{{ ([_.d]|groupby('a')|first)._replace(list=1) }}",
    "{{ ([_.d]|groupby('a')|first).__class__ }}",
    "{{ [_.d]|groupby('a')|map(attribute='_fields')|list }}",
    "{{ lipsum() }}",
    "{% include 'x' %}",
    "{% import 'os' as os %}",
    "<% ''.__class__ %>",
    "<% $.__class__ %>",
    "<% $.d.__class__ %>",
    "<% call('__import__', [os], {}) %>",
    "<% $._root %>",
    "<% env %> <% env.__globals__ %>",
]


@pytest.mark.parametrize("text", _ESCAPES)
def test_nothing_outside_can_be_reached(evaluate: Evaluate, text: str) -> None:
    with pytest.raises((ExpressionError, ExpressionSyntaxError)):
        evaluate(text, d={"a": 1})
