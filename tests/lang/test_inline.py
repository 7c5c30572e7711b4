from __future__ import annotations

from decimal import Decimal

import pytest

from tradewind_server.lang.inline import Call, parse_call


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("std.noop", Call("std.noop", {})),
        ("std.echo output='a b' delay='0'", Call("std.echo", {"output": "a b", "delay": "0"})),
        ('std.echo output="x"', Call("std.echo", {"output": "x"})),
        ("a b=12 c=true d=null e=-3 f=1.50", Call("a", {"b": 12, "c": True, "d": None, "e": -3, "f": Decimal("1.50")})),
        ('a b=["x", 1] c=[2]', Call("a", {"b": ["x", 1], "c": [2]})),
        ("a b=[1, x]", Call("a", {"b": "[1, x]"})),
        ("a b=<% $.x + 1 %> c={{ 1 + 1 }}", Call("a", {"b": "<% $.x + 1 %>", "c": "{{ 1 + 1 }}"})),
        ("<% $.act %> b=1", Call("<% $.act %>", {"b": 1})),
        ("{{ _.act }}", Call("{{ _.act }}", {})),
        ("a b=bare c=http://h/<% $.id %>/x", Call("a", {"b": "bare", "c": "http://h/<% $.id %>/x"})),
        ("a b=1, c=2", Call("a", {"b": 1, "c": 2})),
        ("a\n  b=1\n  c=2", Call("a", {"b": 1, "c": 2})),
        ("a word b = 5 c=1", Call("a", {"c": 1}, ("word", "b", "=", "5"))),
        ("", Call("", {})),
    ],
)
def test_calls_are_split(text: str, call: Call) -> None:
    assert parse_call(text) == call
