from __future__ import annotations

from decimal import Decimal

import pytest

from tradewind_server.lang import documents
from tradewind_server.lang.documents import YamlProblem
from tradewind_server.lang.lines import Place


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("off", False),
        ("010", 8),
        ("0x1F", 31),
        ("0b11", 3),
        ("1_000", 1000),
        ("12:30:45", 45045),
        ("1e3", "1e3"),
        (".5", Decimal("0.5")),
        ("0.12345678901234567890123", Decimal("0.12345678901234567890123")),
        ("12345678901234567890123", 12345678901234567890123),
        ("2020-01-02", "2020-01-02"),
        ("~", None),
        ("'010'", "010"),
        ("{1: a, null: b, 1.5: c}", {"1": "a", "null": "b", "1.5": "c"}),
        ("&x", "&x"),
        ("*x", "*x"),
        ("@x", "@x"),
        ("[a, *b]", ["a", "*b"]),
        ("{<<: {a: 1, b: 1}, b: 2}", {"a": 1, "b": 2}),
        ("{<<: [{a: 1}, {a: 2, b: 2}]}", {"a": 1, "b": 2}),
        ("", None),
    ],
)
def test_scalars_are_read_as_yaml_1_1_with_exact_numbers(text: str, value: object) -> None:
    parsed = documents.parse(text)

    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "it is not YAML"),
        ("a: .inf", "no number that JSON can hold"),
        ("a: !!python/object:os.system x", "tag"),
        ("a: !!set {x}", "tag"),
        ("? [a]\n: b", "a key has to be text"),
        ("a\n---\nb", "more than one document"),
        ("[" * 500 + "]" * 500, "nested"),
        ("x" * (documents.MAX_SIZE + 1), "characters"),
        ("a: \x00", "it is not YAML"),
    ],
)
def test_what_is_not_taken_is_told(text: str, message: str) -> None:
    with pytest.raises(YamlProblem, match=message):
        documents.parse(text)


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "{a: " * 100_000])
def test_deep_nesting_does_no_harm(text: str) -> None:
    with pytest.raises(YamlProblem):
        documents.parse(text)


def test_each_entry_has_its_place() -> None:
    (document,), problems = documents.load("a:\n  b: [x,\n    {c: 1}]\n")

    assert problems == []
    assert document.place(("a", "b")) == Place(2, 3)
    assert document.value_place(("a", "b")) == Place(2, 6)
    assert document.place(("a", "b", 1, "c")) == Place(3, 6)
    assert document.place(("a", "b", 9, "nope")) == Place(2, 3)


def test_dump_sorts_keys_and_keeps_digits() -> None:
    assert documents.dump({"b": [Decimal("1.50"), "x"], "a": "ž"}) == 'a: "\\u017E"\nb:\n- 1.50\n- x\n'
