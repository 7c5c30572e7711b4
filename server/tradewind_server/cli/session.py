"""What all commands share: how they reach the server, whether they write JSON, and how their errors end."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_type_hints

import typer
from rich.text import Text

from tradewind import Client, Tls, TradewindError, errors
from tradewind.connection import DEFAULT_ADDRESS, Connection
from tradewind.values import NotCarried
from tradewind_server.cli import reaching
from tradewind_server.cli.output import Output, error_console

DONE, NOT_DONE, UNUSABLE, NO_SERVER = 0, 1, 2, 3

#: Seconds for which a command looks for a server: a person waits, and a restart takes less.
PATIENCE = 5.0

Address = Annotated[str, typer.Option(envvar="TRADEWIND_ADDRESS", help="Server, or several with commas between.")]
Namespace = Annotated[str, typer.Option(envvar="TRADEWIND_NAMESPACE", help="The tenant.")]
Token = Annotated[str, typer.Option(envvar="TRADEWIND_TOKEN", help="Bearer token sent with each call.")]
User = Annotated[str, typer.Option(envvar="TRADEWIND_USER", help="Who you are, for a server that asks for no token.")]
Groups = Annotated[str, typer.Option(envvar="TRADEWIND_GROUPS", help="Your groups, with commas between.")]
TlsCa = Annotated[
    str, typer.Option(envvar="TRADEWIND_TLS_CA", help="PEM file of trusted authorities; 'system' for the machine's.")
]
TlsCertificate = Annotated[
    str, typer.Option(envvar="TRADEWIND_TLS_CLIENT_CERTIFICATE", help="PEM file of your own certificate.")
]
TlsKey = Annotated[str, typer.Option(envvar="TRADEWIND_TLS_CLIENT_KEY", help="PEM file of its key.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


class Unusable(Exception):
    """The command's input cannot be used; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Session:
    """One command's way to the server and to the reader."""

    output: Output
    address: str = DEFAULT_ADDRESS
    namespace: str = "default"
    token: str = ""
    user: str = ""
    groups: str = ""
    tls_ca: str = ""
    tls_certificate: str = ""
    tls_key: str = ""

    def client(self) -> Client:
        """Return a client; close it, or use it as a context manager."""
        return Client(self.connection())

    def connection(self) -> Connection:
        """Return how the server is reached."""
        tls = self._tls()
        try:
            if tls is not None:
                tls.credentials()
            return Connection.of(
                self.address,
                tls=tls,
                token=self.token or None,
                namespace=self.namespace,
                patience=PATIENCE,
                user=self.user,
                groups=[group.strip() for group in self.groups.split(",") if group.strip()],
            )
        except (ValueError, OSError) as error:
            raise Unusable(str(error)) from None

    def what_is_in_the_way(self) -> str:
        """Return why no server is reached, "" if that is not seen."""
        with contextlib.suppress(Unusable):
            return reaching.why(self.connection())
        return ""

    def _tls(self) -> Tls | None:
        if not (self.tls_ca or self.tls_certificate or self.tls_key):
            return None
        ca = None if self.tls_ca in ("", "system") else _file("--tls-ca", self.tls_ca)
        if not (self.tls_certificate or self.tls_key):
            return Tls(ca=ca)
        return Tls(
            ca=ca,
            certificate=_file("--tls-certificate", self.tls_certificate),
            key=_file("--tls-key", self.tls_key),
        )


def _file(option: str, path: str) -> Path:
    if not Path(path).is_file():
        raise Unusable(f"Expected a PEM file as {option}, but there is no '{path}'.")
    return Path(path)


def on_server(function: Callable[..., None]) -> Callable[..., None]:
    """Make a command of *function*: it gets a session, and the options that a session is made of."""

    def call(as_json: bool, **given: Any) -> None:
        output = Output(as_json)
        session = Session(output, **{name: given.pop(name) for name in options if name != "as_json"})
        with reporting(output, session):
            function(session, **given)

    options = {
        "address": (Address, DEFAULT_ADDRESS),
        "namespace": (Namespace, "default"),
        "token": (Token, ""),
        "user": (User, ""),
        "groups": (Groups, ""),
        "tls_ca": (TlsCa, ""),
        "tls_certificate": (TlsCertificate, ""),
        "tls_key": (TlsKey, ""),
        "as_json": (AsJson, False),
    }
    return _with_options(function, call, options)


def alone(function: Callable[..., None]) -> Callable[..., None]:
    """Make a command of *function* that needs no server: it gets an output."""

    def call(as_json: bool, **given: Any) -> None:
        output = Output(as_json)
        with reporting(output):
            function(output, **given)

    return _with_options(function, call, {"as_json": (AsJson, False)})


def _with_options(
    function: Callable[..., None], call: Callable[..., None], options: dict[str, tuple[Any, Any]]
) -> Callable[..., None]:
    # Typer reads a signature, so the shared options are put into one here instead of into every command by hand.
    hints = get_type_hints(function, include_extras=True)
    _, *declared = inspect.signature(function).parameters.values()
    own = [item.replace(annotation=hints[item.name]) for item in declared]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in options.items()
    ]

    @functools.wraps(function)
    def command(**given: Any) -> None:
        call(**given)

    del command.__wrapped__
    keyword = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own]
    vars(command)["__signature__"] = inspect.Signature([*keyword, *shared])
    command.__annotations__ = {item.name: item.annotation for item in (*keyword, *shared)}
    return command


@contextlib.contextmanager
def reporting(output: Output, session: Session | None = None) -> Iterator[None]:
    """End the command with a reason, a hint and an exit code instead of a traceback.

    Args:
        output: where to.
        session: the way to the server, if there is one.
    """
    try:
        yield
    except TradewindError as error:
        code = NO_SERVER if isinstance(error, errors.Unavailable | errors.DeadlineExceeded) else NOT_DONE
        hint = error.hint
        if session is not None and error.reason == "UNAVAILABLE":
            # no server has given a reason of its own
            hint = session.what_is_in_the_way() or hint
        _fail(output, code, error.reason, error.message, hint, error)
    except (Unusable, NotCarried) as error:
        _fail(output, UNUSABLE, "UNUSABLE_INPUT", str(error), "")
    except UnicodeEncodeError as error:
        # arguments of a terminal that is set to another encoding
        given = error.object.encode(errors="replace").decode()
        _fail(output, UNUSABLE, "UNUSABLE_INPUT", f"Expected text in UTF-8, but got '{given[:80]}'.", "")


def _fail(
    output: Output, exit_code: int, reason: str, message: str, hint: str, error: TradewindError | None = None
) -> NoReturn:
    violations = error.violations if error else ()
    if output.as_json:
        facts = {
            "reason": reason,
            "message": message,
            "hint": hint,
            "metadata": error.metadata if error else {},
            "violations": [{"field": item.field, "description": item.description} for item in violations],
        }
        output.json({"error": facts})
        raise typer.Exit(exit_code)
    console = error_console()
    console.print(Text.assemble(("error", "bold red"), f" [{reason}] {message}"))
    for item in violations:
        if item.description == message:  # a single field: said already
            continue
        console.print(Text(f"  {item.field}: {item.description}"))
    if hint and hint not in message:
        console.print(Text.assemble(("hint", "bold"), f" {hint}"))
    raise typer.Exit(exit_code)
