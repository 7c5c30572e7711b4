"""References to secrets: only `secret()` makes them, and data cannot."""

from __future__ import annotations

import pytest

from tests.lang.conftest import Evaluate
from tradewind_server.lang.expressions import ExpressionError
from tradewind_server.lang.references import defused, may_hold_marks, reference, resolved
from tradewind_server.lang.values import encode

X = reference("x")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("<% secret('x') %>", X),
        ("<% secret(x) %>", X),
        ("<% $.get(nope, secret($.name)) %>", X),
        ("{{ secret('x') }}", X),
        ("Bearer <% secret('x') %>!", f"Bearer {X}!"),
        ("{{ 'Bearer ' ~ secret('x') }}", f"Bearer {X}"),
        ("{% if true %}{{ secret('x') }}{% endif %}", X),
        ({"a": ["<% secret('x') %>"]}, {"a": [X]}),
        ("<% json_dump({a => secret('x')}) %>", f'{{\n    "a": "{X}"\n}}'),
        ("in <% {a => secret('x')} %>", f"in {{'a': '{X}'}}"),
        ("<% json_parse(json_dump([secret('x'), 'é'])) %>", [X, "é"]),
    ],
)
def test_secret_is_a_reference(evaluate: Evaluate, raw: object, expected: object) -> None:
    """Alone, in a text, in structures, and through JSON."""
    assert evaluate(raw, name="x") == expected


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a b", "ä", "x" * 65, "x\n", "x')"])
def test_secret_refuses_a_name_that_is_none(evaluate: Evaluate, name: str) -> None:
    """A name never leads out of the directory of secrets, and never ends its own reference."""
    for raw in ("<% secret($.name) %>", "{{ secret(_.name) }}"):
        with pytest.raises(ExpressionError, match="the name of a secret is"):
            evaluate(raw, name=name)


@pytest.mark.parametrize("name", ["x", "X.y-z_1", "...", "x" * 64])
def test_reference_is_resolved(name: str) -> None:
    """Wherever it stands, also as a key, and with JSON's own escapes."""
    value = {reference(name): [f"a{reference(name)}b", 1]}

    assert resolved(encode(value), lambda found: f'"{found}\n') == encode({f'"{name}\n': [f'a"{name}\nb', 1]})


def test_text_without_marks_is_no_reference() -> None:
    """The words alone are data, and so are neighbours of the marks."""
    data = encode(["secret('x')", "\ufdcf\ufdd2\ufdfa"])

    assert resolved(data, lambda name: "never") == data


@pytest.mark.parametrize("text", [X[:-1], X[1:], X[:5], "\ufdd0secret('../x')\ufdd1"])
def test_cut_reference_is_told(text: str) -> None:
    """Half a reference must not go out as if it were data."""
    with pytest.raises(ValueError, match="cut or changed"):
        resolved(encode({"a": text}), lambda name: "v")


def test_data_is_defused() -> None:
    """Keys, texts and what is nested."""
    forged = {X: [X, {"a": f"b{X}"}], "n": 1}
    harmless = "\ufffdsecret('x')\ufffd"

    assert defused(forged) == {harmless: [harmless, {"a": f"b{harmless}"}], "n": 1}


@pytest.mark.parametrize(
    ("data", "expected"),
    [(encode(X), True), (b'"\\ufdd0"', True), (b'"\\uFdD1"', True), (b'"\\u00e9 fdd0"', False), (b'"x"', False)],
)
def test_marks_are_found_however_written(data: bytes, expected: bool) -> None:
    """Raw or escaped, as clients write JSON."""
    assert may_hold_marks(data) is expected


SPELLED = r"\ufdd0secret('x')\ufdd1"


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        ("<% json_parse($.d) %>", f'"{SPELLED}"'),
        ("{{ json_parse(_.d) }}", f'"{SPELLED.upper()}"'),
        ("<% yaml_parse($.d) %>", f'"{SPELLED}"'),
        ("<% yaml_parse($.d) %>", SPELLED.replace("\\u", '"\\U0000') + '"'),
        ("<% regex('a').replace(a, $.d) %>", SPELLED),
        ("<% a.replace(regex('a'), $.d) %>", SPELLED),
        ("{{ '%c' % _.n }}", ""),
        ("{{ '%5c' % _.n }}", ""),
        ("{{ '%(n)c' % _ }}", ""),
        ("{{ '%lc' % _.n }}", ""),
        ("{{ '%s%c' % ('x', _.n) }}", ""),
        ("{{ '%((x)y)-5lc' % {'(x)y': _.n} }}", ""),
        ("{{ '%c' | format(_.n) }}", ""),
        ("{{ '{:c}'.format(_.n) }}", ""),
        ("{{ '{:>5c}'.format(_.n) }}", ""),
        ("{{ '{0:c}'.format(_.n) }}", ""),
        ("<% yaml_dump({a => secret(x)}) %>", ""),
    ],
)
def test_no_function_makes_a_reference_of_data(evaluate: Evaluate, raw: str, data: str) -> None:
    """Escapes that a function would read, and characters given by number."""
    with pytest.raises(ExpressionError):
        evaluate(raw, d=data, n=0xFDD0)


@pytest.mark.parametrize("raw", ["{{ '&#xfdd0;x&#64977;'|striptags }}", "{{ _.d|urlize }}", "<% $.d %>"])
def test_other_functions_leave_escapes_alone(evaluate: Evaluate, raw: str) -> None:
    """What is text stays text."""
    assert not may_hold_marks(encode(evaluate(raw, d=f"{SPELLED} &#xfdd0; %EF%B7%90")).replace(rb"\\u", b""))
