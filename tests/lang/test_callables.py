"""What expressions call that does not exist is told before they are evaluated, and nothing that exists."""

from __future__ import annotations

import pytest

from tradewind_server.lang import Source, check
from tradewind_server.lang.expressions import compile_template, yaql_face, yaql_library
from tradewind_server.lang.expressions.callables import YAQL


def test_the_table_of_yaql_is_what_its_library_has() -> None:
    functions, methods = set(), set()
    for name, definition in yaql_face.registered(yaql_library.context()):
        functions |= {name} if definition.is_function else set()
        methods |= {name} if definition.is_method else set()

    assert {"function": functions, "method": methods} == YAQL


def _unknown(text: str) -> set[tuple[str, str]]:
    (expression,) = compile_template(text).expressions
    return set(expression.names().unknown)


@pytest.mark.parametrize(
    "text",
    [
        "<% $.a.toUpper().len() + len($.b) %>",
        "<% $.list.where($.x.startsWith('f(')).select(str($)) %>",
        "<% $.a?.toLower() %>",
        "<% def(double, $ * 2) -> double(3) %>",
        "<% let(a => 1) -> $a %>",
        "<% $.a.(len($)) %>",
        "<% 'nope(1)' + \"x.nope(2)\" %>",
        "<% dict(a => isString($.x), b => [uuid(), now()]) %>",
        "<% secret(x) + task(t).result %>",
        "<% $.l.aggregate($1 + int($2), 0) %>",
        "<% $.a . trim() %>",
        "{{ secret('x') }}",
        "{{ _.a | upper | default('f(x)') }}",
        "{{ _.a is defined and _.b is not none }}",
        "{{ range(3) | map('string') | list }}",
        "{{ _.a.upper() }}",
        "{{ dict(a=1) }} {{ execution().id }}",
        "{% macro f(x) %}{{ x }}{% endmacro %}{{ f(1) }}",
        "{% for i in _.l %}{{ loop.cycle('a', 'b') }}{% endfor %}",
        "{% set f = _.g %}{{ f(1) }}",
        "{% filter upper %}a{% endfilter %}",
        "{% call(x) _.f() %}{{ caller }}{% endcall %}",
        "{% if _.a %}{% set f = range %}{% endif %}{{ f(1) }}",
        "{% if _.a %}{% macro f() %}{% endmacro %}{% endif %}{{ f() }}",
        "{% if _.a %}{% if _.b %}{% else %}{% set f, g = [range, dict] %}{% endif %}{% endif %}{{ f(g()) }}",
    ],
)
def test_what_exists_is_not_told(text: str) -> None:
    assert _unknown(text) == set()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{% if _.v %}{% set f = range %}{% endif %}{{ f(1) | list }}", set()),
        ("{% if _.v %}{% macro f() %}a{% endmacro %}{% endif %}{{ f() }}", set()),
        ("{% if _.v %}{% set f = 1 %}{% endif %}{{ f }}", set()),
        ("{% for i in _.v %}{% if i %}{% set f = 1 %}{% endif %}{{ f }}{% endfor %}", set()),
        ("{% for f in _.v %}{% endfor %}{{ f }}", {"bare-name"}),
        ("{% if _.v %}{% set g = 1 %}{% endif %}{{ f() }}", {"unknown-function"}),
    ],
)
def test_what_is_bound_on_a_condition_is_not_told_to_be_missing(text: str, told: set[str]) -> None:
    file = f"version: '2.0'\nw:\n  input: [v]\n  tasks:\n    t: {{action: a, input: {{x: '{text}'}}}}\n"
    assert {problem.code for problem in check([Source("f.yaml", file)]).problems} == told


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("<% lenn($.a) %>", {("function", "lenn")}),
        ("<% $.a.isString() %>", {("method", "isString")}),
        ("<% toUpper($.a) %>", {("function", "toUpper")}),
        ("<% $.list.where(nope($)) %>", {("function", "nope")}),
        ("<% $.list.where($.nope()) %>", {("method", "nope")}),
        ("<% $.a?.nope() %>", {("method", "nope")}),
        ("<% dict(a => nope(1)) %>", {("function", "nope")}),
        ("<% [nope(1)] %>", {("function", "nope")}),
        ("<% {a => nope(1)} %>", {("function", "nope")}),
        ("<% $.a[nope(1)] %>", {("function", "nope")}),
        ("<% not nope(1) %>", {("function", "nope")}),
        ("<% 'len(' + nope() %>", {("function", "nope")}),
        ("{{ _.a | nope }}", {("filter", "nope")}),
        ("{{ _.a is nope }}", {("test", "nope")}),
        ("{{ nope(1) }}", {("function", "nope")}),
        ("{{ now() }}", {("function", "now")}),
        ("x {% filter nope %}a{% endfilter %}", {("filter", "nope")}),
        ("{% for i in nope(1) %}{% endfor %}", {("function", "nope")}),
    ],
)
def test_what_does_not_exist_is_told_by_its_kind(text: str, unknown: set[tuple[str, str]]) -> None:
    assert _unknown(text) == unknown


@pytest.mark.parametrize(
    ("marked", "fix"),
    [
        ("<% $.v.¦toUper() %>", "Did you mean 'toUpper'?"),
        ("<% ¦toUpper($.v) %>", "It is a method: write 'x.toUpper()'."),
        ("<% $.v.¦isString() %>", "It is no method: write 'isString(x)'."),
        ("<% $.v.¦xyzzy() %>", "Use one that docs/expressions.md lists."),
        ("{{ _.v | ¦uper }}", "Did you mean 'upper'?"),
        ("{{ ¦tsk('t') }}", "Did you mean 'task'?"),
        ("{{ _.v | ¦xyzzy }}", "Use one that docs/expressions.md lists."),
        ("{{ _.v is ¦xyzzy }}", "Use one that docs/expressions.md lists."),
        ("{{ ¦xyzzy() }}", "Use one that docs/expressions.md lists."),
    ],
)
def test_it_is_told_where_it_is_called_with_what_to_do(marked: str, fix: str) -> None:
    """The place is that of the mark, which is not in the text."""
    line = f'    t: {{action: a, input: {{x: "{marked}"}}}}'
    text = f"version: '2.0'\nw:\n  input: [v]\n  tasks:\n{line.replace('¦', '')}\n"

    found = [(each.code, each.line, each.column, each.fix) for each in check([Source("f.yaml", text)]).problems]

    assert found == [("unknown-function", 5, line.index("¦") + 1, fix)]


def test_expressions_everywhere_are_looked_into() -> None:
    text = """\
version: '2.0'
name: book
actions:
  act: {base: std.echo, input: [x], base-input: {output: <% nope() %>}, output: <% nope() %>}
  on_line: {base: std.echo output=<% nope() %>}
workflows:
  w:
    vars: {v: <% nope() %>}
    output: {o: <% nope() %>}
    output-on-error: {o: <% nope() %>}
    tasks:
      t:
        action: a x=<% nope() %>
        retry: {count: <% nope() %>, delay: 1}
        on-success:
          - fail(msg=<% nope() %>): <% nope() %>
      h: {human: {title: <% nope() %>, users: [u]}}
"""
    problems = check([Source("f.yaml", text)]).problems

    assert {problem.code for problem in problems} == {"unknown-function"}
    assert [problem.line for problem in problems] == [4, 4, 5, 8, 9, 10, 13, 14, 16, 17]
