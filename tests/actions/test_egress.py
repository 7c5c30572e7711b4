"""Which addresses count as public, however they are written."""

from __future__ import annotations

import ipaddress

import pytest

from tradewind_server.actions.egress import EgressPolicy, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "224.0.0.1", "239.1.1.1", "0.0.0.0",
        "255.255.255.255", "100.64.0.1", "240.0.0.1", "::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "::127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "2001:0:7f00:1:0:0:80ff:fffe",
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
