"""Where std.http, std.email and std.ssh may connect to.

The rule is asked when the socket for one address is made, which is the address that is then connected to: neither a
name that resolves differently the second time, nor a redirect, nor an address written as a number gets past it. A check
of the URL before the request was refused: it looks at another answer of the resolver than the connection does.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING

from tradewind_server.actions.outcome import ActionError
from tradewind_server.on_demand import OnDemand

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver
    from aiohttp.connector import AddrInfoType
else:
    aiohttp = OnDemand("aiohttp")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Well-known prefix of NAT64; source: RFC 6052.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRefused(OSError):
    """The policy does not allow the address. The text does not name it: a workflow must not map the inner network."""

    def __init__(self) -> None:
        super().__init__("the address is not a public one; see the setting allow_private_addresses")


class EgressPolicy:
    """Which addresses may be connected to."""

    def __init__(self, allow_private_addresses: bool) -> None:
        self._allow_private = allow_private_addresses

    def allows(self, address: Address) -> bool:
        """Tell whether *address* may be connected to: every public one, or any at all if the setting says so."""
        return self._allow_private or is_public(address)

    def session(self, resolver: AbstractResolver | None = None) -> aiohttp.ClientSession:
        """Return a pool of connections to nothing else. It keeps no cookies: those of one are no other's business."""
        connector = aiohttp.TCPConnector(resolver=resolver, socket_factory=self._socket)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def connect(self, host: str, port: int) -> socket.socket:
        """Return a socket connected to *host*: its name is resolved once, and each address judged as it is used.

        Raises:
            AddressRefused: no address of the host may be connected to.
            OSError: it has none, or nobody answers there.
        """
        loop = asyncio.get_running_loop()
        problem: OSError = AddressRefused()
        for info in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                made = self._socket(info)
            except AddressRefused:
                continue
            made.setblocking(False)
            try:
                await loop.sock_connect(made, info[4])
            except OSError as error:
                problem = error
                made.close()
            except BaseException:
                made.close()
                raise
            else:
                return made
        raise problem

    def _socket(self, info: AddrInfoType) -> socket.socket:
        family, type_, protocol, _, where = info
        if not self.allows(ipaddress.ip_address(where[0])):
            raise AddressRefused
        return socket.socket(family=family, type=type_, proto=protocol)


def connection_failure(problem: Exception, where: str) -> ActionError:
    """Return the failure of an action that cannot connect, or whose connection broke."""
    if isinstance(problem, AddressRefused):
        return ActionError(f"Refused to connect: {problem}.", code="ADDRESS_REFUSED", retryable=False)
    if isinstance(problem, ssl.SSLError):
        reason = problem.reason or "it ended"
        return ActionError(f"TLS with {where} failed: {reason}.", code="TLS", retryable=False)
    return ActionError(f"The connection to {where} failed: {problem or type(problem).__name__}", code="CONNECTION")


def is_public(address: Address) -> bool:
    """Tell whether *address* is of the public internet: not private, loopback, link-local, multicast or unspecified.

    An IPv6 address that stands for an IPv4 address is judged by that one.
    """
    inner = _embedded(address)
    if inner is not None:
        return is_public(inner)
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return False  # fec0::/10, which Python calls global; deprecated, but still given to hosts
    return address.is_global and not address.is_multicast and not address.is_reserved


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or int(address) >> 32 == 0:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour
