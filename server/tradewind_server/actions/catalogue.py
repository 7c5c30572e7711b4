"""Every built-in action: its name, what it takes, and the function that does it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from tradewind_server.actions import simple
from tradewind_server.actions.http import HttpAction
from tradewind_server.actions.javascript import javascript
from tradewind_server.lang.standard_actions import SIGNATURES, Signature


@dataclasses.dataclass(frozen=True, slots=True)
class BuiltIn:
    """One built-in action."""

    signature: Signature
    #: None: nobody in the server does it; its result comes from outside.
    run: Callable[[Mapping[str, object]], object] | None


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


def all_actions(http: HttpAction) -> dict[str, BuiltIn]:
    """Return every built-in action; those that talk to the web do it through *http*."""
    return {**SIMPLE, "std.http": _built_in("std.http", http.run)}


def signatures() -> dict[str, Signature]:
    """Return what each built-in action takes."""
    return dict(SIGNATURES)
