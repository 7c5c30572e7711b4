"""Why no server answers: what gRPC sums up as UNAVAILABLE, looked at with sockets of our own."""

from __future__ import annotations

import contextlib
import socket
import ssl

from tradewind.connection import Connection, Tls

_SECONDS = 2.0
#: OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH.
_OTHER_NAME = (62, 64)
_ASKS_FOR_OURS = (
    "The server at {} ends the connection when it has seen your certificate, or that there is none: "
    "--tls-certificate and --tls-key name one that it trusts."
)


def why(connection: Connection) -> str:
    """Return what is in the way of the first address at which something is, "" if nothing is seen to be."""
    found = (_what_is_wrong(address, connection.tls) for address in connection.addresses)
    return next(filter(None, found), "")


def _what_is_wrong(address: str, tls: Tls | None) -> str:
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return ""
    host = host.strip("[]")
    try:
        with socket.create_connection((host, int(port)), _SECONDS) as plain:
            return _about_tls(plain, host, address, tls)
    except socket.gaierror:
        return f"There is no host '{host}': check the address."
    except ConnectionRefusedError:
        return f"Nobody listens at {address}: check the address, and that the server runs."
    except TimeoutError:
        return f"Nothing answers at {address}: check the address, and what is in between, such as a firewall."
    except OSError as error:
        return f"{address} cannot be reached: {error.strerror or error}."


def _about_tls(plain: socket.socket, host: str, address: str, tls: Tls | None) -> str:
    if tls is None:
        asks = f"The server at {address} asks for TLS: say --tls-ca FILE, or --tls-ca system."
        return asks if _speaks_tls(plain) else ""
    try:
        context = tls.context()
        context.set_alpn_protocols(["h2"])
        with context.wrap_socket(plain, server_hostname=host) as secure:
            return "" if _goes_on(secure) else _ASKS_FOR_OURS.format(address)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _OTHER_NAME:
            return f"{error.verify_message} Call the server by a name that its certificate has."
        return (
            f"The certificate of {address} is not trusted: {error.verify_message}. "
            "--tls-ca names the PEM file of the authority that has issued it."
        )
    except ssl.SSLError as error:
        return f"The server at {address} does not seem to speak TLS ({error.reason}): leave the options --tls-… out."
    except (OSError, ValueError):
        return ""


def _goes_on(secure: ssl.SSLSocket) -> bool:
    """Tell whether a server that has greeted goes on with HTTP/2: it looks at the client's certificate after that."""
    try:
        return secure.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def _speaks_tls(plain: socket.socket) -> bool:
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(OSError), anybody.wrap_socket(plain):
        return True
    return False
