"""Every built-in action: its name, what it takes, and the function that does it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from tradewind_server.actions import simple
from tradewind_server.actions.http import HttpAction
from tradewind_server.actions.javascript import javascript
from tradewind_server.engine.library import Signature


@dataclasses.dataclass(frozen=True, slots=True)
class BuiltIn:
    """One built-in action."""

    signature: Signature
    #: None: nobody in the server does it; its result comes from outside.
    run: Callable[[Mapping[str, object]], object] | None


def _takes(*required: str, optional: tuple[str, ...] = (), asynchronous: bool = False) -> Signature:
    return Signature(frozenset(required), frozenset(optional), asynchronous)


SIMPLE: dict[str, BuiltIn] = {
    "std.noop": BuiltIn(_takes(), simple.noop),
    "std.async_noop": BuiltIn(_takes(asynchronous=True), None),
    "std.echo": BuiltIn(_takes("output", optional=("delay",)), simple.echo),
    "std.fail": BuiltIn(_takes(optional=("error_data",)), simple.fail),
    "std.sleep": BuiltIn(_takes(optional=("seconds",)), simple.sleep),
    "std.test_dict": BuiltIn(_takes(optional=("size", "key_prefix", "val")), simple.test_dict),
    "std.javascript": BuiltIn(_takes("script", optional=("context",)), javascript),
    "std.js": BuiltIn(_takes("script", optional=("context",)), javascript),
}
HTTP_OPTIONS = (
    "method", "params", "body", "json", "form", "headers", "cookies", "auth", "timeout", "allow_redirects", "proxies",
    "verify",
)  # fmt: skip


def all_actions(http: HttpAction) -> dict[str, BuiltIn]:
    """Return every built-in action; those that talk to the web do it through *http*."""
    return {**SIMPLE, "std.http": BuiltIn(_takes("url", optional=HTTP_OPTIONS), http.run)}


def signatures() -> dict[str, Signature]:
    """Return what each built-in action takes."""
    found = {name: action.signature for name, action in SIMPLE.items()}
    found["std.http"] = _takes("url", optional=HTTP_OPTIONS)
    return found
