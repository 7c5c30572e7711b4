"""A problem is told where its sign is, not where its line, its text or its list begins.

Each text has the mark ¦ before the sign that is meant; it is taken out before the check.
"""

from __future__ import annotations

import pytest

from tradewind_server.lang import Source, check
from tradewind_server.lang.lines import Lines


def _assert_told_at_marks(code: str, marked: str) -> None:
    pieces = marked.split("¦")
    text = "".join(pieces)
    lines = Lines(text)
    ends = [sum(map(len, pieces[:number])) for number in range(1, len(pieces))]

    problems = [problem for problem in check([Source("f.yaml", text)]).problems if problem.code == code]

    expected = [lines.place(end) for end in ends]
    assert [(problem.line, problem.column) for problem in problems] == [
        (place.line, place.column) for place in expected
    ]


_EXPRESSIONS = [
    "{{ _.a + ¦}}",
    "{{ _.a ¦b }}",
    "{{ _.a ¦& 1 }}",
    "{{ (1 ¦}}",
    "{{ 1¦) }}",
    "{{ _.a | ¦}}",
    "{{ _.a if ¦}}",
    "{{ a is b ¦is c }}",
    "{{ 1 }} and {{ 2 ¦3 }}",
    "{{ ¦$.x }}",
    "{{ é_é ¦é }}",
    "{{ ¦99999XX }}",
    "{% if 1 %}{% ¦endfor %}",
    "{% ¦fo x %}",
    "{% for x in ¦%}{% endfor %}",
    "{% if 0 %}{% endif %}{% ¦if 1 %} {% if 2 %}{% endif %} bc",
    "{{ 1 }} {{ 2 ¦'",
    "a {%- if 1 -%} b {{ 1 ¦2 }} {% endif %}",
    "{{ 1 }} {{ ¦'abc }}",
    "<% $.a + ¦%>",
    "<% 1 ¦2 %>",
    "<% $.a ¦& 1 %>",
    "a <% 1 %> b <% [1, ¦%> c",
    "<% 1 + ¦99999XX %>",
    "<% a + ¦'abc %>",
    "<% {{ 1 }} %> ¦{{ 2 }}",
]
_WAYS_TO_WRITE = {
    "quoted": '"TEXT"',
    "in a block": "|\n          first\n            TEXT\n          last",
    "folded": ">-\n          first\n\n          TEXT",
    "over lines": '"first\n          TEXT"',
    "behind escapes": '"\\u00e4\\t\\"x\\" TEXT"',
}


@pytest.mark.parametrize("way", _WAYS_TO_WRITE)
@pytest.mark.parametrize("expression", _EXPRESSIONS)
def test_a_broken_expression_is_told_at_the_token_that_breaks_it(expression: str, way: str) -> None:
    written = _WAYS_TO_WRITE[way].replace("TEXT", expression.replace("99999XX", "9" * 5_000))
    _assert_told_at_marks(
        "expression-syntax", f"version: '2.0'\nw:\n  tasks:\n    t:\n      publish:\n        a: {written}\n"
    )


_HEAD = "version: '2.0'\nw:\n  tasks:\n"


@pytest.mark.parametrize(
    ("code", "tasks"),
    [
        ("unknown-task", "    t: {on-success: [t2, ¦nowhere]}\n    t2: {action: a}\n"),
        (
            "unknown-task",
            "    t:\n      on-success:\n        - t2\n        - ¦nowhere: <% $.nowhere %>\n    t2: {action: a}\n",
        ),
        ("unknown-task", "    t: {on-success: {¦nowhere: <% 1 %>}}\n"),
        ("unknown-task", "    t: {on-success: {next: [t2, ¦nowhere]}}\n    t2: {action: a}\n"),
        ("unknown-task", "    t: {on-success: ¦nowhere}\n"),
        ("expression-syntax", '    t:\n      on-success:\n        - fail(msg="<% 1 ¦2 %>"): <% 1 > 0 %>\n'),
        ("expression-syntax", '    t:\n      on-success:\n        - fail(msg="<% 1 ¦2 %>")\n'),
        ("expression-syntax", '    t:\n      on-success:\n        - fail(msg="<% 1 %>"): <% 1 ¦2 %>\n'),
        ("expression-syntax", "    t:\n      action: std.echo output={{ 1 ¦2 }}\n"),
        ("expression-syntax", "    t:\n      retry: count=<% 1 ¦2 %> delay=1\n"),
        ("expression-syntax", "    t:\n      with-items: i in {{ 1 ¦2 }}\n"),
        ("unknown-variable", '    t:\n      on-success:\n        - fail(msg="<% ¦$.x %>"): <% 1 > 0 %>\n'),
        ("transition", "    t:\n      on-success:\n        - ¦a b: <% 1 > 0 %>\n"),
        ("unused-parameter", "    t:\n      on-success:\n        - ¦fail(text=1): <% 1 > 0 %>\n"),
        ("unclosed-expression", "    t: {action: a x=<% 1 %> y='1 ¦<% 2'}\n"),
        ("unclosed-expression", "    t: {publish: {a: 'b ¦%>'}}\n"),
        ("wrong-parameters", "    t: {action: std.noop ¦a=1}\n"),
        ("wrong-parameters", "    t: {action: std.noop, input: {¦a: 1}}\n"),
    ],
)
def test_what_is_meant_is_told_where_it_stands(code: str, tasks: str) -> None:
    _assert_told_at_marks(code, _HEAD + tasks)


_BARE_WORDS = [
    "<% $.state = ¦state %>",
    "<% task(a).state = ¦state %>",
    "<% task(state).state = ¦state %>",
    "<% 'state' = $.state %> <% $.n.where(state = 1) and ¦state != $.state %> state",
    "<% $.get(state) %> <% ¦state = ¦n %>",
    "{{ _.state == ¦state }}",
    "{{ 'state' ~ _['state'] ~ ¦state }}",
    "{% for state in _.n %}{{ state }}{% endfor %}{{ ¦state }}",
    "{% for state in ¦state %}{{ state }}{% else %}{{ state }}{% endfor %}",
    "{% macro f(state) %}{{ state }}{% endmacro %}{{ f(state=1) ~ ¦state }}",
    "{% with state = 1 %}{{ state }}{% endwith %}{{ _.n == ¦state }}",
]


@pytest.mark.parametrize("way", [*_WAYS_TO_WRITE, "plain"])
@pytest.mark.parametrize("expression", _BARE_WORDS)
def test_a_bare_name_is_told_where_it_is_bare(expression: str, way: str) -> None:
    written = _WAYS_TO_WRITE.get(way, "a TEXT").replace("TEXT", expression)
    more = "version: '2.0'\nw:\n  input: [state, n]\n  tasks:\n    a:\n      publish:\n"
    _assert_told_at_marks("bare-name", f"{more}        a: {written}\n")


@pytest.mark.parametrize(
    "task",
    [
        "{action: std.echo output=<% task(a).n = ¦n %>}",
        "{on-success: [{noop: <% $.n = ¦n %>}]}",
        "{action: std.noop, retry: count=<% $.n = ¦n %> delay=1}",
        "{with-items: 'i in <% list($.n = ¦n) %>', action: std.noop}",
        "{with-items: ['i in <% list($.n = ¦n) %>'], action: std.noop}",
        "{on-success: [fail(msg=<% $.n = ¦n %>)]}",
    ],
)
def test_a_bare_name_in_a_part_of_a_text_is_told_where_it_is_bare(task: str) -> None:
    _assert_told_at_marks("bare-name", f"version: '2.0'\nw:\n  input: [n]\n  tasks:\n    a: {task}\n")


@pytest.mark.parametrize("items", ["¦n in <% $.n %>", "[¦n in <% $.n %>]"])
def test_a_loop_variable_that_hides_what_it_goes_through_is_told_where_it_stands(items: str) -> None:
    text = "version: '2.0'\nw:\n  input: [n]\n  tasks:\n    a:\n      action: std.noop\n"
    _assert_told_at_marks("shadowed-name", f"{text}      with-items: {items}\n")


def test_an_unknown_task_of_task_defaults_is_told_there_and_once() -> None:
    more = "version: '2.0'\nw:\n  task-defaults:\n    on-error: [t, ¦nowhere]\n"
    _assert_told_at_marks(
        "unknown-task", more + "  tasks:\n    t: {action: a}\n    u: {action: a}\n    v: {action: a}\n"
    )


def test_an_unknown_requirement_is_told_where_it_stands() -> None:
    more = "version: '2.0'\nw:\n  type: reverse\n"
    _assert_told_at_marks("unknown-task", more + "  tasks:\n    t: {requires: [u, ¦v]}\n    u: {requires: ¦x}\n")
