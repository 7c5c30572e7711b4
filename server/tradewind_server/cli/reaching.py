"""Why no server answers: what gRPC sums up as UNAVAILABLE, looked at with sockets of our own."""

from __future__ import annotations

import socket
import ssl
import time

from tradewind.connection import Connection, Tls, host_and_port

#: For all addresses, but for the time that looking names up takes.
_SECONDS = 2.0
#: How OpenSSL says that what came is no TLS.
_NO_TLS = ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
#: OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH.
_OTHER_NAME = (62, 64)
_ASKS_FOR_OURS = (
    "The server at {} ends the connection when it has seen your certificate, or that there is none: "
    "--tls-certificate and --tls-key name one that it trusts."
)


def why(connection: Connection) -> str:
    """Return what is in the way of the first address at which something is, "" if nothing is seen to be."""
    end = time.monotonic() + _SECONDS
    for address in connection.addresses:
        left = end - time.monotonic()
        parts = host_and_port(address)
        found = _what_is_wrong(parts, left, address, connection.tls) if parts is not None and left > 0 else ""
        if found:
            return found
    return ""


def _what_is_wrong(parts: tuple[str, int], seconds: float, address: str, tls: Tls | None) -> str:
    try:
        with socket.create_connection(parts, seconds) as plain:
            return _about_tls(plain, parts[0], address, tls)
    except (socket.gaierror, UnicodeError):
        return f"There is no host '{parts[0]}': check the address."
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
        if error.reason in _NO_TLS:
            return (
                f"The server at {address} does not seem to speak TLS ({error.reason}): leave the options --tls-… out."
            )
        return f"The server at {address} refuses this TLS ({error.reason})." if _is_alert(error) else ""
    except (OSError, ValueError):
        return ""


def _is_alert(error: ssl.SSLError) -> bool:
    """Tell whether it is a word of the other side in TLS."""
    return "ALERT" in (error.reason or "")


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
    try:
        with anybody.wrap_socket(plain):
            return True
    except ssl.SSLError as error:
        return _is_alert(error)
    except OSError:
        return False
