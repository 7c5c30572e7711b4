"""std.javascript: what a script can do, and what it cannot."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tradewind_server.actions import javascript as module
from tradewind_server.actions.javascript import javascript
from tradewind_server.actions.outcome import ActionError


async def failure(script: object) -> ActionError:
    """Return what a script fails with."""
    with pytest.raises(ActionError) as caught:
        await javascript({"script": script})
    return caught.value


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("return $.a.map(x => x * 2)", [2, 3]),
        ("return {text: `${$.t}!`}", {"text": "grüß!"}),
        ("var f = 1; // a comment", None),
        ("return null", None),
    ],
)
async def test_script_returns_a_value(script: str, expected: object) -> None:
    """The body of a function of the context."""
    assert await javascript({"script": script, "context": {"a": [1, Decimal("1.5")], "t": "grüß"}}) == expected


@pytest.mark.parametrize("name", ["require", "process", "fetch", "XMLHttpRequest", "std", "os", "setTimeout", "print"])
async def test_script_has_no_way_out(name: str) -> None:
    """Neither files, nor the network, nor the process, nor a clock to wait for."""
    assert await javascript({"script": f"return typeof {name}"}) == "undefined"


async def test_script_leaves_nothing_to_the_next() -> None:
    """Each has an engine of its own."""
    await javascript({"script": "globalThis.left = 1; Array.prototype.x = 1"})

    assert await javascript({"script": "return [typeof left, typeof [].x]"}) == ["undefined", "undefined"]


@pytest.mark.parametrize("script", [None, 1, "return 'a\0b'"])
async def test_script_that_is_no_text_is_refused(script: object) -> None:
    """A NUL was a fault of the server, whose log says why."""
    with pytest.raises(ActionError, match="script must be a text without NUL"):
        await javascript({"script": script})


@pytest.mark.parametrize(
    "script",
    [
        "throw new Error('no')",
        "return 1 +",
        "return (function f() { return f(); })()",
        "return 'x'.repeat(2 ** 29)",
        "const a = []; for (;;) a.push(new Array(10000).fill(7))",
        "return (function() { const a = {}; a.a = a; return a; })()",
    ],
)
async def test_script_that_goes_wrong_fails(script: str) -> None:
    """Errors, endless recursion, too much memory, and what is no JSON."""
    assert (await failure(script)).code == "SCRIPT"


async def test_script_that_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own limit of time."""
    monkeypatch.setattr(module, "MAX_SECONDS", 0.05)

    assert (await failure("for (;;) {}")).code == "SCRIPT"


async def test_script_must_be_a_text() -> None:
    """Another attempt would fail alike."""
    error = await failure(5)

    assert (error.code, error.retryable) == ("BAD_INPUT", False)
