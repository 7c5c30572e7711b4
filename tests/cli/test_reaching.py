"""What a command says when no server answers: what is in the way, not only that something is."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.cli.command_line import tradewind
from tradewind import Connection
from tradewind_server.bootstrap import Server
from tradewind_server.cli import reaching
from tradewind_server.settings import Settings
from tradewind_server.testing.ports import free_port

pytestmark = pytest.mark.slow


@dataclasses.dataclass(frozen=True)
class Place:
    """Servers, and the files that clients of them have."""

    #: Without TLS, with it, and with it and a wish for certificates of clients.
    plain: str
    secure: str
    mutual: str
    ours: Path
    others: Path
    mine: tuple[Path, Path]
    strange: tuple[Path, Path]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """Give servers of each kind."""
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    certificate, key = ours.issue("server")
    without = Settings(listen="localhost:0", database="", shutdown_grace_seconds=0)
    with_tls = dataclasses.replace(without, tls_certificate=str(certificate), tls_key=str(key))
    kinds = (without, with_tls, dataclasses.replace(with_tls, tls_client_ca=str(ours.path)))
    plain, secure, mutual = servers = [await Server.start(settings) for settings in kinds]
    yield Place(
        plain.address, secure.address, mutual.address, ours.path, others.path, ours.issue("me"),
        others.issue("stranger"),
    )  # fmt: skip
    for server in servers:
        await server.stop()


async def hint(address: str, *options: str | Path) -> str:
    """Ask for the health of what is at *address*, and return the hint."""
    done = await asyncio.to_thread(tradewind, "health", "--address", address, *map(str, options))
    assert (done.returncode, done.stdout) == (3, b"")
    return done.stderr.decode().partition("hint ")[2].strip()


def own(pair: tuple[Path, Path]) -> tuple[str | Path, ...]:
    """Return the options for a certificate of one's own and its key."""
    return ("--tls-certificate", pair[0], "--tls-key", pair[1])


async def test_without_tls_at_a_server_that_has_it(place: Place) -> None:
    """It was "Socket closed"."""
    assert await hint(place.secure) == (
        f"The server at {place.secure} asks for TLS: say --tls-ca FILE, or --tls-ca system."
    )


async def test_tls_at_a_server_that_has_none(place: Place) -> None:
    """It was "Invalid certificate verification context"."""
    assert await hint(place.plain, "--tls-ca", place.ours) == (
        f"The server at {place.plain} does not seem to speak TLS (WRONG_VERSION_NUMBER): leave the options --tls-… out."
    )


@pytest.mark.parametrize("authority", ["others", "system"])
async def test_certificate_that_nobody_trusts(place: Place, authority: str) -> None:
    """Of another authority than the one named, and of one that the machine does not know."""
    said = await hint(place.secure, "--tls-ca", place.others if authority == "others" else authority)
    assert said.startswith(f"The certificate of {place.secure} is not trusted: ")
    assert said.endswith("--tls-ca names the PEM file of the authority that has issued it.")


async def test_certificate_of_another_name(place: Place) -> None:
    """The name is that of the address."""
    address = place.secure.replace("localhost", "127.0.0.1")
    assert await hint(address, "--tls-ca", place.ours) == (
        "IP address mismatch, certificate is not valid for '127.0.0.1'. "
        "Call the server by a name that its certificate has."
    )


async def test_server_that_asks_for_certificates_of_clients(place: Place) -> None:
    """None, and one of an authority that it does not trust."""
    expected = (
        f"The server at {place.mutual} ends the connection when it has seen your certificate, or that there is none: "
        "--tls-certificate and --tls-key name one that it trusts."
    )
    assert await hint(place.mutual, "--tls-ca", place.ours) == expected
    assert await hint(place.mutual, "--tls-ca", place.ours, *own(place.strange)) == expected
    done = await asyncio.to_thread(
        tradewind, "health", "--address", place.mutual, "--tls-ca", str(place.ours), *map(str, own(place.mine))
    )
    assert (done.returncode, done.stdout) == (0, b"SERVING\n")


async def test_nobody_listens() -> None:
    """At the address as it is, completed by the port that servers have if nobody says otherwise."""
    port = free_port()
    assert await hint(f"127.0.0.1:{port}") == (
        f"Nobody listens at 127.0.0.1:{port}: check the address, and that the server runs."
    )


async def test_host_that_does_not_exist() -> None:
    """The name is told."""
    assert await hint("no-such-host.invalid:7233") == "There is no host 'no-such-host.invalid': check the address."


async def test_nothing_is_seen_to_be_wrong(place: Place) -> None:
    """Then the hint is the general one: the server is there again meanwhile, or the address is one for gRPC alone."""
    healthy = Connection.of(place.plain)
    assert await asyncio.to_thread(reaching.why, healthy) == ""
    assert reaching.why(Connection.of("unix:/no/such/socket")) == ""
    port = free_port()
    both = Connection.of([place.plain, f"127.0.0.1:{port}"])
    assert (await asyncio.to_thread(reaching.why, both)).startswith(f"Nobody listens at 127.0.0.1:{port}")
