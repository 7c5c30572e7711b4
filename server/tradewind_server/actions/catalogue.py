"""Every built-in action: its name, what it takes, and the function that does it."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping

from tradewind_server.actions import simple
from tradewind_server.actions.javascript import javascript
from tradewind_server.actions.outcome import Caller
from tradewind_server.lang.standard_actions import SIGNATURES, Signature


@dataclasses.dataclass(frozen=True, slots=True)
class BuiltIn:
    """One built-in action."""

    signature: Signature
    #: None: nobody in the server does it; its result comes from outside.
    run: Callable[[Mapping[str, object]], object] | None
    #: Asynchronous: what begins it; its result comes from outside.
    post: Callable[[Mapping[str, object], Caller], Awaitable[None]] | None = None


def _built_in(name: str, run: Callable[[Mapping[str, object]], object] | None) -> BuiltIn:
    return BuiltIn(SIGNATURES[name], run)


SIMPLE: dict[str, BuiltIn] = {
    "std.noop": _built_in("std.noop", simple.noop),
    "std.async_noop": _built_in("std.async_noop", None),
    "std.echo": _built_in("std.echo", simple.echo),
    "std.fail": _built_in("std.fail", simple.fail),
    "std.sleep": _built_in("std.sleep", simple.sleep),
    "std.test_dict": _built_in("std.test_dict", simple.test_dict),
    "std.javascript": _built_in("std.javascript", javascript),
    "std.js": _built_in("std.js", javascript),
}


def all_actions(
    runs: Mapping[str, Callable[[Mapping[str, object]], object]],
    posts: Mapping[str, Callable[[Mapping[str, object], Caller], Awaitable[None]]],
) -> dict[str, BuiltIn]:
    """Return every built-in action; *runs* and *posts* do those that talk to the world (`outside.py`)."""
    outside = {name: signature for name, signature in SIGNATURES.items() if name not in SIMPLE}
    return SIMPLE | {name: BuiltIn(signature, runs.get(name), posts.get(name)) for name, signature in outside.items()}


def signatures() -> dict[str, Signature]:
    """Return what each built-in action takes."""
    return dict(SIGNATURES)
