"""Every built-in action: its name, what it takes, and the function that does it."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping

from tradewind_server.actions import simple
from tradewind_server.actions.javascript import javascript
from tradewind_server.actions.outcome import Caller
from tradewind_server.engine.library import Signature


@dataclasses.dataclass(frozen=True, slots=True)
class BuiltIn:
    """One built-in action."""

    signature: Signature
    #: None: nobody in the server does it; its result comes from outside.
    run: Callable[[Mapping[str, object]], object] | None
    #: Asynchronous: what begins it; its result comes from outside.
    post: Callable[[Mapping[str, object], Caller], Awaitable[None]] | None = None


def _takes(
    *required: str, optional: tuple[str, ...] = (), asynchronous: bool = False, posted: bool = False
) -> Signature:
    return Signature(frozenset(required), frozenset(optional), asynchronous, posted)


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
_HTTP_OPTIONS = (
    "method", "params", "body", "json", "form", "headers", "cookies", "auth", "timeout", "allow_redirects", "proxies",
    "verify", "cert",
)  # fmt: skip
_EMAIL_OPTIONS = (
    "reply_to", "cc_addrs", "bcc_addrs", "smtp_username", "smtp_password", "subject", "body", "html_body",
    "attachments", "tls", "verify", "cert", "timeout",
)  # fmt: skip
_SSH_OPTIONS = ("port", "password", "private_key", "private_key_filename", "return_result_on_error", "timeout")
_GATEWAY_OPTIONS = ("gateway_port", "gateway_username", "proxy_command")

#: Those that talk to the world; `outside.py` does them.
OUTSIDE: dict[str, Signature] = {
    "std.http": _takes("url", optional=_HTTP_OPTIONS),
    "std.mistral_http": _takes("url", optional=_HTTP_OPTIONS, asynchronous=True, posted=True),
    "std.email": _takes("from_addr", "to_addrs", "smtp_server", optional=_EMAIL_OPTIONS),
    "std.ssh": _takes("cmd", "host", "username", optional=_SSH_OPTIONS),
    "std.ssh_proxied": _takes("cmd", "host", "username", "gateway_host", optional=(*_SSH_OPTIONS, *_GATEWAY_OPTIONS)),
}


def all_actions(
    runs: Mapping[str, Callable[[Mapping[str, object]], object]],
    posts: Mapping[str, Callable[[Mapping[str, object], Caller], Awaitable[None]]],
) -> dict[str, BuiltIn]:
    """Return every built-in action; *runs* and *posts* do those that talk to the world."""
    return SIMPLE | {name: BuiltIn(signature, runs.get(name), posts.get(name)) for name, signature in OUTSIDE.items()}


def signatures() -> dict[str, Signature]:
    """Return what each built-in action takes."""
    return {name: action.signature for name, action in SIMPLE.items()} | OUTSIDE
