"""Actions that say who is asked, as they are read."""

from __future__ import annotations

import pytest

from tradewind_server.lang import Source, check


@pytest.mark.parametrize(
    ("human", "expected"),
    [
        ("{title: T, users: {action: shop.boss}}", []),
        ("{title: T, groups: {action: shop.boss, input: {who: <% $.who %>}}}", []),
        ("{title: T, users: {input: {who: 1}}}", ["missing-keyword"]),
        ("{title: T, users: {action: shop.boss, name: x}}", ["unknown-keyword"]),
        ("{title: T, users: {action: [shop.boss]}}", ["wrong-type"]),
        ("{title: T, users: {action: shop.boss, input: x}}", ["wrong-type"]),
        ("{title: T, users: {action: std.ech}}", ["unknown-action"]),
        ("{title: T, users: {action: std.echo, input: {output: a, loud: true}}}", ["wrong-parameters"]),
        ("{title: T, users: {action: shop.boss, input: {who: <% $.nobody %>}}}", ["unknown-variable"]),
        ("{title: T, users: a, fallback: {users: {action: shop.boss}}}", ["wrong-type"]),
    ],
)
def test_a_resolver_is_checked_as_a_call_is(human: str, expected: list[str]) -> None:
    """Its name, its input, and the variables in it."""
    text = f"version: '2.0'\nw: {{input: [who], tasks: {{t: {{human: {human}}}}}}}"
    assert [problem.code for problem in check([Source("file.yaml", text)]).problems] == expected
