"""Which addresses count as public, however they are written."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tradewind_server.actions.egress import Address, AddressRefused, EgressPolicy, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "224.0.0.1", "239.1.1.1", "0.0.0.0",
        "255.255.255.255", "100.64.0.1", "240.0.0.1", "::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "::127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "2001:0:7f00:1:0:0:80ff:fffe", "fec0::1",
    ],
)  # fmt: skip
def test_egress_refuses_what_is_not_public(address: str) -> None:
    """Private, loopback, link-local, multicast, unspecified, and IPv6 forms that hide them."""
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
)
def test_egress_lets_public_addresses_through(address: str) -> None:
    """The same rule in the other direction."""
    assert is_public(ipaddress.ip_address(address))


def test_egress_setting_allows_everything() -> None:
    """allow_private_addresses is for tests and closed networks."""
    assert EgressPolicy(True).allows(ipaddress.ip_address("127.0.0.1"))
    assert not EgressPolicy(False).allows(ipaddress.ip_address("127.0.0.1"))


class _SecondIsPublic(EgressPolicy):
    """Takes 127.0.0.2 for a public address, so that a test has one that answers."""

    def allows(self, address: Address) -> bool:
        return address == ipaddress.ip_address("127.0.0.2") or super().allows(address)


@pytest.fixture
def resolving(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let names resolve to what the test says, each time to the next answer; give the names asked for."""

    def install(*answers: list[str]) -> list[str]:
        asked: list[str] = []

        async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            if _is_address(host):
                # the event loop asks what an address that it connects to stands for
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
            asked.append(host)
            found = answers[min(len(asked), len(answers)) - 1]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        return asked

    return install


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@pytest.fixture
def port() -> Any:
    """Give a port of all loopback addresses at which connections are taken."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        yield listener.getsockname()[1]


async def test_connect_uses_the_address_that_was_judged(resolving: Callable[..., list[str]], port: int) -> None:
    """The name is resolved once; a later answer has no say."""
    asked = resolving(["127.0.0.2"], ["127.0.0.1"])

    made = await _SecondIsPublic(False).connect("rebinding.example", port)

    assert (made.getpeername()[0], asked) == ("127.0.0.2", ["rebinding.example"])
    made.close()


@pytest.mark.parametrize("answers", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]])
async def test_connect_passes_over_refused_addresses(
    resolving: Callable[..., list[str]], port: int, answers: list[str]
) -> None:
    """One public address is enough, and only that is used."""
    resolving(answers)

    made = await _SecondIsPublic(False).connect("both.example", port)

    assert made.getpeername()[0] == "127.0.0.2"
    made.close()


async def test_connect_tries_the_next_address(resolving: Callable[..., list[str]]) -> None:
    """Of several that are allowed, as long as one answers."""
    resolving(["127.0.0.1", "127.0.0.2"])
    with socket.create_server(("127.0.0.2", 0)) as listener:
        made = await EgressPolicy(True).connect("both.example", listener.getsockname()[1])
        assert made.getpeername()[0] == "127.0.0.2"
        made.close()


async def test_connect_refuses_when_all_addresses_are_private(resolving: Callable[..., list[str]], port: int) -> None:
    """And when the name has none at all."""
    resolving(["127.0.0.1", "10.0.0.1"], [])

    for _ in range(2):
        with pytest.raises(AddressRefused):
            await EgressPolicy(False).connect("inner.example", port)


async def test_connect_that_is_given_up_leaves_no_socket(
    resolving: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timeout while it connects."""
    resolving(["127.0.0.2"])
    made: list[socket.socket] = []

    async def never(connecting: socket.socket, _: Any) -> None:
        made.append(connecting)
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", never)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await EgressPolicy(True).connect("slow.example", 1)

    assert [connecting.fileno() for connecting in made] == [-1]
