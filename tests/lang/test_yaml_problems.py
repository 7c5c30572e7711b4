"""A text that is not YAML is told where it begins to be none, with what to do about it.

The mark ¦ stands before the sign that is meant; it is taken out before the check.
"""

from __future__ import annotations

import pytest

from tradewind_server.lang import Source, check
from tradewind_server.lang.lines import Lines
from tradewind_server.lang.yaml_problems import QUOTE_EXPRESSION

_COLON = "Put the text in quotes: ': ' begins a mapping."
_INDENT = "Indent it like the lines that it belongs to."
_INDENT_OR_BLANK = "Indent it like the keys that it belongs to; the line before may lack a blank behind its ':'."
_PAIR = "Write ': ' behind a key, '- ' before an item, and indent a text further than its key."

_BROKEN = [
    ('      action: std.http url=http://x header={"a"¦: 1}\n', _COLON),
    ('      action: std.echo output="a¦: b"\n', _COLON),
    ("      description: Note¦: this\n", _COLON),
    ("      action: a\n     ¦on-success: b\n", _INDENT),
    ("      action: a\n     ¦on-success: <% $.x %>\n", _INDENT),
    ("      action: a\n        on-success¦: b\n", _INDENT_OR_BLANK),
    ("      publish:\n        x:1\n        y¦: 2\n", _INDENT_OR_BLANK),
    ("      action: ¦'a\n      on-success: b\n", "Close the quote that is open here."),
    ('      action: ¦"a\n      on-success: b\n', "Close the quote that is open here."),
    ("      publish:\n        x: ¦%foo\n", "Put the text in quotes: it cannot begin with '%'."),
    ("      publish:\n        x: ¦`foo`\n", "Put the text in quotes: it cannot begin with '`'."),
    ("      on-success:\n      - a\n      ¦-b\n", _PAIR),
    ("      publish:\n        a: |\n         x\n        ¦b\n", _PAIR),
    (
        "      publish: {a: b\n      on-success¦: c\n",
        "Close what is open from line 5, column 16 on, or put a text in quotes.",
    ),
    ("      publish: {a: 'it'¦s'}\n", "Close what is open from line 5, column 16 on, or put a text in quotes."),
    (
        "      publish:\n        a: [1, 2\n        b¦: 3\n",
        "Close what is open from line 6, column 12 on, or put a text in quotes.",
    ),
    ('      publish: {a: "c:¦\\dir"}\n', "Write '\\\\' for a backslash, or put the text in single quotes."),
    ('      publish:\n        a: "x" ¦+ y\n', "Put the whole text in quotes."),
    ("      publish: {a: b}¦}\n", "Remove the '}': nothing is open here."),
    (
        '      with-items:\n        - c in [ {"k": [1]¦}, null ]\n',
        "Put the whole text in quotes: ': ' begins a mapping.",
    ),
    ("      publish:\n        a: <% $.x %>¦: 1\n", QUOTE_EXPRESSION),
    ("      publish: {a: {¦{ _.x }}}\n", QUOTE_EXPRESSION),
    ("    ¦\tu: {action: a}\n", "Indent with blanks: YAML takes no tabs."),
]


@pytest.mark.parametrize("reader", ["", "    # &a and *b make the slower reader read it\n"], ids=["libyaml", "PyYAML"])
@pytest.mark.parametrize(("marked", "fix"), _BROKEN)
def test_a_slip_is_told_where_it_is_with_what_to_do(marked: str, fix: str, reader: str) -> None:
    before, _, after = f"version: '2.0'\nw:\n  tasks:\n    t:\n{marked}{reader}".partition("¦")
    place = Lines(before + after).place(len(before))

    (problem,) = check([Source("f.yaml", before + after)]).problems

    assert (problem.code, problem.fix) == ("yaml-syntax", fix)
    assert (problem.line, problem.column) == (place.line, place.column)


@pytest.mark.parametrize("reader", ["", "# &a"], ids=["libyaml", "PyYAML"])
@pytest.mark.parametrize(
    ("written", "is_too_deep"),
    [
        ("[" * 95 + "1" + "]" * 95, False),
        ("[" * 96 + "1" + "]" * 96, True),
        ("[" * 97 + "1" + "]" * 97, True),
        ("[" * 5_000, True),
    ],
)
def test_what_is_nested_too_deep_is_told_where_the_limit_is_met(written: str, is_too_deep: bool, reader: str) -> None:
    """It is the list, or the value, within 96 lists and five mappings."""
    text = f"version: '2.0'\nw:\n  tasks:\n    t:\n      publish:\n        a: {written} {reader}\n"

    told = [(each.line, each.column, each.message, each.fix) for each in check([Source("f.yaml", text)]).problems]

    message = "Expected YAML of a definition, but it is nested deeper than 100 levels."
    assert told == [(6, 12 + 96, message, "Nest it less deeply.")] * is_too_deep


@pytest.mark.parametrize("task", ["&a {action¦: b}\n", "&a\n      action¦: b\n"])
def test_an_anchor_is_told_to_be_plain_text(task: str) -> None:
    before, _, after = f"version: '2.0'\nw:\n  tasks:\n    t: {task}".partition("¦")
    place = Lines(before + after).place(len(before))

    (problem,) = check([Source("f.yaml", before + after)]).problems

    assert (problem.code, problem.line, problem.column) == ("yaml-syntax", place.line, place.column)
    assert problem.fix.startswith("Write out what '&' and '*' stand for")


@pytest.mark.parametrize(
    ("task", "fix"),
    [
        ("t:\n      action:std.noop\n", "Write a blank behind ':'."),
        ("t:\n      - action: std.noop\n", "Remove the '- ' before each name."),
        ("t: {action: a, publish: [x: 1, y: 2]}\n", "Remove the '- ' before each name."),
        ("t: {action: a, timeout: '10'}\n", "Remove the quotes."),
        ("t: {action: a, timeout: 10m}\n", "Write it in seconds: 600."),
        ("t: {action: a, retry: {count: 2, delay: 1 hour}}\n", "Write it in seconds: 3600."),
        ("t: {action: a, wait-before: 0.5}\n", "Give a value of that shape."),
        ("t: {action: a, pause-before: 'true'}\n", "Remove the quotes."),
        ("t: {action: a, timeout: 10s}\n", "Write it in seconds: 10."),
        ("t: {action: a, timeout: 5min}\n", "Write it in seconds: 300."),
        ("t: {action: a, wait-after: 2 Weeks}\n", "Write it in seconds: 1209600."),
        ("t: {action: a, timeout: 3 hrs}\n", "Write it in seconds: 10800."),
        ("t: {action: a, timeout: 1d}\n", "Write it in seconds: 86400."),
        ("t: {action: a, timeout: 10 ms}\n", "Give a value of that shape."),
        ("t: {action: a, timeout: 10 M}\n", "Give a value of that shape."),
        ("t: {human: {title: t, users: u, due: 5 Days}}\n", "Write '5 days'."),
        (
            "t: {human: {title: t, users: u, due: 2 weeks}}\n",
            "Write 1209600, which are seconds, or a text of those forms.",
        ),
    ],
)
def test_a_value_that_is_nearly_of_the_right_shape_is_told_so(task: str, fix: str) -> None:
    (problem,) = check([Source("f.yaml", f"version: '2.0'\nw:\n  tasks:\n    {task}")]).problems

    assert (problem.code, problem.fix) == ("wrong-type", fix)
