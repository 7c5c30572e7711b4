"""A small mail server for tests: it keeps what it gets, and misbehaves where it is told to."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Mapping
from typing import Self


class MailServer:
    """Serves SMTP on loopback, in threads. Use it as a context manager.

    Args:
        tls: offered with STARTTLS, or spoken from the beginning if *implicit*.
        answers: command, or its verb -> answer, in place of its own.
        greeting: what it says first; None: nothing.
    """

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        *,
        implicit: bool = False,
        answers: Mapping[str, bytes] | None = None,
        greeting: bytes | None = b"220 here\r\n",
    ) -> None:
        self._tls = tls
        self._implicit = implicit
        self._answers = answers or {}
        self._greeting = greeting
        self._is_encrypted = implicit
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        #: Commands as they came, without the message.
        self.commands: list[str] = []
        #: (user, password, was it encrypted)
        self.logins: list[tuple[str, str, bool]] = []
        self.messages: list[bytes] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for end in (self._listener, *self._open):
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client = self._listener.accept()[0]
                self._open.append(client)
                with contextlib.suppress(OSError):  # the client does not like it here
                    self._serve(self._encrypted(client) if self._implicit else client)

    def _encrypted(self, client: socket.socket) -> socket.socket:
        assert self._tls is not None
        made = self._tls.wrap_socket(client, server_side=True)
        self._open.append(made)
        self._is_encrypted = True
        return made

    def _serve(self, client: socket.socket) -> None:
        if self._greeting is not None:
            client.sendall(self._greeting)
        while line := self._line(client):
            self.commands.append(line)
            verb = line.split(" ")[0].upper()
            client.sendall(self._answers.get(line, self._answers.get(verb, self._usual(verb, line))))
            if verb == "STARTTLS":
                client = self._encrypted(client)
            if verb == "DATA":
                self.messages.append(self._read(client, b"\r\n.\r\n"))
                client.sendall(self._answers.get("MESSAGE", b"250 taken\r\n"))
            if verb == "QUIT":
                client.shutdown(socket.SHUT_RDWR)
                return

    def _line(self, client: socket.socket) -> str:
        return self._read(client, b"\r\n").decode("utf-8", "replace").strip()

    @staticmethod
    def _read(client: socket.socket, end: bytes) -> bytes:
        data = b""
        while not data.endswith(end) and (part := client.recv(1)):
            data += part
        return data

    def _usual(self, verb: str, line: str) -> bytes:
        if verb == "EHLO":
            offers = ["here"] + (["STARTTLS"] if self._tls and not self._is_encrypted else [])
            offers += ["AUTH PLAIN"] if self._is_encrypted else []
            return b"".join(f"250{' ' if n == len(offers) else '-'}{o}\r\n".encode() for n, o in enumerate(offers, 1))
        if verb == "AUTH":
            _, user, password = base64.b64decode(line.split(" ")[2]).decode().split("\0")
            self.logins.append((user, password, self._is_encrypted))
            return b"235 welcome\r\n"
        return {"STARTTLS": b"220 go\r\n", "DATA": b"354 go\r\n", "QUIT": b"221 bye\r\n"}.get(verb, b"250 fine\r\n")
