"""What the standard actions take. What they do is the business of the server's `actions`."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """What a built-in action takes."""

    required: frozenset[str]
    #: None: any further parameter is welcome.
    optional: frozenset[str] | None
    #: The result comes from outside, through the API.
    asynchronous: bool = False


def _takes(*required: str, optional: tuple[str, ...] = (), asynchronous: bool = False) -> Signature:
    return Signature(frozenset(required), frozenset(optional), asynchronous)


_HTTP_OPTIONS = (
    "method", "params", "body", "json", "form", "headers", "cookies", "auth", "timeout", "allow_redirects", "proxies",
    "verify",
)  # fmt: skip

SIGNATURES: dict[str, Signature] = {
    "std.noop": _takes(),
    "std.async_noop": _takes(asynchronous=True),
    "std.echo": _takes("output", optional=("delay",)),
    "std.fail": _takes(optional=("error_data",)),
    "std.sleep": _takes(optional=("seconds",)),
    "std.test_dict": _takes(optional=("size", "key_prefix", "val")),
    "std.javascript": _takes("script", optional=("context",)),
    "std.js": _takes("script", optional=("context",)),
    "std.http": _takes("url", optional=_HTTP_OPTIONS),
}
