"""Who calls: by a token, by the word of a configured proxy, or, where neither is asked for, by his own word.

A proxy that has signed people in (an identity provider's, say) tells who they are in metadata:

    x-tradewind-user: alice            percent-encoded where it is not ASCII, as the others are
    x-tradewind-groups: heads,hr
    x-tradewind-namespaces: default    "*" for all
    x-tradewind-rights:                see `RIGHTS`
    x-tradewind-at: 1795495400         seconds since 1970
    x-tradewind-calls: decide          may be left out: what the person may call, see `api/calls.py`
    x-tradewind-signature: 5f0c…       HMAC-SHA256 in hexadecimal digits, with the secret that both know, of the
                                       values above that were sent, in this order, joined by newlines
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

from tradewind_server.api.calls import CALLS, words_for
from tradewind_server.clock import Clock
from tradewind_server.errors import CallDenied, NamespaceDenied, Unauthenticated

EVERY_NAMESPACE = "*"
_NAMESPACE = re.compile(r"[\w.-]{1,255}")
#: What a namespace may be called: a proxy parts several by commas, and "hr" is not to be taken for "hr ".
NAMESPACE_RULE = "1 to 255 letters, digits, '_', '-' and '.'"
#: May give human tasks to others and take them back.
MANAGE = "manage-human-tasks"
#: May try channels, and have messages sent again.
NOTIFY = "manage-notifications"
#: Sees the values of sensitive names.
SEE_SENSITIVE = "see-sensitive-values"
RIGHTS = frozenset({MANAGE, NOTIFY, SEE_SENSITIVE})
#: A signature is taken for so long, and so far ahead: clocks differ.
_SIGNATURE_SECONDS = 60
_SIGNED = ("user", "groups", "namespaces", "rights", "at")
_CALLS = "x-tradewind-calls"
_MOST_NAME = 255


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """Who calls, and what he may touch."""

    #: "" for nobody known.
    name: str
    namespaces: frozenset[str]
    groups: frozenset[str] = frozenset()
    #: Of `RIGHTS`.
    rights: frozenset[str] = frozenset()
    #: Of `CALLS`.
    calls: frozenset[str] = CALLS

    def check(self, namespace: str) -> None:
        """Let only those through that may use *namespace*.

        Raises:
            NamespaceDenied: this one may not.
        """
        if namespace not in self.namespaces and EVERY_NAMESPACE not in self.namespaces:
            raise NamespaceDenied(caller=self.name, namespace=namespace, field="namespace")

    def has_all_of(self, other: Identity) -> bool:
        """Tell whether this one may do all that *other* may."""
        is_everywhere = EVERY_NAMESPACE in self.namespaces or self.namespaces >= other.namespaces
        return (
            is_everywhere and self.groups >= other.groups and self.rights >= other.rights and self.calls >= other.calls
        )

    def check_call(self, path: str) -> None:
        """Let only those through that may call the method *path*.

        Raises:
            CallDenied: this one may not.
        """
        words = words_for(path)
        if self.calls.isdisjoint(words):
            raise CallDenied(
                caller=self.name,
                method=path.rpartition("/")[2],
                calls=_told(self.calls),
                wanted=" or ".join(sorted(words)),
            )


def _told(calls: frozenset[str]) -> str:
    return ", ".join(sorted(calls)) or "nothing"


def is_namespace(name: str) -> bool:
    """Tell whether a namespace may be called so."""
    return _NAMESPACE.fullmatch(name) is not None


class Proxy:
    """The proxy that shares a secret with this server."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._secret = secret
        self._clock = clock

    def identity(self, metadata: Mapping[str, Any]) -> Identity:
        """Return whom the proxy names.

        Raises:
            Unauthenticated: the signature is wrong or old.
        """
        values = [str(metadata.get(f"x-tradewind-{name}", "")) for name in _SIGNED]
        given_calls = metadata.get(_CALLS)
        # what nobody sent is not signed: proxies need not know of it
        signed = values if given_calls is None else [*values, str(given_calls)]
        signature = hmac.new(self._secret, "\n".join(signed).encode(), hashlib.sha256).hexdigest()
        given = str(metadata["x-tradewind-signature"])
        if not hmac.compare_digest(given.encode(), signature.encode()):
            raise Unauthenticated(problem="the signature of the proxy is wrong")
        at = values[-1]
        if not at.isdecimal() or abs(self._clock.now().timestamp() - int(at)) > _SIGNATURE_SECONDS:
            raise Unauthenticated(problem=f"the signature of the proxy is not of these {_SIGNATURE_SECONDS} seconds")
        name, groups, namespaces, rights = (_decoded(value) for value in values[:-1])
        calls = CALLS if given_calls is None else _names(_decoded(str(given_calls))) & CALLS
        return Identity(_name(name), _names(namespaces), _names(groups), _names(rights) & RIGHTS, calls)


class Access:
    """Finds out who calls."""

    def __init__(
        self, tokens: Callable[[Mapping[str, Any]], Identity] | None, proxy: Proxy | None, clock: Clock
    ) -> None:
        self.clock = clock
        self._tokens = tokens
        self._proxy = proxy

    def identity(self, metadata: Mapping[str, Any]) -> Identity:
        """Return who calls.

        Raises:
            Unauthenticated: the server asks for more than the caller gives.
        """
        if self._proxy is not None and "x-tradewind-signature" in metadata:
            return self._proxy.identity(metadata)
        if self._tokens is not None:
            return self._tokens(metadata)
        if self._proxy is not None:
            raise Unauthenticated(problem="there is none, nor a signature of the proxy")
        return _stated(metadata)

    def check_still(self, metadata: Mapping[str, Any], before: Identity) -> None:
        """Let those go on whose token is what it was when their call began. What a proxy said stays said.

        Raises:
            Unauthenticated: it was withdrawn, or may do less.
        """
        is_of_proxy = self._proxy is not None and "x-tradewind-signature" in metadata
        if self._tokens is not None and not is_of_proxy and not self._tokens(metadata).has_all_of(before):
            raise Unauthenticated(problem="it may do less than when this call began")


def _stated(metadata: Mapping[str, Any]) -> Identity:
    """Return who the caller says he is: this server lets everybody do everything."""
    user = metadata.get("x-tradewind-user")
    if user is None:
        return _ANYBODY
    groups = _names(_decoded(str(metadata.get("x-tradewind-groups", ""))))
    return Identity(_name(_decoded(str(user))), frozenset({EVERY_NAMESPACE}), groups, RIGHTS)


_ANYBODY = Identity("", frozenset({EVERY_NAMESPACE}), frozenset(), RIGHTS)


def _decoded(value: str) -> str:
    return urllib.parse.unquote(value)


def _names(value: str) -> frozenset[str]:
    return frozenset(name.strip() for name in value.split(",") if name.strip())


def _name(value: str) -> str:
    if len(value) > _MOST_NAME or not value.isprintable():
        raise Unauthenticated(problem=f"the user's name has more than {_MOST_NAME} characters, or unprintable ones")
    return value.strip()
