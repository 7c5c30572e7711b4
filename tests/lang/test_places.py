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


def test_an_unknown_task_of_task_defaults_is_told_there_and_once() -> None:
    more = "version: '2.0'\nw:\n  task-defaults:\n    on-error: [t, ¦nowhere]\n"
    _assert_told_at_marks(
        "unknown-task", more + "  tasks:\n    t: {action: a}\n    u: {action: a}\n    v: {action: a}\n"
    )


def test_an_unknown_requirement_is_told_where_it_stands() -> None:
    more = "version: '2.0'\nw:\n  type: reverse\n"
    _assert_told_at_marks("unknown-task", more + "  tasks:\n    t: {requires: [u, ¦v]}\n    u: {requires: ¦x}\n")
