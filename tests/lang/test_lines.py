"""Places are those that an editor goes to, whatever else YAML and Python take for the end of a line."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind_server.lang import Source, check
from tradewind_server.lang.lines import Lines, Place

_HEAD = "version: '2.0'\nw:\n  tasks:\n"


def _places(text: str) -> list[tuple[str, int, int]]:
    return [(problem.code, problem.line, problem.column) for problem in check([Source("f.yaml", text)]).problems]


@given(st.text(alphabet="ab\r\n\x0b\x0c\x1c\x85\u2028\u2029é漢🙂", max_size=40))
def test_every_character_is_found_again_at_its_place(text: str) -> None:
    lines = Lines(text)
    whole = re.split("\r\n|\n|\r", text)

    assert [lines[number] for number in range(len(lines))] == whole[: len(lines)]
    assert "".join(whole[len(lines) :]) == ""
    for index, sign in enumerate(text):
        place = lines.place(index)
        if sign not in "\r\n":
            assert whole[place.line - 1][place.column - 1] == sign


def test_a_byte_order_mark_has_no_column() -> None:
    assert Lines("\ufeffab").place(1) == Place(1, 2)
    assert _places("\ufeffvershun: 2\n")[0][1:] == (1, 1)
    assert _places("\ufeffversion: 3\nw: {tasks: {t: {action: a}}}\n") == [("version", 1, 10)]


@pytest.mark.parametrize("sign", ["\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize(
    ("tasks", "code", "line", "word"),
    [
        ("    # it SIGN\n    t: {acton: a}\n", "unknown-keyword", 5, "acton"),
        ("    t: {description: 'it SIGN is', acton: a}\n", "unknown-keyword", 4, "acton"),
        ("    t: {description: 'it SIGN is', action: a x=<% $.x %>}\n", "unknown-variable", 4, "$.x"),
        ("    t: {publish: {a: 'it SIGN is <% $.x %>'}}\n", "unknown-variable", 4, "$.x"),
        (
            "    t:\n      publish:\n        a: |\n          it SIGN\n          <% $.x %>\n",
            "unknown-variable",
            8,
            "$.x",
        ),
        ("    t: {description: 'it SIGN is', x: 1, x: 2}\n", "duplicate-key", 4, "x: 2"),
        ("    t: {description: 'it SIGN is', x: !y 1}\n", "yaml-tag", 4, "!y"),
        ("    # it SIGN\n    t: {x: ]}\n", "yaml-syntax", 5, "]"),
        ("    # it SIGN\n    t: {x: \0}\n", "yaml-syntax", 5, "\0"),
    ],
)
def test_what_yaml_alone_takes_for_the_end_of_a_line_is_none(
    sign: str, tasks: str, code: str, line: int, word: str
) -> None:
    text = _HEAD + tasks.replace("SIGN", sign)

    columns = [column for found, at, column in _places(text) if (found, at) == (code, line)]

    assert [text.split("\n")[line - 1][column - 1 :].startswith(word) for column in columns] == [True]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_each_end_of_a_line_that_editors_know_is_one(end: str) -> None:
    text = _HEAD + "    t:\n      acton: a\n      publish:\n        a: |\n          c\n          <% $.y + %>\n"

    assert _places(text.replace("\n", end)) == [("unknown-keyword", 5, 7), ("expression-syntax", 9, 20)]
    assert _places(f"a: b{end}c: [{end}") == [("yaml-syntax", 3, 1)]
    assert _places(f"a: b{end}c: \0{end}") == [("yaml-syntax", 2, 4)]


@settings(max_examples=150, derandomize=True)
@given(st.lists(st.sampled_from(["x", " ", "\u2028", "\x85", "\n        ", "é", "''"]), max_size=12).map("".join))
def test_a_name_is_found_behind_whatever_stands_before_it(before: str) -> None:
    """In a quoted text, which may go on over lines."""
    text = f"{_HEAD}    t: {{publish: {{a: 'o {before}<% $.nope %>'}}}}\n"
    lines = Lines(text)

    ((_, line, column),) = _places(text)

    assert lines[line - 1].startswith("$.nope", column - 1)
