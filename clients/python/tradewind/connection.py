"""How to reach the server: addresses, TLS, credentials. No channel is opened here."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import grpc

from tradewind.tracing import traceparent

#: Where a server listens if nobody says otherwise.
DEFAULT_ADDRESS = "127.0.0.1:7233"
_DEFAULT_PORT = DEFAULT_ADDRESS.rpartition(":")[2]
#: Kinds of targets that gRPC looks up itself; they are passed on as they are.
_GRPC_SCHEMES = ("dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds")


@dataclass(frozen=True)
class Tls:
    """Encrypt, and check the server's certificate.

    Attributes:
        ca: PEM file with the authorities to trust; None means those of the system.
        certificate: PEM file with the client's own certificate, if the server asks for one.
        key: PEM file with its key.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files.

        Raises:
            ValueError: one of them is not what it has to be. gRPC would say that no server answers.
            OSError: one cannot be read.
        """
        ca, key, certificate = (path.read_bytes() if path else None for path in (self.ca, self.key, self.certificate))
        if ca is not None and b"CERTIFICATE-----" not in ca:
            raise ValueError(f"Expected certificates of authorities as PEM in '{self.ca}', but there is none.")
        if (key is None) is not (certificate is None):
            raise ValueError("Expected the client's certificate and its key, but got only one of the two.")
        self._load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        return grpc.ssl_channel_credentials(ca, key, certificate)

    def context(self) -> ssl.SSLContext:
        """Return about the same for Python's own TLS: without files, it is Python's authorities that are trusted.

        Raises:
            ValueError: one of the files is not what it has to be.
            OSError: one cannot be read.
        """
        # as gRPC does, trust a certificate that is named, whoever has issued it, and one that says little of who that
        # is, which Python refuses from 3.13 on
        context = ssl.create_default_context(cafile=self.ca or os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self._load_pair(context)
        return context

    def _load_pair(self, context: ssl.SSLContext) -> None:
        if self.certificate is None or self.key is None:
            return
        try:
            # without a password it would ask whoever sits at the terminal for that of a locked key
            context.load_cert_chain(self.certificate, self.key, password="")
        except ssl.SSLError as error:
            raise ValueError(
                f"Expected certificates as PEM in '{self.certificate}' and the key of the first one in '{self.key}', "
                f"but they cannot be used: {error.reason or 'one is no PEM, or the key has a password'}."
            ) from None


@dataclass(frozen=True)
class Connection:
    """Everything that it takes to open a channel, sync or asyncio.

    Attributes:
        addresses: host and port of each server; calls go round them.
        tls: None for plain text.
        token: bearer token sent with each call; None for none.
        namespace: the tenant of all calls.
        patience: seconds for which a call that finds no server is repeated.
        user: who calls, told to a server that asks for no token; one that does knows it from the token.
        groups: of that user.
    """

    addresses: tuple[str, ...] = (DEFAULT_ADDRESS,)
    tls: Tls | None = None
    token: str | None = None
    namespace: str = "default"
    patience: float = 30.0
    user: str = ""
    groups: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        address: str | Sequence[str] = DEFAULT_ADDRESS,
        *,
        tls: Tls | bool | None = None,
        token: str | None = None,
        namespace: str = "default",
        patience: float = 30.0,
        user: str = "",
        groups: Sequence[str] = (),
    ) -> Connection:
        """Make one from what users write: addresses in a list or with commas, True for TLS as the system trusts it.

        Raises:
            ValueError: there is no address, or one that no server can have.
        """
        given = address.split(",") if isinstance(address, str) else address
        addresses = tuple(_completed(each.strip()) for each in given if each.strip())
        if not addresses:
            raise ValueError("Expected at least one address, but got none.")
        return cls(addresses, Tls() if tls is True else tls or None, token, namespace, patience, user, tuple(groups))

    @property
    def target(self) -> str:
        """The gRPC target; several addresses are looked up now, as gRPC takes numbers only in a list.

        Those that cannot be looked up are left out, if there are others.
        """
        if len(self.addresses) == 1:
            return self.addresses[0]
        numbers = [number for address in self.addresses for number in _look_up(address)]
        if not numbers:
            # gRPC says so when it looks
            return self.addresses[0]
        return ("ipv6:" if ":" in numbers[0].rsplit(":", 1)[0] else "ipv4:") + ",".join(numbers)

    @property
    def options(self) -> list[tuple[str, str | int]]:
        """The channel's options."""
        config: dict[str, list[dict[str, dict[str, str]]]] = {"loadBalancingConfig": [{"round_robin": {}}]}
        options: list[tuple[str, str | int]] = [
            # A dead connection is noticed within 40 s; the server allows a ping every 10 s.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.service_config", json.dumps(config)),
            # A server that is back is found within a second or so, and calls and streams wait for that connection
            # (`reconnecting.py`); an offer in hand for a server that was away lapses after 5 s.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
            # One attempt to connect, where nobody answers at all; gRPC's own 20 s would outlast most restarts.
            ("grpc.min_reconnect_backoff_ms", 5_000),
        ]
        if len(self.addresses) > 1:
            name = self.addresses[0].rsplit(":", 1)[0]
            options.append(("grpc.default_authority", name))
            if self.tls:
                options.append(("grpc.ssl_target_name_override", name))
        return options

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call."""
        token = (("authorization", f"Bearer {self.token}"),) if self.token else ()
        if trace := traceparent():
            token = (*token, ("traceparent", trace))
        if not self.user:
            return token
        groups = ",".join(self.groups)
        return (*token, ("x-tradewind-user", quote(self.user)), ("x-tradewind-groups", quote(groups, safe=",")))


def _completed(address: str) -> str:
    """Return *address* with a port; gRPC would take 443 for one without.

    Raises:
        ValueError: it is a URL, or has a port that no server can have.
    """
    if _is_for_grpc(address):
        return address
    if url := re.match(r"[\w.+-]+://", address):
        raise ValueError(f"Expected host:port, but got '{address}'. Leave out '{url[0]}' and what follows the port.")
    if _is_ipv6(address):
        return f"[{address}]:{_DEFAULT_PORT}"
    if ":" not in address or address.endswith("]"):
        return f"{address}:{_DEFAULT_PORT}"
    host, _, port = address.rpartition(":")
    # of one that is too large gRPC takes the lower 16 bits
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65_536:
        raise ValueError(f"Expected a port from 1 to 65535, but got {port[:20] or 'none'} in {address[:200]}.")
    if not host:
        raise ValueError(f"Expected host:port, but got no host in {address}.")
    return address


def _is_for_grpc(address: str) -> bool:
    return address.partition(":")[0] in _GRPC_SCHEMES


def host_and_port(address: str) -> tuple[str, int] | None:
    """Return the parts of an address of a connection; None for one that gRPC looks up itself."""
    if _is_for_grpc(address):
        return None
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _look_up(address: str) -> list[str]:
    parts = host_and_port(address)
    if parts is None:
        return []
    host, port = parts
    try:
        ipaddress.ip_address(host)
    except ValueError:
        try:
            found = socket.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return []
        return sorted({f"{entry[4][0]}:{port}" for entry in found})
    return [address]
