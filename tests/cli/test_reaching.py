"""What a command says when no server answers: what is in the way, not only that something is."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
import ssl
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.cli.command_line import tradewind
from tradewind import Connection, Tls
from tradewind_server.bootstrap import Server
from tradewind_server.cli import reaching
from tradewind_server.cli.output import Output
from tradewind_server.cli.session import Session
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


@pytest.mark.parametrize("versions", ["TLSv1_2", "TLSv1_3"])
def test_who_speaks_tls_is_not_said_to_speak_none(tmp_path: Path, versions: str) -> None:
    """Who follows that sends his token in plain text. This one asks for a certificate of the client."""
    ours = Authority(tmp_path, "ours")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ours.issue("server"))
    context.load_verify_locations(ours.path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = ssl.TLSVersion[versions]

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            with contextlib.suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as secure:
                secure.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve, listener)
        address = f"localhost:{listener.getsockname()[1]}"
        with_tls = reaching.why(Connection.of(address, tls=Tls(ca=ours.path)))
        without = reaching.why(Connection.of(address))
        served.result(10)
    assert with_tls
    assert "does not seem to speak TLS" not in with_tls
    assert without == f"The server at {address} asks for TLS: say --tls-ca FILE, or --tls-ca system."


def test_who_hangs_up_at_once_is_not_said_to_speak_no_tls(tmp_path: Path) -> None:
    """As a balancer does with nobody behind it."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        served = pool.submit(lambda: listener.accept()[0].close())
        tls = Tls(ca=Authority(tmp_path, "ours").path)
        assert reaching.why(Connection.of(f"localhost:{listener.getsockname()[1]}", tls=tls)) == ""
        served.result(10)


async def test_certificate_that_is_named_itself_is_trusted(place: Place) -> None:
    """As gRPC does; whoever has issued it."""
    server = place.ours.parent / "server.crt"
    assert await hint(place.mutual, "--tls-ca", server) == (
        f"The server at {place.mutual} ends the connection when it has seen your certificate, or that there is none: "
        "--tls-certificate and --tls-key name one that it trusts."
    )


@pytest.mark.parametrize("address", ["a..b:1", "a" * 64 + ":1"])
def test_name_that_no_host_can_have(address: str) -> None:
    """It was a traceback."""
    assert reaching.why(Connection.of(address)) == f"There is no host '{address[:-2]}': check the address."


async def test_hint_is_there_for_scripts_too() -> None:
    """In JSON."""
    done = await asyncio.to_thread(tradewind, "health", "--json", "--address", f"127.0.0.1:{free_port()}")
    assert json.loads(done.stdout)["error"]["hint"].startswith("Nobody listens at 127.0.0.1:")


def test_file_of_tls_that_is_gone_meanwhile_leaves_the_general_hint(tmp_path: Path) -> None:
    """It was a traceback."""
    session = Session(Output(as_json=False), tls_ca=str(tmp_path / "gone.pem"))
    assert session.what_is_in_the_way() == ""


async def test_nobody_listens() -> None:
    """At the address as it is, completed by the port that servers have if nobody says otherwise."""
    port = free_port()
    assert await hint(f"127.0.0.1:{port}") == (
        f"Nobody listens at 127.0.0.1:{port}: check the address, and that the server runs."
    )


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (socket.gaierror(-2, "Name or service not known"), "There is no host 'there': check the address."),
        (TimeoutError(), "Nothing answers at there:1: check the address, and what is in between, such as a firewall."),
        (OSError(113, "No route to host"), "there:1 cannot be reached: No route to host."),
    ],
)
def test_what_the_network_says(monkeypatch: pytest.MonkeyPatch, problem: OSError, said: str) -> None:
    """Of names that nobody knows, and of hosts that are not there; made up, as a test asks no name server."""

    def fail(address: tuple[str, int], timeout: float) -> socket.socket:
        assert (address, 0 < timeout <= 2) == (("there", 1), True)
        raise problem

    monkeypatch.setattr(socket, "create_connection", fail)
    assert reaching.why(Connection.of("there:1")) == said


async def test_nothing_is_seen_to_be_wrong(place: Place) -> None:
    """Then the hint is the general one: the server is there again meanwhile, or the address is one for gRPC alone."""
    healthy = Connection.of(place.plain)
    assert await asyncio.to_thread(reaching.why, healthy) == ""
    for address in ("unix:/no/such/socket:1", "ipv4:127.0.0.1:1", "dns:///localhost:1"):
        assert reaching.why(Connection.of(address)) == ""
    port = free_port()
    both = Connection.of([place.plain, f"127.0.0.1:{port}"])
    assert (await asyncio.to_thread(reaching.why, both)).startswith(f"Nobody listens at 127.0.0.1:{port}")
