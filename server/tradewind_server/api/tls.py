"""The certificates of the server: its own, and those of the authorities whose clients it lets in.

Their files are looked at for each connection that comes, and read again when they have changed, so that a certificate
is renewed without a restart. Connections that are open stay. What cannot be used, such as a new certificate whose key
has not come yet, changes nothing.
"""

from __future__ import annotations

import dataclasses
import logging
import ssl
from typing import Any

import grpc

from tradewind_server.lang.stamps import stamp_of

log = logging.getLogger(__name__)


class UnusableTls(ValueError):
    """The files cannot be used; the text says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Read:
    """What stood in the files, as gRPC and as Python's library have it."""

    grpc: grpc.ServerCertificateConfiguration
    context: ssl.SSLContext


class Certificates:
    """The files of one server, all PEM: its chain, its key, and the authorities of clients, "" to ask for none.

    Raises:
        UnusableTls: they cannot be used.
    """

    def __init__(self, certificate: str, key: str, client_ca: str) -> None:
        self._files = (certificate, key, client_ca)
        self._stamps = self._look()
        self._read = _read(*self._files)

    def credentials(self) -> grpc.ServerCredentials:
        """Return what gRPC serves with."""
        used = self._read

        def renewed() -> Any:
            """Return what has changed; None, which gRPC's types do not have, if nothing has."""
            nonlocal used
            before, used = used, self._current()
            return None if used is before else used.grpc

        return grpc.dynamic_ssl_server_credentials(
            used.grpc, renewed, require_client_authentication=bool(self._files[2])
        )

    def context(self) -> ssl.SSLContext:
        """Return what everything else serves with."""

        def renew(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = self._current().context

        context = self._read.context
        # it is asked for each connection, whether a name is given or not
        context.sni_callback = renew
        return context

    def _current(self) -> _Read:
        stamps = self._look()
        if stamps != self._stamps:
            self._stamps = stamps
            try:
                self._read = _read(*self._files)
                log.info("certificates were read again")
            except UnusableTls as problem:
                log.error("the certificate before goes on until this is mended: %s", problem)
        return self._read

    def _look(self) -> list[tuple[int, ...]]:
        return [stamp_of(file) for file in self._files if file]


def _read(certificate: str, key: str, client_ca: str) -> _Read:
    try:
        with open(key, "rb") as key_file, open(certificate, "rb") as chain_file:
            pair = (key_file.read(), chain_file.read())
        authorities = None
        if client_ca:
            with open(client_ca, "rb") as file:
                authorities = file.read()
        context = _context(certificate, key, client_ca)
    except OSError as error:
        raise UnusableTls(f"Expected to read the files of TLS, but {error}.") from None
    return _Read(grpc.ssl_server_certificate_configuration([pair], authorities), context)


def _context(certificate: str, key: str, client_ca: str) -> ssl.SSLContext:
    """Make the context, which also sees whether the files belong together: gRPC would say that it cannot listen."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # without a password it would ask whoever sits at the terminal for that of a locked key, which gRPC cannot use
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        raise UnusableTls(
            f"Expected a chain of certificates in '{certificate}' and the key of the first one in '{key}', "
            f"both as PEM, but they cannot be used: {error.reason or error}."
        ) from None
    if client_ca:
        try:
            context.load_verify_locations(client_ca)
        except ssl.SSLError as error:
            problem = error.reason or error
            raise UnusableTls(
                f"Expected certificates of authorities as PEM in '{client_ca}', but they cannot be used: {problem}."
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context
