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
    #: Asynchronous, but a worker has to begin it: it is handed out like any other, and then waits.
    posted: bool = False


def _takes(
    *required: str, optional: tuple[str, ...] = (), asynchronous: bool = False, posted: bool = False
) -> Signature:
    return Signature(frozenset(required), frozenset(optional), asynchronous, posted)


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
    "std.mistral_http": _takes("url", optional=_HTTP_OPTIONS, asynchronous=True, posted=True),
    "std.email": _takes("from_addr", "to_addrs", "smtp_server", optional=_EMAIL_OPTIONS),
    "std.ssh": _takes("cmd", "host", "username", optional=_SSH_OPTIONS),
    "std.ssh_proxied": _takes("cmd", "host", "username", "gateway_host", optional=(*_SSH_OPTIONS, *_GATEWAY_OPTIONS)),
}
