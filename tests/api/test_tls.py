"""The certificates of a server, which are renewed while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.api.harness import PATIENCE
from tests.certificates import Authority
from tradewind import Tls, aio, errors
from tradewind_server.bootstrap import Server, Unbindable
from tradewind_server.settings import Settings


@contextlib.asynccontextmanager
async def serving_tls(authority: Authority, *, asks_clients: bool = False) -> AsyncIterator[Server]:
    """Run a server, with metrics, whose certificate and key are those of "server" of *authority*."""
    certificate, key = authority.issue("server")
    settings = Settings(
        listen="localhost:0",
        database="",
        metrics_listen="localhost:0",
        tls_certificate=str(certificate),
        tls_key=str(key),
        tls_client_ca=str(authority.path) if asks_clients else "",
        shutdown_grace_seconds=0,
    )
    server = await Server.start(settings)
    try:
        yield server
    finally:
        await server.stop()


def shown(address: str, protocol: str) -> bytes:
    """Return the certificate that a server shows to whoever comes now."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname=host) as secret,
    ):
        found = secret.getpeercert(binary_form=True)
    assert found is not None
    return found


async def both_shown(server: Server) -> tuple[bytes, bytes]:
    """Return the certificates of the calls and of the metrics."""
    metrics = server.metrics.removeprefix("https://").removesuffix("/metrics")
    calls = await asyncio.to_thread(shown, server.address, "h2")
    return calls, await asyncio.to_thread(shown, metrics, "http/1.1")


def binary(certificate: Path) -> bytes:
    """Return what a peer is shown of a file."""
    return ssl.PEM_cert_to_DER_cert(certificate.read_text())


async def test_tls_serves_who_trusts_it_and_nobody_else(tmp_path: Path) -> None:
    """The client checks the certificate; plain text gets nothing."""
    authority = Authority(tmp_path, "authority")
    async with serving_tls(authority) as server:
        async with aio.connect(server.address, tls=Tls(authority.path), patience=PATIENCE) as client:
            assert (await client.server_info()).database == "sqlite"
        for tls in (Tls(Authority(tmp_path, "another").path), None):
            async with aio.connect(server.address, tls=tls, patience=0) as client:
                with pytest.raises(errors.Unavailable):
                    await client.server_info()


async def test_files_of_tls_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    """With what is wrong with which of them, instead of that it cannot be listened."""
    authority = Authority(tmp_path, "authority")
    certificate, key = map(str, authority.issue("server"))
    _, other_key = map(str, authority.issue("other"))
    locked = tmp_path / "locked.key"
    private = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    locked.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    for certificate_, key_, client_ca, told in (
        (
            key,
            certificate,
            "",
            f"chain of certificates in '{key}' and the key of the first one in '{certificate}', both",
        ),
        (certificate, other_key, "", "they cannot be used: KEY_VALUES_MISMATCH"),
        (certificate, str(locked), "", "they cannot be used: "),
        (certificate, "", "", "but tls_key is not set"),
        ("", key, "", "but tls_certificate is not set"),
        (certificate, key, key, f"certificates of authorities as PEM in '{key}', but they cannot be used: "),
        (certificate, key, f"{key}.none", f"read the files of TLS, but .*'{key}.none'"),
    ):
        settings = Settings(
            listen="127.0.0.1:0", database="", tls_certificate=certificate_, tls_key=key_, tls_client_ca=client_ca
        )
        with pytest.raises(Unbindable, match=told):
            await Server.start(settings)


async def test_renewed_certificate_needs_no_restart(tmp_path: Path) -> None:
    """Whoever comes from then on sees the new one, of calls and metrics; who is there stays."""
    authority = Authority(tmp_path, "authority")
    async with serving_tls(authority) as server:
        before = await both_shown(server)
        async with aio.connect(server.address, tls=Tls(authority.path), patience=PATIENCE) as client:
            await client.server_info()
            certificate, _ = authority.issue("server")
            after = await both_shown(server)
            assert (await client.server_info()).database == "sqlite"
    assert before[0] == before[1] != after[0]
    assert after == (binary(certificate), binary(certificate))


async def test_half_renewed_certificate_is_not_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The one before is shown until its key has come, too; the log says so once."""
    authority = Authority(tmp_path, "authority")
    (tmp_path / "new").mkdir()
    async with serving_tls(authority) as server:
        certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
        old = binary(certificate)
        new = [tmp_path / "new" / file.name for file in (certificate, key)]
        kept = [(file, file.read_bytes()) for file in (certificate, key)]
        for renewed, file in zip(new, authority.issue("server"), strict=True):
            renewed.write_bytes(file.read_bytes())
        for file, content in kept:
            file.write_bytes(content)
        assert await both_shown(server) == (old, old)
        caplog.clear()
        os.replace(new[0], certificate)
        assert await both_shown(server) == (old, old)
        assert await both_shown(server) == (old, old)
        told = [record.getMessage() for record in caplog.records if record.name.endswith(".tls")]
        os.replace(new[1], key)
        assert await both_shown(server) == (binary(certificate), binary(certificate))
    assert len(told) == 1
    assert "but they cannot be used" in told[0]


async def test_missing_certificate_leaves_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is locked out by a file that was moved away."""
    authority = Authority(tmp_path, "authority")
    async with serving_tls(authority) as server:
        old = binary(tmp_path / "server.crt")
        (tmp_path / "server.crt").unlink()
        assert await both_shown(server) == (old, old)
    assert "the certificate before goes on" in caplog.text


async def test_authorities_of_clients_are_read_again(tmp_path: Path) -> None:
    """A client of another authority gets in from then on, and one of the first no more."""
    first = Authority(tmp_path, "first")
    second = Authority(tmp_path, "second")
    async with serving_tls(first, asks_clients=True) as server:
        mine, theirs = first.issue("mine"), second.issue("theirs")
        trusted = tmp_path / "trusted.pem"
        trusted.write_bytes(first.path.read_bytes())
        await _get_in(server, Tls(trusted, *mine))
        await _be_refused(server, Tls(trusted, *theirs))
        first.path.write_bytes(second.path.read_bytes())
        await _get_in(server, Tls(trusted, *theirs))
        await _be_refused(server, Tls(trusted, *mine))


async def _get_in(server: Server, tls: Tls) -> None:
    async with aio.connect(server.address, tls=tls, patience=PATIENCE) as client:
        assert (await client.server_info()).database == "sqlite"
    assert await asyncio.to_thread(_scraped, server, tls)


async def _be_refused(server: Server, tls: Tls) -> None:
    async with aio.connect(server.address, tls=tls, patience=0) as client:
        with pytest.raises(errors.Unavailable):
            await client.server_info()
    with pytest.raises((ssl.SSLError, urllib.error.URLError, ConnectionError)):
        await asyncio.to_thread(_scraped, server, tls)


def _scraped(server: Server, tls: Tls) -> bytes:
    assert isinstance(tls.ca, Path)
    assert isinstance(tls.certificate, Path)
    context = ssl.create_default_context(cafile=tls.ca)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_cert_chain(tls.certificate, tls.key)
    with urllib.request.urlopen(server.metrics, timeout=PATIENCE, context=context) as response:
        return bytes(response.read())
