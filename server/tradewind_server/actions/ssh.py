"""The actions std.ssh and std.ssh_proxied: a command on other machines.

Nothing of the server's own account is used: no configuration, key or agent of its user. A host whose key is not in the
server's file of known hosts gets no password and no command.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from tradewind_server.actions.egress import EgressPolicy, connection_failure
from tradewind_server.actions.files import Files
from tradewind_server.actions.outcome import ActionError
from tradewind_server.actions.parameters import (
    Input,
    bad,
    flag,
    port,
    required_text,
    text,
    texts,
    timed_out,
    timeout,
)
from tradewind_server.on_demand import OnDemand, loaded

if TYPE_CHECKING:
    import asyncssh
else:
    asyncssh = OnDemand("asyncssh")

#: Most bytes that one command may write, standard output and standard error together.
MAX_OUTPUT_BYTES = 1024 * 1024
#: Most hosts of one action; they are visited one after the other.
MAX_HOSTS = 100

_CHUNK_BYTES = 32 * 1024

# its "info" has each command, and secrets may stand in one
logging.getLogger("asyncssh").setLevel(logging.WARNING)


@dataclasses.dataclass(frozen=True, slots=True)
class _Login:
    """How one machine is reached and entered."""

    host: str
    port: int
    username: str
    password: str | None
    keys: list[asyncssh.SSHKey]


@dataclasses.dataclass(frozen=True, slots=True)
class _Task:
    """What is to be done on each host, and through which gateway."""

    command: str
    #: The result is how the command ended, whatever its exit code.
    shows_all: bool
    #: "" for none.
    gateway_host: str
    gateway_port: int
    gateway_username: str

    def gateway(self, login: _Login) -> _Login:
        """Return how the gateway is entered: as the host is, unless it is told otherwise."""
        username = self.gateway_username or login.username
        return dataclasses.replace(login, host=self.gateway_host, port=self.gateway_port, username=username)


@dataclasses.dataclass(frozen=True, slots=True)
class _Ended:
    """How a command ended."""

    stdout: str
    stderr: str
    #: Negative: the number of the signal that killed it.
    exit_code: int

    def as_value(self) -> dict[str, object]:
        return {"stdout": self.stdout, "stderr": self.stderr, "exit_code": self.exit_code}


class SshAction:
    """Does std.ssh and std.ssh_proxied; a connection lasts for one command."""

    def __init__(self, policy: EgressPolicy, files: Files, known_hosts: str, insecure_hosts: bool) -> None:
        self._policy = policy
        self._files = files
        self._known_hosts = known_hosts
        self._insecure_hosts = insecure_hosts

    async def run(self, given: Input) -> object:
        """Run `cmd` on each host and return what it writes: a text, for several hosts a list.

        Raises:
            ActionError: the input is wrong, a host cannot be entered in time, or the command fails there.
        """
        await loaded(asyncssh)
        seconds, logins, task = timeout(given), self._logins(given), _task(given)
        try:
            async with asyncio.timeout(seconds):
                results = [await self._on(login, task) for login in logins]
        except TimeoutError:
            raise timed_out(seconds) from None
        return results if len(results) > 1 else results[0]

    # --- the input -------------------------------------------------------------------------------

    def _logins(self, given: Input) -> list[_Login]:
        hosts = texts(given, "host")
        if not 1 <= len(hosts) <= MAX_HOSTS:
            raise bad(f"host must be 1 to {MAX_HOSTS} names of hosts")
        username, number, keys = required_text(given, "username"), port(given, "port", 22), self._keys(given)
        password = text(given, "password") or None
        if password is None and not keys:
            raise bad("password, private_key or private_key_filename must be given")
        return [_Login(host, number, username, password, keys) for host in hosts]

    def _keys(self, given: Input) -> list[asyncssh.SSHKey]:
        written, name = text(given, "private_key"), text(given, "private_key_filename")
        try:
            if name:
                written = self._files.path("private_key_filename", name).read_text("ascii")
            return [asyncssh.import_private_key(written)] if written else []
        except (OSError, ValueError):  # among them asyncssh's own; their text may quote the key
            raise bad("the private key cannot be read; it must be one of OpenSSH without a passphrase") from None

    # --- the machines ----------------------------------------------------------------------------

    async def _on(self, login: _Login, task: _Task) -> object:
        where = login.host
        try:
            async with contextlib.AsyncExitStack() as stack:
                outer = None
                if task.gateway_host:
                    where = task.gateway_host
                    outer = await stack.enter_async_context(self._entered(task.gateway(login), None))
                    where = login.host
                inner = await stack.enter_async_context(self._entered(login, outer))
                ended = await _execute(inner, task.command)
        except (OSError, asyncssh.Error) as error:
            raise _failure(error, where) from error
        if task.shows_all:
            return ended.as_value()
        if ended.exit_code:
            message = f"The command ended with exit code {ended.exit_code} on {login.host}."
            details = {"host": login.host, **ended.as_value()}
            raise ActionError(message, details=details, code="EXIT_CODE")
        return ended.stdout

    @contextlib.asynccontextmanager
    async def _entered(
        self, login: _Login, outer: asyncssh.SSHClientConnection | None
    ) -> AsyncIterator[asyncssh.SSHClientConnection]:
        # through a gateway it is the gateway that connects, and only the way to it is ours to judge
        made = await self._policy.connect(login.host, login.port) if outer is None else None
        connection = None
        try:
            connection = await asyncssh.connect(
                login.host,
                login.port,
                sock=made,
                tunnel=outer,
                username=login.username,
                password=login.password,
                client_keys=login.keys or None,
                known_hosts=self._hosts(),
                config=None,
                agent_path=None,
                gss_host=None,
                x509_trusted_certs=None,
                proxy_command=None,
            )
            yield connection
        finally:
            if connection is not None:
                # no good-bye: a host that does not answer it would hold the action beyond its timeout
                connection.abort()
            elif made is not None:
                made.close()

    def _hosts(self) -> asyncssh.SSHKnownHosts | None:
        """Return the known hosts, read anew each time; None: whatever key a host has is taken."""
        if self._insecure_hosts:
            return None
        try:
            return (
                asyncssh.read_known_hosts(self._known_hosts) if self._known_hosts else asyncssh.import_known_hosts("")
            )
        except (OSError, ValueError):
            message = "The server cannot read its file of known hosts (setting known_hosts)."
            raise ActionError(message, code="KNOWN_HOSTS", retryable=False) from None


def _task(given: Input) -> _Task:
    if text(given, "proxy_command"):
        raise bad("proxy_command would run a program on the server, which no workflow may; use gateway_host")
    return _Task(
        command=required_text(given, "cmd"),
        shows_all=flag(given, "return_result_on_error", False),
        gateway_host=required_text(given, "gateway_host") if "gateway_host" in given else "",
        gateway_port=port(given, "gateway_port", 22),
        gateway_username=text(given, "gateway_username"),
    )


async def _execute(connection: asyncssh.SSHClientConnection, command: str) -> _Ended:
    process = await connection.create_process(command, stdin=asyncssh.DEVNULL, encoding=None)
    budget = _Budget()
    stdout, stderr = await asyncio.gather(budget.read(process.stdout), budget.read(process.stderr))
    await process.wait_closed()
    code = process.returncode
    # -1 as for a signal without a number: it ended without saying how
    return _Ended(_decoded(stdout), _decoded(stderr), -1 if code is None else code)


class _Budget:
    """Bounds what a command writes."""

    def __init__(self) -> None:
        self._left = MAX_OUTPUT_BYTES

    async def read(self, stream: asyncssh.SSHReader[bytes]) -> bytes:
        parts: list[bytes] = []
        while part := await stream.read(_CHUNK_BYTES):
            self._left -= len(part)
            if self._left < 0:
                message = f"The command writes more than {MAX_OUTPUT_BYTES} bytes."
                raise ActionError(message, code="TOO_LARGE", retryable=False)
            parts.append(part)
        return b"".join(parts)


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _failure(error: Exception, where: str) -> ActionError:
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        message = f"The key of {where} is not among the known hosts (setting known_hosts)."
        return ActionError(message, code="HOST_KEY", retryable=False)
    if isinstance(error, asyncssh.PermissionDenied):
        return ActionError(f"{where} refused the login.", code="LOGIN_REFUSED", retryable=False)
    return connection_failure(error, where)
