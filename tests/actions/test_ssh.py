"""std.ssh and std.ssh_proxied against servers in this process."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tradewind_server.actions.egress import EgressPolicy
from tradewind_server.actions.files import Files
from tradewind_server.actions.outcome import ActionError
from tradewind_server.actions.ssh import MAX_OUTPUT_BYTES, SshAction

CLIENT_KEY = asyncssh.generate_private_key("ssh-ed25519")
HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")
OTHER_KEY = asyncssh.generate_private_key("ssh-ed25519")
PRIVATE = CLIENT_KEY.export_private_key().decode()


class _Host(asyncssh.SSHServer):
    """Lets ann in, by password or key, and forwards where the test says so."""

    def __init__(self, seen: list[str], forwards: bool) -> None:
        self._seen = seen
        self._forwards = forwards

    def begin_auth(self, username: str) -> bool:
        self._seen.append(f"login {username}")
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        self._seen.append("password")
        return password == "pass word"

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return key == CLIENT_KEY.convert_to_public()

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool | Callable[..., Awaitable[None]]:
        self._seen.append(f"forward {dest_host}")
        return self._forwards and functools.partial(_forward, dest_host, dest_port)


async def _forward(host: str, port: int, reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
    """Be a gateway. The library's own loses what the host says before the gateway has noted that it is connected."""
    host_reader, host_writer = await asyncio.open_connection(host, port)
    with contextlib.closing(host_writer):
        await asyncio.gather(_copy(reader, host_writer), _copy(host_reader, writer))


async def _copy(
    reader: asyncssh.SSHReader[bytes] | asyncio.StreamReader, writer: asyncssh.SSHWriter[bytes] | asyncio.StreamWriter
) -> None:
    with contextlib.suppress(asyncssh.Error, ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@dataclasses.dataclass
class Host:
    """A running host."""

    port: int
    #: Logins, passwords tried, forwards and commands, as they came.
    seen: list[str]


@contextlib.asynccontextmanager
async def host(key: asyncssh.SSHKey = HOST_KEY, *, forwards: bool = False) -> AsyncIterator[Host]:
    """Run a host on loopback."""
    made = Host(0, [])

    async def execute(process: asyncssh.SSHServerProcess[bytes]) -> None:
        made.seen.append(f"run {process.command}")
        with contextlib.suppress(asyncssh.Error, ConnectionError):
            await _COMMANDS[str(process.command).split()[0]](process)

    server = await asyncssh.create_server(
        lambda: _Host(made.seen, forwards),
        "127.0.0.1",
        0,
        server_host_keys=[key],
        process_factory=execute,
        encoding=None,
    )
    made.port = server.get_port()
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()


async def _say(process: Any) -> None:
    process.stdout.write(str(process.command).removeprefix("say ").encode())
    process.stderr.write(b"bad \xff\n")
    process.exit(0)


async def _fail(process: Any) -> None:
    process.stdout.write(b"half")
    process.stderr.write(b"why")
    process.exit(3)


async def _die(process: Any) -> None:
    process.exit_with_signal("KILL")


async def _flood(process: Any) -> None:
    while True:
        process.stdout.write(b"x" * 65536)
        await process.stdout.drain()


async def _hang(process: Any) -> None:
    await asyncio.Event().wait()


_COMMANDS: dict[str, Callable[[Any], Awaitable[None]]] = {
    "say": _say, "fail": _fail, "die": _die, "flood": _flood, "hang": _hang,
}  # fmt: skip


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """Give a file of known hosts: HOST_KEY is that of every port of 127.0.0.1."""
    public = HOST_KEY.export_public_key().decode()
    file = tmp_path / "known_hosts"
    file.write_text(f"127.0.0.1,[127.0.0.1]:* {public}")
    return file


def action(known: Path | None, *, folder: Path | None = None, allow_private: bool = True, **more: Any) -> SshAction:
    """Make the action."""
    files = Files(str(folder) if folder else "")
    return SshAction(EgressPolicy(allow_private), files, str(known) if known else "", more.get("insecure", False))


def given(to: Host, cmd: str = "say hello", **more: Any) -> dict[str, object]:
    """Return what the action takes."""
    base = {"cmd": cmd, "host": "127.0.0.1", "port": to.port, "username": "ann", "password": "pass word"}
    return {**base, **more}


async def failure(made: SshAction, parameters: dict[str, object]) -> ActionError:
    """Return what the action fails with."""
    with pytest.raises(ActionError) as caught:
        await made.run(parameters)
    return caught.value


async def test_ssh_returns_what_the_command_writes(known: Path) -> None:
    """Standard output alone."""
    async with host() as there:
        assert await action(known).run(given(there)) == "hello"

    assert there.seen == ["login ann", "password", "run say hello"]


async def test_ssh_on_several_hosts_gives_a_list(known: Path) -> None:
    """In their order; one host in a list gives no list, as in Mistral."""
    async with host() as there:
        hosts = ["127.0.0.1", "127.0.0.1"]
        assert await action(known).run(given(there, host=hosts)) == ["hello", "hello"]
        assert await action(known).run(given(there, host=hosts[:1])) == "hello"


@pytest.mark.parametrize("by_file", [False, True])
async def test_ssh_by_private_key(known: Path, tmp_path: Path, by_file: bool) -> None:
    """Given as a text, or as the name of a file below the server's directory."""
    (tmp_path / "id").write_text(PRIVATE)
    key = {"private_key_filename": "id"} if by_file else {"private_key": PRIVATE}
    async with host() as there:
        assert await action(known, folder=tmp_path).run(given(there, password="", **key)) == "hello"

    assert there.seen == ["login ann", "run say hello"]


async def test_ssh_failing_command_fails_the_action(known: Path) -> None:
    """With all that is known of it; it may go better another time."""
    async with host() as there:
        error = await failure(action(known), given(there, "fail"))

    assert (error.code, error.retryable) == ("EXIT_CODE", True)
    assert error.message == "The command ended with exit code 3 on 127.0.0.1."
    assert error.details == {"host": "127.0.0.1", "stdout": "half", "stderr": "why", "exit_code": 3}


@pytest.mark.parametrize(
    ("cmd", "expected"),
    [
        ("say hello", {"stdout": "hello", "stderr": "bad \ufffd\n", "exit_code": 0}),
        ("fail", {"stdout": "half", "stderr": "why", "exit_code": 3}),
        ("die", {"stdout": "", "stderr": "", "exit_code": -9}),
    ],
)
async def test_ssh_result_on_error(known: Path, cmd: str, expected: object) -> None:
    """return_result_on_error: however it ended, the action succeeds and says how."""
    async with host() as there:
        assert await action(known).run(given(there, cmd, return_result_on_error=True)) == expected


@pytest.mark.parametrize("which", ["other", "none", "missing"])
async def test_ssh_host_must_be_known(known: Path, which: str) -> None:
    """A host with another key than the known one, or an unknown one, gets neither password nor command."""
    made = action({"other": known, "none": None, "missing": known.with_name("nothing")}[which])
    async with host(OTHER_KEY) as there:
        error = await failure(made, given(there))

    assert (error.code, error.retryable) == ("KNOWN_HOSTS" if which == "missing" else "HOST_KEY", False)
    assert there.seen == []


async def test_ssh_check_of_hosts_can_be_turned_off() -> None:
    """By the server's setting alone."""
    async with host(OTHER_KEY) as there:
        assert await action(None, insecure=True).run(given(there)) == "hello"


@pytest.mark.parametrize("login", [{"password": "wrong"}, {"password": "", "private_key": "OTHER"}])
async def test_ssh_refused_login(known: Path, login: dict[str, Any]) -> None:
    """Another attempt would fail alike."""
    if "private_key" in login:
        login = {**login, "private_key": OTHER_KEY.export_private_key().decode()}
    async with host() as there:
        error = await failure(action(known), given(there, **login))

    assert (error.code, error.retryable, error.message) == ("LOGIN_REFUSED", False, "127.0.0.1 refused the login.")
    assert "run say hello" not in there.seen


async def test_ssh_does_not_use_the_account_of_the_server(
    known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the keys nor the configuration in its home, nor its agent."""
    home = tmp_path / "home" / ".ssh"
    home.mkdir(parents=True)
    (home / "id_ed25519").write_text(PRIVATE)
    (home / "config").write_text("Host *\n  User somebody\n  ProxyCommand touch /nowhere\n")
    monkeypatch.setenv("HOME", str(home.parent))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    async with host() as there:
        error = await failure(action(known), given(there, password="wrong"))

    assert error.code == "LOGIN_REFUSED"
    assert there.seen[0] == "login ann"


async def test_ssh_endless_output_is_cut(known: Path) -> None:
    """Not collected until memory is full."""
    async with host() as there:
        error = await failure(action(known), given(there, "flood", timeout=5))

    assert (error.code, error.retryable) == ("TOO_LARGE", False)
    assert str(MAX_OUTPUT_BYTES) in error.message


@pytest.mark.slow
async def test_ssh_hanging_command_times_out(known: Path) -> None:
    """The timeout is that of the whole action."""
    async with host() as there:
        error = await failure(action(known), given(there, "hang", timeout=Decimal("0.3")))

    assert (error.code, error.retryable, error.message) == ("TIMEOUT", True, "No answer within 0.3 s.")


@contextlib.asynccontextmanager
async def talker(said: bytes, *, endless: bool = False) -> AsyncIterator[Host]:
    """Run a server that speaks no SSH."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(said)
            await writer.drain()
            while endless:
                writer.write(said)
                await writer.drain()
            await reader.read()
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    async with asyncio.TaskGroup() as talks:
        server = await asyncio.start_server(lambda *ends: talks.create_task(talk(*ends)), "127.0.0.1", 0)
        yield Host(server.sockets[0].getsockname()[1], [])
        server.close()


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-x\r\n"], ids=["silent", "after its version"])
async def test_ssh_silent_server_times_out(known: Path, said: bytes) -> None:
    """Before the login too."""
    async with talker(said) as there:
        error = await failure(action(known), given(there, timeout=Decimal("0.1")))

    assert error.code == "TIMEOUT"


@pytest.mark.parametrize("said", [b"hello\r\n" * 1000, b"x" * 100_000], ids=["lines", "one line"])
async def test_ssh_endless_banner_is_cut(known: Path, said: bytes) -> None:
    """A server that talks for ever is no server."""
    async with talker(said, endless=True) as there:
        error = await failure(action(known), given(there, timeout=5))

    assert (error.code, error.retryable) == ("CONNECTION", True)


async def test_ssh_to_a_private_address_is_refused(known: Path) -> None:
    """The policy of all outgoing connections."""
    async with host() as there:
        for name in ("127.0.0.1", "localhost", "0x7f000001", "127.1"):
            error = await failure(action(known, allow_private=False), given(there, host=name))
            assert (error.code, error.retryable) == ("ADDRESS_REFUSED", False)

    assert there.seen == []


async def test_ssh_nobody_there(known: Path) -> None:
    """Somebody may be, later."""
    async with host() as there:
        pass
    error = await failure(action(known), given(there))

    assert (error.code, error.retryable) == ("CONNECTION", True)


async def test_ssh_logs_no_command(known: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A secret may stand in it."""
    caplog.set_level(logging.DEBUG)
    async with host() as there:
        await action(known).run(given(there, "say canary-7"))

    assert "canary-7" not in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"cmd": ""}, {"cmd": 5}, {"host": []}, {"host": [5]}, {"host": "h" * 5, "port": 0}, {"port": "22"},
        {"username": ""}, {"password": ""}, {"password": 5}, {"private_key": "no key"}, {"timeout": 0},
        {"private_key_filename": "id"}, {"return_result_on_error": "yes"}, {"host": ["127.0.0.1"] * 101},
        {"private_key": CLIENT_KEY.export_private_key("pkcs8-pem", passphrase="p").decode()},
    ],
)  # fmt: skip
async def test_ssh_wrong_input_is_not_retried(known: Path, wrong: dict[str, Any]) -> None:
    """Another attempt would fail alike."""
    async with host() as there:
        error = await failure(action(known), given(there, **wrong))

    assert (error.code, error.retryable) == ("BAD_INPUT", False)
    assert "run say hello" not in there.seen


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "link", "folder", "nothing", "", "a\0b", "folder/../../secret"]
)
def test_files_stay_in_their_directory(tmp_path: Path, name: str) -> None:
    """Also by a link, and a folder is no file."""
    folder = tmp_path / "files"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_text(PRIVATE)
    (folder / "link").symlink_to(tmp_path / "secret")

    with pytest.raises(ActionError, match="names no file"):
        Files(str(folder)).path("private_key_filename", name)


def test_files_below_their_directory_are_found(tmp_path: Path) -> None:
    """The same rule in the other direction; links within are fine, as mounted secrets have them."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "id").write_text("x")
    (tmp_path / "id").symlink_to("..data/id")

    assert Files(str(tmp_path)).path("p", "id").read_text() == "x"


# --- through a gateway ---------------------------------------------------------------------------


async def test_ssh_proxied_goes_through_the_gateway(known: Path) -> None:
    """The gateway connects to the host, under the name that the workflow gave it."""
    async with host(forwards=True) as gateway, host() as there:
        parameters = given(there, gateway_host="127.0.0.1", gateway_port=gateway.port, gateway_username="gus")
        assert await action(known).run(parameters) == "hello"

    assert gateway.seen == ["login gus", "password", "forward 127.0.0.1"]
    assert there.seen == ["login ann", "password", "run say hello"]


async def test_ssh_proxied_user_of_the_gateway_is_that_of_the_host(known: Path) -> None:
    """If none is given."""
    async with host(forwards=True) as gateway, host() as there:
        await action(known).run(given(there, gateway_host="127.0.0.1", gateway_port=gateway.port))

    assert gateway.seen[0] == "login ann"


async def test_ssh_proxied_gateway_obeys_the_policy(known: Path) -> None:
    """It is what the server connects to."""
    async with host(forwards=True) as gateway, host() as there:
        parameters = given(there, gateway_host="127.0.0.1", gateway_port=gateway.port)
        error = await failure(action(known, allow_private=False), parameters)

    assert (error.code, gateway.seen) == ("ADDRESS_REFUSED", [])


@pytest.mark.parametrize("stranger", ["gateway", "host"])
async def test_ssh_proxied_knows_both_hosts(known: Path, stranger: str) -> None:
    """A gateway could otherwise lead to another host than the one that was meant."""
    keys = {name: OTHER_KEY if name == stranger else HOST_KEY for name in ("gateway", "host")}
    async with host(keys["gateway"], forwards=True) as gateway, host(keys["host"]) as there:
        error = await failure(action(known), given(there, gateway_host="127.0.0.1", gateway_port=gateway.port))

    assert (error.code, there.seen) == ("HOST_KEY", [])


async def test_ssh_proxied_gateway_that_forwards_nothing(known: Path) -> None:
    """As if the host could not be reached."""
    async with host() as gateway, host() as there:
        error = await failure(action(known), given(there, gateway_host="127.0.0.1", gateway_port=gateway.port))

    assert (error.code, there.seen) == ("CONNECTION", [])


@pytest.mark.slow
async def test_ssh_proxied_silent_host_times_out(known: Path) -> None:
    """A host behind the gateway holds the action no longer than one in front of it."""
    async with host(forwards=True) as gateway, talker(b"") as there:
        parameters = given(there, gateway_host="127.0.0.1", gateway_port=gateway.port, timeout=Decimal("0.5"))
        error = await failure(action(known), parameters)

    assert error.code == "TIMEOUT"


async def test_ssh_proxied_runs_no_program_of_the_server(known: Path) -> None:
    """proxy_command is refused: no workflow starts programs on the server's machine."""
    async with host() as there:
        error = await failure(action(known), given(there, gateway_host="127.0.0.1", proxy_command="touch /tmp/x"))

    assert (error.code, there.seen) == ("BAD_INPUT", [])
